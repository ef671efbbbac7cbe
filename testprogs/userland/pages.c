// Frames and page tables (SDM Vol. 3A, 4.5).
#include "userland.h"

enum { PRESENT = 1 << 0, WRITABLE = 1 << 1, USER = 1 << 2, LARGE = 1 << 7, GLOBAL = 1 << 8 };
#define NO_EXECUTE (1ull << 63)
#define FRAME_MASK 0x000ffffffffff000ull

static uint64_t *root;
static uint64_t next_frame, frames_end; // never used so far
static uint64_t free_frame;             // given back: each holds the address of the next one

// A frame of zeros; 0 if there is none.
static uint64_t frame_take(void) {
    uint64_t frame = free_frame;
    if (frame) {
        free_frame = *(uint64_t *)direct(frame);
    } else {
        if (next_frame + PAGE > frames_end) return 0;
        frame = next_frame;
        next_frame += PAGE;
    }
    memset(direct(frame), 0, PAGE);
    return frame;
}

static void frame_give_back(uint64_t frame) {
    *(uint64_t *)direct(frame) = free_frame;
    free_frame = frame;
}

// The entry that maps `address`; NULL if a table is missing and may not (`make`) or cannot be made.
static uint64_t *entry_of(uint64_t address, bool make) {
    uint64_t *table = root;
    for (int shift = 39; shift > 12; shift -= 9) {
        uint64_t *entry = &table[address >> shift & 511];
        if (!(*entry & PRESENT)) {
            uint64_t frame = make ? frame_take() : 0;
            if (!frame) return NULL;
            *entry = frame | PRESENT | WRITABLE | USER;
        }
        table = direct(*entry & FRAME_MASK);
    }
    return &table[address >> 12 & 511];
}

// Pages that nobody may touch (PROT_NONE) keep their frame: an entry that is not present.
static uint64_t entry_for(uint64_t frame, int prot) {
    return frame | (prot ? PRESENT | USER : 0) | (prot & PROT_WRITE ? WRITABLE : 0) | (prot & PROT_EXEC ? 0 : NO_EXECUTE);
}

static void forget(uint64_t address) { asm volatile("invlpg (%0)" ::"r"(address) : "memory"); }

bool page_present(uint64_t address) {
    const uint64_t *entry = entry_of(address, false);
    return entry && *entry & FRAME_MASK;
}

bool page_add(uint64_t address, int prot) {
    uint64_t *entry = entry_of(address, true);
    uint64_t frame = entry ? frame_take() : 0;
    if (frame) *entry = entry_for(frame, prot);
    return frame != 0;
}

void page_protect(uint64_t address, int prot) {
    if (!page_present(address)) return;
    uint64_t *entry = entry_of(address, false);
    *entry = entry_for(*entry & FRAME_MASK, prot);
    forget(address);
}

void page_remove(uint64_t address) {
    if (!page_present(address)) return;
    uint64_t *entry = entry_of(address, false);
    frame_give_back(*entry & FRAME_MASK);
    *entry = 0;
    forget(address);
}

void page_move(uint64_t from, uint64_t to) {
    if (!page_present(from)) return;
    uint64_t *source = entry_of(from, false), *target = entry_of(to, true);
    if (!target) return;
    *target = *source;
    *source = 0;
    forget(from);
}

// The loader's tables map physical memory at 0 with pages of 2 MiB: their second level serves as the direct map.
// The kernel's own 2 MiB are the only other thing in the new tables.
void pages_init(uint64_t first_free_frame) {
    uint64_t boot_root;
    asm volatile("mov %%cr3, %0" : "=r"(boot_root));
    next_frame = page_up(first_free_frame);
    frames_end = boot_info->memory_bytes < PHYSICAL_MAX ? boot_info->memory_bytes : PHYSICAL_MAX;

    uint64_t boot_level_2 = *(uint64_t *)boot_root;
    static uint64_t tables[3][PAGE / 8] __attribute__((aligned(PAGE)));
    tables[0][DIRECT_MAP >> 39 & 511] = boot_level_2;
    tables[0][0] = (uint64_t)tables[1] | PRESENT | WRITABLE | USER;
    tables[1][0] = (uint64_t)tables[2] | PRESENT | WRITABLE | USER;
    tables[2][0] = PRESENT | WRITABLE | LARGE;
    root = tables[0];
    asm volatile("mov %0, %%cr3" ::"r"(tables[0]) : "memory");
}
