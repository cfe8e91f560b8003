"""Loads and stores of vectors, whole or partial: helpers that write LLVM code."""

from llvmlite import ir

from kernels.intrinsics.cpu import instruction_set
from kernels.intrinsics.llvm import (
    INDEX,
    LANE,
    LLVM_SCALARS,
    SAME_WIDTH_INTEGER,
    SUFFIXES,
    VOID,
    Vector,
    call,
    filled,
    half,
    index,
)

MASKS_ARE_FREE = instruction_set() == "avx512"
"""Whether partial loads and stores cost no more than whole ones. With AVX2 a mask takes several
instructions, and a masked store 16 cycles on AMD (ReLU of 128 x 128 on Zen 3: 10.9 -> 2.7 us
without); other CPUs have no masks."""


def load_lanes(builder, vector, pointer, count=None, fill=None):
    """Load a vector; with ``count``, only lanes below it are read, the others are ``fill``."""
    source = builder.bitcast(pointer, vector.llvm.as_pointer())
    if count is None:
        loaded = builder.load(source)
        loaded.align = _align(vector)
        return loaded
    mask = _mask(builder, vector, count)
    fill = ir.Constant(vector.llvm, [0.0] * vector.lanes) if fill is None else fill
    name = f"llvm.masked.load.v{vector.lanes}{SUFFIXES[vector.dtype]}.p0"
    return call(builder, name, vector.llvm, [source, ir.Constant(LANE, _align(vector)), mask, fill])


def load_up_to(builder, vector, pointer, count, fill):
    """`load_lanes` without a mask where ``count`` covers the whole vector."""
    if MASKS_ARE_FREE:
        return load_lanes(builder, vector, pointer, count=count, fill=fill)
    is_whole = builder.icmp_signed(">=", count, index(vector.lanes))
    with builder.if_else(is_whole, likely=True) as (then, otherwise):
        with then:
            whole, after_whole = load_lanes(builder, vector, pointer), builder.block
        with otherwise:
            some = load_lanes(builder, vector, pointer, count=count, fill=fill)
            after_some = builder.block
    loaded = builder.phi(vector.llvm)
    loaded.add_incoming(whole, after_whole)
    loaded.add_incoming(some, after_some)
    return loaded


def store_lanes(builder, vector, value, pointer, count=None):
    """Store a vector; with ``count``, only the lanes below it are written."""
    target = builder.bitcast(pointer, vector.llvm.as_pointer())
    if count is None:
        builder.store(value, target).align = _align(vector)
    elif MASKS_ARE_FREE:
        mask = _mask(builder, vector, count)
        name = f"llvm.masked.store.v{vector.lanes}{SUFFIXES[vector.dtype]}.p0"
        call(builder, name, VOID, [value, target, ir.Constant(LANE, _align(vector)), mask])
    else:
        is_whole = builder.icmp_signed(">=", count, index(vector.lanes))
        with builder.if_else(is_whole, likely=True) as (then, otherwise):
            with then:
                store_lanes(builder, vector, value, pointer)
            with otherwise, builder.if_then(builder.icmp_signed(">", count, index(0))):
                _store_in_pieces(builder, vector, value, pointer, count)


def _store_in_pieces(builder, vector, value, pointer, count):
    """Store the first ``count`` lanes, fewer than all, in pieces of 8, 4, 2 and 1."""
    lanes = vector.lanes
    while lanes > 1:
        lanes //= 2
        low, high = half(builder, value, 0), half(builder, value, lanes)
        taken = builder.and_(count, index(lanes))
        is_taken = builder.icmp_signed("!=", taken, index(0))
        with builder.if_then(is_taken):
            store_lanes(builder, Vector(vector.dtype, lanes), low, pointer)
        pointer = builder.gep(pointer, [taken])
        value = builder.select(is_taken, high, low)


def _mask(builder, vector, count):
    """Lane i is on where i < count.

    It is the sign of a difference: LLVM would move a comparison from before a loop into it, which
    without mask registers takes ten instructions per iteration.
    """
    number = LLVM_SCALARS[SAME_WIDTH_INTEGER[vector.dtype]]
    if number.width < INDEX.width:
        # Clipped, so that the difference does not overflow.
        most = index(2**30)
        count = builder.select(builder.icmp_signed("<", count, most), count, most)
        least = index(-(2**30))
        count = builder.select(builder.icmp_signed(">", count, least), count, least)
        count = builder.trunc(count, number)
    kind = ir.VectorType(number, vector.lanes)
    numbers = ir.Constant(kind, list(range(vector.lanes)))
    difference = builder.sub(numbers, filled(builder, count, vector.lanes))
    return builder.icmp_signed("<", difference, ir.Constant(kind, None))


def _align(vector):
    """Alignment in bytes that any array of this dtype has: that of an element."""
    return vector.dtype.bitwidth // 8
