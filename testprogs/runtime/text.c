// Small helpers for guests that speak in lines of words.
#include "runtime.h"

void strcopy(char *to, const char *from, size_t size) {
    size_t n = 0;
    while (n + 1 < size && from[n]) to[n] = from[n], n++;
    to[n] = 0;
}

char *next_word(char **rest) {
    char *s = *rest;
    while (*s == ' ') s++;
    if (!*s) return *rest = s, NULL;
    char *word = s;
    while (*s && *s != ' ') s++;
    if (*s) *s++ = 0;
    *rest = s;
    return word;
}

bool parse_i64(const char *s, int64_t *value) {
    bool negative = *s == '-';
    if (negative) s++;
    uint64_t n = 0;
    if (!*s) return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9') return false;
        n = 10 * n + (uint64_t)(*s - '0');
    }
    *value = (int64_t)(negative ? -n : n);
    return true;
}

uint64_t fnv1a(uint64_t hash, uint64_t value) {
    for (int i = 0; i < 8; i++, value >>= 8) hash = (hash ^ (value & 0xff)) * 0x100000001b3ull;
    return hash;
}
