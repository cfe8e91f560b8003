"""Error bounds: the largest difference between a kernel and its NumPy twin, by element.

A bound is derived, never guessed: two correct computations of the same result differ by no more. In
the comments u is the unit roundoff, half the distance from 1 to the next number, and gamma(k) =
k u / (1 - k u) the largest relative error of k successive roundings (N. J. Higham, "Accuracy and
Stability of Numerical Algorithms", lemma 3.1). Relative errors that are multiplied, divided or
averaged over positive terms stay within gamma of their sum.

Bounds hold for any shape and both dtypes, where the inputs are finite and nothing overflows.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernels import reference
from kernels.runtime.jit import PUBLIC
from layers.base import Array

Sizes = Mapping[str, int]
Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """How one kernel is compared.

    Attributes
    ----------
    bounds : callable
        Maps the kernel's arguments, before the call, to one array of bounds for each result: the
        outputs, then the return value.
    sizes : dict
        The sizes in the kernel's contract, for `compare`. A contract with arrays of any shape has
        ``rows`` and ``columns``; a flag is a size of 0 or 1.
    draws : dict
        By argument: a function of a generator and a shape that draws its values, where they are
        not normal numbers.
    """

    bounds: Callable[..., tuple[Any, ...]]
    sizes: Sizes
    draws: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = field(
        default_factory=dict
    )


# --- inputs, results, bounds: for `compare` and for the tests -------------------------------------


def arguments(name: str, sizes: Sizes, dtype: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Draw a kernel's arguments by its contract, outputs included."""
    draws = {**_DRAWS, **CASES[name].draws}
    drawn: dict[str, Any] = {}
    for argument in PUBLIC[name].contract.arguments:
        if argument.kind in ("labels", "indices"):
            below = sizes.get(argument.below, 1)
            drawn[argument.name] = rng.integers(0, below, sizes[str(argument.sizes[0])])
        elif argument.kind in ("matrix", "any_shape"):
            named = argument.sizes or ("rows", "columns")
            shape = tuple(size if isinstance(size, int) else sizes[size] for size in named)
            if sizes.get(argument.swap):
                shape = shape[::-1]
            drawn[argument.name] = draws.get(argument.name, _normal)(rng, shape).astype(dtype)
        elif argument.kind == "flag":
            drawn[argument.name] = bool(sizes.get(argument.name))
        else:
            drawn[argument.name] = _NUMBERS[argument.name]
    return drawn


def results(name: str, function: Callable[..., Any], given: Arguments) -> list[Array]:
    """The outputs and return value of a function called with copies of a kernel's arguments."""
    taken = {key: np.copy(v) if isinstance(v, np.ndarray) else v for key, v in given.items()}
    returned = function(*taken.values())
    described = PUBLIC[name].contract.arguments
    written = [taken[argument.name] for argument in described if argument.is_output]
    return written if returned is None else [*written, np.asarray(returned)]


def bounds(name: str, given: Arguments) -> list[Array]:
    """The bounds on the difference of a kernel and its twin, by element, for each result."""
    with np.errstate(all="ignore"):
        return [settled(bound, given) for bound in CASES[name].bounds(*given.values())]


def settled(bound: Any, given: Arguments) -> Array:
    """A bound, increased by the rounding errors of its own computation in float64."""
    longest = max((max(v.shape) for v in given.values() if np.ndim(v) and v.size), default=1)
    # A bound has at most as many roundings, exp and log included, as two sums along the longest
    # axis plus 100.
    return np.asarray(bound / (1 - gamma(2 * longest + 100, np.float64)), np.float64)


