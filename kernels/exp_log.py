"""Exponential and logarithm of our own: the same bits on every CPU, for whole vectors.

The C library's and NumPy's differ from machine to machine in the last bit. These use nothing but
fused multiply-adds, integer operations on the exponent and one division, so they cannot.
``tests/kernels/test_elementary.py`` measures their error against correctly rounded values.

Each constant is a pair: for float32 lanes and for float64 lanes.
"""

import math

from kernels.intrinsics import (
    fma,
    for_dtype,
    from_bits,
    polynomial,
    select,
    to_bits,
    to_float,
)
from kernels.operations import elementwise_kernel
from kernels.runtime.jit import inner

_MANTISSA_BITS = (23, 52)
_EXPONENT_BIAS = (127, 1023)
_INFINITY = (math.inf, math.inf)

# Beyond these exp is certainly Inf or 0, and the exponent arithmetic below would leave its range.
_EXP_HIGH = (89.0, 710.0)
_EXP_LOW = (-105.0, -746.0)
_LOG2_E = (1 / math.log(2), 1 / math.log(2))
# ln 2 in two parts: the high one has so few bits that its products with whole numbers are exact.
_LN2_HIGH = (0.693359375, 6.93147180369123816490e-01)
_LN2_LOW = (-2.12194440054690582e-4, 1.90821492927058770002e-10)
# Adding 1.5 * 2^(mantissa bits) pushes the fraction out: what is left in the low bits is the
# nearest whole number.
_ROUNDER = (1.5 * 2**23, 1.5 * 2**52)
# exp(r) = sum of r^k / k!; for |r| <= ln(2)/2 the first term left out is below 0.05 ulp.
_EXP_TERMS = tuple(tuple(1 / math.factorial(k) for k in range(degree + 1)) for degree in (7, 13))

SMALLEST_NORMAL = (2.0**-126, 2.0**-1022)
# A denormal has no exponent of its own: scale it into the normal numbers first.
_DENORMAL_SCALE = (2.0**24, 2.0**54)
_DENORMAL_EXPONENT = (24, 54)
# The bits of sqrt(1/2): counting the exponent from there leaves m in [sqrt(1/2), sqrt(2)).
_SQRT_HALF_BITS = (0x3F3504F3, 0x3FE6A09E667F3BCD)
# log(1 + f) - f + f^2/2 = s * (f^2/2 + z * R(z)) with s = f / (2 + f), z = s^2 and
# R(z) = sum of 2 z^k / (2k + 3): the series of 2 artanh(s).
_LOG_TERMS = tuple(tuple(2 / (2 * k + 3) for k in range(terms)) for terms in (5, 11))


@inner
def vector_exp(x):
    """e^x, lane by lane: e^x = 2^n * e^r with n = round(x / ln 2), |r| <= ln(2) / 2.

    Cody and Waite's reduction, Taylor's series. Inf, -Inf, NaN, overflow and denormal results as in
    IEEE 754.
    """
    x = select(x > for_dtype(x, _EXP_HIGH), for_dtype(x, _EXP_HIGH), x)
    x = select(x < for_dtype(x, _EXP_LOW), for_dtype(x, _EXP_LOW), x)
    shifted = fma(x, for_dtype(x, _LOG2_E), for_dtype(x, _ROUNDER))
    n = shifted - for_dtype(x, _ROUNDER)
    r = fma(n, for_dtype(x, _LN2_HIGH) * -1.0, x)
    r = fma(n, for_dtype(x, _LN2_LOW) * -1.0, r)
    power = to_bits(shifted) - to_bits(for_dtype(x, _ROUNDER))
    # In two factors, since 2^n itself may lie outside the normal numbers where the result does not.
    half = power >> 1
    return polynomial(r, _EXP_TERMS) * _power_of_two(half) * _power_of_two(power - half)


@inner
def _power_of_two(n):
    """2^n for whole n in the range of normal numbers, by writing the exponent's bits."""
    return from_bits((n + for_dtype(n, _EXPONENT_BIAS)) << for_dtype(n, _MANTISSA_BITS))


@inner
def vector_log(x):
    """ln x, lane by lane: x = 2^k * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)).

    The splitting of fdlibm's ``e_log.c`` with the plain series of 2 artanh(f / (2 + f)). 0 gives
    -Inf, negative numbers and NaN give NaN, Inf gives Inf, denormals are right.
    """
    is_denormal = x < for_dtype(x, SMALLEST_NORMAL)
    scaled = select(is_denormal, x * for_dtype(x, _DENORMAL_SCALE), x)
    bits = to_bits(scaled)
    k = (bits - for_dtype(bits, _SQRT_HALF_BITS)) >> for_dtype(bits, _MANTISSA_BITS)
    mantissa = from_bits(bits - (k << for_dtype(k, _MANTISSA_BITS)))
    k = select(is_denormal, k - for_dtype(k, _DENORMAL_EXPONENT), k)
    f = mantissa - 1.0
    s = f / (f + 2.0)
    half_square = f * f * 0.5
    tail = s * fma(s * s, polynomial(s * s, _LOG_TERMS), half_square)
    exponent = to_float(k)
    tail = fma(exponent, for_dtype(x, _LN2_LOW), tail)
    result = fma(exponent, for_dtype(x, _LN2_HIGH), f - (half_square - tail))
    result = select(x == for_dtype(x, _INFINITY), x, result)
    result = select(x == 0.0, for_dtype(x, _INFINITY) * -1.0, result)
    return select(x >= 0.0, result, for_dtype(x, _INFINITY) * 0.0)


exp = elementwise_kernel(
    "exp",
    vector_exp,
    "Exponential: out = e^x, by our own polynomial: the same bits on every CPU.",
    nanoseconds=0.5,
)
log = elementwise_kernel(
    "log",
    vector_log,
    "Natural logarithm: out = ln x, by our own polynomial: the same bits on every CPU.",
    nanoseconds=0.5,
)
