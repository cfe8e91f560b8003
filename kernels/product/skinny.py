"""Skinny products: C has one row, or fewer than a tile and B is large. So one sample is predicted.

They replace loops 4 to 1 of ``kernels/product/loops.py``. Reading B bounds their speed, so B is
neither packed nor read twice: a few terms at a time, in memory order, while the chains are stored
in C, or in scratch where C holds a sum. Several rows times a transposed B, and a C narrower than a
vector, remain with the micro-kernel::

    B: runs of rows                         B transposed: runs of k, transposed in registers
         j ->                                    k ->
       k [-------------]  -------------        j a b c d | e f g h
       | [-- _TERMS ---]  -------------        | i j k l | ...         a e i m joins the chains,
       v [-------------]  -------------        v m n o p |             then b f j n, ...
"""

from kernels.intrinsics import (
    TileShape,
    ahead,
    load_tile,
    multiply_transposed,
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
    no_prefetch,
    rows_from,
)
from kernels.product.tile_sizes import TILE
from kernels.runtime.jit import inlined, inner

_BYTES = TILE.vector_bytes
_VECTORS = 4
_FLAT = TileShape(1, _VECTORS)
_TERMS = 8
"""Rows of B read at a time."""

SKINNY_ELEMENTS = 64 * 1024
"""Elements of B beyond which several rows read it as it lies in memory, and not by strips, two rows
at a time (Ice Lake, speed by strips: 1.2 to 1.5 times at 4 x 150 x 100 and 2 x 256 x 128, 0.7 at
4 x 784 x 128)."""
# Two vectors hide most of a multiply-add's latency. With more rows of B at a time, rows a power of
# two apart are evicted from level 1 before all of a line is used.
TRANSPOSED_LANES = 8
_TRANSPOSED = TileShape(1, 2, lanes=TRANSPOSED_LANES)
_UNROLL = 8
"""Steps of k in an iteration: half a cache line of each row in float32, a whole one in float64."""


@inner
def is_skinny(m, n, k, b_row, lanes):
    """Whether a product of these sizes is computed here, from B in place.

    It needs a chain, and a vector of columns in each block of C; one block may have a vector less
    than another.
    """
    if b_row == 1:
        is_read_once = m == 1 or k * n > SKINNY_ELEMENTS
        return m < ROWS and is_read_once and n >= lanes and k > 0
    # However short its rows: with 2 to 24 terms 1.1 to 3 times as fast as from packed panels.
    return m == 1 and n >= 2 * TRANSPOSED_LANES and k > 0


@inner
def skinny_chains(m, n, k, a, b, out):
    """Compute the chains of CUT terms, stored m rows apart; return how many there are."""
    chains = 0
    for first in range(0, k, CUT):
        terms, here = min(CUT, k - first), rows_from(out, chains * m, 0)
        a_chain = Strided(ahead(a.start, first * a.k_stride), a.row, a.k_stride)
        b_chain = Strided(ahead(b.start, first * b.k_stride), b.row, b.k_stride)
        if b.row == 1:
            _chains(m, n, terms, a_chain, b_chain, here)
        else:
            _transposed_chains(n, terms, a_chain, b_chain, here.start)
        chains += 1
    return chains


@inner
def _chains(m, n, terms, a, b, out):
    """The chains of m rows, from B in place."""
    for k in range(0, terms, _TERMS):
        count = min(_TERMS, terms - k)
        b_part = Strided(ahead(b.start, k * b.k_stride), b.row, b.k_stride)
        for i in range(m):
            a_row = Strided(ahead(a.start, i * a.row + k * a.k_stride), a.row, a.k_stride)
            _extend(n, count, a_row, b_part, rows_from(out, i, 0).start, k > 0)


@inlined
def _extend(n, terms, a, b, out, resumes):
    """Start or resume the chains of one row, by a few terms."""
    lanes = lane_count(out)
    j = 0
    while j < n:
        strip, place = next_strip(n - j, _VECTORS * lanes, lanes), ahead(out, j)
        tile = tile_of_zeros(_FLAT, out, _BYTES)
        if resumes:
            tile = load_tile(tile, place, 0, strip)
        columns = Strip(ahead(b.start, j), b.k_stride, no_prefetch(b.start))
        store_tile(chain_of_tile(tile, strip, terms, a, columns), place, 0, strip)
        j += strip


@inner
def _transposed_chains(n, terms, a, b, out):
    """The chains of one row times a transposed B."""
    j = 0
    while j < n:
        strip = next_strip(n - j, 2 * TRANSPOSED_LANES, TRANSPOSED_LANES)
        tile = tile_of_zeros(_TRANSPOSED, b.start, 0)
        a_k, b_k = a.start, ahead(b.start, j * b.row)
        for _ in range(terms // _UNROLL):
            tile = multiply_transposed(tile, a_k, a.k_stride, b_k, b.row, _UNROLL, strip)
            a_k, b_k = ahead(a_k, _UNROLL * a.k_stride), ahead(b_k, _UNROLL)
        for _ in range(terms % _UNROLL):
            tile = multiply_transposed(tile, a_k, a.k_stride, b_k, b.row, 1, strip)
            a_k, b_k = ahead(a_k, a.k_stride), ahead(b_k, 1)
        store_tile(tile, ahead(out, j), 0, strip)
        j += strip
