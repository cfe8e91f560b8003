"""C = op(A) . op(B) by hand-written loops: each element one chain of fused multiply-adds.

The rule that every product in this package follows, whatever the tile, the block, the path, the
thread or the CPU: element (i, j) is ``fma(a[i, k], b[k, j], chain)`` over k ascending, from zero. k
is cut every `CUT` terms; the chains are added in order. Nothing else about the loops below shows in
the result: a chain that one pass over k leaves unfinished is stored, and goes on in the next.

From the outside in, after Goto and van de Geijn (2008) and BLIS (2015)::

    5  blocks    the threads share C out, in two dimensions
    4  passes    DEPTH terms of k: so much of B is packed that it stays in the level-3 cache
    3  chunks    so many rows of A: packed, they stay in level 2
    2  strips    as many columns of C as a tile is wide: a panel of B, read again and again
    1  tiles     as many rows of C as a tile is high     (product/microkernel.py, from here on)
    -  chain     k ascending, a whole tile of C in registers

Packing (``kernels/product/packing.py``) is worth its time where the operands outgrow the caches.
Smaller products run through the same loops and read A and B where they lie: to the micro-kernel a
packed panel is a matrix with other strides.
"""

from collections import namedtuple

import numpy as np
from numba import types

from kernels.intrinsics import LINE, ahead, itemsize, memory_at
from kernels.product.column_sum import CUT, sum_columns
from kernels.product.flags import (
    ACCUMULATE,
    BY_COLUMNS,
    IN_REGISTERS,
    SCALE,
    SUM_COLUMNS,
    TRANSPOSE_A,
    TRANSPOSE_B,
)
from kernels.product.microkernel import (
    ASK,
    ROWS,
    Epilogue,
    Pass,
    Rows,
    Strided,
    Strip,
    Targets,
    Then,
    Tiled,
    Upcoming,
    epilogue_from,
    from_row,
    join,
    lane_count,
    next_strip,
    nothing,
    rows_from,
    run_then,
    strip_of_tiles,
    strip_width,
    units,
)
from kernels.product.packing import pack, pack_rows
from kernels.product.skinny import are_few, chains_of_few_rows
from kernels.product.tile_sizes import LEVEL_2, TILE
from kernels.runtime.jit import inlined, inner, shared

# The cache blocks, found by trying; asv_benchmarks/benchmarks/kernels_matmul.py times sizes.
DEPTH = TILE.depth
"""Terms of a pass over a packed B. With AVX-512 a panel, 768 x 48 float32, is 144 KB of level 2."""
CHUNK = 96
"""Rows of A packed at a time: with AVX-512 CHUNK x DEPTH float32 is 288 KB of level 2."""
DIRECT_CHUNK = 128
"""The same where A is read as it lies."""
PACK_ELEMENTS = 512 * 1024
"""A B of more elements than this is packed, and A with it, where C has PACK_ROWS rows or more."""
PACK_ROWS = 32
FAR, FAR_ELEMENTS = 96, 24 * 1024
"""So are both, from so many terms, columns and elements of B on, where A is transposed: its terms
lie rows of memory apart, in few places of a cache where those are a power of two (with AVX2, beside
BLAS: 0.64 -> 1.01 at 1024 x 128 x 1024, 0.90 -> 0.97 at 784 x 512 x 512). Where they are, a tile of
two vectors is enough (`_share_places`; Zen 1: 0.75 -> 1.03 at 2048 x 512 x 10)."""
SOON_TERMS, SOON_COLUMNS = 96, 64
"""On some CPUs (`Tile.packs_sooner`) B alone, from so many terms and columns and PACK_ROWS on."""
_LEVEL_2 = LEVEL_2.size
"""B alone, from PACK_ROWS on, where it outgrows the level-2 cache (`_outgrows`) or falls out of it
(`_falls_out`). A B as it lies then comes from further away, again for each chunk of A or each tile,
and is waited for; a packed panel is small, lies in a row and is asked for in time."""
_WAY = LEVEL_2.size // LEVEL_2.ways
BLOCK = 2048
"""Rows and columns of a block at most, which bounds the memory for packing."""
GRAIN = 2**26
"""Multiply-adds a thread (1 ms) from where on there are more blocks than threads, so that a thread
that is slowed down takes fewer."""

