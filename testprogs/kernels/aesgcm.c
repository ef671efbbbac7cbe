// aesgcm: AES-128 in Galois/counter mode (NIST SP 800-38D) with AES-NI and carry-less multiplication.
#include "kernel.h"
#pragma GCC target("aes,pclmul,sse4.1")
#include <immintrin.h>

enum { BYTES = 4096, ROUNDS = 10 };
static uint8_t text[BYTES] __attribute__((aligned(16)));
static __m128i keys[ROUNDS + 1];

static __m128i reversed(__m128i x) { return _mm_shuffle_epi8(x, _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f)); }

// ---- AES --------------------------------------------------------------------------------------

static __m128i next_key(__m128i key, __m128i assist) {
    for (int i = 0; i < 3; i++) key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    return _mm_xor_si128(key, _mm_shuffle_epi32(assist, 0xff));
}

// keys[i] from keys[i - 1]; the constant must be one at compile time.
#define EXPAND(i, constant) keys[i] = next_key(keys[i - 1], _mm_aeskeygenassist_si128(keys[i - 1], constant))

static void expand_key(__m128i key) {
    keys[0] = key;
    EXPAND(1, 0x01), EXPAND(2, 0x02), EXPAND(3, 0x04), EXPAND(4, 0x08), EXPAND(5, 0x10);
    EXPAND(6, 0x20), EXPAND(7, 0x40), EXPAND(8, 0x80), EXPAND(9, 0x1b), EXPAND(10, 0x36);
}

static __m128i encrypt(__m128i x) {
    x = _mm_xor_si128(x, keys[0]);
    for (int i = 1; i < ROUNDS; i++) x = _mm_aesenc_si128(x, keys[i]);
    return _mm_aesenclast_si128(x, keys[ROUNDS]);
}

// Four blocks at once, which a real CPU overlaps.
static void encrypt_four(__m128i x[4]) {
    for (int j = 0; j < 4; j++) x[j] = _mm_xor_si128(x[j], keys[0]);
#pragma GCC unroll 9
    for (int i = 1; i < ROUNDS; i++)
        for (int j = 0; j < 4; j++) x[j] = _mm_aesenc_si128(x[j], keys[i]);
    for (int j = 0; j < 4; j++) x[j] = _mm_aesenclast_si128(x[j], keys[ROUNDS]);
}

// ---- GHASH: products of polynomials over GF(2), bits in reverse -------------------------------

// a * b modulo x^128 + x^7 + x^2 + x + 1.
static inline __m128i multiply(__m128i a, __m128i b) {
    __m128i low = _mm_clmulepi64_si128(a, b, 0x00), high = _mm_clmulepi64_si128(a, b, 0x11);
    __m128i middle = _mm_xor_si128(_mm_clmulepi64_si128(a, b, 0x01), _mm_clmulepi64_si128(a, b, 0x10));
    low = _mm_xor_si128(low, _mm_slli_si128(middle, 8)), high = _mm_xor_si128(high, _mm_srli_si128(middle, 8));
    // Bits in reverse: the product of 255 bits moves up by one.
    __m128i carry = _mm_srli_epi64(low, 63), above = _mm_srli_epi64(high, 63);
    high = _mm_or_si128(_mm_or_si128(_mm_add_epi64(high, high), _mm_slli_si128(above, 8)), _mm_srli_si128(carry, 8));
    low = _mm_or_si128(_mm_add_epi64(low, low), _mm_slli_si128(carry, 8));
    // What the low half stands for, folded 64 bits at a time.
    const __m128i poly = _mm_set_epi64x(0, (long long)0xc200000000000000);
    for (int i = 0; i < 2; i++) low = _mm_xor_si128(_mm_shuffle_epi32(low, 0x4e), _mm_clmulepi64_si128(low, poly, 0x00));
    return _mm_xor_si128(high, low);
}

// Enciphers the text in place; returns the tag.
static __m128i seal(__m128i nonce) {
    __m128i hash_key = reversed(encrypt(_mm_setzero_si128())), hash = _mm_setzero_si128();
    __m128i counter = _mm_insert_epi32(nonce, 1, 0); // kept with its bytes reversed: the count is lane 0
    __m128i mask = encrypt(reversed(counter));
    const __m128i one = _mm_set_epi32(0, 0, 0, 1);
    for (int i = 0; i < BYTES; i += 64) {
        __m128i stream[4], *blocks = (__m128i *)(text + i);
        for (int j = 0; j < 4; j++) counter = _mm_add_epi32(counter, one), stream[j] = reversed(counter);
        encrypt_four(stream);
        for (int j = 0; j < 4; j++) {
            blocks[j] = _mm_xor_si128(blocks[j], stream[j]);
            hash = multiply(_mm_xor_si128(hash, reversed(blocks[j])), hash_key);
        }
    }
    hash = multiply(_mm_xor_si128(hash, _mm_set_epi64x(0, BYTES * 8)), hash_key);
    return _mm_xor_si128(reversed(hash), mask);
}

uint64_t kernel_run(uint64_t n) {
    uint64_t sum = 0;
    for (uint64_t round = 0; round < n; round++) {
        expand_key(_mm_set_epi64x((long long)round, 0x0123456789abcdef));
        for (int i = 0; i < 50; i++) {
            __m128i tag = seal(_mm_set_epi64x(i, (long long)round));
            sum = mix(sum, (uint64_t)_mm_cvtsi128_si64(tag));
        }
    }
    return mix(sum, text[BYTES - 1]);
}
