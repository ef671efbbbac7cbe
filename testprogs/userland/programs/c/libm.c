// libm: the C library's mathematics in single, double and extended precision, over edge cases and pseudo-random numbers in
// all rounding modes. For each function it prints the first results and a hash of all of them with the exception flags they
// raised; the number of pseudo-random arguments is its own argument. Then come identities that must hold, and the
// exit code is 1 if one does not.
//
// Functions of extended precision that are made of the x87's logarithm, arc tangent and power of two, in glibc 2.36 or
// musl 1.2, end in a bit that is every maker's own (docs/deviations.md). Their results are printed one by one, on lines
// that begin with `near NAME ULPS`: two machines may be apart by so many units in the last place, one for the
// instruction, more where the library makes the error grow. Their exceptions are in the hash all the same.
#define _GNU_SOURCE
#include <fenv.h>
#include <float.h>
#include <math.h>

#include "common.h"

#define HIDE(x) __asm__ volatile("" : "+m"(x))
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static uint64_t randomness, hash;
static unsigned failures;

static void check(const char *type, const char *what, int holds) {
    printf("%s %s: %s\n", holds ? "pass" : "FAIL", type, what);
    failures += !holds;
}

static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_TONEAREST, FE_DOWNWARD, FE_TONEAREST, FE_TOWARDZERO};

// Name, number of arguments, by how many units of extended precision two machines may be apart, the result for x, y, z.
#define FUNCTIONS(F)                                                                                                      \
    F(sin, 1, 0, LIBM(sin)(x)) F(cos, 1, 0, LIBM(cos)(x)) F(tan, 1, 0, LIBM(tan)(x))                                      \
    F(asin, 1, 2, LIBM(asin)(x)) F(acos, 1, 2, LIBM(acos)(x)) F(atan, 1, 1, LIBM(atan)(x))                                \
    F(sinh, 1, 4, LIBM(sinh)(x)) F(cosh, 1, 4, LIBM(cosh)(x)) F(tanh, 1, 4, LIBM(tanh)(x))                                \
    F(asinh, 1, 4, LIBM(asinh)(x)) F(acosh, 1, 4, LIBM(acosh)(x)) F(atanh, 1, 4, LIBM(atanh)(x))                          \
    F(exp, 1, 1, LIBM(exp)(x)) F(exp2, 1, 1, LIBM(exp2)(x)) F(exp10, 1, 2, LIBM(exp10)(x)) F(expm1, 1, 2, LIBM(expm1)(x)) \
    F(log, 1, 1, LIBM(log)(x)) F(log2, 1, 1, LIBM(log2)(x)) F(log10, 1, 1, LIBM(log10)(x)) F(log1p, 1, 1, LIBM(log1p)(x)) \
    F(erf, 1, 4, LIBM(erf)(x)) F(erfc, 1, 4, LIBM(erfc)(x))                                                               \
    F(tgamma, 1, 8, LIBM(tgamma)(x)) F(lgamma, 1, 4, N(absolute)(LIBM(lgamma)(x)))                                        \
    F(sqrt, 1, 0, LIBM(sqrt)(x)) F(cbrt, 1, 0, LIBM(cbrt)(x)) F(logb, 1, 0, LIBM(logb)(x))                                \
    F(floor, 1, 0, LIBM(floor)(x)) F(ceil, 1, 0, LIBM(ceil)(x)) F(trunc, 1, 0, LIBM(trunc)(x))                            \
    F(round, 1, 0, LIBM(round)(x)) F(rint, 1, 0, LIBM(rint)(x)) F(nearbyint, 1, 0, LIBM(nearbyint)(x))                    \
    F(lrint, 1, 0, N(integer)(LIBM(lrint)(x))) F(lround, 1, 0, N(integer)(LIBM(lround)(x)))                               \
    F(ilogb, 1, 0, N(integer)(LIBM(ilogb)(x))) F(frexp, 1, 0, N(frexp_of)(x)) F(modf, 1, 0, N(modf_of)(x))                \
    F(atan2, 2, 2, LIBM(atan2)(x, y)) F(pow, 2, 2, LIBM(pow)(x, y)) F(hypot, 2, 0, LIBM(hypot)(x, y))                     \
    F(fmod, 2, 0, LIBM(fmod)(x, y)) F(remainder, 2, 0, LIBM(remainder)(x, y)) F(remquo, 2, 0, N(remquo_of)(x, y))         \
    F(fdim, 2, 0, LIBM(fdim)(x, y)) F(fmax, 2, 0, LIBM(fmax)(x, y)) F(fmin, 2, 0, LIBM(fmin)(x, y))                       \
    F(nextafter, 2, 0, LIBM(nextafter)(x, y)) F(ldexp, 2, 0, LIBM(ldexp)(x, N(small)(y))) F(fma, 3, 0, LIBM(fma)(x, y, z))
// Those that musl has not in extended precision.
#define BESSEL_FUNCTIONS(F)                                                                                               \
    F(j0, 1, 0, LIBM(j0)(x)) F(j1, 1, 0, LIBM(j1)(x)) F(jn, 2, 0, LIBM(jn)(N(small)(y) & 7, x))                           \
    F(y0, 1, 4, N(absolute)(LIBM(y0)(x))) F(y1, 1, 4, N(absolute)(LIBM(y1)(x)))

#define REAL float
#define N(name) single_##name
#define LIBM(name) name##f
#define OF_FLOAT_H(name) FLT_##name
#define TYPE "float"
#include "libm.h"

#define REAL double
#define N(name) double_##name
#define LIBM(name) name
#define OF_FLOAT_H(name) DBL_##name
#define TYPE "double"
#include "libm.h"

// The x87's instructions themselves, where the manual defines their results (SDM Vol. 1, 8.3.6 to 8.3.11).
static long double fraction(long double x) { return isfinite(x) ? ldexpl(frexpl(x, &(int){0}), -1) / 2 : x; }
#define X87(NAME, CODE, ...)                                                                                              \
    static long double x87_##NAME(long double x, long double y) {                                                         \
        (void)y;                                                                                                          \
        __asm__ volatile(CODE : "+t"(x) : __VA_ARGS__);                                                                   \
        return x;                                                                                                         \
    }
X87(fsin, "fsin", )
X87(fcos, "fcos", )
X87(fptan, "fptan; fstp %%st(0)", )
X87(f2xm1, "f2xm1", )
X87(fpatan, "fpatan", "u"(y) : "st(1)")
X87(fyl2x, "fyl2x", "u"(y) : "st(1)")
X87(fyl2xp1, "fyl2xp1", "u"(y) : "st(1)")
#define X87_FUNCTIONS(F)                                                                                                  \
    F(fsin, 1, 1, x87_fsin(x, y)) F(fcos, 1, 1, x87_fcos(x, y)) F(fptan, 1, 1, x87_fptan(x, y))                           \
    F(f2xm1, 1, 1, x87_f2xm1(fraction(x), y)) F(fpatan, 2, 1, x87_fpatan(x, y)) F(fyl2x, 2, 1, x87_fyl2x(x, y))           \
    F(fyl2xp1, 2, 1, x87_fyl2xp1(fraction(x), y))

#define REAL long double
#define N(name) extended_##name
#define LIBM(name) name##l
#define OF_FLOAT_H(name) LDBL_##name
#define TYPE "long double"
#include "libm.h"

int main(int argc, char **argv) {
    unsigned long rounds = rounds_of(argc, argv, 1000);
    single_all(rounds);
    double_all(rounds);
    extended_all(rounds);
    printf("%u failures\n", failures);
    return failures != 0;
}
