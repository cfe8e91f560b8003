"""The public `matmul`, and the one compiled product behind it and the dense layer.

`product` stands outside the loops: it checks shapes, plans, allocates scratch, and its threads take
blocks of C, which ``kernels/product/loops.py`` computes (loops 5 to 2). `matmul` and the dense
layer's products differ in a word of flags and one extra operand.
"""

import functools

import numpy as np
from numba import prange

from kernels.intrinsics import (
    LINE,
    allocate,
    claim,
    disjoint,
    free,
    is_aligned,
    itemsize,
    local_number,
    pointer,
    zero_at,
)
from kernels.product.fast_path import FLOAT32, FLOAT64, Request, fast_door
from kernels.product.flags import (
    ACCUMULATE,
    ADD_BIASES,
    NEVER_EMPTY,
    OTHER,
    SUM_COLUMNS,
    TRANSPOSE_A,
    TRANSPOSE_B,
    UPDATES,
)
from kernels.product.loops import no_operation, one_block, operands_at, plan_for
from kernels.product.microkernel import Epilogue, Then
from kernels.product.split_k import chain_bytes, chains_to_share, join_chains, one_chain
from kernels.runtime.jit import DONE, LARGE, MISFIT, Array, inlined, kernel, registered

SMALL = 2**21
"""Multiply-adds (40 us) up to which a product runs on one thread."""

_LARGEST_32, _LARGEST_64 = (float(np.finfo(real).max) for real in (np.float32, np.float64))


@kernel(
    "a (m, k), b (k, n), extra (e, f), number number, then int64, flags int64, count threads "
    "-> out (m, n)",
    nanoseconds=lambda a, b, extra, out, *_: 0.018 * a.size * out.shape[1],
    public=False,
    calls=("block_product",),
)
def product(a, b, extra, out, number, then, flags, count):
    """The one compiled product behind every public one.

    ``extra`` holds biases, or receives the column sum, or is the other operand of the operation at
    the address ``then``, whose only number is ``number``. With a ``count`` of 0 it runs on one
    thread, or returns `LARGE` where more threads would be faster.
    """
    # Pointers and strides from here on: no reference counting.
    (m, n), (a_rows, a_columns) = out.shape, a.shape
    at_a, at_b, at_extra, at_out = pointer(a), pointer(b), pointer(extra), pointer(out)
    numbers = local_number(number)
    epilogue = _epilogue(at_extra, at_out, numbers, then, flags, n)
    whole = operands_at((m, n), (a_rows, a_columns), at_a, at_b, at_out, epilogue)
    if not _fits(whole, (a_rows, a_columns), b.shape, at_extra, extra.shape, number):
        return MISFIT
    if m * n == 0:
        return DONE  # before any loop over k, which may be huge here
    if count == 0 and m * n * whole.k > SMALL:
        return LARGE
    count = max(count, 1)
    plan = plan_for(whole, count)
    # A task is a block of C, or, where there are fewer blocks than threads, a chain of all of C.
    chains = chains_to_share(whole, plan, count)
    tasks = max(plan.rows * plan.columns, chains)
    counter = LINE if count > 1 else 0
    size = max(plan.bytes, chain_bytes(whole, chains)) if chains > 0 else plan.bytes
    kept = chains * m * n * itemsize(at_out) + LINE if chains > 0 else 0
    memory = allocate(counter + size * count + kept)
    sums = memory + counter + size * count
    if count > 1:
        zero_at(memory)
    for worker in prange(count):
        # Tuples cannot cross into a parallel region, so each thread makes them again.
        same = _epilogue(at_extra, at_out, local_number(number), then, flags, n)
        here = operands_at((m, n), (a_rows, a_columns), at_a, at_b, at_out, same)
        own_plan = plan_for(here, count)
        space = memory + counter + worker * size
        # A free thread takes the next task; the bits do not depend on which thread runs a task.
        task = claim(memory) if count > 1 else 0
        while task < tasks:
            if chains > 0:
                one_chain(task, space, here, sums)
            else:
                one_block(task, own_plan, space, here)
            task = claim(memory) if count > 1 else task + 1
    if chains > 0:
        join_chains(chains, whole, sums)
    free(memory)
    return DONE


@kernel(
    "a (m, k), b (k, n), flags int64 -> out (m, n)",
    public=False,
    calls=("block_product",),
    is_short=True,
)
def small_product(a, b, out, flags):
    """`product` without an extra operand, on one thread; returns `LARGE` where that is too slow.

    Four arguments instead of seven, read without Numba's boxing, and the GIL kept: a call takes
    280 ns less, more than half of the whole at n = 8.
    """
    (m, n), (a_rows, a_columns) = out.shape, a.shape
    at_a, at_b, at_out = pointer(a), pointer(b), pointer(out)
    plain = Epilogue(flags, at_out, no_operation(at_out, local_number(0.0)))
    whole = operands_at((m, n), (a_rows, a_columns), at_a, at_b, at_out, plain)
    if not _fits(whole, (a_rows, a_columns), b.shape, at_out, (m, n), 0.0):
        return MISFIT
    if m * n == 0:
        return DONE
    if m * n * whole.k > SMALL:
        return LARGE
    plan = plan_for(whole, 1)
    memory = allocate(plan.bytes)
    for block in range(plan.rows * plan.columns):
        one_block(block, plan, memory, whole)
    free(memory)
    return DONE


