// Which system calls there are (Linux, arch/x86/entry/syscalls/syscall_64.tbl), and the small ones.
#include "userland.h"

enum { PID = 1 };
static const struct program *running;

// ---- the process and its (only) thread ------------------------------------------------------

static int64_t sys_nothing(const uint64_t *args) { return (void)args, 0; }
static int64_t sys_pid(const uint64_t *args) { return (void)args, PID; }
static int64_t sys_absent(const uint64_t *args) { return (void)args, -ENOSYS; }  // that there are programs without is known
static int64_t sys_no_file(const uint64_t *args) { return (void)args, -ENOENT; } // no file of any name

static int64_t sys_exit(const uint64_t *args) { exit((int)args[0]); }

static int64_t sys_arch_prctl(const uint64_t *args) {
    enum { SET_FS = 0x1002, GET_FS = 0x1003 };
    if (args[0] == SET_FS) {
        if (args[1] >= USER_END) return -EPERM;
        set_fs_base(args[1]);
        return 0;
    }
    if (args[0] != GET_FS) return -EINVAL;
    if (!user_may(PROT_WRITE, args[1], 8)) return -EFAULT;
    *(uint64_t *)args[1] = fs_base();
    return 0;
}

// A signal that a process sends itself ends it, whatever handler it has: abort() is what uses it.
static int64_t sys_tgkill(const uint64_t *args) {
    uint64_t signal = args[2];
    if (signal == 0) return 0;
    printf("\nuserland: %s sent itself signal %lu\n", running->name, signal);
    exit(128 + (int)signal);
}
static int64_t sys_tkill(const uint64_t *args) { return sys_tgkill((const uint64_t[]){0, args[0], args[1]}); }

// Handlers are remembered, never called: a fault ends the program, and nobody else sends signals.
static int64_t sys_rt_sigaction(const uint64_t *args) {
    enum { SIGNALS = 64, ACTION_BYTES = 32 };
    static uint8_t actions[SIGNALS + 1][ACTION_BYTES];
    if (args[0] - 1 >= SIGNALS) return -EINVAL;
    if (args[1] && !user_may(PROT_READ, args[1], ACTION_BYTES)) return -EFAULT;
    if (args[2] && !user_may(PROT_WRITE, args[2], ACTION_BYTES)) return -EFAULT;
    uint8_t old[ACTION_BYTES];
    memcpy(old, actions[args[0]], ACTION_BYTES);
    if (args[1]) memcpy(actions[args[0]], (void *)args[1], ACTION_BYTES);
    if (args[2]) memcpy((void *)args[2], old, ACTION_BYTES);
    return 0;
}

static int64_t sys_rt_sigprocmask(const uint64_t *args) {
    static uint64_t mask;
    uint64_t old = mask;
    if (args[1]) {
        if (!user_may(PROT_READ, args[1], 8)) return -EFAULT;
        uint64_t given = *(const uint64_t *)args[1];
        mask = args[0] == 0 ? mask | given : args[0] == 1 ? mask & ~given : given;
    }
    if (args[2]) {
        if (!user_may(PROT_WRITE, args[2], 8)) return -EFAULT;
        *(uint64_t *)args[2] = old;
    }
    return 0;
}

static int64_t sys_sigaltstack(const uint64_t *args) {
    static struct {
        uint64_t start, flags, size;
    } stack = {.flags = 2}, old; // SS_DISABLE
    old = stack;
    if (args[0] && !user_may(PROT_READ, args[0], sizeof stack)) return -EFAULT;
    if (args[1] && !user_may(PROT_WRITE, args[1], sizeof stack)) return -EFAULT;
    if (args[0]) memcpy(&stack, (void *)args[0], sizeof stack);
    if (args[1]) memcpy((void *)args[1], &old, sizeof old);
    return 0;
}

// With one thread nobody wakes and nobody is woken; to wait for ever is a deadlock of the program's own.
static int64_t sys_futex(const uint64_t *args) {
    enum { WAIT = 0, WAKE = 1, WAIT_BITSET = 9, WAKE_BITSET = 10, COMMAND = 0x7f };
    uint64_t command = args[1] & COMMAND;
    if (command == WAKE || command == WAKE_BITSET) return 0;
    if (command != WAIT && command != WAIT_BITSET) return -ENOSYS;
    if (!user_may(PROT_READ, args[0], 4)) return -EFAULT;
    if (*(const uint32_t *)args[0] != (uint32_t)args[2]) return -EAGAIN;
    if (args[3]) return -ETIMEDOUT;
    puts("\nuserland: the only thread waits for another one\n");
    exit(128 + 6);
}

static int64_t sys_sched_getaffinity(const uint64_t *args) {
    if (args[1] < 8) return -EINVAL;
    if (!user_may(PROT_WRITE, args[2], 8)) return -EFAULT;
    *(uint64_t *)args[2] = 1;
    return 8;
}

static int64_t sys_getrandom(const uint64_t *args) {
    if (!user_may(PROT_WRITE, args[0], args[1])) return -EFAULT;
    for (uint64_t done = 0; done < args[1]; done += 8) {
        uint64_t word = random_word(), rest = args[1] - done;
        memcpy((void *)(args[0] + done), &word, rest < 8 ? rest : 8);
    }
    return (int64_t)args[1];
}

