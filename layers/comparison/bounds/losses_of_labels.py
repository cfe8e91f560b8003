"""Bounds of softmax and of losses whose targets are classes or labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from layers.base import Array
from layers.comparison.bounds import draws
from layers.comparison.bounds.case import Case
from layers.comparison.bounds.rounding import NUMPYS, OURS, exact, gamma, size_of, tiny


def softmax_roundings(n: int, dtype: np.dtype[Any]) -> tuple[int, int]:
    """The roundings of our and of NumPy's softmax: exp above and below, n - 1 sums, the division.

    z - max z is the same number on both sides. The exp are positive, so the relative error of their
    sum is the worst of theirs plus gamma(n - 1).
    """
    return 2 * OURS + n, 2 * NUMPYS[dtype] + n


def _softmax_forward(z: Array, out: Array) -> tuple[Array]:
    ours, numpys = softmax_roundings(z.shape[1], z.dtype)
    e = np.exp((z - z.max(axis=1, keepdims=True)).astype(np.float64))
    p = e / e.sum(axis=1, keepdims=True)
    share = gamma(ours, z.dtype) + gamma(numpys, z.dtype)
    # A subnormal exp has an error of some tiny, the sum of n times that; the sum is >= 1.
    ulps = (OURS + NUMPYS[z.dtype]) * (z.shape[1] + 1) + 2
    return (np.asarray(p * share + ulps * tiny(z.dtype)),)


def _softmax_backward(probabilities: Array, dy: Array, out: Array) -> tuple[Array]:
    # mean = sum p dy is a product of n terms; then a difference and a product, two roundings.
    n, dtype = dy.shape[1], dy.dtype
    p, dy64 = size_of(probabilities), dy.astype(np.float64)
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
    for function in (OURS, NUMPYS[dtype]):
        total = gamma(function + n - 1, dtype)
        off = total + gamma(function, dtype) * (abs(log_total) + 2 * total)
        bound = bound + off + gamma(1, dtype) * (abs(shifted - log_total) + 2 * off)
    return (np.asarray(bound),)


def _log_softmax_backward(log_probabilities: Array, dy: Array, out: Array) -> tuple[Array]:
    # A sum of n terms and an exp; a product and a difference, of one rounding or two.
    n, dtype, size = dy.shape[1], dy.dtype, size_of(dy)
    p, total = np.exp(log_probabilities.astype(np.float64)), size.sum(axis=1, keepdims=True)
    bound = 2 * tiny(dtype)
    for function in (OURS, NUMPYS[dtype]):
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
    share = gamma(OURS + terms, dtype) + gamma(NUMPYS[dtype] + terms, dtype)
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
    return (np.asarray(2 * gamma(len(losses), np.float64) * size_of(losses).mean()),)


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
    for function in (OURS, NUMPYS[dtype]):
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
    e, numpys = np.exp(-abs(wide)), NUMPYS[dtype]
    ulps = (OURS + numpys + 4) * tiny(dtype)
    logs, first = np.log1p(e), size_of(np.where(z > 0, z, 0) - z * targets)
    off = logs * (gamma(OURS + 5, dtype) + gamma(2 * numpys + 1, dtype)) + ulps
    off = off + 2 * gamma(1, dtype) * (first + off)
    sums = 2 * gamma(n, dtype) * (first + logs + off)
    # s and 1 - s: an exp above or below, a sum, a quotient; then products and a difference.
    s, rest = np.where(wide < 0, e, 1) / (1 + e), np.where(wide < 0, 1, e) / (1 + e)
    size = s * abs(1 - t) + rest * abs(t)
    share = gamma(2 * OURS + 6, dtype) + gamma(2 * numpys + 6, dtype)
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
        size += np.where(t == 0, 0, size_of(t) * abs(np.log(each.astype(np.float64))))
    share = gamma(OURS + 2 + n, dtype) + gamma(NUMPYS[dtype] + 2 + n, dtype)
    mean = np.asarray(size * share).mean(axis=1, keepdims=True)
    return 0.0, mean + 3 * tiny(dtype), 0.0


CASES: Mapping[str, Case] = {
    "binary_cross_entropy_gradient": Case(
        _binary_cross_entropy_gradient, {"batch": 128, "n": 10}, {"targets": draws.shares}
    ),
    "cross_entropy": Case(_cross_entropy, {"batch": 128, "n_classes": 10}),
    # -t / p / batch: the same two divisions on both sides.
    "cross_entropy_backward": Case(exact, {"batch": 128, "n_classes": 10}),
    "cross_entropy_gradient": Case(_cross_entropy_gradient, {"batch": 128, "n_classes": 10}),
    "cross_entropy_rows": Case(_cross_entropy_rows, {"batch": 128, "n_classes": 10}),
    "log_softmax_backward": Case(_log_softmax_backward, {"batch": 128, "n_classes": 10}),
    "log_softmax_forward": Case(_log_softmax_forward, {"batch": 128, "n_classes": 10}),
    "mean_loss": Case(_mean_loss, {"batch": 128}),
    "sigmoid_cross_entropy_gradient": Case(
        _sigmoid_cross_entropy_gradient, {"batch": 128, "n": 10}, {"targets": draws.shares}
    ),
    "smoothed_cross_entropy_gradient": Case(
        _smoothed_cross_entropy_gradient, {"batch": 128, "n_classes": 10}, {"z": draws.whole_wide}
    ),
    "softmax_backward": Case(_softmax_backward, {"batch": 128, "n_classes": 10}),
    "softmax_cross_entropy": Case(_softmax_cross_entropy, {"batch": 128, "n_classes": 10}),
    "softmax_cross_entropy_gradient": Case(
        _softmax_cross_entropy_gradient, {"batch": 128, "n_classes": 10}, {"z": draws.whole_wide}
    ),
    "softmax_forward": Case(_softmax_forward, {"batch": 128, "n_classes": 10}),
    # (p - t) / batch: the same difference and the same division on both sides.
    "softmax_minus_target": Case(exact, {"batch": 128, "n_classes": 10}),
}
