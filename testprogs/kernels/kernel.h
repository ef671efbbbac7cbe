// A compute kernel: a pure function of its work, the same for the guest (kernels/main/guest.c) and for a
// program of the host (native/main.c), which link the very same object file. The two times compare the machine with
// the host; the two checksums must be equal.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Does `n` rounds of work, about a million instructions each, and returns a checksum of all results.
uint64_t kernel_run(uint64_t n);

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);

static inline uint64_t mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 29;
}

// Pseudo-random numbers without a library (xorshift64).
static inline uint64_t next_random(uint64_t *state) {
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}
