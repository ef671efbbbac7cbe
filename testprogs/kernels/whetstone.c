// whetstone: scalar double precision, as compilers make it: SSE.
typedef double real;
static double square_root(double x) {
    __asm__("sqrtsd %0, %0" : "+x"(x));
    return x;
}
#include "whetstone.h"
