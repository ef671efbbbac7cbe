// primes: a CPU hog. Counts primes by trial division and speaks only now and then: between two
// lines there is nothing to log but time.
//
//   limit=N  (default 200000)
//
// Output (the same on every machine): the count after each tenth of the way, and the verdict
//   up to 20000: 2262 primes
//   ...
//   primes: 17984 up to 200000, sum 1709600813
#include "runtime.h"

static bool is_prime(uint64_t n) {
    if (n % 2 == 0) return n == 2;
    for (uint64_t d = 3; d * d <= n; d += 2)
        if (n % d == 0) return false;
    return n > 1;
}

int main(void) {
    uint64_t limit = cmdline_u64("limit", 200000), part = limit / 10;
    uint64_t count = 0, sum = 0;
    for (uint64_t n = 2; n <= limit; n++) {
        if (is_prime(n)) count++, sum += n;
        if (part > 0 && n % part == 0) printf("up to %lu: %lu primes\n", n, count);
    }
    printf("primes: %lu up to %lu, sum %lu\n", count, limit, sum);
    return 0;
}
