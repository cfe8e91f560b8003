"""What is done to gradients between backward and update: penalties of weights, and clipping.

A layer's penalty is l1 sum |w| + l2 sum w^2, with the gradient l1 sign(w) + 2 l2 w. Clipping by
value cuts each number at +-limit. Clipping by norm shortens all gradients together::

    gradient <- gradient min(1, max_norm / (norm + 1e-6)),   norm = sqrt(sum of all squares)

(PyTorch's ``clip_grad_norm_``). The norm is that of the norms of all rows of all parameters. Each
is summed in float64, 16 partial sums (column mod 16) joined by one fixed tree, and rounded to the
dtype, so it has the same bits on any number of threads.
"""

import numpy as np

from kernels.entries import Number, elementwise_entry
from kernels.intrinsics import (
    LANES,
    ahead,
    as_item,
    fma,
    load,
    magnitude,
    select,
    splat,
    splatted,
    square_root,
    store,
    sum_of_lanes,
    to_float64,
)
from kernels.operations import run_rowwise
from kernels.runtime.families import ROWWISE, Operation
from kernels.runtime.jit import Array, door, inner

_STABLE = 1e-6
"""What PyTorch adds to the norm."""


# --- penalties ------------------------------------------------------------------------------------


def _row_penalties(x, dy, out, rows, n, parameters, numbers, counter):
    for i in range(rows):
        start = ahead(x, i * n)
        sizes, squares = to_float64(splat(x, LANES, 0.0)), to_float64(splat(x, LANES, 0.0))
        for j in range(0, n, LANES):
            w = to_float64(load(ahead(start, j), LANES, n - j, 0.0))
            sizes, squares = sizes + magnitude(w), fma(w, w, squares)
        penalty = numbers[0] * sum_of_lanes(sizes) + numbers[1] * sum_of_lanes(squares)
        out[i] = as_item(penalty, x)
    return 0


ROW_PENALTIES = Operation(ROWWISE, _row_penalties, nanoseconds=0.2)


@door("weights (batch, n), l1 >= 0, l2 >= 0 -> out (batch, 1)")
def row_penalties(weights: Array, l1: float, l2: float, out: Array) -> None:
    """The penalty of each row of weights: out = l1 sum |w| + l2 sum w^2, summed in float64.

    Parameters
    ----------
    weights : ndarray, (batch, n)
        float32 or float64.
    l1, l2 : float
    out : ndarray, (batch, 1)
    """
    run_rowwise(ROW_PENALTIES, weights, weights, out, (l1, l2))


@inner
def penalised(w, dw, l1, l2):
    """The gradient with a penalty's in it: out = dweights + l1 sign(weights) + 2 l2 weights.

    The sign of 0 is 0.
    """
    sign = select(w > 0.0, l1, select(w < 0.0, splatted(w, -l1), 0.0))
    return fma(l2 + l2, w, dw) + sign


PENALTY, penalty_gradient = elementwise_entry(
    "penalty_gradient",
    penalised,
    ("weights", "dweights"),
    [
        Number("l1", ">= 0", "Of the sum of magnitudes."),
        Number("l2", ">= 0", "Of the sum of squares."),
    ],
    nanoseconds=0.2,
)


# --- clipping -------------------------------------------------------------------------------------


@inner
def clipped(x, limit):
    """Clip by value: out = x, no further from 0 than ``limit``; NaN stays."""
    low = splatted(x, -limit)
    return select(x > limit, limit, select(x < low, low, x))


CLIP_BY_VALUE, clip_by_value = elementwise_entry(
    "clip_by_value",
    clipped,
    ("x",),
    [Number("limit", ">= 0", "The largest magnitude.")],
    nanoseconds=0.15,
)


def _row_norms(x, dy, out, rows, n, parameters, numbers, counter):
    for i in range(rows):
        start, squares = ahead(x, i * n), to_float64(splat(x, LANES, 0.0))
        for j in range(0, n, LANES):
            lanes = to_float64(load(ahead(start, j), LANES, n - j, 0.0))
            squares = fma(lanes, lanes, squares)
        out[i] = as_item(square_root(sum_of_lanes(squares)), x)
    return 0


ROW_NORMS = Operation(ROWWISE, _row_norms, nanoseconds=0.15)


@door("x (batch, n) -> out (batch, 1)")
def row_norms(x: Array, out: Array) -> None:
    """The Euclidean norm of each row: out = sqrt(sum of x^2), summed in float64.

    Parameters
    ----------
    x : ndarray, (batch, n)
        float32 or float64. Squares beyond float64 (numbers from 1e154 on) make a norm infinite.
    out : ndarray, (batch, 1)
    """
    run_rowwise(ROW_NORMS, x, x, out)


def _clip_by_norm(x, dy, out, rows, n, parameters, numbers, counter):
    scale = numbers[0] / (np.float64(parameters[0]) + _STABLE)
    factor = as_item(1.0 if scale > 1.0 else scale, x)  # NaN stays
    for i in range(0, rows * n, LANES):
        left = rows * n - i
        store(load(ahead(x, i), LANES, left, 0.0) * factor, ahead(out, i), left)
    return 0


CLIP_BY_NORM = Operation(ROWWISE, _clip_by_norm, nanoseconds=0.15)


@door("x (batch, n), norm (1, 1), max_norm >= 0 -> out (batch, n)")
def clip_by_norm(x: Array, norm: Array, max_norm: float, out: Array) -> None:
    """Clip by norm: out = x min(1, max_norm / (norm + 1e-6)), the factor made in float64.

    Parameters
    ----------
    x : ndarray, (batch, n)
        float32 or float64, as all arrays here.
    norm : ndarray, (1, 1)
        Of all that is shortened together: `row_norms` of the norms of all rows.
    max_norm : float
    out : ndarray, (batch, n)
    """
    run_rowwise(CLIP_BY_NORM, x, x, out, (max_norm,), norm)
