"""The micro-kernel: one tile of C in registers while k runs, and what happens to it then.

::

                       b[k]: one row of a panel of B
                       [ vector 0 | vector 1 | vector 2 ]
     a[k]: one       +------------------------------------
     column of a     |    tile: an accumulator for each
     panel of A      |    element, tile += a[k] x b[k]
                     |

A tile of 8 rows and 3 vectors needs 24 registers for itself, 3 for the row of B and one for an
element of A: 28 of the 32 that AVX-512 has. A step of k is 24 fused multiply-adds for 11 loads.
"""

from collections import namedtuple

import numpy as np

from kernels.intrinsics import (
    TileShape,
    ahead,
    invoke,
    lanes_of,
    load_tile,
    opaque,
    prefetch,
    prefetch_tile,
    rank_one_update,
    row_offsets,
    store_tile,
    tile_clipped,
    tile_masked,
    tile_of_zeros,
    tile_plus_stored,
    tile_scaled_plus_stored,
)
from kernels.product.flags import ACCUMULATE, ADD_BIASES, CLIP, MASK, SCALE
from kernels.product.tile_sizes import TILE
from kernels.runtime.families import ELEMENTWISE, UPDATE
from kernels.runtime.jit import inlined, inner

ROWS, _VECTORS, _BYTES = TILE.rows, TILE.vectors, TILE.vector_bytes
# As many vectors as a strip's columns need, and one row for the rows that are left. Each is
# compiled apart, so there are no more than these, and none for full tiles alone.
_TALL_3, _TALL_2, _TALL_1 = (TileShape(ROWS, vectors) for vectors in (_VECTORS, 2, 1))
_FLAT, _NARROW = TileShape(1, _VECTORS), TileShape(1, 1)
_TURN = 4
"""Steps of k in a turn of the innermost loop; one alone costs 0.95 -> 0.99."""
ASK = 64 // ROWS
"""Steps of k until the next strip is asked for again: the more rows, the longer a step takes."""

Strided = namedtuple("Strided", ["start", "row", "step"])
"""An operand read as start[i * row + k * step]: a matrix or its transpose, as it lies or packed."""

Tiled = namedtuple("Tiled", ["start", "row", "step", "tile"])
"""The same for A in tiles of ROWS rows: they start ``tile`` elements apart."""

Rows = namedtuple("Rows", ["start", "row"])
"""An operand read as start[i * row + j]."""

Strip = namedtuple("Strip", ["start", "row", "next"])
"""A strip of B, read as start[k * row + j], and the `Upcoming` one."""

Upcoming = namedtuple("Upcoming", ["start", "tile", "step", "other", "tiles"])
"""Memory that is read after a strip. Its first ``tiles`` tiles ask for two cache lines of it every
ASK steps of k: tile t from start + t * tile on, each time ``step`` further, and ``other`` elements
beyond that."""

Pass = namedtuple("Pass", ["resumes", "ends_chain", "adds_sums", "ends", "follows"])
"""Where a pass over a part of k stands: within a chain, at a chain's end, at the end of k, behind
another one."""

Targets = namedtuple("Targets", ["partial", "sums", "out"])
"""Where unfinished chains, sums of chains and results are kept: one place where that can be."""

Then = namedtuple("Then", ["function", "updates", "other", "states", "row", "size", "numbers"])
"""An operation that runs on each finished strip of C while that is in level 1; 0 for none.

An elementwise one takes C for dy and writes C, with ``other`` for x. An update takes C for the
gradients of the parameters at ``other``, whose ``states`` lie ``size`` elements beyond each other.
From row to row of both it is ``row`` elements."""

Epilogue = namedtuple("Epilogue", ["flags", "biases", "then"])
"""What happens to a finished element while it is in registers, then to a finished strip."""


@inner
def lane_count(like):
    """Columns of a vector, in the dtype that ``like`` points at."""
    return lanes_of(like, _BYTES)


