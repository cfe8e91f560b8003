"""C = op(A) . op(B): a register-tiled product, each element one chain of fused multiply-adds.

The rule that every product in this package follows, whatever the tile, the edge, the thread or the
CPU: element (i, j) is ``fma(a[i, k], b[k, j], chain)`` over k ascending, from zero. k is cut every
`CUT` terms; the chains are added in order. Nothing else about the loops below shows in the result.

From the outside in::

    product      all tasks, in parallel            strips of B and C
    task         TASK_ROWS rows of one strip          |  0  |  1  |2|
    tall tiles   as many as fit down the strip,   ----+-----+-----+-+
                 then single rows                   0 | t0  | t1  |t2   t: a task
    tile         chains, added in order           ----+-----+-----+-+
    chain        k ascending, in registers          1 | t3  | t4  |t5
                                                  ----+-----+-----+-+
"""

from collections import namedtuple

import numpy as np
from numba import prange

from kernels.jit import Array, door, inner, kernel
from kernels.simd import (
    TileShape,
    ahead,
    lanes_of,
    pointer,
    rank_one_update,
    store_tile,
    tile_of_zeros,
    tile_plus_stored,
)
from kernels.tiles import TILE

CUT = 4096
"""Terms of one fused multiply-add chain: longer sums are chains of CUT, added in order."""

TASK_ROWS = 64
"""Rows of C that one task computes: small enough to share out, large enough to reuse B's strip."""

_ROWS, _VECTORS, _BYTES = TILE.rows, TILE.vectors, TILE.vector_bytes
# The tiles of a strip: _ROWS rows at a time, with as many vectors as the last strip's columns need,
# and one row for those that are left. Each is compiled apart, so there are no more than these.
_TALL_3, _TALL_2, _TALL_1 = (TileShape(_ROWS, vectors) for vectors in (_VECTORS, 2, 1))
_FLAT = TileShape(1, _VECTORS)

Strided = namedtuple("Strided", ["start", "row", "step"])
"""An operand read as start[i * row + k * step]: a matrix or its transpose, as it lies."""

Rows = namedtuple("Rows", ["start", "row"])
"""An operand read as start[i * row + j]: a matrix whose rows lie as they are."""

Epilogue = namedtuple("Epilogue", ["accumulate", "add_bias", "bias"])
"""What happens to a finished chain: added to what C held, and a row of biases added to it."""


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
    product.bare(a, b, no_biases(out), out, transpose_a, transpose_b, accumulate, False)


@kernel(
    "a (m, k; transpose_a), b (k, n; transpose_b), biases (1, n), transpose_a flag, "
    "transpose_b flag, accumulate flag, add_biases flag -> out (m, n)",
    nanoseconds=lambda a, b, biases, out, *flags: 0.025 * a.size * out.shape[1],
    public=False,
)
def product(a, b, biases, out, transpose_a, transpose_b, accumulate, add_biases):
    """The one compiled product behind every door: its flags are data, so it is compiled once."""
    m, n = out.shape
    k = a.shape[0] if transpose_a else a.shape[1]
    a_row, a_step = (1, m) if transpose_a else (k, 1)
    right = b
    if transpose_b:
        right = transposed(b)
    for task in prange(task_count(pointer(out), m, n)):
        left = Strided(pointer(a), a_row, a_step)
        epilogue = Epilogue(accumulate, add_biases, pointer(biases))
        product_task(task, m, k, left, Rows(pointer(right), n), Rows(pointer(out), n), epilogue)


_NO_BIASES = {np.dtype(real): np.zeros((1, 0), real) for real in (np.float32, np.float64)}


def no_biases(out: Array) -> Array:
    """What `product` is given for biases where it adds none."""
    return _NO_BIASES[out.dtype]


@inner
def transposed(b):
    """A copy of the transpose, so that its rows lie as the micro-kernel reads them."""
    out = np.empty((b.shape[1], b.shape[0]), b.dtype)
    # By blocks of 16 x 16, so that neither side jumps through memory for long.
    for i0 in range(0, b.shape[0], 16):
        for j0 in range(0, b.shape[1], 16):
            for j in range(j0, min(j0 + 16, b.shape[1])):
                for i in range(i0, min(i0 + 16, b.shape[0])):
                    out[j, i] = b[i, j]
    return out


