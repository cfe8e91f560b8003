"""Weights of rows: a weighted mean, and what makes a mean over the batch such a one.

With a weight w_i for each row, the loss of a batch is the weighted mean of its rows' losses l_i::

    loss = sum_i w_i l_i / sum_i w_i

A loss gives rows l_i, and the gradient g_i of their plain mean: g_i has 1 / batch in it already.
So each row of both is multiplied by w_i scale, with scale = batch / sum_i w_i. That is the same for
every loss, so no loss knows of weights. With weights of 1 the factor is 1, and no bit changes.
"""

from kernels.intrinsics import (
    LANES,
    ahead,
    as_item,
    load,
    pointer,
    splat,
    store,
    sum_of_lanes,
    to_float64,
)
from kernels.operations import run_rowwise
from kernels.runtime.families import ROWWISE, Operation
from kernels.runtime.jit import Array, door, kernel


def _weighted_rows(x, weights, out, rows, n, parameters, numbers, counter):
    scale = numbers[0]
    for i in range(rows):
        factor = as_item(weights[i] * scale, x)  # a product in float64, whatever the dtype
        for j in range(0, n, LANES):
            place, left = i * n + j, n - j
            store(load(ahead(x, place), LANES, left, 0.0) * factor, ahead(out, place), left)
    return 0


WEIGHTED_ROWS = Operation(ROWWISE, _weighted_rows, nanoseconds=0.3)


@door("x (batch, n), weights (batch, 1), scale number -> out (batch, n)")
def weighted_rows(x: Array, weights: Array, scale: float, out: Array) -> None:
    """Each row times its weight and a common scale: out_ij = x_ij (w_i scale).

    The product in brackets is rounded to the dtype, then the other one. A NaN comes through, also
    where its weight is 0.

    Parameters
    ----------
    x : ndarray, (batch, n)
        float32 or float64: losses of rows, or the gradient of their mean.
    weights : ndarray, (batch, 1)
    scale : float
        batch / sum of the weights makes means over the batch means over the weights.
    out : ndarray, (batch, n)
    """
    run_rowwise(WEIGHTED_ROWS, x, weights, out, (scale,))


@kernel("values (batch, 1), weights (batch, 1)")
def weighted_mean(values: Array, weights: Array) -> float:
    """Weighted mean sum_i w_i v_i / sum_i w_i, in float64: 16 fixed partial sums, one fixed tree.

    With weights of 1 it has the bits of `mean_loss`.

    Parameters
    ----------
    values, weights : ndarray, (batch, 1)

    Returns
    -------
    float
        The denominator is the sum of the weights; NaN where all of them are 0.
    """
    v, w, count = pointer(values), pointer(weights), values.shape[0]
    partial = to_float64(splat(v, LANES, 0.0))
    total = partial
    for i in range(0, count, LANES):
        lanes = to_float64(load(ahead(w, i), LANES, count - i, 0.0))
        partial = partial + lanes * to_float64(load(ahead(v, i), LANES, count - i, 0.0))
        total = total + lanes
    return sum_of_lanes(partial) / sum_of_lanes(total)


@kernel("weights (rows, 1), batch int64 -> out numbers", public=False)
def batch_scales(weights: Array, batch: int, out: Array) -> None:
    """Of each ``batch`` rows in sequence their number over the sum of their weights, 0 for a sum 0.

    Sums are taken row by row, in float64.
    """
    rows = weights.shape[0]
    for number in range(out.size):
        first, total = number * batch, 0.0
        end = min(first + batch, rows)
        for i in range(first, end):
            total += weights[i, 0]
        out[number] = (end - first) / total if total > 0.0 else 0.0
