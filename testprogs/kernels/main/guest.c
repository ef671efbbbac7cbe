// A compute kernel as a guest: `n=N` rounds, then the checksum.
#include "runtime.h"

uint64_t kernel_run(uint64_t n);

int main(void) {
    uint64_t n = cmdline_u64("n", 10);
    printf(KERNEL " n=%lu checksum=%016lx\n", n, kernel_run(n));
    return 0;
}