@inlined
def _epilogue(extra, out, numbers, then, flags, n):
    """The epilogue of the whole product; an update takes the product as the gradients of C."""
    updates = np.int64(flags & UPDATES != 0)
    other = extra if flags & OTHER else out
    no = np.int64(0)
    return Epilogue(flags, extra, Then(then, updates, other, other, n, no, numbers))


@inlined
def _fits(whole, a_shape, b_shape, extra, extra_shape, number):
    """Whether the shapes fit, all is aligned, and outputs overlap no input."""
    m, n, k, a, b, out, epilogue = whole
    flags = epilogue.flags
    a_m = a_shape[1] if flags & TRANSPOSE_A else a_shape[0]
    b_k, b_n = (b_shape[1], b_shape[0]) if flags & TRANSPOSE_B else b_shape
    fits = a_m == m and b_k == k and b_n == n
    fits &= disjoint(out.start, m * n, a.start, m * k) and disjoint(
        out.start, m * n, b.start, k * n
    )
    if flags & (ADD_BIASES | SUM_COLUMNS | OTHER):
        extra_m = m if flags & OTHER else 1
        fits &= extra_shape[0] == extra_m and extra_shape[1] == n
        fits &= disjoint(out.start, m * n, extra, extra_m * n)
    if flags & SUM_COLUMNS:
        fits &= disjoint(extra, n, a.start, m * k) and disjoint(extra, n, b.start, k * n)
    fits &= is_aligned(a.start) and is_aligned(b.start) and is_aligned(out.start)
    fits &= is_aligned(extra)
    # As in `checks.number`: finite in the dtype of the weights, and not negative.
    largest = _LARGEST_32 if itemsize(extra) == 4 else _LARGEST_64
    fits &= 0.0 <= number <= largest
    if flags & NEVER_EMPTY:
        fits &= m > 0 and n > 0 and k > 0
    return fits


def _flags_of(transpose_a, transpose_b, accumulate):
    if not type(transpose_a) is type(transpose_b) is type(accumulate) is bool:
        raise TypeError  # the contract writes the message
    return transpose_a * TRANSPOSE_A | transpose_b * TRANSPOSE_B | accumulate * ACCUMULATE


def _in_one_frame(door):
    """Call `small_product` without going through a door: two fifths of the time at n = 8."""
    single, double, small = FLOAT32, FLOAT64, small_product.serial
    none = object()  # a missing argument: the door raises the error

    @functools.wraps(door)
    def matmul(a=none, b=none, out=none, transpose_a=False, transpose_b=False, accumulate=False):
        try:
            flags, dtype, answer = 0, out.dtype, MISFIT
            if not transpose_a is transpose_b is accumulate is False:
                flags = _flags_of(transpose_a, transpose_b, accumulate)
            if dtype is single:
                answer = small.float32(a, b, out, flags)
            elif dtype is double:
                answer = small.float64(a, b, out, flags)
            if answer == 0:  # DONE
                return None
        except Exception:  # the door raises a better error
            pass
        given = {"a": a, "b": b, "out": out}
        given = {name: value for name, value in given.items() if value is not none}
        flagged = {"transpose_a": transpose_a, "transpose_b": transpose_b}
        return door(**given, **flagged, accumulate=accumulate)

    return registered(matmul)


@_in_one_frame
@fast_door(
    product,
    small_product,
    "a (m, k; transpose_a), b (k, n; transpose_b), transpose_a flag, transpose_b flag, "
    "accumulate flag -> out (m, n)",
)
def matmul(
    a: Array,
    b: Array,
    out: Array,
    transpose_a: bool = False,
    transpose_b: bool = False,
    accumulate: bool = False,
) -> Request:
    """Matrix product: out = op(a) . op(b), where op transposes on request.

    Parameters
    ----------
    a : ndarray, (m, k), or (k, m) with ``transpose_a``
        float32 or float64, as all arrays here.
    b : ndarray, (k, n), or (n, k) with ``transpose_b``
    out : ndarray, (m, n)
        Written; read only with ``accumulate``, which adds the chains to it in order. Where it is
        left out, a new one is returned.

    Raises
    ------
    TypeError, ValueError
        An argument is not as described, or ``out`` shares memory with ``a`` or ``b``.
    """
    return a, b, out, out, 0.0, 0, _flags_of(transpose_a, transpose_b, accumulate)
