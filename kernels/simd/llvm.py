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
_LLVM_SCALARS = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.int32: ir.IntType(32),
    types.int64: ir.IntType(64),
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


# --- helpers that write LLVM ---


def index(value):
    """An address or a count that is known now."""
    return ir.Constant(INDEX, value)


def filled(builder, scalar, lanes):
    """All lanes equal to one scalar."""
    vector = ir.VectorType(scalar.type, lanes)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(LANE, 0))
    zeros = ir.Constant(ir.VectorType(LANE, lanes), [0] * lanes)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


def as_vector(context, builder, value, type_, vector):
    """The value itself where it is a vector already, else the scalar in every lane."""
    if isinstance(type_, Vector):
        return value
    scalar = context.cast(builder, value, type_, vector.dtype)
    return filled(builder, scalar, vector.lanes)


def call(builder, name, result, arguments):
    """Call an LLVM intrinsic by its full name."""
    type_ = ir.FunctionType(result, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, type_, name)
    return builder.call(function, arguments)


def multiply_add(builder, type_, a, b, c):
    """One rounding: a * b + c."""
    if isinstance(type_, Vector):
        return call(builder, f"llvm.fma.v{type_.lanes}{SUFFIXES[type_.dtype]}", a.type, [a, b, c])
    return call(builder, f"llvm.fma.{SUFFIXES[type_]}", a.type, [a, b, c])


def _vector_pointer(builder, pointer, offset, vector):
    moved = builder.gep(pointer, [index(offset)]) if offset else pointer
    return builder.bitcast(moved, vector.llvm.as_pointer())


def _mask(builder, vector, count, offset=0):
    """Lane i is on where offset + i < count."""
    numbers = ir.Constant(
        ir.VectorType(INDEX, vector.lanes), [offset + lane for lane in range(vector.lanes)]
    )
    return builder.icmp_signed("<", numbers, filled(builder, count, vector.lanes))


def _align(vector):
    """Alignment in bytes that any array of this dtype has: that of one element."""
    return vector.dtype.bitwidth // 8


def load_lanes(builder, vector, pointer, offset=0, count=None, fill=None):
    """Load a vector; with ``count``, only lanes below it are touched, the others are ``fill``."""
    source = _vector_pointer(builder, pointer, offset, vector)
    if count is None:
        loaded = builder.load(source)
        loaded.align = _align(vector)
        return loaded
    mask = _mask(builder, vector, count, offset)
    fill = ir.Constant(vector.llvm, [0.0] * vector.lanes) if fill is None else fill
    name = f"llvm.masked.load.v{vector.lanes}{SUFFIXES[vector.dtype]}.p0"
    return call(builder, name, vector.llvm, [source, ir.Constant(LANE, _align(vector)), mask, fill])


def store_lanes(builder, vector, value, pointer, offset=0, count=None):
    """Store a vector; with ``count``, only the lanes below it are touched."""
    target = _vector_pointer(builder, pointer, offset, vector)
    if count is None:
        builder.store(value, target).align = _align(vector)
        return
    mask = _mask(builder, vector, count, offset)
    name = f"llvm.masked.store.v{vector.lanes}{SUFFIXES[vector.dtype]}.p0"
    call(builder, name, VOID, [value, target, ir.Constant(LANE, _align(vector)), mask])
