"""The sum down each column, by the rule of products: rows ascending, cut every `CUT` rows.

It equals the product with a row of ones, since fma(1, x, sum) is x + sum, so the fused product and
the public kernel agree to the bit.
"""

from numba import prange

from kernels.intrinsics import (
    TileShape,
    ahead,
    lanes_of,
    load_tile,
    pointer,
    store_tile,
    tile_of_zeros,
    tile_plus_stored,
)
from kernels.product.microkernel import next_strip
from kernels.product.tile_sizes import TILE
from kernels.runtime.families import COLUMNWISE, Operation
from kernels.runtime.jit import Array, inlined, inner, kernel

CUT = 4096
"""Terms of one chain: longer sums are chains of CUT, added in order."""

# Four vectors of columns at a time hide an addition's latency, and read several cache lines of each
# row.
_VECTORS, _BYTES = 4, TILE.vector_bytes
_STRIP, _NARROW = TileShape(1, _VECTORS), TileShape(1, 1)
_ROWS = 8
"""Rows summed before the next strip: 8 contiguous streams, where all rows would be a jump per line
(Zen 3: half the time for column sums of 512 x 1024)."""
_STRIPS = 8
"""Strips in a thread's task."""


@inner
def task_columns(like):
    """Columns in a thread's task, in the dtype that ``like`` points at."""
    return _STRIPS * _VECTORS * lanes_of(like, _BYTES)


@inner
def sum_columns(source, rows, row, columns, out):
    """out[j] = sum over i of source[i * row + j] for j < columns."""
    lanes = lanes_of(source, _BYTES)
    width = _VECTORS * lanes
    for first in range(0, max(rows, 1), CUT):  # the sum of no rows is zero
        end = min(first + CUT, max(rows, 1))
        # The first chain is resumed from `out`. A later chain has no storage, so it runs in one go.
        some = _ROWS if first == 0 and columns > width else CUT
        for i in range(first, end, some):
            count, j = min(some, end - i, rows), 0
            while j < columns:
                strip = next_strip(columns - j, width, lanes)
                start, place = ahead(source, i * row + j), ahead(out, j)
                if strip >= lanes:
                    _add_rows(_STRIP, start, count, row, strip, i > first, first > 0, place)
                else:
                    _add_rows(_NARROW, start, count, row, strip, i > first, first > 0, place)
                j += strip


@inlined
def _add_rows(shape, source, rows, row, columns, resumes, adds, out):
    """Start, resume, or add to what is stored, a chain of a strip."""
    total = tile_of_zeros(shape, source, _BYTES)
    if resumes:
        total = load_tile(total, out, 0, columns)
    for i in range(rows):
        total = tile_plus_stored(total, ahead(source, i * row), 0, columns)
    if adds:
        total = tile_plus_stored(total, out, 0, columns)
    store_tile(total, out, 0, columns)


def _column_sum(x, dy, out, rows, columns, stride, numbers):
    sum_columns(x, rows, stride, columns, out)


COLUMN_SUM = Operation(COLUMNWISE, _column_sum, nanoseconds=0.05)


@kernel("dz (batch, n_out) -> out (1, n_out)", nanoseconds=lambda dz, out: 0.05 * dz.size)
def column_sum(dz: Array, out: Array) -> None:
    """Gradient of the biases: out[0, j] = sum over i of dz[i, j].

    The product with a row of ones, by the same rule: rows ascending, cut every 4,096 terms.

    Parameters
    ----------
    dz : ndarray, (batch, n_out)
    out : ndarray, (1, n_out)
        (n_out,) is accepted.
    """
    batch, n_out = dz.shape
    width = task_columns(pointer(dz))
    for part in prange((n_out + width - 1) // width):
        j = part * width
        source, place = ahead(pointer(dz), j), ahead(pointer(out), j)
        sum_columns(source, batch, n_out, min(width, n_out - j), place)
