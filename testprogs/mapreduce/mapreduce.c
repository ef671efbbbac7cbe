// mapreduce: a MapReduce master and its workers, simulated in one program. The master hands out map tasks
// (count the words of one piece of text) and then reduce tasks (add up the counts of one share of the words);
// workers take their time, and RDRAND makes some of them die. A task that is not done in time is given to
// someone else, and a result that comes twice is used once.
// The schedule is different in every run; the result must not be. It is the master whose state must
// survive: the one machine of the original MapReduce that was not fault tolerant.
//
//   workers=N (default 5)   death=PERCENT (default 25)   hz=N (default 100)   quiet: the result only
//
// Output: the schedule in lines that begin with [tick], then one line per word in alphabetical order:
//   [3] worker 1 begins map 0
//   [7] worker 1 finishes map 0
//   [24] worker 3 is given up for map 2
//   ...
//   a 5
//   ...
//   mapreduce: 127 words, 74 different
#include "runtime.h"

static const char *const pieces[] = {
    "a primary runs the program and writes down everything that the program could not have known",
    "the backup reads what the primary wrote and so the backup runs the same program",
    "what the world sees must wait until the backup holds everything that led to it",
    "when the primary falls silent the backup asks the arbiter and only one of them may go on",
    "a clock that runs backwards or a number that is said twice is how the world finds out",
    "the same start and the same order of events lead to the same state",
    "an interrupt must come at the same instruction or the two machines are no longer one",
    "nobody can tell a dead machine from a slow one and so the arbiter decides",
};
enum { MAPS = sizeof pieces / sizeof *pieces, REDUCES = 4, WORDS = 160, WORKERS_MAX = 16, LATE_TICKS = 12, DEAD_TICKS = 40 };

struct count {
    const char *word;
    uint8_t length;
    uint32_t n;
};
struct table {
    struct count counts[WORDS];
    int used;
};

static struct table intermediate[MAPS][REDUCES], result[REDUCES];

static struct task {
    enum { IDLE, RUNNING, DONE } state;
    int worker;
    uint64_t begun;
} tasks[MAPS + REDUCES]; // the map tasks, then the reduce tasks

static struct worker {
    int task; // -1: none
    uint64_t ready; // the tick at which it finishes, or comes back to life
    bool dead;
} workers[WORKERS_MAX];

static bool quiet;

// ---- what workers do ------------------------------------------------------------------------

static int compare(const struct count *a, const struct count *b) {
    int length = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->word, b->word, (size_t)length);
    return order ? order : a->length - b->length;
}

static void add(struct table *table, struct count c) {
    for (int i = 0; i < table->used; i++)
        if (compare(&table->counts[i], &c) == 0) {
            table->counts[i].n += c.n;
            return;
        }
    if (table->used < WORDS) table->counts[table->used++] = c;
}

static void map(int piece) {
    for (const char *s = pieces[piece]; *s;) {
        const char *end = s;
        uint64_t hash = FNV_START;
        while (*end && *end != ' ') hash = fnv1a(hash, (uint8_t)*end++);
        add(&intermediate[piece][hash % REDUCES], (struct count){s, (uint8_t)(end - s), 1});
        s = *end ? end + 1 : end;
    }
}

static void reduce(int share) {
    for (int piece = 0; piece < MAPS; piece++)
        for (int i = 0; i < intermediate[piece][share].used; i++) add(&result[share], intermediate[piece][share].counts[i]);
}

// ---- what the master does -------------------------------------------------------------------

static void say(uint64_t now, int worker, const char *what, int task) {
    const char *kind = task < MAPS ? "map" : "reduce";
    if (!quiet) printf("[%lu] worker %d %s %s %d\n", now, worker, what, kind, task < MAPS ? task : task - MAPS);
}

static void collect(uint64_t now, int w) {
    struct worker *worker = &workers[w];
    if (worker->ready > now) return;
    if (worker->dead) {
        worker->dead = false, worker->task = -1; // a new one in its place
        return;
    }
    if (worker->task < 0) return;
    struct task *task = &tasks[worker->task];
    if (task->state == DONE) {
        say(now, w, "finishes, too late,", worker->task);
    } else {
        if (worker->task < MAPS) map(worker->task);
        else reduce(worker->task - MAPS);
        task->state = DONE;
        say(now, w, "finishes", worker->task);
    }
    worker->task = -1;
}

static void give_up_late(uint64_t now) {
    for (int t = 0; t < MAPS + REDUCES; t++)
        if (tasks[t].state == RUNNING && now >= tasks[t].begun + LATE_TICKS) {
            say(now, tasks[t].worker, "is given up for", t);
            tasks[t].state = IDLE;
        }
}

static bool all_done(int from, int to) {
    for (int t = from; t < to; t++)
        if (tasks[t].state != DONE) return false;
    return true;
}

static void assign(uint64_t now, int w, uint64_t death_percent) {
    if (workers[w].task >= 0 || workers[w].dead) return;
    int end = all_done(0, MAPS) ? MAPS + REDUCES : MAPS; // no reduce before the last map
    for (int t = 0; t < end; t++) {
        if (tasks[t].state != IDLE) continue;
        uint64_t chance = rdrand();
        bool dies = chance % 100 < death_percent;
        uint64_t slow = chance >> 32 & 7 ? 0 : LATE_TICKS; // one in eight dawdles and is taken for dead
        tasks[t] = (struct task){RUNNING, w, now};
        workers[w] = (struct worker){t, now + (dies ? DEAD_TICKS : 1 + (chance >> 8) % 6 + slow), dies};
        say(now, w, "begins", t);
        return;
    }
}

static void print_result(void) {
    static struct table all;
    uint32_t words = 0;
    for (int share = 0; share < REDUCES; share++)
        for (int i = 0; i < result[share].used; i++) add(&all, result[share].counts[i]);
    for (int i = 1; i < all.used; i++) // insertion sort
        for (int j = i; j > 0 && compare(&all.counts[j], &all.counts[j - 1]) < 0; j--) {
            struct count t = all.counts[j];
            all.counts[j] = all.counts[j - 1], all.counts[j - 1] = t;
        }
    for (int i = 0; i < all.used; i++) {
        for (int c = 0; c < all.counts[i].length; c++) putchar(all.counts[i].word[c]);
        printf(" %u\n", all.counts[i].n);
        words += all.counts[i].n;
    }
    printf("mapreduce: %u words, %d different\n", words, all.used);
}

int main(void) {
    int count = (int)cmdline_u64("workers", 5);
    uint64_t death = cmdline_u64("death", 25);
    if (count < 1 || count > WORKERS_MAX || death > 99) {
        puts("mapreduce: workers=1..16 death=0..99\n");
        return 1;
    }
    quiet = cmdline_has("quiet");
    for (int w = 0; w < count; w++) workers[w].task = -1;
    timer_start((uint32_t)cmdline_u64("hz", 100));
    for (uint64_t now = 0; !all_done(0, MAPS + REDUCES); timer_wait_until(++now)) {
        for (int w = 0; w < count; w++) collect(now, w);
        give_up_late(now);
        for (int w = 0; w < count; w++) assign(now, w, death);
    }
    print_result();
    return 0;
}
