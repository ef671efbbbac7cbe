// The 8254 timer's channel 0 as a regular tick on IRQ 0.
#include "runtime.h"

enum { PIT_CHANNEL_0 = 0x40, PIT_COMMAND = 0x43, PIT_HZ = 1193182 };

static volatile uint64_t ticks;
static uint32_t ticks_per_second = 100;
void (*timer_hook)(void);

static void tick(struct frame *f) {
    (void)f;
    ticks++;
    if (timer_hook) timer_hook();
}

void timer_start(uint32_t hz) {
    if (hz < 19) hz = 19; // the divisor has 16 bits
    if (hz > 10000) hz = 10000;
    uint32_t divisor = (PIT_HZ + hz / 2) / hz;
    ticks = 0;
    ticks_per_second = hz;
    outb(PIT_COMMAND, 0x34); // channel 0, low byte then high byte, mode 2: rate generator
    outb(PIT_CHANNEL_0, (uint8_t)divisor);
    outb(PIT_CHANNEL_0, (uint8_t)(divisor >> 8));
    on_irq(IRQ_TIMER, tick);
    interrupts_on();
}

uint64_t timer_ticks(void) { return ticks; }

uint64_t timer_ms(void) { return ticks * 1000 / ticks_per_second; }

void timer_wait_until(uint64_t tick) {
    interrupts_off();
    while (ticks < tick) wait_for_interrupt();
    interrupts_on();
}

void sleep_ms(uint64_t ms) { timer_wait_until(ticks + (ms * ticks_per_second + 999) / 1000); }
