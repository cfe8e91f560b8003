"""Columns by their mean and deviation: y = (x - mean) / deviation."""

from kernels.intrinsics import LANES, ahead, as_item, load, select, square_root, store
from kernels.norms import moments
from kernels.operations import run_columnwise, run_rowwise
from kernels.runtime.families import COLUMNWISE, ROWWISE, Operation
from kernels.runtime.jit import Array, door


def _standardize_statistics(x, dy, out, rows, columns, stride, numbers):
    for j in range(0, columns, LANES):
        left = columns - j
        mean, squares = moments(ahead(x, j), rows, stride, left)
        deviation = square_root(squares / as_item(rows, x))
        store(mean, ahead(out, j), left)
        store(select(deviation == 0.0, 1.0, deviation), ahead(out, stride + j), left)


def _standardize_forward(x, dy, out, rows, n, statistics, numbers, counter):
    for i in range(rows):
        for j in range(0, n, LANES):
            left, at = n - j, i * n + j
            rest = load(ahead(x, at), LANES, left, 0.0) - load(
                ahead(statistics, j), LANES, left, 0.0
            )
            store(rest / load(ahead(statistics, n + j), LANES, left, 1.0), ahead(out, at), left)
    return 0


def _standardize_backward(dy, other, out, rows, n, statistics, numbers, counter):
    for i in range(rows):
        for j in range(0, n, LANES):
            left, at = n - j, i * n + j
            deviation = load(ahead(statistics, n + j), LANES, left, 1.0)
            store(load(ahead(dy, at), LANES, left, 0.0) / deviation, ahead(out, at), left)
    return 0


STANDARDIZE_STATISTICS = Operation(COLUMNWISE, _standardize_statistics, nanoseconds=0.3)
STANDARDIZE_FORWARD = Operation(ROWWISE, _standardize_forward, nanoseconds=0.3)
STANDARDIZE_BACKWARD = Operation(ROWWISE, _standardize_backward, nanoseconds=0.3)


@door("x (batch, n) -> out (2, n)")
def standardize_statistics(x: Array, out: Array) -> None:
    """Each column's mean and deviation, the root of its biased variance; 1 where that is 0.

    Parameters
    ----------
    x : ndarray, (batch, n)
        float32 or float64, as all arrays here.
    out : ndarray, (2, n)
        Means, then deviations.
    """
    run_columnwise(STANDARDIZE_STATISTICS, x, x, out)


@door("x (batch, n), statistics (2, n) -> out (batch, n)")
def standardize_forward(x: Array, statistics: Array, out: Array) -> None:
    """Standardized columns: out = (x - mean) / deviation.

    Parameters
    ----------
    x : ndarray, (batch, n)
    statistics : ndarray, (2, n)
        Of `standardize_statistics`.
    out : ndarray, (batch, n)
    """
    run_rowwise(STANDARDIZE_FORWARD, x, x, out, parameters=statistics)


@door("dy (batch, n), statistics (2, n) -> out (batch, n)")
def standardize_backward(dy: Array, statistics: Array, out: Array) -> None:
    """Gradient of standardized columns: out = dy / deviation.

    Parameters
    ----------
    dy : ndarray, (batch, n)
    statistics : ndarray, (2, n)
    out : ndarray, (batch, n)
    """
    run_rowwise(STANDARDIZE_BACKWARD, dy, dy, out, parameters=statistics)
