// What paranoia.c asks of one format. It is included once for each, with REAL (the type), N (prefix of names), LIBM and
// OF_FLOAT_H (names in libraries), SQRT (the instruction), and for SSE and AVX with PACK (bytes of a vector) and PACKED_SQRT.

enum { N(bytes) = sizeof(REAL) == 16 ? 10 : sizeof(REAL) };
typedef REAL N(real);
static const REAL N(max) = OF_FLOAT_H(MAX), N(min) = OF_FLOAT_H(MIN), N(tiny) = OF_FLOAT_H(TRUE_MIN);
static const REAL N(ulp) = OF_FLOAT_H(EPSILON); // of 1, upwards; downwards it is half of that
static const int N(digits) = OF_FLOAT_H(MANT_DIG);

// The bits of a number, without those that pad it in memory.
static unsigned __int128 N(bits)(REAL x) {
    unsigned __int128 bits = 0;
    memcpy(&bits, &x, N(bytes));
    return bits;
}
static int N(same)(REAL a, REAL b) { return N(bits)(a) == N(bits)(b); }
static int N(is_even)(REAL x) { return !(N(bits)(x) & 1); }

static REAL N(of_bits)(unsigned __int128 bits) {
    REAL x = 0;
    memcpy(&x, &bits, N(bytes));
    return x;
}

#ifdef PACK
typedef REAL N(pack) __attribute__((vector_size(PACK)));
enum { N(lanes) = PACK / sizeof(REAL) };
static int N(packed_differ);

static N(pack) N(fill)(REAL x) {
    N(pack) pack;
    for (int i = 0; i < N(lanes); i++) memcpy((char *)&pack + i * N(bytes), &x, N(bytes));
    HIDE(pack);
    return pack;
}

// The packed instruction gives every lane what the scalar one gave, and raises the same.
static void N(agree)(N(pack) packed, REAL scalar, unsigned expected) {
    for (int i = 0; i < N(lanes); i++) N(packed_differ) |= memcmp((char *)&packed + i * N(bytes), &scalar, N(bytes)) != 0;
    N(packed_differ) |= raised != expected;
    raised = expected;
}
// Which of two NaNs an operation gives depends on their order, and the compiler may swap them.
#define PACKED(RESULT)                                                                                                    \
    if (!(isnan(a) && isnan(b))) {                                                                                        \
        unsigned expected = raised;                                                                                       \
        N(pack) pa = N(fill)(a), pb = N(fill)(b), pr;                                                                     \
        begin(mode);                                                                                                      \
        HIDE(pa);                                                                                                         \
        HIDE(pb);                                                                                                         \
        pr = RESULT;                                                                                                      \
        HIDE(pr);                                                                                                         \
        end();                                                                                                            \
        N(agree)(pr, r, expected);                                                                                        \
    }                                                                                                                     \
    (void)0
#else
#define PACKED(RESULT) (void)0
#endif

// One instruction in a rounding mode; what it raises is in `raised` then.
#define OPERATION(NAME, RESULT, PACKED_RESULT)                                                                            \
    static __attribute__((noinline)) REAL NAME(int mode, REAL a, REAL b) {                                                \
        begin(mode);                                                                                                      \
        HIDE(a);                                                                                                          \
        HIDE(b);                                                                                                          \
        REAL r = RESULT;                                                                                                  \
        HIDE(r);                                                                                                          \
        end();                                                                                                            \
        see(&r, N(bytes));                                                                                                \
        PACKED(PACKED_RESULT);                                                                                            \
        return r;                                                                                                         \
    }
OPERATION(N(add), a + b, pa + pb)
OPERATION(N(sub), a - b, pa - pb)
OPERATION(N(mul), a * b, pa * pb)
OPERATION(N(div), a / b, pa / pb)
OPERATION(N(root_of), SQRT(a), PACKED_SQRT(pa))
#if defined(__FMA__) && defined(PACK)
#define HAS_FMA 1
static REAL N(addend);
OPERATION(N(fma_of), LIBM(__builtin_fma)(a, b, N(addend)), pa * pb + N(fill)(N(addend)))
static REAL N(fma)(int mode, REAL a, REAL b, REAL c) {
    N(addend) = c;
    return N(fma_of)(mode, a, b);
}
#endif
static REAL N(root)(int mode, REAL a) { return N(root_of)(mode, a, 1); }

