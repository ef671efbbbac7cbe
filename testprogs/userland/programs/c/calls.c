// calls: what a program may expect of its kernel, small things that the others do not need. With an argument it dies
// of something: null, code, ud2, divide, abort.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

enum { PAGE = 4096 };

static void say(const char *what, long result) {
    if (result == -1) printf("%s: %s\n", what, strerror(errno));
    else printf("%s: %ld\n", what, result);
}

static char *map(size_t bytes, int prot) {
    char *at = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) exit(1);
    return at;
}

static int sum(const char *at, size_t bytes) {
    int total = 0;
    for (size_t i = 0; i < bytes; i++) total += at[i];
    return total;
}

static void memory(void) {
    char *at = map(8 * PAGE, PROT_READ | PROT_WRITE);
    printf("fresh %d\n", sum(at, 8 * PAGE));
    memset(at, 1, 8 * PAGE);
    say("mprotect middle", mprotect(at + 2 * PAGE, 2 * PAGE, PROT_READ));
    say("read into read-only", getrandom(at + 2 * PAGE, 16, 0));
    say("munmap middle", munmap(at + 5 * PAGE, PAGE));
    say("mprotect over a gap", mprotect(at, 8 * PAGE, PROT_READ));
    say("write from a gap", write(1, at + 5 * PAGE, 10));
    say("munmap of nothing", munmap(at + 5 * PAGE, PAGE));
    say("munmap unaligned", munmap(at + 1, PAGE));
    say("mprotect back", mprotect(at, 4 * PAGE, PROT_READ | PROT_WRITE));
    printf("kept %d\n", sum(at, 5 * PAGE));
    say("madvise", madvise(at, PAGE, MADV_DONTNEED));
    printf("forgotten %d\n", sum(at, 2 * PAGE));
    char *big = mremap(at, 2 * PAGE, 100 * PAGE, MREMAP_MAYMOVE);
    printf("moved %s %d\n", big == MAP_FAILED ? "not" : "well", sum(big, 100 * PAGE));
    say("the old place", write(1, at, 1));
    printf("shrunk %s\n", mremap(big, 100 * PAGE, PAGE, 0) == big ? "in place" : "elsewhere");
    char *fixed = mmap(big + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    printf("fixed %s %d\n", fixed == big + PAGE ? "there" : "elsewhere", *fixed);
    say("no length", (long)mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    say("no end of it", (long)mmap(NULL, 1ul << 60, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    char *end = (char *)syscall(SYS_brk, 0), *grown = (char *)syscall(SYS_brk, end + 3 * PAGE + 5);
    printf("brk %ld, zero %d\n", (long)(grown - end), sum(end, 3 * PAGE));
    printf("brk back %d\n", (char *)syscall(SYS_brk, end) == end);
}

// Two mappings that grow into each other's way again and again.
static void growth(void) {
    char *at[2] = {map(PAGE, PROT_READ | PROT_WRITE), map(PAGE, PROT_READ | PROT_WRITE)};
    size_t bytes[2] = {PAGE, PAGE};
    for (int i = 0; i < 200; i++) {
        int which = i % 3 == 0;
        size_t more = bytes[which] + (size_t)(i % 7 + 1) * PAGE;
        at[which] = mremap(at[which], bytes[which], more, MREMAP_MAYMOVE);
        if (at[which] == MAP_FAILED) exit(1);
        memset(at[which] + bytes[which], which + 1, more - bytes[which]);
        bytes[which] = more;
    }
    printf("grown %zu %d, %zu %d\n", bytes[0], sum(at[0], bytes[0]), bytes[1], sum(at[1], bytes[1]));
}

static volatile int handled;
static void handler(int signal) { handled = signal; }

static void process(void) {
    struct utsname name;
    struct rlimit limit;
    struct timespec before, after, pause = {0, 30000000};
    struct sigaction action = {.sa_handler = handler}, old;
    cpu_set_t cpus;
    say("uname", uname(&name));
    printf("%s %s\n", name.sysname, name.machine);
    say("stack limit", getrlimit(RLIMIT_STACK, &limit));
    say("sigaction", sigaction(SIGUSR1, &action, NULL));
    say("sigaction again", sigaction(SIGUSR1, NULL, &old));
    printf("remembered %d\n", old.sa_handler == handler);
    say("sigaction 99", sigaction(99, &action, NULL));
    say("affinity", sched_getaffinity(0, sizeof cpus, &cpus));
    say("clock", clock_gettime(CLOCK_MONOTONIC, &before));
    say("sleep", nanosleep(&pause, NULL));
    clock_gettime(CLOCK_MONOTONIC, &after);
    long slept_ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    printf("slept %s\n", slept_ms >= 30 ? "long enough" : "too short");
    printf("date %s\n", time(NULL) > 1600000000 ? "plausible" : "wrong");
    say("no such clock", clock_gettime(77, &before));
}

static void files(void) {
    struct iovec parts[] = {{"one ", 4}, {"", 0}, {"two\n", 4}};
    fflush(stdout);
    say("writev", writev(1, parts, 3));
    say("writev of nonsense", syscall(SYS_writev, 1, 8, 2));
    say("open", open("/no/such/file", O_RDONLY));
    say("write to 99", write(99, "x", 1));
    say("close 99", close(99));
}

static void die(const char *of) {
    setvbuf(stdout, NULL, _IONBF, 0);
    printf("dying of %s\n", of);
    volatile int zero = 0;
    char *page = map(PAGE, PROT_READ | PROT_WRITE);
    if (!strcmp(of, "null")) *(volatile int *)(long)zero = 1;
    if (!strcmp(of, "code")) *page = (char)0xc3, ((void (*)(void))page)(); // a RET where nothing may run
    if (!strcmp(of, "ud2")) __asm__ volatile("ud2");
    if (!strcmp(of, "divide")) printf("%d\n", 1 / zero);
    abort();
}

int main(int argc, char **argv) {
    if (argc > 1) die(argv[1]);
    printf("%s\n", getenv("GREETING"));
    memory();
    growth();
    process();
    files();
    return 42;
}
