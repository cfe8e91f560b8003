"""The contract of a kernel: its grammar, and the errors of invalid ones."""

import inspect
import tracemalloc

import numpy as np
import pytest

from kernels.runtime import contracts


def contract(text: str, *parameters: str) -> contracts.Contract:
    def function():
        pass

    function.__signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in parameters]
    )
    return contracts.Contract(function, text)


def forms(text: str, *parameters: str) -> list[tuple[str, str, tuple[int | str, ...]]]:
    parsed = contract(text, *parameters)
    return [(argument.name, argument.kind, argument.sizes) for argument in parsed.arguments]


def test_a_contract_is_read():
    assert forms("x (batch, n), b (1, n) -> out (batch, 1)", "x", "b", "out") == [
        ("x", "matrix", ("batch", "n")),
        ("b", "matrix", (1, "n")),
        ("out", "matrix", ("batch", 1)),
    ]
    assert forms("x (...), rate >= 0.5, key uint64, low number", "x", "rate", "key", "low") == [
        ("x", "any_shape", ()),
        ("rate", "number", ()),
        ("key", "uint64", ()),
        ("low", "number", ()),
    ]
    assert forms("x (n, c), y [n < c], rows <k < n> -> out <k>", "x", "y", "rows", "out") == [
        ("x", "matrix", ("n", "c")),
        ("y", "labels", ("n",)),
        ("rows", "indices", ("k",)),
        ("out", "indices", ("k",)),
    ]


def test_a_contract_says_more_than_kinds_and_sizes():
    a, transpose, rate, y, out = contract(
        "a (m, k; transpose), transpose flag, rate >= 0.5, y [m < k] -> out (m, k)",
        *("a", "transpose", "rate", "y", "out"),
    ).arguments
    assert a.swap == "transpose"
    assert transpose.kind == "flag"
    assert rate.minimum == 0.5
    assert y.below == "k"
    assert [argument.is_output for argument in (a, transpose, rate, y, out)] == [False] * 4 + [True]


def test_arguments_are_in_the_order_of_the_function():
    parsed = contract("b (n, m) -> a (m, n)", "a", "b")
    assert [argument.name for argument in parsed.arguments] == ["a", "b"]
    assert parsed.arguments[0].is_output


NONSENSE = {
    "no form": ("x", ["x"]),
    "an unknown form": ("x (batch, n, k)", ["x"]),
    "a form of one size": ("x (n)", ["x"]),
    "an open bracket": ("x (batch, n", ["x"]),
    "a word": ("x matrix", ["x"]),
    "another comparison": ("x (n, k), rate > 0", ["x", "rate"]),
    "no number": ("x (n, k), rate >= zero", ["x", "rate"]),
    "two arrows": ("x (n, k) -> y (n, k) -> z (n, k)", ["x", "y", "z"]),
    "a parameter without a form": ("x (n, k)", ["x", "out"]),
    "a form without a parameter": ("x (n, k) -> out (n, k)", ["x"]),
    "an argument twice": ("x (n, k), x (k, n)", ["x"]),
    "labels below nothing known": ("x (n, k), y [n < c]", ["x", "y"]),
    "labels of a batch not known": ("x (n, k), y [batch < k]", ["x", "y"]),
    "indices below nothing known": ("x (n, k), rows <m < c>", ["x", "rows"]),
    "a swap by no flag": ("a (m, k; turn)", ["a"]),
    "a swap by a number": ("a (m, k; turn), turn number", ["a", "turn"]),
    "a flag written to": ("x (n, k) -> turn flag", ["x", "turn"]),
    "a number written to": ("x (n, k) -> rate >= 0", ["x", "rate"]),
    "labels written to": ("x (n, k) -> y [n < k]", ["x", "y"]),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_a_contract_that_makes_no_sense_is_refused(case):
    text, parameters = NONSENSE[case]
    with pytest.raises(ValueError, match=r"contract|nothing to check|cannot be written|float"):
        contract(text, *parameters)


def test_a_size_named_twice_is_one_size():
    square = contract("a (n, n) -> out (n, 1)", "a", "out")
    out = np.zeros((3, 1))
    square.check((np.zeros((3, 3)), out), {})
    with pytest.raises(ValueError, match=r"a has shape \(3, 4\), expected \(3, 3\)"):
        square.check((np.zeros((3, 4)), out), {})
    with pytest.raises(ValueError, match=r"out has shape \(2, 1\), expected \(3, 1\)"):
        square.check((np.zeros((3, 3)), out[:2]), {})


def test_a_flag_swaps_the_sizes_of_a_matrix():
    product = contract("a (m, k; turn), turn flag -> out (m, k)", "a", "turn", "out")
    a, out = np.zeros((2, 3)), np.zeros((3, 2))
    product.check((a, True, out), {})
    with pytest.raises(ValueError, match=r"out has shape \(3, 2\), expected \(2, 3\)"):
        product.check((a, False, out), {})


def test_shapes_are_compared_before_anything_is_copied():
    """Numbers that are all one place in memory, and many if they were copied."""
    text = "x (n, k), y [n < k], z (...) -> out (n, k)"
    labelled = contract(text, "x", "y", "z", "out")
    x = np.broadcast_to(np.float32(0.5), (2**20, 2))
    tracemalloc.start()
    for y, out in ((x, np.zeros((2**20, 3), "f4")), (x[1:], np.zeros(x.shape, "f4"))):
        with pytest.raises(ValueError, match=r"(out|y) has shape"):
            labelled.check((x, y, x, out), {})
    assert tracemalloc.get_traced_memory()[1] < 21e6  # the outputs are most of it
    tracemalloc.stop()


def test_labels_and_indices_are_copied():
    """What has been checked is what compiled code reads, whoever writes to the caller's array."""
    labelled = contract("x (n, k), y [n < k], rows <m < n>", "x", "y", "rows")
    for dtype in (np.int64, np.uint8):
        y, rows = np.array([0, 1], dtype), np.array([1, 0, 0], dtype)
        _, taken_y, taken_rows = labelled.check((np.eye(2), y, rows), {})
        y[:] = rows[:] = 9
        assert (taken_y.tolist(), taken_rows.tolist()) == ([0, 1], [1, 0, 0])
        assert taken_y.dtype == taken_rows.dtype == np.int64


def test_there_is_a_signature_for_each_kind_of_labels():
    plain = contract("x (n, k) -> out (n, k)", "x", "out")
    labelled = contract("x (n, k), y [n < k] -> out (n, k)", "x", "y", "out")
    assert len(plain.signatures(np.dtype("f4"))) == 1
    assert len(labelled.signatures(np.dtype("f4"))) == 2
    everything = [*plain.signatures(np.dtype("f4")), *labelled.signatures(np.dtype("f8"))]
    for signature in everything:
        assert [type_.mutable for type_ in signature] == [False] * (len(signature) - 1) + [True]
    for dtype in (np.dtype("f4"), np.dtype("f8")):
        x = np.eye(2, dtype=dtype)
        indices, rows = labelled.signatures(dtype)
        assert labelled.signature_of((x, np.zeros(2, np.int64), x)) == indices
        assert labelled.signature_of((x, x, x)) == rows