// To nearest; never part of a fused operation.
static REAL N(plus)(REAL a, REAL b) {
    REAL r = a + b;
    HIDE(r);
    return r;
}
static REAL N(times)(REAL a, REAL b) {
    REAL r = a * b;
    HIDE(r);
    return r;
}

// A number of exponent -range to range, often of few ones or few zeros.
static REAL N(random)(int range) {
    uint64_t significand = next_random(&randomness), choice = next_random(&randomness);
    switch (choice & 3) {
    case 0: significand &= ~0ull << (choice >> 2 & 63); break;
    case 1: significand |= ~0ull >> (choice >> 2 & 63); break;
    }
    significand = (significand | 1ull << 63) >> (64 - N(digits));
    int exponent = (int)(choice >> 8 & 0xffff) % (2 * range + 1) - range;
    REAL x = LIBM(ldexp)((REAL)significand, exponent + 1 - N(digits));
    return choice >> 63 ? -x : x;
}

// Radix and precision as Kahan's program finds them.
static void N(radix)(void) {
    REAL w = 1, y = 1, radix, power = 1;
    int digits = 0;
    do w = N(add)(NEAREST, w, w);
    while (N(sub)(NEAREST, N(sub)(NEAREST, N(add)(NEAREST, w, 1), w), 1) == 0);
    do {
        radix = N(sub)(NEAREST, N(add)(NEAREST, w, y), w);
        y = N(add)(NEAREST, y, y);
    } while (radix == 0);
    property("the radix is 2", radix == 2);
    do {
        digits++;
        power = N(mul)(NEAREST, power, radix);
    } while (N(sub)(NEAREST, N(add)(NEAREST, power, 1), power) == 1);
    property("so many digits", digits == N(digits));
    property("the distance of 1 to the next number", N(div)(NEAREST, radix, power) == N(ulp));
}

// Digits beyond the last one are kept as long as they count: one to guard it, one to round, and a sticky one.
static void N(guard)(void) {
    REAL u2 = N(ulp), u1 = u2 / 2, above = 1 + u2, below = 1 - u1, under_half = u1 - u1 * u2, over_half = u1 + u1 * u2;
    int holds = N(sub)(NEAREST, 1, below) == u1 && N(sub)(NEAREST, above, 1) == u2 && N(sub)(NEAREST, 2, 2 - u2) == u2;
    property("subtraction has a guard digit", holds);
    holds = N(mul)(NEAREST, below, below) == 1 - u2 && N(mul)(NEAREST, above, above) == 1 + 2 * u2;
    property("multiplication has a guard digit", holds);
    holds = N(div)(NEAREST, 1, above) == 1 - u2 && N(div)(NEAREST, below, below) == 1 && N(div)(NEAREST, above, 1) == above;
    property("division has a guard digit", holds);
    holds = N(add)(NEAREST, 1, u1) == 1 && N(add)(NEAREST, 1, under_half) == 1 && N(add)(NEAREST, 1, over_half) == above &&
            N(add)(NEAREST, above, u1) == 1 + 2 * u2 && N(sub)(NEAREST, 1, u1 / 2) == 1 &&
            N(sub)(NEAREST, 1, u1 / 2 + u1 * u1) == below;
    property("addition has a sticky bit", holds);
    property("multiplication has a sticky bit", N(mul)(NEAREST, above, below) == 1 && N(mul)(UP, above, below) == above);
    property("division has a sticky bit", N(div)(NEAREST, 1, below) == above);
    property("the square root has a sticky bit", N(root)(NEAREST, above) == 1 && N(root)(NEAREST, below) == below);

    holds = 1;
    for (int mode = 0; mode < MODES; mode++) {
        REAL sums[][2] = {{u1 * u2, UP}, {u1, UP}, {over_half, NEAREST}, {u2 - u1 * u2, NEAREST}};
        for (int i = 0; i < 8; i++) {
            REAL sign = i & 1 ? -1 : 1;
            int away = mode == (sign > 0 ? UP : DOWN) || (mode == NEAREST && sums[i / 2][1] == NEAREST);
            holds &= N(add)(mode, sign, sign * sums[i / 2][0]) == sign * (away ? above : 1) && raised == PE;
        }
    }
    property("four modes round as they are called", holds);
}

