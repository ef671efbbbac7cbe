// mixed: what a small embedded program does, in the proportions CoreMark made familiar: a linked list is
// searched, sorted and reversed, small matrices are multiplied, a state machine reads text, and a
// CRC-16 runs over every result.
#include "kernel.h"

static uint16_t crc16(uint16_t crc, uint32_t value) {
    for (int i = 0; i < 32; i++, value >>= 1) crc = (uint16_t)((crc ^ value) & 1 ? crc >> 1 ^ 0xa001 : crc >> 1);
    return crc;
}

// ---- the list -------------------------------------------------------------------------------

enum { NODES = 120 };
struct node {
    struct node *next;
    int16_t value, index;
};
static struct node nodes[NODES];

static struct node *list_build(uint64_t seed) {
    for (int i = 0; i < NODES; i++) {
        nodes[i].next = i + 1 < NODES ? &nodes[i + 1] : NULL;
        nodes[i].value = (int16_t)(next_random(&seed) & 0x3ff);
        nodes[i].index = (int16_t)i;
    }
    return nodes;
}

static struct node *list_reverse(struct node *list) {
    struct node *done = NULL;
    while (list) {
        struct node *next = list->next;
        list->next = done, done = list, list = next;
    }
    return done;
}

static struct node *list_merge(struct node *a, struct node *b) {
    struct node *head = NULL, **end = &head;
    while (a && b) {
        struct node **least = b->value < a->value ? &b : &a;
        *end = *least, end = &(*least)->next, *least = (*least)->next;
    }
    *end = a ? a : b;
    return head;
}

static struct node *list_sort(struct node *list) {
    if (!list || !list->next) return list;
    struct node *slow = list, *fast = list->next;
    while (fast && fast->next) slow = slow->next, fast = fast->next->next;
    struct node *half = slow->next;
    slow->next = NULL;
    return list_merge(list_sort(list), list_sort(half));
}

static uint16_t list_work(uint16_t crc, uint64_t seed) {
    struct node *list = list_reverse(list_build(seed));
    for (int wanted = 0; wanted < 40; wanted++) {
        int steps = 0;
        for (const struct node *n = list; n && n->value % 40 != wanted; n = n->next) steps++;
        crc = crc16(crc, (uint32_t)steps);
    }
    for (const struct node *n = list_sort(list); n; n = n->next) crc = crc16(crc, (uint32_t)(n->value << 8 ^ n->index));
    return crc;
}

// ---- the matrices ---------------------------------------------------------------------------

enum { SIZE = 16 };
static int16_t a[SIZE][SIZE], b[SIZE][SIZE];
static int32_t product[SIZE][SIZE];

static uint16_t matrix_work(uint16_t crc, uint64_t seed) {
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) a[i][j] = (int16_t)next_random(&seed), b[i][j] = (int16_t)(i * j + a[i][j]);
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            int32_t sum = 0;
            for (int k = 0; k < SIZE; k++) sum += a[i][k] * (b[k][j] >> 2 & 0x3f);
            product[i][j] = sum;
        }
    for (int i = 0; i < SIZE; i++) crc = crc16(crc, (uint32_t)product[i][(i * 7) % SIZE]);
    return crc;
}

// ---- the state machine ----------------------------------------------------------------------

enum state { START, SIGN, INTEGER, FRACTION, EXPONENT_SIGN, EXPONENT, INVALID, STATES };
static const char text[] = "5012,1234,-874,+122,35.54400,.1234500,-110.700,+0.64400,5.500e+3,-.123e-2,-87e+832,+0.6e-12,T0.3e-1F,-T.T++Tq,1T3.4e4z,";

static enum state step(enum state s, char c) {
    int digit = c >= '0' && c <= '9';
    switch (s) {
    case START: return digit ? INTEGER : c == '+' || c == '-' ? SIGN : c == '.' ? FRACTION : INVALID;
    case SIGN: return digit ? INTEGER : c == '.' ? FRACTION : INVALID;
    case INTEGER: return digit ? INTEGER : c == '.' ? FRACTION : c == 'e' ? EXPONENT_SIGN : INVALID;
    case FRACTION: return digit ? FRACTION : c == 'e' ? EXPONENT_SIGN : INVALID;
    case EXPONENT_SIGN: return digit || c == '+' || c == '-' ? EXPONENT : INVALID;
    case EXPONENT: return digit ? EXPONENT : INVALID;
    default: return INVALID;
    }
}

static uint16_t state_work(uint16_t crc, uint64_t seed) {
    uint32_t finals[STATES] = {0};
    enum state s = START;
    for (int round = 0; round < 8; round++)
        for (const char *p = text; *p; p++) {
            char c = (next_random(&seed) & 31) == 0 ? 'x' : *p; // now and then a broken character
            if (*p == ',') finals[s]++, s = START;
            else s = step(s, c);
        }
    for (int i = 0; i < STATES; i++) crc = crc16(crc, finals[i]);
    return crc;
}

uint64_t kernel_run(uint64_t n) {
    uint64_t sum = 0;
    uint16_t crc = 0xffff;
    for (uint64_t i = 0; i < n; i++) {
        for (uint64_t part = 1; part <= 10; part++) {
            crc = list_work(crc, 1000 * i + part);
            crc = matrix_work(crc, 3000 * i + part);
            crc = state_work(crc, 7000 * i + part);
        }
        sum = mix(sum, crc);
    }
    return sum;
}
