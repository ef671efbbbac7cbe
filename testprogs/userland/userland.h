// userland: a kernel that runs one static Linux program. userland.c tells the story; this is who does what.
#pragma once

#include "../runtime/runtime.h"

// ---- the address space ----------------------------------------------------------------------
// User programs have everything from USER_START to USER_END. Below is the kernel, identity-mapped; from DIRECT_MAP on
// all of physical memory, where the kernel finds page tables and frames. Neither can be seen from ring 3.

#define PAGE 4096ull
#define MODULE 0x200000ull                  // physical address of the program; the kernel ends below
#define USER_START 0x400000ull              // where linkers put programs that are not position-independent
#define USER_END 0x7ffffffff000ull          // the lower half, without its last page: SYSRET needs that (SDM Vol. 2B)
#define DIRECT_MAP 0xffff800000000000ull
#define PHYSICAL_MAX (3ull << 30)           // the rest of a larger machine is not used

#define STACK_BYTES (8ull << 20)
#define STACK_TOP (USER_END - PAGE)
#define MMAP_TOP (STACK_TOP - STACK_BYTES - (1ull << 20)) // areas of mmap grow down from here
#define PIE_BASE 0x555555554000ull          // position-independent programs go here

static inline void *direct(uint64_t physical) { return (void *)(DIRECT_MAP + physical); }
static inline uint64_t page_down(uint64_t address) { return address & -PAGE; }
static inline uint64_t page_up(uint64_t address) { return (address + PAGE - 1) & -PAGE; }

// ---- pages (pages.c) ------------------------------------------------------------------------

void pages_init(uint64_t first_free_frame);
bool page_add(uint64_t address, int prot);     // a frame of zeros; false if memory is full
void page_protect(uint64_t address, int prot); // if there is one
void page_remove(uint64_t address);            // likewise
void page_move(uint64_t from, uint64_t to);    // likewise; `to` has none
bool page_present(uint64_t address);

// ---- areas (areas.c): what may be where; pages come when they are touched -------------------

enum { PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4 };

// All with page-aligned bounds; false: the table of areas is full, or (protect) part of the range has none.
bool area_add(uint64_t start, uint64_t end, int prot); // instead of what was there
bool area_remove(uint64_t start, uint64_t end);
bool area_protect(uint64_t start, uint64_t end, int prot);
bool area_free(uint64_t start, uint64_t end); // nothing is there
bool area_covers(uint64_t start, uint64_t end, int prot);
uint64_t area_find_gap(uint64_t bytes); // the highest below MMAP_TOP; 0: none
bool area_touch(uint64_t address, int prot, bool *memory_full); // gives a page to an access that may be

// May the program read (or write) these bytes itself?
static inline bool user_may(int prot, uint64_t address, uint64_t bytes) {
    return bytes == 0 || (address + bytes > address && area_covers(page_down(address), page_up(address + bytes), prot));
}

// ---- the program (program.c) ----------------------------------------------------------------

struct program {
    const char *name;
    uint64_t entry;   // RIP to start with
    uint64_t stack;   // RSP to start with
    uint64_t break_start;
};

// Loads what the module holds, and puts arguments and environment onto its stack. Exits if it cannot.
void program_load(struct program *program);
uint64_t module_end(void);

// ---- the CPU and its entries (cpu.c, entry.S) -----------------------------------------------

void cpu_init(void); // rings, SYSCALL, vector registers
uint64_t hwcap(void), hwcap2(void);
uint64_t random_word(void);
void set_fs_base(uint64_t base);
uint64_t fs_base(void);
_Noreturn void enter_user(uint64_t rip, uint64_t rsp);
_Noreturn void die(int signal, const char *why, const struct frame *frame);

// ---- system calls (syscalls.c, calls_*.c) ---------------------------------------------------

// What a call gets and gives, as in Linux: an error is -ERRNO.
typedef int64_t syscall_function(const uint64_t *args);
enum { EPERM = 1, ENOENT = 2, EBADF = 9, EAGAIN = 11, ENOMEM = 12, EFAULT = 14, EEXIST = 17, ENODEV = 19, EINVAL = 22,
       ENOTTY = 25, ESPIPE = 29, ERANGE = 34, ENOSYS = 38, ETIMEDOUT = 110 };

void syscalls_init(const struct program *program);
uint64_t now_ns(void); // since the machine started

syscall_function sys_brk, sys_mmap, sys_munmap, sys_mprotect, sys_mremap, sys_madvise;          // calls_memory.c
syscall_function sys_read, sys_readv, sys_write, sys_writev, sys_ioctl, sys_fstat, sys_newfstatat, sys_poll,
    sys_fcntl, sys_lseek, sys_close;                                                            // calls_console.c
syscall_function sys_clock_gettime, sys_clock_getres, sys_gettimeofday, sys_time, sys_nanosleep,
    sys_clock_nanosleep;                                                                        // calls_time.c
void break_init(uint64_t start);
