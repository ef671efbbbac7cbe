// What libm.c does with one type. It is included once for each, with REAL, TYPE (its name), N (prefix of names), LIBM and
// OF_FLOAT_H (names in libraries).

enum { N(bytes) = sizeof(REAL) == 16 ? 10 : sizeof(REAL), N(is_extended) = sizeof(REAL) == 16 };

static void N(fold)(REAL x) { hash = fnv1a(hash, &x, N(bytes)); }

// Functions with another result than a number, or with two.
static REAL N(integer)(int64_t integer) {
    hash = fnv1a(hash, &integer, sizeof integer);
    return (REAL)integer;
}
static REAL N(frexp_of)(REAL x) {
    int exponent = 0; // whatever it is for what has none
    x = LIBM(frexp)(x, &exponent);
    if (isfinite(x)) N(integer)(exponent);
    return x;
}
static REAL N(modf_of)(REAL x) {
    REAL whole;
    x = LIBM(modf)(x, &whole);
    N(fold)(whole);
    return x;
}
static REAL N(remquo_of)(REAL x, REAL y) {
    int quotient = 0;
    REAL remainder = LIBM(remquo)(x, y, &quotient);
    if (!isnan(remainder)) N(integer)(quotient & 7);
    return remainder;
}
// Beside a zero between two others it is the absolute error that is bounded.
static REAL N(absolute)(REAL x) { return N(is_extended) ? LIBM(fabs)(x) + 1 : x; }
static int N(small)(REAL x) { return x >= -20000 && x <= 20000 ? (int)x : 3; }

static REAL N(edge)(unsigned i) {
    const REAL ulp = OF_FLOAT_H(EPSILON), min = OF_FLOAT_H(MIN), max = OF_FLOAT_H(MAX);
    const REAL edges[] = {
        0, OF_FLOAT_H(TRUE_MIN), min - OF_FLOAT_H(TRUE_MIN), min, ulp / 4, (REAL)0.25, (REAL)0.5, 1 - ulp / 2, 1, 1 + ulp,
        (REAL)1.5, (REAL)M_PI_2, 2, (REAL)2.5, (REAL)M_E, 3, (REAL)M_PI, 10, (REAL)88.8, 1000, (REAL)11356.6, 1 / ulp,
        (REAL)0x1p63, max / 2, max, INFINITY, NAN,
    };
    i %= 2 * COUNT(edges);
    REAL x = edges[i / 2];
    return i & 1 ? -x : x;
}
enum { N(EDGES) = 54 };

// A number: of any size, of middling size, near zero, near one.
static REAL N(random)(unsigned which) {
    uint64_t significand = next_random(&randomness) | 1ull << 63, choice = next_random(&randomness);
    int widest = OF_FLOAT_H(MAX_EXP) - 1, exponent = (int)(choice >> 32 & 0xffff);
    switch (which & 3) {
    case 0: exponent = exponent % (2 * widest) - widest; break;
    case 1: exponent = exponent % 13 - 6; break;
    case 2: exponent = exponent % 64 - 60; break;
    case 3: exponent = exponent % 3 - 1; break;
    }
    REAL x = LIBM(ldexp)((REAL)(significand >> (64 - OF_FLOAT_H(MANT_DIG))), exponent - OF_FLOAT_H(MANT_DIG) + 1);
    return choice & 1 ? -x : x;
}

typedef REAL N(function)(REAL, REAL, REAL);
#define DEFINE(NAME, ARGUMENTS, ULPS, RESULT)                                                                             \
    static REAL N(NAME##_result)(REAL x, REAL y, REAL z) {                                                                \
        (void)y, (void)z;                                                                                                 \
        return RESULT;                                                                                                    \
    }
#define ROW(NAME, ARGUMENTS, ULPS, RESULT) {#NAME, ARGUMENTS, N(is_extended) ? ULPS : 0, N(NAME##_result)},
FUNCTIONS(DEFINE)
#if defined(__GLIBC__) || OF_FLOAT_H(MANT_DIG) != LDBL_MANT_DIG
BESSEL_FUNCTIONS(DEFINE)
#else
#undef BESSEL_FUNCTIONS
#define BESSEL_FUNCTIONS(F)
#endif
#ifdef X87_FUNCTIONS
X87_FUNCTIONS(DEFINE)
#else
#define X87_FUNCTIONS(F)
#endif
static const struct N(row) {
    const char *name;
    unsigned arguments, ulps;
    N(function) *function;
} N(rows)[] = {FUNCTIONS(ROW) BESSEL_FUNCTIONS(ROW) X87_FUNCTIONS(ROW)};
#undef X87_FUNCTIONS

