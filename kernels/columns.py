"""The sum down each column, by the rule of products: rows ascending, cut every `CUT` of them.

It is the product with a row of ones, fma(1, x, sum) being x + sum, so that the fused product and
the public kernel agree to the bit.
"""

from kernels.jit import inner
from kernels.simd import TileShape, ahead, lanes_of, store_tile, tile_of_zeros, tile_plus_stored
from kernels.tiles import TILE

CUT = 4096
"""Terms of one chain: longer sums are chains of CUT, added in order."""

# Four vectors of columns at a time: enough sums in flight to hide an addition's latency, and
# enough of each row that memory is read in more than single cache lines.
_VECTORS, _BYTES = 4, TILE.vector_bytes
_STRIP = TileShape(1, _VECTORS)


@inner
def columns_at_a_time(like):
    """As many columns as are summed together, in the dtype that ``like`` points at."""
    return _VECTORS * lanes_of(like, _BYTES)


@inner
def sum_columns(source, rows, row, columns, out):
    """out[j] = sum over i of source[i * row + j] for j < columns."""
    for j in range(0, columns, columns_at_a_time(source)):
        start, target, left = ahead(source, j), ahead(out, j), columns - j
        total = _one_chain(start, min(CUT, rows), row, left)
        for i in range(CUT, rows, CUT):
            store_tile(total, target, 0, left)
            total = _one_chain(ahead(start, i * row), min(CUT, rows - i), row, left)
            total = tile_plus_stored(total, target, 0, left)
        store_tile(total, target, 0, left)


@inner
def _one_chain(source, rows, row, columns):
    total = tile_of_zeros(_STRIP, source, _BYTES)
    for i in range(rows):
        total = tile_plus_stored(total, ahead(source, i * row), 0, columns)
    return total
