"""Loop 1 and the micro-kernel: one tile of C in registers while k runs, then its epilogue.

::

                       b[k]: one row of a panel of B
                       [ vector 0 | vector 1 | vector 2 ]
     a[k]: one       +------------------------------------
     column of a     |    tile: an accumulator for each
     panel of A      |    element, tile += a[k] x b[k]
                     |

A tile of 8 rows and 3 vectors needs 24 registers for itself, 3 for the row of B and one for an
element of A: 28 of the 32 that AVX-512 has. A step of k is 24 fused multiply-adds for 11 loads. A
wide tile, of 6 rows and 4 vectors, has 24 for 10.
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

ROWS, VECTORS, VECTOR_BYTES = TILE.rows, TILE.vectors, TILE.vector_bytes
WIDE_ROWS, WIDE_VECTORS = TILE.wide or (ROWS, VECTORS)
"""Of the wide tile, which reads A in place: four vectors would be cut 2 + 2, and a tile of 8 x 2
has 16 multiply-adds for 10 loads. (Ice Lake, time of a step on 32 rows: 784-64-10 0.79, 784-128-10
0.95.)"""
# Tiles of 3, 2 or 1 vectors, by the columns of the strip, and of two or one row for the remaining
# rows. Each shape is compiled separately, so full tiles have none of their own.
_TALL_3, _TALL_2, _TALL_1 = (TileShape(ROWS, vectors) for vectors in (VECTORS, 2, 1))
_WIDE = TileShape(WIDE_ROWS, WIDE_VECTORS)
_PAIR, _NARROW = TileShape(2, max(VECTORS, WIDE_VECTORS)), TileShape(1, 1)
_FLAT = TileShape(1, VECTORS)
UNROLL = 4
"""Steps of k in an iteration of the innermost loop (1 step: 0.95 of the limit; 4: 0.99)."""
PREFETCH_STEPS = 64 // ROWS
"""Steps of k between two prefetches of the next strip: with more rows a step takes longer."""

Strided = namedtuple("Strided", ["start", "row", "k_stride"])
"""An operand read as start[i * row + k * k_stride]: transposed or not, in place or packed."""

Tiled = namedtuple("Tiled", ["start", "row", "k_stride", "tile"])
"""A `Strided` A in tiles of ROWS rows, whose starts are ``tile`` elements apart."""

Rows = namedtuple("Rows", ["start", "row"])
"""An operand read as start[i * row + j]."""

Strip = namedtuple("Strip", ["start", "row", "prefetch"])
"""A strip of B, read as start[k * row + j], and a `Prefetch`."""

Prefetch = namedtuple("Prefetch", ["start", "tile", "stride", "second", "tiles"])
"""What to prefetch while a strip is computed. Every PREFETCH_STEPS steps of k, each of the first
``tiles`` tiles prefetches two cache lines ``second`` elements apart: tile t starts at
start + t * tile, and advances by ``stride``."""

Phase = namedtuple("Phase", ["resumes", "ends_chain", "adds_sums", "ends", "follows"])
"""Where a pass over a part of k stands: it resumes a chain, ends a chain, adds sums of earlier
chains, ends k, follows another pass."""

Outputs = namedtuple("Outputs", ["partial", "sums", "out"])
"""Where unfinished chains, sums of chains and results are stored: one place where possible."""

Then = namedtuple("Then", ["function", "updates", "other", "states", "row", "size", "numbers"])
"""The operation that runs on each finished strip of C, which is still in level 1; 0 for none.

