"""Vectors and register tiles as Numba types, with the few operations that the kernels need.

Numba has no vector type and no fused multiply-add. This file adds both, so that a kernel can say
``acc = rank_one_update(acc, a, a_row, b)`` in plain Python and become the machine's own vector
instructions. Every operation is one LLVM instruction or intrinsic without fast-math flags: what is
computed, and in which order, is what the kernel's text says, on every CPU.

- `Vector`: ``lanes`` numbers in one value. LLVM splits it over registers of whatever width
  the CPU has, so 16 lanes of float32 are one AVX-512, two AVX2 or four 128-bit registers, and the
  same bits.
- `Tile`: a grid of ``rows`` x ``vectors`` vectors, the accumulators of a matmul micro-kernel.
- A pointer is ``numba.types.CPointer(dtype)``: nothing checks it. Only kernels behind the gate
  (``kernels/checks.py``) may use one.
"""

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.imputils import lower_constant
from numba.extending import (
    intrinsic,
    lower_builtin,
    register_model,
    type_callable,
    typeof_impl,
)

_INDEX = ir.IntType(64)
_LANE = ir.IntType(32)
_VOID = ir.VoidType()
_BYTE_POINTER = ir.IntType(8).as_pointer()
_LLVM_SCALARS = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.int32: ir.IntType(32),
    types.int64: ir.IntType(64),
    types.boolean: ir.IntType(1),
}
_SUFFIXES = {types.float32: "f32", types.float64: "f64"}
_SAME_WIDTH_INTEGER = {types.float32: types.int32, types.float64: types.int64}
_SAME_WIDTH_FLOAT = {integer: real for real, integer in _SAME_WIDTH_INTEGER.items()}


# --- the types ------------------------------------------------------------------------------------


class Vector(types.Type):
    """``lanes`` numbers of one dtype in a single value; boolean lanes are a mask."""

    def __init__(self, dtype, lanes):
        self.dtype = dtype
        self.lanes = lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")

    @property
    def llvm(self):
        """The LLVM type of the value."""
        return ir.VectorType(_LLVM_SCALARS[self.dtype], self.lanes)


class Tile(types.Type):
    """A grid of ``rows`` x ``vectors`` vectors, kept in registers."""

    def __init__(self, dtype, rows, vectors, lanes):
        self.vector = Vector(dtype, lanes)
        self.rows = rows
        self.vectors = vectors
        super().__init__(name=f"Tile({dtype}, {rows} x {vectors} x {lanes})")

    @property
    def llvm(self):
        """The LLVM type of the value: an array that LLVM breaks up into registers."""
        return ir.ArrayType(self.vector.llvm, self.rows * self.vectors)


class TileShape:
    """How many rows and vectors a tile has: a constant to specialise a function by."""

    def __init__(self, rows, vectors):
        self.rows = rows
        self.vectors = vectors


class TileShapeType(types.Type):
    """The Numba type of one `TileShape`: the shape is in the type, the value is empty."""

    def __init__(self, rows, vectors):
        self.rows = rows
        self.vectors = vectors
        super().__init__(name=f"TileShape({rows}, {vectors})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, vector.llvm)


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager, tile):
        super().__init__(manager, tile, tile.llvm)


register_model(TileShapeType)(models.OpaqueModel)


@typeof_impl.register(TileShape)
def _typeof_tile_shape(value, _context):
    return TileShapeType(value.rows, value.vectors)


@lower_constant(TileShapeType)
def _constant_tile_shape(context, builder, type_, value):
    return context.get_dummy_value()


# --- helpers that write LLVM ----------------------------------------------------------------------


def _index(value):
    return ir.Constant(_INDEX, value)


def _filled(builder, scalar, lanes):
    """All lanes equal to one scalar."""
    vector = ir.VectorType(scalar.type, lanes)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_LANE, 0))
    zeros = ir.Constant(ir.VectorType(_LANE, lanes), [0] * lanes)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


