// linpack: a system of linear equations by Gaussian elimination with partial pivoting, column by column, over daxpy.
#include "kernel.h"

enum { N = 60 };
static double a[N][N], b[N]; // a[j] is column j
static int pivots[N];

static double magnitude(double x) { return x < 0 ? -x : x; }

// y += factor * x.
static __attribute__((noinline)) void daxpy(int n, double factor, const double *x, double *y) {
    for (int i = 0; i < n; i++) y[i] += factor * x[i];
}

static int largest(const double *x, int from) {
    int at = from;
    for (int i = from + 1; i < N; i++)
        if (magnitude(x[i]) > magnitude(x[at])) at = i;
    return at;
}

static void swap(double *x, double *y) {
    double old = *x;
    *x = *y, *y = old;
}

static void factorise(void) {
    for (int k = 0; k < N - 1; k++) {
        int p = pivots[k] = largest(a[k], k);
        swap(&a[k][p], &a[k][k]);
        double factor = -1 / a[k][k];
        for (int i = k + 1; i < N; i++) a[k][i] *= factor;
        for (int j = k + 1; j < N; j++) {
            swap(&a[j][p], &a[j][k]);
            daxpy(N - k - 1, a[j][k], &a[k][k + 1], &a[j][k + 1]);
        }
    }
}

static void solve(void) {
    for (int k = 0; k < N - 1; k++) {
        swap(&b[pivots[k]], &b[k]);
        daxpy(N - k - 1, b[k], &a[k][k + 1], &b[k + 1]);
    }
    for (int k = N - 1; k >= 0; k--) {
        b[k] /= a[k][k];
        daxpy(k, -b[k], a[k], b);
    }
}

uint64_t kernel_run(uint64_t n) {
    uint64_t sum = 0, seed = 1325;
    for (uint64_t round = 0; round < n; round++) {
        for (int i = 0; i < N; i++) b[i] = 0;
        for (int j = 0; j < N; j++)
            for (int i = 0; i < N; i++) {
                a[j][i] = (double)(int64_t)(next_random(&seed) >> 40) / (1 << 23) - 1;
                b[i] += a[j][i]; // so that the solution is all ones
            }
        factorise();
        solve();
        for (int i = 0; i < N; i++) {
            uint64_t bits;
            memcpy(&bits, &b[i], sizeof bits);
            sum = mix(sum, bits);
        }
    }
    return sum;
}
