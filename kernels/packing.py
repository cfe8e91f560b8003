"""Packing: a copy of an operand in the order in which the micro-kernel reads it.

::

    the operand, as it lies          its panels, as they are read
          w ->                       panel 0         panel 1
        k a b c d e f                a b c d         e f . .
        | g h i j k l                g h i j         k l . .
        v

For B a panel is as wide as a tile has columns, for A as it has rows: then one step of k reads one
short run of memory on either side, and the next step the run after it. B's transpose and A as it
lies run the other way; they are transposed in registers on the way.
"""

from kernels.jit import inner
from kernels.simd import (
    TURNED_BYTES,
    TileShape,
    ahead,
    itemsize,
    lanes_of,
    load,
    load_tile,
    load_turned,
    store,
    store_tile,
    tile_of_zeros,
)
from kernels.tiles import TILE

_VECTOR, _BYTES = TileShape(1, 1), TILE.vector_bytes
SQUARE = min(TILE.rows, TILE.vector_bytes // 8)
"""Columns that are turned at a time, and rows that are copied; fewer are copied one by one."""
_SHORT, _SQUARE = TileShape(1, 1, lanes=SQUARE), TileShape(SQUARE, 1, lanes=SQUARE)
_NEAR = 128
"""Terms that are turned for all of a panel's columns before the next: so much of a panel stays in
level 1 (Zen 4: 0.86 of the time at 784 x 512)."""


@inner
def pack(source, width, terms, panel, out):
    """out[k * panel + w] = source[w * row + k * step] for w < width and k < terms.

    Either ``row`` or ``step`` of the source is 1. What is left of a panel's width is not written.
    """
    if source.row == 1 and panel > SQUARE:
        for k in range(terms):
            _copy(ahead(source.start, k * source.step), width, ahead(out, k * panel))
    elif width < SQUARE or terms < SQUARE:
        for w in range(width):
            for k in range(terms):
                out[k * panel + w] = source.start[w * source.row + k * source.step]
    elif source.row == 1:
        for beyond in range(SQUARE, terms + SQUARE, SQUARE):
            # The last square overlaps the one before: what both write is the same.
            k = min(beyond, terms) - SQUARE
            square = tile_of_zeros(_SQUARE, out, _BYTES)
            square = load_tile(square, ahead(source.start, k * source.step), source.step, None)
            store_tile(square, ahead(out, k * panel), panel, None)
    else:
        for first in range(0, terms, _NEAR):
            end = min(first + _NEAR, terms)
            for after in range(SQUARE, width + SQUARE, SQUARE):
                w = min(after, width) - SQUARE
                line, target = ahead(source.start, w * source.row), ahead(out, w)
                _turn(line, source.row, first, end, panel, target)


@inner
def _turn(source, row, first, end, panel, out):
    """SQUARE columns of a panel, from rows of the source; the last terms overlap those before."""
    terms = TURNED_BYTES // itemsize(out)
    for beyond in range(first + terms, end + terms, terms):
        k = min(beyond, end) - terms
        like = tile_of_zeros(_SHORT, out, _BYTES)
        store_tile(load_turned(like, ahead(source, k), row), ahead(out, k * panel), panel, None)


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