// Whether results in the four modes, with the flags they raised, are those of an exact value on this side of the nearest.
static int N(bracketed)(const REAL *r, const unsigned *flags, REAL side) {
    int holds = 1;
    for (int mode = 0; mode < MODES; mode++) holds &= flags[mode] == (side == 0 ? 0 : PE);
    if (side == 0) return holds && r[DOWN] == r[NEAREST] && r[UP] == r[NEAREST] && r[TO_ZERO] == r[NEAREST];
    holds &= LIBM(nextafter)(r[DOWN], N(max)) == r[UP] && r[TO_ZERO] == (r[NEAREST] > 0 ? r[DOWN] : r[UP]);
    return holds && r[NEAREST] == (side > 0 ? r[DOWN] : r[UP]);
}

// Likewise of a value `error` beside the nearest, which must not be farther than the other one, or, if as far, be even; a
// distance of 1 is `scale` in units of the error.
static int N(rounded)(const REAL *r, const unsigned *flags, REAL error, REAL scale) {
    REAL twice = 2 * LIBM(fabs)(error), gap = N(times)(r[UP] - r[DOWN], scale);
    int nearest = error == 0 || twice < gap || (twice == gap && N(is_even)(r[NEAREST]));
    return nearest && N(bracketed)(r, flags, error);
}

// Error-free transformations (Knuth; Veltkamp and Dekker): what rounding left off a sum, or a product.
static REAL N(left_of_sum)(REAL a, REAL b, REAL sum) {
    REAL virtual_b = N(plus)(sum, -a), virtual_a = N(plus)(sum, -virtual_b);
    return N(plus)(N(plus)(a, -virtual_a), N(plus)(b, -virtual_b));
}
static REAL N(high_half)(REAL a) {
    REAL shifted = N(times)(a, LIBM(ldexp)(1, (N(digits) + 1) / 2) + 1);
    return N(plus)(shifted, N(plus)(a, -shifted));
}
static REAL N(left_of_product)(REAL a, REAL b, REAL product) {
    REAL ah = N(high_half)(a), al = N(plus)(a, -ah), bh = N(high_half)(b), bl = N(plus)(b, -bh);
    REAL left = N(plus)(N(times)(ah, bh), -product);
    left = N(plus)(N(plus)(left, N(times)(ah, bl)), N(times)(al, bh));
    return N(plus)(left, N(times)(al, bl));
}
// a - b * c where b * c is near a.
static REAL N(residue)(REAL a, REAL b, REAL c) {
    REAL product = N(times)(b, c);
    return N(plus)(N(plus)(a, -product), -N(left_of_product)(b, c, product));
}

#define IN_ALL_MODES(CALL)                                                                                                \
    for (int mode = 0; mode < MODES; mode++) r[mode] = CALL, flags[mode] = raised
enum { N(CASES) = 1000, N(RANGE) = 20 };

static int N(sum_holds)(REAL a, REAL b) {
    unsigned flags[MODES];
    REAL r[MODES];
    IN_ALL_MODES(N(add)(mode, a, b));
    int holds = N(rounded)(r, flags, N(left_of_sum)(a, b, r[NEAREST]), 1) || a == -b;
    IN_ALL_MODES(N(sub)(mode, a, b));
    return holds && (N(rounded)(r, flags, N(left_of_sum)(a, -b, r[NEAREST]), 1) || a == b);
}

