// SPDX-License-Identifier: MIT
// exp() on the x87, whose 64-bit mantissa leaves room for a correctly rounded double; upstream's
// lib/libm_dbl/exp.c is one unit in the last place off already at exp(1), so that math.e would
// not equal math.exp(1).

#include <math.h>

#define LOG2_E (1.442695040888963407359924681001892137L)
#define LN2_HI (0.693147180369123816490e+0L) // 33 bits: a product with an exponent is exact
#define LN2_LO (1.908214929270587700e-10L)

double exp(double x) {
    if (isnan(x) || x > 710 || x < -746) {
        return isnan(x) ? x : (x > 0 ? INFINITY : 0);
    }
    // x = n * ln 2 + r, so exp(x) = 2^n * 2^(r * log2 e)
    long double n, result;
    __asm__("frndint" : "=t"(n) : "0"(x * LOG2_E));
    long double r = (x - n * LN2_HI) - n * LN2_LO;
    __asm__("f2xm1" : "=t"(result) : "0"(r * LOG2_E));
    __asm__("fscale" : "=t"(result) : "0"(result + 1), "u"(n));
    return result;
}