def _as_vector(context, builder, value, type_, vector):
    """The value itself where it is a vector already, else the scalar in every lane."""
    if isinstance(type_, Vector):
        return value
    scalar = context.cast(builder, value, type_, vector.dtype)
    return _filled(builder, scalar, vector.lanes)


def _call(builder, name, result, arguments):
    """Call an LLVM intrinsic by its full name."""
    type_ = ir.FunctionType(result, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, type_, name)
    return builder.call(function, arguments)


def _llvm_fma(builder, type_, a, b, c):
    """One rounding: a * b + c."""
    if isinstance(type_, Vector):
        return _call(builder, f"llvm.fma.v{type_.lanes}{_SUFFIXES[type_.dtype]}", a.type, [a, b, c])
    return _call(builder, f"llvm.fma.{_SUFFIXES[type_]}", a.type, [a, b, c])


def _vector_pointer(builder, pointer, offset, vector):
    moved = builder.gep(pointer, [_index(offset)]) if offset else pointer
    return builder.bitcast(moved, vector.llvm.as_pointer())


def _mask(builder, vector, count, offset=0):
    """Lane i is on where offset + i < count."""
    numbers = ir.Constant(
        ir.VectorType(_INDEX, vector.lanes), [offset + lane for lane in range(vector.lanes)]
    )
    return builder.icmp_signed("<", numbers, _filled(builder, count, vector.lanes))


def _align(vector):
    """Alignment in bytes that any array of this dtype has: that of one element."""
    return vector.dtype.bitwidth // 8


def _load(builder, vector, pointer, offset=0, count=None, fill=None):
    """Load a vector; with ``count``, only lanes below it are touched, the others are ``fill``."""
    source = _vector_pointer(builder, pointer, offset, vector)
    if count is None:
        loaded = builder.load(source)
        loaded.align = _align(vector)
        return loaded
    mask = _mask(builder, vector, count, offset)
    fill = ir.Constant(vector.llvm, [0.0] * vector.lanes) if fill is None else fill
    name = f"llvm.masked.load.v{vector.lanes}{_SUFFIXES[vector.dtype]}.p0"
    return _call(
        builder, name, vector.llvm, [source, ir.Constant(_LANE, _align(vector)), mask, fill]
    )


def _store(builder, vector, value, pointer, offset=0, count=None):
    """Store a vector; with ``count``, only the lanes below it are touched."""
    target = _vector_pointer(builder, pointer, offset, vector)
    if count is None:
        builder.store(value, target).align = _align(vector)
        return
    mask = _mask(builder, vector, count, offset)
    name = f"llvm.masked.store.v{vector.lanes}{_SUFFIXES[vector.dtype]}.p0"
    _call(builder, name, _VOID, [value, target, ir.Constant(_LANE, _align(vector)), mask])


# --- pointers -------------------------------------------------------------------------------------


@intrinsic
def pointer(typing, array):
    """The address of the first element of a C-contiguous array."""
    signature = types.CPointer(array.dtype)(array)

    def generate(context, builder, signature, arguments):
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return signature, generate


@intrinsic
def itemsize(typing, like):
    """Bytes of the dtype that ``like`` points at."""
    signature = types.intp(like)
    size = like.dtype.bitwidth // 8

    def generate(context, builder, signature, arguments):
        return _index(size)

    return signature, generate


@intrinsic
def allocate(typing, size):
    """The address of ``size`` bytes for `free` to give back, or 0 where ``size`` is 0."""
    signature = types.intp(types.intp)

    def generate(context, builder, signature, arguments):
        (size,) = arguments
        address = cgutils.alloca_once_value(builder, _index(0))
        with builder.if_then(builder.icmp_signed("!=", size, _index(0))):
            # Raises MemoryError where there is none.
            start = context.nrt.allocate(builder, size)
            builder.store(builder.ptrtoint(start, _INDEX), address)
        return builder.load(address)

    return signature, generate


