// selfmod: a program that changes itself. A processor must run the instruction that is in memory now, not
// the one it decoded a moment ago, even when a store changes the very next one (SDM Vol. 3A, 8.1.3: stores
// through the same linear address are seen at once; through another one, after a jump and a serializing instruction).
//
//   rounds=N  how often each part is repeated (default 1000)
//
// Output: one line per part, then the verdict:
//   an immediate patched in a loop: ok
//   ...
//   selfmod: 0 wrong
#include "runtime.h"

enum { MOV_EAX = 0xb8, RET = 0xc3, MOV_BYTES = 5 };

static uint8_t code[3 * 4096] __attribute__((aligned(4096))); // data pages; every page is executable here
static unsigned wrong;

static void line(const char *name, bool ok) {
    if (!ok) wrong++;
    printf("%s: %s\n", name, ok ? "ok" : "WRONG");
}

typedef uint32_t function(void);
static uint32_t call(const void *at) { return ((function *)(uintptr_t)at)(); }

// mov $value, %eax; ret
static void emit(uint8_t *at, uint32_t value) {
    at[0] = MOV_EAX;
    memcpy(at + 1, &value, 4);
    at[MOV_BYTES] = RET;
}

static bool immediate_in_a_loop(uint64_t rounds) {
    bool ok = true;
    emit(code, 0);
    for (uint32_t i = 0; i < rounds; i++) {
        *(volatile uint32_t *)(code + 1) = i;
        ok &= call(code) == i;
    }
    return ok;
}

// Each store changes an instruction further on in the same straight piece of code. EAX counts up if it became
// `inc %eax` (ff c0), down if it is still or again `dec %eax` (ff c8): the second byte is what is stored.
static bool ahead_in_the_same_block(uint64_t rounds) {
    uint32_t sum = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        uint32_t delta = 0;
        asm volatile("movb $0xc0, 1f+1(%%rip)\n"
                     "1: dec %0\n"              // now inc
                     "   movb $0xc0, 2f+1(%%rip)\n"
                     "   nop\n"
                     "   nop\n"
                     "2: dec %0\n"              // now inc
                     "   movb $0xc8, 1b+1(%%rip)\n"
                     "   movb $0xc8, 2b+1(%%rip)\n"
                     "   movb $0xc8, 3f+1(%%rip)\n"
                     "3: dec %0\n"              // unchanged: the same byte stored
                     : "+a"(delta)::"memory", "cc");
        sum += delta;
    }
    return sum == rounds; // 1 + 1 - 1 each time
}

// REP MOVSB writes the instruction behind itself.
static bool string_instruction_ahead(uint64_t rounds) {
    uint32_t sum = 0;
    static const uint8_t inc[2] = {0xff, 0xc0}, dec[2] = {0xff, 0xc8};
    for (uint64_t i = 0; i < rounds; i++) {
        uint32_t delta = 0;
        const uint8_t *from = i & 1 ? inc : dec;
        uint64_t count = 2;
        asm volatile("lea 1f(%%rip), %%rdi\n"
                     "   rep movsb\n"
                     "1: dec %0\n"
                     : "+a"(delta), "+S"(from), "+c"(count)::"rdi", "memory", "cc");
        sum += i & 1 ? delta - 1 : delta + 1;
    }
    return sum == 0;
}

// A loop that ends because it overwrites its own branch.
static bool loop_that_ends_itself(uint64_t rounds) {
    uint64_t n = 0;
    asm volatile("1: inc %0\n"
                 "   cmp %1, %0\n"
                 "   jne 2f\n"
                 "   movb $0x00, 3f+1(%%rip)\n" // jmp to the next instruction
                 "2: nop\n"
                 "3: .byte 0xeb, 1b - 4f\n"     // jmp 1b
                 "4: movb $(1b - 4b), 3b+1(%%rip)\n"
                 : "+r"(n)
                 : "r"(rounds)
                 : "memory", "cc");
    return n == rounds;
}

