"""The sum down each column, by the rule of products: rows ascending, cut every `CUT` of them.

It is the product with a row of ones, fma(1, x, sum) being x + sum, so that the fused product and
the public kernel agree to the bit.
"""

from kernels.jit import inner
from kernels.simd import (
    TileShape,
    ahead,
    lanes_of,
    load_tile,
    store_tile,
    tile_of_zeros,
    tile_plus_stored,
)
from kernels.tiles import TILE

CUT = 4096
"""Terms of one chain: longer sums are chains of CUT, added in order."""

# Four vectors of columns at a time: enough sums in flight to hide an addition's latency, and
# enough of each row that memory is read in more than single cache lines.
_VECTORS, _BYTES = 4, TILE.vector_bytes
_STRIP = TileShape(1, _VECTORS)
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
    width = _VECTORS * lanes_of(source, _BYTES)
    for first in range(0, max(rows, 1), CUT):  # of no rows the sum is zero
        end = min(first + CUT, max(rows, 1))
        # The first chain goes on from what is stored of it. Later ones have no place of their own.
        some = _ROWS if first == 0 and columns > width else CUT
        for i in range(first, end, some):
            count = min(some, end - i, rows)
            for j in range(0, columns, width):
                left, target = columns - j, ahead(out, j)
                total = tile_of_zeros(_STRIP, source, _BYTES)
                if i > first:
                    total = load_tile(total, target, 0, left)
                total = _plus_rows(total, ahead(source, i * row + j), count, row, left)
                if first > 0:
                    total = tile_plus_stored(total, target, 0, left)
                store_tile(total, target, 0, left)


@inner
def _plus_rows(total, source, rows, row, columns):
    for i in range(rows):
        total = tile_plus_stored(total, ahead(source, i * row), 0, columns)
    return total
