"""Bounds on the difference of the parameters after a training step on each backend."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from layers.base import Array
from layers.comparison.bounds import settled
from layers.comparison.bounds.losses_of_labels import softmax_roundings, target_rows
from layers.comparison.bounds.products import times
from layers.comparison.bounds.rounding import gamma, tiny


class _Range(NamedTuple):
    """A quantity that both sides compute: its approximate value, and a bound on the difference."""

    value: Array
    apart: Array

    @property
    def most(self) -> Array:
        """A bound on the magnitude on both sides."""
        return np.asarray(abs(self.value) + self.apart)

    @property
    def transposed(self) -> "_Range":
        return _Range(self.value.T, self.apart.T)


def _known(array: Array) -> _Range:
    """The range of an input, which is the same on both sides."""
    return _Range(array.astype(np.float64), np.zeros(array.shape))


def step_bounds(
    parameters: Mapping[str, Array], x: Array, labels: Array, learning_rate: float
) -> list[Array]:
    """Bounds on the parameters' differences after one step from equal parameters.

    Each quantity of the step has a value, in float64, and a bound on the difference: the propagated
    bounds of its inputs, plus the operation's own rounding.
    """
    dtype = x.dtype
    inputs = _known(x)
    w1, b1, w2, b2 = (_known(array) for array in parameters.values())
    z1 = _product_range(inputs, w1, dtype, added=b1)
    z2 = _product_range(_relu_range(z1, z1), w2, dtype, added=b2)
    dz2 = _loss_gradient_range(z2, labels, dtype)
    dz1 = _relu_range(z1, _product_range(dz2, w2.transposed, dtype))
    gradients = [
        *(_product_range(inputs.transposed, dz1, dtype), _sum_range(dz1, dtype)),
        *(_product_range(_relu_range(z1, z1).transposed, dz2, dtype), _sum_range(dz2, dtype)),
    ]
    updates = zip((w1, b1, w2, b2), gradients, strict=True)
    return [
        settled(_update_bound(before, by, learning_rate, dtype), {"x": x}) for before, by in updates
    ]


def _product_range(a: _Range, b: _Range, dtype: Any, added: _Range | None = None) -> _Range:
    """|a b - a' b'| <= |a - a'| |b| + |a'| |b - b'|, and twice gamma(k) for the roundings."""
    k = a.value.shape[1]
    value, size = times(a.value, b.value), times(a.most, b.most)
    apart = times(a.apart, b.most) + times(a.most, b.apart)
    if added is not None:
        value, size, k = value + added.value, size + added.most, k + 1
    return _Range(value, apart + 2 * gamma(k, dtype) * size + 2 * k * tiny(dtype))


def _relu_range(z: _Range, through: _Range) -> _Range:
    """``through`` where z > 0, else 0; near z = 0 the sides may differ."""
    value = np.where(z.value > 0, through.value, 0)
    unsure = abs(z.value) <= z.apart
    apart = np.where(unsure, through.most, np.where(z.value > 0, through.apart, 0))
    return _Range(value, apart)


def _loss_gradient_range(z: _Range, labels: Array, dtype: np.dtype[Any]) -> _Range:
    """(softmax(z) - t) / batch.

    Logits that differ by at most d, shifts included, change an exp and a row's sum by factors of at
    most e^d; the roundings of softmax are added.
    """
    batch, n = z.value.shape
    shifted = z.value - z.value.max(axis=1, keepdims=True)
    d = 2 * z.apart.max(axis=1, keepdims=True)
    d = d + 2 * gamma(1, dtype) * (abs(shifted).max(axis=1, keepdims=True) + d)
    e = np.exp(shifted)
    p = e / e.sum(axis=1, keepdims=True)
    roundings = sum(gamma(count, dtype) for count in softmax_roundings(n, dtype))
    change = 2 * d + roundings
    apart = p * np.exp(change) * np.expm1(change)
    value = p - target_rows(labels, z.value)
    # The difference and the division: two roundings on each side.
    own = 2 * gamma(2, dtype) * (abs(value) + apart)
    return _Range(value / batch, (apart + own) / batch + tiny(dtype))


def _sum_range(dz: _Range, dtype: Any) -> _Range:
    apart = dz.apart.sum(axis=0, keepdims=True)
    size = dz.most.sum(axis=0, keepdims=True)
    own = 2 * gamma(len(dz.value) - 1, dtype) * size
    return _Range(dz.value.sum(axis=0, keepdims=True), apart + own)


def _update_bound(weights: _Range, gradient: _Range, learning_rate: float, dtype: Any) -> Array:
    """The bound of `sgd_update` on gradients that differ."""
    rate = float(np.dtype(dtype).type(learning_rate))
    u = gamma(1, dtype)
    size = rate * gradient.most
    result = abs(weights.value - rate * gradient.value) + rate * gradient.apart
    own = u * size + 2 * u * (result + 2 * u * size)
    return np.asarray(rate * gradient.apart + own + tiny(dtype))
