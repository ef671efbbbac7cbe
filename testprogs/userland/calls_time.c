// Clocks: the TSC, and the RTC for the date at which it began.
#include "userland.h"

enum { SECOND = 1000000000, CLOCK_REALTIME = 0, CLOCK_REALTIME_COARSE = 5, CLOCKS = 8 };

uint64_t now_ns(void) {
    uint64_t tsc = rdtsc(), hz = boot_info->tsc_hz;
    return tsc / hz * SECOND + tsc % hz * SECOND / hz;
}

// ---- the date -------------------------------------------------------------------------------

static uint8_t rtc(uint8_t number) {
    outb(0x70, number);
    return inb(0x71);
}

static uint64_t rtc_number(uint8_t number) {
    uint8_t value = rtc(number);
    return (uint64_t)(value >> 4) * 10 + (value & 15); // BCD, 24 hours: as it is after power-on
}

// Days from 1970 to a date of the Gregorian calendar; years begin in March, so that the leap day is their last.
static uint64_t days(uint64_t year, uint64_t month, uint64_t day) {
    if (month < 3) year--, month += 12;
    return year * 365 + year / 4 - year / 100 + year / 400 + (153 * (month - 3) + 2) / 5 + day - 1 - 719468;
}

// Seconds since 1970 according to the RTC.
static uint64_t rtc_seconds(void) {
    enum { SECONDS = 0, MINUTES = 2, HOURS = 4, DAY = 7, MONTH = 8, YEAR = 9, STATUS_A = 10, CENTURY = 0x32 };
    while (rtc(STATUS_A) & 0x80) {} // it is changing
    uint64_t date = days(rtc_number(CENTURY) * 100 + rtc_number(YEAR), rtc_number(MONTH), rtc_number(DAY));
    return ((date * 24 + rtc_number(HOURS)) * 60 + rtc_number(MINUTES)) * 60 + rtc_number(SECONDS);
}

// Read once: from then on the TSC counts.
static uint64_t realtime_ns(void) {
    static uint64_t began_ns;
    if (!began_ns) began_ns = rtc_seconds() * SECOND - now_ns();
    return began_ns + now_ns();
}

// ---- the calls ------------------------------------------------------------------------------

struct time {
    uint64_t seconds, fraction;
};

static int64_t give(uint64_t to, struct time time) {
    if (!user_may(PROT_WRITE, to, sizeof time)) return -EFAULT;
    memcpy((void *)to, &time, sizeof time);
    return 0;
}

int64_t sys_clock_gettime(const uint64_t *args) {
    if (args[0] >= CLOCKS) return -EINVAL;
    uint64_t ns = args[0] == CLOCK_REALTIME || args[0] == CLOCK_REALTIME_COARSE ? realtime_ns() : now_ns();
    return give(args[1], (struct time){ns / SECOND, ns % SECOND});
}

int64_t sys_clock_getres(const uint64_t *args) {
    if (args[0] >= CLOCKS) return -EINVAL;
    return args[1] ? give(args[1], (struct time){0, 1}) : 0;
}

int64_t sys_gettimeofday(const uint64_t *args) {
    uint64_t ns = realtime_ns();
    return args[0] ? give(args[0], (struct time){ns / SECOND, ns % SECOND / 1000}) : 0;
}

int64_t sys_time(const uint64_t *args) {
    uint64_t seconds = realtime_ns() / SECOND;
    if (args[0]) {
        if (!user_may(PROT_WRITE, args[0], 8)) return -EFAULT;
        *(uint64_t *)args[0] = seconds;
    }
    return (int64_t)seconds;
}

// Halts between the ticks of a timer that runs from the first sleep on.
static void sleep_until(uint64_t ns) {
    static bool started;
    if (!started) timer_start(1000);
    started = true;
    interrupts_off();
    while (now_ns() < ns) wait_for_interrupt();
}

static int64_t sleep_for(uint64_t request, uint64_t already_ns) {
    if (!user_may(PROT_READ, request, sizeof(struct time))) return -EFAULT;
    struct time time;
    memcpy(&time, (const void *)request, sizeof time);
    if (time.fraction >= SECOND || time.seconds > ~0ull / SECOND / 2) return -EINVAL;
    sleep_until(now_ns() - already_ns + time.seconds * SECOND + time.fraction);
    return 0;
}

int64_t sys_nanosleep(const uint64_t *args) { return sleep_for(args[0], 0); }

int64_t sys_clock_nanosleep(const uint64_t *args) {
    enum { ABSOLUTE = 1 };
    if (args[0] >= CLOCKS) return -EINVAL;
    uint64_t now = args[0] == CLOCK_REALTIME ? realtime_ns() : now_ns();
    return sleep_for(args[2], args[1] & ABSOLUTE ? now : 0);
}
