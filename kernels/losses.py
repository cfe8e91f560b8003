"""Losses of classes: the loss of each row and the gradient of the mean, one operation for both.

For logits z of one row, their softmax p and target probabilities t (a class index stands for a row
with one 1)::

    loss = - sum_j t_j log p_j = sum_j t_j (log sum_k exp(z_k - max z) - (z_j - max z))

and the gradient of the mean loss over the batch, in three lines::

    d loss / d p_j = - t_j / p_j,   d p_j / d z_k = p_j ([j = k] - p_k)
    d loss / d z_k = - sum_j t_j ([j = k] - p_k) = p_k sum_j t_j - t_k = p_k - t_k
    d mean / d z_k = (p_k - t_k) / batch          prediction - target, over the batch

The lecture that this project follows writes Actual - Prediction on its slide: that is the descent
direction, the negative of this. SGD subtracts the gradient, prediction - target.

A loss of classes also says of each row whether its largest score is the target's. Where a target is
0, the term is 0, whatever stands beside it.
"""

import numpy as np
from numba import prange

from kernels.entries import LossEntry, Number
from kernels.exp_log import SMALLEST_NORMAL, vector_log
from kernels.few_classes import SQUARE, one_hot, sixteen_rows, sixteen_rows_of_labels, transpose
from kernels.intrinsics import (
    LANES,
    ahead,
    as_item,
    for_dtype,
    integers_at,
    lane_numbers,
    load,
    local,
    pointer,
    row_of,
    select,
    splat,
    store,
    sum_of_lanes,
)
from kernels.mean import mean
from kernels.metrics import is_right
from kernels.runtime.families import LOSS, Operation
from kernels.runtime.jit import Array, door, inner, kernel
from kernels.softmax import softmax_row
from kernels.targets import Target, targets_from, wanted

# --- operations -----------------------------------------------------------------------------------


def _softmax_cross_entropy_of_few_labels(z, targets, out, losses, right, rows, n, batch, numbers):
    labels = integers_at(targets)
    for i in range(0, rows, LANES):
        outputs = ahead(out, i * n), ahead(losses, i), ahead(right, i)
        sizes = n, min(LANES, rows - i), batch
        sixteen_rows_of_labels(ahead(z, i * n), ahead(labels, i), *outputs, *sizes)


def _softmax_cross_entropy_of_few_rows(z, targets, out, losses, right, rows, n, batch, numbers):
    _few_rows(z, targets, out, losses, right, rows, n, batch, 0.0)


@inner
def _few_rows(z, targets, out, losses, right, rows, n, batch, smoothing):
    square = local(z, SQUARE)
    for i in range(0, rows, LANES):
        outputs = ahead(out, i * n), ahead(losses, i), ahead(right, i)
        sizes = n, min(LANES, rows - i), batch
        transpose(ahead(targets, i * n), n, sizes[1], square)
        sixteen_rows(ahead(z, i * n), square, *outputs, *sizes, smoothing)


def _softmax_cross_entropy_of_labels(z, targets, out, losses, right, rows, n, batch, numbers):
    labels = integers_at(targets)
    for i in range(rows):
        row, gradient = ahead(z, i * n), ahead(out, i * n)
        losses[i], right[i] = _softmax_row_loss(row, Target(labels[i], z), gradient, n, batch)


def _softmax_cross_entropy_of_rows(z, targets, out, losses, right, rows, n, batch, numbers):
    for i in range(rows):
        row, gradient = ahead(z, i * n), ahead(out, i * n)
        target = Target(np.int64(-1), ahead(targets, i * n))
        losses[i], right[i] = _softmax_row_loss(row, target, gradient, n, batch)


@inner
def _softmax_row_loss(z, target, out, n, batch):
    loss = softmax_cross_entropy_of(z, target, out, n)
    minus_target(out, target, out, n, batch)
    return loss, as_item(is_right(z, target, n), z)


def _smoothed_cross_entropy_of_few_labels(z, targets, out, losses, right, rows, n, batch, numbers):
    labels, square = integers_at(targets), local(z, SQUARE)
    for i in range(0, rows, LANES):
        outputs = ahead(out, i * n), ahead(losses, i), ahead(right, i)
        sizes = n, min(LANES, rows - i), batch
        one_hot(ahead(labels, i), n, sizes[1], square)
        sixteen_rows(ahead(z, i * n), square, *outputs, *sizes, numbers[0])


