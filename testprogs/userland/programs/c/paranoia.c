// paranoia: asks the machine's arithmetic, by arithmetic, for what IEEE 754 demands, in the manner of W. Kahan's program of
// that name: single and double precision in SSE or AVX, scalar and packed, extended precision in the x87. Each line is
// a property, with its first results in hexadecimal and a hash of all of them and of the exceptions each
// operation raised, so that two machines that say the same have computed the same. The exit code is 1 if a property does
// not hold.
#include <fenv.h>
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <stdio.h>

#include "common.h"

// The exception flags, at the same place in MXCSR and in the x87's status word (SDM Vol. 1, 8.1.3 and 10.2.3).
enum { IE = 1, DE = 2, ZE = 4, OE = 8, UE = 16, PE = 32 };
// Rounding control, likewise.
enum { NEAREST, DOWN, UP, TO_ZERO, MODES };
// Fields of MXCSR and of the control word.
enum { DAZ = 0x40, FTZ = 0x8000, SINGLE_PRECISION = 0x000, DOUBLE_PRECISION = 0x200, EXTENDED_PRECISION = 0x300 };

// What the compiler cannot know: it computes nothing of it itself, and keeps what is done with it in its place.
#define HIDE(x) __asm__ volatile("" : "+m"(x))
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static uint64_t randomness = 754;
static uint64_t results = FNV_START;
static char shown[200];
static unsigned count, failures;
static const char *format;

static unsigned raised;

// Takes note of a result and of what was raised.
static void see(const void *value, size_t size) {
    results = fnv1a(fnv1a(results, value, size), &raised, 1);
    if (count++ >= 3) return;
    char *to = shown + strlen(shown);
    *to++ = ' ';
    for (size_t i = size; i-- > 0; to += 2) sprintf(to, "%02x", ((const uint8_t *)value)[i]);
    sprintf(to, "/%02x", raised);
}

static void property(const char *what, int holds) {
    printf("%s %s: %s:%s #%016llx\n", holds ? "pass" : "FAIL", format, what, shown, (unsigned long long)results);
    failures += !holds;
    results = FNV_START;
    count = 0;
    shown[0] = 0;
}

static unsigned x87_precision = EXTENDED_PRECISION, sse_modes;

// All flags clear, no exception unmasked, and this rounding mode.
static void begin(int mode) {
    uint16_t control = (uint16_t)(0x3f | x87_precision | (unsigned)mode << 10);
    __asm__ volatile("fnclex; fldcw %0" : : "m"(control));
    _mm_setcsr(0x1f80 | sse_modes | (unsigned)mode << 13);
}

// Keeps the exceptions since `begin`.
static void end(void) {
    uint16_t status;
    __asm__ volatile("fnstsw %0" : "=m"(status));
    raised = (status | _mm_getcsr()) & 0x3f;
    begin(NEAREST);
}

#define REAL float
#define N(name) single_##name
#define LIBM(name) name##f
#define OF_FLOAT_H(name) FLT_##name
#define SQRT(x) _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)))
#ifdef __AVX__
#define PACK 32
#define PACKED_SQRT _mm256_sqrt_ps
#else
#define PACK 16
#define PACKED_SQRT _mm_sqrt_ps
#endif
#include "paranoia.h"

#define REAL double
#define N(name) double_##name
#define LIBM(name) name
#define OF_FLOAT_H(name) DBL_##name
#define SQRT(x) _mm_cvtsd_f64(_mm_sqrt_sd(_mm_set_sd(x), _mm_set_sd(x)))
#ifdef __AVX__
#define PACK 32
#define PACKED_SQRT _mm256_sqrt_pd
#else
#define PACK 16
#define PACKED_SQRT _mm_sqrt_pd
#endif
#include "paranoia.h"

static long double fsqrt(long double x) {
    __asm__("fsqrt" : "+t"(x));
    return x;
}

#define REAL long double
#define N(name) extended_##name
#define LIBM(name) name##l
#define OF_FLOAT_H(name) LDBL_##name
#define SQRT fsqrt
#include "paranoia.h"

