// What these programs share: numbers that are the same everywhere, and a checksum to say what came of them.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// xorshift64.
static inline uint64_t next_random(uint64_t *state) {
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

static inline uint64_t fnv1a(uint64_t hash, const void *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) hash = (hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3ull;
    return hash;
}
#define FNV_START 0xcbf29ce484222325ull

// The number of rounds: the first argument.
static inline unsigned long rounds_of(int argc, char **argv, unsigned long otherwise) {
    return argc > 1 ? strtoul(argv[1], NULL, 10) : otherwise;
}

// English-like text, so that there is something to find and to compress.
static inline void make_text(char *text, size_t size, uint64_t seed) {
    static const char *const words[] = {"the",   "machine", "instruction", "retires", "one",  "after", "another", "until", "a",
                                        "fault", "of",      "page",        "0x1f80",  "2026", "and",   "it@emu.example", "then"};
    size_t at = 0;
    while (at < size) {
        uint64_t random = next_random(&seed);
        const char *word = words[random % (sizeof words / sizeof words[0])];
        for (; *word && at < size; word++) text[at++] = *word;
        if (at < size) text[at++] = random >> 32 & 7 ? ' ' : '\n';
    }
}
