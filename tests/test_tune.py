"""The script that tries block sizes beside their neighbours."""

import sys
from pathlib import Path

import numpy as np
import pytest

import kernels

sys.path.insert(0, str(Path(__file__).parents[1]))
from asv_benchmarks import tune
from asv_benchmarks.products import Shape, operands
from kernels.product import plan

SHAPE = Shape(70, 200, 50, transpose_a=True)


def test_neighbours_are_other_sizes_and_nothing_stays_changed():
    before = {name: getattr(plan, name) for name in tune.NEIGHBOURS}
    for name in tune.NEIGHBOURS:
        values = list(tune.neighbours(name))
        assert values
        assert before[name] not in values
    shape = Shape(1024, 3 * plan.DEPTH, 1024)
    assert tune.plan_by(shape, "float32", DEPTH=plan.DEPTH // 2).depth < plan.DEPTH // 2 + 4
    assert tune.plan_by(shape, "float32").depth == plan.DEPTH
    assert before == {name: getattr(plan, name) for name in tune.NEIGHBOURS}


@pytest.mark.compiled
def test_a_product_by_another_plan_has_the_same_bits_and_is_timed(monkeypatch, capsys):
    a, b, out, other = operands(SHAPE, "float32")
    kernels.matmul(a, b, out, transpose_a=True)
    chosen = tune.plan_by(SHAPE, "float32")
    given = tune.plan_by(SHAPE, "float32", FAR_STEP_OF_A=1, FAR_PAGES=1, CHUNK=16, DEPTH=64)
    assert chosen.a_bytes == 0 < given.a_bytes
    tune.planned(a, b, *given, 1, other)
    np.testing.assert_array_equal(other, out)

    monkeypatch.setattr(tune, "SHAPES", (SHAPE,))
    monkeypatch.setattr(sys, "argv", ["tune.py", "DIRECT_CHUNK", "--seconds", "0"])
    assert tune.main() in (0, 1)
    shown = capsys.readouterr().out
    assert "DIRECT_CHUNK" in shown
    assert "the goal is 3% at most" in shown


def test_an_unknown_choice_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tune.py", "WIDTH"])
    with pytest.raises(SystemExit, match="2"):
        tune.main()
    assert "not WIDTH" in capsys.readouterr().err
