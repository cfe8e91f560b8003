"""Operations on register tiles, of which a micro-kernel consists.

``count`` says how many columns of the tile exist: None for all, or a number, which may be smaller.
None and a number have different types, so each is compiled separately.

A tile of several vectors has at least one vector of columns, and so needs no masks, which are slow
on some CPUs: a vector that would reach beyond the last column is shifted back to end there, and
overlaps its neighbour::

    columns of C      0 1 2 3 4 5 6 7 8 9
    vector 0         [0 1 2 3]
    vector 1                 [4 5 6 7]
    vector 2                     [6 7 8 9]      6 and 7 twice, with the same bits
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from kernels.intrinsics.lanes import load_lanes, store_lanes
from kernels.intrinsics.llvm import (
    BYTE_POINTER,
    LANE,
    Tile,
    Vector,
    filled,
    index,
    multiply_add,
    opaque_value,
    prefetch_line,
)

TRANSPOSE_BYTES = 16
"""Bytes of a row that `load_transposed` reads: shuffles stay within the smallest vectors."""


def _places(tile):
    """(position in the LLVM array, row, first column) of each vector of a tile."""
    for row in range(tile.rows):
        for v in range(tile.vectors):
            yield row * tile.vectors + v, row, v * tile.vector.lanes


def _count_or_none(type_, value):
    return None if isinstance(type_, types.NoneType) else value


def _lines(builder, tile, c, c_row, count):
    """(position, address, columns) of each vector of a tile stored at c + i * c_row."""
    for place, row, column in _places(tile):
        line = builder.gep(c, [builder.mul(c_row, index(row))])
        yield place, *_existing(builder, tile, line, column, count)


def _existing(builder, tile, line, column, count):
    """(address, columns or None for all) of a vector that starts at ``column`` of a line."""
    start = builder.gep(line, [_first_column(builder, tile, column, count)])
    return start, count if tile.vectors == 1 else None


def _first_column(builder, tile, column, count):
    """The column where a vector begins, in a tile of ``count`` columns."""
    if column == 0 or count is None:
        return index(column)
    column, last = index(column), builder.sub(count, index(tile.vector.lanes))
    return builder.select(builder.icmp_signed("<", column, last), column, last)


def _with_stored(builder, signature, arguments, combine):
    """A tile of combine(tile[i, j], stored[i, j]); the arguments end with c, c_row and count."""
    value, (c, c_row, count) = arguments[0], arguments[-3:]
    tile, count = signature.args[0], _count_or_none(signature.args[-1], count)
    for place, start, columns in _lines(builder, tile, c, c_row, count):
        stored = load_lanes(builder, tile.vector, start, count=columns)
        combined = combine(builder.extract_value(value, place), stored)
        value = builder.insert_value(value, combined, place)
    return value


def _clipped(builder, x, passed):
    """0 where x <= 0, else ``passed``; a comparison with NaN is false."""
    zero = ir.Constant(x.type, None)
    return builder.select(builder.fcmp_ordered("<=", x, zero), zero, passed)


@intrinsic(prefer_literal=True)
def tile_of_zeros(typing, shape, like, vector_bytes):
    """A tile of the given `TileShape`, all zero, in the dtype that ``like`` points at."""
    lanes = shape.lanes or vector_bytes.literal_value // (like.dtype.bitwidth // 8)
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
    """Prefetch the cache lines of c + i * c_row + j for writing."""
    signature = types.void(tile, c, types.intp)

    def generate(context, builder, signature, arguments):
        _, c, c_row = arguments
        tile = signature.args[0]
        for _, start, _ in _lines(builder, tile, c, c_row, None):
            prefetch_line(builder, start, for_writing=True)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def row_offsets(typing, tile, row):
    """Bytes from the first row of A to its rows 1, 3, 5, ... of a tile, for `rank_one_update`.

    The even ones are these doubled, which addressing modes do. The offsets are hidden from LLVM,
    which would chain additions from row to row, as slow as the multiply-adds.
    """
    odd = range(1, tile.rows, 2)
    signature = types.Tuple([types.intp] * len(odd))(tile, types.intp)

    def generate(context, builder, signature, arguments):
        size = signature.args[0].vector.dtype.bitwidth // 8
        offsets = [opaque_value(builder, builder.mul(arguments[1], index(i * size))) for i in odd]
        return context.make_tuple(builder, signature.return_type, offsets)

    return signature, generate


@intrinsic
def rank_one_update(typing, tile, a, rows, b, count):
    """tile[i, j] = fma(a[i], b[j], tile[i, j]): one step of k for a whole tile.

    ``rows`` are the `row_offsets` of a.
    """
    signature = tile(tile, a, rows, b, types.unliteral(count))

    def generate(context, builder, signature, arguments):
        value, a, rows, b, count = arguments
        tile = signature.args[0]
        count = _count_or_none(signature.args[4], count)
        lanes = tile.vector.lanes
        columns = [
            load_lanes(builder, tile.vector, start, count=existing)
            for start, existing in (
                _existing(builder, tile, b, v * lanes, count) for v in range(tile.vectors)
            )
        ]
        for row in range(tile.rows):
            start = _row_of_a(builder, a, rows, row)
            element = filled(builder, builder.load(start), lanes)
            for v in range(tile.vectors):
                place = row * tile.vectors + v
                chain = builder.extract_value(value, place)
                chain = multiply_add(builder, tile.vector, element, columns[v], chain)
                value = builder.insert_value(value, chain, place)
        return value

    return signature, generate


def _row_of_a(builder, a, rows, row):
    if row == 0:
        return a
    twos = (row & -row).bit_length() - 1
    offset = builder.shl(builder.extract_value(rows, (row >> twos) // 2), index(twos))
    start = builder.gep(builder.bitcast(a, BYTE_POINTER), [offset])
    return builder.bitcast(start, a.type)


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
def tile_clipped(typing, tile):
    """0 where tile[i, j] <= 0, else tile[i, j]."""
    signature = tile(tile)

    def generate(context, builder, signature, arguments):
        (value,) = arguments
        tile = signature.args[0]
        for place, _, _ in _places(tile):
            x = builder.extract_value(value, place)
            value = builder.insert_value(value, _clipped(builder, x, x), place)
        return value

    return signature, generate


@intrinsic
def tile_masked(typing, tile, mask, mask_row, count):
    """tile[i, j] where stored[i, j] > 0, 0 where it is <= 0, NaN where it is NaN."""
    signature = tile(tile, mask, types.intp, types.unliteral(count))

    def generate(context, builder, signature, arguments):
        def masked(dy, x):
            positive = builder.fcmp_ordered(">", x, ir.Constant(x.type, None))
            return _clipped(builder, x, builder.select(positive, dy, x))

        return _with_stored(builder, signature, arguments, masked)

    return signature, generate


@intrinsic
def tile_scaled_plus_stored(typing, tile, scale, c, c_row, count):
    """fma(scale, tile[i, j], stored[i, j])."""
    signature = tile(tile, tile.vector.dtype, c, types.intp, types.unliteral(count))

    def generate(context, builder, signature, arguments):
        scale = filled(builder, arguments[1], tile.vector.lanes)

        def moved(element, stored):
            return multiply_add(builder, tile.vector, scale, element, stored)

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
        for place, start, columns in _lines(builder, tile, c, c_row, count):
            vector = builder.extract_value(value, place)
            store_lanes(builder, tile.vector, vector, start, count=columns)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def load_transposed(typing, tile, source, row):
    """A tile with source[j * row + t] in row t and column j, for as many t as TRANSPOSE_BYTES hold.

    Its width is that of ``tile``, one vector.
    """
    vector = tile.vector
    transposed = Tile(vector.dtype, _terms_transposed(vector), 1, vector.lanes)
    signature = transposed(tile, source, types.intp)

    def generate(context, builder, signature, arguments):
        _, source, row = arguments
        lines = [builder.gep(source, [builder.mul(row, index(j))]) for j in range(vector.lanes)]
        value = ir.Constant(transposed.llvm, ir.Undefined)
        for t, line in enumerate(_load_columns(builder, vector.dtype, lines, transposed.rows)):
            value = builder.insert_value(value, line, t)
        return value

    return signature, generate


@intrinsic(prefer_literal=True)
def multiply_transposed(typing, tile, a, stride, b, row, terms, count):
    """tile[0, j] = fma(a[k * stride], b[j * row + k], tile[0, j]) for k < ``terms``, ascending.

    One vector at a time, so only ``lanes`` rows of b are read concurrently.
    """
    terms = terms.literal_value
    signature = tile(
        tile, a, types.intp, b, types.intp, types.literal(terms), types.unliteral(count)
    )
    vector = tile.vector
    chunk = min(terms, _terms_transposed(vector))

    def generate(context, builder, signature, arguments):
        value, a, stride, b, row, _, count = arguments
        count = _count_or_none(signature.args[6], count)

        for v in range(tile.vectors):
            j = _first_column(builder, tile, v * vector.lanes, count)
            line = builder.gep(b, [builder.mul(row, j)])
            lines = [builder.gep(line, [builder.mul(row, index(i))]) for i in range(vector.lanes)]
            chain = builder.extract_value(value, v)
            for first in range(0, terms, chunk):
                here = [builder.gep(start, [index(first)]) for start in lines]
                for t, column in enumerate(_load_columns(builder, vector.dtype, here, chunk)):
                    at = builder.gep(a, [builder.mul(stride, index(first + t))])
                    element = filled(builder, builder.load(at), vector.lanes)
                    chain = multiply_add(builder, vector, element, column, chain)
            value = builder.insert_value(value, chain, v)
        return value

    return signature, generate


def _terms_transposed(vector):
    return TRANSPOSE_BYTES * 8 // vector.dtype.bitwidth


def _load_columns(builder, dtype, lines, terms):
    """``terms`` vectors: vector t has element t of each line.

    A vector first loads a short run of every fourth line (every second in float64), so that the
    remaining transpose stays within 16 bytes.
    """
    runs = [load_lanes(builder, Vector(dtype, terms), line) for line in lines]
    vectors = [_concatenated(builder, runs[first::terms]) for first in range(terms)]
    return _transposed(builder, vectors)


def _concatenated(builder, vectors):
    """Concatenate vectors, a power of two of them."""
    while len(vectors) > 1:
        lanes = ir.VectorType(LANE, 2 * vectors[0].type.count)
        picks = ir.Constant(lanes, list(range(lanes.count)))
        vectors = [
            builder.shuffle_vector(a, b, picks)
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
    return vectors[0]


def _transposed(builder, rows):
    """Transpose each n lanes of n rows, in log2(n) rounds that swap off-diagonal blocks.

    Round s exchanges, in each pair of rows (i, i + s), the s lanes that belong to the other row.
    """
    n, lanes = len(rows), rows[0].type.count

    def shuffled(a, b, picks):
        everywhere = [
            square + pick if pick < n else lanes + square + pick - n
            for square in range(0, lanes, n)
            for pick in picks
        ]
        mask = ir.Constant(ir.VectorType(LANE, lanes), everywhere)
        return builder.shuffle_vector(a, b, mask)

    s = 1
    while s < n:
        upper = [j if not j & s else n + j - s for j in range(n)]
        lower = [j + s if not j & s else n + j for j in range(n)]
        for i in range(n):
            if not i & s:
                a, b = rows[i], rows[i + s]
                rows[i], rows[i + s] = shuffled(a, b, upper), shuffled(a, b, lower)
        s *= 2
    return rows