@inner
def task_count(c, m, n):
    """How many tasks an (m, n) product is cut into; ``c`` points at its dtype."""
    width = _VECTORS * lanes_of(c, _BYTES)
    return ((m + TASK_ROWS - 1) // TASK_ROWS) * ((n + width - 1) // width)


@inner
def product_task(task, m, k, a, b, c, epilogue):
    """One task: at most TASK_ROWS rows of one strip of C, which has ``m`` rows in all."""
    n = c.row
    lanes = lanes_of(c.start, _BYTES)
    width = _VECTORS * lanes
    strips = (n + width - 1) // width
    row = (task // strips) * TASK_ROWS
    column = (task % strips) * width
    rows = min(TASK_ROWS, m - row)
    columns = min(width, n - column)
    left = _from_row(a, row)
    right = Rows(ahead(b.start, column), b.row)
    target = Rows(ahead(c.start, row * n + column), n)
    epilogue = Epilogue(epilogue.accumulate, epilogue.add_bias, ahead(epilogue.bias, column))
    if columns == width:
        tiled = _tall_tiles(_TALL_3, None, rows, k, left, right, target, epilogue)
    elif columns > 2 * lanes:
        tiled = _tall_tiles(_TALL_3, columns, rows, k, left, right, target, epilogue)
    elif columns > lanes:
        tiled = _tall_tiles(_TALL_2, columns, rows, k, left, right, target, epilogue)
    else:
        tiled = _tall_tiles(_TALL_1, columns, rows, k, left, right, target, epilogue)
    for i in range(tiled, rows):
        _tile(_FLAT, columns, k, _from_row(left, i), right, _rows_from(target, i), epilogue)


@inner
def _tall_tiles(shape, columns, rows, k, a, b, c, epilogue):
    """As many full tiles as fit down the strip; how many rows that was."""
    tiles = rows // _ROWS
    for i in range(0, tiles * _ROWS, _ROWS):
        _tile(shape, columns, k, _from_row(a, i), b, _rows_from(c, i), epilogue)
    return tiles * _ROWS


@inner
def _tile(shape, columns, k, a, b, c, epilogue):
    """One tile of C: its chains of at most CUT terms added in order, then the epilogue.

    ``columns`` is None where the tile's full width is used, else the number of columns it has.
    """
    add_stored = epilogue.accumulate
    done = min(CUT, k)
    tile = _chain(shape, columns, done, a, b)
    while done < k:
        if add_stored:
            tile = tile_plus_stored(tile, c.start, c.row, columns)
        store_tile(tile, c.start, c.row, columns)
        add_stored = True
        terms = min(CUT, k - done)
        a_rest = Strided(ahead(a.start, done * a.step), a.row, a.step)
        b_rest = _rows_from(b, done)
        tile = _chain(shape, columns, terms, a_rest, b_rest)
        done += terms
    if add_stored:
        tile = tile_plus_stored(tile, c.start, c.row, columns)
    if epilogue.add_bias:
        tile = tile_plus_stored(tile, epilogue.bias, 0, columns)
    store_tile(tile, c.start, c.row, columns)


@inner
def _chain(shape, columns, terms, a, b):
    """The micro-kernel: sum over k of a column of A times a row of B, all in registers."""
    tile = tile_of_zeros(shape, b.start, _BYTES)
    a_k, b_k = a.start, b.start
    for _ in range(terms // 4):
        # Four steps a turn: the loop's own cost is a tenth of the work otherwise.
        tile = rank_one_update(tile, a_k, a.row, b_k, columns)
        a_k, b_k = ahead(a_k, a.step), ahead(b_k, b.row)
        tile = rank_one_update(tile, a_k, a.row, b_k, columns)
        a_k, b_k = ahead(a_k, a.step), ahead(b_k, b.row)
        tile = rank_one_update(tile, a_k, a.row, b_k, columns)
        a_k, b_k = ahead(a_k, a.step), ahead(b_k, b.row)
        tile = rank_one_update(tile, a_k, a.row, b_k, columns)
        a_k, b_k = ahead(a_k, a.step), ahead(b_k, b.row)
    for _ in range(terms % 4):
        tile = rank_one_update(tile, a_k, a.row, b_k, columns)
        a_k, b_k = ahead(a_k, a.step), ahead(b_k, b.row)
    return tile


@inner
def _from_row(a, i):
    return Strided(ahead(a.start, i * a.row), a.row, a.step)


@inner
def _rows_from(rows, i):
    return Rows(ahead(rows.start, i * rows.row), rows.row)