static int N(product_holds)(REAL a, REAL b) {
    unsigned flags[MODES];
    REAL r[MODES];
    IN_ALL_MODES(N(mul)(mode, a, b));
    return N(rounded)(r, flags, N(left_of_product)(a, b, r[NEAREST]), 1);
}

static int N(quotient_holds)(REAL a, REAL b) {
    unsigned flags[MODES];
    REAL r[MODES];
    IN_ALL_MODES(N(div)(mode, a, b));
    REAL residue = N(residue)(a, r[NEAREST], b);
    return N(rounded)(r, flags, b < 0 ? -residue : residue, LIBM(fabs)(b));
}

// x - r * r is at most r * gap if the root is nearest to r from above, and less from below: it is a multiple of gap * gap,
// and half a gap from r a quarter of that more than r * gap.
static int N(root_holds)(REAL a, REAL b) {
    unsigned flags[MODES];
    REAL r[MODES], x = LIBM(fabs)(a < b ? a : b);
    IN_ALL_MODES(N(root)(mode, x));
    REAL residue = N(residue)(x, r[NEAREST], r[NEAREST]), most = N(times)(r[NEAREST], r[UP] - r[DOWN]);
    return N(bracketed)(r, flags, residue) && (residue > 0 ? residue <= most : residue == 0 || -residue < most);
}

// Squares that fit, their roots and quotients.
static int N(exact_holds)(REAL a, REAL b) {
    REAL whole = LIBM(floor)(LIBM(ldexp)(LIBM(fabs)(a < b ? a : b), N(digits) / 2 - N(RANGE) - 1));
    REAL square = N(mul)(NEAREST, whole, whole);
    int mode = (int)whole & 3, holds = raised == 0 && N(root)(mode, square) == whole && raised == 0;
    return holds && (whole == 0 || (N(div)(mode, square, whole) == whole && raised == 0));
}

#ifdef HAS_FMA
static int N(fused_holds)(REAL a, REAL b) {
    unsigned flags[MODES];
    REAL r[MODES], c = N(random)(2 * N(RANGE)), product = N(times)(a, b), left = N(left_of_product)(a, b, product);
    // Less the rounded product, less its error, and with anything.
    int holds = N(fma)(NEAREST, a, b, -product) == left && raised == 0;
    holds &= N(fma)(DOWN, a, b, -left) == product && raised == 0;
    IN_ALL_MODES(N(fma)(mode, a, b, c));
    REAL sum = N(plus)(product, c), rest = N(plus)(N(left_of_sum)(product, c, sum), left);
    REAL error = LIBM(fabs)(sum - r[NEAREST] + rest), slack = 2 * N(ulp) * LIBM(fabs)(rest);
    return holds && error <= (r[UP] - r[DOWN]) / 2 + slack &&
           N(bracketed)(r, flags, r[DOWN] == r[UP] ? 0 : r[NEAREST] == r[DOWN] ? 1 : -1);
}
#endif

static void N(correct)(const char *what, int (*holds)(REAL, REAL)) {
    int all = 1;
    for (int i = 0; i < N(CASES); i++) {
        REAL a = N(random)(N(RANGE));
        all &= holds(a, N(random)(N(RANGE)));
    }
    property(what, all);
}

static void N(rounding)(void) {
    N(correct)("sums are correctly rounded", N(sum_holds));
    N(correct)("products are correctly rounded", N(product_holds));
    N(correct)("quotients are correctly rounded", N(quotient_holds));
    N(correct)("square roots are correctly rounded", N(root_holds));
    N(correct)("what is exact is not inexact", N(exact_holds));
#ifdef HAS_FMA
    N(correct)("fused operations round once", N(fused_holds));
#endif
}

