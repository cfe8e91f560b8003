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
    1  tiles     as many rows of C as a tile is high     (kernels/microkernel.py, from here on)
    -  chain     k ascending, a whole tile of C in registers

Packing (``kernels/packing.py``) is worth its time where the operands outgrow the caches. Smaller
products run through the same loops and read A and B where they lie: to the micro-kernel a packed
panel is a matrix with other strides.
"""

from collections import namedtuple

import numpy as np
from numba import prange

from kernels.jit import Array, door, inner, kernel
from kernels.microkernel import (
    ACCUMULATE,
    DESCEND,
    MASK,
    ROWS,
    SUM_COLUMNS,
    TRANSPOSE_A,
    TRANSPOSE_B,
    Epilogue,
    Pass,
    Rows,
    Strided,
    Targets,
    Tiled,
    from_row,
    rows_from,
    strip_of_tiles,
    strip_width,
)
from kernels.packing import pack
from kernels.simd import ahead, claim, itemsize, keep_alive, pointer, scratch

CUT = 4096
"""Terms of one fused multiply-add chain: longer sums are chains of CUT, added in order."""

# The cache blocks, found by trying; asv_benchmarks/benchmarks/kernels_matmul.py times sizes.
DEPTH = 768
"""Terms of a pass over packed operands: a panel of B, DEPTH x 48 float32, is 144 KB of level 2."""
CHUNK = 96
"""Rows of A packed at a time: CHUNK x DEPTH float32 is 288 KB of level 2."""
DIRECT_CHUNK = 64
"""The same where A is read as it lies."""
PACK_ELEMENTS = 512 * 1024
"""A B of more elements than this is packed, and A with it, where C has PACK_ROWS rows or more."""
PACK_ROWS = 32
BLOCK = 2048
"""Rows and columns of a block at most, which bounds the memory for packing."""
GRAIN = 2**26
"""Multiply-adds a thread (1 ms) from where on there are more blocks than threads, so that a thread
that is slowed down takes fewer."""

_Spaces = namedtuple("_Spaces", ["packs_a", "packs_b", "a", "b"])


@door(
    "a (m, k; transpose_a), b (k, n; transpose_b), transpose_a flag, transpose_b flag, "
    "accumulate flag -> out (m, n)"
)
def matmul(
    a: Array,
    b: Array,
    out: Array,
    transpose_a: bool = False,
    transpose_b: bool = False,
    accumulate: bool = False,
) -> None:
    """Matrix product: out = op(a) . op(b), where op transposes on request.

    Parameters
    ----------
    a : ndarray, (m, k), or (k, m) with ``transpose_a``
        float32 or float64, as all arrays here.
    b : ndarray, (k, n), or (n, k) with ``transpose_b``
    out : ndarray, (m, n)
        Written; read only with ``accumulate``, which adds the chains to it in order.

    Raises
    ------
    TypeError, ValueError
        An argument is not as described, or ``out`` shares memory with ``a`` or ``b``.
    """
    flags = transpose_a * TRANSPOSE_A | transpose_b * TRANSPOSE_B | accumulate * ACCUMULATE
    product.bare(a, b, nothing(out), out, 0.0, flags)


@kernel(
    "a (m, k), b (k, n), extra (e, f), rate number, flags int64, count threads -> out (m, n)",
    nanoseconds=lambda a, b, extra, out, rate, flags: 0.018 * a.size * out.shape[1],
    public=False,
)
def product(a, b, extra, out, rate, flags, count):
    """The one compiled product behind every door: what differs is in ``flags``, so it is data."""
    m, n = out.shape
    k = a.shape[0] if flags & TRANSPOSE_A else a.shape[1]
    grid = _blocks(m, n, k, strip_width(pointer(out)), count)
    blocks = grid[0] * grid[1]
    taken = np.zeros(1, np.int64)
    for _ in prange(blocks):
        # Whoever is free takes the next block. The bits do not depend on who computes it.
        block = claim(pointer(taken))
        while block < blocks:
            _one_block(block, grid, k, a, b, extra, out, rate, flags)
            block = claim(pointer(taken))


@inner
def _blocks(m, n, k, strip, count):
    """Loop 5: into how many rows and columns of blocks C is cut, for so many threads."""
    rows, columns = max(1, (m + BLOCK - 1) // BLOCK), max(1, (n + BLOCK - 1) // BLOCK)
    enough = count if m * n * k < count * GRAIN or count == 1 else 4 * count
    while rows * columns < enough:
        can_halve_rows, can_halve_columns = m >= 2 * rows * ROWS, n >= 2 * columns * strip
        if can_halve_rows and (m * columns >= n * rows or not can_halve_columns):
            rows *= 2
        elif can_halve_columns:
            columns *= 2
        else:
            break
    return rows, columns


@inner
def _share(size, count, index, unit):
    """Where share ``index`` of ``count`` begins and ends: whole units, but for the last."""
    units = (size + unit - 1) // unit
    return min(size, units * index // count * unit), min(size, units * (index + 1) // count * unit)


@inner
def _one_block(block, grid, k, a, b, extra, out, rate, flags):
    """The operands of one block of the grid, as they lie."""
    m, n = out.shape
    rows, columns = grid
    i, i_end = _share(m, rows, block // columns, ROWS)
    j, j_end = _share(n, columns, block % columns, strip_width(pointer(out)))
    # Typed numbers: a literal would be a type of its own, and the loops compiled once for each.
    no, unit = np.int64(0), np.int64(1)
    left = Strided(pointer(a), unit, m) if flags & TRANSPOSE_A else Strided(pointer(a), k, unit)
    right = Strided(pointer(b), k, unit) if flags & TRANSPOSE_B else Strided(pointer(b), unit, n)
    right = from_row(right, j)
    target = rows_from(Rows(pointer(out), n), i, j)
    extra_row = n if flags & MASK else no
    epilogue = Epilogue(
        flags, out.dtype.type(-rate), ahead(pointer(extra), i * extra_row + j), extra_row
    )
    _block_product(i_end - i, j_end - j, k, from_row(left, i), right, target, epilogue)
    if flags & SUM_COLUMNS and i == 0:
        # The column sum is one more row of the product, for a row of ones in A.
        one = np.ones(1, out.dtype)
        sums = Rows(ahead(pointer(extra), j), no)
        plain = Epilogue(no, out.dtype.type(0), pointer(extra), no)
        _block_product(unit, j_end - j, k, Strided(pointer(one), no, no), right, sums, plain)
        keep_alive(one)


@inner
def _block_product(m, n, k, a, b, c, epilogue):
    """Loop 4: passes over k, for one block of C."""
    strip, size = strip_width(c.start), itemsize(c.start)
    packs_a = k * n > PACK_ELEMENTS and m >= PACK_ROWS
    packs_b = packs_a or b.row != 1
    depth = min(k, DEPTH if packs_a else CUT)
    a_space = np.empty((CHUNK * depth * size if packs_a else 0) + 64, np.uint8)
    width = (n + strip - 1) // strip * strip
    b_space = np.empty((width * depth * size if packs_b else 0) + 64, np.uint8)
    spaces = _Spaces(packs_a, packs_b, scratch(a_space, c.start), scratch(b_space, c.start))
    # C holds unfinished chains too, unless it holds something else that is still needed: sums of
    # earlier chains, or the weights that the whole sum will move.
    keeps_c = k > CUT or epilogue.flags & (ACCUMULATE | DESCEND) != 0
    splits_chains = keeps_c and depth < min(k, CUT)
    splits_sums = k > CUT and epilogue.flags & DESCEND != 0
    partial_space = np.empty((m * n * size if splits_chains else 0) + 64, np.uint8)
    sums_space = np.empty((m * n * size if splits_sums else 0) + 64, np.uint8)
    partial, sums = c, c
    if splits_chains:
        partial = Rows(scratch(partial_space, c.start), n)
    if splits_sums:
        sums = Rows(scratch(sums_space, c.start), n)
    done = 0
    while True:
        terms = min(depth, k - done, CUT - done % CUT)
        end = done + terms
        step = Pass(
            resumes=done % CUT != 0,
            ends_chain=end == k or end % CUT == 0,
            adds_sums=done >= CUT or epilogue.flags & ACCUMULATE != 0,
            ends=end == k,
        )
        a_pass = Strided(ahead(a.start, done * a.step), a.row, a.step)
        b_pass = Strided(ahead(b.start, done * b.step), b.row, b.step)
        _one_pass(m, n, terms, a_pass, b_pass, Targets(partial, sums, c), epilogue, step, spaces)
        if end == k:
            break
        done = end
    for space in (a_space, b_space, partial_space, sums_space):
        keep_alive(space)


@inner
def _one_pass(m, n, terms, a, b, targets, epilogue, step, spaces):
    """Loops 3 and 2: chunks of A, strips of B, for one pass over k."""
    strip = strip_width(spaces.b)
    if spaces.packs_b:
        for j in range(0, n, strip):
            panel = ahead(spaces.b, j * terms)
            pack(from_row(b, j), min(strip, n - j), terms, strip, panel)
    chunk = CHUNK if spaces.packs_a else DIRECT_CHUNK
    for i in range(0, m, chunk):
        rows = min(chunk, m - i)
        a_chunk = Tiled(ahead(a.start, i * a.row), a.row, a.step, ROWS * a.row)
        if spaces.packs_a:
            for r in range(0, rows, ROWS):
                panel = ahead(spaces.a, r * terms)
                pack(from_row(a, i + r), min(ROWS, rows - r), terms, ROWS, panel)
            a_chunk = Tiled(spaces.a, 1, ROWS, ROWS * terms)
        for j in range(0, n, strip):
            b_strip = Rows(ahead(b.start, j), b.step)
            if spaces.packs_b:
                b_strip = Rows(ahead(spaces.b, j * terms), strip)
            here = Targets(
                rows_from(targets.partial, i, j),
                rows_from(targets.sums, i, j),
                rows_from(targets.out, i, j),
            )
            extra = ahead(epilogue.extra, i * epilogue.extra_row + j)
            then = Epilogue(epilogue.flags, epilogue.minus_rate, extra, epilogue.extra_row)
            columns = min(strip, n - j)
            strip_of_tiles(rows, columns, terms, a_chunk, b_strip, here, then, step)


_NOTHING = {np.dtype(real): np.zeros((1, 0), real) for real in (np.float32, np.float64)}


def nothing(out: Array) -> Array:
    """What `product` is given for an extra operand where it takes none."""
    return _NOTHING[out.dtype]
