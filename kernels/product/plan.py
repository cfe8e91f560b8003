"""Loop 5's grid of blocks, and how a product is computed: passes, chunks, panels, what is packed.

A `Plan` holds only numbers, by which ``loops.py`` runs. It follows from the sizes and the strides
alone; the limits come from the caches (``block_sizes.py``). No choice here shows in the result.
"""

import math
from collections import namedtuple

import numpy as np

from kernels.intrinsics import LINE
from kernels.product.block_sizes import (
    CACHES,
    FAR_PAGES,
    FAR_STEP,
    FAR_STEP_OF_A,
    PAGE,
    SIZES,
    WIDE_STEP,
)
from kernels.product.column_sum import CUT
from kernels.product.flags import ACCUMULATE, BY_COLUMNS, IN_BLOCKS, SCALE, TRANSPOSE_A
from kernels.product.microkernel import (
    ROWS,
    UNROLL,
    VECTOR_BYTES,
    VECTORS,
    WIDE_ROWS,
    WIDE_VECTORS,
    ceil_div,
)
from kernels.product.skinny import is_skinny
from kernels.product.tile_sizes import TILE
from kernels.runtime.jit import inner

# By the caches: `block_sizes.BlockSizes` says what they are.
DEPTH, BLOCK_COLUMNS, LARGE_B = SIZES.depth, SIZES.columns, SIZES.large_b
CHUNK, LONG_CHUNK, DIRECT_CHUNK = SIZES.chunk, SIZES.long_chunk, SIZES.direct_chunk
PACK_ROWS, PACK_NEAR_ROWS = 32, 64
"""Fewest rows of C for which packing pays: of B that falls out of level 2, and for other reasons.
B in place would be read from level 3 or memory again for each chunk or tile; a packed panel is
small, contiguous and prefetched."""
TURNED_COLUMNS, TURNED_PACKED_COLUMNS, TURNED_TERMS = 24, 12, 16
"""Most columns of a C that is computed as its transpose, for vectors of 16 numbers: where A is
transposed, so that its rows are vectors, and where it has to be packed for that; and fewest terms.
(Ice Lake, speed relative to C as it lies: A transposed, 5 times with one column, 2 with 10; A
packed, 4 times with one column, 1.4 with 8, 1.2 with 10, 0.9 with 14. With 8 terms 0.9 to 1.0.)"""
TURNED_LONG_TERMS = 128
"""Fewest terms for which a C of two vectors of rows is. (Ice Lake, (k x 32)T . k x 10: 0.65 of the
speed with 32 terms, 1.15 with 128, 1.5 with 256, 1.8 with 1,024.)"""
_LEVEL_1, _WAY_1 = CACHES.level_1.size, CACHES.level_1.size // CACHES.level_1.ways
_LEVEL_2, _WAY_2 = CACHES.level_2.size, CACHES.level_2.size // CACHES.level_2.ways
_EVERY_TILE = math.lcm(ROWS, WIDE_ROWS)
"""Rows that both heights of tiles divide."""
_STAYS_IN_LEVEL_1, _TILE_ROW = SIZES.near == 1, TILE.row_bytes
BLOCK = 2048
"""Most rows of a block. With BLOCK_COLUMNS it bounds the scratch memory."""
THREAD_WORK = 2**26
"""Multiply-adds per thread (1 ms) above which there are more blocks than threads, so that a slow
thread takes fewer of them."""

Plan = namedtuple(
    "Plan",
    ["rows", "columns", "strip", "depth", "chunk", "panels", "skinny", "turned"]
    + ["a_bytes", "b_bytes", "partial_bytes", "gradient_bytes", "bytes"],
)
"""How a product is cut into blocks, strips, passes and chunks, and the bytes of scratch memory."""


