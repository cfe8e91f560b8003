"""Pointers, and memory outside arrays.

A pointer is ``numba.types.CPointer(dtype)``: nothing checks it, and it keeps nothing alive. An
address is an integer, which can also cross into a parallel region.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from kernels.intrinsics.llvm import BYTE_POINTER, INDEX, index, opaque_value, prefetch_line


@intrinsic
def pointer(typing, array):
    """The address of the first element of a C-contiguous array."""
    signature = types.CPointer(array.dtype)(array)

    def generate(context, builder, signature, arguments):
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return signature, generate


@intrinsic
def row_of(typing, array, i):
    """The address of row i of a C-contiguous matrix."""
    signature = types.CPointer(array.dtype)(array, types.intp)

    def generate(context, builder, signature, arguments):
        matrix = context.make_array(signature.args[0])(context, builder, arguments[0])
        columns = builder.extract_value(matrix.shape, 1)
        return builder.gep(matrix.data, [builder.mul(arguments[1], columns)])

    return signature, generate


@intrinsic
def as_item(typing, number, like):
    """A number in the dtype that ``like`` points at."""
    signature = like.dtype(number, like)

    def generate(context, builder, signature, arguments):
        return context.cast(builder, arguments[0], number, like.dtype)

    return signature, generate


@intrinsic
def itemsize(typing, like):
    """Bytes of the dtype that ``like`` points at."""
    signature = types.intp(like)
    size = like.dtype.bitwidth // 8

    def generate(context, builder, signature, arguments):
        return index(size)

    return signature, generate


@intrinsic
def allocate(typing, size):
    """The address of ``size`` bytes, to be released by `free`; 0 where ``size`` is 0."""
    signature = types.intp(types.intp)

    def generate(context, builder, signature, arguments):
        (size,) = arguments
        address = cgutils.alloca_once_value(builder, index(0))
        with builder.if_then(builder.icmp_signed("!=", size, index(0))):
            # Raises MemoryError.
            start = context.nrt.allocate(builder, size)
            builder.store(builder.ptrtoint(start, INDEX), address)
        return builder.load(address)

    return signature, generate


@intrinsic
def free(typing, address):
    """Release what `allocate` returned."""
    signature = types.void(types.intp)

    def generate(context, builder, signature, arguments):
        (address,) = arguments
        with builder.if_then(builder.icmp_signed("!=", address, index(0))):
            context.nrt.free(builder, builder.inttoptr(address, BYTE_POINTER))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def prefetch(typing, start):
    """Prefetch the cache line of an address for reading; any address is allowed."""
    signature = types.void(start)

    def generate(context, builder, signature, arguments):
        prefetch_line(builder, arguments[0], for_writing=False)
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)
def local(typing, like, count):
    """A pointer like ``like`` to ``count`` elements on the caller's stack."""
    signature = like(like, count)

    def generate(context, builder, signature, arguments):
        # In the entry block, so that it is allocated once, even if the caller is inlined in a loop.
        with builder.goto_entry_block():
            array = ir.ArrayType(context.get_value_type(like.dtype), count.literal_value)
            place = builder.alloca(array)
            place.align = 64
        return builder.bitcast(place, context.get_value_type(like))

    return signature, generate


@intrinsic
def aligned_pointer(typing, address, like):
    """The first multiple of 64 from an address on, as a pointer like ``like`` or to that dtype."""
    kind = like if isinstance(like, types.CPointer) else types.CPointer(like.dtype)
    signature = kind(types.intp, like)

    def generate(context, builder, signature, arguments):
        start = builder.and_(builder.add(arguments[0], index(63)), index(~63))
        return builder.inttoptr(start, context.get_value_type(kind))

    return signature, generate


@intrinsic
def integers_at(typing, start):
    """The same address as a pointer to int64."""
    kind = types.CPointer(types.int64)
    signature = kind(start)

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(kind))

    return signature, generate


@intrinsic
def local_number(typing, number):
    """A pointer to a float64 on the caller's stack."""
    kind = types.CPointer(types.float64)
    signature = kind(types.float64)

    def generate(context, builder, signature, arguments):
        return cgutils.alloca_once_value(builder, arguments[0])

    return signature, generate


@intrinsic(prefer_literal=True)
def first_of(typing, start, count):
    """The first ``count`` elements from an address on, as a tuple."""
    size = count.literal_value
    kind = types.UniTuple(start.dtype, size) if size else types.Tuple(())
    signature = kind(start, count)

    def generate(context, builder, signature, arguments):
        places = [builder.gep(arguments[0], [index(place)]) for place in range(size)]
        return context.make_tuple(builder, kind, [builder.load(place) for place in places])

    return signature, generate


@intrinsic
def pointer_at(typing, address, like):
    """An address as a pointer like ``like`` or to that dtype."""
    kind = like if isinstance(like, types.CPointer) else types.CPointer(like.dtype)
    signature = kind(types.intp, like)

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(kind))

    return signature, generate


@intrinsic
def address_of(typing, start):
    """A pointer as an address."""
    signature = types.intp(start)

    def generate(context, builder, signature, arguments):
        return builder.ptrtoint(arguments[0], INDEX)

    return signature, generate


@intrinsic
def ahead(typing, start, count):
    """The address ``count`` elements further on."""
    signature = start(start, types.intp)

    def generate(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return signature, generate


@intrinsic
def opaque(typing, start):
    """The same address, whose origin is hidden from LLVM's optimiser.

    In an unrolled loop LLVM would otherwise keep a register for each address, or chain them.
    """
    signature = start(start)

    def generate(context, builder, signature, arguments):
        return opaque_value(builder, arguments[0])

    return signature, generate


@intrinsic
def is_aligned(typing, start):
    """Whether an address is a multiple of the size of its elements."""
    signature = types.boolean(start)
    below = start.dtype.bitwidth // 8 - 1

    def generate(context, builder, signature, arguments):
        rest = builder.and_(builder.ptrtoint(arguments[0], INDEX), index(below))
        return builder.icmp_unsigned("==", rest, index(0))

    return signature, generate


@intrinsic
def disjoint(typing, one, count, other, other_count):
    """Whether ``count`` elements from ``one`` on share no memory with those from ``other`` on."""
    signature = types.boolean(one, types.intp, other, types.intp)

    def generate(context, builder, signature, arguments):
        one, count, other, other_count = arguments
        ends = builder.gep(one, [count]), builder.gep(other, [other_count])
        start, other_start, end, other_end = (
            builder.ptrtoint(place, INDEX) for place in (one, other, *ends)
        )
        # Empty memory overlaps nothing, even where its address is inside the other.
        empty = builder.or_(
            builder.icmp_signed("==", count, index(0)),
            builder.icmp_signed("==", other_count, index(0)),
        )
        before = builder.icmp_unsigned("<=", end, other_start)
        after = builder.icmp_unsigned("<=", other_end, start)
        return builder.or_(empty, builder.or_(before, after))

    return signature, generate


@intrinsic(prefer_literal=True)
def lanes_of(typing, like, vector_bytes):
    """How many elements of the dtype that ``like`` points at ``vector_bytes`` hold."""
    signature = types.intp(like, vector_bytes)
    lanes = vector_bytes.literal_value // (like.dtype.bitwidth // 8)

    def generate(context, builder, signature, arguments):
        return index(lanes)

    return signature, generate
