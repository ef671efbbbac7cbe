// copy: memory moved by words, by SSE registers and by REP strings.
#include "kernel.h"

typedef uint64_t vector __attribute__((vector_size(16)));
enum { BYTES = 64 * 1024 };
static vector from[BYTES / 16], to[BYTES / 16];

static __attribute__((noinline)) void copy_words(uint64_t *restrict t, const uint64_t *restrict f, uint64_t add) {
    for (size_t i = 0; i < BYTES / 8; i++) {
        t[i] = f[i] + add;
        asm volatile("" ::: "memory"); // one word at a time: no vectors, no memcpy
    }
}

static __attribute__((noinline)) void copy_vectors(vector *restrict t, const vector *restrict f) {
    vector keep = {0x0123456789abcdef, 0xfedcba9876543210};
    for (size_t i = 0; i < BYTES / 16; i++) {
        t[i] = f[i] ^ keep;
        asm volatile("" ::: "memory");
    }
}

uint64_t kernel_run(uint64_t n) {
    uint64_t sum = 0;
    memset(from, 0x5a, BYTES);
    for (uint64_t i = 0; i < n; i++) {
        for (int round = 0; round < 8; round++) {
            copy_words((uint64_t *)to, (const uint64_t *)from, i + (uint64_t)round);
            copy_vectors(from, to);
            copy_words((uint64_t *)to, (const uint64_t *)from, 1);
            memcpy((uint8_t *)from + 8 * round, to, BYTES / 2);
            sum = mix(sum, from[(i * 97 + (uint64_t)round) % (BYTES / 16)][1]);
        }
    }
    return sum;
}