@inner
def strip_width(like):
    """Columns of a full tile, in the dtype that ``like`` points at."""
    return _VECTORS * lanes_of(like, _BYTES)


@inner
def next_strip(left, width, lanes):
    """Columns of the next strip: a tile's, but a vector less where that would leave one at most.

    Four vectors are 2 + 2 rather than 3 + 1: a tile of one vector waits for its loads. And where
    there are columns for a vector at all, no strip has fewer.
    """
    if left <= width:
        return left
    return width if left > width + lanes else width - lanes


@inner
def units(size, unit):
    """How many units, the last perhaps not whole."""
    return (size + unit - 1) // unit


@inner
def from_row(operand, i):
    """A `Strided` operand from row i on."""
    return Strided(ahead(operand.start, i * operand.row), operand.row, operand.step)


@inner
def rows_from(rows, i, j):
    """A `Rows` operand from row i and column j on."""
    return Rows(ahead(rows.start, i * rows.row + j), rows.row)


@inner
def strip_of_tiles(rows, columns, terms, a, b, targets, epilogue, step):
    """Loop 1: tiles down a strip of C, then the rows that are left."""
    lanes = lanes_of(b.start, _BYTES)
    if columns > 2 * lanes:
        _tall_tiles(_TALL_3, columns, rows, terms, a, b, targets, epilogue, step)
    elif columns > lanes:
        _tall_tiles(_TALL_2, columns, rows, terms, a, b, targets, epilogue, step)
    else:
        _tall_tiles(_TALL_1, columns, rows, terms, a, b, targets, epilogue, step)
    tiled = rows // ROWS
    rest = Strided(ahead(a.start, tiled * a.tile), a.row, a.step)
    for i in range(rows - tiled * ROWS):
        row = tiled * ROWS + i
        a_row = from_row(rest, i)
        if columns > lanes:
            _tile(_FLAT, columns, terms, a_row, b, targets, row, epilogue, step)
        else:
            _tile(_NARROW, columns, terms, a_row, b, targets, row, epilogue, step)


@inner
def nothing(start):
    """Nothing is upcoming; what is at hand is asked for."""
    no = np.int64(0)
    return Upcoming(start, no, no, no, no)