def _smoothed_cross_entropy_of_few_rows(z, targets, out, losses, right, rows, n, batch, numbers):
    _few_rows(z, targets, out, losses, right, rows, n, batch, numbers[0])


def _smoothed_cross_entropy_of_labels(z, targets, out, losses, right, rows, n, batch, numbers):
    labels = integers_at(targets)
    for i in range(rows):
        row, gradient = ahead(z, i * n), ahead(out, i * n)
        target = Target(labels[i], z)
        losses[i], right[i] = _smoothed_row_loss(row, target, gradient, n, batch, numbers[0])


def _smoothed_cross_entropy_of_rows(z, targets, out, losses, right, rows, n, batch, numbers):
    for i in range(rows):
        row, gradient = ahead(z, i * n), ahead(out, i * n)
        target = Target(np.int64(-1), ahead(targets, i * n))
        losses[i], right[i] = _smoothed_row_loss(row, target, gradient, n, batch, numbers[0])


@inner
def _smoothed_row_loss(z, target, out, n, batch, smoothing):
    """`_softmax_row_loss` with targets (1 - smoothing) t_j + smoothing / n."""
    top, total = softmax_row(z, out, n)
    log_total, partial = vector_log(splat(z, LANES, total)), splat(z, LANES, 0.0)
    scale, kept, spread = as_item(batch, z), 1.0 - smoothing, smoothing / n
    for j in range(0, n, LANES):
        t = targets_from(target, j, n) * kept + spread
        z_j, p = load(ahead(z, j), LANES, n - j, 0.0), load(ahead(out, j), LANES, n - j, 0.0)
        is_none = select(lane_numbers(t) < n - j, t, 0.0) == 0.0
        partial = partial + select(is_none, 0.0, t * (log_total - (z_j - top)))
        store((p - t) / scale, ahead(out, j), n - j)
    return sum_of_lanes(partial), as_item(is_right(z, target, n), z)


def _cross_entropy_of_labels(probabilities, targets, out, losses, right, rows, n, batch, numbers):
    labels = integers_at(targets)
    for i in range(rows):
        row, gradient = ahead(probabilities, i * n), ahead(out, i * n)
        target = Target(labels[i], probabilities)
        losses[i], right[i] = _probability_row_loss(row, target, gradient, n, batch)


def _cross_entropy_of_rows(probabilities, targets, out, losses, right, rows, n, batch, numbers):
    for i in range(rows):
        row, gradient = ahead(probabilities, i * n), ahead(out, i * n)
        target = Target(np.int64(-1), ahead(targets, i * n))
        losses[i], right[i] = _probability_row_loss(row, target, gradient, n, batch)


@inner
def _probability_row_loss(probabilities, target, out, n, batch):
    loss = cross_entropy_of(probabilities, target, n)
    cross_entropy_slope(probabilities, target, out, n, batch)
    return loss, as_item(is_right(probabilities, target, n), probabilities)


_RIGHT = {"out_right": "1 where the largest score is the target's, else 0."}

