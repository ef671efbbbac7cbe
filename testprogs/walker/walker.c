// walker: a memory walker. Touches every page it is given, then follows pointers from page to page in an
// order that no cache or TLB likes, then reads it all back. A pair has to carry over every page of this.
//
//   mb=N  how much memory to use (default 16, at most what there is)     steps=N  pointers to follow (default 100000)
//
// Output (the same on every machine for the same mb and steps; the sum depends on both):
//   4096 pages, all zero at first
//   filled
//   100000 steps, last page 3360
//   walker: checksum d1c25171b4962703
#include "runtime.h"

enum { PAGE = 4096, FIRST = 2 << 20 };

// Where page `i` keeps its pointer: somewhere else in every page, often across two cache lines.
static uint64_t *slot(uint64_t i) { return (uint64_t *)(FIRST + i * PAGE + (i * 1021) % (PAGE - 8)); }

// All pages in one cycle: for a power of two such a step visits every number once (Knuth 3.2.1.2, theorem A).
static uint64_t next(uint64_t i, uint64_t pages) { return (i * 1664525 + 1013904223) % pages; }

static bool all_zero(uint64_t pages) {
    const uint64_t *p = (const uint64_t *)FIRST, *end = p + pages * PAGE / 8;
    while (p < end)
        if (*p++) return false;
    return true;
}

// One word at the end of each page that reaches over into the next.
static void write_crossing(uint64_t pages) {
    for (uint64_t i = 1; i < pages; i += 3) *(volatile uint64_t *)(FIRST + i * PAGE - 3) = i * 0x0101010101010101ull;
}

static uint64_t checksum(uint64_t pages) {
    uint64_t hash = FNV_START;
    for (uint64_t i = 0; i < pages; i++) {
        const uint64_t *p = (const uint64_t *)(FIRST + i * PAGE);
        uint64_t sum = 0;
        for (int k = 0; k < PAGE / 8; k++) sum = (sum << 1 | sum >> 63) + p[k];
        hash = fnv1a(hash, sum);
    }
    return hash;
}

int main(void) {
    uint64_t bytes = cmdline_u64("mb", 16) << 20, steps = cmdline_u64("steps", 100000), pages = 1;
    if (bytes > boot_info->memory_bytes - FIRST) bytes = boot_info->memory_bytes - FIRST;
    if (bytes > (3ull << 30)) bytes = 3ull << 30; // the identity map ends at 4 GiB
    while (pages * 2 <= bytes / PAGE) pages *= 2;

    printf("%lu pages, %s\n", pages, all_zero(pages) ? "all zero at first" : "NOT ZERO at first");
    for (uint64_t i = 0; i < pages; i++) *slot(i) = (uint64_t)slot(next(i, pages));
    puts("filled\n");

    uint64_t *p = slot(0), i = 0;
    for (uint64_t s = 0; s < steps; s++) {
        p = (uint64_t *)*p;
        i = next(i, pages);
    }
    if (p != slot(i)) {
        puts("walker: LOST ITS WAY\n");
        return 1;
    }
    printf("%lu steps, last page %lu\n", steps, i);

    write_crossing(pages);
    printf("walker: checksum %016lx\n", checksum(pages));
    return 0;
}