static void N(print)(REAL x) {
    uint8_t bytes[N(bytes)];
    memcpy(bytes, &x, sizeof bytes);
    putchar(' ');
    for (size_t i = sizeof bytes; i-- > 0;) printf("%02x", bytes[i]);
}

// Edge cases one by one, then pseudo-random arguments in groups of one rounding mode.
static void N(run)(const struct N(row) *row, unsigned long rounds) {
    unsigned long edges = row->arguments == 1 ? N(EDGES) : N(EDGES) * N(EDGES), group = 16, printed = 0;
    hash = FNV_START;
    randomness = fnv1a(FNV_START, row->name, strlen(row->name));
    if (!row->ulps) printf("%s %s:", TYPE, row->name);
    for (unsigned long i = 0; i < edges + rounds; i++) {
        int is_edge = i < edges;
        REAL x = is_edge ? N(edge)(i) : N(random)(i), y = is_edge ? N(edge)(i / N(EDGES)) : N(random)(i / 4);
        REAL z = is_edge ? N(edge)(i + i / N(EDGES)) : N(random)(i / 16);
        if (is_edge || i % group == 0) {
            fesetround(is_edge ? FE_TONEAREST : modes[i / group % COUNT(modes)]);
            feclearexcept(FE_ALL_EXCEPT);
        }
        x = row->function(x, y, z);
        int is_exact = !row->ulps || !isfinite(x) || x == 0;
        if (is_exact) N(fold)(x);
        else if (printed++ % 8 == 0) printf("%snear %s %u", printed == 1 ? "" : "\n", row->name, row->ulps);
        if (!is_exact || (!row->ulps && i >= edges && i < edges + 3)) N(print)(x);
        if (is_edge || i % group == group - 1) N(integer)(fetestexcept(FE_ALL_EXCEPT));
    }
    fesetround(FE_TONEAREST);
    if (row->ulps) printf("\n%s %s:", TYPE, row->name);
    printf(" #%016llx\n", (unsigned long long)hash);
}

static int N(close)(REAL a, REAL b, REAL ulps) {
    REAL larger = LIBM(fmax)(LIBM(fabs)(a), LIBM(fabs)(b));
    return LIBM(fabs)(a - b) <= ulps * OF_FLOAT_H(EPSILON) * larger;
}

