"""Batch normalization and layer normalization, with their gradients.

With the mean m and the biased variance v of some numbers x, of a column in batch normalization and
of a row in layer normalization::

    xhat = (x - m) / sqrt(v + epsilon),   y = w xhat + b
    dL/db = sum dy,   dL/dw = sum dy xhat
    dL/dx = (g - mean g - xhat mean(g xhat)) / sqrt(v + epsilon),   g = w dy

The second and third term of dL/dx go through the mean and the variance. Batch normalization takes
them in two steps, since sums down the columns are shared by columns and all else by rows; a table
of `ROWS` numbers a column carries them from one to the other:

==  ==========================================================
0   mean
1   variance: unbiased, as running statistics have it
2   1 / sqrt(biased variance + epsilon)
3   the same times w
4   dL/db = sum dy
5   dL/dw = sum dy xhat
6   mean dy
7   mean dy xhat
==  ==========================================================

A variance is the mean square of what is left of the mean (two passes); a column's numbers are taken
from the first one of the column, so that a constant column has a variance of exactly 0. Sums down a
column are chains over ascending rows, cut every 4,096; sums along a row have 16 partial sums.
"""

from kernels.entries import Number, Step
from kernels.intrinsics import (
    LANES,
    ahead,
    as_item,
    fma,
    lane_numbers,
    load,
    select,
    splat,
    square_root,
    store,
    sum_of_lanes,
)
from kernels.operations import run_columnwise, run_rowwise
from kernels.product.column_sum import CUT
from kernels.runtime.families import COLUMNWISE, ROWWISE, Operation
from kernels.runtime.jit import Array, door, inner

ROWS = 8
"""Rows of the table of a batch normalization."""


# --- batch normalization --------------------------------------------------------------------------


@inner
def moments(x, rows, stride, left):
    """The mean of a strip of columns, and the sum of squares of what is left of it."""
    first = load(x, LANES, left if rows > 0 else 0, 0.0)
    total = splat(x, LANES, 0.0)
    for start in range(0, rows, CUT):
        chain = splat(x, LANES, 0.0)
        for i in range(start, min(start + CUT, rows)):
            chain = chain + (load(ahead(x, i * stride), LANES, left, 0.0) - first)
        total = total + chain
    mean = total / as_item(rows, x)
    squares = splat(x, LANES, 0.0)
    for start in range(0, rows, CUT):
        chain = splat(x, LANES, 0.0)
        for i in range(start, min(start + CUT, rows)):
            rest = (load(ahead(x, i * stride), LANES, left, 0.0) - first) - mean
            chain = fma(rest, rest, chain)
        squares = squares + chain
    return first + mean, squares


@inner
def _write_table(out, stride, left, mean, variance, inverse, weights):
    """Rows 0 to 3 of a table, and zeros below."""
    store(mean, out, left)
    store(variance, ahead(out, stride), left)
    store(inverse, ahead(out, 2 * stride), left)
    store(inverse * weights, ahead(out, 3 * stride), left)
    for row in range(4, ROWS):
        store(splat(out, LANES, 0.0), ahead(out, row * stride), left)


def _batch_norm_statistics(x, weights, out, rows, columns, stride, numbers):
    for j in range(0, columns, LANES):
        left = columns - j
        mean, squares = moments(ahead(x, j), rows, stride, left)
        root = square_root(squares / as_item(rows, x) + numbers[0])
        inverse = splat(x, LANES, 1.0) / root
        unbiased = squares / as_item(rows - 1, x)
        given = load(ahead(weights, j), LANES, left, 0.0)
        _write_table(ahead(out, j), stride, left, mean, unbiased, inverse, given)


def _batch_norm_running(running, weights, out, rows, columns, stride, numbers):
    for j in range(0, columns, LANES):
        left = columns - j
        mean = load(ahead(running, j), LANES, left, 0.0)
        variance = load(ahead(running, stride + j), LANES, left, 0.0)
        inverse = splat(running, LANES, 1.0) / square_root(variance + numbers[0])
        given = load(ahead(weights, j), LANES, left, 0.0)
        _write_table(ahead(out, j), stride, left, mean, variance, inverse, given)


def _batch_norm_forward(x, biases, out, rows, n, table, numbers, counter):
    for i in range(rows):
        for j in range(0, n, LANES):
            left = n - j
            rest = load(ahead(x, i * n + j), LANES, left, 0.0) - load(
                ahead(table, j), LANES, left, 0.0
            )
            scale = load(ahead(table, 3 * n + j), LANES, left, 0.0)
            y = fma(rest, scale, load(ahead(biases, j), LANES, left, 0.0))
            store(y, ahead(out, i * n + j), left)
    return 0


