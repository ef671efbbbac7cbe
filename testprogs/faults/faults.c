// faults: a fault zoo. Raises every exception that a program can raise here, in ring 0 and ring 3, and
// checks what the CPU reports: vector, error code, saved RIP and CS, and CR2 for page faults (SDM Vol. 3A, 6.15).
//
// Output: one line per case, "name: ok" or what was wrong, then "faults: N cases, 0 wrong".
//   triple   instead: a triple fault, which switches the machine off
//   dead     instead: HLT with interrupts off, from which nothing wakes it
//
// Not here, because 64-bit mode has no way to raise them: #OF (INTO is undefined), #BR (BOUND is undefined).
#include "arena.h"

static unsigned cases, wrong;

static void line(const char *name, bool ok) {
    cases++;
    if (!ok) wrong++;
    printf("%s: %s", name, ok ? "ok\n" : "WRONG");
    if (!ok) printf(", vector %lu error %lx cs %lx rip %lx cr2 %lx\n", seen.vector, seen.error, seen.cs, seen.rip, seen_cr2);
}

static bool saw(const char *at, enum ring ring, uint8_t vector, uint64_t error) {
    return seen.vector == vector && seen.error == error && seen.rip == (uint64_t)address_in(ring, at) &&
           seen.cs == (ring == USER ? CODE3 : CODE0) && seen.ss == (ring == USER ? DATA3 : DATA0);
}

static void check(const char *name, const char *code, const char *at, uint64_t argument, enum ring ring, uint8_t vector,
                  uint64_t error) {
    attempt(code, argument, ring);
    line(name, saw(at, ring, vector, error));
}

static void check_page(const char *name, const char *code, const char *at, uint64_t argument, enum ring ring, uint64_t error, uint64_t cr2) {
    attempt(code, argument, ring);
    line(name, saw(at, ring, 14, error) && seen_cr2 == cr2);
}