# --- what is drawn --------------------------------------------------------------------------------


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def _wide(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return 5 * rng.standard_normal(shape)


def _positive(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(np.exp(_wide(rng, shape)))


def _below(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(-abs(_wide(rng, shape)))


def _probabilities(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    positive = _positive(rng, shape)
    return np.asarray(positive / positive.sum(axis=-1, keepdims=True))


def _shares(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """From 0 to 1, both among them."""
    return np.clip(rng.uniform(-0.5, 1.5, shape), 0, 1)


def _whole(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Few distinct numbers, for ties in a row of scores and zeros for ReLU."""
    return rng.integers(-4, 5, shape)


def _whole_wide(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Few distinct numbers, further apart, for logits."""
    return np.asarray(np.rint(_wide(rng, shape)))


_DRAWS: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "probabilities": _probabilities,
    "losses": _positive,
    "scores": _whole,
    "states": _positive,
    "log_probabilities": _below,
    "z": _wide,
}
_NUMBERS = {
    "key": np.uint64(0x0123456789ABCDEF),
    "stream": np.uint64(5),
    "low": -0.3,
    "high": 0.5,  # high - low is no power of two, so u * width rounds
    "learning_rate": 0.1,
    "slope": 0.1,
    "alpha": 0.7,
    "delta": 0.7,
    "label_smoothing": 0.1,
    "q": 0.3,
    "rate": 0.3,
    "beta1": 0.9,
    "beta2": 0.99,
    "epsilon": 1e-3,
    "ahead": 0.2,
    "momentum": 0.9,
    "decay": 0.01,
    "shrink": 0.03,
}

# --- bounds: one function for each kernel, with the kernel's arguments ----------------------------

# Our exp and log have errors below 1 ulp (tests/kernels/test_elementary.py), and an ulp is at most
# 2 u of a normal number. NumPy's tests (umath-validation-set-exp.csv and -log.csv) allow 4 ulp in
# float32 and 1 in float64 from the rounded value, which is half an ulp from the exact one.
_OURS = 2
_NUMPYS = {np.dtype(np.float32): 9, np.dtype(np.float64): 3}
# So do our expm1, tanh, erf and softplus, by less than 2, 1.5, 1.25 and 2 ulp. NumPy's expm1 and
# log1p are as good as its exp, its tanh is within 2 ulp of the rounded value, and C's erf of 4.
_OUR_EXPM1, _OUR_TANH, _OUR_ERF, _OUR_SOFTPLUS = 4, 3, 2.5, 4
_NUMPYS_TANH, _C_ERF = 5, 9


def gamma(roundings: Any, dtype: Any) -> Any:
    """The largest relative error of ``roundings`` successive roundings."""
    unit = roundings * float(np.finfo(dtype).eps) / 2
    return unit / (1 - unit)


def tiny(dtype: Any) -> float:
    """The smallest number above 0: twice the largest rounding error of subnormal numbers."""
    return float(np.finfo(dtype).smallest_subnormal)


def _size(array: Array) -> Array:
    return abs(array.astype(np.float64))


_matmul_in_numpy = reference.matmul


def times(a: Array, b: Array) -> Array:
    """The product in float64."""
    out = np.empty((a.shape[0], b.shape[1]))
    _matmul_in_numpy(a.astype(np.float64), b.astype(np.float64), out)
    return out


def _product(a: Array, b: Array, added: Array | None = None) -> Array:
    """The bound of a . b with k terms, in any order, with or without fused multiply-adds.

    Each term has at most k roundings, its product's and those of k - 1 sums, so each side is within
    gamma(k) |A| . |B| of the exact value, and the two within twice that. For k > 4,096 ours has
    fewer, 4,096 + k / 4,096. A final addition is one more.
    """
    k = a.shape[1]
    size = times(_size(a), _size(b))
    underflow = 2 * k * tiny(a.dtype)
    if added is None:
        return np.asarray(2 * gamma(k, a.dtype) * size + underflow)
    return np.asarray(2 * gamma(k + 1, a.dtype) * (size + _size(added)) + underflow)


def _matmul(
    a: Array,
    b: Array,
    out: Array,
    transpose_a: bool = False,
    transpose_b: bool = False,
    accumulate: bool = False,
) -> tuple[Array]:
    left, right = a.T if transpose_a else a, b.T if transpose_b else b
    return (_product(left, right, out if accumulate else None),)


def _dense_forward(x: Array, weights: Array, biases: Array, out: Array) -> tuple[Array]:
    return (_product(x, weights, biases),)


def _dense_backward_weights(x: Array, dz: Array, out: Array) -> tuple[Array]:
    return (_product(x.T, dz),)


def _dense_relu_forward(x: Array, weights: Array, biases: Array, out: Array) -> tuple[Array]:
    # ReLU does not increase a difference.
    return _dense_forward(x, weights, biases, out)


def _dense_backward_parameters(
    x: Array, dz: Array, out_dweights: Array, out_dbiases: Array
) -> tuple[Array, Array]:
    return (*_dense_backward_weights(x, dz, out_dweights), *_column_sum(dz, out_dbiases))


def _dense_relu_backward_inputs(dz: Array, weights: Array, y: Array, out: Array) -> tuple[Array]:
    # Exactly 0 on both sides where y is not positive.
    return (np.where(y > 0, _product(dz, weights.T), 0.0),)


def _dense_sgd_update(x: Array, dz: Array, learning_rate: float, weights: Array) -> tuple[Array]:
    # The gradients' difference times the rate, plus the update's own roundings.
    apart = _product(x.T, dz)
    rate = float(weights.dtype.type(learning_rate))
    size = times(_size(x.T), _size(dz))
    u = gamma(1, weights.dtype)
    result = abs(weights.astype(np.float64)) + rate * (size + apart)
    return (rate * apart + 3 * u * (result + rate * (size + apart)) + tiny(weights.dtype),)


def _dense_backward_inputs(dz: Array, weights: Array, out: Array) -> tuple[Array]:
    return (_product(dz, weights.T),)


def _column_sum(dz: Array, out: Array) -> tuple[Array]:
    # n terms, n - 1 sums, in any order; a subnormal sum is exact.
    size = _size(dz).sum(axis=0, keepdims=True)
    return (np.asarray(2 * gamma(len(dz) - 1, dz.dtype) * size),)


def _exact(*given: Any) -> tuple[float]:
    """For comparisons, copies and integers, or the same roundings on both sides."""
    return (0.0,)


def _sgd_update(weights: Array, dweights: Array, learning_rate: float) -> tuple[Array]:
    # Ours is one rounding, of the result; NumPy's is two, of the product and of the result.
    u = gamma(1, weights.dtype)
    product = float(weights.dtype.type(learning_rate)) * dweights.astype(np.float64)
    result = abs(weights.astype(np.float64) - product)
    size = abs(product)
    # NumPy's result is within u * size of the exact one; in float64 so is this one.
    return (u * size + 2 * u * (result + 2 * u * size) + tiny(weights.dtype),)


def _as_real(dtype: np.dtype[Any], *numbers: float) -> list[float]:
    """Numbers as both sides have them."""
    return [float(dtype.type(number)) for number in numbers]


def _lost(dtype: Any) -> float:
    """What a state may lose where it is 0 instead of a number below the normal ones."""
    return float(np.finfo(dtype).tiny)


def _moved(weights: Array, steps: Array, roundings: int, factors: float) -> Array:
    """Of w minus steps of known sizes: all roundings on either side are of their sum at most."""
    dtype = weights.dtype
    sizes = _size(weights) + steps
    return np.asarray(2 * gamma(roundings, dtype) * sizes + 4 * tiny(dtype) * (1 + factors))


def _sgd_decay_update(weights: Array, dweights: Array, rate: float, decay: float) -> tuple[Array]:
    rate, decay = _as_real(weights.dtype, rate, decay)
    size = _size(dweights) + decay * _size(weights)
    return (_moved(weights, rate * size, 4, rate),)


def _momentum_update(
    weights: Array,
    dweights: Array,
    states: Array,
    rate: float,
    ahead: float,
    momentum: float,
    decay: float,
) -> tuple[Array, Array]:
    dtype = weights.dtype
    rate, ahead, momentum, decay = _as_real(dtype, rate, ahead, momentum, decay)
    g = _size(dweights) + decay * _size(weights)
    before = momentum * _size(states).reshape(weights.shape)
    m_off = 2 * gamma(4, dtype) * (before + g) + 4 * tiny(dtype) + _lost(dtype)
    steps = ahead * g + rate * (before + g)
    side = _moved(weights, steps, 8, rate + ahead) + rate * _lost(dtype)
    return np.asarray(side), m_off.reshape(1, -1)


def _ratio(
    weights: Array,
    above: tuple[Array, Array],
    squares: tuple[Array, Array],
    rate: float,
    epsilon: float,
) -> Array:
    """Of w - rate a / (sqrt(v) + epsilon): a and v with how far each side may be of them."""
    dtype = weights.dtype
    t, u = tiny(dtype), gamma(1, dtype)
    v, v_off = squares
    # |sqrt a - sqrt b| is at most |a - b| / sqrt a and at most sqrt |a - b|; a root and a sum.
    root = np.sqrt(v)
    root_off = np.minimum(v_off / np.maximum(root, t), np.sqrt(v_off))
    below = root + epsilon
    below_off = root_off + gamma(2, dtype) * (below + root_off)
    least = below - below_off
    # The step: a quotient and a product; then the difference, of one rounding.
    size, off = above
    quotient = size / below
    quotient_off = (off + quotient * below_off + u * (size + off)) / least + t
    step, step_off = rate * quotient, rate * quotient_off
    step_off = step_off + u * (step + step_off) + t
    side = step_off + u * (_size(weights) + step + step_off) + t
    return np.asarray(2 * np.where(np.isinf(below), 0.0, side))  # infinite: neither side moves


def _squares(
    g: Array, g_off: Array, before: Array, share: float, dtype: Any
) -> tuple[Array, Array]:
    """``before`` plus share g^2, and how far each side may be of it: at most 6 roundings."""
    v = before + share * g * g
    off = gamma(6, dtype) * v + share * (2 * abs(g) + g_off) * g_off
    return v, off + 2 * tiny(dtype) + _lost(dtype)


def _decayed(weights: Array, dweights: Array, decay: float) -> tuple[Array, Array]:
    """dw + decay w, and how far each side may be of it."""
    decay, dtype = _as_real(weights.dtype, decay)[0], weights.dtype
    w, dw = decay * weights.astype(np.float64), dweights.astype(np.float64)
    return w + dw, gamma(2, dtype) * (abs(w) + abs(dw)) + tiny(dtype)


def _adagrad_update(
    weights: Array, dweights: Array, states: Array, rate: float, epsilon: float, decay: float
) -> tuple[Array, Array]:
    dtype = weights.dtype
    rate, epsilon = _as_real(dtype, rate, epsilon)
    g, g_off = _decayed(weights, dweights, decay)
    squares = _squares(g, g_off, _size(states).reshape(g.shape), 1.0, dtype)
    side = _ratio(weights, (abs(g), g_off), squares, rate, epsilon)
    return side, (2 * squares[1]).reshape(1, -1)


def _rmsprop_update(
    weights: Array,
    dweights: Array,
    states: Array,
    rate: float,
    alpha: float,
    epsilon: float,
    decay: float,
) -> tuple[Array, Array]:
    dtype = weights.dtype
    rate, alpha, rest, epsilon = _as_real(dtype, rate, alpha, 1 - alpha, epsilon)
    g, g_off = _decayed(weights, dweights, decay)
    squares = _squares(g, g_off, alpha * _size(states).reshape(g.shape), rest, dtype)
    side = _ratio(weights, (abs(g), g_off), squares, rate, epsilon)
    return side, (2 * squares[1]).reshape(1, -1)


def _adam_update(
    weights: Array,
    dweights: Array,
    states: Array,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> tuple[Array, Array]:
    return _adam_decay_update(
        weights, dweights, states, rate, beta1, beta2, epsilon, decay=0.0, shrink=0.0
    )


def _adam_decay_update(
    weights: Array,
    dweights: Array,
    states: Array,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    decay: float,
    shrink: float,
) -> tuple[Array, Array]:
    dtype = weights.dtype
    u, t = gamma(1, dtype), tiny(dtype)
    rate, beta1, rest1, beta2, rest2, epsilon, shrink = _as_real(
        dtype, rate, beta1, 1 - beta1, beta2, 1 - beta2, epsilon, shrink
    )
    g, g_off = _decayed(weights, dweights, decay) if decay else (dweights.astype(np.float64), 0.0)
    m0, v0 = states.astype(np.float64).reshape(2, *weights.shape)
    m, sizes = beta1 * m0 + rest1 * g, beta1 * abs(m0) + rest1 * abs(g)
    m_off = gamma(3, dtype) * (sizes + rest1 * g_off) + rest1 * g_off + t + _lost(dtype)
    squares = _squares(g, np.asarray(g_off), beta2 * abs(v0), rest2, dtype)
    side = _ratio(weights, (abs(m), m_off), squares, rate, epsilon)
    if shrink:  # a product and a difference before the step, on each side
        side = side + 2 * ((1 + u) * (2 * u * (1 + shrink) * _size(weights) + t))
    means = np.stack([2 * m_off, 2 * squares[1]]).reshape(2, -1)
    return np.asarray(side), np.asarray(means)


def _lion_update(
    weights: Array,
    dweights: Array,
    states: Array,
    rate: float,
    beta1: float,
    beta2: float,
    shrink: float,
) -> tuple[Array, Array]:
    dtype = weights.dtype
    rate, beta1, rest1, beta2, rest2, shrink = _as_real(
        dtype, rate, beta1, 1 - beta1, beta2, 1 - beta2, shrink
    )
    g, m0 = dweights.astype(np.float64), states.astype(np.float64).reshape(weights.shape)
    way, off = _mixed(beta1, m0, rest1, g, dtype)
    # Where the sign may be another on each side, the steps are apart by two of them.
    unsure = np.where(abs(way) <= off, 2 * rate, 0.0)
    m_off = 2 * (_mixed(beta2, m0, rest2, g, dtype)[1]) + _lost(dtype)
    steps = shrink * _size(weights) + rate
    return _moved(weights, steps, 4, rate) + unsure, m_off.reshape(1, -1)


def _mixed(stays: float, m: Array, comes: float, g: Array, dtype: Any) -> tuple[Array, Array]:
    """stays m + comes g, and how far each side may be of it."""
    off = gamma(3, dtype) * (stays * abs(m) + comes * abs(g)) + 2 * tiny(dtype)
    return stays * m + comes * g, off


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
    size = _size(x)
    return (size * below * (share + 2 * gamma(1, x.dtype)) + (8 * size + 2) * tiny(x.dtype),)


def _gelu_backward(x: Array, dy: Array, out: Array) -> tuple[Array]:
    # A sum of two terms of either sign, and a product, on each side.
    below, density, share, other = _gauss(x)
    dy64, size = _size(dy), _size(x)
    slope = np.where(density == 0, 0, size * density)
    roundings = 2 * gamma(3, x.dtype)
    off = below * (share + roundings) + slope * (other + roundings)
    small = np.where(density == 0, 8, 8 * (size + 1))
    return (dy64 * (off + small * tiny(x.dtype)) + 2 * tiny(x.dtype),)


def _exp(x: Array, out: Array) -> tuple[Array]:
    share = gamma(_OURS, x.dtype) + gamma(_NUMPYS[x.dtype], x.dtype)
    ulps = _OURS + _NUMPYS[x.dtype]  # subnormal numbers, where an ulp is tiny
    return (np.exp(x.astype(np.float64)) * share + ulps * tiny(x.dtype),)


def _log(x: Array, out: Array) -> tuple[Array]:
    share = gamma(_OURS, x.dtype) + gamma(_NUMPYS[x.dtype], x.dtype)
    return (abs(np.log(x.astype(np.float64))) * share,)


def _expm1(x: Array, out: Array) -> tuple[Array]:
    share = gamma(_OUR_EXPM1, x.dtype) + gamma(_NUMPYS[x.dtype], x.dtype)
    return (abs(np.expm1(x.astype(np.float64))) * share + 2 * tiny(x.dtype),)


def _tanh(x: Array, out: Array) -> tuple[Array]:
    share = gamma(_OUR_TANH, x.dtype) + gamma(_NUMPYS_TANH, x.dtype)
    return (abs(np.tanh(x.astype(np.float64))) * share + 2 * tiny(x.dtype),)


def _erf(x: Array, out: Array) -> tuple[Array]:
    # NumPy's side is C's, in float64, and rounded.
    share = gamma(_OUR_ERF, x.dtype) + gamma(_C_ERF, np.float64) + gamma(1, x.dtype)
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
    numpys = gamma(2 * _NUMPYS[x.dtype] + 1, x.dtype)
    ulps = _OURS + _NUMPYS[x.dtype] + 4  # below the normal numbers
    return (size * (gamma(_OUR_SOFTPLUS, x.dtype) + numpys) + ulps * tiny(x.dtype),)


def _softplus_backward(y: Array, dy: Array, out: Array) -> tuple[Array]:
    (apart,) = _expm1(-y, out)
    size = abs(np.expm1(-y.astype(np.float64))) + apart
    return (_size(dy) * (apart + 2 * gamma(1, y.dtype) * size) + 2 * tiny(y.dtype),)


def _sigmoid(x: Array) -> tuple[Array, Array, float, float]:
    """1 / (1 + e^-x) in float64 and 1 minus it; how far apart both sides may be of either.

    That is a share, and below the normal numbers a number. An exp, a sum and a quotient: the exp's
    error counts once at most, as e stands above and below.
    """
    e = np.exp(-abs(x.astype(np.float64)))
    share = gamma(_OURS + 2, x.dtype) + gamma(_NUMPYS[x.dtype] + 2, x.dtype)
    small = (_OURS + _NUMPYS[x.dtype] + 2) * tiny(x.dtype)
    return np.where(x < 0, e, 1) / (1 + e), np.where(x < 0, 1, e) / (1 + e), share, small


def _sigmoid_forward(x: Array, out: Array) -> tuple[Array]:
    s, _, share, small = _sigmoid(x)
    return (s * share + small,)


def _silu_forward(x: Array, out: Array) -> tuple[Array]:
    s, _, share, small = _sigmoid(x)
    off = s * (share + 2 * gamma(1, x.dtype)) + 2 * small
    return (_size(x) * off + 2 * tiny(x.dtype),)


def _silu_backward(x: Array, dy: Array, out: Array) -> tuple[Array]:
    # s (1 + x (1 - s)): s and 1 - s are off, and there are at most three roundings.
    s, rest, share, small = _sigmoid(x)
    size, dtype = _size(x), x.dtype
    return (_times_sum(dy, s, size * rest, share, 2 * gamma(4, dtype), small * (2 + 2 * size)),)


def _times_sum(dy: Array, s: Array, term: Array, share: Any, roundings: Any, small: Any) -> Array:
    """Of dy s (1 +- term), where both s and the term are off by a share."""
    off = s * (1 + term) * (2 * share + share * share + roundings) + small
    return np.asarray(_size(dy) * (off + 2 * tiny(dy.dtype)) + 2 * tiny(dy.dtype))


def _soft_step(x: Array) -> tuple[Array, Array, Array, Array, float]:
    """What GELU by tanh is made of, as `_sigmoid` has it, and the size of its slope.

    u, of two terms of one sign, is within 6 roundings; an exp makes their error |2 u| times as
    large. NumPy's side has float64's.
    """
    wide, scale = np.clip(x.astype(np.float64), -40, 40), 2 * math.sqrt(2 / math.pi)
    u = scale * (wide + 0.044715 * wide**3)
    e, count = np.exp(-abs(u)), 6 * abs(u)
    numpys = gamma(_NUMPYS[np.dtype(np.float64)] + 2 + 2 * count, np.float64)
    share = gamma(_OURS + 2 + count, x.dtype) + numpys
    slope = abs(scale * (wide + 3 * 0.044715 * wide**3))
    step, rest = np.where(x < 0, e, 1) / (1 + e), np.where(x < 0, 1, e) / (1 + e)
    return step, rest, slope, share, (_OURS + _NUMPYS[x.dtype] + 2) * tiny(x.dtype)


def _gelu_tanh_forward(x: Array, out: Array) -> tuple[Array]:
    step, _, _, share, small = _soft_step(x)
    off = step * (share + 2 * gamma(1, x.dtype)) + 2 * small
    return (_size(x) * off + 2 * tiny(x.dtype),)


def _gelu_tanh_backward(x: Array, dy: Array, out: Array) -> tuple[Array]:
    # As SiLU's, with a slope that is within 7 roundings.
    step, rest, slope, share, small = _soft_step(x)
    below = small * (2 + 2 * slope)
    return (_times_sum(dy, step, slope * rest, share, 2 * gamma(12, x.dtype), below),)


def softmax_roundings(n: int, dtype: np.dtype[Any]) -> tuple[int, int]:
    """The roundings of our and of NumPy's softmax: exp above and below, n - 1 sums, the division.

    z - max z is the same number on both sides. The exp are positive, so the relative error of their
    sum is the worst of theirs plus gamma(n - 1).
    """
    return 2 * _OURS + n, 2 * _NUMPYS[dtype] + n


def _softmax_forward(z: Array, out: Array) -> tuple[Array]:
    ours, numpys = softmax_roundings(z.shape[1], z.dtype)
    e = np.exp((z - z.max(axis=1, keepdims=True)).astype(np.float64))
    p = e / e.sum(axis=1, keepdims=True)
    share = gamma(ours, z.dtype) + gamma(numpys, z.dtype)
    # A subnormal exp has an error of some tiny, the sum of n times that; the sum is >= 1.
    ulps = (_OURS + _NUMPYS[z.dtype]) * (z.shape[1] + 1) + 2
    return (np.asarray(p * share + ulps * tiny(z.dtype)),)


def _softmax_backward(probabilities: Array, dy: Array, out: Array) -> tuple[Array]:
    # mean = sum p dy is a product of n terms; then a difference and a product, two roundings.
    n, dtype = dy.shape[1], dy.dtype
    p, dy64 = _size(probabilities), dy.astype(np.float64)
    signed = probabilities.astype(np.float64) * dy64
    off = gamma(n, dtype) * abs(signed).sum(axis=1, keepdims=True) + n * tiny(dtype)
    difference = abs(dy64 - signed.sum(axis=1, keepdims=True)) + 2 * off
    side = p * (off + gamma(2, dtype) * difference) + tiny(dtype)
    return (np.asarray(2 * side),)


def _log_softmax_forward(z: Array, out: Array) -> tuple[Array]:
    # As the loss of `_softmax_cross_entropy`, of each logit.
    dtype, n = z.dtype, z.shape[1]
    shifted = (z - z.max(axis=1, keepdims=True)).astype(np.float64)  # the same on both sides
    log_total = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    bound = 2 * tiny(dtype)
    for function in (_OURS, _NUMPYS[dtype]):
        total = gamma(function + n - 1, dtype)
        off = total + gamma(function, dtype) * (abs(log_total) + 2 * total)
        bound = bound + off + gamma(1, dtype) * (abs(shifted - log_total) + 2 * off)
    return (np.asarray(bound),)


def _log_softmax_backward(log_probabilities: Array, dy: Array, out: Array) -> tuple[Array]:
    # A sum of n terms and an exp; a product and a difference, of one rounding or two.
    n, dtype, size = dy.shape[1], dy.dtype, _size(dy)
    p, total = np.exp(log_probabilities.astype(np.float64)), size.sum(axis=1, keepdims=True)
    bound = 2 * tiny(dtype)
    for function in (_OURS, _NUMPYS[dtype]):
        off = p * gamma(function + n, dtype) + function * tiny(dtype)
        bound = bound + total * off + gamma(2, dtype) * (size + total * (p + off))
    return (np.asarray(bound),)


def target_rows(labels: Array, like: Array) -> Array:
    """Targets as rows in float64, from class indices or rows."""
    if labels.ndim == 2:
        return labels.astype(np.float64)
    return np.asarray(labels[:, None] == np.arange(like.shape[1])).astype(np.float64)


def _cross_entropy_rows(probabilities: Array, labels: Array, out: Any = None) -> tuple[Array]:
    # A term is a log and a product. Only terms with a target count: 0 adds no rounding.
    dtype = probabilities.dtype
    size = _cross_entropy_size(probabilities, labels)
    terms = np.count_nonzero(labels, axis=1, keepdims=True) if labels.ndim == 2 else 1
    share = gamma(_OURS + terms, dtype) + gamma(_NUMPYS[dtype] + terms, dtype)
    return (np.asarray(size * share + 2 * terms * tiny(dtype)),)


def _cross_entropy_size(probabilities: Array, labels: Array) -> Array:
    """Sum of t |log p|, (batch, 1), in float64."""
    t = target_rows(labels, probabilities)
    # Both sides floor p at the smallest normal number.
    p = np.maximum(probabilities, np.finfo(probabilities.dtype).tiny).astype(np.float64)
    return np.asarray(np.where(t == 0, 0, t * abs(np.log(p))).sum(axis=1, keepdims=True))


def _cross_entropy(probabilities: Array, labels: Array) -> tuple[Array]:
    # The mean of the rows' bounds, plus the bound of `mean_loss` on rows of that size.
    (rows,) = _cross_entropy_rows(probabilities, labels)
    (mean,) = _mean_loss(_cross_entropy_size(probabilities, labels) + rows)
    return (np.asarray(rows.mean() + mean),)


def _mean_loss(losses: Array) -> tuple[Array]:
    # In float64 whatever the dtype: batch - 1 sums and a division on each side.
    return (np.asarray(2 * gamma(len(losses), np.float64) * _size(losses).mean()),)


def _softmax_cross_entropy(
    z: Array, labels: Array, out: Array, out_losses: Array
) -> tuple[Array, Array]:
    dtype, n = z.dtype, z.shape[1]
    shifted = (z - z.max(axis=1, keepdims=True)).astype(np.float64)  # the same on both sides
    log_total = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    t = target_rows(labels, z)
    weight = t.sum(axis=1, keepdims=True)
    size = np.where(t == 0, 0, t * (log_total - shifted)).sum(axis=1, keepdims=True)
    terms = np.count_nonzero(t, axis=1, keepdims=True)
    bound = 2 * terms * tiny(dtype)
    for function in (_OURS, _NUMPYS[dtype]):
        # A total within m roundings of the exact one has a log within -log(1 - m u) <= gamma(m).
        total = gamma(function + n - 1, dtype)
        off = weight * (total + gamma(function, dtype) * (abs(log_total) + 2 * total))
        # Then log - shifted, times t, terms - 1 sums. Twice `off`: `size` is computed, too.
        bound = bound + off + gamma(terms + 1, dtype) * (size + 2 * off)
    return (*_softmax_forward(z, out), np.asarray(bound))


def _softmax_cross_entropy_gradient(
    z: Array, labels: Array, out: Array, out_losses: Array, out_right: Array
) -> tuple[Array, Array, float]:
    # (p - t) / batch: two roundings after p, which differs by `apart` between the sides.
    apart, losses = _softmax_cross_entropy(z, labels, out, out_losses)
    shifted = (z - z.max(axis=1, keepdims=True)).astype(np.float64)
    e = np.exp(shifted)
    difference = abs(e / e.sum(axis=1, keepdims=True) - target_rows(labels, z)) + apart
    sides = apart + 2 * gamma(2, z.dtype) * difference
    return np.asarray(sides / len(z) + tiny(z.dtype)), losses, 0.0


def _smoothed_cross_entropy_gradient(
    z: Array, labels: Array, label_smoothing: float, out: Array, out_losses: Array, out_right: Array
) -> tuple[Array, Array, float]:
    # The targets are the same two roundings on both sides.
    real = z.dtype.type
    t = target_rows(labels, z).astype(z.dtype) * real(1 - label_smoothing)
    t += real(label_smoothing / z.shape[1])
    return _softmax_cross_entropy_gradient(z, t, out, out_losses, out_right)


def _cross_entropy_gradient(
    probabilities: Array, labels: Array, out: Array, out_losses: Array, out_right: Array
) -> tuple[float, Array, float]:
    # -t / p / batch: the same two divisions on both sides.
    return 0.0, *_cross_entropy_rows(probabilities, labels), 0.0


def _sigmoid_cross_entropy_gradient(
    z: Array, targets: Array, out: Array, out_losses: Array, out_right: Array
) -> tuple[Array, Array, float]:
    # max(z, 0) - z t is the same on both sides. An exp that is off by some share makes log(1 + e)
    # off by at most that share; then a log1p, and a sum. A log1p of ours is within 2 ulp.
    dtype, n = z.dtype, z.shape[1]
    wide, t = z.astype(np.float64), targets.astype(np.float64)
    e, numpys = np.exp(-abs(wide)), _NUMPYS[dtype]
    ulps = (_OURS + numpys + 4) * tiny(dtype)
    logs, first = np.log1p(e), _size(np.where(z > 0, z, 0) - z * targets)
    off = logs * (gamma(_OURS + 5, dtype) + gamma(2 * numpys + 1, dtype)) + ulps
    off = off + 2 * gamma(1, dtype) * (first + off)
    sums = 2 * gamma(n, dtype) * (first + logs + off)
    # s and 1 - s: an exp above or below, a sum, a quotient; then products and a difference.
    s, rest = np.where(wide < 0, e, 1) / (1 + e), np.where(wide < 0, 1, e) / (1 + e)
    size = s * abs(1 - t) + rest * abs(t)
    share = gamma(2 * _OURS + 6, dtype) + gamma(2 * numpys + 6, dtype)
    slopes = (size * share + 2 * ulps) / z.size + tiny(dtype)
    return slopes, (off + sums).mean(axis=1, keepdims=True) + tiny(dtype), 0.0


def _binary_cross_entropy_gradient(
    probabilities: Array, targets: Array, out: Array, out_losses: Array, out_right: Array
) -> tuple[float, Array, float]:
    # Two logs of the same numbers, each times a target.
    dtype, n, least = (
        probabilities.dtype,
        probabilities.shape[1],
        np.finfo(probabilities.dtype).tiny,
    )
    p, q = np.maximum(probabilities, least), np.maximum(1 - probabilities, least)
    size = np.zeros(p.shape)
    for t, each in ((targets, p), (1 - targets, q)):
        size += np.where(t == 0, 0, _size(t) * abs(np.log(each.astype(np.float64))))
    share = gamma(_OURS + 2 + n, dtype) + gamma(_NUMPYS[dtype] + 2 + n, dtype)
    mean = np.asarray(size * share).mean(axis=1, keepdims=True)
    return 0.0, mean + 3 * tiny(dtype), 0.0


def _squared_error_gradient(
    y: Array, targets: Array, out: Array, out_losses: Array
) -> tuple[float, Array]:
    # Squares and slopes are the same on both sides. A sum of n of them, and a division.
    difference = y - targets
    return 0.0, _mean_of_numbers(difference * difference)


def _mean_of_numbers(values: Array) -> Array:
    """Of a row's mean of the same numbers on both sides: n - 1 sums, and a division."""
    share = 2 * gamma(values.shape[1], values.dtype)
    return np.asarray(share * _size(values).mean(axis=1, keepdims=True) + tiny(values.dtype))


def _absolute_error_gradient(
    y: Array, targets: Array, out: Array, out_losses: Array
) -> tuple[float, Array]:
    return 0.0, _mean_of_numbers(y - targets)


def _huber_gradient(
    y: Array, targets: Array, delta: float, out: Array, out_losses: Array
) -> tuple[float, Array]:
    # Halves are exact. So the square and the line are each the same roundings on both sides.
    d, most = y - targets, y.dtype.type(delta)
    return 0.0, _mean_of_numbers(np.where(abs(d) > most, most * (abs(d) - most / 2), d / 2 * d))


def _poisson_gradient(
    y: Array, targets: Array, out: Array, out_losses: Array
) -> tuple[Array, Array]:
    # An exp, and the difference, on each side; the product t y is the same on both.
    (exps,) = _exp(y, out)
    n, dtype = y.shape[1], y.dtype
    e, t = np.exp(y.astype(np.float64)), targets.astype(np.float64)
    product = (targets * y).astype(np.float64)
    u = gamma(1, dtype)
    values = abs(e - product) + exps
    off = exps + 2 * u * values
    mean = (off + 2 * gamma(n, dtype) * (values + off)).mean(axis=1, keepdims=True)
    slopes = exps + 2 * gamma(2, dtype) * (abs(e - t) + exps)
    return slopes / y.size + tiny(dtype), mean + tiny(dtype)


def _quantile_gradient(
    y: Array, targets: Array, q: float, out: Array, out_losses: Array
) -> tuple[float, Array]:
    d = y - targets
    return 0.0, _mean_of_numbers(np.where(d > 0, y.dtype.type(1 - q), y.dtype.type(-q)) * d)


def _uniform(key: int, stream: int, low: float, high: float, out: Array) -> tuple[float]:
    # u_i is exact. Ours is one rounding, of the result; NumPy's one of u_i * width and one more.
    u = gamma(1, out.dtype)
    start, width = (float(out.dtype.type(number)) for number in (low, high - low))
    size = max(abs(start), abs(start + width))
    return (u * abs(width) + 2 * u * (size + 2 * u * abs(width)) + tiny(out.dtype),)


_MOVED = {"rows": 128, "columns": 128, "q": 128 * 128}

CASES: Mapping[str, Case] = {
    "absolute_error_gradient": Case(_absolute_error_gradient, {"batch": 128, "n": 10}),
    "accuracy": Case(_exact, {"batch": 256, "n_classes": 10}),
    "adagrad_update": Case(_adagrad_update, _MOVED | {"s": 1}),
    "adam_decay_update": Case(_adam_decay_update, _MOVED | {"s": 2}),
    "adam_update": Case(_adam_update, _MOVED | {"s": 2}),
    "argmax_rows": Case(_exact, {"batch": 256, "n_classes": 10}),
    "binary_cross_entropy_gradient": Case(
        _binary_cross_entropy_gradient, {"batch": 128, "n": 10}, {"targets": _shares}
    ),
    "column_sum": Case(_column_sum, {"batch": 128, "n_out": 128}),
    "count_correct": Case(_exact, {"batch": 256, "n_classes": 10}),
    "cross_entropy": Case(_cross_entropy, {"batch": 128, "n_classes": 10}),
    # -t / p / batch: the same two divisions on both sides.
    "cross_entropy_backward": Case(_exact, {"batch": 128, "n_classes": 10}),
    "cross_entropy_gradient": Case(_cross_entropy_gradient, {"batch": 128, "n_classes": 10}),
    "cross_entropy_rows": Case(_cross_entropy_rows, {"batch": 128, "n_classes": 10}),
    "dense_backward_inputs": Case(
        _dense_backward_inputs, {"batch": 128, "n_in": 256, "n_out": 128}
    ),
    "dense_backward_parameters": Case(
        _dense_backward_parameters, {"batch": 128, "n_in": 256, "n_out": 128}
    ),
    "dense_backward_weights": Case(
        _dense_backward_weights, {"batch": 128, "n_in": 256, "n_out": 128}
    ),
    "dense_forward": Case(_dense_forward, {"batch": 128, "n_in": 256, "n_out": 128}),
    "dense_relu_backward_inputs": Case(
        _dense_relu_backward_inputs, {"batch": 128, "n_in": 256, "n_out": 128}, {"y": _whole}
    ),
    "dense_relu_forward": Case(_dense_relu_forward, {"batch": 128, "n_in": 256, "n_out": 128}),
    "dense_sgd_update": Case(_dense_sgd_update, {"batch": 128, "n_in": 256, "n_out": 128}),
    "dropout": Case(_exact, {"batch": 128, "n": 128}),
    # The same roundings on both sides.
    "elu_backward": Case(_exact, {"rows": 128, "columns": 128}, {"y": _whole}),
    "elu_forward": Case(_elu_forward, {"rows": 128, "columns": 128}, {"x": _wide}),
    "erf": Case(_erf, {"rows": 128, "columns": 128}),
    "exp": Case(_exp, {"rows": 128, "columns": 128}, {"x": _wide}),
    "expm1": Case(_expm1, {"rows": 128, "columns": 128}, {"x": _wide}),
    "gather_rows": Case(_exact, {"n": 1000, "k": 64, "batch": 128}),
    "gelu_backward": Case(_gelu_backward, {"rows": 128, "columns": 128}, {"x": _wide}),
    "gelu_forward": Case(_gelu_forward, {"rows": 128, "columns": 128}, {"x": _wide}),
    "gelu_tanh_backward": Case(_gelu_tanh_backward, {"rows": 128, "columns": 128}, {"x": _wide}),
    "gelu_tanh_forward": Case(_gelu_tanh_forward, {"rows": 128, "columns": 128}, {"x": _wide}),
    "huber_gradient": Case(_huber_gradient, {"batch": 128, "n": 10}),
    # The same product on both sides.
    "leaky_relu_backward": Case(_exact, {"rows": 128, "columns": 128}, {"y": _whole}),
    "leaky_relu_forward": Case(_exact, {"rows": 128, "columns": 128}, {"x": _whole}),
    "lion_update": Case(_lion_update, _MOVED | {"s": 1}, {"states": _normal}),
    "log": Case(_log, {"rows": 128, "columns": 128}, {"x": _positive}),
    "log_softmax_backward": Case(_log_softmax_backward, {"batch": 128, "n_classes": 10}),
    "log_softmax_forward": Case(_log_softmax_forward, {"batch": 128, "n_classes": 10}),
    "matmul": Case(_matmul, {"m": 192, "k": 192, "n": 192}),
    "mean_loss": Case(_mean_loss, {"batch": 128}),
    "momentum_update": Case(_momentum_update, _MOVED | {"s": 1}, {"states": _normal}),
    "permutation": Case(_exact, {"n": 1000}),
    "poisson_gradient": Case(_poisson_gradient, {"batch": 128, "n": 10}, {"y": _wide}),
    "quantile_gradient": Case(_quantile_gradient, {"batch": 128, "n": 10}),
    "relu_backward": Case(_exact, {"rows": 128, "columns": 128}, {"x": _whole}),
    "relu_forward": Case(_exact, {"rows": 128, "columns": 128}, {"x": _whole}),
    "selu_backward": Case(_exact, {"rows": 128, "columns": 128}, {"y": _whole}),
    "selu_forward": Case(_selu_forward, {"rows": 128, "columns": 128}, {"x": _wide}),
    "rmsprop_update": Case(_rmsprop_update, _MOVED | {"s": 1}),
    "sgd_decay_update": Case(_sgd_decay_update, {"rows": 128, "columns": 128}),
    "sgd_update": Case(_sgd_update, {"rows": 128, "columns": 128}),
    "sigmoid_backward": Case(_exact, {"rows": 128, "columns": 128}),
    "sigmoid_cross_entropy_gradient": Case(
        _sigmoid_cross_entropy_gradient, {"batch": 128, "n": 10}, {"targets": _shares}
    ),
    "sigmoid_forward": Case(_sigmoid_forward, {"rows": 128, "columns": 128}, {"x": _wide}),
    "silu_backward": Case(_silu_backward, {"rows": 128, "columns": 128}, {"x": _wide}),
    "silu_forward": Case(_silu_forward, {"rows": 128, "columns": 128}, {"x": _wide}),
    "smoothed_cross_entropy_gradient": Case(
        _smoothed_cross_entropy_gradient, {"batch": 128, "n_classes": 10}, {"z": _whole_wide}
    ),
    "softmax_backward": Case(_softmax_backward, {"batch": 128, "n_classes": 10}),
    "softmax_cross_entropy": Case(_softmax_cross_entropy, {"batch": 128, "n_classes": 10}),
    "softmax_cross_entropy_gradient": Case(
        _softmax_cross_entropy_gradient, {"batch": 128, "n_classes": 10}, {"z": _whole_wide}
    ),
    "softmax_forward": Case(_softmax_forward, {"batch": 128, "n_classes": 10}),
    # (p - t) / batch: the same difference and the same division on both sides.
    "softmax_minus_target": Case(_exact, {"batch": 128, "n_classes": 10}),
    "softplus_backward": Case(_softplus_backward, {"rows": 128, "columns": 128}, {"y": _positive}),
    "softplus_forward": Case(_softplus_forward, {"rows": 128, "columns": 128}, {"x": _wide}),
    "squared_error_gradient": Case(_squared_error_gradient, {"batch": 128, "n": 10}),
    "tanh": Case(_tanh, {"rows": 128, "columns": 128}),
    "tanh_backward": Case(_exact, {"rows": 128, "columns": 128}),
    "tanh_forward": Case(_tanh, {"rows": 128, "columns": 128}),
    "uniform": Case(_uniform, {"rows": 128, "columns": 128}),
}
"""How each public kernel is compared, by name."""
