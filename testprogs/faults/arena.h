// Where faults happen: an address space with a page of every kind, segments of every kind, and a way to
// run a few instructions in ring 0 or ring 3 and come back with what the CPU reported.
#pragma once
#include "runtime.h"

enum { PF_PRESENT = 1, PF_WRITE = 2, PF_USER = 4, PF_RESERVED = 8, PF_FETCH = 16 };

// Segment selectors. The first five are those of the hand-off.
enum { CODE0 = 0x08, DATA0 = 0x10, DATA3 = 0x1b, CODE3 = 0x23, TSS = 0x28, DATA_ABSENT = 0x38, CODE_ABSENT = 0x40 };

// One page of each kind, side by side. Each begins with `int $0x80`, so that a jump there ends the attempt.
#define ARENA 0x8000000000ull
enum { SNIPPETS = 0, USER_STACK = 2, USER_WRITE, ABSENT, USER_READ, USER_NX, KERNEL_WRITE, KERNEL_READ, KERNEL_NX, PAGES };
static inline uint64_t page(int kind) { return ARENA + (uint64_t)kind * 4096; }
#define RESERVED (ARENA + (2ull << 20)) // mapped by an entry with a reserved bit set

enum ring { KERNEL, USER };
enum { DONE = 0x80 }; // the vector of `int $0x80`: nothing went wrong

// What the CPU saved at the last attempt, and CR2.
extern struct frame seen;
extern uint64_t seen_cr2;
extern struct frame *seen_at; // where on which stack
extern uint64_t user_rsp, user_flags; // for attempts in ring 3

extern char snippets[];
extern uint8_t kernel_stack[4096], ist_stack[4096];

void arena_init(void);
void attempt(const char *code, uint64_t argument, enum ring ring); // argument in RDI
const char *address_in(enum ring ring, const char *code);          // ring 3 sees the snippets elsewhere
void set_tss_limit(uint16_t limit);

// Reading and changing control registers and MSRs.
uint64_t read_cr0(void);
void write_cr0(uint64_t value);
uint64_t read_cr4(void);
void write_cr4(uint64_t value);
uint64_t read_msr(uint32_t msr);
void write_msr(uint32_t msr, uint64_t value);
enum { MSR_EFER = 0xc0000080, MSR_STAR = 0xc0000081, MSR_LSTAR = 0xc0000082, MSR_FMASK = 0xc0000084 };
enum { EFER_SCE = 1, EFER_NXE = 1 << 11, CR0_TS = 1 << 3, CR0_EM = 1 << 2, CR0_WP = 1 << 16, CR0_AM = 1 << 18, CR4_OSFXSR = 1 << 9, CR4_OSXMMEXCPT = 1 << 10 };
