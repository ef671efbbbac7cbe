// clock: two clocks at once. Reads the TSC all the time while timer interrupts arrive, and checks
// what every program takes for granted: that neither ever runs backwards, not even over a takeover.
//
//   ticks=N  how many timer ticks to watch (default 50)     hz=N  ticks a second (default 50)
//
// Output: one line per ten ticks, then the verdict. The numbers differ from run to run:
//   tick 10: tsc 201334219, 5120 reads
//   ...
//   clock: monotonic, 50 ticks
#include "runtime.h"

static volatile uint64_t tsc_at_tick; // the interrupt handler's last reading
static volatile bool backwards;

static void look(void) {
    uint64_t now = rdtsc();
    if (now < tsc_at_tick) backwards = true;
    tsc_at_tick = now;
}

int main(void) {
    uint64_t wanted = cmdline_u64("ticks", 50);
    uint64_t last = rdtsc(), reads = 0, reported = 0;
    timer_hook = look;
    timer_start((uint32_t)cmdline_u64("hz", 50));

    while (timer_ticks() < wanted) {
        uint64_t interrupt_saw = tsc_at_tick;
        uint64_t now = rdtsc();
        if (now < last || now < interrupt_saw) backwards = true;
        last = now;
        reads++;
        uint64_t tick = timer_ticks();
        if (tick >= reported + 10) {
            reported = tick - tick % 10;
            printf("tick %lu: tsc %lu, %lu reads\n", reported, now, reads);
        }
        for (int i = 0; i < 200; i++) asm volatile("pause"); // a little computing between two looks
    }
    printf("clock: %s, %lu ticks\n", backwards ? "RAN BACKWARDS" : "monotonic", wanted);
    return backwards;
}
