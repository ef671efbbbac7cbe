// x87: the same as whetstone in double extended precision.
typedef long double real;
static long double square_root(long double x) {
    __asm__("fsqrt" : "+t"(x));
    return x;
}
#include "whetstone.h"
