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

from kernels.intrinsics import (
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
from kernels.product.microkernel import ROWS, Strided, units
from kernels.product.tile_sizes import TILE
from kernels.runtime.jit import inner

_VECTOR, _BYTES = TileShape(1, 1), TILE.vector_bytes
SQUARE = min(ROWS, max(4, TILE.vector_bytes // 8))
"""Columns that are turned at a time, and terms that are copied; fewer are copied one by one."""
_SHORT = TileShape(1, 1, lanes=SQUARE)
_RUNS = TileShape(SQUARE, 1, lanes=ROWS)
_NEAR = 128
"""Terms that are turned for all of a panel's columns before the next: so much of a panel stays in
level 1 (Zen 4: 0.86 of the time at 784 x 512)."""


@inner
def pack_rows(source, rows, terms, out):
    """`pack` A, a panel after the other: panel p begins at out + p * ROWS * terms.

    Where A runs along its rows, a few terms of all panels come first, so that a cache line is read
    once. A panel takes a part of it, and before the next panel comes by, lines that lie a power of
    two apart have driven it out (Zen 1: 0.79 of the time at (784 x 2048)T . 784 x 128).
    """
    panels = rows // ROWS if source.row == 1 else 0
    whole = terms // SQUARE * SQUARE
    for k in range(0, whole if panels else 0, SQUARE):
        line = ahead(source.start, k * source.step)
        for p in range(panels):
            run = load_tile(tile_of_zeros(_RUNS, out, _BYTES), line, source.step, None)
            store_tile(run, ahead(out, (p * terms + k) * ROWS), ROWS, None)
            line = ahead(line, ROWS)
    for p in range(units(rows, ROWS)):
        k = whole if p < panels else 0
        start = ahead(source.start, p * ROWS * source.row + k * source.step)
        left = Strided(start, source.row, source.step)
        width = min(ROWS, rows - p * ROWS)
        pack(left, width, terms - k, ROWS, ahead(out, (p * terms + k) * ROWS))


@inner
def pack(source, width, terms, panel, out):
    """out[k * panel + w] = source[w * row + k * step] for w < width and k < terms.

    Either ``row`` or ``step`` of the source is 1. What is left of a panel's width is not written.
    """
    if source.row == 1:
        for k in range(terms):
            _copy(ahead(source.start, k * source.step), width, ahead(out, k * panel))
    elif width < SQUARE or terms < SQUARE:
        for w in range(width):
            for k in range(terms):
                out[k * panel + w] = source.start[w * source.row + k * source.step]
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
    """A row of a panel: vectors, of which the last overlaps; a short row in shorter ones."""
    lanes = lanes_of(line, _BYTES)
    if width < lanes:
        for w in range(0, width, SQUARE):
            store(load(ahead(line, w), SQUARE, width - w, 0.0), ahead(target, w), width - w)
        return
    for after in range(lanes, width + lanes, lanes):
        w = min(after, width) - lanes
        vector = load_tile(tile_of_zeros(_VECTOR, line, _BYTES), ahead(line, w), 0, None)
        store_tile(vector, ahead(target, w), 0, None)
