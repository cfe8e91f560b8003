"""The checks of public kernels: bad arguments are refused, and no array is changed.

Every public kernel is tested by its contract, so new kernels are included.
"""

from typing import Any
from unittest import mock

import numpy as np
import pytest

import kernels
from kernels.runtime import checks, jit
from tests.kernels.doors import (
    ARRAYS,
    FLOATING,
    SIZES,
    arguments,
    backwards,
    byte_swapped,
    described,
    each_door,
    each_dtype,
    good,
    read_only,
    strided,
    target_rows,
    unaligned,
)


def refused(door: jit.Door, args: dict[str, Any], named: str | None, came: str = "") -> str:
    """The door says no in the house's words, names the argument, and has touched no array."""
    held = [value for value in args.values() if type(value) is np.ndarray]
    before = [value.tobytes() for value in held]
    with pytest.raises((TypeError, ValueError)) as caught:
        pytest.fail(f"{door.__name__} returned {door(**args)} for a bad {named}: {came}")
    message = str(caught.value)
    assert message.startswith(f"kernels.{door.__name__}: ")
    assert "expected" in message
    assert len(message) < 300
    assert came in message
    if named is not None:
        assert f": {named} " in message or f": {named}[" in message
    assert [value.tobytes() for value in held] == before
    return message


# Not an array


class Pretender:
    """Has what NumPy asks for to make an array, and is none."""

    def __init__(self, array: np.ndarray) -> None:
        self.__array_interface__ = array.__array_interface__


NOT_ARRAYS = {
    "is None": lambda array: None,
    "is a list": np.ndarray.tolist,
    "is a float32": lambda array: np.float32(1),
    "is an int": lambda array: 1,
    "is a str": lambda array: "x",
    "is a memoryview": memoryview,
    "is a Mock": lambda array: mock.Mock(spec=np.ndarray),
    "is a Pretender": Pretender,
    "is a type": type,
    "is a masked array": np.ma.array,
    "is a masked array,": lambda array: np.ma.masked,
}


@arguments(*ARRAYS)
def test_what_is_not_an_array_is_refused(door, name):
    taken = "is None" if name in door.contract.optional else "is a list"
    for came, make in NOT_ARRAYS.items():
        if came == taken and (came == "is None" or not described(door, name).is_output):
            continue  # an output is made, a list of inputs becomes an array
        args = good(door)
        refused(door, args | {name: make(args[name])}, name, came)


# Of a dtype that kernels do not have

NOT_REAL = {
    "bool": "?",
    "complex64": "c8",
    "complex128": "c16",
    "object": "O",
    "bytes": "S4",
    "string": "U4",
    "variable string": np.dtypes.StringDType(),
    "void": "V4",
    "datetime": "M8[s]",
    "timedelta": "m8[s]",
    "structured": [("value", "f4")],
    "structured float": ("f4", [("value", "f4")]),
    "record": (np.record, [("value", "f4")]),
}
INTEGER = {"int8": "i1", "int32": "i4", "int64": "i8", "uint64": "u8"}
FLOAT = {"float32": "f4", "float64": "f8"}
OTHER_FLOAT = {"float16": "f2", "longdouble": "g"}


def zeros_in_turn(array: np.ndarray, dtypes: dict[str, Any]):
    for dtype in dtypes.values():
        zeros = np.zeros(array.shape, np.dtype(dtype))
        yield zeros, f"has dtype {zeros.dtype}, expected "


@arguments(*FLOATING)
def test_a_dtype_that_is_not_floating_point_is_refused(door, name):
    args = good(door)
    for bad, came in zeros_in_turn(args[name], NOT_REAL | INTEGER | OTHER_FLOAT):
        refused(door, args | {name: bad}, name, came + "float32")


@arguments("labels", "indices", output=False)
def test_indices_that_are_not_integers_are_refused(door, name):
    args = good(door)
    for bad, came in zeros_in_turn(args[name], NOT_REAL | FLOAT | OTHER_FLOAT):
        refused(door, args | {name: bad}, name, came + "integers")


@arguments("indices", output=True)
def test_an_output_of_indices_is_int64(door, name):
    args = good(door)
    others = {"int32": "i4", "uint64": "u8", "byte-swapped": ">i8"}
    for bad, came in zeros_in_turn(args[name], NOT_REAL | FLOAT | others):
        refused(door, args | {name: bad}, name, came + "int64")


