// The CPU's random numbers. CF says whether there was one (SDM Vol. 2B, RDRAND).
#include "runtime.h"

uint64_t rdrand(void) {
    uint64_t value;
    bool ok;
    do asm volatile("rdrand %0" : "=r"(value), "=@ccc"(ok));
    while (!ok);
    return value;
}

uint64_t rdseed(void) {
    uint64_t value;
    bool ok;
    do asm volatile("rdseed %0" : "=r"(value), "=@ccc"(ok));
    while (!ok);
    return value;
}