_PACKS_SOONER = TILE.packs_sooner
Plan = namedtuple(
    "Plan",
    ["rows", "columns", "strip", "depth", "chunk", "panels", "few_rows"]
    + ["a_bytes", "b_bytes", "partial_bytes", "gradient_bytes", "bytes"],
)
"""How a product is cut into blocks, strips, passes and chunks, and the memory for each part."""

Operands = namedtuple("Operands", ["m", "n", "k", "a", "b", "out", "epilogue"])
"""A whole product, as it lies in memory."""

_Spaces = namedtuple("_Spaces", ["a", "b"])
"""Where the panels of A and B are packed."""


@inlined
def operands_at(shape, a_shape, a, b, out, epilogue):
    """The operands as they lie."""
    (m, n), flags = shape, epilogue.flags
    k = a_shape[0] if flags & TRANSPOSE_A else a_shape[1]
    # Typed numbers: a literal would be a type of its own, and the loops compiled once for each.
    unit = np.int64(1)
    left = Strided(a, unit, m) if flags & TRANSPOSE_A else Strided(a, k, unit)
    right = Strided(b, k, unit) if flags & TRANSPOSE_B else Strided(b, unit, n)
    return Operands(m, n, k, left, right, Rows(out, n), epilogue)


@inlined
def nothing_then(like, numbers):
    """No operation follows on a product."""
    no = np.int64(0)
    return Then(no, no, like, like, no, no, numbers)


@inlined
def plan_for(operands, count):
    """`plan_of` operands as they lie."""
    m, n, k, a, b, out, epilogue = operands
    flags, updates = epilogue.flags, epilogue.then.updates
    return plan_of((m, n, k), a.step, b.row, flags, updates, out.start, count)


@inner
def plan_of(sizes, a_step, b_row, flags, updates, like, count):
    """How a product is cut, what of it is packed, and the memory that a thread needs for that."""
    m, n, k = sizes
    strip, lanes, size = strip_width(like), lane_count(like), itemsize(like)
    by_columns = flags & BY_COLUMNS != 0
    rows, columns = _blocks(m, n, k, strip, lanes, count, by_columns)
    block_m, block_n = m, n
    if rows * columns > 1:
        block_m = min(m, units(units(m, ROWS), rows) * ROWS)
        block_n = min(n, units(units(n, lanes), columns) * lanes)
    far = min(k, block_n) >= FAR and k * block_n >= FAR_ELEMENTS
    far |= k >= FAR and block_n > lanes and _share_places(a_step * size)
    packs_a = (a_step != 1 and far) or k * block_n > PACK_ELEMENTS
    packs_a = packs_a and block_m >= PACK_ROWS
    few_rows = are_few(block_m, block_n, k, b_row, like)
    packs_b = packs_a or (b_row != 1 and not few_rows)
    if _PACKS_SOONER:
        packs_b |= k >= SOON_TERMS and block_n >= SOON_COLUMNS and block_m >= PACK_ROWS
    if block_m >= PACK_ROWS:
        terms, row = min(k, CUT), n * size if b_row == 1 else size
        packs_b |= _falls_out(terms, row) or _outgrows(terms * row, block_m)
    depth, chunk = min(k, DEPTH if packs_b else CUT), CHUNK if packs_a else DIRECT_CHUNK
    # A panel of B serves every chunk of A. Where there is but one, the next panel takes its place.
    panels = units(block_n, strip) if block_m > chunk else 1
    # C holds unfinished chains too, unless it holds sums of earlier ones that are still needed.
    keeps_c = k > CUT or flags & ACCUMULATE
    a_bytes = _whole_lines(chunk * depth * size) if packs_a else 0
    b_bytes = _whole_lines(panels * strip * depth * size) if packs_b else 0
    c_bytes = _whole_lines(block_m * block_n * size)
    partial_bytes = c_bytes if keeps_c and (few_rows or depth < min(k, CUT)) else 0
    if few_rows:
        partial_bytes = partial_bytes * units(k, CUT)
    # An update's gradients are in no C: a strip of them, or all where several passes add to them.
    gradient_bytes = 0
    if updates:
        if depth < k or few_rows:
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
        np.int64(few_rows),
        a_bytes,
        b_bytes,
        partial_bytes,
        gradient_bytes,
        # What the first line is short of, where the memory does not begin at one.
        together + LINE if together else 0,
    )


