"""Bounds of what is left: metrics, weights of rows, batches and random numbers."""

from collections.abc import Mapping

import numpy as np

from layers.base import Array
from layers.comparison.bounds import draws
from layers.comparison.bounds.case import Case
from layers.comparison.bounds.rounding import exact, gamma, size_of, tiny


def _uniform(key: int, stream: int, low: float, high: float, out: Array) -> tuple[float]:
    # u_i is exact. Ours is one rounding, of the result; NumPy's one of u_i * width and one more.
    u = gamma(1, out.dtype)
    start, width = (float(out.dtype.type(number)) for number in (low, high - low))
    size = max(abs(start), abs(start + width))
    return (u * abs(width) + 2 * u * (size + 2 * u * abs(width)) + tiny(out.dtype),)


def _weighted_mean(values: Array, weights: Array) -> tuple[Array]:
    # In float64 whatever the dtype. On each side a product and batch - 1 sums above, batch - 1 sums
    # below, a division; the weights are not negative.
    w = weights.astype(np.float64)
    size = (w * size_of(values)).sum() / w.sum()
    return (np.asarray(2 * gamma(2 * len(values), np.float64) * size),)


def _f1_score(scores: Array, targets: Array, weights: Array, threshold: float) -> tuple[float]:
    # Which labels are right is the same on both sides, and the result is at most 1. On each side
    # it is a quotient of two sums of weights, each in float64, of up to as many terms as labels.
    return (2 * gamma(2 * scores.size + 3, np.float64),)


def _r2_score(y: Array, targets: Array, weights: Array) -> tuple[Array]:
    # All in float64. Each sum of squares is of positive terms: a difference, a square, a weight,
    # batch - 1 sums. A mean that is off by d adds W d^2 to the spread around it, W the sum of
    # weights; d is a share of the mean's distance from the first target, and a last sum.
    batch, w, t = len(y), weights.astype(np.float64), targets.astype(np.float64)
    above = (w * abs(t - t[0])).sum(axis=0) / w.sum()
    d = gamma(2 * batch + 3, np.float64) * above + gamma(1, np.float64) * (abs(t[0]) + above)
    mean = t[0] + (w * (t - t[0])).sum(axis=0) / w.sum()
    spread, left = (w * (t - mean) ** 2).sum(axis=0), (w * (t - y) ** 2).sum(axis=0)
    # Squares below the normal numbers have lost their digits. Of targets that are all alike, both
    # sides have 0 or 1.
    alike, lost = above == 0, spread < 2**60 * np.finfo(np.float64).tiny
    with np.errstate(divide="ignore", invalid="ignore"):
        share = gamma(2 * batch + 10, np.float64) + w.sum() * d * d / spread
        each = np.where(lost, np.inf, 2 * (1 + left / spread) * share)
    return (np.asarray(np.where(alike, 0, each).mean()),)


CASES: Mapping[str, Case] = {
    "accuracy": Case(exact, {"batch": 256, "n_classes": 10}),
    "add": Case(exact, {"rows": 128, "columns": 128}),
    "argmax_rows": Case(exact, {"batch": 256, "n_classes": 10}),
    "count_correct": Case(exact, {"batch": 256, "n_classes": 10}),
    "dropout": Case(exact, {"batch": 128, "n": 128}),
    "f1_score": Case(
        _f1_score,
        {"batch": 256, "n": 3},
        {"scores": draws.shares, "targets": draws.shares, "weights": draws.positive},
    ),
    "gather_rows": Case(exact, {"n": 1000, "k": 64, "batch": 128}),
    "permutation": Case(exact, {"n": 1000}),
    "r2_score": Case(_r2_score, {"batch": 256, "n": 3}, {"weights": draws.positive}),
    "top_k_rows": Case(exact, {"batch": 256, "n_classes": 10}),
    "uniform": Case(_uniform, {"rows": 128, "columns": 128}),
    "weighted_mean": Case(_weighted_mean, {"batch": 128}, {"weights": draws.positive}),
    # The same two products on both sides.
    "weighted_rows": Case(exact, {"batch": 128, "n": 10}, {"weights": draws.positive}),
}