@arguments(
    *FLOATING, only=lambda door, _: sum(a.kind in FLOATING for a in door.contract.arguments) > 1
)
@each_dtype
def test_two_dtypes_in_one_call_are_refused(door, name, dtype):
    args = good(door, dtype)
    other = np.float64 if dtype is np.float32 else np.float32
    message = refused(door, args | {name: args[name].astype(other)}, None, " like ")
    assert "float32" in message
    assert "float64" in message


# Of a wrong shape

RANKS = {
    "no dimension": lambda array: array.reshape(-1)[:1].reshape(()),
    "one more in front": lambda array: array[None],
    "one more at the end": lambda array: array[..., None],
}


@arguments("matrix", "labels", "indices")
def test_a_wrong_number_of_dimensions_is_refused(door, name):
    ranks = dict(RANKS)
    if described(door, name).sizes[0] != 1:  # a row may be given flat
        ranks["flat"] = lambda array: array.reshape(-1)
    if described(door, name).kind != "matrix":
        del ranks["flat"]
    args = good(door)
    for change in ranks.values():
        refused(door, args | {name: change(args[name])}, name)


def sizes_of(door: jit.Door, name: str) -> tuple[int | str, ...]:
    return described(door, name).sizes or ("rows of any shape", "columns of any shape")


def is_shared(door: jit.Door, size: int | str) -> bool:
    """Whether anything else holds an argument to this size."""
    arrays = [a.name for a in door.contract.arguments if a.kind in ARRAYS]
    everywhere = [size for array in arrays for size in sizes_of(door, array)]
    return isinstance(size, int) or everywhere.count(size) > 1


SIZED = [
    (door, argument.name, axis)
    for door in jit.PUBLIC.values()
    for argument in door.contract.arguments
    if argument.kind in ARRAYS
    for axis, size in enumerate(sizes_of(door, argument.name))
    if is_shared(door, size)
]


@pytest.mark.parametrize(
    ("door", "name", "axis"),
    SIZED,
    ids=[f"{door.__name__}.{name}-{axis}" for door, name, axis in SIZED],
)
def test_a_size_that_does_not_fit_is_refused(door, name, axis):
    """Of two arguments that disagree, the later one is named."""
    args = good(door)
    array = args[name]
    more = np.concatenate([array, array.take([0], axis)], axis)
    fewer = array.take(range(array.shape[axis] - 1), axis)
    for bad in (more, fewer):
        refused(door, args | {name: bad}, None)


HAVE_BATCHES = [
    door for door in jit.PUBLIC.values() if any("batch" in a.sizes for a in door.contract.arguments)
]


@pytest.mark.parametrize("door", HAVE_BATCHES, ids=lambda door: door.__name__)
def test_an_empty_batch_is_refused(door):
    """A mean over nothing is no number."""
    args = good(door)
    for argument in door.contract.arguments:
        if "batch" in argument.sizes:
            args[argument.name] = args[argument.name].take([], argument.sizes.index("batch"))
    refused(door, args, None, "with batch at least 1")


def test_a_product_over_nothing_is_zero():
    out = np.ones((3, 2), np.float32)
    kernels.matmul(np.empty((3, 0), np.float32), np.empty((0, 2), np.float32), out)
    assert (out == 0).all()


# Outputs

UNFIT = {
    "is not C-contiguous": lambda array: strided(np.repeat(array, 2, 0))[::2],
    "is read-only": read_only,
    "is not aligned": unaligned,
    "byte-swapped": byte_swapped,
}


@arguments(*FLOATING, "indices", output=True)
def test_an_output_that_cannot_be_written_as_it_lies_is_refused(door, name):
    for fault, change in UNFIT.items():
        args = good(door)
        args[name] = change(args[name])
        if args[name].flags.c_contiguous and fault == "is not C-contiguous":
            continue  # a single row or column
        refused(door, args, name, fault if args[name].dtype != ">i8" else "has dtype >i8")


def has_rows(door: jit.Door, argument: Any) -> bool:
    """A single row is C-contiguous in any order."""
    return 1 not in argument.sizes and len(good(door)[argument.name]) > 1


@arguments(*FLOATING, output=True, only=has_rows)
def test_an_output_in_another_order_or_repeated_is_refused(door, name):
    args = good(door)
    repeated = np.broadcast_to(args[name][:1], args[name].shape)
    for bad in (np.asfortranarray(args[name]), backwards(args[name]), repeated):
        refused(door, args | {name: bad}, name, "is not C-contiguous")


def in_one_buffer(first: np.ndarray, second: np.ndarray, distance: int) -> list[np.ndarray]:
    """Copies of two arrays, the second starting ``distance`` bytes after the first."""
    start = max(0, -distance)
    buffer = np.zeros(start + first.nbytes + abs(distance) + second.nbytes, np.uint8)
    pair = []
    for array, offset in ((first, start), (second, start + distance)):
        view = buffer[offset : offset + array.nbytes].view(array.dtype).reshape(array.shape)
        view[...] = array
        pair.append(view)
    return pair


