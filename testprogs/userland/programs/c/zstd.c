// zstd: the reference library compresses text at several levels and gives it back.
#include <zstd.h>

#include "common.h"

int main(int argc, char **argv) {
    size_t size = 1000 * rounds_of(argc, argv, 50), room = ZSTD_compressBound(size);
    char *text = malloc(size), *packed = malloc(room), *back = malloc(size);
    if (!text || !packed || !back) return 1;
    make_text(text, size, 5);
    static const int levels[] = {-3, 1, 3, 6, 12, 19};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        size_t n = ZSTD_compress(packed, room, text, size, levels[i]);
        if (ZSTD_isError(n)) return puts(ZSTD_getErrorName(n)), 1;
        memset(back, 0, size);
        size_t m = ZSTD_decompress(back, size, packed, n);
        const char *verdict = m == size && memcmp(text, back, size) == 0 ? "the same" : "DIFFERENT";
        printf("level %3d: %zu -> %zu bytes %016lx, back %s\n", levels[i], size, n, fnv1a(FNV_START, packed, n), verdict);
    }
    free(text), free(packed), free(back);
    return 0;
}