static void N(underflow)(void) {
    REAL x = 1, half = (REAL)0.5, min = N(min), tiny = N(tiny), u2 = N(ulp), u1 = u2 / 2;
    int holds = 1, steps = 0;
    for (REAL y = x; y > 0; steps++) x = y, y = N(mul)(NEAREST, y, half);
    property("halving comes to the smallest number", x == tiny && steps == 1 - OF_FLOAT_H(MIN_EXP) + N(digits));
    holds = N(mul)(NEAREST, min, half) == min / 2 && raised == 0 && N(mul)(NEAREST, min, u2) == tiny && raised == 0;
    property("exact results do not underflow", holds);
    static const int halves[MODES] = {0, 0, 1, 0}, minus_halves[MODES] = {0, 1, 0, 0};
    holds = 1;
    for (int mode = 0; mode < MODES; mode++) {
        holds &= N(mul)(mode, tiny, half) == halves[mode] * tiny && raised == (DE | UE | PE);
        holds &= N(div)(mode, -tiny, 2) == -minus_halves[mode] * tiny && raised == (DE | UE | PE);
        holds &= N(mul)(mode, tiny, 3 * half) == (mode == NEAREST || mode == UP ? 2 : 1) * tiny && raised == (DE | UE | PE);
        // The whole number of steps that comes nearest.
        for (uint64_t divisor = 3; divisor <= 9; divisor += 2) {
            uint64_t steps_of_min = 1ull << (N(digits) - 1), quotient = steps_of_min / divisor;
            int up = mode == UP || (mode == NEAREST && steps_of_min % divisor > divisor / 2);
            holds &= N(div)(mode, min, (REAL)divisor) == (REAL)(quotient + (unsigned)up) * tiny && raised == (UE | PE);
        }
    }
    property("below the normal numbers rounding is to whole steps", holds);
    // Tiny is what is tiny after rounding to full precision (SDM Vol. 1, 4.9.1.5).
    holds = N(mul)(NEAREST, min * (1 + u2), 1 - u2) == min && raised == PE;
    holds &= N(mul)(NEAREST, min, 1 - u1) == min && raised == (UE | PE);
    holds &= N(mul)(DOWN, min * (1 + u2), 1 - u2) == min - tiny && raised == (UE | PE);
    property("tininess is detected after rounding", holds);
    holds = 1;
    for (int i = 0; i < 100; i++) {
        REAL a = LIBM(ldexp)(N(random)(2), OF_FLOAT_H(MIN_EXP)), b = LIBM(nextafter)(a, i & 1 ? N(max) : 0);
        REAL difference = N(sub)(i % MODES, a, b);
        holds &= difference != 0 && (raised & ~DE) == 0 && N(add)(i % MODES, difference, b) == a && (raised & ~DE) == 0;
    }
    property("different numbers have a difference", holds);
    holds = N(root)(NEAREST, tiny * 4) == 2 * N(root)(NEAREST, tiny) && (raised & DE) != 0;
    property("square roots take subnormal numbers", holds);
}

static void N(overflow)(void) {
    REAL x = 1, max = N(max), step = max - LIBM(nextafter)(max, 0), infinity = INFINITY;
    for (REAL y = x; y < infinity; y = N(add)(NEAREST, y, y)) x = y;
    property("doubling comes to the largest power", N(mul)(NEAREST, x, 2 - N(ulp)) == max && raised == 0);
    struct { REAL addend; int to_infinity, overflows; } sums[] = {
        {step / 4, 1 << UP, 1 << UP},
        {step / 2, 1 << UP | 1 << NEAREST, 1 << UP | 1 << NEAREST},
        {step, 1 << UP | 1 << NEAREST, 15},
        {max, 1 << UP | 1 << NEAREST, 15},
    };
    int holds = 1;
    for (int mode = 0; mode < MODES; mode++) {
        int mirrored = mode == UP ? DOWN : mode == DOWN ? UP : mode;
        for (size_t i = 0; i < COUNT(sums); i++) {
            REAL expected = sums[i].to_infinity >> mode & 1 ? infinity : max;
            unsigned flags = sums[i].overflows >> mode & 1 ? OE | PE : PE;
            holds &= N(add)(mode, max, sums[i].addend) == expected && raised == flags;
            holds &= N(sub)(mirrored, -max, sums[i].addend) == -expected && raised == flags;
        }
        REAL expected = mode == UP || mode == NEAREST ? infinity : max;
        holds &= N(mul)(mode, max, 1 + N(ulp)) == expected && raised == (OE | PE);
        holds &= N(div)(mode, max, (REAL)0.5) == expected && raised == (OE | PE);
        holds &= N(div)(mirrored, max, -(REAL)0.5) == -expected && raised == (OE | PE);
    }
    property("what is too large overflows", holds);
    x = N(root)(DOWN, max);
    property("the root of the largest number", N(mul)(NEAREST, x, x) <= max && raised == PE);
}

