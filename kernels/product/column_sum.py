"""The sum down each column, by the rule of products: rows ascending, cut every `CUT` of them.

It is the product with a row of ones, fma(1, x, sum) being x + sum, so that the fused product and
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

# Four vectors of columns at a time: enough sums in flight to hide an addition's latency, and
# enough of each row that memory is read in more than single cache lines.
_VECTORS, _BYTES = 4, TILE.vector_bytes
_STRIP, _NARROW = TileShape(1, _VECTORS), TileShape(1, 1)
_ROWS = 8
"""Rows summed before the next strip: 8 runs of memory, where all rows would be a jump for each line
(on Zen 3, column sums of 512 x 1024 take half the time)."""
_STRIPS = 8
"""Strips that a thread takes in one go."""


@inner
def columns_at_a_time(like):
    """As many columns as a thread takes in one go, in the dtype that ``like`` points at."""
    return _STRIPS * _VECTORS * lanes_of(like, _BYTES)


@inner
def sum_columns(source, rows, row, columns, out):
    """out[j] = sum over i of source[i * row + j] for j < columns."""
    lanes = lanes_of(source, _BYTES)
    width = _VECTORS * lanes
    for first in range(0, max(rows, 1), CUT):  # of no rows the sum is zero
        end = min(first + CUT, max(rows, 1))
        # The first chain goes on from what is stored of it. Later ones have no place of their own.
        some = _ROWS if first == 0 and columns > width else CUT
        for i in range(first, end, some):
            count, j = min(some, end - i, rows), 0
            while j < columns:
                strip = next_strip(columns - j, width, lanes)
                start, target = ahead(source, i * row + j), ahead(out, j)
                if strip >= lanes:
                    _add_rows(_STRIP, start, count, row, strip, i > first, first > 0, target)
                else:
                    _add_rows(_NARROW, start, count, row, strip, i > first, first > 0, target)
                j += strip


@inlined
def _add_rows(shape, source, rows, row, columns, resumes, adds, out):
    """A chain of a strip, from zero or from what is stored, or one that is added to that."""
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
    width = columns_at_a_time(pointer(dz))
    for part in prange((n_out + width - 1) // width):
        j = part * width
        source, target = ahead(pointer(dz), j), ahead(pointer(out), j)
        sum_columns(source, batch, n_out, min(width, n_out - j), target)