@inner
def plan_of(sizes, a_k_stride, b_row, flags, updates, size, count):
    """How a product is cut, what is packed, and the scratch memory that a thread needs.

    ``size`` is the bytes of an element. Only numbers: Python runs it too.
    """
    m, n, k = sizes
    lanes = VECTOR_BYTES // size
    strip = VECTORS * lanes
    rows, columns = max(1, ceil_div(m, BLOCK)), count
    if flags & IN_BLOCKS == 0:
        rows, columns = _blocks(m, n, k, strip, lanes, count, flags & BY_COLUMNS != 0)
    block_m, block_n = m, n
    if rows * columns > 1:
        block_m = min(m, ceil_div(ceil_div(m, ROWS), rows) * ROWS)
        block_n = min(n, ceil_div(ceil_div(n, lanes), columns) * lanes)
    is_whole = rows * columns == 1
    turned = _is_turned((block_m, block_n, k), is_whole, a_k_stride, flags, lanes)
    if turned:
        block_m, block_n = block_n, block_m
        a_k_stride, b_row = n if b_row == 1 else 1, 1 if a_k_stride != 1 else k
    skinny = is_skinny(block_m, block_n, k, b_row, lanes)
    packs_a, packs_b = False, b_row != 1 and not skinny
    b_step = block_n if turned or flags & (IN_BLOCKS | TRANSPOSE_A) == IN_BLOCKS else n
    if block_m >= PACK_ROWS:
        strides = k if a_k_stride == 1 else 1, a_k_stride, b_row, b_step if b_row == 1 else 1
        packs_a, packs_b = _packs((block_m, block_n, k), strides, size)
    is_wide = not (packs_a or packs_b or skinny) and _reads_b_fast(k, b_step * size)
    if is_wide:
        strip = WIDE_VECTORS * lanes
    depth, chunk = _depth_and_chunk(block_m, k, (packs_a, packs_b, is_wide), size)
    # Panels of B are kept for the next chunk of A; with one chunk each overwrites the last.
    panels = ceil_div(block_n, strip) if block_m > chunk else 1
    # Unfinished chains are kept in C, unless C holds sums of earlier chains.
    keeps_c = k > CUT or flags & ACCUMULATE
    a_bytes = _whole_lines(chunk * depth * size) if packs_a else 0
    b_bytes = _whole_lines(panels * strip * depth * size) if packs_b else 0
    c_bytes = _whole_lines(block_m * block_n * size)
    partial_bytes = c_bytes if turned or (keeps_c and (skinny or depth < min(k, CUT))) else 0
    if skinny:
        partial_bytes = partial_bytes * ceil_div(k, CUT)
    # An update's gradients are scratch: one strip, or all where several passes add to them.
    gradient_bytes = 0
    if updates:
        if depth < k or skinny or turned:
            gradient_bytes = c_bytes
        elif flags & SCALE == 0:
            gradient_bytes = _whole_lines(chunk * strip * size)
    together = a_bytes + b_bytes + partial_bytes + gradient_bytes
    return Plan(
        rows,
        columns,
        strip,
        depth,
        chunk,
        panels,
        np.int64(skinny),
        np.int64(turned),
        a_bytes,
        b_bytes,
        partial_bytes,
        gradient_bytes,
        # One line more, for memory that is not aligned to a line.
        together + LINE if together else 0,
    )


@inner
def _is_turned(sizes, is_whole, a_k_stride, flags, lanes):
    """Whether a narrow C is computed as its transpose, by op(B)T . op(A)T.

    So vectors run along the rows of C, of which there are many. It needs a vector of them in each
    block; one block may have two tiles less than another. A whole C may have two vectors of rows,
    where A is transposed and its many terms make up for turning C back.
    """
    m, n, k = sizes
    most, least = TURNED_PACKED_COLUMNS, 2 * (lanes + ROWS)
    if a_k_stride != 1:
        most = TURNED_COLUMNS
        if is_whole and k >= TURNED_LONG_TERMS:
            least = 2 * lanes
    is_one_chain = TURNED_TERMS <= k <= CUT and flags & ACCUMULATE == 0
    return n * 16 <= most * lanes and m >= least and is_one_chain