// What operations make of zeros and infinities: the same in all modes, but for the sign of a difference that is zero.
static void N(specials)(void) {
    REAL infinity = INFINITY, nan = NAN;
    REAL (*const add)(int, REAL, REAL) = N(add), (*const mul)(int, REAL, REAL) = N(mul);
    REAL (*const div)(int, REAL, REAL) = N(div), (*const root)(int, REAL, REAL) = N(root_of);
    const struct { REAL (*operation)(int, REAL, REAL); REAL a, b, result; unsigned flags; } cases[] = {
        {add, infinity, infinity, infinity, 0}, {add, infinity, -infinity, nan, IE}, {add, -infinity, 1, -infinity, 0},
        {add, 0, 0, 0, 0}, {add, -(REAL)0, -(REAL)0, -(REAL)0, 0}, {add, -(REAL)0, 1, 1, 0},
        {mul, infinity, -1, -infinity, 0}, {mul, 0, infinity, nan, IE}, {mul, -infinity, -(REAL)0, nan, IE},
        {mul, 0, -1, -(REAL)0, 0}, {mul, -(REAL)0, -(REAL)0, 0, 0}, {mul, infinity, infinity, infinity, 0},
        {div, 1, 0, infinity, ZE}, {div, 1, -(REAL)0, -infinity, ZE}, {div, 0, 0, nan, IE}, {div, 0, -3, -(REAL)0, 0},
        {div, infinity, infinity, nan, IE}, {div, infinity, -(REAL)0, -infinity, 0}, {div, -1, infinity, -(REAL)0, 0},
        {root, -(REAL)0, 1, -(REAL)0, 0}, {root, infinity, 1, infinity, 0}, {root, -1, 1, nan, IE}, {root, -infinity, 1, nan, IE},
    };
    int holds = 1, zeros = 1;
    for (int mode = 0; mode < MODES; mode++) {
        for (size_t i = 0; i < COUNT(cases); i++) {
            REAL result = cases[i].operation(mode, cases[i].a, cases[i].b);
            // The NaN that stands for no result is negative, quiet and carries nothing.
            holds &= raised == cases[i].flags && N(same)(result, isnan(cases[i].result) ? -nan : cases[i].result);
        }
        REAL zero = mode == DOWN ? -(REAL)0 : 0;
        zeros &= N(same)(N(add)(mode, 0, -(REAL)0), zero) && N(same)(N(sub)(mode, 3, 3), zero) && raised == 0;
        zeros &= N(same)(N(add)(mode, -N(tiny), N(tiny)), zero) && raised == DE;
    }
    property("infinities and zeros", holds);
    property("a difference of zero is negative only when rounding down", zeros);
}

