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
    magnitude,
    polynomial,
    select,
    splatted,
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


# erfc(t) = exp(-t^2) s Q(2 s - 1) with s = 2 / (2 + t): Chebyshev's series of Q on [-1, 1], as
# powers of the argument. Its relative errors are below 1.2e-8 and 1.5e-17.
_ERFC_TERMS = (
    (
        0.5107913569159452, 0.34358031871096484, 0.13973573352192914, 0.018221669428387856,
        -0.010751626186584588, -0.0032434519180997083, 0.001529157160763692,
        0.00043067048843585943, -0.0002993827120715645, -3.6601876943794854e-05,
        4.2161197196387805e-05,
    ),
    (
        0.5107913526210115, 0.34358034220690514, 0.13973604627802688, 0.01822111575345904,
        -0.010755330944716365, -0.0032395925345820673, 0.0015453060290576436,
        0.0004186480432791111, -0.00033153674761946043, -1.7185831874889752e-05,
        7.223535061438543e-05, -1.7073781133818914e-05, -1.0848057268891096e-05,
        8.05787586714734e-06, -5.628166935192924e-07, -1.8150355080541665e-06,
        1.00091858626541e-06, -1.3754508233185945e-08, -2.855481823834117e-07,
        1.7867229479168533e-07, -1.6982724012935667e-09, -6.965842943409138e-08,
        2.9041985444209086e-08, 1.3216325517632649e-08, -9.744756625932259e-09,
        -1.05903331435718e-09, 1.2051665995883637e-09,
    ),
)  # fmt: skip
_ROOT_HALF = (math.sqrt(0.5), math.sqrt(0.5))
_ROOT_2_PI = (1 / math.sqrt(2 * math.pi), 1 / math.sqrt(2 * math.pi))
_FAR = (40.0, 40.0)


@inner
def normal(x):
    """The standard normal distribution at x: its probability below x, and its density.

    Below -x it is erfc(x / sqrt(2)) / 2, and above that 1 minus the same. Both errors are below 4
    ulp of the result; beyond |x| = 40 both are what they are there.
    """
    size = magnitude(x)
    size = select(size > for_dtype(x, _FAR), for_dtype(x, _FAR), size)
    half_square = size * size * 0.5
    # What rounding has left out of it: in the exponent it would count as often as it is large.
    rest = fma(size * 0.5, size, half_square * -1.0)
    e = vector_exp(half_square * -1.0)
    e = fma(e * -1.0, rest, e)
    t = size * for_dtype(x, _ROOT_HALF)
    s = splatted(x, 2.0) / (t + 2.0)
    below = e * s * polynomial(s * 2.0 - 1.0, _ERFC_TERMS) * 0.5
    return select(x > 0.0, splatted(x, 1.0) - below, below), e * for_dtype(x, _ROOT_2_PI)


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