#define CHECK(name, code, argument, ring, vector, error)          \
    do {                                                          \
        extern char code[], code##_at[];                          \
        check(name, code, code##_at, argument, ring, vector, error); \
    } while (0)
#define CHECK_PAGE(name, code, argument, ring, error, cr2)             \
    do {                                                               \
        extern char code[], code##_at[];                               \
        check_page(name, code, code##_at, argument, ring, error, cr2); \
    } while (0)
// Nothing must happen: the attempt ends at its own `int $0x80`.
#define CHECK_FINE(name, code, argument, ring)   \
    do {                                         \
        extern char code[];                      \
        attempt(code, argument, ring);           \
        line(name, seen.vector == DONE);         \
    } while (0)

enum { DE = 0, DB = 1, BP = 3, UD = 6, NM = 7, DF = 8, TS = 10, NP = 11, SS = 12, GP = 13, AC = 17, XM = 19 };
#define NON_CANONICAL 0x0000800000000000ull

static void arithmetic_and_traps(void) {
    extern char vectors[];
    CHECK("#DE divide by zero", divide_zero, 0, KERNEL, DE, 0);
    CHECK("#DE quotient too large", divide_overflow, 0, KERNEL, DE, 0);
    CHECK("#DE in ring 3", divide_zero, 0, USER, DE, 0);
    CHECK("#DB INT1", icebp, 0, KERNEL, DB, 0);
    CHECK("#DB single step", single_step, 0, KERNEL, DB, 0);
    CHECK("#DB single step in ring 3", single_step, 0, USER, DB, 0);
    CHECK("#BP INT3", breakpoint, 0, KERNEL, BP, 0);
    CHECK("INT 0x81", int_81, 0, KERNEL, 0x81, 0);
    CHECK("#GP INT3 in ring 3, gate of ring 0", breakpoint_refused, 0, USER, GP, 3 * 8 + 2);
    CHECK("#GP INT 0x81 in ring 3, gate of ring 0", int_81_refused, 0, USER, GP, 0x81 * 8 + 2);
    set_gate(BP, vectors + 16 * BP, 0xee, 0);
    CHECK("#BP INT3 in ring 3, gate of ring 3", breakpoint, 0, USER, BP, 0);
    set_gate(0x81, vectors + 16 * 0x81, 0x0e, 0);
    CHECK("#NP INT 0x81, gate not present", int_81_refused, 0, KERNEL, NP, 0x81 * 8 + 2);
    set_gate(0x81, vectors + 16 * 0x81, 0x8e, 0);
}

static void undefined_instructions(void) {
    CHECK("#UD UD2", undefined, 0, KERNEL, UD, 0);
    CHECK("#UD UD2 in ring 3", undefined, 0, USER, UD, 0);
    CHECK("#UD PUSH ES", undefined_push_es, 0, KERNEL, UD, 0);
    CHECK("#UD INTO", undefined_into, 0, KERNEL, UD, 0);
    CHECK("#UD LOCK NOP", undefined_lock, 0, KERNEL, UD, 0);
    CHECK("#UD MOV from CR1", undefined_cr1, 0, KERNEL, UD, 0);
    CHECK("#UD SYSCALL while EFER.SCE=0", call_system, 0, KERNEL, UD, 0);
    CHECK("#GP more than 15 bytes", too_long, 0, KERNEL, GP, 0);
    write_cr0(read_cr0() | CR0_TS);
    CHECK("#NM SSE while CR0.TS=1", vector_op, 0, KERNEL, NM, 0);
    write_cr0((read_cr0() & ~(uint64_t)CR0_TS) | CR0_EM);
    CHECK("#UD SSE while CR0.EM=1", vector_op, 0, KERNEL, UD, 0);
    write_cr0(read_cr0() & ~(uint64_t)CR0_EM);
    write_cr4(read_cr4() & ~(uint64_t)CR4_OSFXSR);
    CHECK("#UD SSE while CR4.OSFXSR=0", vector_op, 0, KERNEL, UD, 0);
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    CHECK_FINE("SSE when all is well", vector_op, 0, KERNEL);
    CHECK("#XM DIVSS by zero, not masked", divide_vector, 0, KERNEL, XM, 0);
    uint32_t mxcsr = 0x1f80;
    asm volatile("ldmxcsr %0" ::"m"(mxcsr));
}

static void segments(void) {
    CHECK("#GP DS: beyond the table", load_ds, 0x1000, KERNEL, GP, 0x1000);
    CHECK("#NP DS: not present", load_ds, DATA_ABSENT, KERNEL, NP, DATA_ABSENT);
    CHECK("#GP DS: of ring 0, in ring 3", load_ds, DATA0, USER, GP, DATA0);
    CHECK("#SS SS: not present", load_ss, DATA_ABSENT, KERNEL, SS, DATA_ABSENT);
    CHECK("#GP SS: code", load_ss, CODE0, KERNEL, GP, CODE0);
    CHECK("#GP SS: of ring 3, in ring 0", load_ss, DATA3, KERNEL, GP, DATA3 & ~3);
    CHECK("#GP SS: null in ring 3", load_ss, 0, USER, GP, 0);
    CHECK("#GP LTR: a data segment", load_tr, DATA0, KERNEL, GP, DATA0);
    CHECK("#GP far RET: null", far_return, 0, KERNEL, GP, 0);
    CHECK("#GP far RET: data", far_return, DATA0, KERNEL, GP, DATA0);
    CHECK("#NP far RET: not present", far_return, CODE_ABSENT, KERNEL, NP, CODE_ABSENT);
    CHECK("#GP IRETQ: null", iret, 0, KERNEL, GP, 0);
    CHECK("#GP IRETQ: data", iret, DATA0, KERNEL, GP, DATA0);
    CHECK("#GP IRETQ: nested task", iret_nested, 0, KERNEL, GP, 0);
}

static void protection(void) {
    CHECK("#GP non-canonical load", load, NON_CANONICAL, KERNEL, GP, 0);
    CHECK("#GP non-canonical store in ring 3", store, NON_CANONICAL, USER, GP, 0);
    CHECK("#SS non-canonical by RBP", load_by_rbp, NON_CANONICAL, KERNEL, SS, 0);
    CHECK("#SS non-canonical PUSH in ring 3", push_there, NON_CANONICAL + 8, USER, SS, 0);
    CHECK("#GP non-canonical JMP", fetch, NON_CANONICAL, KERNEL, GP, 0);
    CHECK("#GP MOVAPS not aligned", load_vector, page(KERNEL_WRITE) + 8, KERNEL, GP, 0);
    CHECK("#GP CR0.PG without PE", write_cr0_bad, 0x80000000, KERNEL, GP, 0);
    CHECK("#GP CR4 without PAE", write_cr4_bad, read_cr4() & ~0x20ull, KERNEL, GP, 0);
    CHECK("#GP CR4 reserved bit", write_cr4_bad, read_cr4() | 1ull << 40, KERNEL, GP, 0);
    CHECK("#GP EFER reserved bits", write_msr_bad, MSR_EFER, KERNEL, GP, 0);
    CHECK("#GP LSTAR non-canonical", write_msr_bad, MSR_LSTAR, KERNEL, GP, 0);
    CHECK("#GP HLT in ring 3", privileged_hlt, 0, USER, GP, 0);
    CHECK("#GP CLI in ring 3", privileged_cli, 0, USER, GP, 0);
    CHECK("#GP STI in ring 3", privileged_sti, 0, USER, GP, 0);
    CHECK("#GP MOV from CR0 in ring 3", privileged_cr0, 0, USER, GP, 0);
    CHECK("#GP MOV to CR3 in ring 3", privileged_cr3, 0, USER, GP, 0);
    CHECK("#GP LGDT in ring 3", privileged_lgdt, page(USER_READ), USER, GP, 0);
    CHECK("#GP LIDT in ring 3", privileged_lidt, page(USER_READ), USER, GP, 0);
    CHECK("#GP RDMSR in ring 3", privileged_rdmsr, 0, USER, GP, 0);
    CHECK("#GP WRMSR in ring 3", privileged_wrmsr, 0, USER, GP, 0);
    CHECK("#GP INVLPG in ring 3", privileged_invlpg, page(USER_READ), USER, GP, 0);
    CHECK("#GP CLTS in ring 3", privileged_clts, 0, USER, GP, 0);
    CHECK("#GP SWAPGS in ring 3", privileged_swapgs, 0, USER, GP, 0);
    CHECK("#UD SYSRET in ring 3 while EFER.SCE=0", privileged_sysret, 0, USER, UD, 0);
    CHECK("#GP IN in ring 3", privileged_in, 0, USER, GP, 0);
    CHECK("#GP OUT in ring 3", privileged_out, 0, USER, GP, 0);
}

static void page_faults(void) {
    uint64_t absent = page(ABSENT) + 0x123, at;

    CHECK_PAGE("#PF load, absent", load, absent, KERNEL, 0, absent);
    CHECK_PAGE("#PF store, absent", store, absent, KERNEL, PF_WRITE, absent);
    at = page(ABSENT);
    check_page("#PF fetch, absent", (char *)at, (char *)at, 0, KERNEL, PF_FETCH, at);
    at = page(KERNEL_READ) + 8;
    CHECK_PAGE("#PF store, read-only", store, at, KERNEL, PF_PRESENT | PF_WRITE, at);
    CHECK_PAGE("#PF modify, read-only", modify, at, KERNEL, PF_PRESENT | PF_WRITE, at);
    write_cr0(read_cr0() & ~(uint64_t)CR0_WP);
    CHECK_FINE("store, read-only, CR0.WP=0", store, at, KERNEL);
    write_cr0(read_cr0() | CR0_WP);
    CHECK_PAGE("#PF store, read-only, CR0.WP=1 again", store, at, KERNEL, PF_PRESENT | PF_WRITE, at);
    at = page(KERNEL_NX);
    check_page("#PF fetch, no-execute", (char *)at, (char *)at, 0, KERNEL, PF_PRESENT | PF_FETCH, at);
    CHECK_PAGE("#PF load, reserved bit", load, RESERVED, KERNEL, PF_PRESENT | PF_RESERVED, RESERVED);
    CHECK_PAGE("#PF store, reserved bit", store, RESERVED, KERNEL, PF_PRESENT | PF_RESERVED | PF_WRITE, RESERVED);
    check_page("#PF fetch, reserved bit", (char *)RESERVED, (char *)RESERVED, 0, KERNEL, PF_PRESENT | PF_RESERVED | PF_FETCH, RESERVED);

    CHECK_PAGE("#PF load, absent, ring 3", load, absent, USER, PF_USER, absent);
    CHECK_PAGE("#PF store, absent, ring 3", store, absent, USER, PF_USER | PF_WRITE, absent);
    CHECK_PAGE("#PF push, absent, ring 3", push_there, absent, USER, PF_USER | PF_WRITE, absent - 8);
    at = page(ABSENT);
    check_page("#PF fetch, absent, ring 3", (char *)at, (char *)at, 0, USER, PF_USER | PF_FETCH, at);
    at = page(KERNEL_WRITE);
    CHECK_PAGE("#PF load, of ring 0, ring 3", load, at, USER, PF_PRESENT | PF_USER, at);
    CHECK_PAGE("#PF store, of ring 0, ring 3", store, at, USER, PF_PRESENT | PF_USER | PF_WRITE, at);
    check_page("#PF fetch, of ring 0, ring 3", (char *)at, (char *)at, 0, USER, PF_PRESENT | PF_USER | PF_FETCH, at);
    at = page(USER_READ);
    CHECK_PAGE("#PF store, read-only, ring 3", store, at + 16, USER, PF_PRESENT | PF_USER | PF_WRITE, at + 16);
    at = page(USER_NX);
    check_page("#PF fetch, no-execute, ring 3", (char *)at, (char *)at, 0, USER, PF_PRESENT | PF_USER | PF_FETCH, at);
    CHECK_PAGE("#PF load, reserved bit, ring 3", load, RESERVED, USER, PF_PRESENT | PF_RESERVED | PF_USER, RESERVED);
    CHECK_PAGE("#PF store, reserved bit, ring 3", store, RESERVED, USER, PF_PRESENT | PF_RESERVED | PF_USER | PF_WRITE, RESERVED);
    check_page("#PF fetch, reserved bit, ring 3", (char *)RESERVED, (char *)RESERVED, 0, USER, PF_PRESENT | PF_RESERVED | PF_USER | PF_FETCH, RESERVED);
    CHECK_FINE("load, store and fetch allowed, ring 3", fetch, page(USER_WRITE), USER);
}

static void page_faults_in_part(void) {
    uint64_t end = page(ABSENT); // USER_WRITE lies before it
    volatile uint8_t *last = (volatile uint8_t *)end - 1;

    CHECK_PAGE("#PF load over the end of a page", load, end - 3, KERNEL, 0, end);
    *last = 0x77;
    CHECK_PAGE("#PF store over the end of a page", store, end - 3, KERNEL, PF_WRITE, end);
    line("... which wrote nothing", *last == 0x77);

    *last = 0;
    uint64_t begin = end - 16;
    extern char fill[], fill_at[];
    attempt(fill, begin, USER);
    line("#PF in the middle of REP STOSB", saw(fill_at, USER, 14, PF_USER | PF_WRITE) && seen_cr2 == end);
    line("... with RCX and RDI as far as it came", seen.rcx == 16 && seen.rdi == end);
    line("... and the bytes before it written", *last == (uint8_t)seen.rax);

    write_msr(MSR_EFER, read_msr(MSR_EFER) & ~(uint64_t)EFER_NXE); // now bit 63 is a reserved bit
    CHECK_PAGE("#PF load, NX bit while EFER.NXE=0", load, page(KERNEL_NX), KERNEL, PF_PRESENT | PF_RESERVED, page(KERNEL_NX));
    write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_NXE);
}

static void stacks(void) {
    extern char vectors[];
    uint64_t frame = sizeof(struct frame);

    set_gate(0x81, vectors + 16 * 0x81, 0xee, 0);
    CHECK("INT 0x81 in ring 3", int_81, 0, USER, 0x81, 0);
    line("... on the stack of TSS.RSP0", (uint64_t)seen_at == (uint64_t)kernel_stack + sizeof kernel_stack - frame);
    line("... with the old stack saved", seen.rsp == user_rsp);
    set_gate(0x81, vectors + 16 * 0x81, 0xee, 2);
    CHECK("INT 0x81 on an IST stack", int_81, 0, KERNEL, 0x81, 0);
    line("... which is that of TSS.IST2", (uint64_t)seen_at == (uint64_t)ist_stack + sizeof ist_stack - frame);
    set_tss_limit(0x0b); // RSP0 is within it, IST2 is not
    CHECK("#TS the TSS is too short", int_81_refused, 0, KERNEL, TS, TSS);
    set_tss_limit(0x67);
    set_gate(0x81, vectors + 16 * 0x81, 0x8e, 0);
}

static void alignment(void) {
    uint64_t odd = page(USER_WRITE) + 9;
    CHECK_FINE("load not aligned, CR0.AM=0", load, odd, USER);
    write_cr0(read_cr0() | CR0_AM);
    CHECK_FINE("load not aligned, EFLAGS.AC=0", load, odd, USER);
    user_flags = 0x40002;
    CHECK("#AC load not aligned, ring 3", load, odd, USER, AC, 0);
    CHECK_FINE("load aligned, ring 3", load, odd - 1, USER);
    user_flags = 2;
    write_cr0(read_cr0() & ~(uint64_t)CR0_AM);
}

static void system_calls(void) {
    extern char syscall_entry[], enter_by_sysret[], call_system_twice[], call_system_twice_at[];
    extern uint64_t syscall_rcx, syscall_r11, syscall_flags;
    // CS and SS of ring 0 from bits 32-47, of ring 3 from bits 48-63: SS = that + 8, CS = that + 16.
    write_msr(MSR_STAR, (uint64_t)(DATA0 | 3) << 48 | (uint64_t)CODE0 << 32);
    write_msr(MSR_LSTAR, (uint64_t)syscall_entry);
    write_msr(MSR_FMASK, 0x200);
    write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_SCE);
    CHECK("#GP SYSRET in ring 3", privileged_sysret, 0, USER, GP, 0);

    // SYSRET into ring 3, there SYSCALL twice, then INT 0x80 to get out again.
    const char *user = address_in(USER, call_system_twice), *behind = address_in(USER, call_system_twice_at);
    attempt(enter_by_sysret, (uint64_t)user, KERNEL);
    line("SYSRET and SYSCALL", seen.vector == DONE && seen.cs == CODE3 && seen.ss == DATA3 && seen.rip == (uint64_t)behind + 2);
    line("... RCX is where it came from", syscall_rcx == (uint64_t)behind);
    line("... R11 is its flags", syscall_r11 == 0x202);
    line("... FMASK cleared IF", (syscall_flags & 0x200) == 0);
    line("... and SYSRET set it again", (seen.rflags & 0x200) != 0);
}

static void double_fault(void) {
    extern char vectors[], load[];
    set_gate(GP, vectors + 16 * GP, 0x0e, 0); // delivering #GP now raises #NP
    attempt(load, NON_CANONICAL, KERNEL);
    line("#DF: #NP while delivering #GP", seen.vector == DF && seen.error == 0);
    set_gate(GP, vectors + 16 * GP, 0x8e, 0);
}

static _Noreturn void triple_fault(void) {
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) nothing = {0, 0};
    puts("triple fault now\n");
    asm volatile("lidt %0; int3" ::"m"(nothing));
    puts("NO triple fault\n");
    exit(1);
}

int main(void) {
    if (cmdline_has("triple")) triple_fault();
    if (cmdline_has("dead")) {
        puts("halting for good\n");
        for (;;) asm volatile("cli; hlt");
    }
    arena_init();
    arithmetic_and_traps();
    undefined_instructions();
    segments();
    protection();
    page_faults();
    page_faults_in_part();
    alignment();
    stacks();
    system_calls();
    double_fault();
    printf("faults: %u cases, %u wrong\n", cases, wrong);
    return wrong != 0;
}
