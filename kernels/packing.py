"""Packing: a copy of an operand in the order in which the micro-kernel reads it.

::

    the operand, as it lies          its panels, as they are read
          w ->                       panel 0         panel 1
        k a b c d e f                a b c d         e f . .
        | g h i j k l                g h i j         k l . .
        v

For B a panel is as wide as a tile has columns, for A as it has rows: then one step of k reads one
short run of memory on either side, and the next step the run after it. B's transpose and A as it
lies run the other way; they are transposed in registers on the way, square by square.
"""

from kernels.jit import inner
from kernels.simd import (
    TileShape,
    ahead,
    lanes_of,
    load,
    load_square,
    load_tile,
    store,
    store_tile,
    tile_of_zeros,
    transpose_square,
)
from kernels.tiles import TILE

_VECTOR, _BYTES = TileShape(1, 1), TILE.vector_bytes
SQUARE = min(TILE.rows, TILE.vector_bytes // 8)
"""Side of a square that is transposed in registers; what is narrower is copied one by one."""


@inner
def pack(source, width, terms, panel, out):
    """out[k * panel + w] = source[w * row + k * step] for w < width and k < terms.

    Either ``row`` or ``step`` of the source is 1. What is left of a panel's width is not written.
    """
    if source.row == 1 and panel > SQUARE:
        for k in range(terms):
            _copy(ahead(source.start, k * source.step), width, ahead(out, k * panel))
        return
    if width < SQUARE or terms < SQUARE:
        for w in range(width):
            for k in range(terms):
                out[k * panel + w] = source.start[w * source.row + k * source.step]
        return
    for after in range(SQUARE, width + SQUARE, SQUARE):
        # The last square overlaps the one before: what both write is the same.
        w = min(after, width) - SQUARE
        line, target = ahead(source.start, w * source.row), ahead(out, w)
        for beyond in range(SQUARE, terms + SQUARE, SQUARE):
            k = min(beyond, terms) - SQUARE
            start = ahead(line, k * source.step)
            if source.row == 1:
                square = load_square(start, source.step, SQUARE)
            else:
                square = transpose_square(load_square(start, source.row, SQUARE))
            store_tile(square, ahead(target, k * panel), panel, None)


@inner
def _copy(line, width, target):
    """A row of a panel: whole vectors, then what is left in shorter ones."""
    lanes, w = lanes_of(line, _BYTES), 0
    while w + lanes <= width:
        vector = load_tile(tile_of_zeros(_VECTOR, line, _BYTES), ahead(line, w), 0, None)
        store_tile(vector, ahead(target, w), 0, None)
        w += lanes
    while w < width:
        store(load(ahead(line, w), SQUARE, width - w, 0.0), ahead(target, w), width - w)
        w += SQUARE
