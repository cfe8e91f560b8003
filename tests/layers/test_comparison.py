"""`layers.comparison`: its coverage, that its bounds hold, that a broken bound is reported."""

import importlib.util
import inspect
import math

import numpy as np
import pytest

import kernels
import layers
from kernels import reference
from kernels.runtime import jit, threads
from layers.comparison import compare

pytestmark = pytest.mark.compiled

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
STEP = "training step"


def row_of(rows, name):
    return next(row for row in rows if row.name == name)


@each_dtype
@pytest.mark.parametrize("seed", [0, 1])
def test_every_kernel_and_a_step_are_within_their_bounds(dtype, seed):
    rows = compare.compare(dtype, seed, timed=False)
    assert [row.name for row in rows] == [*sorted(jit.PUBLIC), STEP]
    assert all(row.ok and 0 <= row.share <= 1 and row.ratio is None for row in rows)
    assert compare.report(rows).splitlines()[-1].startswith(f"All {len(rows)} bounds hold")


def test_the_package_has_it_under_a_name_of_its_own():
    assert layers.compare(timed=False) == compare.compare(timed=False)
    given, own = (
        [(each.name, each.default) for each in inspect.signature(function).parameters.values()]
        for function in (layers.compare, compare.compare)
    )
    assert given == own


def test_the_seed_makes_the_inputs():
    first, again, other = (compare.compare("float32", seed, timed=False) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_times_are_taken_of_both_sides():
    rows = compare.compare("float32")
    assert all(row.ratio > 0 for row in rows)
    # NumPy shuffles in a Python loop, which no noise of the machine makes up for.
    assert row_of(rows, "permutation").ratio > 2


@pytest.mark.parametrize("limit", [None, 1, 2])
def test_the_limit_of_threads_is_as_before(limit):
    kernels.set_num_threads(limit)
    try:
        compare.compare(timed=False)
        assert threads._limit == limit
    finally:
        kernels.set_num_threads(None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "float16"}, "compare: dtype is 'float16', expected 'float32' or 'float64'"),
        ({"seed": -1}, "compare: seed is -1, expected an integer of at least 0"),
    ],
)
def test_what_it_does_not_take_is_said(arguments, message):
    with pytest.raises(ValueError, match=message):
        compare.compare(**arguments)


# Wrong on purpose


def one_term_missing(a, b, out, transpose_a=False, transpose_b=False, accumulate=False):
    reference.matmul(a[:, :-1], b[:-1], out)


def nan_becomes_zero(x, out):
    out[...] = np.where(x > 0, x, 0)
    out[0, 0] = np.nan


def one_class_off(scores, out):
    reference.argmax_rows(scores, out)
    out[0] += 1


def dropped_row(dz, out):
    out[...] = dz[:-1].sum(axis=0)


def longer_step(weights, dweights, learning_rate):
    reference.sgd_update(weights, dweights, 1.001 * learning_rate)


def ten_ulp_off(x, out):
    out[...] = np.exp(x) * (1 + 10 * np.finfo(x.dtype).eps)


WRONG = {
    "matmul": one_term_missing,
    "relu_forward": nan_becomes_zero,
    "argmax_rows": one_class_off,
    "column_sum": dropped_row,
    "sgd_update": longer_step,
    "accuracy": lambda scores, labels: reference.accuracy(scores, labels) + 1 / 256,
    "cross_entropy": lambda p, labels: reference.cross_entropy(p, labels) * len(p) / (len(p) - 1),
    "exp": ten_ulp_off,
}


@each_dtype
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_kernel_is_found_and_named(monkeypatch, name, dtype):
    monkeypatch.setattr(jit.PUBLIC[name], "bare", WRONG[name])
    rows = compare.compare(dtype, timed=False)
    assert [row.name for row in rows if not row.ok] == [name]
    assert row_of(rows, name).share > 1
    assert compare.report(rows).splitlines()[-1] == f"1 of {len(rows)} bounds is broken: {name}."


def without_batch(probabilities, labels, out):
    batch = len(probabilities)
    softmax_minus_target(probabilities, labels, out)
    out *= batch


def upside_down(dz, weights, out):
    out[...] = -(dz @ weights.T)


softmax_minus_target = reference.softmax_minus_target
# Twins of fused kernels, which call the twins of their parts.
FUSED = {
    "column_sum": ["dense_backward_parameters"],
    "dense_backward_inputs": ["dense_relu_backward_inputs"],
    "sgd_update": ["dense_sgd_update"],
    "softmax_minus_target": [
        "smoothed_cross_entropy_gradient",
        "softmax_cross_entropy_gradient",
    ],
}


@each_dtype
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("softmax_minus_target", without_batch),
        ("column_sum", dropped_row),
        ("dense_backward_inputs", upside_down),
        ("sgd_update", lambda weights, dweights, learning_rate: None),
    ],
)
def test_a_wrong_reference_breaks_its_row_and_the_step(monkeypatch, name, wrong, dtype):
    monkeypatch.setattr(reference, name, wrong)
    rows = compare.compare(dtype, timed=False)
    broken = [*sorted([name, *FUSED.get(name, [])]), STEP]
    assert [row.name for row in rows if not row.ok] == broken
    said = compare.report(rows).splitlines()[-1]
    assert said == f"{len(broken)} of {len(rows)} bounds are broken: {', '.join(broken)}."


def test_a_lone_nan_is_an_error_without_limit(monkeypatch):
    monkeypatch.setattr(jit.PUBLIC["relu_forward"], "bare", nan_becomes_zero)
    row = row_of(compare.compare(timed=False), "relu_forward")
    assert math.isinf(row.error)
    assert not row.ok


# The report


def row(name="exp", ratio=None, ok=True):
    return compare.Row(name, "rows 1, columns 2", 1e-7, 2e-7, 0.5, ratio, ok)


def test_the_report_is_a_table():
    text = compare.report([row(), row("matmul", ratio=1.234)])
    header, first, second, blank, threads_line, verdict = text.splitlines()
    assert header.split("  ")[0] == "kernel"
    assert " ".join(first.split()) == "exp rows 1, columns 2 1.0e-07 2.0e-07 0.500 -"
    assert second.endswith(" 1.23")
    assert blank == ""
    assert "one thread" in threads_line
    assert verdict.startswith("All 2 bounds hold")


def test_the_report_says_when_blas_had_its_own_threads(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "threadpoolctl" in compare.report([row(ratio=1.0)])
    assert "threadpoolctl" not in compare.report([row()])
