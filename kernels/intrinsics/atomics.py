"""What threads tell each other: integers in memory that several of them change and read."""

import os
import platform

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from kernels.intrinsics.llvm import INDEX, VOID, index

# What a waiting thread does: leave the core's units, and its power, to whoever works.
_X86_PAUSE = "llvm.x86.sse2.pause" if platform.machine().lower() in ("x86_64", "amd64") else None
_CAN_YIELD = hasattr(os, "sched_yield")


def _counter(builder, address):
    return builder.inttoptr(address, INDEX.as_pointer())


@intrinsic
def start_counting(typing, address):
    """Make the integer at an address 0, before other threads see it."""
    signature = types.void(types.intp)

    def generate(context, builder, signature, arguments):
        builder.store(index(0), _counter(builder, arguments[0]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def claim(typing, address):
    """The integer at an address, which becomes one larger: no two threads get the same."""
    signature = types.intp(types.intp)

    def generate(context, builder, signature, arguments):
        return builder.atomic_rmw("add", _counter(builder, arguments[0]), index(1), "monotonic")

    return signature, generate


@intrinsic
def claim_turn(typing, address, turn):
    """Raise the integer at an address to ``turn``; True for the one thread that does."""
    signature = types.boolean(types.intp, types.intp)

    def generate(context, builder, signature, arguments):
        address, turn = arguments
        before = builder.atomic_rmw("max", _counter(builder, address), turn, "monotonic")
        return builder.icmp_signed("<", before, turn)

    return signature, generate


@intrinsic
def add_at(typing, address, number):
    """Add to the integer at an address: who then reads it sees what this thread wrote before."""
    signature = types.void(types.intp, types.intp)

    def generate(context, builder, signature, arguments):
        address, number = arguments
        builder.atomic_rmw("add", _counter(builder, address), number, "acq_rel")
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def read_at(typing, address):
    """The integer at an address, and with it all that those wrote who had added to it."""
    signature = types.intp(types.intp)

    def generate(context, builder, signature, arguments):
        return builder.load_atomic(_counter(builder, arguments[0]), "acquire", 8)

    return signature, generate


@intrinsic
def pause(typing):
    """Let a few cycles pass, where the CPU has an instruction for that."""
    signature = types.void()

    def generate(context, builder, signature, arguments):
        if _X86_PAUSE:
            kind = ir.FunctionType(VOID, [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, _X86_PAUSE), [])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def give_way(typing):
    """Let another thread have this core, where the system can be told so."""
    signature = types.void()

    def generate(context, builder, signature, arguments):
        if _CAN_YIELD:
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return signature, generate
