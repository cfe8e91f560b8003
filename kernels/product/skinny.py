"""C of fewer rows than a tile: what a network is asked for when one row comes at a time.

Each number of B is used but once or a few times, so such a product is as fast as B is read. It is
read in the order in which it lies, a few terms at a time, and the chains are kept in memory: in C,
or beside it where C holds something that is still needed. What is left to the micro-kernel: several
rows by a transposed B, which is packed for them, and a C that is narrower than a vector::

    B as it lies: runs of rows              its transpose: short runs of k, turned in registers
         j ->                                    k ->
       k [-------------]  -------------        j a b c d | e f g h
       | [-- _TERMS ---]  -------------        | i j k l | ...         a e i m joins the chains,
       v [-------------]  -------------        v m n o p |             then b f j n, ...
"""

from kernels.intrinsics import (
    TileShape,
    ahead,
    load_tile,
    multiply_turned,
    store_tile,
    tile_of_zeros,
)
from kernels.product.column_sum import CUT
from kernels.product.microkernel import (
    ROWS,
    Strided,
    Strip,
    chain_of_tile,
    lane_count,
    next_strip,
    nothing,
    rows_from,
)
from kernels.product.tile_sizes import TILE
from kernels.runtime.jit import inlined, inner

_BYTES = TILE.vector_bytes
_VECTORS = 4
_FLAT = TileShape(1, _VECTORS)
_TERMS = 8
"""Rows of B at a time."""

TURNED_TERMS = 32
"""A single row of C takes B transposed as it lies, from so many terms on; else it is packed."""
# Two vectors' chains hide most of a multiply-add's latency; more rows of B at a time, and those a
# power of two apart fall out of level 1 before all of a line is used.
TURNED_LANES = 8
_TURNED = TileShape(1, 2, lanes=TURNED_LANES)
_TURN = 8
"""Steps of k in a turn: half a line of each row, a whole one in float64."""


@inner
def are_few(m, n, k, b_row, like):
    """Whether the chains of so many rows and columns are summed here, from B as it lies.

    There has to be a chain, and a vector's columns: in each block of C, too, of which one may have
    a vector less than the n of another.
    """
    if b_row == 1:
        return m < ROWS and n >= lane_count(like) and k > 0
    return m == 1 and n >= 2 * TURNED_LANES and k >= TURNED_TERMS


@inner
def chains_of_few_rows(m, n, k, a, b, out):
    """The chains of CUT terms of each element, each m rows behind the one before; how many."""
    chains = 0
    for first in range(0, k, CUT):
        terms, here = min(CUT, k - first), rows_from(out, chains * m, 0)
        a_chain = Strided(ahead(a.start, first * a.step), a.row, a.step)
        b_chain = Strided(ahead(b.start, first * b.step), b.row, b.step)
        if b.row == 1:
            _chains(m, n, terms, a_chain, b_chain, here)
        else:
            _turned_chains(n, terms, a_chain, b_chain, here.start)
        chains += 1
    return chains


@inner
def _chains(m, n, terms, a, b, out):
    """B as it lies."""
    for k in range(0, terms, _TERMS):
        some, b_some = min(_TERMS, terms - k), Strided(ahead(b.start, k * b.step), b.row, b.step)
        for i in range(m):
            a_row = Strided(ahead(a.start, i * a.row + k * a.step), a.row, a.step)
            _go_on(n, some, a_row, b_some, rows_from(out, i, 0).start, k > 0)


@inlined
def _go_on(n, terms, a, b, out, resumes):
    """The chains of a row, from zero or what is stored, by a few terms."""
    lanes = lane_count(out)
    j = 0
    while j < n:
        strip, target = next_strip(n - j, _VECTORS * lanes, lanes), ahead(out, j)
        tile = tile_of_zeros(_FLAT, out, _BYTES)
        if resumes:
            tile = load_tile(tile, target, 0, strip)
        columns = Strip(ahead(b.start, j), b.step, nothing(b.start))
        store_tile(chain_of_tile(tile, strip, terms, a, columns), target, 0, strip)
        j += strip


@inner
def _turned_chains(n, terms, a, b, out):
    """One row by a transposed B."""
    j = 0
    while j < n:
        strip = next_strip(n - j, 2 * TURNED_LANES, TURNED_LANES)
        tile = tile_of_zeros(_TURNED, b.start, 0)
        a_k, b_k = a.start, ahead(b.start, j * b.row)
        for _ in range(terms // _TURN):
            tile = multiply_turned(tile, a_k, a.step, b_k, b.row, _TURN, strip)
            a_k, b_k = ahead(a_k, _TURN * a.step), ahead(b_k, _TURN)
        for _ in range(terms % _TURN):
            tile = multiply_turned(tile, a_k, a.step, b_k, b.row, 1, strip)
            a_k, b_k = ahead(a_k, a.step), ahead(b_k, 1)
        store_tile(tile, ahead(out, j), 0, strip)
        j += strip
