// A guest to start from: says how long it has been running, once a second, ten times.
#include "runtime.h"

int main(void) {
    timer_start(100);
    for (int i = 1; i <= 10; i++) {
        sleep_ms(1000);
        printf("hello %d, %lu ms\n", i, timer_ms());
    }
    return 0; // the machine's exit code
}
