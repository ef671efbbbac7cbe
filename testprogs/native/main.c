// A compute kernel as a program of the host: `sha256 N` says what the guest says with n=N.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t kernel_run(uint64_t n);

int main(int argc, char **argv) {
    unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 10) : 10;
    printf(KERNEL " n=%lu checksum=%016lx\n", n, (unsigned long)kernel_run(n));
    return 0;
}