SOFTMAX_CROSS_ENTROPY = LossEntry(
    "softmax_cross_entropy_gradient",
    {
        "few labels": Operation(LOSS, _softmax_cross_entropy_of_few_labels, nanoseconds=2.0),
        "few rows": Operation(LOSS, _softmax_cross_entropy_of_few_rows, nanoseconds=2.0),
        "labels": Operation(LOSS, _softmax_cross_entropy_of_labels, nanoseconds=2.0),
        "rows": Operation(LOSS, _softmax_cross_entropy_of_rows, nanoseconds=2.0),
    },
    "Softmax and cross-entropy from logits: each row's loss, and (prediction - target) / batch.",
    scores="z",
    measures=_RIGHT,
)
SMOOTHED_CROSS_ENTROPY = LossEntry(
    "smoothed_cross_entropy_gradient",
    {
        "few labels": Operation(LOSS, _smoothed_cross_entropy_of_few_labels, nanoseconds=2.0),
        "few rows": Operation(LOSS, _smoothed_cross_entropy_of_few_rows, nanoseconds=2.0),
        "labels": Operation(LOSS, _smoothed_cross_entropy_of_labels, nanoseconds=2.0),
        "rows": Operation(LOSS, _smoothed_cross_entropy_of_rows, nanoseconds=2.0),
    },
    "`softmax_cross_entropy_gradient` with targets t (1 - label_smoothing) + label_smoothing / n.",
    scores="z",
    measures=_RIGHT,
    numbers=[Number("label_smoothing", ">= 0", "The share that all classes get alike; below 1.")],
)
CROSS_ENTROPY = LossEntry(
    "cross_entropy_gradient",
    {
        "labels": Operation(LOSS, _cross_entropy_of_labels, nanoseconds=1.0),
        "rows": Operation(LOSS, _cross_entropy_of_rows, nanoseconds=1.0),
    },
    "Cross-entropy of probabilities: each row's loss, and - t / p / batch.",
    scores="probabilities",
    measures=_RIGHT,
)
softmax_cross_entropy_gradient = SOFTMAX_CROSS_ENTROPY.kernel
smoothed_cross_entropy_gradient = SMOOTHED_CROSS_ENTROPY.kernel
cross_entropy_gradient = CROSS_ENTROPY.kernel


# --- the parts, each by itself --------------------------------------------------------------------


@door("probabilities (batch, n_classes), labels [batch < n_classes]")
def cross_entropy(probabilities: Array, labels: Array) -> float:
    """Categorical cross-entropy: the mean over the batch of - sum_j t_j log p_j.

    A probability below the dtype's smallest normal number counts as that number, so that the loss
    of a prediction that is certain and wrong is large, not infinite: 87.3 in float32.

    Parameters
    ----------
    probabilities : ndarray, (batch, n_classes)
    labels : ndarray
        Class indices (batch,), or target rows (batch, n_classes) that sum to 1.

    Returns
    -------
    float
        The denominator is the batch size.
    """
    losses = np.empty((probabilities.shape[0], 1), probabilities.dtype)
    cross_entropy_rows.bare(probabilities, labels, losses)
    return mean_loss.bare(losses)


@kernel(
    "probabilities (batch, n_classes), labels [batch < n_classes] -> out (batch, 1)",
    nanoseconds=lambda probabilities, labels, out: 0.5 * probabilities.size,
)
def cross_entropy_rows(probabilities: Array, labels: Array, out: Array) -> None:
    """Cross-entropy of each row: out_i = - sum_j t_ij log p_ij; see `cross_entropy`.

    Parameters
    ----------
    probabilities : ndarray, (batch, n_classes)
    labels : ndarray
        Class indices (batch,), or target rows (batch, n_classes) that sum to 1.
    out : ndarray, (batch, 1)
    """
    for i in prange(probabilities.shape[0]):
        row = row_of(probabilities, i)
        out[i, 0] = cross_entropy_of(row, wanted(labels, i, row), probabilities.shape[1])


@inner
def cross_entropy_of(probabilities, target, n):
    """`cross_entropy_rows` of one row of n."""
    partial = splat(probabilities, LANES, 0.0)
    for j in range(0, n, LANES):
        t = targets_from(target, j, n)
        p = _floored(load(ahead(probabilities, j), LANES, n - j, 1.0))
        partial = partial + select(t == 0.0, 0.0, t * vector_log(p))
    return -sum_of_lanes(partial)


@kernel(
    "probabilities (batch, n_classes), labels [batch < n_classes] -> out (batch, n_classes)",
    nanoseconds=lambda probabilities, labels, out: 0.5 * probabilities.size,
)
def cross_entropy_backward(probabilities: Array, labels: Array, out: Array) -> None:
    """Gradient of `cross_entropy` by the probabilities: out = - t / p / batch.

    Parameters
    ----------
    probabilities : ndarray, (batch, n_classes)
        Floored as in `cross_entropy`.
    labels : ndarray
        Class indices (batch,), or target rows (batch, n_classes) that sum to 1.
    out : ndarray, (batch, n_classes)
    """
    batch, n = probabilities.shape
    for i in prange(batch):
        row = row_of(probabilities, i)
        cross_entropy_slope(row, wanted(labels, i, row), row_of(out, i), n, batch)


