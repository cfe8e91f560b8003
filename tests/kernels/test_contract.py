"""The one line that says what a kernel takes: its grammar, and the nonsense that it refuses."""

import inspect

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
    "labels before their scores": ("y [n < k], x (n, k)", ["y", "x"]),
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
