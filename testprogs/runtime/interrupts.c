// The interrupt descriptor table, the 8259 pair, and the way from a vector to its handler.
// Handlers must not use SSE: the entry code does not save those registers. Everything but
// kernels/ is compiled with -mgeneral-regs-only, so the compiler sees to it.
#include "runtime.h"

enum { PIC1 = 0x20, PIC2 = 0xa0, END_OF_INTERRUPT = 0x20, CASCADE = 2 };

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, zero;
};

extern char vectors[]; // vectors.S: 16 bytes for each vector

static struct gate idt[256] __attribute__((aligned(16)));
static handler *handlers[256];
static uint16_t unmasked;

void set_gate(uint8_t vector, void *entry, uint8_t type, uint8_t ist) {
    uint64_t offset = (uint64_t)entry;
    idt[vector] = (struct gate){
        .offset_low = (uint16_t)offset,
        .offset_middle = (uint16_t)(offset >> 16),
        .offset_high = (uint32_t)(offset >> 32),
        .selector = 0x08,
        .type = type,
        .ist = ist,
    };
}

static void pic_mask(void) {
    outb(PIC1 + 1, (uint8_t)~unmasked);
    outb(PIC2 + 1, (uint8_t)(~unmasked >> 8));
}

// Vectors 0x20-0x2f instead of the BIOS's, which collide with exceptions.
static void pic_init(void) {
    for (int second = 0; second < 2; second++) {
        uint16_t port = second ? PIC2 : PIC1;
        outb(port, 0x11);                              // ICW1: edge triggered, cascaded, ICW4 follows
        outb(port + 1, IRQ_VECTOR + 8 * second);       // ICW2: first vector
        outb(port + 1, second ? CASCADE : 1 << CASCADE); // ICW3: who is wired where
        outb(port + 1, 0x01);                          // ICW4: 8086 mode
    }
    unmasked = 1 << CASCADE;
    pic_mask();
}

void interrupts_init(void) {
    for (int v = 0; v < 256; v++) set_gate((uint8_t)v, vectors + 16 * v, 0x8e, 0);
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) idtr = {sizeof idt - 1, (uint64_t)idt};
    asm volatile("lidt %0" ::"m"(idtr));
    pic_init();
}

void on_vector(uint8_t vector, handler *h) { handlers[vector] = h; }

void on_irq(uint8_t line, handler *h) {
    handlers[IRQ_VECTOR + line] = h;
    unmasked |= (uint16_t)(1 << line);
    pic_mask();
}

static _Noreturn void unexpected(const struct frame *f) {
    uint64_t cr2;
    asm volatile("mov %%cr2, %0" : "=r"(cr2));
    printf("unexpected vector %lu, error %lx, rip %lx, rsp %lx, cr2 %lx\n", f->vector, f->error, f->rip, f->rsp, cr2);
    exit(0x80 | (int)(f->vector & 0x7f));
}

void dispatch(struct frame *f) {
    bool irq = f->vector >= IRQ_VECTOR && f->vector < IRQ_VECTOR + 16;
    if (handlers[f->vector]) handlers[f->vector](f);
    else if (!irq) unexpected(f);
    if (irq) {
        if (f->vector >= IRQ_VECTOR + 8) outb(PIC2, END_OF_INTERRUPT);
        outb(PIC1, END_OF_INTERRUPT);
    }
}
