"""Bounds of what is done to gradients: penalties of weights, and clipping."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from layers.base import Array
from layers.comparison.bounds import draws
from layers.comparison.bounds.case import Case
from layers.comparison.bounds.rounding import exact, gamma, size_of, tiny


def _rounded(size: Array, roundings: int, dtype: Any) -> Array:
    """Of a sum in float64 that is then rounded to the dtype, on both sides."""
    summed = gamma(roundings, np.float64)
    return np.asarray(2 * (summed + gamma(1, dtype) * (1 + summed)) * size + 2 * tiny(dtype))


def _row_penalties(weights: Array, l1: float, l2: float, out: Array) -> tuple[Array]:
    # A row's terms are squared, summed, multiplied and added: n + 4 roundings at most.
    w = size_of(weights)
    size = (l1 * w.sum(axis=1) + l2 * (w * w).sum(axis=1))[:, None]
    return (_rounded(size, weights.shape[1] + 4, out.dtype),)


def _row_norms(x: Array, out: Array) -> tuple[Array]:
    # So is a norm, less by its root; squares below float64's smallest number are lost.
    n = x.shape[1]
    size = np.sqrt((size_of(x) ** 2).sum(axis=1))[:, None]
    return (_rounded(size, n + 3, out.dtype) + 2 * np.sqrt(n * tiny(np.float64)),)


def _penalty_gradient(
    weights: Array, dweights: Array, l1: float, l2: float, out: Array
) -> tuple[Array]:
    # Ours has two roundings, of the fused product and of the sum; NumPy's three.
    first, second = (float(out.dtype.type(number)) for number in (l1, l2))
    size = size_of(dweights) + 2 * second * size_of(weights) + first
    return (2 * gamma(3, out.dtype) * size + 4 * tiny(out.dtype),)


CASES: Mapping[str, Case] = {
    # A factor by the same operations in float64, rounded once, and the same product.
    "clip_by_norm": Case(exact, {"batch": 128, "n": 128}, {"norm": draws.positive}),
    "clip_by_value": Case(exact, {"rows": 128, "columns": 128}),
    "penalty_gradient": Case(
        _penalty_gradient, {"rows": 128, "columns": 128}, {"weights": draws.whole}
    ),
    "row_norms": Case(_row_norms, {"batch": 128, "n": 128}),
    "row_penalties": Case(_row_penalties, {"batch": 128, "n": 128}),
}