static int64_t sys_prlimit64(const uint64_t *args) {
    enum { LIMIT_STACK = 3, LIMIT_CORE = 4, LIMIT_FILES = 7, LIMITS = 16 };
    if (args[1] >= LIMITS) return -EINVAL;
    if (args[2]) return -EPERM;
    uint64_t limit = args[1] == LIMIT_STACK ? STACK_BYTES : args[1] == LIMIT_CORE ? 0 : args[1] == LIMIT_FILES ? 3 : ~0ull;
    if (!user_may(PROT_WRITE, args[3], 16)) return -EFAULT;
    ((uint64_t *)args[3])[0] = ((uint64_t *)args[3])[1] = limit;
    return 0;
}
static int64_t sys_getrlimit(const uint64_t *args) { return sys_prlimit64((const uint64_t[]){0, args[0], 0, args[1]}); }

static int64_t sys_uname(const uint64_t *args) {
    enum { FIELD = 65 };
    // A kernel release that static C libraries accept: they refuse one older than they were built for.
    static const char *const fields[6] = {"Linux", "ftemu", "6.1.0", "userland", "x86_64", "(none)"};
    if (!user_may(PROT_WRITE, args[0], 6 * FIELD)) return -EFAULT;
    for (int i = 0; i < 6; i++) strcopy((char *)args[0] + i * FIELD, fields[i], FIELD);
    return 0;
}

static int64_t sys_getcwd(const uint64_t *args) {
    if (args[1] < 2) return -ERANGE;
    if (!user_may(PROT_WRITE, args[0], 2)) return -EFAULT;
    memcpy((void *)args[0], "/", 2);
    return 2;
}

// ---- the table ------------------------------------------------------------------------------

static syscall_function *const table[] = {
    [0] = sys_read,
    [1] = sys_write,
    [2] = sys_no_file, // open
    [3] = sys_close,
    [4] = sys_no_file, // stat
    [5] = sys_fstat,
    [6] = sys_no_file, // lstat
    [7] = sys_poll,
    [8] = sys_lseek,
    [9] = sys_mmap,
    [10] = sys_mprotect,
    [11] = sys_munmap,
    [12] = sys_brk,
    [13] = sys_rt_sigaction,
    [14] = sys_rt_sigprocmask,
    [16] = sys_ioctl,
    [19] = sys_readv,
    [20] = sys_writev,
    [21] = sys_no_file, // access
    [24] = sys_nothing, // sched_yield
    [25] = sys_mremap,
    [28] = sys_madvise,
    [35] = sys_nanosleep,
    [39] = sys_pid, // getpid
    [60] = sys_exit,
    [63] = sys_uname,
    [72] = sys_fcntl,
    [79] = sys_getcwd,
    [89] = sys_no_file, // readlink
    [96] = sys_gettimeofday,
    [97] = sys_getrlimit,
    [102] = sys_nothing, // getuid: root
    [104] = sys_nothing, // getgid
    [107] = sys_nothing, // geteuid
    [108] = sys_nothing, // getegid
    [110] = sys_nothing, // getppid: outside
    [131] = sys_sigaltstack,
    [157] = sys_absent, // prctl
    [158] = sys_arch_prctl,
    [186] = sys_pid, // gettid
    [200] = sys_tkill,
    [201] = sys_time,
    [202] = sys_futex,
    [204] = sys_sched_getaffinity,
    [218] = sys_pid, // set_tid_address
    [228] = sys_clock_gettime,
    [229] = sys_clock_getres,
    [230] = sys_clock_nanosleep,
    [231] = sys_exit, // exit_group
    [234] = sys_tgkill,
    [257] = sys_no_file, // openat
    [262] = sys_newfstatat,
    [267] = sys_no_file, // readlinkat
    [269] = sys_no_file, // faccessat
    [273] = sys_nothing, // set_robust_list
    [302] = sys_prlimit64,
    [318] = sys_getrandom,
    [332] = sys_absent, // statx: libraries go on with newfstatat
    [334] = sys_absent, // rseq
};
enum { TABLE_SIZE = sizeof table / sizeof table[0] };

static void report_unknown(uint64_t number, const uint64_t *args) {
    static uint8_t seen[512];
    if (number < sizeof seen && seen[number]) return;
    if (number < sizeof seen) seen[number] = 1;
    printf("\nuserland: no system call %lu (%lx, %lx, %lx): ENOSYS\n", number, args[0], args[1], args[2]);
}

// From syscall_entry (entry.S).
void system_call(struct frame *f) {
    const uint64_t args[6] = {f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9};
    if (f->rax < TABLE_SIZE && table[f->rax]) {
        f->rax = (uint64_t)table[f->rax](args);
    } else {
        report_unknown(f->rax, args);
        f->rax = (uint64_t)-ENOSYS;
    }
}

void syscalls_init(const struct program *program) {
    static struct program copy;
    copy = *program;
    running = &copy;
    break_init(program->break_start);
}
