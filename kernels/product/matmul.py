"""The compiled product behind every door, and the public `matmul`.

One kernel serves all: what differs between `matmul`, the dense layer's forward and its gradients is
a word of flags and one extra operand. Its loops are in ``kernels/product/loops.py``.
"""

import functools

import numpy as np
from numba import prange

from kernels.intrinsics import (
    LINE,
    allocate,
    apart,
    claim,
    free,
    is_aligned,
    itemsize,
    local_number,
    pointer,
    start_counting,
)
from kernels.product.fast_path import FLOAT32, FLOAT64, Request, asks
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
from kernels.product.loops import nothing_then, one_block, operands_at, plan_for
from kernels.product.microkernel import Epilogue, Then
from kernels.product.split_k import chain_bytes, chains_apart, join_chains, one_chain
from kernels.runtime.jit import DONE, LARGE, MISFIT, Array, inlined, kernel, registered

SMALL = 2**21
"""Multiply-adds (40 us) up to which one thread is asked first, before anybody counts threads."""

_LARGEST_32, _LARGEST_64 = (float(np.finfo(real).max) for real in (np.float32, np.float64))


@kernel(
    "a (m, k), b (k, n), extra (e, f), number number, then int64, flags int64, count threads "
    "-> out (m, n)",
    nanoseconds=lambda a, b, extra, out, *_: 0.018 * a.size * out.shape[1],
    public=False,
    calls=("block_product",),
)
def product(a, b, extra, out, number, then, flags, count):
    """The one compiled product behind every public one: what differs is data.

    ``extra`` holds biases, or receives the column sum, or is the other operand of the operation at
    the address ``then``, whose only number is ``number``. A ``count`` of 0 asks for one thread, and
    for nothing where more would be faster.
    """
    # From here on there are pointers and steps: nobody counts references to those.
    (m, n), (a_rows, a_columns) = out.shape, a.shape
    at_a, at_b, at_extra, at_out = pointer(a), pointer(b), pointer(extra), pointer(out)
    numbers = local_number(number)
    epilogue = _epilogue(at_extra, at_out, numbers, then, flags, n)
    whole = operands_at((m, n), (a_rows, a_columns), at_a, at_b, at_out, epilogue)
    if not _fits(whole, (a_rows, a_columns), b.shape, at_extra, extra.shape, number):
        return MISFIT
    if m * n == 0:
        return DONE  # before any loop over a k that costs no memory
    if count == 0 and m * n * whole.k > SMALL:
        return LARGE
    count = max(count, 1)
    plan = plan_for(whole, count)
    # Tasks are blocks of C; where those are few, the chains of the whole of it.
    chains = chains_apart(whole, plan, count)
    tasks = max(plan.rows * plan.columns, chains)
    counter = LINE if count > 1 else 0
    size = max(plan.bytes, chain_bytes(whole, chains)) if chains > 0 else plan.bytes
    kept = chains * m * n * itemsize(at_out) + LINE if chains > 0 else 0
    memory = allocate(counter + size * count + kept)
    sums = memory + counter + size * count
    if count > 1:
        start_counting(memory)
    for worker in prange(count):
        # Tuples do not get in here, but they are quickly made anew.
        same = _epilogue(at_extra, at_out, local_number(number), then, flags, n)
        here = operands_at((m, n), (a_rows, a_columns), at_a, at_b, at_out, same)
        own_plan = plan_for(here, count)
        space = memory + counter + worker * size
        # Whoever is free takes the next task. The bits do not depend on who does it.
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
    """`product` of what needs no other operand and is not `LARGE`: for that it says so.

    With four arguments instead of seven, which nobody looks up or counts, and the interpreter's
    lock kept, a call costs 280 ns less: more than half of the whole at n = 8.
    """
    (m, n), (a_rows, a_columns) = out.shape, a.shape
    at_a, at_b, at_out = pointer(a), pointer(b), pointer(out)
    plain = Epilogue(flags, at_out, nothing_then(at_out, local_number(0.0)))
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
    """What happens to the finished product; an update takes the product for gradients of C."""
    updates = np.int64(flags & UPDATES != 0)
    other = extra if flags & OTHER else out
    no = np.int64(0)
    return Epilogue(flags, extra, Then(then, updates, other, other, n, no, numbers))


@inlined
def _fits(whole, a_shape, b_shape, extra, extra_shape, number):
    """Whether the shapes are those of a product, and nothing that is written is also read."""
    m, n, k, a, b, out, epilogue = whole
    flags = epilogue.flags
    a_m = a_shape[1] if flags & TRANSPOSE_A else a_shape[0]
    b_k, b_n = (b_shape[1], b_shape[0]) if flags & TRANSPOSE_B else b_shape
    fits = a_m == m and b_k == k and b_n == n
    fits &= apart(out.start, m * n, a.start, m * k) and apart(out.start, m * n, b.start, k * n)
    if flags & (ADD_BIASES | SUM_COLUMNS | OTHER):
        extra_m = m if flags & OTHER else 1
        fits &= extra_shape[0] == extra_m and extra_shape[1] == n
        fits &= apart(out.start, m * n, extra, extra_m * n)
    if flags & SUM_COLUMNS:
        fits &= apart(extra, n, a.start, m * k) and apart(extra, n, b.start, k * n)
    fits &= is_aligned(a.start) and is_aligned(b.start) and is_aligned(out.start)
    fits &= is_aligned(extra)
    # As `checks.number` has it: finite in the dtype of the weights, and no rate is negative.
    largest = _LARGEST_32 if itemsize(extra) == 4 else _LARGEST_64
    fits &= 0.0 <= number <= largest
    if flags & NEVER_EMPTY:
        fits &= m > 0 and n > 0 and k > 0
    return fits


def _flags_of(transpose_a, transpose_b, accumulate):
    if not type(transpose_a) is type(transpose_b) is type(accumulate) is bool:
        raise TypeError  # in the contract's words
    return transpose_a * TRANSPOSE_A | transpose_b * TRANSPOSE_B | accumulate * ACCUMULATE


def _in_one_frame(door):
    """Ask for small products without going through a door: two fifths of the time at n = 8."""
    single, double, small = FLOAT32, FLOAT64, small_product.serial
    none = object()  # what is missing is named by the door

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
                return
        except Exception:  # whatever it is, the door knows better
            pass
        given = {"a": a, "b": b, "out": out}
        given = {name: value for name, value in given.items() if value is not none}
        door(**given, transpose_a=transpose_a, transpose_b=transpose_b, accumulate=accumulate)

    return registered(matmul)


@_in_one_frame
@asks(
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
        Written; read only with ``accumulate``, which adds the chains to it in order.

    Raises
    ------
    TypeError, ValueError
        An argument is not as described, or ``out`` shares memory with ``a`` or ``b``.
    """
    return a, b, out, out, 0.0, 0, _flags_of(transpose_a, transpose_b, accumulate)
