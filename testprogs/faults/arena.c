#include "arena.h"

enum { P = 1, W = 2, U = 4, PS = 0x80 };
#define NX (1ull << 63)

struct frame seen, *seen_at;
uint64_t seen_cr2, user_rsp, user_flags = 2;
uint8_t kernel_stack[4096] __attribute__((aligned(16))), ist_stack[4096] __attribute__((aligned(16)));

static uint64_t pdpt[512] __attribute__((aligned(4096)));
static uint64_t pd[512] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096)));
static uint8_t frames[PAGES][4096] __attribute__((aligned(4096)));

static struct {
    uint32_t reserved;
    uint64_t rsp0, rsp1, rsp2, reserved2, ist[7], reserved3;
    uint16_t reserved4, io_map;
} __attribute__((packed)) tss;
static uint64_t gdt[9] __attribute__((aligned(8)));

uint64_t attempt_rsp;
extern char attempt_return[];
void attempt_raw(const char *code, uint64_t argument, int user);

// ---- control registers ----------------------------------------------------------------------

uint64_t read_cr0(void) {
    uint64_t value;
    asm volatile("mov %%cr0, %0" : "=r"(value));
    return value;
}
void write_cr0(uint64_t value) { asm volatile("mov %0, %%cr0" ::"r"(value)); }
uint64_t read_cr4(void) {
    uint64_t value;
    asm volatile("mov %%cr4, %0" : "=r"(value));
    return value;
}
void write_cr4(uint64_t value) { asm volatile("mov %0, %%cr4" ::"r"(value)); }
uint64_t read_msr(uint32_t msr) {
    uint32_t low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}
void write_msr(uint32_t msr, uint64_t value) { asm volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))); }

// ---- building it ----------------------------------------------------------------------------

static void map(int kind, uint64_t physical, uint64_t flags) { pt[kind] = physical | flags; }

static void build_pages(void) {
    uint64_t *pml4;
    asm volatile("mov %%cr3, %0" : "=r"(pml4));
    pml4[1] = (uint64_t)pdpt | P | W | U;
    pdpt[0] = (uint64_t)pd | P | W | U;
    pd[0] = (uint64_t)pt | P | W | U;
    pd[1] = 1ull << 13 | P | W | U | PS; // bits 13-20 of a 2 MiB entry are reserved (SDM Vol. 3A, table 4-18)

    static const uint64_t flags[PAGES] = {
        [USER_STACK] = P | W | U, [USER_WRITE] = P | W | U, [USER_READ] = P | U, [USER_NX] = P | W | U | NX,
        [KERNEL_WRITE] = P | W,   [KERNEL_READ] = P,        [KERNEL_NX] = P | W | NX,
    };
    for (int kind = 0; kind < PAGES; kind++) {
        frames[kind][0] = 0xcd, frames[kind][1] = DONE; // int $0x80
        map(kind, (uint64_t)frames[kind], flags[kind]);
    }
    map(SNIPPETS, (uint64_t)snippets, P | U);
    map(SNIPPETS + 1, (uint64_t)snippets + 4096, P | U);
}

void set_tss_limit(uint16_t limit) {
    uint64_t base = (uint64_t)&tss;
    // An available 64-bit TSS, DPL 0 (SDM Vol. 3A, figure 8-4).
    gdt[TSS / 8] = limit | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt[TSS / 8 + 1] = base >> 32;
    asm volatile("ltr %w0" ::"r"(TSS));
}

static void build_segments(void) {
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) gdtr;
    asm volatile("sgdt %0" : "=m"(gdtr));
    memcpy(gdt, (const void *)gdtr.base, 5 * sizeof *gdt);
    gdt[DATA_ABSENT / 8] = gdt[DATA0 / 8] & ~(1ull << 47);
    gdt[CODE_ABSENT / 8] = gdt[CODE0 / 8] & ~(1ull << 47);
    gdtr.base = (uint64_t)gdt;
    gdtr.limit = sizeof gdt - 1;
    asm volatile("lgdt %0" ::"m"(gdtr));

    tss.rsp0 = (uint64_t)kernel_stack + sizeof kernel_stack;
    tss.ist[0] = tss.ist[1] = (uint64_t)ist_stack + sizeof ist_stack;
    tss.io_map = sizeof tss; // none: ring 3 has no ports
    set_tss_limit(sizeof tss - 1);
}

// Every exception ends the attempt.
static void report(struct frame *f) {
    seen = *f;
    seen_at = f;
    asm volatile("mov %%cr2, %0" : "=r"(seen_cr2));
    f->rip = (uint64_t)attempt_return;
    f->rsp = attempt_rsp;
    f->cs = CODE0;
    f->ss = DATA0;
    f->rflags = 2;
}

void arena_init(void) {
    extern char vectors[];
    build_pages();
    build_segments();
    for (int v = 0; v < 32; v++) on_vector((uint8_t)v, report);
    for (int v = DONE; v < DONE + 8; v++) on_vector((uint8_t)v, report);
    set_gate(DONE, vectors + 16 * DONE, 0xee, 0); // DPL 3: ring 3 may call it
    write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_NXE);
    write_cr0(read_cr0() | CR0_WP);
    user_rsp = page(USER_STACK) + 4096;
}

// ---- using it -------------------------------------------------------------------------------

const char *address_in(enum ring ring, const char *code) {
    uint64_t offset = (uint64_t)code - (uint64_t)snippets;
    return ring == USER && offset < 2 * 4096 ? (const char *)page(SNIPPETS) + offset : code;
}

void attempt(const char *code, uint64_t argument, enum ring ring) {
    memset(&seen, 0xff, sizeof seen);
    seen_cr2 = ~0ull;
    asm volatile("mov %0, %%cr2" ::"r"(0ull));
    attempt_raw(address_in(ring, code), argument, ring == USER);
}