static bool copied_and_replaced(uint64_t rounds) {
    bool ok = true;
    static uint8_t one[MOV_BYTES + 1], two[MOV_BYTES + 1];
    emit(one, 1111);
    emit(two, 2222);
    for (uint64_t i = 0; i < rounds; i++) {
        uint8_t *at = code + i % 4096;
        memcpy(at, i & 1 ? one : two, sizeof one);
        ok &= call(at) == (i & 1 ? 1111 : 2222);
        memcpy(at, i & 1 ? two : one, sizeof one);
        ok &= call(at) == (i & 1 ? 2222 : 1111);
    }
    return ok;
}

// The instruction lies across two pages; first its half on one page changes, then its half on the other.
static bool across_pages(uint64_t rounds) {
    bool ok = true;
    for (int first = 1; first < MOV_BYTES; first++) {
        uint8_t *at = code + 4096 - first, *immediate = at + 1;
        emit(at, 0);
        for (uint64_t i = 0; i < rounds; i++) {
            immediate[0] = (uint8_t)i;
            ok &= call(at) == ((uint32_t)(uint8_t)i | (uint32_t)immediate[3] << 24);
            immediate[3] = (uint8_t)(i * 7);
            ok &= call(at) == ((uint32_t)(uint8_t)i | (uint32_t)(uint8_t)(i * 7) << 24);
        }
    }
    return ok;
}

// The next page gets other contents while a jump into it stays as it is.
static bool jump_into_changed_page(uint64_t rounds) {
    bool ok = true;
    uint8_t *from = code + 4096 - 5, *to = code + 4096;
    int32_t distance = (int32_t)(to + 100 - (from + 5));
    from[0] = 0xe9; // jmp
    memcpy(from + 1, &distance, 4);
    for (uint32_t i = 0; i < rounds; i++) {
        emit(to + 100, i);
        ok &= call(from) == i;
    }
    return ok;
}

// The same physical page at another linear address: 3 GiB, where the identity map is replaced.
static bool through_an_alias(uint64_t rounds) {
    enum { DIRECTORY = 0x6000, ALIAS_FLAGS = 0x83 }; // the hand-off's page directory of the fourth GiB; 2 MiB, writable
    uint64_t alias = 3ull << 30, *entry = (uint64_t *)DIRECTORY, saved = *entry;
    *entry = ((uint64_t)code & ~0x1fffffull) | ALIAS_FLAGS;
    asm volatile("invlpg (%0)" ::"r"(alias) : "memory");

    bool ok = true;
    uint8_t *other = (uint8_t *)(alias + ((uint64_t)code & 0x1fffff));
    emit(code, 0);
    for (uint32_t i = 0; i < rounds; i++) {
        uint32_t a = 0, c = 0;
        *(volatile uint32_t *)(other + 1) = i;
        asm volatile("cpuid" : "+a"(a), "+c"(c)::"rbx", "rdx", "memory"); // serializes
        ok &= call(code) == i && call(other) == i;
    }
    *entry = saved;
    asm volatile("invlpg (%0)" ::"r"(alias) : "memory");
    return ok;
}

int main(void) {
    uint64_t rounds = cmdline_u64("rounds", 1000);
    line("an immediate patched in a loop", immediate_in_a_loop(rounds));
    line("instructions patched ahead in the running block", ahead_in_the_same_block(rounds));
    line("an instruction written by the REP MOVSB before it", string_instruction_ahead(rounds));
    line("a loop that overwrites its own branch", loop_that_ends_itself(rounds));
    line("code copied, called, replaced, called", copied_and_replaced(rounds));
    line("an instruction across two pages", across_pages(rounds));
    line("a jump into a page that changes", jump_into_changed_page(rounds));
    line("code changed through another linear address", through_an_alias(rounds));
    printf("selfmod: %u wrong\n", wrong);
    return wrong != 0;
}
