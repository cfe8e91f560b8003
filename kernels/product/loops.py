"""Loops 5 to 2 of C = op(A) . op(B): blocks, passes over k, chunks of A, strips of C.

Every product in this package follows one rule, whatever the tile, block, path, thread or CPU:
element (i, j) is the chain ``fma(a[i, k], b[k, j], chain)`` over k ascending, from zero. k is cut
every `CUT` terms, and the chains are added in order. Nothing else about the loops shows in the
result: a chain that is unfinished at the end of a pass is stored, and resumed by the next pass.

From the outside in, after Goto and van de Geijn (2008) and BLIS (2015)::

    5  blocks    the threads share C, in two dimensions         (claimed in product/matmul.py)
    4  passes    up to DEPTH terms of k: the packed part of B stays in the level-3 cache
    3  chunks    up to CHUNK rows of A: packed, they stay in level 2
    2  strips    a tile's width of C: one panel of B, read again for each tile
    1  tiles     a tile's height of C                           (product/microkernel.py)
    -  chain     k ascending, a whole tile of C in registers    (product/microkernel.py)

Packing (``kernels/product/packing.py``) pays where the operands exceed the caches. Smaller products
run through the same loops and read A and B in place: to the micro-kernel a packed panel is a matrix
with other strides.
"""

from collections import namedtuple

import numpy as np
from numba import types

from kernels.intrinsics import LINE, ahead, aligned_pointer, itemsize
from kernels.product.column_sum import CUT, sum_columns
from kernels.product.flags import (
    ACCUMULATE,
    ADD_BIASES,
    IN_BLOCKS,
    IN_REGISTERS,
    SCALE,
    SUM_COLUMNS,
    TRANSPOSE_A,
    TRANSPOSE_B,
)
from kernels.product.microkernel import (
    PREFETCH_STEPS,
    ROWS,
    Epilogue,
    Outputs,
    Phase,
    Prefetch,
    Rows,
    Strided,
    Strip,
    Then,
    Tiled,
    ceil_div,
    epilogue_from,
    from_row,
    join,
    lane_count,
    no_prefetch,
    rows_from,
    run_then,
    strip_columns,
    strip_of_tiles,
)
from kernels.product.packing import pack, pack_rows
from kernels.product.plan import Plan, plan_of
from kernels.product.skinny import skinny_chains
from kernels.runtime.jit import inlined, inner, shared

Operands = namedtuple("Operands", ["m", "n", "k", "a", "b", "out", "epilogue"])
"""A whole product: its sizes, and where its matrices are."""

_Spaces = namedtuple("_Spaces", ["a", "b"])
"""Where the packed panels of A and B are."""


@inlined
def operands_at(shape, a_shape, a, b, out, epilogue):
    """The operands of a product, from its flags and addresses."""
    (m, n), flags = shape, epilogue.flags
    k = a_shape[0] if flags & TRANSPOSE_A else a_shape[1]
    # Typed numbers: a literal is a type of its own, for which the loops would be compiled again.
    unit = np.int64(1)
    left = Strided(a, unit, m) if flags & TRANSPOSE_A else Strided(a, k, unit)
    right = Strided(b, k, unit) if flags & TRANSPOSE_B else Strided(b, unit, n)
    return Operands(m, n, k, left, right, Rows(out, n), epilogue)


@inlined
def no_operation(like, numbers):
    """A product with no operation after it."""
    no = np.int64(0)
    return Then(no, no, like, like, no, no, numbers)


@inlined
def plan_for(operands, count):
    """`plan_of` these operands."""
    m, n, k, a, b, out, epilogue = operands
    flags, updates = epilogue.flags, epilogue.then.updates
    return plan_of((m, n, k), a.k_stride, b.row, flags, updates, itemsize(out.start), count)


def _block_product_types(real):
    at, size = types.CPointer(real), types.int64
    strided = types.NamedTuple((at, size, size), Strided)
    then = types.NamedTuple((size, size, at, at, size, size, types.CPointer(types.float64)), Then)
    epilogue = types.NamedTuple((size, at, then), Epilogue)
    plan = types.NamedUniTuple(size, len(Plan._fields), Plan)
    rows = types.NamedTuple((at, size), Rows)
    return (size, size, size, strided, strided, rows, epilogue, plan, size)


