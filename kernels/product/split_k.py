"""Parallel over k: the chains of a product apart, where its outputs are too few to be shared out.

A product's element is a sum of chains of `CUT` terms, added in order. Which thread computes a chain
does not matter, so long as they are then added in that order.
"""

import numpy as np

from kernels.intrinsics import ahead, memory_at
from kernels.product.column_sum import CUT, sum_columns
from kernels.product.flags import SUM_COLUMNS
from kernels.product.loops import Operands, block_product, nothing_then, plan_for, units
from kernels.product.microkernel import Epilogue, Rows, Strided, join
from kernels.runtime.jit import inner

FEW = 2**14
"""Outputs up to which chains are shared out: they are kept, all of them, until they are added."""


@inner
def chains_apart(whole, plan, count):
    """How many chains the threads share; 0 where they share blocks of the outputs."""
    chains = units(whole.k, CUT)
    blocks = plan.rows * plan.columns
    return chains if blocks < count and chains > blocks and whole.m * whole.n <= FEW else 0


@inner
def chain_bytes(whole, chains):
    """The memory that a thread needs for one chain: the last may be packed in another way."""
    return max(_plan(whole, 0).bytes, _plan(whole, chains - 1).bytes)


@inner
def one_chain(index, memory, whole, sums):
    """Chain ``index`` of every element, to where the chains are kept."""
    m, n, terms, a, b, target, plain = _chain(whole, index, memory_at(sums, whole.out.start))
    block_product(m, n, terms, a, b, target, plain, _plan(whole, index), memory)


@inner
def _chain(whole, index, sums):
    """The product of one chain's terms alone."""
    m, n, first = whole.m, whole.n, index * CUT
    a, b = whole.a, whole.b
    a = Strided(ahead(a.start, first * a.step), a.row, a.step)
    b = Strided(ahead(b.start, first * b.step), b.row, b.step)
    target = Rows(ahead(sums, index * m * n), n)
    numbers = whole.epilogue.then.numbers
    plain = Epilogue(np.int64(0), sums, nothing_then(sums, numbers))
    return Operands(m, n, min(CUT, whole.k - first), a, b, target, plain)


@inner
def _plan(whole, index):
    return plan_for(_chain(whole, index, whole.out.start), 1)


@inner
def join_chains(chains, whole, sums):
    """Add the chains of each element in order, and do with the sum what a product does."""
    first = Rows(memory_at(sums, whole.out.start), whole.n)
    out = whole.out
    if whole.epilogue.then.updates:
        out = first  # an update's gradients, in place of the first chains
    join(whole.m, whole.n, chains, first, out, whole.epilogue)
    if whole.epilogue.flags & SUM_COLUMNS:
        sum_columns(whole.b.start, whole.k, whole.b.step, whole.n, whole.epilogue.biases)
