"""Bounds of the steps of optimizers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from layers.base import Array
from layers.comparison.bounds import draws
from layers.comparison.bounds.case import Case
from layers.comparison.bounds.rounding import gamma, size_of, tiny


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
    sizes = size_of(weights) + steps
    return np.asarray(2 * gamma(roundings, dtype) * sizes + 4 * tiny(dtype) * (1 + factors))


def _sgd_decay_update(weights: Array, dweights: Array, rate: float, decay: float) -> tuple[Array]:
    rate, decay = _as_real(weights.dtype, rate, decay)
    size = size_of(dweights) + decay * size_of(weights)
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
    g = size_of(dweights) + decay * size_of(weights)
    before = momentum * size_of(states).reshape(weights.shape)
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
    side = step_off + u * (size_of(weights) + step + step_off) + t
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
    squares = _squares(g, g_off, size_of(states).reshape(g.shape), 1.0, dtype)
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
    squares = _squares(g, g_off, alpha * size_of(states).reshape(g.shape), rest, dtype)
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
        side = side + 2 * ((1 + u) * (2 * u * (1 + shrink) * size_of(weights) + t))
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
    steps = shrink * size_of(weights) + rate
    return _moved(weights, steps, 4, rate) + unsure, m_off.reshape(1, -1)


def _mixed(stays: float, m: Array, comes: float, g: Array, dtype: Any) -> tuple[Array, Array]:
    """stays m + comes g, and how far each side may be of it."""
    off = gamma(3, dtype) * (stays * abs(m) + comes * abs(g)) + 2 * tiny(dtype)
    return stays * m + comes * g, off


_MOVED = {"rows": 128, "columns": 128, "q": 128 * 128}


CASES: Mapping[str, Case] = {
    "adagrad_update": Case(_adagrad_update, _MOVED | {"s": 1}),
    "adam_decay_update": Case(_adam_decay_update, _MOVED | {"s": 2}),
    "adam_update": Case(_adam_update, _MOVED | {"s": 2}),
    "lion_update": Case(_lion_update, _MOVED | {"s": 1}, {"states": draws.normal}),
    "momentum_update": Case(_momentum_update, _MOVED | {"s": 1}, {"states": draws.normal}),
    "rmsprop_update": Case(_rmsprop_update, _MOVED | {"s": 1}),
    "sgd_decay_update": Case(_sgd_decay_update, {"rows": 128, "columns": 128}),
    "sgd_update": Case(_sgd_update, {"rows": 128, "columns": 128}),
}
