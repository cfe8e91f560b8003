"""The rule of every product, held to the bit.

An element is a chain of fused multiply-adds over k ascending, from zero; k is cut every 4,096 terms
and the chains are added in order. The oracle is the C library's ``fma``, one call per term.
"""

import ctypes
import ctypes.util
import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

import kernels

pytestmark = pytest.mark.compiled

CUT = 4096
DTYPES = (np.float32, np.float64)
TRANSPOSES = tuple(itertools.product((False, True), repeat=2))

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


# The oracle


def library_fma(dtype) -> Callable[[float, float, float], float] | None:
    """The C library's fused multiply-add; None where there is none."""
    try:
        library = ctypes.CDLL(ctypes.util.find_library("m"))
        function = library.fmaf if dtype is np.float32 else library.fma
    except (OSError, AttributeError):
        return None
    real = ctypes.c_float if dtype is np.float32 else ctypes.c_double
    function.argtypes, function.restype = [real] * 3, real
    return function


def fraction_fma(dtype) -> Callable[[float, float, float], float]:
    """The same by whole numbers: a * b + c exactly, rounded once, half to even."""
    info = np.finfo(dtype)

    def fma(a: float, b: float, c: float) -> float:
        if not (math.isfinite(a) and math.isfinite(b) and math.isfinite(c)):
            return c if math.isfinite(a) and math.isfinite(b) else a * b + c
        exact = Fraction(a) * Fraction(b) + Fraction(c)
        if exact == 0:
            return a * b + c  # exact too, and with the sign that a sum of zeros has
        exponent = abs(exact.numerator).bit_length() - exact.denominator.bit_length()
        exponent -= abs(exact) < Fraction(2) ** exponent
        unit = Fraction(2) ** (max(exponent, info.minexp) - info.nmant)
        rounded = round(exact / unit) * unit
        sign = 1.0 if exact > 0 else -1.0
        if abs(rounded) > Fraction(float(info.max)):
            return sign * math.inf
        return math.copysign(float(rounded), sign)

    return fma


FMA = {dtype: library_fma(dtype) or fraction_fma(dtype) for dtype in DTYPES}


def element(row, column, start=None):
    """One element of a product by the rule; ``start`` is what it is accumulated onto."""
    dtype = row.dtype.type
    fma = FMA[dtype]
    total = start
    for cut in range(0, max(1, len(row)), CUT):
        chain = 0.0
        for a, b in zip(
            row[cut : cut + CUT].tolist(), column[cut : cut + CUT].tolist(), strict=True
        ):
            chain = fma(a, b, chain)
        total = dtype(chain) if total is None else total + dtype(chain)
    return total


@each_dtype
def test_the_oracle_rounds_once(dtype):
    """The C library and the whole numbers agree, from the smallest to the largest numbers."""
    library, exact = library_fma(dtype), fraction_fma(dtype)
    eps, tiny, huge = (float(getattr(np.finfo(dtype), name)) for name in ("eps", "tiny", "max"))
    assert exact(1 + eps, 1 + eps, -1 - 2 * eps) == eps * eps  # 0 with two roundings
    if library is None:
        return
    special = [0.0, -0.0, 1.0, -1.0, eps, 1 + eps, tiny, -tiny * eps, huge, -huge, math.inf]
    for a, b, c in itertools.product([*special, math.nan], repeat=3):
        np.testing.assert_equal(exact(a, b, c), library(a, b, c))
    for a, b, c in wild(dtype, 1500, 3).tolist():
        assert exact(a, b, c) == library(a, b, c), (a, b, c)


# Inputs


def wild(dtype, *shape, seed=0, spread=12):
    """Numbers of many magnitudes and both signs: another order of adding shows in the bits."""
    random = np.random.default_rng([seed, *shape])
    numbers = random.uniform(-1, 1, shape) * 2.0 ** random.integers(-spread, spread, shape)
    return numbers.astype(dtype)


def operands(dtype, m, n, k, transpose_a=False, transpose_b=False, make=wild):
    """A, B, as they are passed, so that op(A) is (m, k) and op(B) is (k, n)."""
    a, b = make(dtype, m, k), make(dtype, k, n, seed=1)
    lay = np.ascontiguousarray
    return lay(a.T if transpose_a else a), lay(b.T if transpose_b else b)


