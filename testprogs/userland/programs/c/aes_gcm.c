// aes-gcm: AES-128 in counter mode with GHASH (FIPS 197, NIST SP 800-38D), in plain C.
#include "common.h"

static uint8_t sbox[256];
static uint8_t round_keys[11][16];

static uint8_t times_2(uint8_t a) { return (uint8_t)(a << 1 ^ (a >> 7) * 0x1b); }

// The inverse in GF(2^8) and an affine map, by walking through all powers of 3 and of its inverse.
static void make_sbox(void) {
    uint8_t p = 1, q = 1;
    do {
        p ^= times_2(p);
        q ^= (uint8_t)(q << 1);
        q ^= (uint8_t)(q << 2);
        q ^= (uint8_t)(q << 4);
        if (q & 0x80) q ^= 0x09;
        uint8_t x = q;
        for (int i = 1; i < 5; i++) x ^= (uint8_t)(q << i | q >> (8 - i));
        sbox[p] = x ^ 0x63;
    } while (p != 1);
    sbox[0] = 0x63;
}

static void expand(const uint8_t key[16]) {
    uint8_t constant = 1;
    memcpy(round_keys[0], key, 16);
    for (int r = 1; r <= 10; r++, constant = times_2(constant)) {
        const uint8_t *old = round_keys[r - 1];
        for (int i = 0; i < 4; i++) round_keys[r][i] = old[i] ^ sbox[old[12 + (i + 1) % 4]];
        round_keys[r][0] ^= constant;
        for (int i = 4; i < 16; i++) round_keys[r][i] = old[i] ^ round_keys[r][i - 4];
    }
}

static void encrypt(uint8_t block[16]) {
    uint8_t s[16], t[16];
    for (int i = 0; i < 16; i++) s[i] = block[i] ^ round_keys[0][i];
    for (int r = 1; r <= 10; r++) {
        for (int i = 0; i < 16; i++) t[i] = sbox[s[(i + 4 * (i % 4)) % 16]]; // SubBytes, ShiftRows
        for (int c = 0; c < 16 && r < 10; c += 4) {
            uint8_t all = t[c] ^ t[c + 1] ^ t[c + 2] ^ t[c + 3], first = t[c];
            for (int i = 0; i < 4; i++) s[c + i] = t[c + i] ^ all ^ times_2(t[c + i] ^ (i < 3 ? t[c + i + 1] : first));
        }
        if (r == 10) memcpy(s, t, 16);
        for (int i = 0; i < 16; i++) s[i] ^= round_keys[r][i];
    }
    memcpy(block, s, 16);
}

struct field {
    uint64_t high, low; // bit 127 first, as GCM counts
};

static struct field load(const uint8_t *b) {
    struct field f = {0, 0};
    for (int i = 0; i < 8; i++) f.high = f.high << 8 | b[i], f.low = f.low << 8 | b[i + 8];
    return f;
}

static struct field multiply(struct field x, struct field h) {
    struct field z = {0, 0};
    for (int i = 0; i < 128; i++) {
        uint64_t bit = (i < 64 ? x.high >> (63 - i) : x.low >> (127 - i)) & 1;
        z.high ^= h.high & -bit, z.low ^= h.low & -bit;
        uint64_t carry = h.low & 1;
        h.low = h.low >> 1 | h.high << 63;
        h.high = h.high >> 1 ^ (0xe1ull << 56 & -carry);
    }
    return z;
}

static struct field ghash(struct field y, struct field h, const uint8_t *bytes, size_t size) {
    for (size_t at = 0; at < size; at += 16) {
        uint8_t block[16] = {0};
        memcpy(block, bytes + at, size - at < 16 ? size - at : 16);
        struct field x = load(block);
        y = multiply((struct field){y.high ^ x.high, y.low ^ x.low}, h);
    }
    return y;
}

static void seal(const uint8_t nonce[12], const uint8_t *extra, size_t extra_size, uint8_t *text, size_t size, uint8_t tag[16]) {
    uint8_t zero[16] = {0}, counter[16] = {0}, stream[16];
    encrypt(zero);
    struct field h = load(zero);
    memcpy(counter, nonce, 12);
    for (size_t at = 0; at < size; at += 16) {
        uint32_t n = (uint32_t)(at / 16 + 2);
        for (int i = 0; i < 4; i++) counter[15 - i] = (uint8_t)(n >> 8 * i);
        memcpy(stream, counter, 16);
        encrypt(stream);
        for (size_t i = 0; i < 16 && at + i < size; i++) text[at + i] ^= stream[i];
    }
    struct field y = ghash(ghash((struct field){0, 0}, h, extra, extra_size), h, text, size);
    y = multiply((struct field){y.high ^ extra_size * 8, y.low ^ size * 8}, h);
    memcpy(stream, nonce, 12);
    memcpy(stream + 12, "\0\0\0\1", 4);
    encrypt(stream);
    for (int i = 0; i < 8; i++) {
        tag[i] = stream[i] ^ (uint8_t)(y.high >> (56 - 8 * i));
        tag[i + 8] = stream[i + 8] ^ (uint8_t)(y.low >> (56 - 8 * i));
    }
}

static void print_hex(const char *name, const uint8_t *bytes, size_t size) {
    printf("%s ", name);
    for (size_t i = 0; i < size; i++) printf("%02x", bytes[i]);
    putchar('\n');
}

int main(int argc, char **argv) {
    unsigned long rounds = rounds_of(argc, argv, 4);
    static uint8_t text[4096];
    uint8_t key[16], tag[16], nonce[12] = {1, 2, 3};
    make_sbox();
    // Test case 2 of the GCM specification: key, nonce and block of zeros.
    memset(key, 0, sizeof key);
    expand(key);
    seal((uint8_t[12]){0}, NULL, 0, text, 16, tag);
    print_hex("block", text, 16); // 0388dace60b6a392f328c2b971b2fe78
    print_hex("tag  ", tag, 16);  // ab6e47d42cec13bdf53a67b21257bddf
    uint64_t seed = 7;
    for (unsigned long n = 0; n < rounds; n++) {
        for (int i = 0; i < 16; i++) key[i] = (uint8_t)next_random(&seed);
        expand(key);
        nonce[11] = (uint8_t)n;
        seal(nonce, text, 20, text + 20, sizeof text - 20 - n % 16, tag);
    }
    print_hex("last ", tag, 16);
    printf("text  %016lx\n", fnv1a(FNV_START, text, sizeof text));
    return 0;
}
