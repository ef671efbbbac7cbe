// linux-init: the first process of a Linux that runs one program: `ftemu run --kernel VMLINUZ PROGRAM ARGS`. The RAM disk has
// this as /init, /program, and /arguments: argv, each ended by a NUL.
//
// A process that the kernel starts must not end, or the kernel panics. So this one starts the program as its child, on a
// terminal of its own, waits, and switches the machine off by the exit port with the program's exit code, or with 128 and
// the number of the signal that ended it.
//
// No C library: it asks the kernel itself (x86-64 system calls by number).

enum {
    READ = 0, WRITE = 1, OPEN = 2, IOCTL = 16, DUP2 = 33, FORK = 57, EXECVE = 59, EXIT = 60, WAIT4 = 61,
    SETSID = 112, MOUNT = 165, REBOOT = 169, IOPL = 172,
};

#define EXIT_PORT 0x500
#define O_RDWR 2
#define TCSBRK 0x5409    // with 1: wait until all is sent (ioctl_tty(2))
#define TIOCSCTTY 0x540e // make it the controlling terminal
#define POWER_OFF 0x4321fedc

static long call(long number, long a, long b, long c, long d, long e) {
    register long r10 asm("r10") = d;
    register long r8 asm("r8") = e;
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
    return result;
}

static void say(const char *text) {
    long length = 0;
    while (text[length]) length++;
    call(WRITE, 2, (long)text, length, 0, 0);
}

static void mount(const char *what, const char *where) {
    call(MOUNT, (long)what, (long)where, (long)what, 0, 0);
}

// The program's arguments, from their file. The host has checked that they fit.
static char text[1 << 20];
static char *arguments[4096];

static void read_arguments(void) {
    long file = call(OPEN, (long)"/arguments", 0, 0, 0, 0);
    long length = 0, got;
    while ((got = call(READ, file, (long)(text + length), sizeof text - 1 - length, 0, 0)) > 0) length += got;
    int count = 0;
    for (char *at = text; at < text + length && count < 4095; at++) {
        arguments[count++] = at;
        while (*at) at++;
    }
}

_Noreturn static void become_program(void) {
    static char *environment[] = {"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/", "TERM=vt102", 0};
    // With a terminal of its own, Ctrl-C reaches it.
    call(SETSID, 0, 0, 0, 0, 0);
    long terminal = call(OPEN, (long)"/dev/ttyS0", O_RDWR, 0, 0, 0);
    if (terminal >= 0) {
        call(IOCTL, terminal, TIOCSCTTY, 1, 0, 0);
        for (int file = 0; file < 3; file++) call(DUP2, terminal, file, 0, 0, 0);
    }
    call(EXECVE, (long)"/program", (long)arguments, (long)environment, 0, 0);
    say("ftemu: Linux does not start the program\n");
    for (;;) call(EXIT, 126, 0, 0, 0, 0);
}

_Noreturn static void switch_off(unsigned char code) {
    call(IOCTL, 1, TCSBRK, 1, 0, 0);
    if (call(IOPL, 3, 0, 0, 0, 0) == 0) asm volatile("outb %0, %1" : : "a"(code), "d"((short)EXIT_PORT));
    say("ftemu: Linux does not let its first process use ports: the exit code is lost\n");
    for (;;) call(REBOOT, (int)0xfee1dead, 672274793, POWER_OFF, 0, 0);
}

_Noreturn void first_process(void) {
    mount("proc", "/proc");
    mount("sysfs", "/sys");
    mount("devtmpfs", "/dev");
    read_arguments();
    long child = call(FORK, 0, 0, 0, 0, 0);
    if (child == 0) become_program();
    int status = 0;
    // Orphans come here, too.
    while (call(WAIT4, -1, (long)&status, 0, 0, 0) != child) {}
    int signal = status & 0x7f;
    switch_off(signal ? 128 + signal : status >> 8);
}

asm(".globl _start\n_start:\n    and $-16, %rsp\n    call first_process\n");
