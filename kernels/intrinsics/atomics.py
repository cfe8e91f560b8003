"""Atomic integers, which several threads change and read."""

import os
import platform

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from kernels.intrinsics.llvm import INDEX, VOID, index

# A waiting thread pauses, which leaves the core's units and power to working threads.
_X86_PAUSE = "llvm.x86.sse2.pause" if platform.machine().lower() in ("x86_64", "amd64") else None
_CAN_YIELD = hasattr(os, "sched_yield")


def _counter(builder, address):
    return builder.inttoptr(address, INDEX.as_pointer())


@intrinsic
def zero_at(typing, address):
    """Make the integer at an address 0, before other threads see it."""
    signature = types.void(types.intp)

    def generate(context, builder, signature, arguments):
        builder.store(index(0), _counter(builder, arguments[0]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def claim(typing, address):
    """Add 1 to the integer at an address and return the old value: no two threads get the same."""
    signature = types.intp(types.intp)

    def generate(context, builder, signature, arguments):
        return builder.atomic_rmw("add", _counter(builder, arguments[0]), index(1), "monotonic")

    return signature, generate


@intrinsic
def raise_to(typing, address, value):
    """Raise the integer at an address to ``value``; True for the one thread that does."""
    signature = types.boolean(types.intp, types.intp)

    def generate(context, builder, signature, arguments):
        address, value = arguments
        before = builder.atomic_rmw("max", _counter(builder, address), value, "monotonic")
        return builder.icmp_signed("<", before, value)

    return signature, generate


@intrinsic
def add_at(typing, address, number):
    """Add to the integer at an address, and release this thread's earlier writes."""
    signature = types.void(types.intp, types.intp)

    def generate(context, builder, signature, arguments):
        address, number = arguments
        builder.atomic_rmw("add", _counter(builder, address), number, "acq_rel")
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def read_at(typing, address):
    """The integer at an address; acquires the writes of the threads that added to it."""
    signature = types.intp(types.intp)

    def generate(context, builder, signature, arguments):
        return builder.load_atomic(_counter(builder, arguments[0]), "acquire", 8)

    return signature, generate


@intrinsic
def pause(typing):
    """Wait a few cycles, where the CPU has an instruction for it."""
    signature = types.void()

    def generate(context, builder, signature, arguments):
        if _X86_PAUSE:
            kind = ir.FunctionType(VOID, [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, _X86_PAUSE), [])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def yield_thread(typing):
    """Offer this core to another thread, where the system allows it."""
    signature = types.void()

    def generate(context, builder, signature, arguments):
        if _CAN_YIELD:
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return signature, generate
