"""Operations on vectors: lane by lane, across lanes, and between a vector and memory."""

import operator

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, lower_builtin, type_callable

from kernels.intrinsics.lanes import load_up_to, store_lanes
from kernels.intrinsics.llvm import (
    INDEX,
    LANE,
    SAME_WIDTH_FLOAT,
    SAME_WIDTH_INTEGER,
    SUFFIXES,
    Vector,
    as_vector,
    call,
    filled,
    half,
    multiply_add,
)

LANES = 16
"""Lanes of a vector in every kernel that works along rows, for both dtypes."""


@intrinsic(prefer_literal=True)
def load(typing, source, lanes, count, fill):
    """Load the lanes below ``count``, the others are ``fill``; no other memory is read."""
    vector = Vector(source.dtype, lanes.literal_value)
    signature = vector(source, lanes, types.intp, source.dtype)

    def generate(context, builder, signature, arguments):
        source, _, count, fill = arguments
        return load_up_to(builder, vector, source, count, filled(builder, fill, vector.lanes))

    return signature, generate


@intrinsic
def store(typing, value, target, count):
    """Store the lanes below ``count``."""
    signature = types.void(value, target, types.intp)

    def generate(context, builder, signature, arguments):
        value, target, count = arguments
        store_lanes(builder, signature.args[0], value, target, count=count)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def store_all(typing, value, target):
    """Store all lanes; those of integers also where ``target`` points at the other sign."""
    signature = types.void(value, target)

    def generate(context, builder, signature, arguments):
        store_lanes(builder, value, *arguments)
        return context.get_dummy_value()

    return signature, generate


@intrinsic(prefer_literal=True)
def splat(typing, like, lanes, value):
    """``value`` in each of ``lanes`` lanes, in the dtype that the pointer ``like`` points at."""
    vector = Vector(like.dtype, lanes.literal_value)
    value = types.unliteral(value)
    signature = vector(like, lanes, value)

    def generate(context, builder, signature, arguments):
        return as_vector(context, builder, arguments[2], signature.args[2], vector)

    return signature, generate


@intrinsic
def splatted(typing, like, value):
    """``value`` in each lane of a vector like ``like``, or as a number of that dtype."""
    signature = like(like, types.unliteral(value))

    def generate(context, builder, signature, arguments):
        if not isinstance(like, Vector):
            return context.cast(builder, arguments[1], signature.args[1], like)
        return as_vector(context, builder, arguments[1], signature.args[1], like)

    return signature, generate


@intrinsic
def first_on(typing, mask):
    """The first lane that is on in a mask, int64; the number of lanes if none is."""
    signature = types.int64(mask)

    def generate(context, builder, signature, arguments):
        lanes = signature.args[0].lanes
        # Trailing zeros of the mask as a number with one bit more, so that there is always a 1.
        number = ir.IntType(64)
        bits = builder.zext(builder.bitcast(arguments[0], ir.IntType(lanes)), number)
        bits = builder.or_(bits, ir.Constant(number, 1 << lanes))
        return builder.cttz(bits, ir.Constant(ir.IntType(1), 1))

    return signature, generate


@intrinsic
def lane_numbers(typing, like):
    """0, 1, 2, ... as integers as wide as the lanes of ``like``."""
    vector = Vector(SAME_WIDTH_INTEGER[like.dtype], like.lanes)
    signature = vector(like)

    def generate(context, builder, signature, arguments):
        return ir.Constant(vector.llvm, list(range(vector.lanes)))

    return signature, generate


@intrinsic(prefer_literal=True)
def counted(typing, first, lanes):
    """``first``, ``first`` + 1, ... in lanes of uint64."""
    vector = Vector(types.uint64, lanes.literal_value)
    signature = vector(types.uint64, lanes)

    def generate(context, builder, signature, arguments):
        numbers = ir.Constant(vector.llvm, list(range(vector.lanes)))
        return builder.add(filled(builder, arguments[0], vector.lanes), numbers)

    return signature, generate


@intrinsic
def in_turns(typing, a, b, c, d):
    """The lower halves of uint64 lanes, as lanes of uint32: a0, b0, c0, d0, a1, b1, ..."""
    result = Vector(types.uint32, 4 * a.lanes)

    def generate(context, builder, signature, arguments):
        upper = filled(builder, ir.Constant(INDEX, 32), a.lanes)
        first, second = (
            builder.or_(arguments[at], builder.shl(arguments[at + 1], upper)) for at in (0, 2)
        )
        picks = [lane + turn for lane in range(a.lanes) for turn in (0, a.lanes)]
        picks = ir.Constant(ir.VectorType(LANE, 2 * a.lanes), picks)
        return builder.bitcast(builder.shuffle_vector(first, second, picks), result.llvm)

    return result(a, b, c, d), generate


