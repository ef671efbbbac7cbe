// The boot information and its command line: words, some of the form name=number.
#include "runtime.h"

const struct boot_info *boot_info; // set by start.S

// The text behind `name` where a word begins with it and goes on with `end` (or ends there).
static const char *find(const char *name, char end) {
    size_t length = strlen(name);
    for (const char *word = boot_info->cmdline; *word;) {
        while (*word == ' ') word++;
        const char *stop = word;
        while (*stop && *stop != ' ') stop++;
        if ((size_t)(stop - word) >= length && memcmp(word, name, length) == 0) {
            const char *behind = word + length;
            if (end ? *behind == end : behind == stop) return behind;
        }
        word = stop;
    }
    return NULL;
}

bool cmdline_has(const char *name) { return find(name, 0) != NULL; }

uint64_t cmdline_u64(const char *name, uint64_t otherwise) {
    const char *s = find(name, '=');
    if (!s || s[1] < '0' || s[1] > '9') return otherwise;
    uint64_t value = 0;
    while (*++s >= '0' && *s <= '9') value = 10 * value + (uint64_t)(*s - '0');
    return value;
}
