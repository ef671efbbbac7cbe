// The areas of the address space: sorted, apart, neighbours alike are one.
#include "userland.h"

struct area {
    uint64_t start, end;
    int prot;
};

enum { AREAS_MAX = 512 };
static struct area areas[AREAS_MAX];
static int count;

// Index of the first area that ends above `address`.
static int at_or_above(uint64_t address) {
    int low = 0, high = count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (areas[middle].end <= address) low = middle + 1;
        else high = middle;
    }
    return low;
}

static bool insert(int at, struct area area) {
    if (count == AREAS_MAX) return false;
    memmove(&areas[at + 1], &areas[at], (size_t)(count - at) * sizeof area);
    areas[at] = area;
    count++;
    return true;
}

static void erase(int at) {
    count--;
    memmove(&areas[at], &areas[at + 1], (size_t)(count - at) * sizeof areas[0]);
}

// Makes `address` a bound, if it is within an area.
static bool split(uint64_t address) {
    int at = at_or_above(address);
    if (at == count || areas[at].start >= address) return true;
    struct area upper = {address, areas[at].end, areas[at].prot};
    if (!insert(at + 1, upper)) return false;
    areas[at].end = address;
    return true;
}

static void merge_around(uint64_t start, uint64_t end) {
    int at = at_or_above(start - 1);
    while (at + 1 < count && areas[at].end <= end) {
        if (areas[at].end == areas[at + 1].start && areas[at].prot == areas[at + 1].prot) {
            areas[at].end = areas[at + 1].end;
            erase(at + 1);
        } else {
            at++;
        }
    }
}

bool area_remove(uint64_t start, uint64_t end) {
    if (!split(start) || !split(end)) return false;
    int at = at_or_above(start);
    while (at < count && areas[at].start < end) {
        for (uint64_t page = areas[at].start; page < areas[at].end; page += PAGE) page_remove(page);
        erase(at);
    }
    return true;
}

bool area_add(uint64_t start, uint64_t end, int prot) {
    if (!area_remove(start, end)) return false;
    if (!insert(at_or_above(start), (struct area){start, end, prot})) return false;
    merge_around(start, end);
    return true;
}

bool area_protect(uint64_t start, uint64_t end, int prot) {
    if (!area_covers(start, end, 0) || !split(start) || !split(end)) return false;
    for (int at = at_or_above(start); at < count && areas[at].start < end; at++) {
        areas[at].prot = prot;
        for (uint64_t page = areas[at].start; page < areas[at].end; page += PAGE) page_protect(page, prot);
    }
    merge_around(start, end);
    return true;
}

bool area_free(uint64_t start, uint64_t end) {
    int at = at_or_above(start);
    return at == count || areas[at].start >= end;
}

bool area_covers(uint64_t start, uint64_t end, int prot) {
    for (int at = at_or_above(start); start < end; start = areas[at++].end)
        if (at == count || areas[at].start > start || (areas[at].prot & prot) != prot) return false;
    return true;
}

uint64_t area_find_gap(uint64_t bytes) {
    uint64_t top = MMAP_TOP;
    for (int at = at_or_above(MMAP_TOP);; at--) {
        // Above `top` or across it is an area (or nothing), below is the next one (or the beginning).
        if (at < count && areas[at].start < top) top = areas[at].start;
        uint64_t bottom = at > 0 ? areas[at - 1].end : USER_START;
        if (top >= bottom && top - bottom >= bytes) return top - bytes;
        if (at == 0) return 0;
    }
}

bool area_touch(uint64_t address, int prot, bool *memory_full) {
    uint64_t page = page_down(address);
    int at = at_or_above(page);
    // Whoever may write or run may read, as the page tables have it.
    bool may = at < count && areas[at].start <= page && (prot == PROT_READ ? areas[at].prot : areas[at].prot & prot);
    if (!may || page_present(page)) return false;
    *memory_full = !page_add(page, areas[at].prot);
    return !*memory_full;
}
