"""Putting mini-batches together."""

from numba import prange

from kernels.elementary import LANES
from kernels.jit import Array, inner, kernel
from kernels.simd import ahead, load, prefetch, store

SOON = 8
"""Rows between the one that is copied and the one that is asked for. A shuffled row lies anywhere,
and waiting for it costs as much as copying it; any number from 4 to 32 did as well."""


@kernel(
    "x (n, k), rows <batch < n> -> out (batch, k)",
    nanoseconds=lambda x, rows, out: 20.0 * rows.size + 0.1 * out.size,
)
def gather_rows(x: Array, rows: Array, out: Array) -> None:
    """Copy rows: out[i] = x[rows[i]].

    Parameters
    ----------
    x : ndarray, (n, k)
        float32 or float64.
    rows : ndarray of integers, (batch,), each in [0, n)
    out : ndarray, (batch, k)
    """
    for i in prange(rows.size):
        row = rows[i]
        for j in range(x.shape[1]):
            out[i, j] = x[row, j]


@inner
def copy_row(source, soon, out, n):
    """`gather_rows` of one row of n, as networks do: memory brings the row ``soon`` meanwhile."""
    for j in range(0, n, LANES):
        prefetch(ahead(soon, j))
        store(load(ahead(source, j), LANES, n - j, 0.0), ahead(out, j), n - j)
