"""The one compiled product: no block, pass, chunk, packing or fused epilogue shows in its bits."""

import hashlib
import itertools
import platform

import numpy as np
import pytest

import kernels
from kernels.activations import RELU
from kernels.intrinsics import local_number, pointer
from kernels.optimizers import SGD
from kernels.product.block_sizes import CACHES
from kernels.product.flags import (
    ACCUMULATE,
    ADD_BIASES,
    IN_BLOCKS,
    OTHER,
    SUM_COLUMNS,
    TRANSPOSE_A,
    TRANSPOSE_B,
    UPDATES,
)
from kernels.product.loops import CUT, no_operation, operands_at, plan_for
from kernels.product.loops import share as share_of
from kernels.product.matmul import product
from kernels.product.microkernel import ROWS, VECTOR_BYTES, Epilogue
from kernels.product.plan import (
    BLOCK,
    BLOCK_COLUMNS,
    DEPTH,
    LARGE_B,
    LONG_CHUNK,
    PACK_NEAR_ROWS,
    PACK_ROWS,
    _blocks,
    plan_of,
)
from kernels.product.skinny import TRANSPOSED_LANES
from kernels.product.split_k import chain_bytes
from kernels.runtime import jit
from tests.kernels.product_flags import FUSED

pytestmark = pytest.mark.compiled
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])