@intrinsic
def free(typing, address):
    """Give back what `allocate` gave."""
    signature = types.void(types.intp)

    def generate(context, builder, signature, arguments):
        (address,) = arguments
        with builder.if_then(builder.icmp_signed("!=", address, _index(0))):
            context.nrt.free(builder, builder.inttoptr(address, _BYTE_POINTER))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def memory_at(typing, address, like):
    """The first multiple of 64 from an address on, as a pointer like ``like``."""
    signature = like(types.intp, like)

    def generate(context, builder, signature, arguments):
        start = builder.and_(builder.add(arguments[0], _index(63)), _index(~63))
        return builder.inttoptr(start, context.get_value_type(like))

    return signature, generate


@intrinsic
def ahead(typing, start, count):
    """The address ``count`` elements further on."""
    signature = start(start, types.intp)

    def generate(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return signature, generate


@intrinsic
def is_aligned(typing, start):
    """Whether an address is a multiple of the size of what lies there."""
    signature = types.boolean(start)
    below = start.dtype.bitwidth // 8 - 1

    def generate(context, builder, signature, arguments):
        rest = builder.and_(builder.ptrtoint(arguments[0], _INDEX), _index(below))
        return builder.icmp_unsigned("==", rest, _index(0))

    return signature, generate


@intrinsic
def apart(typing, one, count, other, other_count):
    """Whether ``count`` elements from ``one`` on share no memory with those from ``other`` on."""
    signature = types.boolean(one, types.intp, other, types.intp)

    def generate(context, builder, signature, arguments):
        one, count, other, other_count = arguments
        ends = builder.gep(one, [count]), builder.gep(other, [other_count])
        start, other_start, end, other_end = (
            builder.ptrtoint(place, _INDEX) for place in (one, other, *ends)
        )
        before = builder.icmp_unsigned("<=", end, other_start)
        return builder.or_(before, builder.icmp_unsigned("<=", other_end, start))

    return signature, generate


@intrinsic(prefer_literal=True)
def lanes_of(typing, like, vector_bytes):
    """How many elements of the dtype that ``like`` points at are in ``vector_bytes``."""
    signature = types.intp(like, vector_bytes)
    lanes = vector_bytes.literal_value // (like.dtype.bitwidth // 8)

    def generate(context, builder, signature, arguments):
        return _index(lanes)

    return signature, generate


@intrinsic
def start_counting(typing, address):
    """Make the integer at an address 0, for `claim`."""
    signature = types.void(types.intp)

    def generate(context, builder, signature, arguments):
        counter = builder.inttoptr(arguments[0], _INDEX.as_pointer())
        builder.store(_index(0), counter)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def claim(typing, address):
    """The integer at an address, which becomes one larger: no two threads get the same."""
    signature = types.intp(types.intp)

    def generate(context, builder, signature, arguments):
        counter = builder.inttoptr(arguments[0], _INDEX.as_pointer())
        return builder.atomic_rmw("add", counter, _index(1), "monotonic")

    return signature, generate


# --- vectors --------------------------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def load(typing, source, lanes, count, fill):
    """Lanes below ``count`` from memory, the others ``fill``; nothing else is touched."""
    vector = Vector(source.dtype, lanes.literal_value)
    signature = vector(source, lanes, types.intp, source.dtype)

    def generate(context, builder, signature, arguments):
        source, _, count, fill = arguments
        return _load(
            builder, vector, source, count=count, fill=_filled(builder, fill, vector.lanes)
        )

    return signature, generate


@intrinsic
def store(typing, value, target, count):
    """Write the lanes below ``count`` to memory."""
    signature = types.void(value, target, types.intp)

    def generate(context, builder, signature, arguments):
        value, target, count = arguments
        _store(builder, signature.args[0], value, target, count=count)
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)
def splat(typing, like, lanes, value):
    """``value`` in each of ``lanes`` lanes, in the dtype that the pointer ``like`` points at."""
    vector = Vector(like.dtype, lanes.literal_value)
    value = types.unliteral(value)
    signature = vector(like, lanes, value)

    def generate(context, builder, signature, arguments):
        return _as_vector(context, builder, arguments[2], signature.args[2], vector)

    return signature, generate


