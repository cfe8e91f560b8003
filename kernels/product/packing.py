"""Packing: an operand copied in the order in which the micro-kernel reads it.

Loop 3 packs chunks of A, loop 2 panels of B (``kernels/product/loops.py``).

::

    the operand in memory            its panels
          w ->                       panel 0         panel 1
        k a b c d e f                a b c d         e f . .
        | g h i j k l                g h i j         k l . .
        v

A panel of B is as wide as a tile has columns, a panel of A as it has rows, so a step of k reads one
short contiguous run of each, and the next step the next run. A in place and B transposed are
contiguous along k: packing transposes them in registers.
"""

from kernels.intrinsics import (
    TRANSPOSE_BYTES,
    TileShape,
    ahead,
    itemsize,
    lanes_of,
    load,
    load_tile,
    load_transposed,
    store,
    store_tile,
    tile_of_zeros,
)
from kernels.product.microkernel import ROWS, Strided, ceil_div
from kernels.product.tile_sizes import TILE
from kernels.runtime.jit import inner

_VECTOR, _BYTES = TileShape(1, 1), TILE.vector_bytes
SQUARE = min(ROWS, max(4, TILE.vector_bytes // 8))
"""Columns transposed at a time, and terms copied at a time; fewer are copied one by one."""
_SHORT = TileShape(1, 1, lanes=SQUARE)
_RUNS = TileShape(SQUARE, 1, lanes=ROWS)
_TERMS = 128
"""Terms transposed for all columns of a panel before the next terms: this part of the panel stays
in level 1 (Zen 4: 0.86 of the time at 784 x 512)."""


@inner
def pack_rows(source, rows, terms, out):
    """`pack` A panel by panel: panel p begins at out + p * ROWS * terms.

    A transposed is packed a few terms at a time for all panels, so that each cache line is read
    once. Panel by panel, lines a power of two apart would evict it before the next panel
    (Zen 1: 0.79 of the time at (784 x 2048)T . 784 x 128).
    """
    panels = rows // ROWS if source.row == 1 else 0
    whole = terms // SQUARE * SQUARE
    for k in range(0, whole if panels else 0, SQUARE):
        line = ahead(source.start, k * source.k_stride)
        for p in range(panels):
            run = load_tile(tile_of_zeros(_RUNS, out, _BYTES), line, source.k_stride, None)
            store_tile(run, ahead(out, (p * terms + k) * ROWS), ROWS, None)
            line = ahead(line, ROWS)
    for p in range(ceil_div(rows, ROWS)):
        k = whole if p < panels else 0
        start = ahead(source.start, p * ROWS * source.row + k * source.k_stride)
        left = Strided(start, source.row, source.k_stride)
        width = min(ROWS, rows - p * ROWS)
        pack(left, width, terms - k, ROWS, ahead(out, (p * terms + k) * ROWS))


@inner
def pack(source, width, terms, panel, out):
    """out[k * panel + w] = source[w * row + k * k_stride] for w < width and k < terms.

    Either ``row`` or ``k_stride`` of the source is 1. Columns beyond ``width`` stay unwritten.
    """
    if source.row == 1:
        for k in range(terms):
            _copy(ahead(source.start, k * source.k_stride), width, ahead(out, k * panel))
    elif width < SQUARE or terms < SQUARE:
        for w in range(width):
            for k in range(terms):
                out[k * panel + w] = source.start[w * source.row + k * source.k_stride]
    else:
        for first in range(0, terms, _TERMS):
            end = min(first + _TERMS, terms)
            for end_w in range(SQUARE, width + SQUARE, SQUARE):
                w = min(end_w, width) - SQUARE
                line, place = ahead(source.start, w * source.row), ahead(out, w)
                _pack_transposed(line, source.row, first, end, panel, place)


@inner
def _pack_transposed(source, row, first, end, panel, out):
    """SQUARE columns of a panel, from rows of the source; the last terms overlap earlier ones."""
    terms = TRANSPOSE_BYTES // itemsize(out)
    for end_k in range(first + terms, end + terms, terms):
        k = min(end_k, end) - terms
        like = tile_of_zeros(_SHORT, out, _BYTES)
        store_tile(load_transposed(like, ahead(source, k), row), ahead(out, k * panel), panel, None)


@inner
def _copy(line, width, place):
    """One row of a panel, in vectors, of which the last overlaps; a short row in short vectors."""
    lanes = lanes_of(line, _BYTES)
    if width < lanes:
        for w in range(0, width, SQUARE):
            store(load(ahead(line, w), SQUARE, width - w, 0.0), ahead(place, w), width - w)
        return
    for end in range(lanes, width + lanes, lanes):
        w = min(end, width) - lanes
        vector = load_tile(tile_of_zeros(_VECTOR, line, _BYTES), ahead(line, w), 0, None)
        store_tile(vector, ahead(place, w), 0, None)
