// packed: integers in SSE2 registers, as pictures, sound and text are worked on.
#include "kernel.h"
#include <emmintrin.h>

enum { BYTES = 8192 };
static uint8_t from[BYTES] __attribute__((aligned(16))), to[BYTES] __attribute__((aligned(16)));

static __m128i *at(uint8_t *p, int i) { return (__m128i *)(p + i); }

// `to` becomes the mean of both, weighted by `alpha` of 256.
static __attribute__((noinline)) void blend(short alpha) {
    __m128i zero = _mm_setzero_si128(), a = _mm_set1_epi16(alpha), rest = _mm_set1_epi16((short)(256 - alpha));
    for (int i = 0; i < BYTES; i += 16) {
        __m128i x = _mm_load_si128(at(from, i)), y = _mm_load_si128(at(to, i));
        __m128i low = _mm_add_epi16(_mm_mullo_epi16(_mm_unpacklo_epi8(x, zero), a), _mm_mullo_epi16(_mm_unpacklo_epi8(y, zero), rest));
        __m128i high = _mm_add_epi16(_mm_mullo_epi16(_mm_unpackhi_epi8(x, zero), a), _mm_mullo_epi16(_mm_unpackhi_epi8(y, zero), rest));
        _mm_store_si128(at(to, i), _mm_packus_epi16(_mm_srli_epi16(low, 8), _mm_srli_epi16(high, 8)));
    }
}

// Sum of the products of 16-bit samples, and of the differences of bytes.
static __attribute__((noinline)) uint64_t correlate(int shift) {
    __m128i products = _mm_setzero_si128(), differences = _mm_setzero_si128();
    for (int i = 0; i < BYTES - 16; i += 16) {
        __m128i x = _mm_load_si128(at(from, i)), y = _mm_loadu_si128(at(to, i + shift));
        products = _mm_add_epi32(products, _mm_madd_epi16(x, _mm_srai_epi16(y, 4)));
        differences = _mm_add_epi64(differences, _mm_sad_epu8(x, y));
    }
    __m128i sum = _mm_add_epi64(products, _mm_shuffle_epi32(products, 0x4e));
    return (uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(sum, _mm_add_epi64(differences, _mm_srli_si128(differences, 8))));
}

// How often `byte` occurs, and the positions where it does.
static __attribute__((noinline)) uint64_t count(uint8_t byte) {
    __m128i wanted = _mm_set1_epi8((char)byte);
    uint64_t sum = 0;
    for (int i = 0; i < BYTES; i += 16) {
        __m128i x = _mm_max_epu8(_mm_min_epu8(_mm_load_si128(at(to, i)), _mm_set1_epi8((char)240)), _mm_set1_epi8(16));
        unsigned found = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(x, wanted));
        for (; found; found &= found - 1) sum += (uint64_t)i + 1;
    }
    return sum;
}

// Every fourth byte of text in upper case, by comparisons instead of branches.
static __attribute__((noinline)) void upper_case(void) {
    for (int i = 0; i < BYTES; i += 16) {
        __m128i x = _mm_load_si128(at(from, i));
        __m128i letter = _mm_and_si128(_mm_cmpgt_epi8(x, _mm_set1_epi8('a' - 1)), _mm_cmpgt_epi8(_mm_set1_epi8('z' + 1), x));
        __m128i fourth = _mm_cmpeq_epi8(_mm_and_si128(x, _mm_set1_epi8(3)), _mm_setzero_si128());
        _mm_store_si128(at(from, i), _mm_sub_epi8(x, _mm_and_si128(_mm_and_si128(letter, fourth), _mm_set1_epi8(32))));
    }
}

uint64_t kernel_run(uint64_t n) {
    uint64_t sum = 0, seed = 7;
    for (uint64_t round = 0; round < n; round++) {
        for (int i = 0; i < BYTES; i += 8) {
            uint64_t bits = next_random(&seed);
            memcpy(from + i, &bits, sizeof bits);
        }
        for (int i = 0; i < 25; i++) {
            blend((short)(8 * i + 20));
            sum = mix(sum, correlate(i & 15));
            sum = mix(sum, count((uint8_t)(100 + i)));
            upper_case();
        }
    }
    return sum;
}
