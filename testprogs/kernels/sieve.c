// sieve: Eratosthenes on a byte array: strided stores and simple loops.
#include "kernel.h"

enum { LIMIT = 100000 };
static uint8_t composite[LIMIT + 1];

static uint64_t count_primes(uint64_t limit) {
    memset(composite, 0, sizeof composite);
    uint64_t count = 0;
    for (uint64_t p = 2; p <= limit; p++) {
        if (composite[p]) continue;
        count++;
        for (uint64_t m = p * p; m <= limit; m += p) composite[m] = 1;
    }
    return count;
}

uint64_t kernel_run(uint64_t n) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) sum = mix(sum, count_primes(LIMIT - i % 64));
    return sum;
}