def multiplied(a, b, transpose_a=False, transpose_b=False, onto=None):
    """The product by the public door, into an array of NaN, or onto ``onto``."""
    m = a.shape[1] if transpose_a else a.shape[0]
    n = b.shape[0] if transpose_b else b.shape[1]
    out = np.full((m, n), np.nan, a.dtype) if onto is None else onto.copy()
    kernels.matmul(a, b, out, transpose_a, transpose_b, accumulate=onto is not None)
    return out


def assert_same_bits(actual, expected):
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(np.signbit(actual), np.signbit(expected))


def assert_elements(out, left, right, start=None, places=None):
    """``out`` is left . right by the rule: every element, or those in ``places``."""
    if places is None:
        places = itertools.product(range(out.shape[0]), range(out.shape[1]))
    for i, j in places:
        expected = element(left[i], right[:, j], None if start is None else start[i, j])
        assert_same_bits(out[i, j], expected)


def corners(m, n):
    """Elements at the edges of tiles of any width, and between."""
    rows = sorted({0, m // 2, m - 1})
    columns = sorted({0, 15, 16, 23, 24, 47, 48, n - 1} & set(range(n)))
    return list(itertools.product(rows, columns))


# The rule


@each_dtype
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize(("transpose_a", "transpose_b"), TRANSPOSES)
@pytest.mark.parametrize("k", [0, 1, 2, 3, 4, 5, 6, 7, 8, 33])
def test_an_element_is_one_chain(dtype, accumulate, transpose_a, transpose_b, k):
    for m, n in ((1, 1), (2, 3), (7, 5), (1, 65), (9, 17), (10, 25)):
        a, b = operands(dtype, m, n, k, transpose_a, transpose_b)
        onto = wild(dtype, m, n, seed=2) if accumulate else None
        out = multiplied(a, b, transpose_a, transpose_b, onto)
        assert_elements(out, a.T if transpose_a else a, b.T if transpose_b else b, onto)


@each_dtype
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize(("transpose_a", "transpose_b"), TRANSPOSES)
@pytest.mark.parametrize("k", [CUT - 1, CUT, CUT + 1, 9000])
def test_chains_of_4096_terms_are_added_in_order(dtype, accumulate, transpose_a, transpose_b, k):
    for m, n in ((1, 2), (4, 1)):
        a, b = operands(dtype, m, n, k, transpose_a, transpose_b)
        onto = wild(dtype, m, n, seed=2) if accumulate else None
        out = multiplied(a, b, transpose_a, transpose_b, onto)
        assert_elements(out, a.T if transpose_a else a, b.T if transpose_b else b, onto)


@each_dtype
@pytest.mark.parametrize("n", [48, 60, 31, 12])
def test_every_kind_of_tile_cuts_at_the_same_place(dtype, n):
    """Full strips, and strips cut off after three, two and one vectors; tall tiles and rows."""
    m, k = 9, 2 * CUT + 3
    a, b = operands(dtype, m, n, k)
    onto = wild(dtype, m, n, seed=2)
    places = [(0, 0), (0, n - 1), (m - 1, 0), (m - 1, n - 1)]
    assert_elements(multiplied(a, b), a, b, places=places)
    assert_elements(multiplied(a, b, onto=onto), a, b, start=onto, places=places)


@each_dtype
def test_every_place_of_a_large_product_follows_the_rule(dtype):
    m, n, k = 137, 149, 40
    a, b = operands(dtype, m, n, k)
    out = multiplied(a, b)
    random = np.random.default_rng(0)
    some = random.integers(0, (m, n), (300, 2)).tolist()
    assert_elements(out, a, b, places=[*some, *corners(m, n)])


@each_dtype
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize(("transpose_a", "transpose_b"), TRANSPOSES)
def test_a_product_larger_than_a_cache_follows_the_rule(
    dtype, accumulate, transpose_a, transpose_b
):
    m, n, k = 45, 150, CUT + 5
    a, b = operands(dtype, m, n, k, transpose_a, transpose_b)
    onto = wild(dtype, m, n, seed=2) if accumulate else None
    out = multiplied(a, b, transpose_a, transpose_b, onto)
    places = [(0, 0), (m - 1, n - 1), (7, 47), (8, 48), (40, 3), (17, 100)]
    assert_elements(
        out, a.T if transpose_a else a, b.T if transpose_b else b, start=onto, places=places
    )


@each_dtype
def test_results_below_the_normal_numbers_are_not_flushed(dtype):
    small = float(np.finfo(dtype).tiny) ** 0.5

    def make(dtype, *shape, seed=0):
        return (wild(dtype, *shape, seed=seed, spread=2) * dtype(small)).astype(dtype)

    a, b = operands(dtype, 9, 17, 5, make=make)
    out = multiplied(a, b)
    assert ((out != 0) & (abs(out) < np.finfo(dtype).tiny)).any()
    assert_elements(out, a, b)


# What is built on the product


@each_dtype
@pytest.mark.parametrize("n_in", [1, 37, CUT + 1])
def test_the_bias_is_added_after_the_chains_with_one_rounding(dtype, n_in):
    batch, n_out = 3, 5
    x, weights = operands(dtype, batch, n_out, n_in)
    biases = wild(dtype, 1, n_out, seed=3)
    out = np.full((batch, n_out), np.nan, dtype)
    kernels.dense_forward(x, weights, biases, out)
    for i, j in itertools.product(range(batch), range(n_out)):
        assert_same_bits(out[i, j], element(x[i], weights[:, j]) + biases[0, j])


@each_dtype
def test_each_column_has_its_own_bias(dtype):
    for batch, n_out in ((1, 1), (9, 17), (17, 48), (9, 100), (3, 149)):
        x, weights = operands(dtype, batch, n_out, 3)
        biases = wild(dtype, 1, n_out, seed=3)
        out = np.full((batch, n_out), np.nan, dtype)
        kernels.dense_forward(x, weights, biases, out)
        assert_same_bits(out, multiplied(x, weights) + biases)


@each_dtype
def test_the_gradients_of_a_dense_layer_are_products(dtype):
    batch, n_in, n_out = 11, 19, 7
    x, weights, dz = (wild(dtype, *s) for s in ((batch, n_in), (n_in, n_out), (batch, n_out)))
    dweights, dx = np.full_like(weights, np.nan), np.full_like(x, np.nan)
    kernels.dense_backward_weights(x, dz, dweights)
    kernels.dense_backward_inputs(dz, weights, dx)
    assert_elements(dweights, x.T, dz)
    assert_elements(dx, dz, weights.T)


@each_dtype
@pytest.mark.parametrize("batch", [1, 2, 5, CUT - 1, CUT, CUT + 1, 9000])
def test_a_column_sum_is_the_product_with_ones(dtype, batch):
    for n_out in (1, 3, 15, 16, 17, 33):
        dz = wild(dtype, batch, n_out)
        out = np.full((1, n_out), np.nan, dtype)
        kernels.column_sum(dz, out)
        assert_same_bits(out, multiplied(np.ones((1, batch), dtype), dz))
        places = [(0, 0), (0, n_out - 1)]
        assert_elements(out, np.ones((1, batch), dtype), dz, places=places)


# Exact answers, and none


def whole(dtype, *shape, seed=0):
    """Whole numbers so small that no sum of them is rounded."""
    return np.random.default_rng([seed, *shape]).integers(-8, 9, shape).astype(dtype)


@each_dtype
@pytest.mark.parametrize(("transpose_a", "transpose_b"), TRANSPOSES)
def test_whole_numbers_give_the_exact_answer(dtype, transpose_a, transpose_b):
    sizes = (1, 2, 7, 8, 9, 15, 16, 17, 24, 25, 47, 48, 49, 63, 64, 65, 97, 145, 200)
    for m, n in itertools.product(sizes, repeat=2):
        k = 1 + (5 * m + 3 * n) % 40
        a, b = operands(dtype, m, n, k, transpose_a, transpose_b, make=whole)
        left, right = (a.T if transpose_a else a), (b.T if transpose_b else b)
        expected = left.astype(np.int64) @ right.astype(np.int64)
        out = multiplied(a, b, transpose_a, transpose_b)
        np.testing.assert_array_equal(out, expected, err_msg=f"{m, n, k}")
        onto = whole(dtype, m, n, seed=2)
        out = multiplied(a, b, transpose_a, transpose_b, onto)
        np.testing.assert_array_equal(out, onto + expected, err_msg=f"{m, n, k}")


@each_dtype
def test_long_sums_of_whole_numbers_give_the_exact_answer(dtype):
    a, b = operands(dtype, 70, 110, 10_000, make=whole)
    np.testing.assert_array_equal(multiplied(a, b), a.astype(np.int64) @ b.astype(np.int64))
    out = np.full((1, 110), np.nan, dtype)
    kernels.column_sum(b, out)
    np.testing.assert_array_equal(out, b.astype(np.int64).sum(axis=0, keepdims=True))


@each_dtype
@pytest.mark.parametrize(("transpose_a", "transpose_b"), TRANSPOSES)
def test_empty_sizes(dtype, transpose_a, transpose_b):
    for m, n, k in itertools.product((0, 1, 9, 70), (0, 1, 17, 100), (0, 3)):
        if m and n and k:
            continue
        a, b = operands(dtype, m, n, k, transpose_a, transpose_b)
        out = multiplied(a, b, transpose_a, transpose_b)
        assert_same_bits(out, np.zeros((m, n), dtype))
        onto = wild(dtype, m, n, seed=2)
        assert_same_bits(multiplied(a, b, transpose_a, transpose_b, onto), onto)


def test_empty_operands_of_a_vast_size_take_no_time():
    """Loops over k alone, or over columns, would go on for hours."""
    for m, n, k in ((0, 0, 2**50), (0, 2**50, 0), (2**50, 0, 0)):
        kernels.matmul(np.empty((m, k)), np.empty((k, n)), np.empty((m, n)))


# NaN, infinity, zeros


@each_dtype
def test_nan_and_infinity_stay_in_their_row_and_column(dtype):
    m, n, k = 19, 101, 13
    a, b = operands(dtype, m, n, k)
    clean = multiplied(a, b)
    for value, i, j in itertools.product((np.nan, np.inf), (0, 7, m - 1), (0, 47, n - 1)):
        spoiled = a.copy()
        spoiled[i, k - 1] = value
        out = multiplied(spoiled, b)
        assert not np.isfinite(out[i]).any()
        assert_same_bits(np.delete(out, i, axis=0), np.delete(clean, i, axis=0))

        spoiled = b.copy()
        spoiled[0, j] = value
        out = multiplied(a, spoiled)
        assert not np.isfinite(out[:, j]).any()
        assert_same_bits(np.delete(out, j, axis=1), np.delete(clean, j, axis=1))


@each_dtype
def test_infinity_follows_ieee_754(dtype):
    huge = np.finfo(dtype).max
    a = np.array([[np.inf, 1], [-np.inf, 1], [np.inf, -np.inf], [huge, 1], [huge, huge]], dtype)
    b = np.array([[1, 0], [1, 1]], dtype)
    nan, inf = np.nan, np.inf
    expected = [[inf, nan], [-inf, nan], [nan, nan], [huge, 1], [inf, huge]]
    np.testing.assert_array_equal(multiplied(a, b), np.array(expected, dtype))
    # Fused: the product alone would overflow, the sum does not.
    a, b = np.array([[-1, huge]], dtype), np.array([[huge], [2]], dtype)
    np.testing.assert_array_equal(multiplied(a, b), [[huge]])


@each_dtype
def test_a_chain_starts_from_plus_zero(dtype):
    for m, n, k in ((1, 1, 1), (9, 49, 4), (8, 24, 5), (1, 3, CUT + 1)):
        a, b = np.full((m, k), -0.0, dtype), np.ones((k, n), dtype)
        plus_zero = np.zeros((m, n), dtype)
        assert_same_bits(multiplied(a, b), plus_zero)
        assert_same_bits(multiplied(a, b, onto=-plus_zero), plus_zero)
        out = np.full((m, n), np.nan, dtype)
        kernels.dense_forward(a, b, np.full((1, n), -0.0, dtype), out)
        assert_same_bits(out, plus_zero)
    out = np.full((1, 17), np.nan, dtype)
    kernels.column_sum(np.full((5, 17), -0.0, dtype), out)
    assert_same_bits(out, np.zeros((1, 17), dtype))


# The same bits wherever and however an element is computed


@each_dtype
def test_a_row_has_the_same_bits_alone_and_in_any_batch(dtype):
    rows, n_in, n_out = 130, 37, 51
    x, weights = operands(dtype, rows, n_out, n_in)
    biases = wild(dtype, 1, n_out, seed=3)

    def forward(x):
        out = np.full((len(x), n_out), np.nan, dtype)
        kernels.dense_forward(x, weights, biases, out)
        return out

    alone = np.concatenate([forward(x[i : i + 1]) for i in range(rows)])
    for batch in range(1, rows + 1):
        assert_same_bits(forward(x[:batch]), alone[:batch])
        assert_same_bits(forward(x[rows - batch :]), alone[rows - batch :])


@each_dtype
def test_a_column_has_the_same_bits_alone_and_among_others(dtype):
    m, n, k = 17, 110, 29
    a, b = operands(dtype, m, n, k)
    alone = np.concatenate([multiplied(a, b[:, j : j + 1]) for j in range(n)], axis=1)
    for columns in range(1, n + 1):
        assert_same_bits(multiplied(a, b[:, :columns]), alone[:, :columns])
