"""Our exp and log: errors in ulp, special values, every length."""

import math
from decimal import Context, Decimal

import numpy as np
import pytest

import kernels
from tests.kernels.doors import path_of

pytestmark = pytest.mark.compiled

# The greatest error in ulp that is promised. In float32 it is measured over all numbers there are:
# 0.9386 for exp, 0.8286 for log; in float64 over 10^8 of them: 0.902 and 0.859.
GREATEST_ERROR = {
    ("exp", np.float32): 0.94,
    ("log", np.float32): 0.83,
    ("exp", np.float64): 0.95,
    ("log", np.float64): 0.90,
}
# The numbers where those errors were found.
WORST = {
    ("exp", np.float32): (26.688920974731445, -5.8911237716674805),
    ("log", np.float32): (1.4013005495071411,),
    ("exp", np.float64): (-708.7533751229493, -708.7458097185191, -1.0381172597344208),
    ("log", np.float64): (1.4018741371479722, 1.4018567777254713, 2.685091347644842),
}
# The largest number with a finite exp, and the smallest whose exp does not round to 0.
EXP_LIMITS = {
    np.float32: (88.72283172607422, -103.97207641601562),
    np.float64: (709.782712893384, -745.1332191019411),
}
BLOCK = 4096  # of the kernels' outer loop; one more than it starts the next iteration

each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
each_function = pytest.mark.parametrize("name", ["exp", "log"])


def computed(name, x):
    out = np.full_like(x, -7)
    getattr(kernels, name)(x, out)
    return out


def neighbours(centres, dtype, count):
    """For each centre the ``count`` numbers before and after it, ascending."""
    integer = np.int32 if dtype is np.float32 else np.int64
    bits = np.array(centres, dtype).view(integer)
    numbers = (bits[:, None] + np.arange(-count, count + 1, dtype=integer)).view(dtype)
    return np.sort(numbers, axis=1)


def breakpoints(name, dtype):
    """Where the reduction of the argument steps, from the smallest result to the largest."""
    if name == "exp":
        high, low = EXP_LIMITS[dtype]
        first, last = math.ceil(low / math.log(2)), math.floor(high / math.log(2))
        return [(n + 0.5) * math.log(2) for n in range(first, last)]
    info = np.finfo(dtype)
    powers = [2.0**k for k in range(info.minexp - info.nmant + 12, info.maxexp)]
    return [power * factor for power in powers for factor in (1, math.sqrt(0.5))]


# Error


def errors_in_float32(name, x):
    """In ulp, against NumPy's float64, which is 10^8 times finer."""
    exact = getattr(np, name)(x.astype(np.float64))
    ulp = np.spacing(abs(exact.astype(np.float32))).astype(np.float64)
    return abs(computed(name, x) - exact) / ulp


def errors_in_float64(name, x):
    """In ulp, against correctly rounded values of 40 digits."""
    context = Context(prec=40)
    function = context.exp if name == "exp" else context.ln
    errors = []
    for number, result in zip(x.tolist(), computed(name, x).tolist(), strict=True):
        exact = function(Decimal(number))
        errors.append(float(abs(Decimal(result) - exact) / Decimal(math.ulp(float(exact)))))
    return np.array(errors)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_error_of_exp_over_all_exponents_of_float32(sign):
    limit = np.float32(EXP_LIMITS[np.float32][0 if sign == 1 else 1])
    bits = np.arange(0, abs(limit).view(np.int32) + 1, 509, dtype=np.int32)
    errors = errors_in_float32("exp", sign * bits.view(np.float32))
    assert errors.max() < GREATEST_ERROR["exp", np.float32]


def test_the_error_of_log_over_all_exponents_of_float32():
    bits = np.arange(1, np.float32(np.inf).view(np.int32), 1009, dtype=np.int32)
    errors = errors_in_float32("log", bits.view(np.float32))
    assert errors.max() < GREATEST_ERROR["log", np.float32]


@each_function
def test_the_error_beside_breakpoints_in_float32(name):
    x = neighbours(breakpoints(name, np.float32), np.float32, 1000).ravel()
    assert errors_in_float32(name, x).max() < GREATEST_ERROR[name, np.float32]


def test_the_error_of_exp_in_float64():
    high, low = EXP_LIMITS[np.float64]
    random = np.random.default_rng(0)
    x = [
        np.linspace(low, high, 4000),
        np.linspace(-1.5, 1.5, 4000),
        np.linspace(low, -707, 1000),  # results below the normal numbers
        random.choice([-1.0, 1.0], 1000) * 2.0 ** random.uniform(-60, 0, 1000),
        neighbours(breakpoints("exp", np.float64)[::10], np.float64, 3).ravel(),
    ]
    assert errors_in_float64("exp", np.concatenate(x)).max() < GREATEST_ERROR["exp", np.float64]


