"""Softmax, cross-entropy and their combined gradient, row by row.

For logits z of one row and target probabilities t (a class index stands for a row with one 1)::

    p_j  = exp(z_j - max z) / sum_k exp(z_k - max z)
    loss = - sum_j t_j log p_j = sum_j t_j (log sum_k exp(z_k - max z) - (z_j - max z))

and the gradient of the mean loss over the batch, in three lines::

    d loss / d p_j = - t_j / p_j,   d p_j / d z_k = p_j ([j = k] - p_k)
    d loss / d z_k = - sum_j t_j ([j = k] - p_k) = p_k sum_j t_j - t_k = p_k - t_k
    d mean / d z_k = (p_k - t_k) / batch          prediction - target, over the batch

The lecture that this project follows writes Actual - Prediction on its slide: that is the descent
direction, the negative of this. SGD subtracts the gradient, prediction - target.

A sum along a row has 16 fixed partial sums (column mod 16), joined by one fixed tree, so a row's
result depends on nothing but the row. A NaN stays in its row. Where a target is 0, the term is 0,
whatever stands beside it.
"""

import numpy as np
from numba import prange

from kernels.elementary import LANES, SMALLEST_NORMAL, vector_exp, vector_log
from kernels.jit import Array, door, inner, kernel
from kernels.simd import (
    ahead,
    as_item,
    fma,
    for_dtype,
    load,
    max_of_lanes,
    pointer,
    row_of,
    select,
    splat,
    store,
    sum_of_lanes,
    to_float64,
)
from kernels.targets import targets_from, wanted


@kernel("z (batch, n_classes) -> out (batch, n_classes)", nanoseconds=lambda z, out: 1.0 * z.size)
def softmax_forward(z: Array, out: Array) -> None:
    """Softmax of each row, shifted by its maximum: exp(z - max z) / sum of exp(z - max z).

    Parameters
    ----------
    z : ndarray, (batch, n_classes)
        float32 or float64, as all arrays here.
    out : ndarray, (batch, n_classes)
    """
    for i in prange(z.shape[0]):
        softmax_row(row_of(z, i), row_of(out, i), z.shape[1])


@inner
def softmax_row(z, out, n):
    """`softmax_forward` of one row of n."""
    _, total = _exp_of_row(z, out, n)
    _divide_row(out, total, n)


@kernel(
    "probabilities (batch, n_classes), dy (batch, n_classes) -> out (batch, n_classes)",
    nanoseconds=lambda probabilities, dy, out: 0.3 * dy.size,
)
def softmax_backward(probabilities: Array, dy: Array, out: Array) -> None:
    """Gradient of softmax: out_k = p_k (dy_k - sum_j p_j dy_j), row by row.

    Parameters
    ----------
    probabilities : ndarray, (batch, n_classes)
        The output of `softmax_forward`.
    dy : ndarray, (batch, n_classes)
        Gradient of the loss by that output.
    out : ndarray, (batch, n_classes)
    """
    for i in prange(dy.shape[0]):
        softmax_gradient(row_of(probabilities, i), row_of(dy, i), row_of(out, i), dy.shape[1])


@inner
def softmax_gradient(probabilities, dy, out, n):
    """`softmax_backward` of one row of n."""
    partial = splat(dy, LANES, 0.0)
    for j in range(0, n, LANES):
        p = load(ahead(probabilities, j), LANES, n - j, 0.0)
        partial = fma(p, load(ahead(dy, j), LANES, n - j, 0.0), partial)
    mean = sum_of_lanes(partial)
    for j in range(0, n, LANES):
        p = load(ahead(probabilities, j), LANES, n - j, 0.0)
        store(p * (load(ahead(dy, j), LANES, n - j, 0.0) - mean), ahead(out, j), n - j)


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
        cross_entropy_gradient(row, wanted(labels, i, row), row_of(out, i), n, batch)


@inner
def cross_entropy_gradient(probabilities, target, out, n, batch):
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
    top, total = _exp_of_row(z, out, n)
    _divide_row(out, total, n)
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
def mean(numbers, count):
    """`mean_loss` of ``count`` numbers."""
    partial = to_float64(splat(numbers, LANES, 0.0))
    for i in range(0, count, LANES):
        partial = partial + to_float64(load(ahead(numbers, i), LANES, count - i, 0.0))
    return sum_of_lanes(partial) / count


@inner
def _exp_of_row(z, out, n):
    """out = exp(z - max z) for one row of n; the maximum and the sum."""
    largest = splat(z, LANES, -np.inf)
    for j in range(0, n, LANES):
        # A NaN may or may not become the maximum: either way exp(NaN - top) makes the sum NaN.
        lanes = load(ahead(z, j), LANES, n - j, -np.inf)
        largest = select(lanes > largest, lanes, largest)
    top = max_of_lanes(largest)
    partial = splat(z, LANES, 0.0)
    for j in range(0, n, LANES):
        e = vector_exp(load(ahead(z, j), LANES, n - j, -np.inf) - top)
        store(e, ahead(out, j), n - j)
        partial = partial + e
    return top, sum_of_lanes(partial)


@inner
def _divide_row(out, total, n):
    for j in range(0, n, LANES):
        store(load(ahead(out, j), LANES, n - j, 0.0) / total, ahead(out, j), n - j)


@inner
def _floored(p):
    """At least the smallest normal number; NaN stays."""
    smallest = for_dtype(p, SMALLEST_NORMAL)
    return select(p < smallest, smallest, p)
