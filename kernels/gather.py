"""Putting mini-batches together."""

from numba import prange

from kernels.intrinsics import (
    LANES,
    ahead,
    invoke,
    itemsize,
    load,
    pointer,
    prefetch,
    row_of,
    store,
)
from kernels.runtime.families import GATHER, Operation
from kernels.runtime.jit import Array, door, kernel

_SOON = 8
"""Rows between the one that is copied and the one that is prefetched. A shuffled row lies anywhere,
and waiting for it costs as much as copying it; any number from 4 to 32 did as well."""
_AHEAD_BYTES = 32 * 1024
"""Bytes of rows that are prefetched further ahead: a small batch, while the one before is trained
on (Ice Lake, step of 64-32-10, batch 32: 0.95 of the time)."""
_BLOCK = 64
"""Rows that a thread takes at a time."""


def _gathered(x, order, left, out, rows, n):
    if n <= 2:  # labels, or a target a row
        for i in range(rows):
            for j in range(n):
                out[i * n + j] = x[order[i] * n + j]
        return
    distance = max(_SOON, min(rows, _AHEAD_BYTES // (n * itemsize(x))))
    for i in range(rows):
        row = ahead(x, order[i] * n)
        soon = ahead(x, order[min(i + distance, left - 1)] * n)
        for j in range(0, n, LANES):
            prefetch(ahead(soon, j))
            store(load(ahead(row, j), LANES, n - j, 0.0), ahead(out, i * n + j), n - j)


GATHERED = Operation(GATHER, _gathered)


@kernel(
    "function int64, x (n, k), rows <batch < n> -> out (batch, k)",
    nanoseconds=lambda function, x, rows, out: 20.0 * rows.size + 0.1 * out.size,
    public=False,
)
def gather(function: int, x: Array, rows: Array, out: Array) -> None:
    """An operation that copies rows, on all of them."""
    for block in prange((rows.size + _BLOCK - 1) // _BLOCK):
        first = block * _BLOCK
        left = rows.size - first
        target = row_of(out, first)
        order = ahead(pointer(rows), first)
        invoke(GATHER, function, (pointer(x), order, left, target, min(_BLOCK, left), x.shape[1]))


@door("x (n, k), rows <batch < n> -> out (batch, k)")
def gather_rows(x: Array, rows: Array, out: Array) -> None:
    """Copy rows: out[i] = x[rows[i]].

    Parameters
    ----------
    x : ndarray, (n, k)
        float32 or float64.
    rows : ndarray of integers, (batch,), each in [0, n)
    out : ndarray, (batch, k)
    """
    gather.bare(GATHERED.address(x.dtype), x, rows, out)
