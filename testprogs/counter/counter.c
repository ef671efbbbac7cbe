// counter: the lecture's example. A client that has seen 10 must see 11 next, whichever machine it
// comes from: a takeover may neither skip a number nor say one twice.
//
//   start=N  first number (default 1)      count=N  how many (default 100)
//   hz=N     numbers a second (default 20); 0: as fast as possible, without the timer
//
// Output with count=3:   1
//                        2
//                        3
//                        done
#include "runtime.h"

int main(void) {
    uint64_t start = cmdline_u64("start", 1);
    uint64_t count = cmdline_u64("count", 100);
    uint64_t hz = cmdline_u64("hz", 20);

    uint64_t ticks_each = 0;
    if (hz > 0) {
        ticks_each = hz < 20 ? 20 / hz : 1; // the timer cannot tick more slowly than 19 Hz
        timer_start((uint32_t)(hz * ticks_each));
    }
    for (uint64_t i = 0; i < count; i++) {
        timer_wait_until(i * ticks_each);
        printf("%lu\n", start + i);
    }
    puts("done\n");
    return 0;
}
