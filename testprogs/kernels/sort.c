// sort: quicksort through a comparison function, then an open-addressing hash table: branches that
// no predictor knows, and loads that depend on loads.
#include "kernel.h"

enum { COUNT = 4000, SLOTS = 8192 };
static uint32_t values[COUNT];
static struct {
    uint32_t key, count;
} table[SLOTS];

static int ascending(uint32_t a, uint32_t b) { return a < b ? -1 : a > b; }
static int (*volatile order)(uint32_t, uint32_t) = ascending; // volatile: called, never inlined

static void quicksort(uint32_t *v, long low, long high, int (*compare)(uint32_t, uint32_t)) {
    while (low < high) {
        uint32_t pivot = v[(low + high) / 2], t;
        long i = low, j = high;
        while (i <= j) {
            while (compare(v[i], pivot) < 0) i++;
            while (compare(v[j], pivot) > 0) j--;
            if (i <= j) t = v[i], v[i++] = v[j], v[j--] = t;
        }
        if (j - low < high - i) quicksort(v, low, j, compare), low = i;
        else quicksort(v, i, high, compare), high = j;
    }
}

static void count_keys(void) {
    memset(table, 0, sizeof table);
    for (int i = 0; i < COUNT; i++) {
        uint32_t key = (values[i] & 0xfff) + 1;
        uint32_t slot = key * 2654435761u % SLOTS;
        while (table[slot].key && table[slot].key != key) slot = (slot + 1) % SLOTS;
        table[slot].key = key;
        table[slot].count++;
    }
}

uint64_t kernel_run(uint64_t n) {
    uint64_t sum = 0, random = 88172645463325252ull;
    for (uint64_t i = 0; i < n; i++) {
        for (int k = 0; k < COUNT; k++) values[k] = (uint32_t)next_random(&random);
        quicksort(values, 0, COUNT - 1, order);
        count_keys();
        sum = mix(sum, values[i % COUNT]);
        for (int s = 0; s < SLOTS; s++) sum += (uint64_t)table[s].count * (uint64_t)s;
    }
    return sum;
}