@inner
def _packs(sizes, strides, size):
    """Whether A and B are packed, for PACK_ROWS rows of C or more."""
    m, n, k = sizes
    a_row, a_step, b_row, b_step = strides
    terms, is_large = min(k, CUT), k * n > LARGE_B
    packs_a = is_large and m * size > LONG_CHUNK * 4
    if a_step != 1:
        packs_a |= _packs_transposed(m, terms, a_step * size, size)
    elif is_large:
        # The rows of a tile, with B's vectors, evict each other.
        packs_a |= _conflicts(ROWS + VECTORS, a_row * size, _LEVEL_1, _WAY_1)
    if b_row != 1:
        return packs_a, True
    packs_b = _packs_b(m, terms, b_step * size)
    # Beside a packed A, rows of B in few sets of level 1 are the next to be missed (1.05).
    if packs_a and b_step * size >= FAR_STEP:
        packs_b |= _conflicts(terms, b_step * size, _LEVEL_1, _WAY_1)
    return packs_a, packs_b


@inner
def _depth_and_chunk(rows, k, how, size):
    """Terms in a pass and rows of A in a chunk: passes of one length, chunks of one height."""
    packs_a, packs_b, is_wide = how
    depth, chunk, unit = min(k, CUT), DIRECT_CHUNK, ROWS
    if is_wide:
        chunk, unit = DIRECT_CHUNK * VECTORS // WIDE_VECTORS, _EVERY_TILE
    if packs_a or packs_b:
        passes = max(1, ceil_div(depth, DEPTH))
        depth = min(depth, ceil_div(depth, passes * UNROLL) * UNROLL)
        if packs_a:
            chunk = CHUNK
        elif rows * size <= LONG_CHUNK * 4:
            chunk = LONG_CHUNK * 4 // size
    if rows > chunk:
        chunk = ceil_div(rows, ceil_div(rows, chunk) * unit) * unit
    return depth, chunk


@inner
def _reads_b_fast(terms, step):
    """Whether wide tiles pay: a strip of B stays in level 1, or its rows are near each other."""
    return step <= WIDE_STEP or 2 * terms * WIDE_VECTORS * VECTOR_BYTES <= _LEVEL_1