def _block_product_types(real):
    at, size = types.CPointer(real), types.int64
    strided = types.NamedTuple((at, size, size), Strided)
    then = types.NamedTuple((size, size, at, at, size, size, types.CPointer(types.float64)), Then)
    epilogue = types.NamedTuple((size, at, then), Epilogue)
    plan = types.NamedUniTuple(size, len(Plan._fields), Plan)
    rows = types.NamedTuple((at, size), Rows)
    return (size, size, size, strided, strided, rows, epilogue, plan, size)


@inner
def _share_places(step):
    """Whether lines so many bytes apart share few places of a cache, and none comes unasked for."""
    return step > 2048 and step % 1024 == 0


@inner
def _falls_out(rows, step):
    """Whether so many rows of B, so many bytes apart, have too few places in level 2 to stay there.

    Where a line may lie is its address within a way. Rows that are a multiple of a power of two
    apart begin at as many places as that power goes into a way, and at each there is room for as
    many as there are ways: for size / power rows in all. A third of those is left to A and C.
    (Ice Lake, 1.25 MB, GFLOP/s of 155, float32: 88 -> 141 at 128 x 784 x 512, whose rows are 2 KB
    apart, 56 -> 126 at 128 x 1024 x 1024; with 1 KB, 784 x 256 stays, 2048 x 256 goes 67 -> 139.)
    """
    power = min(step & -step, _WAY)
    return 3 * rows * power > 2 * _LEVEL_2