PAIRS = [
    (door, output.name, other.name)
    for door in jit.PUBLIC.values()
    for output in door.contract.arguments
    for other in door.contract.arguments
    if output.is_output and other.kind in ARRAYS and other.name != output.name
]
each_pair = pytest.mark.parametrize(
    ("door", "output", "other"),
    PAIRS,
    ids=[f"{door.__name__}.{output}-{other}" for door, output, other in PAIRS],
)


@each_pair
@each_dtype
def test_an_output_that_overlaps_another_argument_is_refused(door, output, other, dtype):
    args = good(door, dtype)
    at_its_end = (args[other].nbytes - 1) // 8 * 8
    for distance in (0, 8, at_its_end, -8):
        if distance >= args[other].nbytes:
            continue  # of a single number: beside it
        args[other], args[output] = in_one_buffer(
            np.zeros_like(args[other]), np.zeros_like(args[output]), distance
        )
        message = refused(door, args, None, "shares memory with")
        assert output in message
        assert other in message


@each_pair
def test_an_output_beside_another_argument_is_fine(door, output, other):
    args, apart = good(door), good(door)
    distance = (args[other].nbytes + 7) // 8 * 8
    args[other], args[output] = in_one_buffer(args[other], args[output], distance)
    door(**args)
    door(**apart)
    assert args[output].tobytes() == apart[output].tobytes()


def test_an_output_that_overlaps_an_input_that_is_copied_is_fine():
    both = np.arange(-6, 6, dtype=np.float32)
    expected = np.maximum(both[::2], 0)
    kernels.relu_forward(both[::2], both[:6])
    np.testing.assert_array_equal(both[:6], expected)


# Labels and indices

BEYOND = {
    "is -1": [np.array(-1), np.array(-1, np.int8)],
    "is 255": [np.array(255, np.uint8)],
    "is 300": [np.array(300, ">i2")],
    "is 1000000000000": [np.array(10**12)],
    "is -9223372036854775808": [np.array(-(2**63))],
    "is 9223372036854775808": [np.array(2**63, np.uint64)],
    "is 18446744073709551615": [np.array(2**64 - 1, np.uint64)],
}


@arguments("labels", "indices", output=False)
def test_an_index_out_of_range_is_refused(door, name):
    args = good(door)
    below = SIZES[described(door, name).below]
    for came, values in (BEYOND | {f"is {below}": [np.array(below)]}).items():
        for value in values:
            bad = args[name].astype(value.dtype)
            bad[4] = value
            expected = f"{came}, expected 0 to {below - 1}"
            refused(door, args | {name: bad}, f"{name}[4]", expected)


def test_rows_of_an_array_without_rows_are_refused():
    args = good(kernels.gather_rows)
    refused(kernels.gather_rows, args | {"x": args["x"][:0]}, "rows[0]")


NOT_PROBABILITIES = {
    "NaN": [np.nan, 0.5, 0.5],
    "an infinity": [np.inf, 0, 0],
    "two infinities": [np.inf, -np.inf, 1],
    "negative": [-0.5, 1, 0.5],
    "a small sum": [0.2, 0.3, 0.4],
    "a large sum": [1, 1, 0],
    "zeros": [0, 0, 0],
    "an overflow": [3e38, 3e38, 3e38],
}


@arguments("labels")
@pytest.mark.parametrize("row", NOT_PROBABILITIES)
def test_target_rows_that_are_no_probabilities_are_refused(door, name, row):
    rows = target_rows()
    rows[4] = NOT_PROBABILITIES[row]
    message = refused(door, good(door) | {name: rows}, None, f"row 4 of {name} is [")
    assert message.endswith("expected probabilities that sum to 1")


@arguments("labels")
def test_target_rows_of_another_width_length_or_dtype_are_refused(door, name):
    rows, index = target_rows(), good(door)[name]
    for bad, came in (
        (np.eye(4, dtype=np.float32)[index], "has shape (6, 4), expected (6, 3)"),
        (rows[:, :2], "has shape (6, 2), expected (6, 3)"),
        (rows[:5], "has shape (5, 3), expected (6, 3)"),
        (rows.astype(np.float64), "has dtype float64, expected target rows of float32"),
        (rows.astype(np.float16), "has dtype float16, expected target rows of float32"),
        (rows.astype(object), "has dtype object"),
        (rows.astype(bool), "has dtype bool"),
        (np.eye(3, dtype=np.int64)[index], "has dtype int64"),
        (index[:, None], "has shape (6, 1), expected class indices (6,) or target rows (6, 3)"),
    ):
        refused(door, good(door) | {name: bad}, name, came)


