// lock: a lock server with leases, after the lectures: whoever holds a lock loses it when the lease runs
// out, and time comes from timer interrupts. What a takeover must not do: let time jump, so that a lock is
// granted to a second client too early, or forget a grant that a client has seen.
//
//   lease=MS  length of a lease (default 60000)      hz=N  timer ticks a second (default 100)
//
// Each command has one reply, `<sequence> <time in ms> ...`; a lease that ran out has a line of its own,
// with the time at which it ran out, before the next reply. So a checker needs nothing but the output.
//   ACQUIRE printer alice       1 120 GRANTED printer alice token 1 until 60120
//   ACQUIRE printer bob         2 950 DENIED printer bob held by alice until 60120
//   RENEW printer alice 1       3 1200 RENEWED printer alice token 1 until 61200
//   RELEASE printer alice 1     4 1900 RELEASED printer alice token 1
//                               5 60500 EXPIRED printer carol token 2
//   QUIT                        6 61000 BYE
// Tokens only grow: a storage server that remembers the highest one can refuse a client whose lease is over.
#include "runtime.h"

enum { LOCKS = 64, NAME = 24 };

static struct lock {
    char name[NAME], holder[NAME];
    uint64_t token, until_ms;
    enum { FREE, HELD, EXPIRED } state; // EXPIRED: free, but not yet reported
} locks[LOCKS];

static uint64_t lease_ms, last_token, sequence;

// Runs inside the timer interrupt. Commands run with interrupts off, so it never sees half of one.
static void expire(void) {
    uint64_t now = timer_ms();
    for (struct lock *l = locks; l < locks + LOCKS; l++)
        if (l->state == HELD && l->until_ms <= now) l->state = EXPIRED;
}

static void begin_reply(uint64_t ms) { printf("%lu %lu ", ++sequence, ms); }

static void report_expired(void) {
    for (struct lock *l = locks; l < locks + LOCKS; l++) {
        if (l->state != EXPIRED) continue;
        l->state = FREE;
        begin_reply(l->until_ms);
        printf("EXPIRED %s %s token %lu\n", l->name, l->holder, l->token);
    }
}

static struct lock *find(const char *name) {
    struct lock *unused = NULL;
    for (struct lock *l = locks; l < locks + LOCKS; l++) {
        if (l->state == HELD && strcmp(l->name, name) == 0) return l;
        if (l->state == FREE && !unused) unused = l;
    }
    return unused;
}

static void acquire(uint64_t now, const char *name, const char *client) {
    struct lock *l = find(name);
    begin_reply(now);
    if (!l) {
        puts("ERROR too many locks\n");
        return;
    }
    if (l->state == HELD) {
        printf("DENIED %s %s held by %s until %lu\n", name, client, l->holder, l->until_ms);
        return;
    }
    strcopy(l->name, name, NAME);
    strcopy(l->holder, client, NAME);
    l->token = ++last_token;
    l->until_ms = now + lease_ms;
    l->state = HELD;
    printf("GRANTED %s %s token %lu until %lu\n", name, client, l->token, l->until_ms);
}

static void holders_command(uint64_t now, bool renew, const char *name, const char *client, const char *token) {
    struct lock *l = find(name);
    int64_t number = 0;
    bool valid = token && parse_i64(token, &number) && l && l->state == HELD && l->token == (uint64_t)number &&
                 strcmp(l->holder, client) == 0;
    begin_reply(now);
    if (!valid) {
        printf("REFUSED %s %s does not hold it\n", name, client);
    } else if (renew) {
        l->until_ms = now + lease_ms;
        printf("RENEWED %s %s token %lu until %lu\n", name, client, l->token, l->until_ms);
    } else {
        l->state = FREE;
        printf("RELEASED %s %s token %lu\n", name, client, l->token);
    }
}

// Returns false for QUIT.
static bool command(char *line) {
    const char *verb = next_word(&line), *name = next_word(&line), *client = next_word(&line);
    const char *token = next_word(&line);
    uint64_t now = timer_ms();
    report_expired();
    if (verb && strcmp(verb, "QUIT") == 0) {
        begin_reply(now);
        puts("BYE\n");
        return false;
    }
    bool named = name && client && strlen(name) < NAME && strlen(client) < NAME;
    if (named && strcmp(verb, "ACQUIRE") == 0) acquire(now, name, client);
    else if (named && strcmp(verb, "RELEASE") == 0) holders_command(now, false, name, client, token);
    else if (named && strcmp(verb, "RENEW") == 0) holders_command(now, true, name, client, token);
    else begin_reply(now), puts("ERROR ACQUIRE name client, RELEASE or RENEW name client token, QUIT\n");
    return true;
}

int main(void) {
    char line[128];
    lease_ms = cmdline_u64("lease", 60000);
    timer_hook = expire;
    timer_start((uint32_t)cmdline_u64("hz", 100));
    printf("lock ready, lease %lu ms\n", lease_ms);
    for (bool go_on = true; go_on;) {
        while (getline(line, sizeof line) == 0) {}
        interrupts_off();
        go_on = command(line);
        interrupts_on();
    }
    return 0;
}
