"""Split-k: threads share the chains of k, where C has too few blocks for them (loop 5).

An element is a sum of chains of `CUT` terms, added in order. Any thread may compute a chain: the
chains are stored, then added in that order.
"""

import numpy as np

from kernels.intrinsics import ahead, aligned_pointer
from kernels.product.column_sum import CUT, sum_columns
from kernels.product.flags import SUM_COLUMNS
from kernels.product.loops import Operands, block_product, ceil_div, no_operation, plan_for
from kernels.product.microkernel import Epilogue, Rows, Strided, join
from kernels.runtime.jit import inner

MAX_OUTPUTS = 2**14
"""Most outputs for which threads share chains: all chains are stored until they are added."""


@inner
def chains_to_share(whole, plan, count):
    """How many chains the threads share; 0 where they share blocks of C."""
    chains = ceil_div(whole.k, CUT)
    blocks = plan.rows * plan.columns
    return chains if blocks < count and chains > blocks and whole.m * whole.n <= MAX_OUTPUTS else 0


@inner
def chain_bytes(whole, chains):
    """Scratch bytes for one chain; the last chain is shorter and may be packed differently."""
    return max(_plan(whole, 0).bytes, _plan(whole, chains - 1).bytes)


@inner
def one_chain(index, memory, whole, sums):
    """Compute chain ``index`` of every element, into ``sums``."""
    m, n, terms, a, b, place, plain = _chain(whole, index, aligned_pointer(sums, whole.out.start))
    block_product(m, n, terms, a, b, place, plain, _plan(whole, index), memory)


@inner
def _chain(whole, index, sums):
    """The product over the terms of one chain."""
    m, n, first = whole.m, whole.n, index * CUT
    a, b = whole.a, whole.b
    a = Strided(ahead(a.start, first * a.k_stride), a.row, a.k_stride)
    b = Strided(ahead(b.start, first * b.k_stride), b.row, b.k_stride)
    place = Rows(ahead(sums, index * m * n), n)
    numbers = whole.epilogue.then.numbers
    plain = Epilogue(np.int64(0), sums, no_operation(sums, numbers))
    return Operands(m, n, min(CUT, whole.k - first), a, b, place, plain)


@inner
def _plan(whole, index):
    return plan_for(_chain(whole, index, whole.out.start), 1)


@inner
def join_chains(chains, whole, sums):
    """Add the chains of each element in order, and apply the epilogue."""
    first = Rows(aligned_pointer(sums, whole.out.start), whole.n)
    out = whole.out
    if whole.epilogue.then.updates:
        out = first  # an update's gradients, in place of the first chains
    join(whole.m, whole.n, chains, first, out, whole.epilogue)
    if whole.epilogue.flags & SUM_COLUMNS:
        sum_columns(whole.b.start, whole.k, whole.b.k_stride, whole.n, whole.epilogue.biases)
