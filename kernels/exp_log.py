"""Exponential and logarithm of our own, and what is made of them: the same bits on every CPU.

The C library's and NumPy's differ from machine to machine in the last bit. These, of whole vectors,
use nothing but fused multiply-adds, integer operations on the exponent and one division, so they
cannot. ``tests/kernels/test_elementary.py`` measures their error against correctly rounded values.

Each constant is a pair: for float32 lanes and for float64 lanes.
"""

import math

from kernels.entries import elementwise_kernel
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
from kernels.runtime.jit import inner

_MANTISSA_BITS = (23, 52)
_EXPONENT_BIAS = (127, 1023)
_INFINITY = (math.inf, math.inf)
_ONE = (1, 1)

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


# Beyond it e^-x counts for nothing beside 1.
_FAR = (40.0, 40.0)
# (e^r - 1) / r - 1 = sum of r^k / (k + 1)!; for |r| <= ln(2)/2 what is left out is below 0.01 ulp.
_EXPM1_TERMS = tuple(
    (0.0, *(1 / math.factorial(k + 1) for k in range(1, degree + 1))) for degree in (7, 13)
)
# The series of `vector_log`, as far as it is needed for s up to 1/3.
_LOG1P_TERMS = tuple(tuple(2 / (2 * k + 3) for k in range(terms)) for terms in (7, 16))


@inner
def vector_expm1(x):
    """e^x - 1, lane by lane, right where x is next to 0.

    As `vector_exp`, with the series of (e^r - 1) / r: e^x - 1 = 2^n (e^r - 1) + (2^n - 1).
    """
    x = select(x > for_dtype(x, _EXP_HIGH), for_dtype(x, _EXP_HIGH), x)
    x = select(x < for_dtype(x, _FAR) * -1.0, for_dtype(x, _FAR) * -1.0, x)
    shifted = fma(x, for_dtype(x, _LOG2_E), for_dtype(x, _ROUNDER))
    n = shifted - for_dtype(x, _ROUNDER)
    r = fma(n, for_dtype(x, _LN2_HIGH) * -1.0, x)
    r = fma(n, for_dtype(x, _LN2_LOW) * -1.0, r)
    r = select(n == 0.0, x, r)  # so that -0 stays -0
    power = to_bits(shifted) - to_bits(for_dtype(x, _ROUNDER))
    # Half of it first, since 2^n itself may be too large where the result is not.
    half = _power_of_two(power - for_dtype(power, _ONE))
    near = fma(r, polynomial(r, _EXPM1_TERMS), r)
    return select(n == 0.0, near, fma(near, half, half - 0.5) * 2.0)


@inner
def vector_log1p(x):
    """ln(1 + x) for x from 0 to 1, lane by lane: `vector_log` with f = x, right next to 0 too."""
    s = x / (x + 2.0)
    half_square = x * x * 0.5
    return x - (half_square - s * fma(s * s, polynomial(s * s, _LOG1P_TERMS), half_square))


@inner
def logistic(x):
    """1 / (1 + e^-x) and 1 minus the same, each right where it is next to 0."""
    e = vector_exp(magnitude(x) * -1.0)
    below = e + 1.0
    return select(x < 0.0, e, 1.0) / below, select(x < 0.0, 1.0, e) / below


# tanh(x) / x - 1 for |x| <= 0.625, by powers of x^2: Chebyshev's interpolation, of relative errors
# below 6e-10 and 8e-18. The first is exactly 0, so that -0 comes out as -0.
_TANH_TERMS = (
    (
        0.0, -0.3333333317214036, 0.1333330355691574, -0.053959259577204544, 0.02176891865102821,
        -0.008343945515839153, 0.002292744816178142,
    ),
    (
        0.0, -0.3333333333333333, 0.13333333333333042, -0.05396825396789699, 0.021869488519008305,
        -0.008863235103240878, 0.0035921217511549622, -0.0014557754120478055,
        0.0005896606577757043, -0.0002375906496055562, 9.257116129556769e-05,
        -3.12011014257974e-05, 6.485163482793113e-06,
    ),
)  # fmt: skip