An elementwise operation reads C as dy and ``other`` as x, and writes C. An update reads C as the
gradients of the parameters at ``other``, whose ``states`` are ``size`` elements apart. ``row`` is
the row stride of ``other`` and ``states``."""

Epilogue = namedtuple("Epilogue", ["flags", "biases", "then"])
"""What is done with a finished element in registers (flags, biases), then with a finished strip."""


@inner
def lane_count(like):
    """Columns of a vector, in the dtype that ``like`` points at."""
    return lanes_of(like, VECTOR_BYTES)


@inner
def strip_width(like):
    """Columns of a full tile, in the dtype that ``like`` points at."""
    return VECTORS * lanes_of(like, VECTOR_BYTES)


@inner
def next_strip(left, width, lanes):
    """Columns of the next strip: a full tile, or one vector less where at most one would remain.

    Four vectors are cut 2 + 2 rather than 3 + 1: a tile of one vector waits for its loads. No strip
    is narrower than a vector, unless C is.
    """
    if left <= width:
        return left
    return width if left > width + lanes else width - lanes


@inner
def ceil_div(size, unit):
    """size / unit, rounded up."""
    return (size + unit - 1) // unit


@inner
def strip_columns(left, strip, lanes):
    """Columns of the next strip: of a wide tile, where the plan allows it and one or two end C."""
    vectors = ceil_div(left, lanes)
    if strip > VECTORS * lanes and (vectors == WIDE_VECTORS or vectors == 2 * WIDE_VECTORS):
        return min(left, strip)
    return next_strip(left, VECTORS * lanes, lanes)


@inner
def from_row(operand, i):
    """A `Strided` operand from row i on."""
    return Strided(ahead(operand.start, i * operand.row), operand.row, operand.k_stride)


@inner
def rows_from(rows, i, j):
    """A `Rows` operand from row i and column j on."""
    return Rows(ahead(rows.start, i * rows.row + j), rows.row)


@inlined
def strip_of_tiles(rows, columns, terms, a, b, outputs, epilogue, phase):
    """Loop 1: tiles down a strip of C, then the remaining rows, two at a time or one."""
    lanes, height = lanes_of(b.start, VECTOR_BYTES), ROWS
    if WIDE_VECTORS > VECTORS and columns > VECTORS * lanes:
        height = WIDE_ROWS
        a = Tiled(a.start, a.row, a.k_stride, WIDE_ROWS * a.row)
        _tall_tiles(_WIDE, (rows, height), columns, terms, a, b, outputs, epilogue, phase)
    elif columns > 2 * lanes:
        _tall_tiles(_TALL_3, (rows, height), columns, terms, a, b, outputs, epilogue, phase)
    elif columns > lanes:
        _tall_tiles(_TALL_2, (rows, height), columns, terms, a, b, outputs, epilogue, phase)
    else:
        _narrow_tiles(columns, rows, terms, a, b, outputs, epilogue, phase)
    tiled = rows // height
    rest = Strided(ahead(a.start, tiled * a.tile), a.row, a.k_stride)
    i = tiled * height
    while i < rows:
        row = from_row(rest, i - tiled * height)
        if columns > lanes:
            # A last row stands for both: computed twice at the same time, and stored twice.
            step = min(2, rows - i) - 1
            pair = Strided(row.start, step * row.row, row.k_stride)
            places = Outputs(
                _pair_from(outputs.partial, i, step),
                _pair_from(outputs.sums, i, step),
                _pair_from(outputs.out, i, step),
            )
            function, updates, other, states, line, size, own = epilogue_from(epilogue, i, 0).then
            then = Then(function, updates, other, states, step * line, size, own)
            last = Epilogue(epilogue.flags, epilogue.biases, then)
            _tile(_PAIR, columns, terms, pair, b, places, np.int64(0), last, phase)
            i += 2
        else:
            _tile(_NARROW, columns, terms, row, b, outputs, i, epilogue, phase)
            i += 1


@inner
def _pair_from(rows, i, step):
    """A `Rows` operand from row i on, whose second row is ``step`` rows further."""
    return Rows(ahead(rows.start, i * rows.row), step * rows.row)


@inner
def no_prefetch(start):
    """Prefetch nothing new: the lines at ``start``, which are at hand."""
    no = np.int64(0)
    return Prefetch(start, no, no, no, no)


@inner
def _tall_tiles(shape, heights, columns, terms, a, b, outputs, epilogue, phase):
    rows, height = heights
    for t in range(rows // height):
        a_rows = Strided(ahead(a.start, t * a.tile), a.row, a.k_stride)
        prefetched = no_prefetch(b.start)
        if t < b.prefetch.tiles:
            start, tile, stride, second, tiles = b.prefetch
            prefetched = Prefetch(ahead(start, t * tile), tile, stride, second, tiles)
        strip = Strip(b.start, b.row, prefetched)
        _tile(shape, columns, terms, a_rows, strip, outputs, t * height, epilogue, phase)


@inner
def _narrow_tiles(columns, rows, terms, a, b, outputs, epilogue, phase):
    """Tiles of one vector, two at a time: one has too few chains to hide a multiply-add's latency.

    (Ice Lake, time of two over one: 0.85 at 32 x 32 x 10.)
    """
    tiles = rows // ROWS
    for t in range(0, tiles, 2):
        step = min(1, tiles - 1 - t)
        i = t * ROWS
        start = ahead(a.start, t * a.tile)
        first = _begun(_TALL_1, columns, b, outputs, i, phase)
        second = _begun(_TALL_1, columns, b, outputs, i + step * ROWS, phase)
        a_k, b_k, offsets = start, b.start, row_offsets(first, a.row)
        for _ in range(terms):
            first = rank_one_update(first, a_k, offsets, b_k, columns)
            if step:
                second = rank_one_update(second, ahead(a_k, a.tile), offsets, b_k, columns)
            a_k, b_k = opaque(ahead(a_k, a.k_stride)), opaque(ahead(b_k, b.row))
        _end(first, columns, outputs, i, epilogue, phase)
        if step:
            _end(second, columns, outputs, i + ROWS, epilogue, phase)


@inlined
def _tile(shape, columns, terms, a, b, outputs, i, epilogue, phase):
    """One tile of C, from row i of the outputs on, for one pass over k."""
    tile = _begun(shape, columns, b, outputs, i, phase)
    tile = chain_of_tile(tile, columns, terms, a, b)
    _end(tile, columns, outputs, i, epilogue, phase)


@inlined
def _begun(shape, columns, b, outputs, i, phase):
    """A tile before a pass over k: zeros, or the chains of the passes before."""
    tile = tile_of_zeros(shape, b.start, VECTOR_BYTES)
    if phase.resumes:
        partial = rows_from(outputs.partial, i, 0)
        tile = load_tile(tile, partial.start, partial.row, columns)
    # The next tile of C comes from memory while this one is computed: 0.80 -> 0.99 at n = 2048.
    out = rows_from(outputs.out, i, 0)
    prefetch_tile(tile, ahead(out.start, ROWS * out.row), out.row)
    return tile


@inlined
def _end(tile, columns, outputs, i, epilogue, phase):
    """What is done with a tile after a pass over k."""
    partial, sums = rows_from(outputs.partial, i, 0), rows_from(outputs.sums, i, 0)
    out = rows_from(outputs.out, i, 0)
    place = partial
    if phase.ends_chain:
        place = sums
        if phase.adds_sums:
            tile = tile_plus_stored(tile, sums.start, sums.row, columns)
    if phase.ends:
        place = out
        tile = _finished(tile, columns, out, i, epilogue)
    store_tile(tile, place.start, place.row, columns)


@inlined
def chain_of_tile(tile, columns, terms, a, b):
    """The chains of a tile's elements: k ascending."""
    a_k, b_k, rows = a.start, b.start, row_offsets(tile, a.row)
    line = b.prefetch.start
    for iteration in range(terms // UNROLL):
        if iteration % (PREFETCH_STEPS // UNROLL) == 0:
            prefetch(line)
            prefetch(ahead(line, b.prefetch.second))
            line = ahead(line, b.prefetch.stride)
        tile = rank_one_update(tile, a_k, rows, b_k, columns)
        a_k, b_k = opaque(ahead(a_k, a.k_stride)), opaque(ahead(b_k, b.row))
        tile = rank_one_update(tile, a_k, rows, b_k, columns)
        a_k, b_k = opaque(ahead(a_k, a.k_stride)), opaque(ahead(b_k, b.row))
        tile = rank_one_update(tile, a_k, rows, b_k, columns)
        a_k, b_k = opaque(ahead(a_k, a.k_stride)), opaque(ahead(b_k, b.row))
        tile = rank_one_update(tile, a_k, rows, b_k, columns)
        a_k, b_k = opaque(ahead(a_k, a.k_stride)), opaque(ahead(b_k, b.row))
    for _ in range(terms % UNROLL):
        tile = rank_one_update(tile, a_k, rows, b_k, columns)
        a_k, b_k = opaque(ahead(a_k, a.k_stride)), opaque(ahead(b_k, b.row))
    return tile


@inner
def join(m, n, chains, first, out, epilogue):
    """Add chains, which are m rows apart, and apply the epilogue to their sum."""
    lanes = lane_count(out.start)
    for i in range(m):
        j = 0
        while j < n:
            strip = next_strip(n - j, VECTORS * lanes, lanes)
            here, place = ahead(first.start, i * first.row + j), rows_from(out, i, j)
            then = epilogue_from(epilogue, i, j)
            if strip >= lanes:
                _join_strip(_FLAT, strip, chains, here, m * first.row, place, then)
            else:
                _join_strip(_NARROW, strip, chains, here, m * first.row, place, then)
            j += strip
    run_then(m, n, out, epilogue.then)


@inlined
def _join_strip(shape, columns, chains, first, size, out, epilogue):
    tile = load_tile(tile_of_zeros(shape, first, VECTOR_BYTES), first, 0, columns)
    if epilogue.flags & ACCUMULATE:
        tile = tile_plus_stored(tile, out.start, 0, columns)
    for chain in range(1, chains):
        tile = tile_plus_stored(tile, ahead(first, chain * size), 0, columns)
    if epilogue.flags & ADD_BIASES:
        tile = tile_plus_stored(tile, epilogue.biases, 0, columns)
    store_tile(tile, out.start, 0, columns)


@inlined
def _finished(tile, columns, out, i, epilogue):
    """The part of the epilogue that is done in registers."""
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
    """Run the operation that follows on a finished part of C."""
    if then.function == 0:
        return
    if then.updates:
        places = then.other, c.start, then.states
        block = then.size, rows, columns, then.row, c.row, then.numbers
        invoke(UPDATE, then.function, places + block)
    else:
        places = then.other, c.start, c.start
        invoke(ELEMENTWISE, then.function, places + (rows, columns, c.row, then.numbers))
