"""Philox4x32-10: published answers, and ours against the algorithm in Python integers."""

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

import kernels
from tests.kernels.doors import path_of

each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])

BLOCK = 4096  # of the kernels' outer loop
LAST = 2**64 - 1
KEYS_AND_STREAMS = (
    (0, 0),
    (1, 0),
    (0, 1),
    (LAST, LAST),
    (0x299F31D0A4093822, 0x0370734413198A2E),
    (2**32, 2**32 - 1),
    (2**63, 2**32),
)

# From kat_vectors of the authors' library Random123: counter, key, output.
KNOWN_ANSWERS = (
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)


def philox(counter, key):
    """Of whole numbers, or of arrays of them in uint64, which hold every product here."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def draws(key, stream, elements):
    """Words 0 and 1 of each element of a stream, as one number of 64 bits."""
    low, high = divmod(stream, 2**32)[::-1]
    counters = (elements % 2**32, elements // 2**32, low, high)
    w0, w1, _, _ = philox(counters, divmod(key, 2**32)[::-1])
    return [first * 2**32 + second for first, second in zip(w0.tolist(), w1.tolist(), strict=True)]


def nearest(exact, dtype):
    """The number of ``dtype`` nearest to a fraction; of two, the one with an even last bit."""
    guess = dtype(float(exact))
    around = [np.nextafter(guess, dtype(-math.inf)), guess, np.nextafter(guess, dtype(math.inf))]
    integer = np.int32 if dtype is np.float32 else np.int64
    return min(around, key=lambda x: (abs(Fraction(float(x)) - exact), int(x.view(integer)) & 1))


def uniform(key, stream, size, dtype, low=0.0, high=1.0):
    out = np.full(size, np.nan, dtype)
    kernels.uniform(key, stream, low, high, out)
    return out


def permutation(key, stream, n):
    out = np.full(n, -1)
    kernels.permutation(key, stream, out)
    return out


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_the_algorithm_here_gives_the_published_answers(counter, key, answer):
    assert philox(counter, key) == answer


# uniform


@pytest.mark.compiled
@each_dtype
@pytest.mark.parametrize(("key", "stream"), KEYS_AND_STREAMS)
def test_uniform_takes_the_first_bits_of_a_draw(dtype, key, stream):
    digits = 24 if dtype is np.float32 else 53
    out = uniform(key, stream, BLOCK + 20, dtype)
    expected = draws(key, stream, np.arange(out.size, dtype=np.uint64))
    assert out.tolist() == [(number >> (64 - digits)) / 2**digits for number in expected]


@pytest.mark.compiled
def test_uniform_has_the_published_bits():
    first = 0x6627E8D5E169C58D
    assert uniform(0, 0, 1, np.float64)[0] == (first >> 11) / 2**53
    assert uniform(0, 0, 1, np.float32)[0] == (first >> 40) / 2**24


@pytest.mark.compiled
@each_dtype
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-0.1, 0.3), (1e-3, 7.7), (5.0, -2.0)])
def test_uniform_is_one_multiply_add(dtype, low, high):
    width = dtype(high - low)
    units = uniform(3, 4, 500, dtype)
    for u, x in zip(units.tolist(), uniform(3, 4, 500, dtype, low, high), strict=True):
        exact = Fraction(u) * Fraction(float(width)) + Fraction(float(dtype(low)))
        assert x == nearest(exact, dtype)


@pytest.mark.compiled
def test_both_dtypes_draw_the_same_number():
    single, double = (uniform(5, 6, 2000, dtype) for dtype in (np.float32, np.float64))
    np.testing.assert_array_equal(single, np.floor(double * 2**24) / 2**24)


@pytest.mark.compiled
@each_dtype
def test_uniform_is_uniform(dtype):
    n = 1_000_000
    u = uniform(7, 8, n, dtype).astype(np.float64)
    assert u.min() >= 0
    assert u.max() < 1
    # The k-th moment is 1 / (k + 1); five standard deviations of its estimate.
    for k in (1, 2, 3, 4):
        deviation = math.sqrt((1 / (2 * k + 1) - 1 / (k + 1) ** 2) / n)
        assert abs((u**k).mean() - 1 / (k + 1)) < 5 * deviation
    # No number tells about the next, nor about the one at the same place of the next stream.
    for other in (np.roll(u, 1), uniform(7, 9, n, dtype), uniform(8, 8, n, dtype)):
        assert abs(((u - 0.5) * (other - 0.5)).mean()) < 5 / 12 / math.sqrt(n)
    cells = np.bincount((u * 1000).astype(int), minlength=1000)
    chi_square = ((cells - n / 1000) ** 2).sum() / (n / 1000)
    assert abs(chi_square - 999) < 5 * math.sqrt(2 * 999)


@pytest.mark.compiled
@each_dtype
def test_an_element_does_not_depend_on_size_shape_or_twin(dtype):
    full = uniform(9, 10, 3 * BLOCK + 5, dtype)
    for size in (0, 1, 2, 17, BLOCK - 1, BLOCK, BLOCK + 1):
        np.testing.assert_array_equal(uniform(9, 10, size, dtype), full[:size])
    np.testing.assert_array_equal(uniform(9, 10, (30, 7), dtype).ravel(), full[:210])
    parallel = np.empty((1, full.size), dtype)
    kernels.uniform.parallel(np.uint64(9), np.uint64(10), 0.0, 1.0, parallel)
    np.testing.assert_array_equal(parallel[0], full)


@pytest.mark.compiled
def test_every_bit_of_key_and_stream_counts():
    seen = {uniform(0, 0, 8, np.float64).tobytes()}
    for bit in range(64):
        seen.add(uniform(1 << bit, 0, 8, np.float64).tobytes())
        seen.add(uniform(0, 1 << bit, 8, np.float64).tobytes())
    assert len(seen) == 129


# permutation


def shuffled(key, stream, n):
    order, numbers = list(range(n)), draws(key, stream, np.arange(n, dtype=np.uint64))
    for i in range(n - 1, 0, -1):
        j = numbers[i] * (i + 1) >> 64
        order[i], order[j] = order[j], order[i]
    return order


@pytest.mark.parametrize(("key", "stream"), KEYS_AND_STREAMS)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 257, 2000])
def test_permutation_is_fisher_and_yates_shuffle(key, stream, n):
    assert permutation(key, stream, n).tolist() == shuffled(key, stream, n)


@pytest.mark.compiled
def test_permutation_uses_all_64_bits_of_a_draw():
    """Among so many, the lower word decides for some."""
    n = 300_000
    order = permutation(11, 12, n)
    assert order.tolist() == shuffled(11, 12, n)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))


def test_every_bit_of_key_and_stream_changes_the_order():
    seen = {tuple(permutation(0, 0, 40))}
    for bit in range(64):
        seen.add(tuple(permutation(1 << bit, 0, 40)))
        seen.add(tuple(permutation(0, 1 << bit, 40)))
    assert len(seen) == 129


@pytest.mark.compiled
@pytest.mark.parametrize("n", [3, 4, 5])
@pytest.mark.parametrize("vary", ["key", "stream"])
def test_every_order_is_equally_likely(n, vary):
    times = 100 * math.factorial(n)
    arguments = [(i, 13) if vary == "key" else (13, i) for i in range(times)]
    counts = Counter(tuple(permutation(*argument, n).tolist()) for argument in arguments)
    orders = list(itertools.permutations(range(n)))
    assert set(counts) <= set(orders)
    chi_square = sum((counts[order] - 100) ** 2 for order in orders) / 100
    freedom = len(orders) - 1
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom)


@each_dtype
@pytest.mark.parametrize(
    ("rows", "n", "rate"),
    [(300, 37, 0.0), (300, 37, 0.25), (300, 37, 0.5), (300, 37, 0.9), (1, 1, 0.5), (11, 3, 0.5)],
)
def test_dropout_takes_the_four_words_of_a_draw(dtype, rows, n, rate):
    """Element e by word e mod 4 of draw e / 4, whatever the width, on one thread and on several."""
    x = np.arange(1, rows * n + 1, dtype=dtype).reshape(rows, n)
    words = [philox((i, 0, 11, 0), (7, 0)) for i in range(-(-rows * n // 4))]
    word = np.array(words, np.uint64).ravel()[: rows * n].reshape(rows, n)
    expected = np.where(word >= np.uint64(rate * 2.0**32), x * dtype(1 / (1 - rate)), 0)
    for path in ("serial", "parallel"):
        out = np.full_like(x, np.nan)
        path_of(kernels.dropout, path)(x, rate, np.uint64(7), np.uint64(11), out)
        np.testing.assert_array_equal(out, expected)
    if rows == 300:
        assert abs((expected == 0).mean() - rate) < 0.02
