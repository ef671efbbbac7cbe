// userland: a kernel for one static Linux program: address space, loader, system calls. It shows that a program
// compiled for Linux, with its C or Rust library, computes here what it computes anywhere.
//
//   ftemu wrap PROGRAM      writes a guest that is this kernel and the program
//   --append "WORDS"        the program's arguments; words NAME=value before the first other one are its environment
//
// One process, one thread, no files: standard input and output are the console. What a program asks for beyond
// that gets the error that Linux would give (ENOSYS, ENOENT) and is reported if the kernel does not know it.
//
// Output: that of the program. The machine's exit code is that of the program, or 128 + signal.
#include "userland.h"

static void page_fault(struct frame *f) {
    uint64_t address;
    asm volatile("mov %%cr2, %0" : "=r"(address));
    int prot = f->error & 16 ? PROT_EXEC : f->error & 2 ? PROT_WRITE : PROT_READ; // SDM Vol. 3A, figure 4-12
    bool memory_full = false;
    if (area_touch(address, prot, &memory_full)) return;
    if (memory_full) die(9, "memory is full: run it with more --memory", f);
    die(11, "invalid memory access", f);
}

static void fault(struct frame *f) {
    static const struct {
        uint8_t signal;
        const char *why;
    } faults[32] = {
        [0] = {8, "divide error"},    [1] = {5, "single step"},         [3] = {5, "breakpoint"},
        [4] = {11, "INTO"},           [5] = {11, "BOUND"},              [6] = {4, "invalid opcode"},
        [7] = {11, "no FPU"},         [11] = {7, "absent segment"},     [12] = {7, "stack fault"},
        [13] = {11, "protection"},    [16] = {8, "x87 floating point"}, [17] = {7, "alignment check"},
        [19] = {8, "floating point"},
    };
    die(faults[f->vector].signal, faults[f->vector].why, f);
}

_Noreturn void die(int signal, const char *why, const struct frame *f) {
    uint64_t cr2;
    asm volatile("mov %%cr2, %0" : "=r"(cr2));
    printf("\nuserland: signal %d, %s%s\n", signal, why, f->cs & 3 ? "" : ", in the kernel");
    printf("rip %016lx  rsp %016lx  rflags %08lx  error %lx  cr2 %lx\n", f->rip, f->rsp, f->rflags, f->error, cr2);
    printf("rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
    printf("rsi %016lx  rdi %016lx  rbp %016lx  r8  %016lx\n", f->rsi, f->rdi, f->rbp, f->r8);
    printf("r9  %016lx  r10 %016lx  r11 %016lx  r12 %016lx\n", f->r9, f->r10, f->r11, f->r12);
    printf("r13 %016lx  r14 %016lx  r15 %016lx  fs  %016lx\n", f->r13, f->r14, f->r15, fs_base());
    exit(128 + signal);
}

int main(void) {
    static const uint8_t faults[] = {0, 1, 3, 4, 5, 6, 7, 11, 12, 13, 16, 17, 19};
    for (size_t i = 0; i < sizeof faults; i++) on_vector(faults[i], fault);
    on_vector(14, page_fault);
    pages_init(module_end());
    cpu_init();

    struct program program = {0};
    program_load(&program);
    syscalls_init(&program);
    enter_user(program.entry, program.stack);
}
