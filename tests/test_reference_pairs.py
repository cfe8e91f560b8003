"""Every public kernel compared with its NumPy twin, on unusual inputs.

The pairs and their bounds come from the table in ``layers/comparison/bounds/``: a new kernel
needs its line there, and its sizes below if its contract has a form that no other kernel's has.
"""

import itertools

import numpy as np
import pytest

from kernels import reference
from kernels.runtime import jit
from layers.comparison import bounds as table
from tests.helpers import check_close
from tests.kernels.doors import backwards, byte_swapped, path_of, read_only, strided, unaligned

# Rows, terms and columns of a product. Tiles are 8 rows by 48 or 24 columns where they are widest
# (AVX-512), of vectors of 16 or 8; tasks are 64 rows; chains are cut at 4,096 terms.
PRODUCTS = (
    *((1, 1, 1), (2, 3, 5), (7, 5, 23), (8, 16, 24), (9, 17, 25), (7, 5, 47), (8, 4, 48)),
    *((9, 3, 49), (63, 31, 15), (64, 2, 16), (65, 33, 97), (31, 13, 17)),
    *((1009, 3, 2), (2, 3, 1009), (3, 5, 2000), (5, 2000, 3), (2000, 2, 7)),
    *((3, 4095, 2), (2, 4096, 3), (9, 4097, 5), (2, 8193, 25)),
)
# Batch and classes, or rows and columns: vectors of 16 along a row.
MATRICES = (
    *((1, 1), (1, 2), (2, 1), (3, 5), (7, 15), (8, 16), (9, 17), (13, 31), (5, 32), (5, 33)),
    *((1009, 3), (2, 1009), (3, 2000), (2000, 7), (4095, 2), (4097, 3), (8193, 1), (2, 5003)),
)
# Elements in one row or more: blocks of 4,096 (exp, log, uniform) and 16,384 (the others).
ELEMENTS = (
    *((1, 1), (1, 15), (1, 16), (1, 17), (3, 5), (13, 31), (1009, 3), (3, 2000), (2000, 1)),
    *((1, 4095), (1, 4096), (1, 4097), (1, 16383), (1, 16384), (1, 16385), (257, 129)),
)
# What a product's sizes are called, by kernel: rows, terms, columns.
PRODUCT_NAMES = {
    "matmul": ("m", "k", "n"),
    "dense_forward": ("batch", "n_in", "n_out"),
    "dense_backward_weights": ("n_in", "batch", "n_out"),
    "dense_backward_inputs": ("batch", "n_out", "n_in"),
    "dense_relu_forward": ("batch", "n_in", "n_out"),
    "dense_backward_parameters": ("n_in", "batch", "n_out"),
    "dense_relu_backward_inputs": ("batch", "n_out", "n_in"),
    "dense_sgd_update": ("n_in", "batch", "n_out"),
}
FLAGS = ("transpose_a", "transpose_b", "accumulate")

LAYOUTS = {
    "C order": lambda array: array,
    "Fortran order": np.asfortranarray,
    "backwards": lambda array: np.flip(np.flip(array).copy()),
    "one axis backwards": backwards,
    "gaps": strided,
    "read-only": read_only,
    "unaligned": unaligned,
    "byte-swapped": byte_swapped,
}
FEW = 100  # elements: every layout up to here, beyond it one in turn

MARGIN = 64  # elements on both sides of an output
UNTOUCHED = 0xA5


def sizes_of(name):
    """All sizes for one kernel, by the names in its contract."""
    if name in PRODUCT_NAMES:
        for sizes in PRODUCTS:
            yield dict(zip(PRODUCT_NAMES[name], sizes, strict=True))
    elif name == "gather_rows":
        for (batch, k), n in zip(MATRICES, itertools.cycle((1, 2, 1009)), strict=False):
            yield {"n": n, "k": k, "batch": batch}
    elif "s" in table.CASES[name].sizes:
        states = table.CASES[name].sizes["s"]
        for rows, columns in ELEMENTS:
            yield {"rows": rows, "columns": columns, "s": states, "q": rows * columns}
    elif name == "permutation":
        yield from ({"n": n} for n in sorted({columns for _, columns in ELEMENTS}))
    else:
        names = tuple(table.CASES[name].sizes)
        shapes = ELEMENTS if names == ("rows", "columns") else MATRICES
        for sizes in dict.fromkeys(shape[: len(names)] for shape in shapes):
            yield dict(zip(names, sizes, strict=True))


