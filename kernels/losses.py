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
from kernels.exp_log import SMALLEST_NORMAL, vector_exp, vector_log
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
from kernels.product.microkernel import Strided
from kernels.product.packing import pack
from kernels.runtime.families import LOSS, Operation
from kernels.runtime.jit import Array, door, inner, kernel
from kernels.softmax import softmax_row
from kernels.targets import Target, targets_from, wanted

_SQUARE = LANES * LANES

# --- operations -----------------------------------------------------------------------------------


def _softmax_cross_entropy_of_few_labels(z, targets, out, losses, right, rows, n, batch, numbers):
    labels = integers_at(targets)
    for i in range(0, rows, LANES):
        outputs = ahead(out, i * n), ahead(losses, i), ahead(right, i)
        count = min(LANES, rows - i)
        _sixteen_rows(ahead(z, i * n), ahead(labels, i), *outputs, n, count, batch)


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


@inner
def _sixteen_rows(z, labels, out, losses, right, n, count, batch):
    """The loss of ``count`` <= 16 rows of n <= 16 logits, and its gradient: lanes along the batch.

    `softmax_cross_entropy_of` has its lanes along a row. Ten classes fill ten of sixteen, and the
    maximum and the sums of a row go across lanes, one step waiting for the other. Here sixteen rows
    are transposed first, so that a vector holds one class of sixteen rows::

        z (16, n)                        square (n, 16)
        row 0    a b c                   class 0    a d g ...
        row 1    d e f      transposed   class 1    b e h ...
        row 2    g h i                   class 2    c f i ...

    The bits are the same: the same operations on each number, and a sum over classes by the same
    tree.
    """
    square, sums, classes = local(z, _SQUARE), local(z, _SQUARE), local(z, LANES)
    if count < LANES:  # what lay there before may be denormal, which costs hundreds of cycles
        for j in range(n):
            store(splat(z, LANES, 0.0), ahead(square, j * LANES), LANES)
    for i in range(LANES):
        classes[i] = as_item(labels[i] if i < count else -1, z)
    pack(Strided(z, n, 1), count, n, LANES, square)

    label, if_right = load(classes, LANES, LANES, 0.0), splat(z, LANES, 1.0)
    top, of_label, best = splat(z, LANES, -np.inf), splat(z, LANES, 0.0), splat(z, LANES, 0.0)
    for j in range(n):
        z_j, class_j = _line(square, j), as_item(j, z)
        of_label = select(label == class_j, z_j, of_label)
        best = select(z_j > top, class_j, best)
        top = select(z_j > top, z_j, top)
        if_right = select(z_j == z_j, if_right, 0.0)  # a row with NaN has no class
    for j in range(n):
        e = vector_exp(_line(square, j) - top)
        store(e, ahead(square, j * LANES), LANES)
        store(e, ahead(sums, j * LANES), LANES)
    total = _sum_over_classes(sums, n)
    store(vector_log(total) - (of_label - top), losses, count)
    for j in range(n):
        t = select(label == as_item(j, z), splat(z, LANES, 1.0), 0.0)
        gradient = (_line(square, j) / total - t) / as_item(batch, z)
        store(gradient, ahead(square, j * LANES), LANES)

    pack(Strided(square, LANES, 1), n, count, n, out)
    store(select(label == best, if_right, 0.0), right, count)


@inner
def _line(square, j):
    return load(ahead(square, j * LANES), LANES, LANES, 0.0)


@inner
def _sum_over_classes(sums, n):
    """Class j + class j + 8, then + 4, + 2, + 1: `sum_of_lanes` of each row. ``sums`` is spent."""
    half = LANES // 2
    while half > 0:
        for j in range(n - half):
            store(_line(sums, j) + _line(sums, j + half), ahead(sums, j * LANES), LANES)
        n, half = min(n, half), half // 2
    return _line(sums, 0)


_RIGHT = {"out_right": "1 where the largest score is the target's, else 0."}

SOFTMAX_CROSS_ENTROPY = LossEntry(
    "softmax_cross_entropy_gradient",
    {
        "few labels": Operation(LOSS, _softmax_cross_entropy_of_few_labels, nanoseconds=2.0),
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