def test_the_error_of_log_in_float64():
    random = np.random.default_rng(0)
    x = [
        random.integers(1, np.float64(np.inf).view(np.int64), 2000).view(np.float64),
        np.linspace(0.5, 2, 4000),
        1 + random.choice([-1.0, 1.0], 1000) * 2.0 ** random.uniform(-52, -2, 1000),
        np.ldexp(random.uniform(0.5, 1, 300), random.integers(-1070, -1021, 300)),
        neighbours(breakpoints("log", np.float64)[::40], np.float64, 3).ravel(),
    ]
    x = np.concatenate(x)
    assert errors_in_float64("log", x[x != 1]).max() < GREATEST_ERROR["log", np.float64]


@pytest.mark.parametrize(("name", "dtype"), GREATEST_ERROR)
def test_the_stated_error_is_no_guess(name, dtype):
    x = np.array(WORST[name, dtype], dtype)
    errors = (errors_in_float32 if dtype is np.float32 else errors_in_float64)(name, x)
    assert GREATEST_ERROR[name, dtype] - 0.1 < errors.max() < GREATEST_ERROR[name, dtype]


@each_function
@each_dtype
def test_monotone_beside_breakpoints(name, dtype):
    x = neighbours(breakpoints(name, dtype), dtype, 100)
    assert (np.diff(computed(name, x), axis=1) >= 0).all()


# Special values


@each_dtype
def test_special_values_of_exp(dtype):
    denormal = float(np.finfo(dtype).smallest_subnormal)
    x = [np.inf, -np.inf, np.nan, 0.0, -0.0, denormal, -denormal, 1e6, -1e6]
    out = computed("exp", np.array(x, dtype))
    np.testing.assert_array_equal(out, [np.inf, 0, np.nan, 1, 1, 1, 1, np.inf, 0])
    assert not np.signbit(out[[1, 8]]).any()


@each_dtype
def test_special_values_of_log(dtype):
    denormal = float(np.finfo(dtype).smallest_subnormal)
    x = [np.inf, 0.0, -0.0, np.nan, -denormal, -1.0, -np.inf, 1.0]
    out = computed("log", np.array(x, dtype))
    nan = np.nan
    np.testing.assert_array_equal(out, [np.inf, -np.inf, -np.inf, nan, nan, nan, nan, 0])
    assert not np.signbit(out[7])


@each_dtype
def test_exp_overflows_where_it_should(dtype):
    high = dtype(EXP_LIMITS[dtype][0])
    out = computed("exp", np.array([high, np.nextafter(high, dtype(np.inf))]))
    assert np.isfinite(out[0])
    assert out[0] > np.finfo(dtype).max * 0.999
    assert out[1] == np.inf


@each_dtype
def test_exp_underflows_gradually_and_where_it_should(dtype):
    smallest = np.finfo(dtype).smallest_subnormal
    low = dtype(EXP_LIMITS[dtype][1])
    out = computed("exp", np.array([low, np.nextafter(low, dtype(-np.inf))]))
    np.testing.assert_array_equal(out, [smallest, 0])
    # 2^-k for every k below the normal numbers: exp(-k ln 2) is the nearest of few numbers there.
    k = np.arange(-np.finfo(dtype).minexp + 8, -np.finfo(dtype).minexp + np.finfo(dtype).nmant + 1)
    out = computed("exp", (k * -math.log(2)).astype(dtype))
    expected = 2.0 ** -k.astype(np.float64)
    assert (abs(out - expected) <= np.maximum(smallest, expected * 2.0**-8)).all()


@each_dtype
def test_log_of_every_power_of_two(dtype):
    """From the smallest denormal number to the largest power."""
    info = np.finfo(dtype)
    k = np.arange(info.minexp - info.nmant, info.maxexp)
    out = computed("log", np.ldexp(dtype(1), k))
    exact = k * math.log(2)
    assert (abs(out - exact) <= 1.5 * np.spacing(abs(exact).astype(dtype))).all()


# Every length, every place


@each_function
@each_dtype
@pytest.mark.parametrize("size", [*range(34), BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 17])
def test_a_result_does_not_depend_on_its_place(name, dtype, size):
    x = np.linspace(0.01, 40, 3 * BLOCK).astype(dtype)
    around = np.full(size + 2, -7, dtype)
    getattr(kernels, name)(x[:size], around[1:-1])
    np.testing.assert_array_equal(around[1:-1], computed(name, x)[:size])
    assert around[0] == around[-1] == -7


@each_function
@each_dtype
def test_any_shape(name, dtype):
    x = np.linspace(0.01, 40, 210).astype(dtype)
    for shape in ((210,), (7, 30), (5, 6, 7), (1, 210)):
        out = computed(name, x.reshape(shape))
        np.testing.assert_array_equal(out, computed(name, x).reshape(shape))
    assert computed(name, dtype([2.5]).reshape(())) == computed(name, dtype([2.5]))[0]


@each_function
@each_dtype
def test_the_parallel_twin_gives_the_same_bits(name, dtype):
    x = np.linspace(0.01, 40, 5 * BLOCK + 3).astype(dtype).reshape(1, -1)
    serial, parallel = np.empty_like(x), np.empty_like(x)
    path_of(getattr(kernels, name), "serial")(x, serial)
    path_of(getattr(kernels, name), "parallel")(x, parallel)
    np.testing.assert_array_equal(parallel, serial)
