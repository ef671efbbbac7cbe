// What Whetstone made familiar, in numbers of type `real`: array elements, a procedure with results by reference,
// conditional jumps, integers, and elementary functions, which are written here so that they are the guest's own arithmetic.
#include "kernel.h"

enum { LOOPS = 300 };

static const real T = (real)0.499975, T1 = (real)0.50025, T2 = (real)2.0;
static real e1[4];

// ---- elementary functions: reduction to a small argument, then a polynomial -------------------

static const real LN2 = (real)0.69314718055994530942, HALF_PI = (real)1.57079632679489661923;

static real horner(const real *c, int n, real x) {
    real sum = c[n - 1];
    for (int i = n - 2; i >= 0; i--) sum = sum * x + c[i];
    return sum;
}

// Sine of x + quadrant * pi/2, for small multiples of pi.
static real sine(real x, int quadrant) {
    static const real S[] = {1, -1.0L / 6, 1.0L / 120, -1.0L / 5040, 1.0L / 362880, -1.0L / 39916800};
    static const real C[] = {1, -1.0L / 2, 1.0L / 24, -1.0L / 720, 1.0L / 40320, -1.0L / 3628800, 1.0L / 479001600};
    int turns = (int)(x / HALF_PI + (x < 0 ? (real)-0.5 : (real)0.5));
    real rest = x - (real)turns * HALF_PI, square = rest * rest;
    quadrant = (quadrant + turns) & 3;
    real value = quadrant & 1 ? horner(C, 7, square) : rest * horner(S, 6, square);
    return quadrant & 2 ? -value : value;
}

static real exponential(real x) {
    static const real E[] = {1, 1, 1.0L / 2, 1.0L / 6, 1.0L / 24, 1.0L / 120, 1.0L / 720, 1.0L / 5040, 1.0L / 40320};
    int power = (int)(x / LN2);
    real value = horner(E, 9, x - (real)power * LN2);
    for (; power > 0; power--) value = value * 2;
    for (; power < 0; power++) value = value / 2;
    return value;
}

static real logarithm(real x) {
    static const real L[] = {2, 2.0L / 3, 2.0L / 5, 2.0L / 7, 2.0L / 9, 2.0L / 11, 2.0L / 13, 2.0L / 15};
    int power = 0;
    for (; x > (real)1.5; x = x / 2) power++;
    for (; x < (real)0.75; x = x * 2) power--;
    real z = (x - 1) / (x + 1);
    return (real)power * LN2 + z * horner(L, 8, z * z);
}

static real arc_tangent(real x) {
    static const real A[] = {1, -1.0L / 3, 1.0L / 5, -1.0L / 7, 1.0L / 9, -1.0L / 11, 1.0L / 13};
    if (x < 0) return -arc_tangent(-x);
    if (x > 1) return HALF_PI - arc_tangent(1 / x);
    // Halving the angle twice.
    for (int i = 0; i < 2; i++) x = x / (1 + square_root(1 + x * x));
    return 4 * x * horner(A, 7, x * x);
}

// ---- the modules ------------------------------------------------------------------------------

static __attribute__((noinline)) void array_procedure(real e[4]) {
    for (int i = 0; i < 6; i++) {
        e[0] = (e[0] + e[1] + e[2] - e[3]) * T;
        e[1] = (e[0] + e[1] - e[2] + e[3]) * T;
        e[2] = (e[0] - e[1] + e[2] + e[3]) * T;
        e[3] = (-e[0] + e[1] + e[2] + e[3]) / T2;
    }
}

static __attribute__((noinline)) void product_procedure(real x, real y, real *z) {
    x = T * (x + y);
    y = T * (x + y);
    *z = (x + y) / T2;
}

static real modules(void) {
    real x = (real)0.5, y = (real)0.5, z = 0;
    for (int i = 0; i < LOOPS; i++) {
        array_procedure(e1);
        for (int j = 0; j < 4; j++) product_procedure(e1[j], y, &z);
        // Conditional jumps and integers: the numbers decide where it goes.
        int64_t k = (int64_t)(z * 1000) + i;
        e1[k & 3] = k % 3 == 0 ? (real)k : k % 3 == 1 ? (real)(k * 2 + 1) : e1[k & 3] < 1 ? (real)1 : e1[k & 3];
        e1[k & 3] = e1[k & 3] / (real)(1 + (k < 0 ? -k : k));
        x = T * arc_tangent(T2 * sine(x, 0) * sine(x, 1) / (sine(x + y, 1) + sine(x - y, 1) - 1));
        y = T * arc_tangent(T2 * sine(y, 0) * sine(y, 1) / (sine(x + y, 1) + sine(x - y, 1) - 1));
        x = square_root(exponential(logarithm(x * x + 1) / T1));
        x = x > 2 ? x / 4 : x;
    }
    return x + y + z + e1[0] + e1[1] + e1[2] + e1[3];
}

uint64_t kernel_run(uint64_t n) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        e1[0] = 1, e1[1] = e1[2] = e1[3] = -1;
        double result = (double)(modules() + (real)i);
        uint64_t bits;
        memcpy(&bits, &result, sizeof bits);
        sum = mix(sum, bits);
    }
    return sum;
}