@inner
def share(size, count, index, unit):
    """Start and end of share ``index`` of ``count``, in multiples of ``unit`` except at the end."""
    whole = ceil_div(size, unit)
    return min(size, whole * index // count * unit), min(size, whole * (index + 1) // count * unit)


@inner
def one_block(block, plan, memory, operands):
    """Compute one block of the grid."""
    m, n, k, a, b, out, epilogue = operands
    i, i_end, j, j_end = np.int64(0), m, np.int64(0), n
    if plan.rows * plan.columns > 1:
        i, i_end = share(m, plan.rows, block // plan.columns, ROWS)
        j, j_end = share(n, plan.columns, block % plan.columns, lane_count(out.start))
    part, width = epilogue_from(epilogue, i, j), j_end - j
    if epilogue.flags & IN_BLOCKS == 0:
        b, place = from_row(b, j), rows_from(out, i, j)
    elif epilogue.flags & TRANSPOSE_A:  # C, and what an update moves
        flags, biases, (function, updates, other, states, _, size, numbers) = epilogue
        start = j * m + i * width
        other, states = ahead(other, start), ahead(states, start)
        then = Then(function, updates, other, states, width, size, numbers)
        b, place = from_row(b, j), Rows(ahead(out.start, start), width)
        part = Epilogue(flags, ahead(biases, j), then)
    else:  # B
        b, place = Strided(ahead(b.start, j * k), b.row, width), rows_from(out, i, j)
    a = from_row(a, i)
    block_product(i_end - i, j_end - j, k, a, b, place, part, plan, memory)
    if part.flags & SUM_COLUMNS and i == 0:
        sum_columns(b.start, k, b.k_stride, j_end - j, part.biases)


@shared(_block_product_types)
def block_product(m, n, k, a, b, c, epilogue, plan, memory):
    """Loop 4: passes over k, for one block of C."""
    spaces = _Spaces(
        aligned_pointer(memory, c.start),
        aligned_pointer(memory + plan.a_bytes, c.start),
    )
    if plan.gradient_bytes:
        epilogue = Epilogue(epilogue.flags & ~SCALE, epilogue.biases, epilogue.then)
        before = plan.a_bytes + plan.b_bytes + plan.partial_bytes
        c = Rows(aligned_pointer(memory + before, c.start), n)
    partial = c
    done = np.int64(0)
    if plan.partial_bytes:
        partial = Rows(aligned_pointer(memory + plan.a_bytes + plan.b_bytes, c.start), n)
    finished, finish = c, epilogue
    if plan.turned:
        m, n, a, b = n, m, b, a
        c = partial = Rows(partial.start, n)
        none = no_operation(partial.start, epilogue.then.numbers)
        epilogue = Epilogue(np.int64(0), partial.start, none)
    if plan.skinny:
        chains = skinny_chains(m, n, k, a, b, partial)
        if not plan.turned:
            join(m, n, chains, partial, c, epilogue)
        done = k
    while done < k or k == 0:
        terms = min(plan.depth, k - done, CUT - done % CUT)
        end = done + terms
        phase = Phase(
            resumes=done % CUT != 0,
            ends_chain=end == k or end % CUT == 0,
            adds_sums=done >= CUT or epilogue.flags & ACCUMULATE != 0,
            ends=end == k,
            follows=done > 0,
        )
        a_pass = Strided(ahead(a.start, done * a.k_stride), a.row, a.k_stride)
        b_pass = Strided(ahead(b.start, done * b.k_stride), b.row, b.k_stride)
        outputs = Outputs(partial, c, c)
        _one_pass((m, n, terms), a_pass, b_pass, outputs, epilogue, phase, plan, spaces)
        if end == k:
            break
        done = end
    if plan.turned:
        # What packs a panel transposes: here the whole of C.
        pack(Strided(c.start, n, np.int64(1)), m, n, finished.row, finished.start)
        if finish.flags & ADD_BIASES:
            join(n, m, 1, finished, finished, finish)
        else:
            run_then(n, m, finished, finish.then)


@inlined
def _one_pass(sizes, a, b, outputs, epilogue, phase, plan, spaces):
    """Loops 3 and 2, for one pass over k: chunks of A, and for each the strips of B."""
    m, n, terms = sizes
    lanes, only_pass = lane_count(b.start), phase.ends and not phase.follows
    for i in range(0, m, plan.chunk):
        rows = min(plan.chunk, m - i)
        a_chunk = Tiled(ahead(a.start, i * a.row), a.row, a.k_stride, ROWS * a.row)
        if plan.a_bytes:
            pack_rows(from_row(a, i), rows, terms, spaces.a)
            a_chunk = Tiled(spaces.a, 1, ROWS, ROWS * terms)
        j = 0
        while j < n:
            columns = strip_columns(n - j, plan.strip, lanes)
            b_strip = Strip(ahead(b.start, j), b.k_stride, no_prefetch(b.start))
            if plan.b_bytes:
                panel = ahead(spaces.b, j * terms if plan.panels > 1 else 0)
                width = ceil_div(columns, lanes) * lanes
                if i == 0:
                    pack(from_row(b, j), columns, terms, width, panel)
                b_strip = Strip(
                    panel, width, _prefetch_after(i, j + columns, n, b, spaces.b, terms, plan)
                )
            out = rows_from(outputs.out, i, j)
            if only_pass and plan.gradient_bytes and not plan.turned:
                out = Rows(outputs.out.start, plan.strip)  # each strip overwrites the last
            here = Outputs(rows_from(outputs.partial, i, j), out, out)
            part = epilogue_from(epilogue, i, j)
            strip_of_tiles(rows, columns, terms, a_chunk, b_strip, here, part, phase)
            if phase.ends and part.flags & IN_REGISTERS == 0:
                run_then(rows, columns, out, part.then)
            j += columns


@inner
def _prefetch_after(i, j, n, b, panels, terms, plan):
    """What to prefetch during the strip that ends at column j, in the chunk at row i.

    That is the next panel where it is packed already, else the part of B that it is packed from
    (Zen 3, time of a product: 1 -> 0.95 at n = 512 and at 512 x 1024 x 1024).
    """
    every, half = PREFETCH_STEPS, plan.strip // 2
    times = terms // every
    if plan.panels > 1 and (i > 0 or j >= n):
        line = LINE // itemsize(b.start)
        start = ahead(panels, j * terms if j < n else 0)
        return Prefetch(start, times * line, line, half * terms, ceil_div(every * half, line))
    if j >= n:
        return no_prefetch(b.start)
    if b.row == 1:
        stride = b.k_stride
        return Prefetch(ahead(b.start, j), times * stride, stride, plan.strip - 1, every)
    return Prefetch(ahead(b.start, j * b.row), b.row, every * b.k_stride, half * b.row, half)