// From a wide format to a narrow one: the narrow numbers beside the wide one, and the nearer of the two.
#define NARROWING(WIDE, NARROW, NEXT)                                                                                     \
    static void WIDE##_to_##NARROW(void) {                                                                                \
        int holds = 1;                                                                                                    \
        for (int i = 0; i < 400; i++) {                                                                                   \
            WIDE##_real x = WIDE##_random(20);                                                                            \
            NARROW##_real r[MODES];                                                                                       \
            for (int mode = 0; mode < MODES; mode++) {                                                                    \
                begin(mode);                                                                                              \
                HIDE(x);                                                                                                  \
                r[mode] = (NARROW##_real)x;                                                                               \
                HIDE(r[mode]);                                                                                            \
                end();                                                                                                    \
                see(&r[mode], NARROW##_bytes);                                                                            \
                holds &= raised == ((WIDE##_real)r[mode] == x ? 0 : PE);                                                  \
            }                                                                                                             \
            WIDE##_real below = x - (WIDE##_real)r[DOWN], above = (WIDE##_real)r[UP] - x;                                 \
            holds &= below >= 0 && above >= 0 && r[TO_ZERO] == (x > 0 ? r[DOWN] : r[UP]);                                 \
            holds &= below == 0 ? above == 0 : NEXT(r[DOWN], INFINITY) == r[UP];                                          \
            holds &= r[NEAREST] == (below < above ? r[DOWN] : below > above || NARROW##_is_even(r[UP]) ? r[UP] : r[DOWN]); \
        }                                                                                                                 \
        format = #WIDE;                                                                                                   \
        property("to " #NARROW " is correctly rounded", holds);                                                           \
    }
NARROWING(double, single, nextafterf)
NARROWING(extended, single, nextafterf)
NARROWING(extended, double, nextafter)

// The same operation of the x87 with fewer digits and of SSE.
#define PRECISION(FORMAT, FIELD)                                                                                          \
    static int as_##FORMAT(void) {                                                                                        \
        int same = 1;                                                                                                     \
        for (int i = 0; i < 400; i++) {                                                                                   \
            FORMAT##_real a = FORMAT##_random(20), b = FORMAT##_random(20), r[5];                                         \
            int mode = i % MODES;                                                                                         \
            unsigned expected[5];                                                                                         \
            r[0] = FORMAT##_add(mode, a, b), expected[0] = raised;                                                        \
            r[1] = FORMAT##_sub(mode, a, b), expected[1] = raised;                                                        \
            r[2] = FORMAT##_mul(mode, a, b), expected[2] = raised;                                                        \
            r[3] = FORMAT##_div(mode, a, b), expected[3] = raised;                                                        \
            r[4] = FORMAT##_root(mode, a), expected[4] = raised;                                                          \
            x87_precision = FIELD;                                                                                        \
            same &= extended_add(mode, a, b) == r[0] && raised == expected[0];                                            \
            same &= extended_sub(mode, a, b) == r[1] && raised == expected[1];                                            \
            same &= extended_mul(mode, a, b) == r[2] && raised == expected[2];                                            \
            same &= extended_div(mode, a, b) == r[3] && raised == expected[3];                                            \
            long double root = extended_root(mode, a);                                                                    \
            same &= (a < 0 ? isnan(root) && isnan(r[4]) : root == r[4]) && raised == expected[4];                         \
            x87_precision = EXTENDED_PRECISION;                                                                           \
        }                                                                                                                 \
        return same;                                                                                                      \
    }
PRECISION(single, SINGLE_PRECISION)
PRECISION(double, DOUBLE_PRECISION)

static void precision_control(void) {
    format = "x87";
    property("with 24 digits computes as SSE does", as_single());
    property("with 53 digits computes as SSE2 does", as_double());
    x87_precision = DOUBLE_PRECISION;
    long double tiny = extended_mul(NEAREST, DBL_MIN, DBL_MIN);
    property("with 53 digits keeps the range of its exponent", tiny > 0 && raised == 0);
    x87_precision = EXTENDED_PRECISION;
    double addend = 0x1.001p-53, direct = double_add(NEAREST, 1, addend);
    double twice = (double)extended_add(NEAREST, 1, addend);
    property("in 64 digits and then in 53 rounds twice", direct == 1 + DBL_EPSILON && twice == 1);
}

#define CONSTANT(NAME)                                                                                                    \
    for (int mode = 0; mode < MODES; mode++) {                                                                            \
        begin(mode);                                                                                                      \
        __asm__ volatile(NAME : "=t"(r[mode]));                                                                           \
        end();                                                                                                            \
        see(&r[mode], extended_bytes);                                                                                    \
        holds &= raised == 0;                                                                                             \
    }                                                                                                                     \
    holds &= r[DOWN] == r[TO_ZERO] && nextafterl(r[DOWN], 9) == r[UP] && (r[NEAREST] == r[DOWN] || r[NEAREST] == r[UP])

static void x87(void) {
    long double r[MODES], significand, exponent;
    int holds = 1, cases = 0;
    CONSTANT("fldpi");
    CONSTANT("fldl2t");
    CONSTANT("fldl2e");
    CONSTANT("fldlg2");
    CONSTANT("fldln2");
    property("constants are rounded as the mode says", holds);

    holds = 1;
    for (int i = 0; i < 200; i++) {
        long double x = (long double)(int64_t)(next_random(&randomness) >> i % 60) / (i % 3 ? 1 : 7), back;
        uint8_t decimal[16] = {0};
        x = fmodl(i & 1 ? -x : x, 1e18L);
        begin(i / 2 % MODES);
        __asm__ volatile("fbstp %0" : "=m"(decimal) : "t"(x) : "st");
        __asm__ volatile("fbld %1" : "=t"(back) : "m"(decimal));
        end();
        see(decimal, 10);
        fesetround((int[]){FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO}[i / 2 % MODES]);
        holds &= back == rintl(x) && raised == (back == x ? 0 : PE);
        fesetround(FE_TONEAREST);
    }
    property("decimals and back", holds);

    holds = 1;
    for (int i = 0; i < 200; i++) {
        long double x = extended_random(16000), whole = exponent = 0;
        begin(NEAREST);
        __asm__ volatile("fxtract" : "=t"(significand), "=u"(exponent) : "0"(x));
        __asm__ volatile("fscale" : "=t"(whole) : "0"(significand), "u"(exponent));
        end();
        see(&significand, extended_bytes);
        holds &= whole == x && fabsl(significand) >= 1 && fabsl(significand) < 2 && exponent == logbl(x) && raised == 0;
    }
    property("significand and exponent and back", holds);

    holds = 1;
    for (int i = 0; i < 200; i++) {
        long double a = extended_random(300), b = extended_random(300), r = a, step;
        uint16_t status;
        do {
            step = r;
            begin(NEAREST);
            __asm__ volatile("fprem; fnstsw %1" : "+t"(r), "=a"(status) : "u"(b));
            end();
            see(&r, extended_bytes);
            holds &= raised == 0 && fabsl(r) <= fabsl(step);
            cases++;
        } while (status & 0x400);
        holds &= fabsl(r) < fabsl(b) && r == fmodl(a, b);
    }
    property("partial remainders come to the remainder", holds && cases > 200);
}

// The C library's view of all this.
static void environment(void) {
    static const int rounding[MODES] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
    fenv_t saved;
    int holds = 1;
    format = "environment";
    for (int mode = 0; mode < MODES; mode++) {
        uint16_t control;
        holds &= fesetround(rounding[mode]) == 0 && fegetround() == rounding[mode];
        __asm__ volatile("fnstcw %0" : "=m"(control));
        holds &= (_mm_getcsr() >> 13 & 3) == (unsigned)mode && (control >> 10 & 3) == mode;
    }
    fesetround(FE_TONEAREST);
    property("fesetround sets both units", holds);

    begin(NEAREST);
    volatile double one = 1, zero = 0, three = 3, sink;
    sink = one / zero;
    sink = one / three;
    property("flags stay until they are cleared", fetestexcept(FE_ALL_EXCEPT) == (FE_DIVBYZERO | FE_INEXACT));
    feclearexcept(FE_DIVBYZERO);
    property("one is cleared alone", fetestexcept(FE_ALL_EXCEPT) == FE_INEXACT);
    fesetround(FE_UPWARD);
    feholdexcept(&saved);
    holds = fetestexcept(FE_ALL_EXCEPT) == 0 && fegetround() == FE_UPWARD;
    sink = zero / zero;
    fesetround(FE_DOWNWARD);
    feupdateenv(&saved);
    holds &= fetestexcept(FE_ALL_EXCEPT) == (FE_INVALID | FE_INEXACT) && fegetround() == FE_UPWARD;
    property("the environment is held and updated", holds);
    fesetenv(FE_DFL_ENV);
    (void)sink;
    feraiseexcept(FE_OVERFLOW | FE_UNDERFLOW);
    holds = (fetestexcept(FE_ALL_EXCEPT) & ~FE_INEXACT) == (FE_OVERFLOW | FE_UNDERFLOW);
    property("flags can be raised by hand", holds);
    begin(NEAREST);
}

int main(void) {
    single_all();
    double_all();
    extended_all();
    double_to_single();
    extended_to_single();
    extended_to_double();
    precision_control();
    x87();
    environment();
    printf("%u failures\n", failures);
    return failures != 0;
}