@intrinsic
def fma(typing, a, b, c):
    """a * b + c with one rounding; scalars of one dtype, or vectors and broadcast scalars."""
    vectors = [type_ for type_ in (a, b, c) if isinstance(type_, Vector)]
    if not vectors and not (a == b == c and a in SUFFIXES):
        return None
    result = vectors[0] if vectors else a
    signature = result(*map(types.unliteral, (a, b, c)))

    def generate(context, builder, signature, arguments):
        if vectors:
            arguments = [
                as_vector(context, builder, argument, type_, result)
                for argument, type_ in zip(arguments, signature.args, strict=True)
            ]
        return multiply_add(builder, result, *arguments)

    return signature, generate


@intrinsic
def select(typing, mask, yes, no):
    """Lane by lane ``yes`` where the mask is on, else ``no``; either may be a scalar."""
    result = yes if isinstance(yes, Vector) else no
    signature = result(mask, types.unliteral(yes), types.unliteral(no))

    def generate(context, builder, signature, arguments):
        mask, *values = arguments
        yes, no = (
            as_vector(context, builder, value, type_, result)
            for value, type_ in zip(values, signature.args[1:], strict=True)
        )
        return builder.select(mask, yes, no)

    return signature, generate


@intrinsic
def square_root(typing, x):
    """The square root, correctly rounded, so the same bits on every CPU."""

    def generate(context, builder, signature, arguments):
        suffix = f"v{x.lanes}{SUFFIXES[x.dtype]}" if isinstance(x, Vector) else SUFFIXES[x]
        return call(builder, f"llvm.sqrt.{suffix}", arguments[0].type, arguments)

    return x(x), generate


@intrinsic
def magnitude(typing, x):
    """The number without its sign."""

    def generate(context, builder, signature, arguments):
        suffix = f"v{x.lanes}{SUFFIXES[x.dtype]}" if isinstance(x, Vector) else SUFFIXES[x]
        return call(builder, f"llvm.fabs.{suffix}", arguments[0].type, arguments)

    return x(x), generate


@intrinsic
def to_bits(typing, vector):
    """The floating-point lanes read as integers of the same width."""
    result = Vector(SAME_WIDTH_INTEGER[vector.dtype], vector.lanes)

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], result.llvm)

    return result(vector), generate


@intrinsic
def from_bits(typing, vector):
    """The integer lanes read as floating-point numbers of the same width."""
    result = Vector(SAME_WIDTH_FLOAT[vector.dtype], vector.lanes)

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], result.llvm)

    return result(vector), generate


@intrinsic
def to_float(typing, vector):
    """Integer lanes converted to floating point of the same width."""
    result = Vector(SAME_WIDTH_FLOAT[vector.dtype], vector.lanes)

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
        return as_vector(context, builder, number, pair[position], vector)

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
            return as_vector(context, builder, number, coefficients[k], vector)

        result = coefficient(len(coefficients) - 1)
        for k in reversed(range(len(coefficients) - 1)):
            result = multiply_add(builder, vector, result, x, coefficient(k))
        return result

    return signature, generate


@intrinsic
def sum_of_lanes(typing, vector):
    """The sum by one fixed tree: lane i + lane i + n/2, then halves of halves, down to one."""
    return vector.dtype(vector), _by_halves(lambda builder, a, b: builder.fadd(a, b))


@intrinsic
def max_of_lanes(typing, vector):
    """The largest lane (the order of comparisons does not change the result)."""
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
            value = combine(builder, half(builder, value, 0), half(builder, value, lanes))
        return builder.extract_element(value, ir.Constant(LANE, 0))

    return generate


# --- operators ---

_FLOAT_OPERATORS = {
    operator.add: "fadd",
    operator.sub: "fsub",
    operator.mul: "fmul",
    operator.truediv: "fdiv",
}
_INTEGER_OPERATORS = {
    operator.add: "add",
    operator.sub: "sub",
    operator.mul: "mul",
    operator.and_: "and_",
    operator.or_: "or_",
    operator.xor: "xor",
    operator.lshift: "shl",
    operator.rshift: "ashr",
}
_COMPARISONS = {
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
    operator.eq: "==",
    operator.ne: "!=",
}


def _result_vector(a, b):
    """The vector type of two operands, one of which may be a scalar; else None."""
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
            as_vector(context, builder, value, type_, vector)
            for value, type_ in zip(arguments, signature.args, strict=True)
        )
        real = vector.dtype in SUFFIXES
        if symbol in _COMPARISONS:
            # As in IEEE 754: a NaN is unequal to everything, itself too, and neither less nor more.
            compare = builder.fcmp_unordered if symbol is operator.ne else builder.fcmp_ordered
            if not real:
                compare = builder.icmp_signed if vector.dtype.signed else builder.icmp_unsigned
            return compare(_COMPARISONS[symbol], a, b)
        if symbol is operator.rshift and not vector.dtype.signed:
            return builder.lshr(a, b)
        names = _FLOAT_OPERATORS if real else _INTEGER_OPERATORS
        return getattr(builder, names[symbol])(a, b)

    lower_builtin(symbol, Vector, Vector)(generate)
    lower_builtin(symbol, Vector, types.Number)(generate)
    lower_builtin(symbol, types.Number, Vector)(generate)


for _symbol in {**_FLOAT_OPERATORS, **_INTEGER_OPERATORS, **_COMPARISONS}:
    _register_operator(_symbol)