@intrinsic
def first_lane(typing, vector):
    """The number in lane 0."""
    signature = vector.dtype(vector)

    def generate(context, builder, signature, arguments):
        return builder.extract_element(arguments[0], ir.Constant(_LANE, 0))

    return signature, generate


@intrinsic
def lane_numbers(typing, like):
    """0, 1, 2, ... as integers as wide as the lanes of ``like``."""
    vector = Vector(_SAME_WIDTH_INTEGER[like.dtype], like.lanes)
    signature = vector(like)

    def generate(context, builder, signature, arguments):
        return ir.Constant(vector.llvm, list(range(vector.lanes)))

    return signature, generate


@intrinsic
def fma(typing, a, b, c):
    """a * b + c with one rounding; scalars of one dtype, or vectors and scalars to fill them."""
    vectors = [type_ for type_ in (a, b, c) if isinstance(type_, Vector)]
    if not vectors and not (a == b == c and a in _SUFFIXES):
        return None
    result = vectors[0] if vectors else a
    signature = result(*map(types.unliteral, (a, b, c)))

    def generate(context, builder, signature, arguments):
        if vectors:
            arguments = [
                _as_vector(context, builder, argument, type_, result)
                for argument, type_ in zip(arguments, signature.args, strict=True)
            ]
        return _llvm_fma(builder, result, *arguments)

    return signature, generate


@intrinsic
def select(typing, mask, yes, no):
    """Lane by lane ``yes`` where the mask is on, else ``no``; either may be a scalar."""
    result = yes if isinstance(yes, Vector) else no
    signature = result(mask, types.unliteral(yes), types.unliteral(no))

    def generate(context, builder, signature, arguments):
        mask, *values = arguments
        yes, no = (
            _as_vector(context, builder, value, type_, result)
            for value, type_ in zip(values, signature.args[1:], strict=True)
        )
        return builder.select(mask, yes, no)

    return signature, generate


@intrinsic
def to_bits(typing, vector):
    """The floating-point lanes read as integers of the same width."""
    result = Vector(_SAME_WIDTH_INTEGER[vector.dtype], vector.lanes)

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], result.llvm)

    return result(vector), generate


@intrinsic
def from_bits(typing, vector):
    """The integer lanes read as floating-point numbers of the same width."""
    result = Vector(_SAME_WIDTH_FLOAT[vector.dtype], vector.lanes)

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], result.llvm)

    return result(vector), generate


@intrinsic
def to_float(typing, vector):
    """Integer lanes converted to floating point of the same width."""
    result = Vector(_SAME_WIDTH_FLOAT[vector.dtype], vector.lanes)

    def generate(context, builder, signature, arguments):
        return builder.sitofp(arguments[0], result.llvm)

    return result(vector), generate


@intrinsic
def to_float64(typing, vector):
    """The lanes widened to float64 (exact)."""
    result = Vector(types.float64, vector.lanes)

    def generate(context, builder, signature, arguments):
        if vector.dtype == types.float64:
            return arguments[0]
        return builder.fpext(arguments[0], result.llvm)

    return result(vector), generate


@intrinsic
def for_dtype(typing, vector, pair):
    """One of the two numbers in ``pair``: the first for float32 lanes, the second for float64.

    With integer lanes the pair is of integers, chosen by their width.
    """
    signature = vector(vector, pair)
    position = 0 if vector.dtype in (types.float32, types.int32) else 1

    def generate(context, builder, signature, arguments):
        number = builder.extract_value(arguments[1], position)
        return _as_vector(context, builder, number, pair[position], vector)

    return signature, generate