def _batch_norm_sums(x, dy, table, rows, columns, stride, numbers):
    for j in range(0, columns, LANES):
        left, place = columns - j, ahead(table, j)
        mean = load(place, LANES, left, 0.0)
        inverse = load(ahead(place, 2 * stride), LANES, left, 0.0)
        total, total_hat = splat(x, LANES, 0.0), splat(x, LANES, 0.0)
        for start in range(0, rows, CUT):
            chain, chain_hat = splat(x, LANES, 0.0), splat(x, LANES, 0.0)
            for i in range(start, min(start + CUT, rows)):
                at = i * stride + j
                gradient = load(ahead(dy, at), LANES, left, 0.0)
                hat = (load(ahead(x, at), LANES, left, 0.0) - mean) * inverse
                chain, chain_hat = chain + gradient, fma(gradient, hat, chain_hat)
            total, total_hat = total + chain, total_hat + chain_hat
        count = as_item(rows, x)
        store(total, ahead(place, 4 * stride), left)
        store(total_hat, ahead(place, 5 * stride), left)
        store(total / count, ahead(place, 6 * stride), left)
        store(total_hat / count, ahead(place, 7 * stride), left)


def _batch_norm_dbiases(table, dy, out, rows, columns, stride, numbers):
    for j in range(0, columns, LANES):
        store(
            load(ahead(table, 4 * stride + j), LANES, columns - j, 0.0), ahead(out, j), columns - j
        )


def _batch_norm_dweights(table, dy, out, rows, columns, stride, numbers):
    for j in range(0, columns, LANES):
        store(
            load(ahead(table, 5 * stride + j), LANES, columns - j, 0.0), ahead(out, j), columns - j
        )


def _batch_norm_backward(x, dy, out, rows, n, table, numbers, counter):
    for i in range(rows):
        for j in range(0, n, LANES):
            left, at = n - j, i * n + j
            mean, inverse = (
                load(ahead(table, j), LANES, left, 0.0),
                load(ahead(table, 2 * n + j), LANES, left, 0.0),
            )
            minus_hat = (mean - load(ahead(x, at), LANES, left, 0.0)) * inverse
            rest = load(ahead(dy, at), LANES, left, 0.0) - load(
                ahead(table, 6 * n + j), LANES, left, 0.0
            )
            rest = fma(minus_hat, load(ahead(table, 7 * n + j), LANES, left, 0.0), rest)
            scale = load(ahead(table, 3 * n + j), LANES, left, 0.0)
            store(rest * scale, ahead(out, at), left)
    return 0


BATCH_NORM_STATISTICS = Operation(COLUMNWISE, _batch_norm_statistics, nanoseconds=0.3)
BATCH_NORM_RUNNING = Operation(COLUMNWISE, _batch_norm_running, nanoseconds=1.0)
BATCH_NORM_FORWARD = Operation(ROWWISE, _batch_norm_forward, nanoseconds=0.2)
BATCH_NORM_SUMS = Operation(COLUMNWISE, _batch_norm_sums, nanoseconds=0.3)
BATCH_NORM_DBIASES = Operation(COLUMNWISE, _batch_norm_dbiases, nanoseconds=0.2)
BATCH_NORM_DWEIGHTS = Operation(COLUMNWISE, _batch_norm_dweights, nanoseconds=0.2)
BATCH_NORM_BACKWARD = Operation(ROWWISE, _batch_norm_backward, nanoseconds=0.3)


@door("x (batch, n), weights (1, n), epsilon >= 0 -> out (8, n)")
def batch_norm_statistics(x: Array, weights: Array, epsilon: float, out: Array) -> None:
    """Each column's mean, unbiased variance, 1 / sqrt(biased variance + epsilon), that times w.

    Parameters
    ----------
    x : ndarray, (batch, n)
        float32 or float64, as all arrays here. Of one row the unbiased variance is NaN.
    weights : ndarray, (1, n)
    epsilon : float
        Added to the variance.
    out : ndarray, (8, n)
        The four in its first rows, in this order; zeros below.
    """
    run_columnwise(BATCH_NORM_STATISTICS, x, weights, out, (epsilon,))


