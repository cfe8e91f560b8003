"""Softmax of each row and its gradient: forward above backward.

For one row of logits z::

    p_j  = exp(z_j - max z) / sum_k exp(z_k - max z)
    d p_j / d z_k = p_j ([j = k] - p_k),   so   dL/dz_k = p_k (dy_k - sum_j p_j dy_j)

and of their logarithms, which are finite where a probability would be 0::

    log p_j = z_j - max z - log sum_k exp(z_k - max z),   dL/dz_k = dy_k - p_k sum_j dy_j

A sum along a row has 16 fixed partial sums (column mod 16), joined by one fixed tree, so a row's
result depends on nothing but the row. A NaN stays in its row.
"""

import numpy as np

from kernels.exp_log import vector_exp, vector_log
from kernels.intrinsics import (
    LANES,
    ahead,
    fma,
    load,
    max_of_lanes,
    select,
    splat,
    store,
    sum_of_lanes,
)
from kernels.operations import run_rowwise
from kernels.runtime.families import ROWWISE, Operation
from kernels.runtime.jit import Array, door, inner


def _softmax_forward(z, dy, out, rows, n, parameters, numbers, counter):
    for i in range(rows):
        softmax_row(ahead(z, i * n), ahead(out, i * n), n)
    return 0


@inner
def softmax_row(z, out, n):
    """Softmax of one row of n: the largest logit and the sum of exp(z - max z)."""
    top, total = _exp_of_row(z, out, n)
    for j in range(0, n, LANES):
        store(load(ahead(out, j), LANES, n - j, 0.0) / total, ahead(out, j), n - j)
    return top, total


@inner
def _exp_of_row(z, out, n):
    """out = exp(z - max z) for one row of n; the maximum and the sum."""
    top = _largest_of_row(z, n)
    partial = splat(z, LANES, 0.0)
    for j in range(0, n, LANES):
        e = vector_exp(load(ahead(z, j), LANES, n - j, -np.inf) - top)
        store(e, ahead(out, j), n - j)
        partial = partial + e
    return top, sum_of_lanes(partial)


@inner
def _largest_of_row(z, n):
    largest = splat(z, LANES, -np.inf)
    for j in range(0, n, LANES):
        # A NaN may or may not become the maximum: either way exp(NaN - top) makes the sum NaN.
        lanes = load(ahead(z, j), LANES, n - j, -np.inf)
        largest = select(lanes > largest, lanes, largest)
    return max_of_lanes(largest)


def _softmax_backward(y, dy, out, rows, n, parameters, numbers, counter):
    for i in range(rows):
        place = i * n
        _gradient_of_row(ahead(y, place), ahead(dy, place), ahead(out, place), n)
    return 0


@inner
def _gradient_of_row(p, dy, out, n):
    partial = splat(dy, LANES, 0.0)
    for j in range(0, n, LANES):
        p_j = load(ahead(p, j), LANES, n - j, 0.0)
        partial = fma(p_j, load(ahead(dy, j), LANES, n - j, 0.0), partial)
    mean = sum_of_lanes(partial)
    for j in range(0, n, LANES):
        p_j = load(ahead(p, j), LANES, n - j, 0.0)
        store(p_j * (load(ahead(dy, j), LANES, n - j, 0.0) - mean), ahead(out, j), n - j)


def _log_softmax_forward(z, dy, out, rows, n, parameters, numbers, counter):
    for i in range(rows):
        _log_softmax_of_row(ahead(z, i * n), ahead(out, i * n), n)
    return 0


@inner
def _log_softmax_of_row(z, out, n):
    top = _largest_of_row(z, n)
    partial = splat(z, LANES, 0.0)
    for j in range(0, n, LANES):
        partial = partial + vector_exp(load(ahead(z, j), LANES, n - j, -np.inf) - top)
    log_sum = vector_log(splat(z, LANES, sum_of_lanes(partial)))
    for j in range(0, n, LANES):
        store((load(ahead(z, j), LANES, n - j, 0.0) - top) - log_sum, ahead(out, j), n - j)


def _log_softmax_backward(y, dy, out, rows, n, parameters, numbers, counter):
    for i in range(rows):
        place = i * n
        _log_gradient_of_row(ahead(y, place), ahead(dy, place), ahead(out, place), n)
    return 0


@inner
def _log_gradient_of_row(log_p, dy, out, n):
    partial = splat(dy, LANES, 0.0)
    for j in range(0, n, LANES):
        partial = partial + load(ahead(dy, j), LANES, n - j, 0.0)
    total = sum_of_lanes(partial)
    for j in range(0, n, LANES):
        p_j = vector_exp(load(ahead(log_p, j), LANES, n - j, 0.0))
        store(fma(p_j * -1.0, total, load(ahead(dy, j), LANES, n - j, 0.0)), ahead(out, j), n - j)


SOFTMAX_FORWARD = Operation(ROWWISE, _softmax_forward, nanoseconds=1.0)
SOFTMAX_BACKWARD = Operation(ROWWISE, _softmax_backward, nanoseconds=0.3)
LOG_SOFTMAX_FORWARD = Operation(ROWWISE, _log_softmax_forward, nanoseconds=1.0)
LOG_SOFTMAX_BACKWARD = Operation(ROWWISE, _log_softmax_backward, nanoseconds=0.7)


@door("z (batch, n_classes) -> out (batch, n_classes)")
def softmax_forward(z: Array, out: Array) -> None:
    """Softmax of each row, shifted by its maximum: exp(z - max z) / sum of exp(z - max z).

    Parameters
    ----------
    z : ndarray, (batch, n_classes)
        float32 or float64, as all arrays here.
    out : ndarray, (batch, n_classes)
    """
    run_rowwise(SOFTMAX_FORWARD, z, z, out)


@door("probabilities (batch, n_classes), dy (batch, n_classes) -> out (batch, n_classes)")
def softmax_backward(probabilities: Array, dy: Array, out: Array) -> None:
    """Gradient of softmax: out_k = p_k (dy_k - sum_j p_j dy_j), row by row.

    Parameters
    ----------
    probabilities : ndarray, (batch, n_classes)
        The output of `softmax_forward`.
    dy : ndarray, (batch, n_classes)
        Gradient of the loss with respect to that output.
    out : ndarray, (batch, n_classes)
    """
    run_rowwise(SOFTMAX_BACKWARD, probabilities, dy, out)


@door("z (batch, n_classes) -> out (batch, n_classes)")
def log_softmax_forward(z: Array, out: Array) -> None:
    """Logarithm of the softmax of each row: z - max z - log of the sum of exp(z - max z).

    Parameters
    ----------
    z : ndarray, (batch, n_classes)
        float32 or float64, as all arrays here.
    out : ndarray, (batch, n_classes)
    """
    run_rowwise(LOG_SOFTMAX_FORWARD, z, z, out)


@door("log_probabilities (batch, n_classes), dy (batch, n_classes) -> out (batch, n_classes)")
def log_softmax_backward(log_probabilities: Array, dy: Array, out: Array) -> None:
    """Gradient of log-softmax: out_k = dy_k - p_k sum_j dy_j, row by row.

    Parameters
    ----------
    log_probabilities : ndarray, (batch, n_classes)
        The output of `log_softmax_forward`.
    dy : ndarray, (batch, n_classes)
        Gradient of the loss with respect to that output.
    out : ndarray, (batch, n_classes)
    """
    run_rowwise(LOG_SOFTMAX_BACKWARD, log_probabilities, dy, out)