@intrinsic
def polynomial(typing, x, pair):
    """Horner's rule by fused multiply-adds, lowest coefficient first in each tuple of ``pair``.

    The first tuple serves float32 lanes, the second float64.
    """
    signature = x(x, pair)
    position = 0 if x.dtype == types.float32 else 1

    def generate(context, builder, signature, arguments):
        x, pair_value = arguments
        vector, coefficients = signature.args[0], pair[position]
        numbers = builder.extract_value(pair_value, position)

        def coefficient(k):
            number = builder.extract_value(numbers, k)
            return _as_vector(context, builder, number, coefficients[k], vector)

        result = coefficient(len(coefficients) - 1)
        for k in reversed(range(len(coefficients) - 1)):
            result = _llvm_fma(builder, vector, result, x, coefficient(k))
        return result

    return signature, generate


@intrinsic
def sum_of_lanes(typing, vector):
    """The sum by one fixed tree: lane i + lane i + n/2, then halves of halves, down to one."""
    return vector.dtype(vector), _by_halves(lambda builder, a, b: builder.fadd(a, b))


@intrinsic
def max_of_lanes(typing, vector):
    """The largest lane (the order of comparing does not show in the result)."""
    return vector.dtype(vector), _by_halves(
        lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b)
    )


def _by_halves(combine):
    """Code that joins the upper half of the lanes to the lower half until one is left."""

    def generate(context, builder, signature, arguments):
        (value,) = arguments
        lanes = signature.args[0].lanes
        while lanes > 1:
            lanes //= 2
            undefined = ir.Constant(value.type, ir.Undefined)
            low, high = (
                builder.shuffle_vector(
                    value,
                    undefined,
                    ir.Constant(ir.VectorType(_LANE, lanes), list(range(start, start + lanes))),
                )
                for start in (0, lanes)
            )
            value = combine(builder, low, high)
        return builder.extract_element(value, ir.Constant(_LANE, 0))

    return generate


# --- operators on vectors -------------------------------------------------------------------------

_FLOAT_OPERATORS = {
    operator.add: "fadd",
    operator.sub: "fsub",
    operator.mul: "fmul",
    operator.truediv: "fdiv",
}
_INTEGER_OPERATORS = {
    operator.add: "add",
    operator.sub: "sub",
    operator.lshift: "shl",
    operator.rshift: "ashr",
}
_COMPARISONS = {
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
    operator.eq: "==",
}


def _result_vector(a, b):
    """The vector type of two operands, of which one may be a scalar to fill it with; else None."""
    vectors = [type_ for type_ in (a, b) if isinstance(type_, Vector)]
    if not vectors or (len(vectors) == 2 and vectors[0] != vectors[1]):
        return None
    return vectors[0]


def _register_operator(symbol):
    @type_callable(symbol)
    def type_operator(context):
        def typer(a, b):
            vector = _result_vector(a, b)
            if vector is not None and symbol in _COMPARISONS:
                return Vector(types.boolean, vector.lanes)
            return vector

        return typer

    def generate(context, builder, signature, arguments):
        vector = _result_vector(*signature.args)
        a, b = (
            _as_vector(context, builder, value, type_, vector)
            for value, type_ in zip(arguments, signature.args, strict=True)
        )
        real = vector.dtype in _SUFFIXES
        if symbol in _COMPARISONS:
            compare = builder.fcmp_ordered if real else builder.icmp_signed
            return compare(_COMPARISONS[symbol], a, b)
        names = _FLOAT_OPERATORS if real else _INTEGER_OPERATORS
        return getattr(builder, names[symbol])(a, b)

    lower_builtin(symbol, Vector, Vector)(generate)
    lower_builtin(symbol, Vector, types.Number)(generate)
    lower_builtin(symbol, types.Number, Vector)(generate)


for _symbol in {**_FLOAT_OPERATORS, **_INTEGER_OPERATORS, **_COMPARISONS}:
    _register_operator(_symbol)


# --- tiles ----------------------------------------------------------------------------------------
# ``count`` says how many columns of the tile exist: None for all of them (no masks), a number for
# the last, narrower strip. Which of the two it is shows in the type, so each is compiled apart.