X86_64 = ("x86_64", "amd64")
RATE = 0.3
# Rows, columns and terms: one tile, edges, many blocks.
SMALL = [(1, 1, 1), (1, 37, 21), (9, 49, 8), (150, 110, 33), (64, 49, CUT + 5), (300, 20, 20)]
SMALL += [(5, 7, 0), (1, 37, 40), (3, 50, 40)]
# By tiles of four vectors, with rows that remain.
SMALL += [(45, 64, 21), (47, 60, 9), (101, 125, 33), (4, 32, 7), (39, 30, 5)]
# Computed as their transposes, some by few rows, some packed: the last two with A as it lies too.
SMALL += [(130, 10, 40), (137, 2, CUT), (77, 3, 50), (300, 1, 40)]
# A and B packed: in one pass, in several, and with more than one chain.
PACKED = [(LONG_CHUNK + 1, LARGE_B // k + 5, k) for k in (DEPTH - 7, 2 * DEPTH + 300, CUT + 9)]
# Packed where A is transposed: its terms are far apart, share few sets, or cross lines.
STRIDED = [(501, 41, 103), (512, 20, 99), (1024, 20, 70), (301, 47, 230)]
# B alone packed: its rows are far apart, in one pass and in two, or cross lines, or fall out of
# level 2, which they share few sets of or exceed.
ROWS_OF_2_KB, ROWS_OF_2000_BYTES = (CACHES.level_2.size // step for step in (2048, 2000))
B_ALONE = [(PACK_NEAR_ROWS + 1, 1030, terms) for terms in (50, DEPTH + 5)] + [(200, 70, 60)]
B_ALONE += [(PACK_ROWS + 1, 512, min(ROWS_OF_2_KB, CUT))]
B_ALONE += [(LONG_CHUNK + 1, 500, min(ROWS_OF_2000_BYTES + 5, CUT))]
# Few outputs: threads share the chains over k, of which the last may be packed in another way.
LONG = [(7, 50, 9000), (1, 3, 12_289), (9, 130, 8193), (40, 130, 8190)]


def numbers(dtype, *shape, seed):
    """Numbers of both signs and several magnitudes, zeros among them."""
    random = np.random.Generator(np.random.PCG64([seed, *shape]))
    values = random.standard_normal(shape) * 2.0 ** random.integers(-6, 6, shape)
    return (values * (random.random(shape) > 0.1)).astype(dtype)


def operands(dtype, m, n, k, flags):
    a = numbers(dtype, *((k, m) if flags & TRANSPOSE_A else (m, k)), seed=1)
    b = numbers(dtype, *((n, k) if flags & TRANSPOSE_B else (k, n)), seed=2)
    out = numbers(dtype, m, n, seed=3)
    extra = numbers(dtype, *((m, n) if flags & OTHER else (1, n)), seed=4)
    return a, b, out, extra


def packed(dtype, m, n, k, flags):
    """Whether A and B are packed, on one thread."""
    a_step, b_row = m if flags & TRANSPOSE_A else 1, k if flags & TRANSPOSE_B else 1
    size = np.dtype(dtype).itemsize
    plan = jit.interpreted(plan_of)((m, n, k), a_step, b_row, flags, 0, size, 1)
    return plan.a_bytes > 0, plan.b_bytes > 0


def step_by_step(a, b, out, extra, asked):
    """The same by plain kernels, one after the other; the result and the column sums."""
    flags, then = asked
    transposes = bool(flags & TRANSPOSE_A), bool(flags & TRANSPOSE_B)
    result = out.copy()
    kernels.matmul(a, b, result, *transposes, bool(flags & ACCUMULATE))
    if flags & ADD_BIASES:
        result += extra  # one rounding
    if then is RELU.forward:
        kernels.relu_forward(result.copy(), result)
    if then is RELU.backward:
        kernels.relu_backward(extra, result.copy(), result)
    if then is SGD.operation:
        gradient, result = result, out.copy()
        kernels.sgd_update(result, gradient, RATE)
    sums = np.empty_like(extra)
    if flags & SUM_COLUMNS:
        kernels.column_sum.bare(b, sums)
    return result, sums


@each_dtype
@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("sizes", [*SMALL, *PACKED, *STRIDED, *B_ALONE, *LONG], ids=str)
def test_an_epilogue_has_the_bits_of_the_kernels_that_it_stands_for(dtype, name, sizes):
    asked = FUSED[name]
    flags, then = asked.flags, asked.address(dtype)
    a, b, out, extra = operands(dtype, *sizes, flags)
    expected, sums = step_by_step(a, b, out, extra, asked)
    for twin, count in ((product.serial, 1), *((product.parallel, n) for n in (2, 5, 16))):
        got, given = out.copy(), extra.copy()
        twin(a, b, given, got, RATE, then, flags, count)
        np.testing.assert_array_equal(got, expected, strict=True)
        np.testing.assert_array_equal(given, sums if flags & SUM_COLUMNS else extra)


def in_blocks(matrix, count):
    """A matrix whose columns lie in blocks, as many as threads that share them."""
    lanes, (m, n) = VECTOR_BYTES // matrix.itemsize, matrix.shape
    ends = [jit.interpreted(share_of)(n, count, index, lanes) for index in range(count)]
    return np.concatenate([matrix[:, j:j_end].ravel() for j, j_end in ends]).reshape(m, n)


@each_dtype
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("sizes", [(9, 33), (40, 700), (4_200, 5), (33, CUT + 9)], ids=str)
def test_weights_in_blocks_do_not_show(dtype, count, sizes):
    """B of a forward product, and what an update moves, whose rows may be cut too."""
    (m, k), n = sizes, 2 * count * (VECTOR_BYTES // np.dtype(dtype).itemsize) + 5
    for name in ("biases and ReLU", "biases, then ReLU by a call", "descent", "descent by a call"):
        asked = FUSED[name]
        flags, then = asked.flags, asked.address(dtype)
        a, b, out, extra = operands(dtype, m, n, k, flags)
        expected, _ = step_by_step(a, b, out, extra, asked)
        moves = bool(flags & UPDATES)
        b, out = (b, in_blocks(out, count)) if moves else (in_blocks(b, count), out)
        expected = in_blocks(expected, count) if moves else expected
        for twin in (product.serial, product.parallel):
            got = out.copy()
            twin(a, b, extra, got, RATE, then, flags | IN_BLOCKS, count)
            np.testing.assert_array_equal(got, expected, strict=True)


@each_dtype
@pytest.mark.parametrize("sizes", [*PACKED, *STRIDED, *B_ALONE], ids=str)
def test_packing_does_not_show(dtype, sizes):
    """Rows by themselves are too few to be packed for; together they are enough."""
    m, n, k = sizes
    some = PACK_ROWS - 1
    for flags in (0, TRANSPOSE_A, TRANSPOSE_B, TRANSPOSE_A | TRANSPOSE_B, ACCUMULATE):
        a, b, out, _ = operands(dtype, m, n, k, flags)
        few, many = (packed(dtype, rows, n, k, flags) for rows in (some, m))
        assert few == (False, bool(flags & TRANSPOSE_B))
        assert many == (True, True) or sizes not in PACKED
        direct = out.copy()
        for i in range(0, m, some):
            left = a[:, i : i + some] if flags & TRANSPOSE_A else a[i : i + some]
            part = direct[i : i + some]
            product.serial(np.ascontiguousarray(left), b, part, part, 0.0, 0, flags, 1)
        together = out.copy()
        product.serial(a, b, out, together, 0.0, 0, flags, 1)
        np.testing.assert_array_equal(together, direct, strict=True)


@each_dtype
@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 10, 17, 24])
def test_a_narrow_product_has_the_bits_that_it_has_in_a_wide_one(dtype, n):
    """It may be computed as its transpose, which the wide one is not."""
    for m, k, flags in itertools.product((47, 60, 133), (5, 300), range(4)):
        a, b, out, _ = operands(dtype, m, 70, k, flags)
        kernels.matmul(a, b, out, bool(flags & TRANSPOSE_A), bool(flags & TRANSPOSE_B))
        narrow = np.ascontiguousarray(b[-n:] if flags & TRANSPOSE_B else b[:, -n:])
        got = np.empty((m, n), dtype)
        kernels.matmul(a, narrow, got, bool(flags & TRANSPOSE_A), bool(flags & TRANSPOSE_B))
        np.testing.assert_array_equal(got, out[:, -n:], strict=True)


@each_dtype
@pytest.mark.parametrize("k", [1, 7, 8, 9, 50, CUT + 3, 2 * CUT + 1])
def test_a_few_rows_have_the_bits_that_they_have_among_others(dtype, k):
    """A few rows read B as it lies, one row its transpose too; for several it is packed."""
    some = [range(i, i + 1) for i in range(ROWS + 1)] + [range(1, 1 + m) for m in range(2, ROWS)]
    for n, turns_a, turns_b, turns_on in itertools.product(
        (1, 3, 7, 8, 9, 14, 15, 16, 17, 31, 33, 100),
        (0, TRANSPOSE_A),
        (0, TRANSPOSE_B),
        (0, ACCUMULATE),
    ):
        flags = turns_a | turns_b | turns_on
        a, b, out, _ = operands(dtype, ROWS + 1, n, k, flags)
        together = out.copy()
        product.serial(a, b, out, together, 0.0, 0, flags, 1)
        for rows, count in itertools.product(some, (1, 2)):
            few = a[:, rows] if turns_a else a[rows]
            alone = out[rows].copy()
            product.serial(np.ascontiguousarray(few), b, out, alone, 0.0, 0, flags, count)
            np.testing.assert_array_equal(alone, together[rows], strict=True)


def bits_of_many(dtype):
    """A hash of products of every kind of edge, packed and not, by every transpose."""
    found = hashlib.sha256()
    shapes = [*itertools.product((1, 3, 4, 5, 9), (1, 3, 4, 7, 14, 15, 25, 40), (1, 3, 5, 40))]
    for (m, n, k), flags in itertools.product(
        [*shapes, *STRIDED, (PACK_NEAR_ROWS + 1, 1030, 760)],
        (0, TRANSPOSE_A, TRANSPOSE_B, TRANSPOSE_A | TRANSPOSE_B),
    ):
        a, b, out, _ = operands(dtype, m, n, k, flags)
        for count in (1, 2):
            product.serial(a, b, out, out, 0.0, 0, flags, count)
            found.update(out.tobytes())
    return found.hexdigest()


@each_dtype
@pytest.mark.skipif(platform.machine().lower() not in X86_64, reason="names an x86 CPU")
def test_the_smallest_tile_has_the_same_bits(python, dtype):
    """Vectors of 16 bytes, of which CPUs without AVX2 have no larger ones."""
    script = (
        "import numpy as np; from kernels.product.tile_sizes import TILE\n"
        "assert TILE.vector_bytes == 16\n"
        "from tests.kernels.test_product import bits_of_many\n"
        f"print(bits_of_many(np.{dtype.__name__}))"
    )
    smallest = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}
    assert python(script, **smallest).strip() == bits_of_many(dtype)


def bytes_of_chains(a, m, n, k, chain, flags, out):
    """Those that a thread takes for any chain, or those that one chain needs by itself."""
    at, to = pointer(a), pointer(out)
    chains = (k + CUT - 1) // CUT
    plain = Epilogue(flags, to, no_operation(to, local_number(0.0)))
    if chain < 0:
        return chain_bytes(operands_at((m, n), (m, k), at, at, to, plain), chains)
    terms = min(CUT, k - chain * CUT)
    return plan_for(operands_at((m, n), (m, terms), at, at, to, plain), 1).bytes


@each_dtype
@pytest.mark.parametrize("transpose_b", [0, TRANSPOSE_B])
def test_the_memory_for_a_chain_is_enough_for_each(dtype, transpose_b):
    """The last one, of fewer terms, needs less than the others, or is packed where they are not."""
    contract = "a (e, f), m int64, n int64, k int64, chain int64, flags int64 -> out (g, h)"
    kernel, array = jit.Kernel(bytes_of_chains, contract, None), np.empty((1, 1), dtype)
    shapes = [*LONG, (40, 400, 2 * CUT + 1), (7, 50, CUT + 1), (1, 300, CUT + 5), (9, 20, CUT)]
    for m, n, k in shapes:
        taken, *needs = (
            kernel.serial(array, m, n, k, chain, transpose_b, array)
            for chain in range(-1, -(-k // CUT))
        )
        assert taken >= max(needs), (m, n, k)


@each_dtype
def test_every_element_has_one_block(dtype):
    """Integers, so that any order is exact: blocks that overlap or leave gaps show."""
    for m, n in ((1, 5000), (5000, 1), (70, 300), (2 * BLOCK + 17, 60), (65, BLOCK_COLUMNS + 5)):
        a = np.arange(m, dtype=dtype)[:, None] % 7 + np.array([[1, 2]], dtype)
        b = np.arange(n, dtype=dtype)[None, :] % 5 + np.array([[1], [3]], dtype)
        for count in (1, 2, 3, 8):
            out = np.full((m, n), np.nan, dtype)
            product.serial(a, b, out, out, 0.0, 0, 0, count)
            np.testing.assert_array_equal(out, a @ b)


@each_dtype
def test_the_fused_doors_have_the_bits_of_their_parts(dtype):
    batch, n_in, n_out = 37, 53, 29
    x, dz = numbers(dtype, batch, n_in, seed=5), numbers(dtype, batch, n_out, seed=6)
    weights, biases = numbers(dtype, n_in, n_out, seed=7), numbers(dtype, 1, n_out, seed=8)
    z, y, fused = (np.empty((batch, n_out), dtype) for _ in range(3))
    kernels.dense_forward(x, weights, biases, z)
    kernels.relu_forward(z, y)
    kernels.dense_relu_forward(x, weights, biases, fused)
    np.testing.assert_array_equal(fused, y, strict=True)

    dx, masked, fused = (np.empty((batch, n_in), dtype) for _ in range(3))
    kernels.dense_backward_inputs(dz, weights, dx)
    kernels.relu_backward(x, dx, masked)
    kernels.dense_relu_backward_inputs(dz, weights, x, fused)
    np.testing.assert_array_equal(fused, masked, strict=True)

    dweights, fused_dweights = np.empty_like(weights), np.empty_like(weights)
    dbiases, fused_dbiases = np.empty_like(biases), np.empty_like(biases)
    kernels.dense_backward_weights(x, dz, dweights)
    kernels.column_sum(dz, dbiases)
    kernels.dense_backward_parameters(x, dz, fused_dweights, fused_dbiases)
    np.testing.assert_array_equal(fused_dweights, dweights, strict=True)
    np.testing.assert_array_equal(fused_dbiases, dbiases, strict=True)

    moved, fused = weights.copy(), weights.copy()
    kernels.sgd_update(moved, dweights, 0.1)
    kernels.dense_sgd_update(x, dz, 0.1, fused)
    np.testing.assert_array_equal(fused, moved, strict=True)


def test_nan_and_infinity_come_through_the_epilogues():
    x, weights = np.array([[1.0, np.nan], [1.0, 2.0]]), np.eye(2)
    biases, out = np.array([[0.0, -np.inf]]), np.empty((2, 2))
    kernels.dense_relu_forward(x, weights, biases, out)
    np.testing.assert_array_equal(out, [[np.nan, np.nan], [1.0, 0.0]])
    kernels.dense_relu_backward_inputs(np.ones((2, 2)), weights, x, out)
    np.testing.assert_array_equal(out, [[1.0, np.nan], [1.0, 1.0]])


def test_an_empty_output_shares_no_memory():
    """Wherever its address is: amid an operand, too."""
    whole = np.ones((4, 4))
    amid = np.ndarray((0, 4), whole.dtype, whole, offset=64)
    kernels.matmul(np.ones((0, 4)), whole, amid)
    kernels.matmul.bare(np.ones((0, 4)), whole, amid)
    np.testing.assert_array_equal(whole, 1)


def test_shares_are_even():
    """Blocks for so many threads differ by a tile at most, whatever the shape."""
    blocks, share = jit.interpreted(_blocks), jit.interpreted(share_of)
    for size, count in itertools.product((1, 8, 9, 100, 1000, 1025), (1, 2, 3, 7)):
        shares = [share(size, count, i, ROWS) for i in range(count)]
        assert shares[0][0] == 0
        assert shares[-1][1] == size
        assert all(one[1] == other[0] for one, other in itertools.pairwise(shares))
        lengths = [end - start for start, end in shares[:-1]] or [0]
        assert max(lengths) - min(lengths) <= ROWS
    rows, columns = blocks(1024, 1024, 1024, 48, 16, 2, False)
    assert rows * columns >= 2
    assert blocks(512, 512, 512, 48, 16, 1, False) == (1, 1)
    assert blocks(784, 128, 32, 48, 16, 2, False) == (2, 1)  # the longer side
    assert blocks(784, 128, 32, 48, 16, 2, True) == (1, 2)
    assert blocks(784, 48, 32, 48, 16, 2, True) == (2, 1)  # too narrow to be halved


@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
def test_a_block_of_some_columns_has_those_of_a_vector(lanes):
    """For every vector there is; and where two turned ones fit into the widest, those of one."""
    blocks, share = jit.interpreted(_blocks), jit.interpreted(share_of)
    turned = TRANSPOSED_LANES
    for n, count, by_columns in itertools.product(
        (*range(1, 130), 2047, 2049, 4097), (1, 2, 3, 5, 16), (False, True)
    ):
        for m in (1, ROWS, 100):
            _, columns = blocks(m, n, 10**6, 3 * lanes, lanes, count, by_columns)
            shares = [share(n, columns, j, lanes) for j in range(columns)]
            widths = [end - start for start, end in shares]
            assert columns == 1 or min(widths) >= lanes
            assert max(widths) < 2 * turned or min(widths) >= turned
