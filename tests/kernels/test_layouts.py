"""No input array is refused for its layout, and no layout changes a bit of the result."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from kernels.runtime import checks
from tests.kernels.doors import (
    ARRAYS,
    FLOATING,
    arguments,
    backwards,
    byte_swapped,
    described,
    each_door,
    each_dtype,
    good,
    lying,
    matrix_class,
    on_disk,
    read_only,
    strided,
    target_rows,
    unaligned,
    with_metadata,
)

LAYOUTS = {
    "strided": strided,
    "Fortran": np.asfortranarray,
    "backwards": backwards,
    "every axis backwards": lambda array: np.flip(np.flip(array).copy()),
    "read-only": read_only,
    "unaligned": unaligned,
    "byte-swapped": byte_swapped,
    "strided and byte-swapped": lambda array: strided(byte_swapped(array)),
    "a lying subclass": lying,
    "a record array": lambda array: array.view(np.recarray),
    "a matrix": matrix_class,
    "with metadata": with_metadata,
}
INTEGERS = ("i1", "u1", "i2", ">i2", "i4", "u4", "q", "u8", ">u8", "Q")


def same_results(door, odd, plain, what="") -> None:
    assert door(**odd) == door(**plain), what
    for argument in door.contract.arguments:
        if argument.is_output:
            one, other = np.asarray(odd[argument.name]), plain[argument.name]
            assert one.tobytes() == other.tobytes(), what


@each_door
@each_dtype
def test_arguments_pass_by_position_and_by_name(door, dtype):
    by_name, by_position = good(door, dtype), good(door, dtype)
    assert door(**by_name) == door(*by_position.values())
    for one, other in zip(by_name.values(), by_position.values(), strict=True):
        if isinstance(one, np.ndarray):
            assert one.tobytes() == other.tobytes()


@arguments(*ARRAYS, output=False)
def test_an_input_in_any_layout_gives_the_same_bits(door, name):
    for layout, change in LAYOUTS.items():
        odd = good(door)
        same_results(door, odd | {name: change(odd[name])}, good(door), layout)


@arguments("labels")
def test_target_rows_in_any_layout_give_the_same_bits(door, name):
    for layout, change in LAYOUTS.items():
        plain = good(door) | {name: target_rows()}
        same_results(door, good(door) | {name: change(target_rows())}, plain, layout)


def test_only_what_compiled_code_cannot_read_is_copied():
    """An unaligned array gives the right numbers on many CPUs, so its copy is looked at here."""
    fine = np.arange(6.0).reshape(2, 3)
    assert checks.contiguous(fine) is fine
    frozen = read_only(fine)
    assert checks.contiguous(frozen) is frozen
    for change in (strided, np.asfortranarray, backwards, unaligned, byte_swapped):
        copy = checks.contiguous(change(fine))
        assert copy.flags.c_contiguous
        assert copy.flags.aligned
        assert copy.dtype.isnative
        np.testing.assert_array_equal(copy, fine)


@arguments(*FLOATING, "indices", output=True)
def test_an_output_may_be_of_a_subclass(door, name):
    for change in (lying, matrix_class, with_metadata):
        odd = good(door)
        same_results(door, odd | {name: change(odd[name])}, good(door), change.__name__)


@arguments(*ARRAYS)
def test_arrays_on_disk_give_the_same_bits(door, name, tmp_path):
    changes = [np.array] if described(door, name).is_output else [np.array, read_only]
    for change in changes:
        odd = good(door)
        same_results(door, odd | {name: on_disk(change(odd[name]), tmp_path)}, good(door))


@arguments("labels", "indices", output=False)
def test_indices_of_any_integer_dtype_give_the_same_bits(door, name):
    for dtype in INTEGERS:
        odd = good(door)
        same_results(door, odd | {name: odd[name].astype(dtype)}, good(door), dtype)


@arguments("matrix", only=lambda door, argument: argument.sizes[0] == 1)
def test_a_row_may_be_given_flat(door, name):
    odd, plain = good(door), good(door)
    odd[name] = odd[name].reshape(-1)
    same_results(door, odd, plain)


@arguments(*FLOATING)
def test_strides_that_are_never_used_do_not_matter(door, name):
    """NumPy calls a single row C-contiguous whatever its stride says."""
    odd, plain = good(door), good(door)
    for args in (odd, plain):
        for argument in door.contract.arguments:
            if argument.kind == "any_shape":
                args[argument.name] = args[argument.name][:1].copy()
            if argument.sizes == ("s", "q"):  # an optimizer's states, of each weight
                args[argument.name] = args[argument.name][:, :5].copy()
            for axis, size in enumerate(argument.sizes):
                if argument.kind in ARRAYS and size in ("batch", "m", "n_classes"):
                    args[argument.name] = args[argument.name].take([0], axis)
            if argument.kind in ("labels", "indices"):
                args[argument.name] = np.zeros_like(args[argument.name])
    strides = [
        2**40 + 1 if size == 1 else stride
        for size, stride in zip(odd[name].shape, odd[name].strides, strict=True)
    ]
    odd[name] = as_strided(odd[name], strides=strides)
    same_results(door, odd, plain)


@arguments("any_shape", output=True)
@pytest.mark.parametrize("shape", [(), (30,), (2, 3, 5), (1, 30, 1), (0,), (3, 0, 2), (1,) * 32])
def test_elementwise_kernels_take_any_shape(door, name, shape):
    size = int(np.prod(shape))
    odd, plain = good(door), good(door)
    for argument in door.contract.arguments:
        if argument.kind == "any_shape":
            flat = odd[argument.name].reshape(-1)[:size].copy()
            odd[argument.name] = flat.reshape(shape)
            plain[argument.name] = flat.reshape(1, size).copy()
        if argument.sizes == ("s", "q"):  # an optimizer's states, of each weight
            odd[argument.name] = odd[argument.name][:, :size].copy()
            plain[argument.name] = odd[argument.name].copy()
    same_results(door, odd, plain)