static void N(identities)(unsigned long rounds) {
    int odd = 1, even = 1, circle = 1, inverse = 1, power = 1, roots = 1, parts = 1, remainders = 1, sums = 1;
    for (unsigned long i = 0; i < rounds / 4; i++) {
        REAL x = N(random)(i % 2 ? 1 : 3), y = N(random)(3), a = LIBM(fabs)(x), whole;
        int exponent;
        odd &= LIBM(sin)(-x) == -LIBM(sin)(x) && LIBM(tan)(-x) == -LIBM(tan)(x) && LIBM(atan)(-x) == -LIBM(atan)(x);
        odd &= LIBM(sinh)(-x) == -LIBM(sinh)(x) && LIBM(tanh)(-x) == -LIBM(tanh)(x) && LIBM(asinh)(-x) == -LIBM(asinh)(x);
        odd &= LIBM(cbrt)(-x) == -LIBM(cbrt)(x) && LIBM(erf)(-x) == -LIBM(erf)(x) && LIBM(round)(-x) == -LIBM(round)(x);
        even &= LIBM(cos)(-x) == LIBM(cos)(x) && LIBM(cosh)(-x) == LIBM(cosh)(x) && LIBM(hypot)(-x, y) == LIBM(hypot)(x, -y);
        REAL sine = LIBM(sin)(x), cosine = LIBM(cos)(x);
        circle &= N(close)(sine * sine + cosine * cosine, 1, 4) && N(close)(sine / cosine, LIBM(tan)(x), 4);
        circle &= LIBM(fabs)(LIBM(sin)(LIBM(atan2)(y, x)) - y / LIBM(hypot)(x, y)) <= 4 * OF_FLOAT_H(EPSILON);
        inverse &= N(close)(LIBM(exp)(LIBM(log)(a)), a, 8) && N(close)(LIBM(exp2)(LIBM(log2)(a)), a, 8);
        inverse &= N(close)(LIBM(tan)(LIBM(atan)(x)), x, 4 + 4 * a) && N(close)(LIBM(sinh)(LIBM(asinh)(x)), x, 16);
        inverse &= N(close)(LIBM(expm1)(LIBM(log1p)(a)), a, 8) && N(close)(LIBM(log)(LIBM(exp)(y)), y, 8);
        power &= N(close)(LIBM(pow)(a, 2), x * x, 2) && N(close)(LIBM(pow)(a, (REAL)0.5), LIBM(sqrt)(a), 2);
        power &= N(close)(LIBM(pow)(a, y), LIBM(exp2)(y * LIBM(log2)(a)), 64);
        roots &= N(close)(LIBM(sqrt)(a) * LIBM(sqrt)(a), a, 2) && LIBM(sqrt)(x * x) == a;
        roots &= N(close)(LIBM(cbrt)(x) * LIBM(cbrt)(x) * LIBM(cbrt)(x), x, 8);
        roots &= LIBM(hypot)(3 * LIBM(rint)(x), 4 * LIBM(rint)(x)) == 5 * LIBM(fabs)(LIBM(rint)(x));
        REAL significand = LIBM(frexp)(x, &exponent), rest = LIBM(modf)(x, &whole);
        parts &= LIBM(ldexp)(significand, exponent) == x && rest + whole == x && whole == LIBM(trunc)(x);
        parts &= LIBM(logb)(x) == exponent - 1 && LIBM(floor)(x) + 1 >= LIBM(ceil)(x) && LIBM(fma)(x, y, 0) == x * y;
        rest = LIBM(fmod)(x, y);
        remainders &= LIBM(fabs)(rest) < LIBM(fabs)(y) && rest * x >= 0;
        rest = LIBM(remainder)(x, y);
        remainders &= LIBM(fabs)(rest) <= LIBM(fabs)(y) / 2 && LIBM(remainder)(rest, y) == rest;
        sums &= N(close)(LIBM(erf)(a) + LIBM(erfc)(a), 1, 4);
    }
    for (int n = 1; n <= 20; n++) {
        REAL factorial = LIBM(tgamma)((REAL)n);
        sums &= N(close)(factorial * (REAL)n, LIBM(tgamma)((REAL)(n + 1)), 24);
        sums &= n < 3 || N(close)(LIBM(lgamma)((REAL)n), LIBM(log)(factorial), 24);
    }
    check(TYPE, "odd functions", odd);
    check(TYPE, "even functions", even);
    check(TYPE, "sine, cosine and tangent", circle);
    check(TYPE, "inverse functions", inverse);
    check(TYPE, "powers", power);
    check(TYPE, "roots", roots);
    check(TYPE, "parts of a number", parts);
    check(TYPE, "remainders", remainders);
    check(TYPE, "error and gamma functions", sums);
}

// Over runs of neighbours no function goes back by more than two units.
static void N(monotone)(unsigned long rounds) {
    REAL (*const rising[])(REAL) = {LIBM(exp),  LIBM(exp2), LIBM(log),  LIBM(log2), LIBM(log10), LIBM(log1p), LIBM(expm1),
                                    LIBM(atan), LIBM(sinh), LIBM(tanh), LIBM(sqrt), LIBM(cbrt),  LIBM(asinh), LIBM(erf)};
    int holds = 1;
    for (unsigned long i = 0; i < rounds / 16; i++) {
        REAL (*function)(REAL) = rising[i % COUNT(rising)];
        REAL x = LIBM(fabs)(N(random)(1)), last = function(x);
        for (int n = 0; n < 16; n++) {
            x = LIBM(nextafter)(x, INFINITY);
            REAL next = function(x);
            holds &= next >= last || N(close)(next, last, 2);
            last = next;
        }
    }
    check(TYPE, "functions that rise", holds);
}

static void N(all)(unsigned long rounds) {
    for (size_t i = 0; i < COUNT(N(rows)); i++) N(run)(&N(rows)[i], rounds);
    N(identities)(rounds);
    N(monotone)(rounds);
}

#undef REAL
#undef TYPE
#undef N
#undef LIBM
#undef OF_FLOAT_H
#undef DEFINE
#undef ROW