static void N(nans)(void) {
    REAL (*const operations[])(int, REAL, REAL) = {N(add), N(sub), N(mul), N(div)};
    unsigned __int128 quiet_bit = (unsigned __int128)1 << (N(bytes) == 10 ? 62 : N(digits) - 2);
    unsigned __int128 nothing = N(bits)((REAL)NAN) & ~quiet_bit;
    REAL quiet = N(of_bits)(nothing | quiet_bit | 0x1234), signaling = N(of_bits)(nothing | 0x4321), r;
    REAL quieted = N(of_bits)(nothing | quiet_bit | 0x4321);
    int one = 1, two = 1;
    for (size_t i = 0; i < COUNT(operations); i++) {
        one &= N(same)(operations[i](NEAREST, quiet, 1), quiet) && raised == 0;
        one &= N(same)(operations[i](UP, N(tiny), quiet), quiet) && raised == 0;
        one &= N(same)(operations[i](NEAREST, signaling, INFINITY), quieted) && raised == IE;
        one &= N(same)(operations[i](DOWN, 0, signaling), quieted) && raised == IE;
        r = operations[i](NEAREST, quiet, signaling);
        two &= (N(same)(r, quiet) || N(same)(r, quieted)) && raised == IE;
        r = operations[i](NEAREST, signaling, quiet);
        two &= (N(same)(r, quiet) || N(same)(r, quieted)) && raised == IE;
        r = operations[i](NEAREST, quiet, -quieted);
        two &= (N(same)(r, quiet) || N(same)(r, -quieted)) && raised == 0;
    }
    one &= N(same)(N(root)(NEAREST, quiet), quiet) && raised == 0 && N(same)(N(root)(UP, signaling), quieted) && raised == IE;
    property("a NaN goes through quietly, with its payload", one);
    property("one of two NaNs goes through", two);
    begin(NEAREST);
    r = signaling;
    HIDE(r);
    r = -r;
    HIDE(r);
    end();
    property("negation is not arithmetic", N(same)(-r, signaling) && raised == 0);
}

static void N(compare)(void) {
    REAL numbers[] = {-INFINITY, -N(max), -1, -N(tiny), 0, N(min), 1, INFINITY, NAN};
    int holds = 1;
    for (size_t i = 0; i < COUNT(numbers) * COUNT(numbers); i++) {
        size_t left = i / COUNT(numbers), right = i % COUNT(numbers);
        REAL a = numbers[left], b = numbers[right];
        int unordered = isnan(a) || isnan(b);
        begin(NEAREST);
        HIDE(a);
        HIDE(b);
        int quiet = (a == b) | (a != b) << 1 | isless(a, b) << 2 | isgreaterequal(a, b) << 3 | isunordered(a, b) << 4;
        end();
        holds &= (raised & ~DE) == 0;
        begin(NEAREST);
        HIDE(a);
        HIDE(b);
        int loud = (a < b) << 2 | (a >= b) << 3 | (a > b) << 5 | (a <= b) << 6;
        end();
        holds &= (raised & ~DE) == (unordered ? IE : 0);
        see(&quiet, sizeof quiet);
        see(&loud, sizeof loud);
        int less = left < right, same = left == right;
        holds &= quiet == (unordered ? 2 | 16 : same | !same << 1 | less << 2 | !less << 3);
        holds &= loud == (unordered ? 0 : less << 2 | !less << 3 | (!less && !same) << 5 | (less || same) << 6);
    }
    property("comparisons, quiet and not", holds && N(same)((REAL)0, (REAL)0) && (REAL)0 == -(REAL)0);
}