@inner
def vector_tanh(x):
    """tanh x, lane by lane: a series for |x| < 0.625, else 1 - 2 / (e^2|x| + 1)."""
    size = magnitude(x)
    far = splatted(x, 1.0) - splatted(x, 2.0) / (vector_exp(size + size) + 1.0)
    far = select(x < 0.0, far * -1.0, far)
    return select(size < 0.625, fma(x, polynomial(x * x, _TANH_TERMS), x), far)


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
# erf(x) / x - 1 for |x| <= 1, by powers of x^2, of relative errors below 2e-9 and 2e-17.
_ERF_TERMS = (
    (
        0.12837916584835093, -0.37612626666720334, 0.11283594715160218, -0.026854212010626412,
        0.005189087423433974, -0.000801686428716587, 7.875875062685488e-05,
    ),
    (
        0.1283791670955126, -0.3761263890318375, 0.11283791670954879, -0.026866170645076792,
        0.0052239776248180145, -0.000854832698083379, 0.0001205533111164271,
        -1.4925595266831182e-05, 1.6461000484121368e-06, -1.6350312701054695e-07,
        1.4659775274047436e-08, -1.1372848856791674e-09, 5.957176147748911e-11,
    ),
)  # fmt: skip
_ROOT_HALF = (math.sqrt(0.5), math.sqrt(0.5))
_ROOT_2_PI = (1 / math.sqrt(2 * math.pi), 1 / math.sqrt(2 * math.pi))


@inner
def _exp_of_minus(square, rest):
    """e^-(square + rest), where ``rest`` is what rounding has left out of the square.

    In the exponent it would count as often as the square is large.
    """
    e = vector_exp(square * -1.0)
    return fma(e * -1.0, rest, e)


@inner
def _erfc(t, e):
    """erfc(t) for t >= 0, from t and e = exp(-t^2)."""
    s = splatted(t, 2.0) / (t + 2.0)
    return e * s * polynomial(s * 2.0 - 1.0, _ERFC_TERMS)


@inner
def normal(x):
    """The standard normal distribution at x: its probability below x, and its density.

    Below -x it is erfc(x / sqrt(2)) / 2, and above that 1 minus the same. Both errors are below 4
    ulp of the result; beyond |x| = 40 both are what they are there.
    """
    size = magnitude(x)
    size = select(size > for_dtype(x, _FAR), for_dtype(x, _FAR), size)
    half_square = size * size * 0.5
    e = _exp_of_minus(half_square, fma(size * 0.5, size, half_square * -1.0))
    below = _erfc(size * for_dtype(x, _ROOT_HALF), e) * 0.5
    return select(x > 0.0, splatted(x, 1.0) - below, below), e * for_dtype(x, _ROOT_2_PI)


@inner
def vector_erf(x):
    """The error function, lane by lane: a series for |x| < 1, else 1 - erfc |x|."""
    size = magnitude(x)
    t = select(size > for_dtype(x, _FAR), for_dtype(x, _FAR), size)
    square = t * t
    far = splatted(x, 1.0) - _erfc(t, _exp_of_minus(square, fma(t, t, square * -1.0)))
    far = select(x < 0.0, far * -1.0, far)
    return select(size < 1.0, fma(x, polynomial(x * x, _ERF_TERMS), x), far)


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
expm1 = elementwise_kernel(
    "expm1",
    vector_expm1,
    "Exponential less 1: out = e^x - 1, by our own polynomial: the same bits on every CPU.",
    nanoseconds=0.6,
)
tanh = elementwise_kernel(
    "tanh",
    vector_tanh,
    "Hyperbolic tangent: out = tanh x, of our own exp: the same bits on every CPU.",
    nanoseconds=0.7,
)
erf = elementwise_kernel(
    "erf",
    vector_erf,
    "Error function: out = erf x, of our own exp: the same bits on every CPU.",
    nanoseconds=1.0,
)