def _places(tile):
    """(position in the LLVM array, row, first column) of each vector of a tile."""
    for row in range(tile.rows):
        for v in range(tile.vectors):
            yield row * tile.vectors + v, row, v * tile.vector.lanes


def _count_or_none(type_, value):
    return None if isinstance(type_, types.NoneType) else value


def _lines(builder, tile, c, c_row):
    """(position, address of the row, first column) of each vector, as it lies at c + i * c_row."""
    for place, row, column in _places(tile):
        yield place, builder.gep(c, [builder.mul(c_row, _index(row))]), column


def _with_stored(builder, signature, arguments, combine):
    """A tile of combine(tile[i, j], stored[i, j]); the arguments end with c, c_row and count."""
    value, (c, c_row, count) = arguments[0], arguments[-3:]
    tile, count = signature.args[0], _count_or_none(signature.args[-1], count)
    for place, line, column in _lines(builder, tile, c, c_row):
        stored = _load(builder, tile.vector, line, offset=column, count=count)
        combined = combine(builder.extract_value(value, place), stored)
        value = builder.insert_value(value, combined, place)
    return value


def _relu(builder, x, passed):
    """0 where x <= 0, else ``passed``; a comparison with NaN is false."""
    zero = ir.Constant(x.type, None)
    return builder.select(builder.fcmp_ordered("<=", x, zero), zero, passed)


@intrinsic(prefer_literal=True)
def tile_of_zeros(typing, shape, like, vector_bytes):
    """A tile of the given `TileShape`, all zero, in the dtype that ``like`` points at."""
    lanes = vector_bytes.literal_value // (like.dtype.bitwidth // 8)
    tile = Tile(like.dtype, shape.rows, shape.vectors, lanes)
    signature = tile(shape, like, vector_bytes)

    def generate(context, builder, signature, arguments):
        return ir.Constant(tile.llvm, None)

    return signature, generate


@intrinsic
def load_tile(typing, tile, c, c_row, count):
    """What is stored at c + i * c_row + j, as a tile shaped like ``tile``."""
    signature = tile(tile, c, types.intp, types.unliteral(count))

    def generate(context, builder, signature, arguments):
        return _with_stored(builder, signature, arguments, lambda element, stored: stored)

    return signature, generate


@intrinsic
def prefetch_tile(typing, tile, c, c_row):
    """Ask for the cache lines of c + i * c_row + j, to be written soon."""
    signature = types.void(tile, c, types.intp)

    def generate(context, builder, signature, arguments):
        _, c, c_row = arguments
        tile = signature.args[0]
        for _, line, column in _lines(builder, tile, c, c_row):
            address = builder.bitcast(builder.gep(line, [_index(column)]), _BYTE_POINTER)
            flags = [ir.Constant(_LANE, flag) for flag in (1, 2, 1)]
            _call(builder, "llvm.prefetch.p0", _VOID, [address, *flags])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def rank_one_update(typing, tile, a, a_row, b, count):
    """tile[i, j] = fma(a[i * a_row], b[j], tile[i, j]): one step of k for a whole tile."""
    signature = tile(tile, a, types.intp, b, types.unliteral(count))

    def generate(context, builder, signature, arguments):
        value, a, a_row, b, count = arguments
        tile = signature.args[0]
        count = _count_or_none(signature.args[4], count)
        lanes = tile.vector.lanes
        columns = [
            _load(builder, tile.vector, b, offset=v * lanes, count=count)
            for v in range(tile.vectors)
        ]
        for row in range(tile.rows):
            a_pointer = builder.gep(a, [builder.mul(a_row, _index(row))])
            element = _filled(builder, builder.load(a_pointer), lanes)
            for v in range(tile.vectors):
                place = row * tile.vectors + v
                chain = builder.extract_value(value, place)
                chain = _llvm_fma(builder, tile.vector, element, columns[v], chain)
                value = builder.insert_value(value, chain, place)
        return value

    return signature, generate