// To integers: by truncation, by the rounding mode, and beyond their range.
static void N(integers)(void) {
    const REAL values[] = {0, (REAL)0.25, (REAL)0.5, (REAL)0.75, 1, (REAL)1.5, (REAL)2.5, 1000003, 0x1p22f - (REAL)0.5, N(tiny)};
    int holds = 1, back = 1;
    // What GCC has in place of a call takes the mode to be to nearest.
    REAL (*to_whole)(REAL) = LIBM(rint);
    HIDE(to_whole);
    for (size_t i = 0; i < 2 * COUNT(values) * MODES; i++) {
        int mode = (int)(i % MODES);
        REAL magnitude = values[i / MODES % COUNT(values)], x = i / MODES < COUNT(values) ? magnitude : -magnitude;
        long down = (long)magnitude, up = down + (magnitude != (REAL)down);
        REAL rest = magnitude - (REAL)down;
        if (x < 0) down = -up, up = -(long)magnitude;
        long nearest = rest < (REAL)0.5 ? (long)x : rest > (REAL)0.5 || (long)x & 1 ? (x < 0 ? down : up) : (long)x;
        long expected = mode == NEAREST ? nearest : mode == DOWN ? down : mode == UP ? up : (long)x;
        unsigned flags = rest != 0 ? PE : 0;
        begin(mode);
        HIDE(x);
        long rounded = LIBM(lrint)(x);
        end();
        holds &= rounded == expected && (raised & ~DE) == flags;
        begin(mode);
        HIDE(x);
        REAL whole = to_whole(x);
        HIDE(whole);
        end();
        holds &= N(same)(whole, LIBM(copysign)((REAL)expected, x)) && (raised & ~DE) == flags;
        begin(mode);
        HIDE(x);
        int32_t narrow = (int32_t)x;
        end();
        holds &= narrow == (int32_t)(x < 0 ? up : down) && (raised & ~DE) == flags;
        see(&rounded, sizeof rounded);
        see(&narrow, sizeof narrow);
    }
    property("whole numbers are rounded as the mode says", holds);
    const REAL beyond[] = {0x1p63f, -0x1p64f, N(max), -INFINITY, NAN};
    holds = 1;
    for (size_t i = 0; i < COUNT(beyond); i++) {
        REAL x = beyond[i];
        begin(NEAREST);
        HIDE(x);
        int64_t wide = (int64_t)x;
        end();
        holds &= wide == INT64_MIN && raised == IE;
        begin(NEAREST);
        HIDE(x);
        int32_t narrow = (int32_t)x;
        end();
        holds &= narrow == INT32_MIN && raised == IE;
    }
    property("what no integer can hold is invalid", holds);
    for (int i = 0; i < 400; i++) {
        int64_t integer = (int64_t)(next_random(&randomness) >> i % 63);
        unsigned flags[MODES];
        REAL r[MODES];
        if (i & 1) integer = -integer;
        for (int mode = 0; mode < MODES; mode++) {
            begin(mode);
            __asm__ volatile("" : "+r"(integer));
            r[mode] = (REAL)integer;
            HIDE(r[mode]);
            end();
            flags[mode] = raised;
            see(&r[mode], N(bytes));
        }
        // 2^63 is no int64_t.
        __int128 error = (__int128)integer - (__int128)r[NEAREST];
        back &= N(rounded)(r, flags, (REAL)error, 1);
    }
    property("integers are correctly rounded", back);
}

#ifdef PACK
// The shortcuts of MXCSR around subnormal numbers (SDM Vol. 1, 10.2.3).
static void N(flush)(void) {
    REAL half = (REAL)0.5, tiny = N(tiny), min = N(min);
    sse_modes = FTZ;
    int holds = N(same)(N(mul)(NEAREST, -min, half), -(REAL)0) && raised == (UE | PE);
    holds &= N(same)(N(mul)(UP, min, half), 0) && raised == (UE | PE);
    holds &= N(add)(NEAREST, tiny, min) == min + tiny && raised == DE;
    property("subnormal results are flushed to zero", holds);
    sse_modes = DAZ;
    holds = N(same)(N(add)(NEAREST, -tiny, -tiny), -(REAL)0) && raised == 0;
    holds &= N(div)(NEAREST, 1, tiny) == INFINITY && raised == ZE && N(mul)(NEAREST, min, half) == min / 2;
    property("subnormal operands are taken as zeros", holds);
    sse_modes = 0;
    begin(NEAREST);
}
#endif

static void N(all)(void) {
    format = OF_FLOAT_H(MANT_DIG) == FLT_MANT_DIG ? "single" : OF_FLOAT_H(MANT_DIG) == DBL_MANT_DIG ? "double" : "extended";
    N(radix)();
    N(guard)();
    N(rounding)();
    N(underflow)();
    N(overflow)();
    N(specials)();
    N(nans)();
    N(compare)();
    N(integers)();
#ifdef PACK
    N(flush)();
    property("packed instructions do what scalar ones do", !N(packed_differ));
#endif
}

#undef REAL
#undef N
#undef LIBM
#undef OF_FLOAT_H
#undef SQRT
#undef PACK
#undef PACKED
#undef PACKED_SQRT
#undef OPERATION
#undef IN_ALL_MODES
#undef HAS_FMA
