// dice: chance. Throws two dice with RDRAND and RDSEED: what the hardware answers is not a function
// of anything, so only a log can make a second machine throw the same.
//
//   throws=N  (default 100)
//
// Output: one line per throw with a running checksum of all answers, then the sums' counts:
//   throw 1: 3 + 5 = 8  checksum 9f1c...
//   ...
//   sums: 2:3 3:5 4:8 ...
//   dice: 100 throws, checksum ...
#include "runtime.h"

int main(void) {
    uint64_t throws = cmdline_u64("throws", 100);
    uint64_t checksum = FNV_START, sums[13] = {0};

    for (uint64_t i = 1; i <= throws; i++) {
        uint64_t a = rdrand(), b = rdseed();
        unsigned x = (unsigned)(a % 6) + 1, y = (unsigned)(b % 6) + 1;
        checksum = fnv1a(fnv1a(checksum, a), b);
        sums[x + y]++;
        printf("throw %lu: %u + %u = %u  checksum %016lx\n", i, x, y, x + y, checksum);
    }
    puts("sums:");
    for (int s = 2; s <= 12; s++) printf(" %d:%lu", s, sums[s]);
    printf("\ndice: %lu throws, checksum %016lx\n", throws, checksum);
    return 0;
}