@inner
def _tall_tiles(shape, columns, rows, terms, a, b, targets, epilogue, step):
    for t in range(rows // ROWS):
        a_rows = Strided(ahead(a.start, t * a.tile), a.row, a.step)
        soon = nothing(b.start)
        if t < b.next.tiles:
            start = ahead(b.next.start, t * b.next.tile)
            soon = Upcoming(start, b.next.tile, b.next.step, b.next.other, b.next.tiles)
        strip = Strip(b.start, b.row, soon)
        _tile(shape, columns, terms, a_rows, strip, targets, t * ROWS, epilogue, step)


@inlined
def _tile(shape, columns, terms, a, b, targets, i, epilogue, step):
    """One tile of C, from row i of the targets on, for one pass over k."""
    partial, sums = rows_from(targets.partial, i, 0), rows_from(targets.sums, i, 0)
    out = rows_from(targets.out, i, 0)
    tile = tile_of_zeros(shape, b.start, _BYTES)
    if step.resumes:
        tile = load_tile(tile, partial.start, partial.row, columns)
    # The next tile of C comes from memory while this one is computed: 0.80 -> 0.99 at n = 2048.
    prefetch_tile(tile, ahead(out.start, ROWS * out.row), out.row)
    tile = chain_of_tile(tile, columns, terms, a, b)
    target = partial
    if step.ends_chain:
        target = sums
        if step.adds_sums:
            tile = tile_plus_stored(tile, sums.start, sums.row, columns)
    if step.ends:
        target = out
        tile = _finished(tile, columns, out, i, epilogue)
    store_tile(tile, target.start, target.row, columns)


@inlined
def chain_of_tile(tile, columns, terms, a, b):
    """k ascending."""
    a_k, b_k, rows = a.start, b.start, row_offsets(tile, a.row)
    line = b.next.start
    for turn in range(terms // _TURN):
        if turn % (ASK // _TURN) == 0:
            prefetch(line)
            prefetch(ahead(line, b.next.other))
            line = ahead(line, b.next.step)
        tile = rank_one_update(tile, a_k, rows, b_k, columns)
        a_k, b_k = opaque(ahead(a_k, a.step)), opaque(ahead(b_k, b.row))
        tile = rank_one_update(tile, a_k, rows, b_k, columns)
        a_k, b_k = opaque(ahead(a_k, a.step)), opaque(ahead(b_k, b.row))
        tile = rank_one_update(tile, a_k, rows, b_k, columns)
        a_k, b_k = opaque(ahead(a_k, a.step)), opaque(ahead(b_k, b.row))
        tile = rank_one_update(tile, a_k, rows, b_k, columns)
        a_k, b_k = opaque(ahead(a_k, a.step)), opaque(ahead(b_k, b.row))
    for _ in range(terms % _TURN):
        tile = rank_one_update(tile, a_k, rows, b_k, columns)
        a_k, b_k = opaque(ahead(a_k, a.step)), opaque(ahead(b_k, b.row))
    return tile


@inner
def join(m, n, chains, first, out, epilogue):
    """Add chains, of which each is m rows behind the one before, and finish their sum."""
    lanes = lane_count(out.start)
    for i in range(m):
        j = 0
        while j < n:
            strip = next_strip(n - j, _VECTORS * lanes, lanes)
            here, target = ahead(first.start, i * first.row + j), rows_from(out, i, j)
            then = epilogue_from(epilogue, i, j)
            if strip >= lanes:
                _join_strip(_FLAT, strip, chains, here, m * first.row, target, then)
            else:
                _join_strip(_NARROW, strip, chains, here, m * first.row, target, then)
            j += strip
    run_then(m, n, out, epilogue.then)


@inlined
def _join_strip(shape, columns, chains, first, size, out, epilogue):
    tile = load_tile(tile_of_zeros(shape, first, _BYTES), first, 0, columns)
    if epilogue.flags & ACCUMULATE:
        tile = tile_plus_stored(tile, out.start, 0, columns)
    for chain in range(1, chains):
        tile = tile_plus_stored(tile, ahead(first, chain * size), 0, columns)
    if epilogue.flags & ADD_BIASES:
        tile = tile_plus_stored(tile, epilogue.biases, 0, columns)
    store_tile(tile, out.start, 0, columns)


@inlined
def _finished(tile, columns, out, i, epilogue):
    """The part of the epilogue that happens while the tile is in registers."""
    flags, then = epilogue.flags, epilogue.then
    if flags & ADD_BIASES:
        tile = tile_plus_stored(tile, epilogue.biases, 0, columns)
    if flags & CLIP:
        tile = tile_clipped(tile)
    if flags & MASK:
        tile = tile_masked(tile, ahead(then.other, i * then.row), then.row, columns)
    if flags & SCALE:
        tile = tile_scaled_plus_stored(tile, -then.numbers[0], out.start, out.row, columns)
    return tile


@inner
def epilogue_from(epilogue, i, j):
    """The epilogue of a part of C, from row i and column j on."""
    function, updates, other, states, row, size, numbers = epilogue.then
    place = i * row + j
    then = Then(function, updates, ahead(other, place), ahead(states, place), row, size, numbers)
    return Epilogue(epilogue.flags, ahead(epilogue.biases, j), then)


@inner
def run_then(rows, columns, c, then):
    """What follows on a finished part of C."""
    if then.function == 0:
        return
    if then.updates:
        places = then.other, c.start, then.states
        block = then.size, rows, columns, then.row, c.row, then.numbers
        invoke(UPDATE, then.function, places + block)
    else:
        places = then.other, c.start, c.start
        invoke(ELEMENTWISE, then.function, places + (rows, columns, c.row, then.numbers))
