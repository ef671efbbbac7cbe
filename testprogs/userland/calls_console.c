// Standard input, output and error: one terminal, the console.
#include "userland.h"

struct io_vector {
    uint64_t start, bytes;
};

enum { IO_VECTORS_MAX = 1024, END_OF_FILE = 4 }; // Ctrl-D

static bool is_console(uint64_t fd) { return (uint32_t)fd <= 2; }

// ---- input: line by line, with an echo, as a terminal gives it ------------------------------

static char line[256];
static size_t line_bytes, line_taken;
static bool line_ends_input;

static void read_line(void) {
    line_bytes = line_taken = 0;
    line_ends_input = false;
    for (;;) {
        char c = getchar();
        if (c == '\r' || c == '\n') {
            putchar('\n');
            line[line_bytes++] = '\n';
            return;
        }
        if (c == END_OF_FILE) {
            line_ends_input = line_bytes == 0;
            return;
        }
        if ((c == '\b' || c == 0x7f) && line_bytes > 0) {
            line_bytes--;
            puts("\b \b");
        } else if (c != '\b' && c != 0x7f && line_bytes + 1 < sizeof line) {
            line[line_bytes++] = c;
            putchar(c);
        }
    }
}

static int64_t read_console(uint64_t to, uint64_t bytes) {
    if (!user_may(PROT_WRITE, to, bytes)) return -EFAULT;
    if (bytes == 0) return 0;
    if (line_taken == line_bytes) read_line();
    if (line_ends_input) return 0;
    uint64_t rest = line_bytes - line_taken, n = bytes < rest ? bytes : rest;
    memcpy((void *)to, line + line_taken, n);
    line_taken += n;
    return (int64_t)n;
}

int64_t sys_read(const uint64_t *args) {
    if (!is_console(args[0])) return -EBADF;
    return read_console(args[1], args[2]);
}

// ---- output ---------------------------------------------------------------------------------

static int64_t write_console(uint64_t from, uint64_t bytes) {
    if (!user_may(PROT_READ, from, bytes)) return -EFAULT;
    for (uint64_t i = 0; i < bytes; i++) putchar(((const char *)from)[i]);
    return (int64_t)bytes;
}

int64_t sys_write(const uint64_t *args) {
    if (!is_console(args[0])) return -EBADF;
    return write_console(args[1], args[2]);
}

// ---- several buffers ------------------------------------------------------------------------

// Until one of them is not filled (or emptied).
static int64_t each(const uint64_t *args, int64_t (*transfer)(uint64_t, uint64_t)) {
    if (!is_console(args[0])) return -EBADF;
    if (args[2] > IO_VECTORS_MAX) return -EINVAL;
    if (!user_may(PROT_READ, args[1], args[2] * sizeof(struct io_vector))) return -EFAULT;
    const struct io_vector *vectors = (const void *)args[1];
    int64_t done = 0;
    for (uint64_t i = 0; i < args[2]; i++) {
        int64_t n = transfer(vectors[i].start, vectors[i].bytes);
        if (n < 0) return done ? done : n;
        done += n;
        if ((uint64_t)n < vectors[i].bytes) break;
    }
    return done;
}

int64_t sys_readv(const uint64_t *args) { return each(args, read_console); }
int64_t sys_writev(const uint64_t *args) { return each(args, write_console); }

// ---- what kind of file is it? ---------------------------------------------------------------

int64_t sys_ioctl(const uint64_t *args) {
    enum { TCGETS = 0x5401, TIOCGWINSZ = 0x5413 };
    static const struct {
        uint32_t input, output, control, local;
        uint8_t discipline, characters[19];
    } settings = {.input = 0x500, .output = 5, .control = 0xbf, .local = 0x8a3b}; // ICRNL IXON, OPOST ONLCR, cooked, echo
    static const uint16_t size[4] = {24, 80};
    if (!is_console(args[0])) return -EBADF;
    const void *from = args[1] == TCGETS ? (const void *)&settings : args[1] == TIOCGWINSZ ? size : NULL;
    uint64_t bytes = args[1] == TCGETS ? sizeof settings : sizeof size;
    if (!from) return -ENOTTY;
    if (!user_may(PROT_WRITE, args[2], bytes)) return -EFAULT;
    memcpy((void *)args[2], from, bytes);
    return 0;
}

static int64_t stat_console(uint64_t to) {
    // struct stat, as far as it is not zero.
    struct {
        uint64_t device, inode, links;
        uint32_t mode, user, group, padding;
        uint64_t rdevice, size, block_bytes, rest[10];
    } stat = {.device = 5, .inode = 3, .links = 1, .mode = 020620, .rdevice = 4 << 8 | 64, .block_bytes = 1024}; // ttyS0
    if (!user_may(PROT_WRITE, to, sizeof stat)) return -EFAULT;
    memcpy((void *)to, &stat, sizeof stat);
    return 0;
}

int64_t sys_fstat(const uint64_t *args) { return is_console(args[0]) ? stat_console(args[1]) : -EBADF; }

// With an empty path it is fstat; there is no other file.
int64_t sys_newfstatat(const uint64_t *args) {
    enum { EMPTY_PATH = 0x1000 };
    if (!user_may(PROT_READ, args[1], 1)) return -EFAULT;
    if (*(const char *)args[1] || !(args[3] & EMPTY_PATH)) return -ENOENT;
    return is_console(args[0]) ? stat_console(args[2]) : -EBADF;
}

// The console can always be written; whether it can be read is found out by reading.
int64_t sys_poll(const uint64_t *args) {
    struct poll {
        int32_t fd;
        uint16_t events, revents;
    } *polls = (void *)args[0];
    enum { POLLIN = 1, POLLOUT = 4, POLLNVAL = 32 };
    if (args[1] > IO_VECTORS_MAX) return -EINVAL;
    if (!user_may(PROT_WRITE, args[0], args[1] * sizeof *polls)) return -EFAULT;
    int64_t ready = 0;
    for (uint64_t i = 0; i < args[1]; i++) {
        if (polls[i].fd < 0) polls[i].revents = 0;
        else polls[i].revents = is_console((uint64_t)polls[i].fd) ? polls[i].events & (POLLIN | POLLOUT) : POLLNVAL;
        ready += polls[i].revents != 0;
    }
    return ready;
}

int64_t sys_fcntl(const uint64_t *args) {
    enum { GET_FD_FLAGS = 1, SET_FD_FLAGS = 2, GET_FLAGS = 3, SET_FLAGS = 4, READ_WRITE = 2 };
    if (!is_console(args[0])) return -EBADF;
    if (args[1] == GET_FLAGS) return READ_WRITE;
    return args[1] == GET_FD_FLAGS || args[1] == SET_FD_FLAGS || args[1] == SET_FLAGS ? 0 : -EINVAL;
}

int64_t sys_lseek(const uint64_t *args) { return is_console(args[0]) ? -ESPIPE : -EBADF; }
int64_t sys_close(const uint64_t *args) { return is_console(args[0]) ? 0 : -EBADF; }
