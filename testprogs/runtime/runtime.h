// The whole interface between a guest and the bare machine. A guest includes this file, defines
// `int main(void)` and uses what it needs; main's return value becomes the machine's exit code.
// The machine itself is described in ARCHITECTURE.md, "Bare ELF hand-off".
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- boot information (boot.c) --------------------------------------------------------------

struct boot_info {
    char magic[8]; // "FTEMUBI1"
    uint32_t version;
    uint32_t size;
    uint64_t memory_bytes;
    uint64_t tsc_hz;
    const char *cmdline; // words separated by spaces: "count=100 verbose"
    uint64_t cmdline_len;
};

extern const struct boot_info *boot_info;
extern char image_end[]; // first byte after the program (link.ld)

// The number behind `name=` on the command line, or `otherwise`.
uint64_t cmdline_u64(const char *name, uint64_t otherwise);
// Is `name` one of the words of the command line?
bool cmdline_has(const char *name);

// ---- the CPU --------------------------------------------------------------------------------

static inline void outb(uint16_t port, uint8_t value) { asm volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }

static inline uint8_t inb(uint16_t port) {
    uint8_t value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void interrupts_off(void) { asm volatile("cli" ::: "memory"); }
static inline void interrupts_on(void) { asm volatile("sti" ::: "memory"); }

// Sleep until an interrupt has been handled. Call it with interrupts off, after looking whether
// there is something to wait for: STI takes effect only after the HLT has begun, so that an
// interrupt between the look and the HLT is not lost (SDM Vol. 2B, STI). Returns with interrupts off.
static inline void wait_for_interrupt(void) { asm volatile("sti; hlt; cli" ::: "memory"); }

_Noreturn void exit(int code);

// ---- interrupts and exceptions (interrupts.c, vectors.S) ------------------------------------

// What the entry code saves, lowest address first. `error` is 0 for vectors that have none.
struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss; // pushed by the CPU; a handler may change them
};

typedef void handler(struct frame *frame);

enum { IRQ_TIMER = 0, IRQ_UART = 4, IRQ_RTC = 8, IRQ_VECTOR = 0x20 };

void on_vector(uint8_t vector, handler *h); // exceptions and INT n
void on_irq(uint8_t line, handler *h);      // also unmasks the line; the runtime sends the EOI
void set_gate(uint8_t vector, void *entry, uint8_t type, uint8_t ist); // type 0x8e: interrupt gate, DPL 0

// ---- console (console.c, printf.c) ----------------------------------------------------------

void putchar(char c); // "\n" goes out as "\r\n"
void puts(const char *s); // without a newline of its own
__attribute__((format(printf, 1, 2))) void printf(const char *format, ...); // %d %u %x %c %s %%, l, ll, width, 0, -
char getchar(void); // sleeps until a key arrives
// Reads a line of at most `size - 1` characters, without its end. Echoes it unless `echo=0` was given.
size_t getline(char *line, size_t size);

// ---- time (timer.c) -------------------------------------------------------------------------

void timer_start(uint32_t hz); // 19 ..= 10000 interrupts a second
uint64_t timer_ticks(void);    // since timer_start
uint64_t timer_ms(void);       // the same in milliseconds
void timer_wait_until(uint64_t tick);
void sleep_ms(uint64_t ms);
extern void (*timer_hook)(void); // called at every tick, inside the interrupt

static inline uint64_t rdtsc(void) {
    uint32_t low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

// ---- chance (random.c) ----------------------------------------------------------------------

uint64_t rdrand(void);
uint64_t rdseed(void);

// ---- memory and text (string.c, text.c) -----------------------------------------------------

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
void strcopy(char *to, const char *from, size_t size); // always terminated

char *next_word(char **rest);                      // cuts the next word off a line; NULL at its end
bool parse_i64(const char *s, int64_t *value);     // the whole of `s`, decimal
uint64_t fnv1a(uint64_t hash, uint64_t value);     // a running checksum; start with FNV_START
#define FNV_START 0xcbf29ce484222325ull
