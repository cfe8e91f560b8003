"""Bounds of batch and layer normalization, and of standardized columns.

Each side is within some distance of the exact result, so the two are within twice that. Mean and
variance come from k numbers, by sums in any order.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from layers.base import Array
from layers.comparison.bounds import draws
from layers.comparison.bounds.case import Case
from layers.comparison.bounds.rounding import exact, gamma, size_of, tiny


class _Moments(NamedTuple):
    """Exact moments of some numbers, and how far a side may be of each."""

    mean: Array
    mean_off: Array
    rest: Array
    rest_off: Array
    squares: Array
    squares_off: Array
    inverse: Array
    inverse_off: Array


def _moments(x: Array, axis: int, epsilon: float, dtype: Any) -> _Moments:
    """Of rows or columns of numbers in float64, which both sides have alike."""
    k, t = x.shape[axis], tiny(dtype)
    u = gamma(1, dtype)
    mean = x.mean(axis=axis, keepdims=True)
    # k - 1 sums and a division.
    mean_off = gamma(k, dtype) * abs(x).mean(axis=axis, keepdims=True) + t
    rest = x - mean
    rest_off = mean_off + u * (abs(rest) + mean_off)
    # A square and k - 1 sums of what is itself off; below the normal numbers a square loses t.
    squares = (rest**2).sum(axis=axis, keepdims=True)
    larger = ((abs(rest) + rest_off) ** 2).sum(axis=axis, keepdims=True)
    squares_off = larger - squares + gamma(k, dtype) * larger + k * t
    # Variance plus epsilon: a division and a sum. Then a root and a quotient, and 1 / sqrt moves
    # by no more than 1 / sqrt of the least that it may be.
    v = squares / k + epsilon
    v_off = squares_off / k + gamma(2, dtype) * (v + squares_off / k) + t
    inverse = 1 / np.sqrt(v)
    most = 1 / np.sqrt(np.maximum(v - v_off, t))
    inverse_off = most - inverse + gamma(2, dtype) * most + t
    return _Moments(*(mean, mean_off, rest, rest_off, squares, squares_off, inverse, inverse_off))


def _product_off(a: Array, a_off: Array, b: Array, b_off: Any, dtype: Any) -> Array:
    """How far a product, rounded once, may be where its factors may be off."""
    a, b = abs(a), abs(b)
    off = a * b_off + b * a_off + a_off * b_off
    return np.asarray(off + gamma(1, dtype) * (a * b + off) + tiny(dtype))


def _epsilon(x: Array, epsilon: float) -> float:
    return float(x.dtype.type(epsilon))


# --- batch normalization --------------------------------------------------------------------------


def _batch_norm_statistics(x: Array, weights: Array, epsilon: float, out: Array) -> tuple[Array]:
    dtype = x.dtype
    # Differences from the first row are rounded once, by both sides alike.
    differences = (x - x[:1]).astype(np.float64)
    some = _moments(differences, 0, _epsilon(x, epsilon), dtype)
    bound = np.zeros(out.shape)
    first = size_of(x[:1])
    bound[0] = some.mean_off + gamma(1, dtype) * (first + abs(some.mean) + some.mean_off)
    left = max(len(x) - 1, 1)
    off = some.squares_off / left
    bound[1] = off + gamma(1, dtype) * (some.squares / left + off) + tiny(dtype)
    bound[2] = some.inverse_off
    bound[3] = _product_off(some.inverse, some.inverse_off, size_of(weights), 0.0, dtype)
    return (2 * bound,)


def _fma_off(product: Array, result: Array, dtype: Any) -> Array:
    """The distance of one rounding of a sum and a product, from two."""
    u = gamma(1, dtype)
    size = abs(product)
    return np.asarray(u * size + 2 * u * (abs(result) + 2 * u * size) + 2 * tiny(dtype))


def _batch_norm_forward(x: Array, biases: Array, table: Array, out: Array) -> tuple[Array]:
    # The difference is the same on both sides; ours is a fused multiply-add of it.
    product = (x - table[0]).astype(np.float64) * table[3].astype(np.float64)
    return (_fma_off(product, product + biases.astype(np.float64), x.dtype),)


def _batch_norm_sums(x: Array, dy: Array, table: Array) -> tuple[Array]:
    dtype, k = x.dtype, len(x)
    hat = (x - table[0]) * table[2]  # the same on both sides
    sizes = np.stack([size_of(dy).sum(axis=0), (size_of(dy) * size_of(hat)).sum(axis=0)])
    off = 2 * gamma(k, dtype) * sizes + 2 * k * tiny(dtype)
    bound = np.zeros(table.shape)
    bound[4:6] = off
    bound[6:] = off / k + 2 * gamma(1, dtype) * (sizes + off) / k + tiny(dtype)
    return (bound,)


def _batch_norm_backward(x: Array, dy: Array, table: Array, out: Array) -> tuple[Array]:
    dtype = x.dtype
    hat = ((x - table[0]) * table[2]).astype(np.float64)
    product = hat * table[7].astype(np.float64)
    rest = (dy - table[6]).astype(np.float64) - product
    off, scale = _fma_off(product, rest, dtype), size_of(table[3])
    return (off * scale + 2 * gamma(1, dtype) * (abs(rest) + off) * scale + tiny(dtype),)


def _running_statistics_update(weights: Array, dweights: Array, momentum: float) -> tuple[Array]:
    dtype = weights.dtype
    comes, stays = float(dtype.type(momentum)), float(dtype.type(1 - momentum))
    sizes = stays * size_of(weights) + comes * size_of(dweights)
    return (2 * gamma(3, dtype) * sizes + 4 * tiny(dtype),)


# --- layer normalization --------------------------------------------------------------------------


def _hat(x: Array, epsilon: float) -> tuple[_Moments, Array, Array]:
    """Moments of rows; xhat, and how far a side may be of it."""
    some = _moments(x.astype(np.float64), 1, _epsilon(x, epsilon), x.dtype)
    hat = some.rest * some.inverse
    off = _product_off(some.rest, some.rest_off, some.inverse, some.inverse_off, x.dtype)
    return some, hat, off


def _layer_norm_normalized(x: Array, epsilon: float, out: Array) -> tuple[Array]:
    return (2 * _hat(x, epsilon)[2],)


def _layer_norm_forward(
    x: Array, weights: Array, biases: Array, epsilon: float, out: Array
) -> tuple[Array]:
    dtype = x.dtype
    _, hat, off = _hat(x, epsilon)
    w, b = size_of(weights), size_of(biases)
    product_off = _product_off(hat, off, w, 0.0, dtype)
    sizes = abs(hat) * w + product_off + b
    return (2 * (product_off + gamma(1, dtype) * sizes),)


def _layer_norm_backward(
    x: Array, dy: Array, weights: Array, epsilon: float, out: Array
) -> tuple[Array]:
    dtype, k, t = x.dtype, x.shape[1], tiny(x.dtype)
    some, hat, off = _hat(x, epsilon)
    g = (dy * weights).astype(np.float64)  # the same on both sides
    part = abs(g.mean(axis=1, keepdims=True))
    part_off = gamma(k, dtype) * abs(g).mean(axis=1, keepdims=True) + t
    sizes = (abs(g) * (abs(hat) + off)).mean(axis=1, keepdims=True)
    part_hat = abs((g * hat).mean(axis=1, keepdims=True))
    part_hat_off = (abs(g) * off).mean(axis=1, keepdims=True) + gamma(k + 1, dtype) * sizes + 2 * t
    product_off = _product_off(hat, off, part_hat, part_hat_off, dtype)
    size = abs(g) + part + part_off + abs(hat) * part_hat + product_off
    rest_off = part_off + product_off + gamma(3, dtype) * size + t
    return (2 * _product_off(size, rest_off, some.inverse, some.inverse_off, dtype),)


def _column_products(x: Array, dy: Array, out: Array) -> tuple[Array]:
    # A product and n - 1 sums, in any order.
    size = (size_of(x) * size_of(dy)).sum(axis=0, keepdims=True)
    return (np.asarray(2 * gamma(len(x), x.dtype) * size + 2 * len(x) * tiny(x.dtype)),)


# --- standardized columns -------------------------------------------------------------------------


def _standardize_statistics(x: Array, out: Array) -> tuple[Array]:
    dtype, k = x.dtype, len(x)
    differences = (x - x[:1]).astype(np.float64)
    some = _moments(differences, 0, 0.0, dtype)
    bound = np.zeros(out.shape)
    first = size_of(x[:1])
    bound[0] = some.mean_off + gamma(1, dtype) * (first + abs(some.mean) + some.mean_off)
    v, off = some.squares / k, some.squares_off / k
    off = off + gamma(1, dtype) * (v + off) + tiny(dtype)
    # |sqrt a - sqrt b| is at most |a - b| / sqrt a and at most sqrt |a - b|.
    root = np.sqrt(v)
    root_off = np.minimum(off / np.maximum(root, tiny(dtype)), np.sqrt(off))
    bound[1] = root_off + gamma(1, dtype) * (root + root_off)
    # Where one side may find 0, and so 1.
    bound[1] += np.where((v <= off) & (np.ptp(differences, axis=0) > 0), 1.0, 0.0).reshape(-1)
    return (2 * bound,)


_SIZES = {"batch": 128, "n": 128}

CASES: Mapping[str, Case] = {
    "batch_norm_backward": Case(_batch_norm_backward, _SIZES),
    "batch_norm_forward": Case(_batch_norm_forward, _SIZES),
    # The same sum, root, quotient and product on both sides.
    "batch_norm_running": Case(exact, {"n": 128}, {"running": draws.positive}),
    "batch_norm_statistics": Case(_batch_norm_statistics, _SIZES),
    "batch_norm_sums": Case(_batch_norm_sums, _SIZES),
    "column_products": Case(_column_products, _SIZES),
    "layer_norm_backward": Case(_layer_norm_backward, _SIZES),
    "layer_norm_forward": Case(_layer_norm_forward, _SIZES),
    "layer_norm_normalized": Case(_layer_norm_normalized, _SIZES),
    # A difference and a quotient, or a quotient, on both sides.
    "standardize_backward": Case(exact, _SIZES, {"statistics": draws.positive}),
    "standardize_forward": Case(exact, _SIZES, {"statistics": draws.positive}),
    "standardize_statistics": Case(_standardize_statistics, _SIZES),
    "running_statistics_update": Case(_running_statistics_update, {"rows": 128, "columns": 128}),
}