@inner
def _outgrows(span, rows):
    """Whether a strip of B that lies on so many bytes is better packed for so many rows of C.

    A strip is a part of each row, so it lies on as many pages as the whole of B, and each chunk
    of A reads all strips again. (Ice Lake, packed beside as it lies: from 1.5 times level 2 on 1.0
    to 1.3 times as fast with a chunk of 128 rows, from its size on 1.0 to 1.5 times with more; with
    32 rows 0.9 at 1.6 times level 2, 1.0 at 2 times, 1.3 at 6 times.)
    """
    return 2 * span > (4 - min(rows // DIRECT_CHUNK, 2)) * _LEVEL_2


@inner
def _whole_lines(size):
    """Bytes up to the end of a cache line."""
    return units(size, LINE) * LINE


@inner
def _blocks(m, n, k, strip, lanes, count, by_columns):
    """Loop 5: into how many rows and columns of blocks C is cut, for so many threads.

    Where it is cut by columns, each block has a vector's at least.
    """
    rows, columns = max(1, units(m, BLOCK)), max(1, units(n, BLOCK))
    enough = count if m * n * k < count * GRAIN or count == 1 else 4 * count
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


@inner
def share(size, count, index, unit):
    """Where share ``index`` of ``count`` begins and ends: whole units, but for the last."""
    whole = units(size, unit)
    return min(size, whole * index // count * unit), min(size, whole * (index + 1) // count * unit)


@inner
def one_block(block, plan, memory, operands):
    """The operands of one block of the grid."""
    m, n, k, a, b, out, epilogue = operands
    i, i_end, j, j_end = np.int64(0), m, np.int64(0), n
    if plan.rows * plan.columns > 1:
        i, i_end = share(m, plan.rows, block // plan.columns, ROWS)
        j, j_end = share(n, plan.columns, block % plan.columns, lane_count(out.start))
    a, b, target = from_row(a, i), from_row(b, j), rows_from(out, i, j)
    part = epilogue_from(epilogue, i, j)
    block_product(i_end - i, j_end - j, k, a, b, target, part, plan, memory)
    if part.flags & SUM_COLUMNS and i == 0:
        sum_columns(b.start, k, b.step, j_end - j, part.biases)


@shared(_block_product_types)
def block_product(m, n, k, a, b, c, epilogue, plan, memory):
    """Loop 4: passes over k, for one block of C."""
    spaces = _Spaces(
        memory_at(memory, c.start),
        memory_at(memory + plan.a_bytes, c.start),
    )
    if plan.gradient_bytes:
        epilogue = Epilogue(epilogue.flags & ~SCALE, epilogue.biases, epilogue.then)
        before = plan.a_bytes + plan.b_bytes + plan.partial_bytes
        c = Rows(memory_at(memory + before, c.start), n)
    partial = c
    if plan.partial_bytes:
        partial = Rows(memory_at(memory + plan.a_bytes + plan.b_bytes, c.start), n)
    if plan.few_rows:
        chains = chains_of_few_rows(m, n, k, a, b, partial)
        return join(m, n, chains, partial, c, epilogue)
    done = 0
    while True:
        terms = min(plan.depth, k - done, CUT - done % CUT)
        end = done + terms
        step = Pass(
            resumes=done % CUT != 0,
            ends_chain=end == k or end % CUT == 0,
            adds_sums=done >= CUT or epilogue.flags & ACCUMULATE != 0,
            ends=end == k,
            follows=done > 0,
        )
        a_pass = Strided(ahead(a.start, done * a.step), a.row, a.step)
        b_pass = Strided(ahead(b.start, done * b.step), b.row, b.step)
        targets = Targets(partial, c, c)
        _one_pass((m, n, terms), a_pass, b_pass, targets, epilogue, step, plan, spaces)
        if end == k:
            break
        done = end


@inner
def _one_pass(sizes, a, b, targets, epilogue, step, plan, spaces):
    """Loops 3 and 2: chunks of A, strips of B, for one pass over k."""
    m, n, terms = sizes
    lanes, only_pass = lane_count(b.start), step.ends and not step.follows
    for i in range(0, m, plan.chunk):
        rows = min(plan.chunk, m - i)
        a_chunk = Tiled(ahead(a.start, i * a.row), a.row, a.step, ROWS * a.row)
        if plan.a_bytes:
            pack_rows(from_row(a, i), rows, terms, spaces.a)
            a_chunk = Tiled(spaces.a, 1, ROWS, ROWS * terms)
        j = 0
        while j < n:
            columns = next_strip(n - j, plan.strip, lanes)
            b_strip = Strip(ahead(b.start, j), b.step, nothing(b.start))
            if plan.b_bytes:
                panel = ahead(spaces.b, j * terms if plan.panels > 1 else 0)
                width = units(columns, lanes) * lanes
                if i == 0:
                    pack(from_row(b, j), columns, terms, width, panel)
                b_strip = Strip(panel, width, _after(i, j + columns, n, b, spaces.b, terms, plan))
            out = rows_from(targets.out, i, j)
            if only_pass and plan.gradient_bytes:
                out = Rows(targets.out.start, plan.strip)  # each strip in the same place
            here = Targets(rows_from(targets.partial, i, j), out, out)
            part = epilogue_from(epilogue, i, j)
            strip_of_tiles(rows, columns, terms, a_chunk, b_strip, here, part, step)
            if step.ends and part.flags & IN_REGISTERS == 0:
                run_then(rows, columns, out, part.then)
            j += columns


@inner
def _after(i, j, n, b, panels, terms, plan):
    """What is read after the strip before column j, for rows from i on.

    The next panel where it is packed already, else what that will be packed from. It comes from a
    level-3 cache or from memory while tiles are computed (Zen 3, time of a product: 1 -> 0.95 at
    n = 512, 0.95 at 512 x 1024 x 1024).
    """
    asks, half = terms // ASK, plan.strip // 2
    if plan.panels > 1 and (i > 0 or j >= n):
        line = LINE // itemsize(b.start)
        start = ahead(panels, j * terms if j < n else 0)
        return Upcoming(start, asks * line, line, half * terms, units(ASK * half, line))
    if j >= n:
        return nothing(b.start)
    if b.row == 1:
        return Upcoming(ahead(b.start, j), asks * b.step, b.step, plan.strip - 1, ASK)
    return Upcoming(ahead(b.start, j * b.row), b.row, ASK * b.step, half * b.row, half)
