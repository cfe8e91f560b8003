"""Bounds of functions of one element: activations and what they are made of."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from layers.base import Array
from layers.comparison.bounds import draws
from layers.comparison.bounds.case import Case
from layers.comparison.bounds.rounding import (
    C_ERF,
    NUMPYS,
    NUMPYS_TANH,
    OUR_ERF,
    OUR_EXPM1,
    OUR_SOFTPLUS,
    OUR_TANH,
    OURS,
    exact,
    gamma,
    size_of,
    tiny,
)


def _gauss(x: Array) -> tuple[Array, Array, Array, Array]:
    """The standard normal distribution in float64, and the bounds on both sides' difference.

    Our error is below 4 ulp, 8 u. NumPy's side has float64's error: of the argument, which erfc
    multiplies by at most 2 t^2 + 1 and exp by x^2 / 2, and of 4 ulp of those functions.
    """
    wide = np.clip(x.astype(np.float64), -40, 40)
    erfc = np.vectorize(math.erfc, otypes=[np.float64])
    below = 0.5 * erfc(-wide / math.sqrt(2))
    density = np.exp(-0.5 * wide**2) / math.sqrt(2 * math.pi)
    shares = (gamma(8, x.dtype) + gamma(2 * wide**2 + 16, np.float64) for _ in range(2))
    return below, density, *shares


def _gelu_forward(x: Array, out: Array) -> tuple[Array]:
    below, _, share, _ = _gauss(x)
    size = size_of(x)
    return (size * below * (share + 2 * gamma(1, x.dtype)) + (8 * size + 2) * tiny(x.dtype),)


def _gelu_backward(x: Array, dy: Array, out: Array) -> tuple[Array]:
    # A sum of two terms of either sign, and a product, on each side.
    below, density, share, other = _gauss(x)
    dy64, size = size_of(dy), size_of(x)
    slope = np.where(density == 0, 0, size * density)
    roundings = 2 * gamma(3, x.dtype)
    off = below * (share + roundings) + slope * (other + roundings)
    small = np.where(density == 0, 8, 8 * (size + 1))
    return (dy64 * (off + small * tiny(x.dtype)) + 2 * tiny(x.dtype),)


def exp_bound(x: Array, out: Array) -> tuple[Array]:
    """The bound of exp."""
    share = gamma(OURS, x.dtype) + gamma(NUMPYS[x.dtype], x.dtype)
    ulps = OURS + NUMPYS[x.dtype]  # subnormal numbers, where an ulp is tiny
    return (np.exp(x.astype(np.float64)) * share + ulps * tiny(x.dtype),)


def _log(x: Array, out: Array) -> tuple[Array]:
    share = gamma(OURS, x.dtype) + gamma(NUMPYS[x.dtype], x.dtype)
    return (abs(np.log(x.astype(np.float64))) * share,)


def _expm1(x: Array, out: Array) -> tuple[Array]:
    share = gamma(OUR_EXPM1, x.dtype) + gamma(NUMPYS[x.dtype], x.dtype)
    return (abs(np.expm1(x.astype(np.float64))) * share + 2 * tiny(x.dtype),)


def _tanh(x: Array, out: Array) -> tuple[Array]:
    share = gamma(OUR_TANH, x.dtype) + gamma(NUMPYS_TANH, x.dtype)
    return (abs(np.tanh(x.astype(np.float64))) * share + 2 * tiny(x.dtype),)


def _erf(x: Array, out: Array) -> tuple[Array]:
    # NumPy's side is C's, in float64, and rounded.
    share = gamma(OUR_ERF, x.dtype) + gamma(C_ERF, np.float64) + gamma(1, x.dtype)
    erf = np.vectorize(math.erf, otypes=[np.float64])
    return (abs(erf(x.astype(np.float64))) * share + 2 * tiny(x.dtype),)


def _elu_forward(x: Array, alpha: float, out: Array) -> tuple[Array]:
    # x itself where it is positive; else expm1 and a product.
    limit = float(x.dtype.type(alpha))
    (apart,) = _expm1(np.minimum(x, 0), out)
    size = limit * (abs(np.expm1(np.minimum(x, 0).astype(np.float64))) + apart)
    off = limit * apart + 2 * gamma(1, x.dtype) * size + 2 * tiny(x.dtype)
    return (np.where(x > 0, 0.0, off),)


def _selu_forward(x: Array, out: Array) -> tuple[Array]:
    # The same product on both sides where x is positive.
    return _elu_forward(x, 1.0507009873554805 * 1.6732632423543772, out)


def _softplus_forward(x: Array, out: Array) -> tuple[Array]:
    # NumPy's is an exp, a log1p and a sum: none makes what was off before it more.
    wide = x.astype(np.float64)
    size = np.maximum(wide, 0) + np.log1p(np.exp(-abs(wide)))
    numpys = gamma(2 * NUMPYS[x.dtype] + 1, x.dtype)
    ulps = OURS + NUMPYS[x.dtype] + 4  # below the normal numbers
    return (size * (gamma(OUR_SOFTPLUS, x.dtype) + numpys) + ulps * tiny(x.dtype),)


def _softplus_backward(y: Array, dy: Array, out: Array) -> tuple[Array]:
    (apart,) = _expm1(-y, out)
    size = abs(np.expm1(-y.astype(np.float64))) + apart
    return (size_of(dy) * (apart + 2 * gamma(1, y.dtype) * size) + 2 * tiny(y.dtype),)


def _sigmoid(x: Array) -> tuple[Array, Array, float, float]:
    """1 / (1 + e^-x) in float64 and 1 minus it; how far apart both sides may be of either.

    That is a share, and below the normal numbers a number. An exp, a sum and a quotient: the exp's
    error counts once at most, as e stands above and below.
    """
    e = np.exp(-abs(x.astype(np.float64)))
    share = gamma(OURS + 2, x.dtype) + gamma(NUMPYS[x.dtype] + 2, x.dtype)
    small = (OURS + NUMPYS[x.dtype] + 2) * tiny(x.dtype)
    return np.where(x < 0, e, 1) / (1 + e), np.where(x < 0, 1, e) / (1 + e), share, small


def _sigmoid_forward(x: Array, out: Array) -> tuple[Array]:
    s, _, share, small = _sigmoid(x)
    return (s * share + small,)


def _silu_forward(x: Array, out: Array) -> tuple[Array]:
    s, _, share, small = _sigmoid(x)
    off = s * (share + 2 * gamma(1, x.dtype)) + 2 * small
    return (size_of(x) * off + 2 * tiny(x.dtype),)


def _silu_backward(x: Array, dy: Array, out: Array) -> tuple[Array]:
    # s (1 + x (1 - s)): s and 1 - s are off, and there are at most three roundings.
    s, rest, share, small = _sigmoid(x)
    size, dtype = size_of(x), x.dtype
    return (_times_sum(dy, s, size * rest, share, 2 * gamma(4, dtype), small * (2 + 2 * size)),)


def _times_sum(dy: Array, s: Array, term: Array, share: Any, roundings: Any, small: Any) -> Array:
    """Of dy s (1 +- term), where both s and the term are off by a share."""
    off = s * (1 + term) * (2 * share + share * share + roundings) + small
    return np.asarray(size_of(dy) * (off + 2 * tiny(dy.dtype)) + 2 * tiny(dy.dtype))


def _soft_step(x: Array) -> tuple[Array, Array, Array, Array, float]:
    """What GELU by tanh is made of, as `_sigmoid` has it, and the size of its slope.

    u, of two terms of one sign, is within 6 roundings; an exp makes their error |2 u| times as
    large. NumPy's side has float64's.
    """
    wide, scale = np.clip(x.astype(np.float64), -40, 40), 2 * math.sqrt(2 / math.pi)
    u = scale * (wide + 0.044715 * wide**3)
    e, count = np.exp(-abs(u)), 6 * abs(u)
    numpys = gamma(NUMPYS[np.dtype(np.float64)] + 2 + 2 * count, np.float64)
    share = gamma(OURS + 2 + count, x.dtype) + numpys
    slope = abs(scale * (wide + 3 * 0.044715 * wide**3))
    step, rest = np.where(x < 0, e, 1) / (1 + e), np.where(x < 0, 1, e) / (1 + e)
    return step, rest, slope, share, (OURS + NUMPYS[x.dtype] + 2) * tiny(x.dtype)


def _gelu_tanh_forward(x: Array, out: Array) -> tuple[Array]:
    step, _, _, share, small = _soft_step(x)
    off = step * (share + 2 * gamma(1, x.dtype)) + 2 * small
    return (size_of(x) * off + 2 * tiny(x.dtype),)


def _gelu_tanh_backward(x: Array, dy: Array, out: Array) -> tuple[Array]:
    # As SiLU's, with a slope that is within 7 roundings.
    step, rest, slope, share, small = _soft_step(x)
    below = small * (2 + 2 * slope)
    return (_times_sum(dy, step, slope * rest, share, 2 * gamma(12, x.dtype), below),)


CASES: Mapping[str, Case] = {
    # The same roundings on both sides.
    "elu_backward": Case(exact, {"rows": 128, "columns": 128}, {"y": draws.whole}),
    "elu_forward": Case(_elu_forward, {"rows": 128, "columns": 128}, {"x": draws.wide}),
    "erf": Case(_erf, {"rows": 128, "columns": 128}),
    "exp": Case(exp_bound, {"rows": 128, "columns": 128}, {"x": draws.wide}),
    "expm1": Case(_expm1, {"rows": 128, "columns": 128}, {"x": draws.wide}),
    "gelu_backward": Case(_gelu_backward, {"rows": 128, "columns": 128}, {"x": draws.wide}),
    "gelu_forward": Case(_gelu_forward, {"rows": 128, "columns": 128}, {"x": draws.wide}),
    "gelu_tanh_backward": Case(
        _gelu_tanh_backward, {"rows": 128, "columns": 128}, {"x": draws.wide}
    ),
    "gelu_tanh_forward": Case(_gelu_tanh_forward, {"rows": 128, "columns": 128}, {"x": draws.wide}),
    # The same product on both sides.
    "leaky_relu_backward": Case(exact, {"rows": 128, "columns": 128}, {"y": draws.whole}),
    "leaky_relu_forward": Case(exact, {"rows": 128, "columns": 128}, {"x": draws.whole}),
    "log": Case(_log, {"rows": 128, "columns": 128}, {"x": draws.positive}),
    "relu_backward": Case(exact, {"rows": 128, "columns": 128}, {"x": draws.whole}),
    "relu_forward": Case(exact, {"rows": 128, "columns": 128}, {"x": draws.whole}),
    "selu_backward": Case(exact, {"rows": 128, "columns": 128}, {"y": draws.whole}),
    "selu_forward": Case(_selu_forward, {"rows": 128, "columns": 128}, {"x": draws.wide}),
    "sigmoid_backward": Case(exact, {"rows": 128, "columns": 128}),
    "sigmoid_forward": Case(_sigmoid_forward, {"rows": 128, "columns": 128}, {"x": draws.wide}),
    "silu_backward": Case(_silu_backward, {"rows": 128, "columns": 128}, {"x": draws.wide}),
    "silu_forward": Case(_silu_forward, {"rows": 128, "columns": 128}, {"x": draws.wide}),
    "softplus_backward": Case(
        _softplus_backward, {"rows": 128, "columns": 128}, {"y": draws.positive}
    ),
    "softplus_forward": Case(_softplus_forward, {"rows": 128, "columns": 128}, {"x": draws.wide}),
    "tanh": Case(_tanh, {"rows": 128, "columns": 128}),
    "tanh_backward": Case(exact, {"rows": 128, "columns": 128}),
    "tanh_forward": Case(_tanh, {"rows": 128, "columns": 128}),
}