@door("running (2, n), weights (1, n), epsilon >= 0 -> out (8, n)")
def batch_norm_running(running: Array, weights: Array, epsilon: float, out: Array) -> None:
    """The table of `batch_norm_statistics` from a given mean and variance of each column.

    Parameters
    ----------
    running : ndarray, (2, n)
        Means, then variances.
    weights : ndarray, (1, n)
    epsilon : float
    out : ndarray, (8, n)
    """
    run_columnwise(BATCH_NORM_RUNNING, running, weights, out, (epsilon,))


@door("x (batch, n), biases (1, n), table (8, n) -> out (batch, n)")
def batch_norm_forward(x: Array, biases: Array, table: Array, out: Array) -> None:
    """Batch normalization: out = fma(x - mean, w / sqrt(variance + epsilon), biases).

    Parameters
    ----------
    x : ndarray, (batch, n)
    biases : ndarray, (1, n)
    table : ndarray, (8, n)
        Of `batch_norm_statistics` or `batch_norm_running`.
    out : ndarray, (batch, n)
    """
    run_rowwise(BATCH_NORM_FORWARD, x, biases, out, parameters=table)


@door("x (batch, n), dy (batch, n) -> table (8, n)")
def batch_norm_sums(x: Array, dy: Array, table: Array) -> None:
    """What the gradients of a batch normalization need of each column: sums of dy and dy xhat.

    Parameters
    ----------
    x : ndarray, (batch, n)
    dy : ndarray, (batch, n)
    table : ndarray, (8, n)
        Of `batch_norm_statistics`. Rows 4 and 5 become the sums of dy and of dy xhat, which are the
        gradients of the biases and of the weights; rows 6 and 7 their means over the batch.
    """
    run_columnwise(BATCH_NORM_SUMS, x, dy, table)


@door("x (batch, n), dy (batch, n), table (8, n) -> out (batch, n)")
def batch_norm_backward(x: Array, dy: Array, table: Array, out: Array) -> None:
    """Gradient of batch normalization: out = w (dy - mean dy - xhat mean(dy xhat)) / deviation.

    Parameters
    ----------
    x : ndarray, (batch, n)
    dy : ndarray, (batch, n)
    table : ndarray, (8, n)
        After `batch_norm_sums`. Before it, the means are 0: the gradient where mean and variance
        are no function of x.
    out : ndarray, (batch, n)
    """
    run_rowwise(BATCH_NORM_BACKWARD, x, dy, out, parameters=table)


@inner
def running_statistics(w, dw, momentum):
    """Running statistics: weights <- (1 - momentum) weights + momentum dweights, of the batch."""
    return fma(momentum, dw, (1.0 - momentum) * w)


RUNNING_STATISTICS = Step(
    running_statistics,
    numbers=[Number("momentum", ">= 0", "How much of the batch's statistics is taken.")],
)
running_statistics_update = RUNNING_STATISTICS.kernel


# --- layer normalization --------------------------------------------------------------------------


@inner
def _moments_of_row(x, n, epsilon):
    """The mean of a row, and 1 / sqrt(biased variance + epsilon)."""
    partial = splat(x, LANES, 0.0)
    for j in range(0, n, LANES):
        partial = partial + load(ahead(x, j), LANES, n - j, 0.0)
    count = as_item(n, x)
    mean = sum_of_lanes(partial) / count
    partial = splat(x, LANES, 0.0)
    for j in range(0, n, LANES):
        rest = load(ahead(x, j), LANES, n - j, 0.0) - mean
        rest = select(lane_numbers(rest) < n - j, rest, 0.0)
        partial = fma(rest, rest, partial)
    root = square_root(sum_of_lanes(partial) / count + as_item(epsilon, x))
    return mean, as_item(1.0, x) / root


def _layer_norm_forward(x, weights, out, rows, n, biases, numbers, counter):
    for i in range(rows):
        mean, inverse = _moments_of_row(ahead(x, i * n), n, numbers[0])
        for j in range(0, n, LANES):
            left, at = n - j, i * n + j
            hat = (load(ahead(x, at), LANES, left, 0.0) - mean) * inverse
            w, b = (
                load(ahead(weights, j), LANES, left, 0.0),
                load(ahead(biases, j), LANES, left, 0.0),
            )
            store(fma(hat, w, b), ahead(out, at), left)
    return 0


def _layer_norm_normalized(x, dy, out, rows, n, parameters, numbers, counter):
    for i in range(rows):
        mean, inverse = _moments_of_row(ahead(x, i * n), n, numbers[0])
        for j in range(0, n, LANES):
            left, at = n - j, i * n + j
            hat = (load(ahead(x, at), LANES, left, 0.0) - mean) * inverse
            store(hat, ahead(out, at), left)
    return 0


