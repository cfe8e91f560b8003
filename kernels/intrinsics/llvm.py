"""The types `Vector` and `Tile` for Numba, and helpers that write LLVM code for them."""

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.imputils import lower_constant
from numba.extending import register_model, typeof_impl

INDEX = ir.IntType(64)
LANE = ir.IntType(32)
VOID = ir.VoidType()
BYTE_POINTER = ir.IntType(8).as_pointer()
LLVM_SCALARS = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.int32: ir.IntType(32),
    types.int64: ir.IntType(64),
    types.uint32: ir.IntType(32),
    types.uint64: ir.IntType(64),
    types.boolean: ir.IntType(1),
}
SUFFIXES = {types.float32: "f32", types.float64: "f64"}
SAME_WIDTH_INTEGER = {types.float32: types.int32, types.float64: types.int64}
SAME_WIDTH_FLOAT = {integer: real for real, integer in SAME_WIDTH_INTEGER.items()}


# --- the types ---


class Vector(types.Type):
    """``lanes`` numbers of one dtype in a single value; boolean lanes are a mask."""

    def __init__(self, dtype, lanes):
        self.dtype = dtype
        self.lanes = lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")

    @property
    def llvm(self):
        """The LLVM type of the value."""
        return ir.VectorType(LLVM_SCALARS[self.dtype], self.lanes)


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
    """How many rows and vectors a tile has: a constant that specialises a function.

    A vector has ``lanes`` lanes in every dtype; without ``lanes``, as many as a CPU register holds.
    """

    def __init__(self, rows, vectors, lanes=None):
        self.rows = rows
        self.vectors = vectors
        self.lanes = lanes


class TileShapeType(types.Type):
    """The Numba type of one `TileShape`: the shape is in the type, the value is empty."""

    def __init__(self, rows, vectors, lanes):
        self.rows = rows
        self.vectors = vectors
        self.lanes = lanes
        super().__init__(name=f"TileShape({rows}, {vectors}, {lanes})")


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
    return TileShapeType(value.rows, value.vectors, value.lanes)


@lower_constant(TileShapeType)
def _constant_tile_shape(context, builder, type_, value):
    return context.get_dummy_value()


# --- helpers that write LLVM ---


def index(value):
    """A constant address or count."""
    return ir.Constant(INDEX, value)


def filled(builder, scalar, lanes):
    """All lanes equal to one scalar."""
    vector = ir.VectorType(scalar.type, lanes)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(LANE, 0))
    zeros = ir.Constant(ir.VectorType(LANE, lanes), [0] * lanes)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


def half(builder, value, start):
    """Half of a vector's lanes, from ``start`` on."""
    lanes = value.type.count // 2
    picks = ir.Constant(ir.VectorType(LANE, lanes), list(range(start, start + lanes)))
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), picks)


def as_vector(context, builder, value, type_, vector):
    """The value itself if it is a vector, else the scalar in every lane."""
    if isinstance(type_, Vector):
        return value
    scalar = context.cast(builder, value, type_, vector.dtype)
    return filled(builder, scalar, vector.lanes)


def call(builder, name, result, arguments):
    """Call an LLVM intrinsic by its full name."""
    type_ = ir.FunctionType(result, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, type_, name)
    return builder.call(function, arguments)


def opaque_value(builder, value):
    """The same value, whose origin is hidden from LLVM's optimiser."""
    same = ir.InlineAsm(ir.FunctionType(value.type, [value.type]), "", "=r,0")
    return builder.call(same, [value])


def prefetch_line(builder, pointer, for_writing):
    """Prefetch the cache line of an address, for reading or writing."""
    address = builder.bitcast(pointer, BYTE_POINTER)
    flags = [ir.Constant(LANE, flag) for flag in (int(for_writing), 2, 1)]
    call(builder, "llvm.prefetch.p0", VOID, [address, *flags])


def multiply_add(builder, type_, a, b, c):
    """One rounding: a * b + c."""
    if isinstance(type_, Vector):
        return call(builder, f"llvm.fma.v{type_.lanes}{SUFFIXES[type_.dtype]}", a.type, [a, b, c])
    return call(builder, f"llvm.fma.{SUFFIXES[type_]}", a.type, [a, b, c])