def variants(name, sizes):
    """Further forms of a call: flags, and labels as rows of targets."""
    kinds = {argument.kind for argument in jit.PUBLIC[name].contract.arguments}
    if "flag" in kinds:
        for flags in itertools.product((0, 1), repeat=len(FLAGS)):
            yield sizes | dict(zip(FLAGS, flags, strict=True))
    elif "labels" in kinds:
        yield from (sizes | {"target rows": form} for form in (0, 1))
    else:
        yield sizes


def calls():
    for name in sorted(jit.PUBLIC):
        if name not in table.CASES:
            continue  # test_every_public_kernel_is_in_the_table says so
        for sizes in sizes_of(name):
            text = "x".join(map(str, sizes.values()))
            for dtype in (np.float32, np.float64):
                yield pytest.param(name, sizes, dtype, id=f"{name}-{text}-{dtype.__name__}")


def drawn(name, sizes, dtype):
    """Arguments for a call; some of a target row are 0."""
    rng = np.random.default_rng(list(sizes.values()))
    given = table.arguments(name, sizes, dtype, rng)
    if sizes.get("target rows"):
        shape = (sizes["batch"], sizes["n_classes"])
        targets = rng.random(shape) * (rng.random(shape) < 0.5)
        targets[:, rng.integers(shape[1])] += 0.1
        given["labels"] = (targets / targets.sum(axis=1, keepdims=True)).astype(dtype)
    return given


class Framed:
    """A copy of an array with a margin on both sides that nobody may write to."""

    def __init__(self, values):
        margin = MARGIN * values.itemsize
        self.room = np.full(2 * margin + values.nbytes, UNTOUCHED, np.uint8)
        inside = self.room[margin : margin + values.nbytes]
        self.margins = self.room[:margin], self.room[margin + values.nbytes :]
        self.array = inside.view(values.dtype).reshape(values.shape)
        self.array[...] = values

    def untouched(self):
        return all((margin == UNTOUCHED).all() for margin in self.margins)


def through_the_door(name, given, change=lambda array: array):
    """Results of the checked kernel on inputs in another layout, which it leaves alone."""
    door = jit.PUBLIC[name]
    outputs = {argument.name for argument in door.contract.arguments if argument.is_output}
    taken, frames, before = {}, {}, {}
    for key, value in given.items():
        if key in outputs:
            frames[key] = Framed(value)
            taken[key] = frames[key].array
        elif isinstance(value, np.ndarray):
            taken[key] = change(value.copy())
            before[key] = taken[key].tobytes()
        else:
            taken[key] = value
    returned = door(**taken)
    for key, content in before.items():
        assert taken[key].tobytes() == content, f"{name} changed its input {key}"
    for key, frame in frames.items():
        assert frame.untouched(), f"{name} wrote beyond {key}"
    written = [frame.array for frame in frames.values()]
    return written if returned is None else [*written, np.asarray(returned)]


def layouts(given, turn):
    """Every layout where the arrays are small, else C order and one in turn."""
    size = sum(value.size for value in given.values() if isinstance(value, np.ndarray))
    if size <= FEW:
        return LAYOUTS
    names = ("C order", list(LAYOUTS)[turn % len(LAYOUTS)])
    return {name: LAYOUTS[name] for name in names}


