// fib: calls and returns.
#include "kernel.h"

static __attribute__((noinline)) uint64_t fib(uint64_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

uint64_t kernel_run(uint64_t n) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) sum = mix(sum, fib(24 + (i & 1)));
    return sum;
}