def test_a_long_row_of_targets_is_not_printed_whole():
    rows = np.ones((1, 5000), np.float32)
    refused(kernels.cross_entropy, {"probabilities": rows, "labels": rows}, None, "row 0 of labels")


# Numbers, keys and flags

NOT_NUMBERS = ["0.1", True, np.True_, None, 1j, np.array(0.1), [0.1] * 1000, float]
NOT_FINITE = [np.nan, np.inf, -np.inf, 1e39, 10**400, 10**5000, np.longdouble("inf")]


@arguments("number")
def test_what_is_no_finite_number_is_refused(door, name):
    for value in NOT_NUMBERS + NOT_FINITE:
        refused(door, good(door) | {name: value}, name, "expected a finite number")


def test_a_number_that_is_finite_in_the_dtype_is_taken():
    args = good(kernels.sgd_update, np.float64) | {"learning_rate": 1e39}
    kernels.sgd_update(**args)
    assert np.isfinite(args["weights"]).all()


def test_a_negative_learning_rate_is_refused():
    args = good(kernels.sgd_update)
    for rate in (-1, -1e-300, np.float32(-0.1), np.int8(-128), -(10**5000)):
        came = "expected a finite number of at least 0"
        refused(kernels.sgd_update, args | {"learning_rate": rate}, "learning_rate", came)


@pytest.mark.parametrize("rate", [1, 0, np.int64(1), np.uint8(1), np.float16(1), np.float64(1)])
def test_any_real_number_is_a_learning_rate(rate):
    args = good(kernels.sgd_update)
    expected = args["weights"] - np.float32(rate) * args["dweights"]
    kernels.sgd_update(**args | {"learning_rate": rate})
    np.testing.assert_array_equal(args["weights"], expected)


@arguments("uint64")
def test_a_key_is_an_integer_of_64_bits(door, name):
    for value in (-1, 2**64, np.int64(-1), 10**5000, 1.0, "1", None, True, np.array(1)):
        came = "expected an integer from 0 to 18446744073709551615"
        refused(door, good(door) | {name: value}, name, came)


@arguments("uint64")
def test_every_integer_of_64_bits_is_a_key(door, name):
    bits = set()
    for value in (0, 1, 2**63, 2**64 - 1):
        for form in (value, np.uint64(value)):
            args = good(door) | {name: form}
            door(**args)
            bits.add(args["out"].tobytes())
    assert len(bits) == 4


@arguments("flag")
def test_a_flag_is_true_or_false(door, name):
    for value in (0, 1, None, "yes", 1.0, np.array(True), [True]):
        refused(door, good(door) | {name: value}, name, "expected True or False")
    door(**good(door) | {name: np.False_})


# The call itself


@each_door
def test_missing_surplus_and_unknown_arguments_are_refused(door):
    args = good(door)
    first, *rest = args.values()
    for call in (
        lambda: door(),
        lambda: door(first, *rest, None),
        lambda: door(**args, surplus=None),
        lambda: door(first, **args),
    ):
        # `matmul` is a function of its own, and Python names it in its own way.
        with pytest.raises(TypeError, match=rf"^(kernels\.{door.__name__}: |matmul\(\) )"):
            call()


# What only the layers ask


def test_anything_that_holds_real_numbers_becomes_one_array():
    for value in ([[1, 2]], ((1, 2),), np.array([[1, 2]], ">i2"), np.array([[1, 2]], "f2")):
        taken = checks.real("Place", "x", value, np.dtype(np.float32))
        assert taken.dtype == np.float32
        assert taken.tolist() == [[1, 2]]
    for bad in (
        "text",
        None,
        [[1], [1, 2]],
        [[1j]],
        np.array([None]),
        np.ma.array([1.0]),
        object(),
    ):
        with pytest.raises(TypeError, match=r"^Place: x .*expected"):
            checks.real("Place", "x", bad, np.dtype(np.float32))


def test_a_dtype_is_one_of_two():
    for good_name in ("float32", np.float64, np.dtype("f4")):
        assert checks.real_dtype("Place", good_name) == np.dtype(good_name)
    for bad in ("float16", "number", None, int, 32):
        with pytest.raises(ValueError, match=r"^Place: dtype is .*expected 'float32' or 'float64'"):
            checks.real_dtype("Place", bad)
