// SPDX-License-Identifier: MIT
// <math.h> for upstream's lib/libm_dbl. The host's header is no use here: it declares functions
// of a C library that is not linked, under names that libm_dbl has for its own.
#ifndef PORT_INCLUDE_MATH_H
#define PORT_INCLUDE_MATH_H

#define HUGE_VAL (__builtin_huge_val())
#define INFINITY (__builtin_inff())
#define NAN      (__builtin_nanf(""))
#define M_E      (2.7182818284590452354)
#define M_PI     (3.14159265358979323846)
#define M_LOG2E  (1.4426950408889634074)

#define FP_NAN       (0)
#define FP_INFINITE  (1)
#define FP_ZERO      (2)
#define FP_SUBNORMAL (3)
#define FP_NORMAL    (4)

#define isnan(x)      __builtin_isnan(x)
#define isinf(x)      __builtin_isinf_sign(x)
#define isfinite(x)   __builtin_isfinite(x)
#define signbit(x)    __builtin_signbit(x)
#define fpclassify(x) __builtin_fpclassify(FP_NAN, FP_INFINITE, FP_NORMAL, FP_SUBNORMAL, FP_ZERO, x)

typedef float float_t;
typedef double double_t;

// One instruction or two each.
static inline double fabs(double x) {
    return __builtin_fabs(x);
}

static inline double copysign(double x, double y) {
    return __builtin_copysign(x, y);
}

static inline double sqrt(double x) {
    return __builtin_sqrt(x);
}

static inline double nan(const char *tag) {
    (void)tag;
    return __builtin_nan("");
}

double acos(double);
double acosh(double);
double asin(double);
double asinh(double);
double atan(double);
double atan2(double, double);
double atanh(double);
double ceil(double);
double cos(double);
double cosh(double);
double erf(double);
double erfc(double);
double exp(double);
double expm1(double);
double floor(double);
double fmod(double, double);
double frexp(double, int *);
double ldexp(double, int);
double lgamma(double);
double log(double);
double log10(double);
double log1p(double);
double modf(double, double *);
double nearbyint(double);
double pow(double, double);
double rint(double);
double round(double);
double scalbn(double, int);
double sin(double);
double sinh(double);
double tan(double);
double tanh(double);
double tgamma(double);
double trunc(double);

#endif // PORT_INCLUDE_MATH_H