@intrinsic
def tile_plus_stored(typing, tile, c, c_row, count):
    """stored[i, j] + tile[i, j], where stored[i, j] is at c + i * c_row + j."""
    signature = tile(tile, c, types.intp, types.unliteral(count))

    def generate(context, builder, signature, arguments):
        def added(element, stored):
            return builder.fadd(stored, element)

        return _with_stored(builder, signature, arguments, added)

    return signature, generate


@intrinsic
def tile_relu(typing, tile):
    """0 where tile[i, j] <= 0, else tile[i, j]."""
    signature = tile(tile)

    def generate(context, builder, signature, arguments):
        (value,) = arguments
        tile = signature.args[0]
        for place, _, _ in _places(tile):
            x = builder.extract_value(value, place)
            value = builder.insert_value(value, _relu(builder, x, x), place)
        return value

    return signature, generate


@intrinsic
def tile_masked(typing, tile, mask, mask_row, count):
    """tile[i, j] where stored[i, j] > 0, 0 where it is <= 0, NaN where it is NaN."""
    signature = tile(tile, mask, types.intp, types.unliteral(count))

    def generate(context, builder, signature, arguments):
        def masked(dy, x):
            positive = builder.fcmp_ordered(">", x, ir.Constant(x.type, None))
            return _relu(builder, x, builder.select(positive, dy, x))

        return _with_stored(builder, signature, arguments, masked)

    return signature, generate


@intrinsic
def tile_scaled_plus_stored(typing, tile, scale, c, c_row, count):
    """fma(scale, tile[i, j], stored[i, j])."""
    signature = tile(tile, tile.vector.dtype, c, types.intp, types.unliteral(count))

    def generate(context, builder, signature, arguments):
        scale = _filled(builder, arguments[1], tile.vector.lanes)

        def moved(element, stored):
            return _llvm_fma(builder, tile.vector, scale, element, stored)

        return _with_stored(builder, signature, arguments, moved)

    return signature, generate


@intrinsic
def store_tile(typing, tile, c, c_row, count):
    """Write tile[i, j] to c + i * c_row + j."""
    signature = types.void(tile, c, types.intp, types.unliteral(count))

    def generate(context, builder, signature, arguments):
        value, c, c_row, count = arguments
        tile = signature.args[0]
        count = _count_or_none(signature.args[3], count)
        for place, line, column in _lines(builder, tile, c, c_row):
            _store(
                builder,
                tile.vector,
                builder.extract_value(value, place),
                line,
                offset=column,
                count=count,
            )
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)
def load_square(typing, source, row, lanes):
    """A square tile: ``lanes`` rows of one vector each, from source + i * row."""
    n = lanes.literal_value
    tile = Tile(source.dtype, n, 1, n)
    signature = tile(source, types.intp, lanes)

    def generate(context, builder, signature, arguments):
        source, row, _ = arguments
        value = ir.Constant(tile.llvm, ir.Undefined)
        for place, line, _ in _lines(builder, tile, source, row):
            value = builder.insert_value(value, _load(builder, tile.vector, line), place)
        return value

    return signature, generate


@intrinsic
def transpose_square(typing, tile):
    """The transpose of a square tile: log2(n) rounds that swap blocks off the diagonal.

    Round s exchanges, in each pair of rows (i, i + s), the s lanes that belong to the other row.
    """
    signature = tile(tile)

    def generate(context, builder, signature, arguments):
        n = tile.rows
        rows = [builder.extract_value(arguments[0], i) for i in range(n)]
        s = 1
        while s < n:
            upper = [j if not j & s else n + j - s for j in range(n)]
            lower = [j + s if not j & s else n + j for j in range(n)]
            for i in range(n):
                if not i & s:
                    a, b = rows[i], rows[i + s]
                    for place, picks in ((i, upper), (i + s, lower)):
                        mask = ir.Constant(ir.VectorType(_LANE, n), picks)
                        rows[place] = builder.shuffle_vector(a, b, mask)
            s *= 2
        value = arguments[0]
        for i in range(n):
            value = builder.insert_value(value, rows[i], i)
        return value

    return signature, generate
