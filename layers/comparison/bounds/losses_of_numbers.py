"""Bounds of losses whose targets are numbers."""

from collections.abc import Mapping

import numpy as np

from layers.base import Array
from layers.comparison.bounds import draws
from layers.comparison.bounds.activations import exp_bound
from layers.comparison.bounds.case import Case
from layers.comparison.bounds.rounding import gamma, size_of, tiny


def _squared_error_gradient(
    y: Array, targets: Array, out: Array, out_losses: Array
) -> tuple[float, Array]:
    # Squares and slopes are the same on both sides. A sum of n of them, and a division.
    difference = y - targets
    return 0.0, _mean_of_numbers(difference * difference)


def _mean_of_numbers(values: Array) -> Array:
    """Of a row's mean of the same numbers on both sides: n - 1 sums, and a division."""
    share = 2 * gamma(values.shape[1], values.dtype)
    return np.asarray(share * size_of(values).mean(axis=1, keepdims=True) + tiny(values.dtype))


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
    (exps,) = exp_bound(y, out)
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


CASES: Mapping[str, Case] = {
    "absolute_error_gradient": Case(_absolute_error_gradient, {"batch": 128, "n": 10}),
    "huber_gradient": Case(_huber_gradient, {"batch": 128, "n": 10}),
    "poisson_gradient": Case(_poisson_gradient, {"batch": 128, "n": 10}, {"y": draws.wide}),
    "quantile_gradient": Case(_quantile_gradient, {"batch": 128, "n": 10}),
    "squared_error_gradient": Case(_squared_error_gradient, {"batch": 128, "n": 10}),
}
