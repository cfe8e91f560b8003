"""Sums of arrays, and arrays side by side: what joins branches of a network."""

from typing import Any

import numpy as np

from kernels.entries import elementwise_entry
from kernels.runtime.families import ROWWISE, Operation
from kernels.runtime.jit import Array, inner


@inner
def _add(x, y):
    """The sum of two arrays: out = x + y."""
    return x + y


ADD, add = elementwise_entry("add", _add, ("x", "y"), (), nanoseconds=0.15)


def _put_columns(x, dy, out, rows, n, parameters, numbers, counter):
    first, n_out = np.int64(numbers[0]), np.int64(numbers[1])
    for i in range(rows):
        for j in range(n):
            out[i * n_out + first + j] = x[i * n + j]
    return 0


def _take_columns(x, dy, out, rows, n, parameters, numbers, counter):
    first, n_out = np.int64(numbers[0]), np.int64(numbers[1])
    for i in range(rows):
        for j in range(n_out):
            out[i * n_out + j] = x[i * n + first + j]
    return 0


PUT_COLUMNS = Operation(ROWWISE, _put_columns, nanoseconds=0.2)
"""Columns into a wider output: its numbers are their first column there, and its width."""

TAKE_COLUMNS = Operation(ROWWISE, _take_columns, nanoseconds=0.2)
"""Columns out of a wider array: its numbers are the first of them, and how many."""


def _put_in_numpy(x: Array, first: Any, n_out: Any, out: Array) -> None:
    """Some columns of out = x."""
    out[:, int(first) : int(first) + x.shape[1]] = x


def _take_in_numpy(x: Array, first: Any, n_out: Any, out: Array) -> None:
    """out = some columns of x."""
    out[...] = x[:, int(first) : int(first) + int(n_out)]


PUT_COLUMNS.twin, TAKE_COLUMNS.twin = _put_in_numpy, _take_in_numpy
