"""Bounds of products: the matrix product and the passes of a dense layer."""

from collections.abc import Mapping

import numpy as np

from kernels import reference
from layers.base import Array
from layers.comparison.bounds import draws
from layers.comparison.bounds.case import Case
from layers.comparison.bounds.rounding import gamma, size_of, tiny

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
    size = times(size_of(a), size_of(b))
    underflow = 2 * k * tiny(a.dtype)
    if added is None:
        return np.asarray(2 * gamma(k, a.dtype) * size + underflow)
    return np.asarray(2 * gamma(k + 1, a.dtype) * (size + size_of(added)) + underflow)


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
    size = times(size_of(x.T), size_of(dz))
    u = gamma(1, weights.dtype)
    result = abs(weights.astype(np.float64)) + rate * (size + apart)
    return (rate * apart + 3 * u * (result + rate * (size + apart)) + tiny(weights.dtype),)


def _dense_backward_inputs(dz: Array, weights: Array, out: Array) -> tuple[Array]:
    return (_product(dz, weights.T),)


def _column_sum(dz: Array, out: Array) -> tuple[Array]:
    # n terms, n - 1 sums, in any order; a subnormal sum is exact.
    size = size_of(dz).sum(axis=0, keepdims=True)
    return (np.asarray(2 * gamma(len(dz) - 1, dz.dtype) * size),)


CASES: Mapping[str, Case] = {
    "column_sum": Case(_column_sum, {"batch": 128, "n_out": 128}),
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
        _dense_relu_backward_inputs, {"batch": 128, "n_in": 256, "n_out": 128}, {"y": draws.whole}
    ),
    "dense_relu_forward": Case(_dense_relu_forward, {"batch": 128, "n_in": 256, "n_out": 128}),
    "dense_sgd_update": Case(_dense_sgd_update, {"batch": 128, "n_in": 256, "n_out": 128}),
    "matmul": Case(_matmul, {"m": 192, "k": 192, "n": 192}),
}