@inner
def _packs_transposed(rows, terms, step, size):
    """Whether A is packed whose terms lie ``step`` bytes apart, for ``rows`` rows of C.

    In place each tile reads a few bytes of one line for each term. A line that has gone from level
    1 when the next tile wants it is read again, which costs the more, the more tiles share it, or
    if its page's address has gone too.
    (Ice Lake, speed of A packed relative to in place, AVX-512: far terms 1.1 to 1.3 at 784 x 128 x
    n and 1000 x 128 x n, 1.0 at 64 terms; rows in few sets 1.1 to 1.2 at 512 x 128 x n, 1.05 at 256
    x 128 x n, 1.0 in float64; runs that cross lines 1.1 at 300 x 300 x 300; else 0.85 to 1.03.
    AVX2: 1.2 to 1.4 by each of the reasons.)
    """
    if rows < PACK_NEAR_ROWS:
        return False
    if _is_far(terms, step, FAR_STEP_OF_A):
        return True
    sharing = 4 if step >= PAGE else LINE // (ROWS * size)
    if step >= 1024 and _conflicts(terms * sharing // 4, step, _LEVEL_1, _WAY_1):
        return True
    if step % (ROWS * size) and rows * terms >= 2**16:
        return True
    return _STAYS_IN_LEVEL_1 and terms * (2 * LINE + _TILE_ROW) > _LEVEL_1


@inner
def _packs_b(rows, terms, step):
    """Whether B is packed whose rows lie ``step`` bytes apart, for ``rows`` rows of C.

    Where it falls out of level 2, or is far to read, or each of its vectors crosses a line, or it
    falls out of level 1, if that is where a panel stays. (Ice Lake, speed packed relative to in
    place, AVX-512: far rows 1.0 to 1.1 from 64 rows of C on, 1.1 to 1.3 from 256 on; vectors across
    lines 1.03 to 1.15 from 300 rows on, 1.0 at 128 x 128 x n, 0.95 at 64 x 128 x n; rows of 2 KB or
    more in few sets of level 1 1.0 to 1.15 from 256 on. AVX2: out of
    level 1 1.1 to 1.3 from 128 rows on.)
    """
    # Of all that level 2 holds, a third is left to A and C. (Ice Lake, 1.25 MB, GFLOP/s of 155: 88
    # -> 141 at 128 x 784 x 512, whose rows are 2 KB apart, 56 -> 126 at 128 x 1024 x 1024; with 1
    # KB, 784 x 256 stays, 2048 x 256 goes 67 -> 139.)
    conflicts = _conflicts(terms + terms // 2, step, _LEVEL_2, _WAY_2)
    if conflicts or _exceeds_level_2(terms * step, rows):
        return True
    if rows < PACK_NEAR_ROWS:
        return False
    leaves = _conflicts(terms, step, _LEVEL_1, _WAY_1)
    if _STAYS_IN_LEVEL_1 and (leaves or terms * (LINE + _TILE_ROW) > _LEVEL_1):
        return True
    crosses = VECTOR_BYTES == LINE and step % LINE != 0 and 4 * rows + terms >= 768
    leaves &= step >= FAR_STEP and rows >= 256
    return crosses or leaves or _is_far(terms, step, FAR_STEP)


@inner
def _is_far(count, step, reach):
    """Whether ``count`` lines ``step`` bytes apart are on too many pages, and not prefetched."""
    return step > reach and count * min(step, PAGE) >= FAR_PAGES * PAGE


@inner
def _conflicts(count, step, size, way):
    """Whether ``count`` lines, ``step`` bytes apart, evict each other from a cache.

    A line's set is its address modulo the size of a way. Lines a multiple of ``power`` bytes apart
    start in way / power sets, each of which holds as many lines as there are ways.
    """
    return count * min(step & -step, way) > size


@inner
def _exceeds_level_2(span, rows):
    """Whether packing a strip of B that spans ``span`` bytes pays for ``rows`` rows of C.

    A strip touches every row, so as many pages as the whole of B, and each chunk of A reads all
    strips again. (Ice Lake, speed packed relative to in place: with a chunk of 128 rows 1.0 to 1.3
    from 1.5 times level 2 on, with more rows 1.0 to 1.5 from level 2 on; with 32 rows 0.9 at 1.6
    times level 2, 1.0 at 2 times, 1.3 at 6 times.)
    """
    return 2 * span > (4 - min(rows // 128, 2)) * _LEVEL_2


@inner
def _whole_lines(size):
    """``size`` rounded up to whole cache lines."""
    return ceil_div(size, LINE) * LINE


@inner
def column_blocks(n, lanes, count):
    """How many blocks of at least two vectors columns are cut into, for ``count`` threads."""
    columns = 1
    while columns < count and n >= 4 * columns * lanes:
        columns *= 2
    return columns


@inner
def _blocks(m, n, k, strip, lanes, count, by_columns):
    """Loop 5: the grid of blocks (rows, columns) that C is cut into, for ``count`` threads.

    Where it is cut by columns, each block has at least a vector of them.
    """
    rows, columns = max(1, ceil_div(m, BLOCK)), max(1, ceil_div(n, BLOCK_COLUMNS))
    enough = count if m * n * k < count * THREAD_WORK or count == 1 else 4 * count
    while rows * columns < enough:
        can_halve_rows, can_halve_columns = m >= 2 * rows * ROWS, n >= 2 * columns * strip
        if by_columns and n >= 4 * columns * lanes:
            columns *= 2
        elif can_halve_rows and (m * columns >= n * rows or not can_halve_columns):
            rows *= 2
        elif can_halve_columns:
            columns *= 2
        else:
            break
    return rows, columns
