// The console: the 16550 at 0x3f8. Output waits for room; input comes by interrupt into a ring.
#include "runtime.h"

enum { DATA = 0x3f8, INTERRUPT_ENABLE = 0x3f9, LINE_CONTROL = 0x3fb, MODEM_CONTROL = 0x3fc, LINE_STATUS = 0x3fd };
enum { DATA_READY = 0x01, TRANSMIT_EMPTY = 0x20 };

static char ring[256];
static volatile uint8_t ring_read, ring_write; // wrap at 256 by themselves

static void receive(struct frame *f) {
    (void)f;
    while (inb(LINE_STATUS) & DATA_READY) {
        char c = (char)inb(DATA);
        if ((uint8_t)(ring_write + 1) != ring_read) ring[ring_write++] = c; // full: the key is lost, as on any terminal
    }
}

void console_init(void) {
    outb(LINE_CONTROL, 0x83); // the divisor's registers
    outb(DATA, 1);            // 115200 baud
    outb(INTERRUPT_ENABLE, 0);
    outb(LINE_CONTROL, 0x03);  // 8 bits, no parity, one stop bit
    outb(MODEM_CONTROL, 0x0b); // OUT2 lets the interrupt through
    // No FIFO: switching it on would throw away what was typed before the program began.
}

static void send(char c) {
    while (!(inb(LINE_STATUS) & TRANSMIT_EMPTY)) {}
    outb(DATA, (uint8_t)c);
}

void putchar(char c) {
    if (c == '\n') send('\r');
    send(c);
}

void puts(const char *s) {
    while (*s) putchar(*s++);
}

char getchar(void) {
    static bool started;
    interrupts_off();
    if (!started) {
        started = true;
        on_irq(IRQ_UART, receive);
        outb(INTERRUPT_ENABLE, 1); // interrupt when a byte has arrived
    }
    while (ring_read == ring_write) wait_for_interrupt();
    char c = ring[ring_read++];
    interrupts_on();
    return c;
}

size_t getline(char *line, size_t size) {
    bool echo = cmdline_u64("echo", 1) != 0;
    size_t n = 0;
    for (;;) {
        char c = getchar();
        if (c == '\r' || c == '\n') break;
        if (c == '\b' || c == 0x7f) {
            if (n > 0) {
                n--;
                if (echo) puts("\b \b");
            }
        } else if (c >= ' ' && n + 1 < size) {
            line[n++] = c;
            if (echo) putchar(c);
        }
    }
    line[n] = 0;
    if (echo) putchar('\n');
    return n;
}

_Noreturn void exit(int code) {
    outb(0x500, (uint8_t)code);
    for (;;) asm volatile("cli; hlt");
}
