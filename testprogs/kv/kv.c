// kv: a key-value store over the console. Every command gets one reply line, and replies are numbered
// 1, 2, 3 ..., so that a client sees at once when a command was lost or done twice (INCR shows it best).
//
//   SET fruit 5     1 OK                   COUNT   5 1
//   GET fruit       2 5                    SUM     6 6
//   INCR fruit      3 6                    DEL fruit   7 OK
//   LIST            4 fruit=6              QUIT    8 BYE
// and `N NONE` for a key that is not there, `N ERROR why` for anything else. Empty lines have no reply.
#include "runtime.h"

enum { ENTRIES = 256, KEY = 32, VALUE = 64 };

static struct entry {
    char key[KEY], value[VALUE]; // an empty key: not in use
} entries[ENTRIES];

static struct entry *find(const char *key) {
    for (struct entry *e = entries; e < entries + ENTRIES; e++)
        if (strcmp(e->key, key) == 0) return e;
    return NULL;
}

static const char *set(const char *key, const char *value) {
    if (!key || !value) return "ERROR key and value expected";
    if (strlen(key) >= KEY || strlen(value) >= VALUE) return "ERROR too long";
    struct entry *e = find(key);
    if (!e) e = find("");
    if (!e) return "ERROR full";
    strcopy(e->key, key, KEY);
    strcopy(e->value, value, VALUE);
    return "OK";
}

static void format(char *text, int64_t value) {
    uint64_t n = value < 0 ? -(uint64_t)value : (uint64_t)value;
    char digits[24], *d = digits + sizeof digits;
    *--d = 0;
    do *--d = (char)('0' + n % 10), n /= 10;
    while (n);
    if (value < 0) *--d = '-';
    strcopy(text, d, VALUE);
}

static const char *increment(const char *key) {
    struct entry *e = key ? find(key) : NULL;
    int64_t value = 0;
    if (e && !parse_i64(e->value, &value)) return "ERROR not a number";
    char text[VALUE];
    format(text, (int64_t)((uint64_t)value + 1));
    const char *done = set(key, text);
    return done[0] == 'O' ? find(key)->value : done;
}

static const char *remove(const char *key) {
    struct entry *e = key ? find(key) : NULL;
    if (!e) return "NONE";
    e->key[0] = 0;
    return "OK";
}

static const char *get(const char *key) {
    struct entry *e = key ? find(key) : NULL;
    return e ? e->value : "NONE";
}

static const char *total(bool of_values) {
    static char text[VALUE];
    uint64_t count = 0, sum = 0;
    for (struct entry *e = entries; e < entries + ENTRIES; e++) {
        int64_t value;
        if (!e->key[0]) continue;
        count++;
        if (parse_i64(e->value, &value)) sum += (uint64_t)value;
    }
    format(text, (int64_t)(of_values ? sum : count));
    return text;
}

static const char *list(void) {
    for (struct entry *e = entries; e < entries + ENTRIES; e++)
        if (e->key[0]) printf(" %s=%s", e->key, e->value);
    return NULL;
}

static const char *command(char *line, bool *quit) {
    const char *verb = next_word(&line), *key = next_word(&line), *value = next_word(&line);
    if (!verb) return "ERROR command expected";
    if (strcmp(verb, "SET") == 0) return set(key, value);
    if (strcmp(verb, "GET") == 0) return get(key);
    if (strcmp(verb, "DEL") == 0) return remove(key);
    if (strcmp(verb, "INCR") == 0) return key ? increment(key) : "ERROR key expected";
    if (strcmp(verb, "COUNT") == 0) return total(false);
    if (strcmp(verb, "SUM") == 0) return total(true);
    if (strcmp(verb, "LIST") == 0) return list();
    if (strcmp(verb, "QUIT") == 0) return *quit = true, "BYE";
    return "ERROR unknown command";
}

int main(void) {
    char line[128];
    bool quit = false;
    puts("kv ready\n");
    for (uint64_t reply = 1; !quit; reply++) {
        while (getline(line, sizeof line) == 0) {}
        printf("%lu", reply);
        const char *answer = command(line, &quit);
        if (answer) printf(" %s", answer);
        putchar('\n');
    }
    return 0;
}
