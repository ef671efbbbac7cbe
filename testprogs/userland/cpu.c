// What a kernel prepares before it lets a program run: a stack for entries from ring 3, SYSCALL, vector registers.
#include "userland.h"

// Selectors of the loader's descriptor table (ARCHITECTURE.md, "Bare ELF hand-off").
enum { CODE0 = 0x08, DATA0 = 0x10, TSS = 0x28 };
enum { MSR_EFER = 0xc0000080, MSR_STAR = 0xc0000081, MSR_LSTAR, MSR_CSTAR, MSR_FMASK, MSR_FS_BASE = 0xc0000100 };
enum { EFER_SCE = 1 << 0, EFER_NXE = 1 << 11 };
enum { CR0_MP = 1 << 1, CR0_NE = 1 << 5, CR0_WP = 1 << 16 };
enum { CR4_OSFXSR = 1 << 9, CR4_OSXMMEXCPT = 1 << 10, CR4_FSGSBASE = 1 << 16, CR4_OSXSAVE = 1 << 18 };
enum { CPUID_1_ECX_XSAVE = 1 << 26, CPUID_1_ECX_AVX = 1 << 28, CPUID_1_ECX_RDRAND = 1 << 30, CPUID_7_EBX_FSGSBASE = 1 << 0 };
enum { XCR0_X87 = 1 << 0, XCR0_SSE = 1 << 1, XCR0_AVX = 1 << 2 };
enum { RFLAGS_TF_IF_DF_NT_AC = 0x44700 };

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static struct {
    uint32_t reserved0;
    uint64_t rsp0, rsp1, rsp2, reserved1, ist[7], reserved2;
    uint16_t reserved3, io_map;
} __attribute__((packed)) tss;

char kernel_stack[64 << 10] __attribute__((aligned(16)));
char *const kernel_stack_top = kernel_stack + sizeof kernel_stack;

extern char syscall_entry[], vectors[];

static struct cpuid cpuid(uint32_t leaf) {
    struct cpuid c;
    asm volatile("cpuid" : "=a"(c.eax), "=b"(c.ebx), "=c"(c.ecx), "=d"(c.edx) : "a"(leaf), "c"(0));
    return c;
}

static uint64_t msr(uint32_t number) {
    uint32_t low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    return (uint64_t)high << 32 | low;
}

static void set_msr(uint32_t number, uint64_t value) {
    asm volatile("wrmsr" ::"c"(number), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static void rings_init(void) {
    tss.rsp0 = (uint64_t)kernel_stack_top;
    tss.io_map = sizeof tss; // none: ring 3 has no ports
    struct {
        uint16_t limit;
        uint64_t *base;
    } __attribute__((packed)) gdtr;
    asm volatile("sgdt %0" : "=m"(gdtr));
    // An available 64-bit TSS (SDM Vol. 3A, figure 8-4).
    uint64_t base = (uint64_t)&tss;
    gdtr.base[TSS / 8] = (sizeof tss - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdtr.base[TSS / 8 + 1] = base >> 32;
    asm volatile("ltr %w0" ::"r"(TSS));
    set_gate(3, vectors + 16 * 3, 0xee, 0); // ring 3 may INT3
}

static void syscall_init(void) {
    set_msr(MSR_EFER, msr(MSR_EFER) | EFER_SCE | EFER_NXE);
    // SYSRET takes SS from the descriptor behind the one named here, CS from the one behind that.
    set_msr(MSR_STAR, (uint64_t)DATA0 << 48 | (uint64_t)CODE0 << 32);
    set_msr(MSR_LSTAR, (uint64_t)syscall_entry);
    set_msr(MSR_FMASK, RFLAGS_TF_IF_DF_NT_AC);
}

static void vectors_init(void) {
    uint64_t cr0, cr4;
    asm volatile("mov %%cr0, %0" : "=r"(cr0));
    asm volatile("mov %0, %%cr0" ::"r"(cr0 | CR0_MP | CR0_NE | CR0_WP));
    asm volatile("mov %%cr4, %0" : "=r"(cr4));
    cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
    if (cpuid(7).ebx & CPUID_7_EBX_FSGSBASE) cr4 |= CR4_FSGSBASE;
    uint32_t features = cpuid(1).ecx;
    if (features & CPUID_1_ECX_XSAVE) cr4 |= CR4_OSXSAVE;
    asm volatile("mov %0, %%cr4" ::"r"(cr4));
    if (features & CPUID_1_ECX_XSAVE) {
        uint32_t enabled = XCR0_X87 | XCR0_SSE | (features & CPUID_1_ECX_AVX ? XCR0_AVX : 0);
        asm volatile("xsetbv" ::"c"(0), "a"(enabled), "d"(0));
    }
    const uint32_t mxcsr = 0x1f80;
    asm volatile("fninit; ldmxcsr %0" ::"m"(mxcsr));
}

void cpu_init(void) {
    rings_init();
    syscall_init();
    vectors_init();
}

uint64_t hwcap(void) { return cpuid(1).edx; }

uint64_t hwcap2(void) {
    enum { FSGSBASE_IN_RING_3 = 1 << 1 };
    return cpuid(7).ebx & CPUID_7_EBX_FSGSBASE ? FSGSBASE_IN_RING_3 : 0;
}

// On a CPU without RDRAND: the time, scrambled (splitmix64). Enough to make programs differ from run to run.
uint64_t random_word(void) {
    if (cpuid(1).ecx & CPUID_1_ECX_RDRAND) return rdrand();
    static uint64_t state;
    uint64_t x = state += rdtsc() + 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

void set_fs_base(uint64_t base) { set_msr(MSR_FS_BASE, base); }

uint64_t fs_base(void) { return msr(MSR_FS_BASE); }
