"""Categories as vectors: columns that hold category numbers are replaced by rows of a table.

What becomes of each of the n columns of x stands in the operations' numbers::

    width, columns of the output, columns of x, rows of the table,
    then for each column of x: categories (0: it is passed on), its first row of the table, its
    first column of the output

A category that is no whole number from 0 to below its column's categories gives NaN: memory is only
read at what has been compared.
"""

from typing import Any

import numpy as np

from kernels.runtime.families import COLUMNWISE, ROWWISE, Operation
from kernels.runtime.jit import Array, inner

_HEAD = 4


@inner
def _row_of_table(value, numbers, j):
    """The row of the table for a category of column j; -1 where it is none."""
    count = numbers[_HEAD + 3 * j]
    if not 0.0 <= value < count:  # NaN too
        return np.int64(-1)
    index = np.int64(value)
    return index + np.int64(numbers[_HEAD + 3 * j + 1]) if index == value else np.int64(-1)


def _embedding_forward(x, dy, out, rows, n, weights, numbers, counter):
    width, n_out = np.int64(numbers[0]), np.int64(numbers[1])
    for i in range(rows):
        for j in range(n):
            value = x[i * n + j]
            place = i * n_out + np.int64(numbers[_HEAD + 3 * j + 2])
            if numbers[_HEAD + 3 * j] == 0.0:
                out[place] = value
            else:
                row = _row_of_table(value, numbers, j)
                for k in range(width):
                    out[place + k] = weights[row * width + k] if row >= 0 else np.nan
    return 0


def _embedding_inputs(dy, other, out, rows, n_out, parameters, numbers, counter):
    n = np.int64(numbers[2])
    for i in range(rows):
        for j in range(n):
            place = i * n_out + np.int64(numbers[_HEAD + 3 * j + 2])
            out[i * n + j] = dy[place] if numbers[_HEAD + 3 * j] == 0.0 else 0.0
    return 0


def _embedding_weights(x, dy, out, rows, columns, stride, numbers):
    width, n_out = np.int64(numbers[0]), np.int64(numbers[1])
    n, size = np.int64(numbers[2]), np.int64(numbers[3]) * width
    for at in range(size):
        out[at] = 0.0
    for i in range(rows):
        for j in range(n):
            if numbers[_HEAD + 3 * j] > 0.0:
                row = _row_of_table(x[i * n + j], numbers, j)
                place = i * n_out + np.int64(numbers[_HEAD + 3 * j + 2])
                if row >= 0:
                    for k in range(width):
                        out[row * width + k] += dy[place + k]


EMBEDDING_FORWARD = Operation(ROWWISE, _embedding_forward, nanoseconds=3.0)
"""Each row's columns: passed on, or replaced by a row of the table."""

EMBEDDING_INPUTS = Operation(ROWWISE, _embedding_inputs, nanoseconds=2.0)
"""The gradient with respect to x: of what is passed on; 0 for categories."""

EMBEDDING_WEIGHTS = Operation(COLUMNWISE, _embedding_weights, nanoseconds=3.0)
"""The gradient of the table: each of its rows is the sum of the gradients of all rows of the batch
that have its category, in ascending order."""


# --- the NumPy twins ------------------------------------------------------------------------------


def _read(numbers: Any) -> tuple[int, int, int, int, Any]:
    width, n_out, n, rows = (int(number) for number in numbers[:_HEAD])
    return width, n_out, n, rows, np.array(numbers[_HEAD:], np.int64).reshape(n, 3)


def _forward_in_numpy(x: Array, weights: Array, *given: Any) -> None:
    """out: columns of x, or rows of the table."""
    *numbers, out = given
    width, _, _, _, columns = _read(numbers)
    for j, (count, first, place) in enumerate(columns):
        if count == 0:
            out[:, place] = x[:, j]
            continue
        known = (x[:, j] >= 0) & (x[:, j] < count) & (np.floor(x[:, j]) == x[:, j])
        rows = first + np.where(known, x[:, j], 0).astype(np.int64)
        out[:, place : place + width] = np.where(known[:, None], weights[rows], np.nan)


def _inputs_in_numpy(dy: Array, *given: Any) -> None:
    """out: dy of what was passed on, else 0."""
    *numbers, out = given
    for j, (count, _, place) in enumerate(_read(numbers)[4]):
        out[:, j] = dy[:, place] if count == 0 else 0


def _weights_in_numpy(x: Array, dy: Array, *given: Any) -> None:
    """out: for each category the sum of dy, over the rows that have it."""
    *numbers, out = given
    width, _, _, _, columns = _read(numbers)
    out[...] = 0
    for j, (count, first, place) in enumerate(columns):
        for category in range(count):
            some = dy[x[:, j] == category, place : place + width]
            out[first + category] = some.sum(axis=0)


EMBEDDING_FORWARD.twin = _forward_in_numpy
EMBEDDING_INPUTS.twin = _inputs_in_numpy
EMBEDDING_WEIGHTS.twin = _weights_in_numpy