def _layer_norm_backward(x, dy, out, rows, n, weights, numbers, counter):
    for i in range(rows):
        x_i, dy_i, out_i = ahead(x, i * n), ahead(dy, i * n), ahead(out, i * n)
        mean, inverse = _moments_of_row(x_i, n, numbers[0])
        partial, partial_hat = splat(x, LANES, 0.0), splat(x, LANES, 0.0)
        for j in range(0, n, LANES):
            left = n - j
            g = load(ahead(dy_i, j), LANES, left, 0.0) * load(ahead(weights, j), LANES, left, 0.0)
            hat = (load(ahead(x_i, j), LANES, left, 0.0) - mean) * inverse
            partial, partial_hat = partial + g, fma(g, hat, partial_hat)
        count = as_item(n, x)
        part, part_hat = sum_of_lanes(partial) / count, sum_of_lanes(partial_hat) / count
        for j in range(0, n, LANES):
            left = n - j
            g = load(ahead(dy_i, j), LANES, left, 0.0) * load(ahead(weights, j), LANES, left, 0.0)
            hat = (load(ahead(x_i, j), LANES, left, 0.0) - mean) * inverse
            store(((g - part) - hat * part_hat) * inverse, ahead(out_i, j), left)
    return 0


def _column_products(x, dy, out, rows, columns, stride, numbers):
    for j in range(0, columns, LANES):
        left = columns - j
        total = splat(x, LANES, 0.0)
        for start in range(0, rows, CUT):
            chain = splat(x, LANES, 0.0)
            for i in range(start, min(start + CUT, rows)):
                at = i * stride + j
                a, b = load(ahead(x, at), LANES, left, 0.0), load(ahead(dy, at), LANES, left, 0.0)
                chain = fma(a, b, chain)
            total = total + chain
        store(total, ahead(out, j), left)


LAYER_NORM_FORWARD = Operation(ROWWISE, _layer_norm_forward, nanoseconds=0.5)
LAYER_NORM_NORMALIZED = Operation(ROWWISE, _layer_norm_normalized, nanoseconds=0.5)
LAYER_NORM_BACKWARD = Operation(ROWWISE, _layer_norm_backward, nanoseconds=0.8)
COLUMN_PRODUCTS = Operation(COLUMNWISE, _column_products, nanoseconds=0.2)


@door("x (batch, n), weights (1, n), biases (1, n), epsilon >= 0 -> out (batch, n)")
def layer_norm_forward(x: Array, weights: Array, biases: Array, epsilon: float, out: Array) -> None:
    """Layer normalization: out = w (x - mean) / sqrt(biased variance + epsilon) + b, row by row.

    Parameters
    ----------
    x : ndarray, (batch, n)
        float32 or float64, as all arrays here.
    weights, biases : ndarray, (1, n)
    epsilon : float
        Added to the variance.
    out : ndarray, (batch, n)
    """
    run_rowwise(LAYER_NORM_FORWARD, x, weights, out, (epsilon,), biases)


@door("x (batch, n), epsilon >= 0 -> out (batch, n)")
def layer_norm_normalized(x: Array, epsilon: float, out: Array) -> None:
    """A layer normalization's xhat: out = (x - mean) / sqrt(biased variance + epsilon).

    Parameters
    ----------
    x : ndarray, (batch, n)
    epsilon : float
    out : ndarray, (batch, n)
    """
    run_rowwise(LAYER_NORM_NORMALIZED, x, x, out, (epsilon,))


@door("x (batch, n), dy (batch, n), weights (1, n), epsilon >= 0 -> out (batch, n)")
def layer_norm_backward(x: Array, dy: Array, weights: Array, epsilon: float, out: Array) -> None:
    """Gradient of layer normalization: out = (g - mean g - xhat mean(g xhat)) / deviation.

    g is w dy.

    Parameters
    ----------
    x : ndarray, (batch, n)
    dy : ndarray, (batch, n)
    weights : ndarray, (1, n)
    epsilon : float
    out : ndarray, (batch, n)
    """
    run_rowwise(LAYER_NORM_BACKWARD, x, dy, out, (epsilon,), weights)


@door("x (batch, n), dy (batch, n) -> out (1, n)")
def column_products(x: Array, dy: Array, out: Array) -> None:
    """Gradient of weights that multiply columns: out[0, j] = sum over i of x[i, j] dy[i, j].

    Parameters
    ----------
    x, dy : ndarray, (batch, n)
    out : ndarray, (1, n)
        (n,) is accepted.
    """
    run_columnwise(COLUMN_PRODUCTS, x, dy, out)