def same_bits(some, others):
    return all(one.tobytes() == other.tobytes() for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize(("name", "sizes", "dtype"), list(calls()))
def test_a_kernel_and_its_twin_are_within_their_bound(name, sizes, dtype):
    for form in variants(name, sizes):
        given = drawn(name, form, dtype)
        expected = table.results(name, getattr(reference, name), given)
        bounds = table.bounds(name, given)
        plain = through_the_door(name, given)
        for got, twin, bound in zip(plain, expected, bounds, strict=True):
            check_close(got, twin, bound, f"{name}, {form}")
        for layout, change in layouts(given, sum(sizes.values())).items():
            assert same_bits(through_the_door(name, given, change), plain), (layout, form)


@pytest.mark.parametrize("name", [*PRODUCT_NAMES, "column_sum"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_of_small_whole_numbers_are_exact(name, dtype):
    """Their bound is 0, however long they are: one term too few is seen at any k."""
    for sizes in sizes_of(name):
        for form in variants(name, sizes):
            given = drawn(name, form, dtype)
            for key, value in given.items():
                if isinstance(value, np.ndarray):
                    given[key] = np.clip(np.rint(2 * value), -4, 4)
            if "learning_rate" in given:
                given["learning_rate"] = 0.5  # halves of them are exact too
            expected = table.results(name, getattr(reference, name), given)
            for got, twin in zip(through_the_door(name, given), expected, strict=True):
                check_close(got, twin, 0, f"{name}, {form}")


each_pair = pytest.mark.parametrize("name", sorted(table.CASES))
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def small(name, dtype):
    """A few odd sizes of a kernel, in all forms."""
    for sizes in itertools.islice(sizes_of(name), 1, 12, 3):
        for form in variants(name, sizes):
            yield form, drawn(name, form, dtype)


@each_pair
@each_dtype
@pytest.mark.parametrize("planted", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_come_out_where_the_twin_has_them(name, dtype, planted):
    floating = [
        argument.name
        for argument in jit.PUBLIC[name].contract.arguments
        if argument.kind in ("matrix", "any_shape")
        and not (argument.is_output and "out" in argument.name)
    ]
    for form, given in small(name, dtype):
        for key in floating:
            odd = given | {key: given[key].copy()}
            odd[key].flat[odd[key].size // 2] = planted
            with np.errstate(all="ignore"):
                expected = table.results(name, getattr(reference, name), odd)
            bounds = table.bounds(name, odd)
            for got, twin, bound in zip(through_the_door(name, odd), expected, bounds, strict=True):
                check_close(got, twin, bound, f"{name}, {planted} in {key}, {form}")


@each_pair
@pytest.mark.parametrize(
    ("dtype", "exponent"),
    [(np.float32, e) for e in (-145, -75, 4, 10)] + [(np.float64, e) for e in (-1065, -535, 4, 10)],
)
def test_the_bound_holds_for_very_small_and_for_large_numbers(name, dtype, exponent):
    """Where numbers, or products of two of them, fall below the normal ones; exp and its edges."""
    contract = jit.PUBLIC[name].contract
    for form, given in small(name, dtype):
        for argument in contract.arguments:
            if argument.kind in ("matrix", "any_shape"):
                given[argument.name] = np.ldexp(given[argument.name], exponent)
        expected = table.results(name, getattr(reference, name), given)
        bounds = table.bounds(name, given)
        for got, twin, bound in zip(through_the_door(name, given), expected, bounds, strict=True):
            check_close(got, twin, bound, f"{name}, times 2^{exponent}, {form}")


@pytest.mark.compiled
@pytest.mark.parametrize(
    "name", [name for name, door in jit.PUBLIC.items() if path_of(door, "serial")]
)
@each_dtype
def test_both_compiled_twins_have_the_bits_of_the_door(name, dtype):
    twins = [path_of(jit.PUBLIC[name], path) for path in ("serial", "parallel")]
    large = list(sizes_of(name))[-1]
    for _, given in [*small(name, dtype), (large, drawn(name, large, dtype))]:
        plain = through_the_door(name, given)
        for function in filter(None, twins):
            assert same_bits(table.results(name, function, given), plain)


def test_every_public_kernel_is_in_the_table():
    assert set(table.CASES) == set(jit.PUBLIC)


# The judge itself


@pytest.mark.parametrize(
    ("got", "message"),
    [
        (np.ones((2, 1)), "shape"),
        (np.ones(2, np.float32), "dtype"),
        (np.array([1, np.nan]), r"NaN differs in 1 places, first at \(1,\)"),
        (np.array([1, -np.inf]), "-Inf differs"),
        (np.array([1.05, 1.2]), r"1 of 2 .* the worst at \(1,\)"),
    ],
)
def test_what_is_not_close_is_said(got, message):
    with pytest.raises(AssertionError, match=message):
        check_close(got, np.ones(2), 0.1)


def test_a_bound_of_nan_holds_nothing():
    with pytest.raises(AssertionError, match="outside"):
        check_close(np.ones(2), np.ones(2), np.nan)
    check_close(np.array([np.nan, np.inf]), np.array([np.nan, np.inf]), np.nan)
