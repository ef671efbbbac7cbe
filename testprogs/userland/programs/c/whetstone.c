// whetstone: the modules of the Whetstone benchmark (Curnow and Wichmann, 1976): floating point in arrays, through
// calls, through libm. Results are printed to the last bit. In extended precision, which is the x87's, the library is left
// out: it uses the x87's own sine and logarithm, the last bit of which is every maker's own (docs/deviations.md).
#include <math.h>

#include "common.h"

#define WHETSTONE(REAL, NAME, SIN, COS, ATAN, SQRT, EXP, LOG, POW)                                                          \
    static __attribute__((noinline)) void NAME##_mix(REAL e[4], REAL t, REAL t2) {                                           \
        for (int j = 0; j < 6; j++) {                                                                                       \
            e[0] = (e[0] + e[1] + e[2] - e[3]) * t;                                                                          \
            e[1] = (e[0] + e[1] - e[2] + e[3]) * t;                                                                          \
            e[2] = (e[0] - e[1] + e[2] + e[3]) * t;                                                                          \
            e[3] = (-e[0] + e[1] + e[2] + e[3]) / t2;                                                                        \
        }                                                                                                                   \
    }                                                                                                                       \
    static __attribute__((noinline)) REAL NAME##_call(REAL x, REAL y, REAL t, REAL t2) {                                     \
        x = t * (x + y);                                                                                                    \
        y = t * (x + y);                                                                                                    \
        return (x + y) / t2;                                                                                                \
    }                                                                                                                       \
    static void NAME(unsigned long rounds) {                                                                                \
        const REAL t = (REAL)0.499975L, t1 = (REAL)0.50025L, t2 = 2;                                                         \
        REAL e[4] = {1, -1, -1, -1}, x = (REAL)0.5L, y = (REAL)0.5L, z = (REAL)0.75L, w = 1, p = 1;                           \
        REAL field[64], sum = 0;                                                                                            \
        for (int i = 0; i < 64; i++) field[i] = (REAL)(i + 1) / 7;                                                           \
        for (unsigned long n = 0; n < rounds; n++) {                                                                        \
            NAME##_mix(e, t, t2);                                                                                           \
            for (int i = 0; i < 64; i++) field[i] = field[i] * t + field[63 - i] * t1;                                       \
            x = t * ATAN(t2 * SIN(x) * COS(x) / (COS(x + y) + COS(x - y) - 1));                                              \
            y = t * ATAN(t2 * SIN(y) * COS(y) / (COS(x + y) + COS(x - y) - 1));                                              \
            z = SQRT(EXP(LOG(z) / t1));                                                                                     \
            w = POW(w + (REAL)n / 1000, t);                                                                                 \
            p = NAME##_call(p, w, t, t2);                                                                                   \
        }                                                                                                                   \
        for (int i = 0; i < 64; i++) sum += field[i];                                                                       \
        printf(#NAME " %La %La %La %La\n", (long double)e[0], (long double)e[1], (long double)e[2], (long double)e[3]);      \
        printf(#NAME " %La %La %La %La %La %La\n", (long double)x, (long double)y, (long double)z, (long double)w,           \
               (long double)p, (long double)sum);                                                                           \
        printf(#NAME " %.9Lg %.9Lg %.9Lg\n", (long double)x, (long double)w, (long double)sum);                              \
    }

WHETSTONE(float, single, sinf, cosf, atanf, sqrtf, expf, logf, powf)
WHETSTONE(double, twice, sin, cos, atan, sqrt, exp, log, pow)

static long double shrink(long double x) { return x / (1 + x * x); }
static long double mean(long double x, long double y) { return sqrtl(x * y); }
WHETSTONE(long double, extended, shrink, shrink, shrink, sqrtl, shrink, fabsl, mean)

int main(int argc, char **argv) {
    unsigned long rounds = rounds_of(argc, argv, 1000);
    single(rounds);
    twice(rounds);
    extended(rounds / 4);
    return 0;
}
