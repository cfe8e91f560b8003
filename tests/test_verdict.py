"""The script that says whether a commit is slower: what it says of times, and one comparison."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "asv_benchmarks"))
import verdict

RELU = "relu_forward, medium"


def finding(name, old, new):
    return verdict.Finding(name, old, new)


def test_the_shortest_turns_count():
    noisy = finding("noisy", [1e-6, 9e-6, 1e-6], [8e-6, 1.01e-6, 3e-6])
    worse = finding("worse", [1e-6, 1.2e-6], [1.15e-6, 3e-6])
    better = finding("better", [2e-6], [1e-6])
    gone = verdict.Finding("gone", left_out="ImportError: no kernels.gone")
    found = [noisy, worse, better, gone]
    assert [each.ratio for each in found] == pytest.approx([1.01, 1.15, 0.5, 1.0])
    assert verdict.slower(found) == [worse]
    lines = verdict.report(found).splitlines()
    assert lines[3] == "| worse | 1.00 | 1.15 | 1.15 **slower** |"
    assert lines[5] == "| gone | | | left out: ImportError: no kernels.gone |"
    assert lines[-1] == "Slower: worse (1.15 times)"
    assert verdict.report([noisy, better]).endswith("\nNothing is slower")


def test_what_looks_slower_is_measured_again(monkeypatch):
    rounds = []

    def measure(findings, old, new, pairs):
        rounds.append(sorted(findings))
        for each in findings.values():
            each.old.append(1.0)
            each.new.append(1.3 if each.name == "slow" or len(rounds) == 1 else 1.0)

    monkeypatch.setattr(verdict, "GATE", {"slow": ("", []), "once": ("", [])})
    monkeypatch.setattr(verdict, "_measure", measure)
    found = verdict.compare(Path(), Path())
    assert rounds == [["once", "slow"]] * 2
    assert [each.name for each in verdict.slower(found)] == ["slow"]


@pytest.mark.parametrize("plant", verdict.PLANTS, ids=lambda plant: plant[0])
def test_each_plant_finds_its_place(plant):
    name, file, old, new = plant
    assert name in verdict.GATE
    text = (verdict.ROOT / "kernels" / file).read_text(encoding="utf-8")
    assert text.count(old) == 1
    assert "SHARE" in new
    with verdict.planted(verdict.ROOT, plant, 7) as copied:
        planted = (copied / "kernels" / file).read_text(encoding="utf-8")
    assert planted == text.replace(old, new.replace("SHARE", "7"))
    compile(planted, file, "exec")


def test_a_plant_is_calibrated(monkeypatch):
    """Of a kernel of which a tenth is call, and whose second time is faster by a half."""
    tried = []

    def measure(findings, old, new, pairs):
        text = (new / "kernels" / "activations.py").read_text(encoding="utf-8")
        tried.append(int(re.search(r"count \* (\d+) // 40", text)[1]))
        (found,) = findings.values()
        found.old.append(1.0)
        found.new.append(1 + 0.45 * tried[-1] / 40)

    monkeypatch.setattr(verdict, "_measure", measure)
    assert verdict.calibrated(verdict.ROOT, verdict.PLANTS[0]) == 13
    assert tried == [6, 13]


@pytest.mark.compiled
def test_a_comparison(monkeypatch, tmp_path):
    """Of the working tree with one that lacks a kernel: processes, turns, and what is left out."""
    gone = ("kernels_elementwise.Gone", [verdict.MEDIUM])
    monkeypatch.setattr(verdict, "GATE", {RELU: verdict.GATE[RELU], "gone": gone})
    monkeypatch.setattr(verdict, "PAIRS", 1)
    monkeypatch.setattr(verdict, "ROUNDS", 2)
    with verdict.tree_of(".") as tree:
        relu, left_out = verdict.compare(tree, tree)
    assert 1e-8 < min(relu.old) < 1e-2
    assert len(relu.old) == len(relu.new) >= 1
    assert left_out.left_out.startswith("AttributeError: ")