@inner
def cross_entropy_slope(probabilities, target, out, n, batch):
    """`cross_entropy_backward` of one row of n."""
    scale = as_item(-batch, out)
    for j in range(0, n, LANES):
        t = targets_from(target, j, n)
        p = _floored(load(ahead(probabilities, j), LANES, n - j, 1.0))
        store(select(t == 0.0, 0.0, t / p / scale), ahead(out, j), n - j)


@kernel(
    "z (batch, n_classes), labels [batch < n_classes] -> out (batch, n_classes), "
    "out_losses (batch, 1)",
    nanoseconds=lambda z, labels, out, out_losses: 1.5 * z.size,
)
def softmax_cross_entropy(z: Array, labels: Array, out: Array, out_losses: Array) -> None:
    """Softmax and each row's cross-entropy from the logits, by log-sum-exp.

    A row's loss is finite where its logits lie no further apart than the dtype's largest number, so
    for all of at most half that in size.

    Parameters
    ----------
    z : ndarray, (batch, n_classes)
        Logits.
    labels : ndarray
        Class indices (batch,), or target rows (batch, n_classes) that sum to 1.
    out : ndarray, (batch, n_classes)
        The probabilities; `softmax_minus_target` makes the gradient of them.
    out_losses : ndarray, (batch, 1)
        `mean_loss` takes their mean.
    """
    for i in prange(z.shape[0]):
        row = row_of(z, i)
        target = wanted(labels, i, row)
        out_losses[i, 0] = softmax_cross_entropy_of(row, target, row_of(out, i), z.shape[1])


@inner
def softmax_cross_entropy_of(z, target, out, n):
    """`softmax_cross_entropy` of one row of n: its loss."""
    top, total = softmax_row(z, out, n)
    log_total = vector_log(splat(z, LANES, total))
    partial = splat(z, LANES, 0.0)
    for j in range(0, n, LANES):
        t = targets_from(target, j, n)
        z_j = load(ahead(z, j), LANES, n - j, 0.0)
        partial = partial + select(t == 0.0, 0.0, t * (log_total - (z_j - top)))
    return sum_of_lanes(partial)


@kernel(
    "probabilities (batch, n_classes), labels [batch < n_classes] -> out (batch, n_classes)",
    nanoseconds=lambda probabilities, labels, out: 0.3 * probabilities.size,
)
def softmax_minus_target(probabilities: Array, labels: Array, out: Array) -> None:
    """Gradient of mean cross-entropy by the logits: out = (prediction - target) / batch.

    Parameters
    ----------
    probabilities : ndarray, (batch, n_classes)
        The output of `softmax_forward` or `softmax_cross_entropy`.
    labels : ndarray
        Class indices (batch,), or target rows (batch, n_classes) that sum to 1.
    out : ndarray, (batch, n_classes)
        The mean over the batch is taken here, once; no later kernel divides again.
    """
    batch, n = probabilities.shape
    for i in prange(batch):
        row = row_of(probabilities, i)
        minus_target(row, wanted(labels, i, row), row_of(out, i), n, batch)


@inner
def minus_target(probabilities, target, out, n, batch):
    """`softmax_minus_target` of one row of n."""
    scale = as_item(batch, out)
    for j in range(0, n, LANES):
        t = targets_from(target, j, n)
        p = load(ahead(probabilities, j), LANES, n - j, 0.0)
        store((p - t) / scale, ahead(out, j), n - j)


@kernel("losses (batch, 1)")
def mean_loss(losses: Array) -> float:
    """Mean of a column of losses, summed in float64: 16 fixed partial sums, one fixed tree.

    Parameters
    ----------
    losses : ndarray, (batch, 1)

    Returns
    -------
    float
        The denominator is the batch size.
    """
    return mean(pointer(losses), losses.shape[0])


@inner
def _floored(p):
    """At least the smallest normal number; NaN stays."""
    smallest = for_dtype(p, SMALLEST_NORMAL)
    return select(p < smallest, smallest, p)
