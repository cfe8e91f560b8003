"""The script that decides whether a commit is slower: its verdict on times, and a comparison."""

import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "asv_benchmarks"))
import verdict

RELU = "relu_forward, medium"


def finding(name, *ratios):
    return verdict.Finding(name, [1e-6] * len(ratios), list(ratios))


def test_a_report():
    noisy = finding("noisy", 1.01, 0.7, 1.3, 0.9)
    worse = finding("worse", *[1.15] * 7, 1.2, 1.01, 1.25, 1.1)
    better = finding("better", 0.5, 0.5, 0.5)
    gone = verdict.Finding("gone", left_out="ImportError: no kernels.gone")
    found = [noisy, worse, better, gone]
    assert [each.ratio for each in found] == pytest.approx([0.955, 1.15, 0.5, 1.0])
    assert verdict.slower(found) == [worse]
    lines = verdict.report(found).splitlines()
    assert lines[3] == "| worse | 1.00 | 1.15 **slower** | 10 of 11 |"
    assert lines[5] == "| gone | | left out: ImportError: no kernels.gone | |"
    assert lines[-1] == "Slower: worse (1.15 times)"
    assert verdict.report([noisy, better]).endswith("\nNothing is slower")


@pytest.mark.parametrize(
    ("votes", "is_slower", "is_open"),
    [
        ("", False, True),
        ("--", False, True),
        ("---", False, False),
        ("+++++++", False, True),
        ("++++++++", True, False),
        ("-++++++++", False, True),
        ("-++++++++++", True, False),
        ("-+-+-+", False, True),
        ("-+-" * 4, False, False),
        ("+-+" * 10, False, False),  # as many as there may be
    ],
)
def test_votes_until_they_suffice(votes, is_slower, is_open):
    found = finding("one", *[1.2 if vote == "+" else 1.05 for vote in votes])
    assert (found.is_slower, found.is_open) == (is_slower, is_open)


@pytest.mark.parametrize(("noise", "slower_by", "wrong"), [(0.1, 1, 0.005), (0.08, 1.15, 0.05)])
def test_how_often_it_is_wrong(monkeypatch, noise, slower_by, wrong):
    """Where pairs are off by about a tenth."""
    random = np.random.Generator(np.random.PCG64(6))

    def measure(findings, old, new, number):
        for each in findings:
            each.old.append(1.0)
            each.ratios.append(slower_by * math.exp(noise * random.standard_normal()))

    monkeypatch.setattr(verdict, "_measure_pair", measure)
    findings = verdict.compare(Path(), Path(), {str(n): ("", []) for n in range(2000)})
    share = len(verdict.slower(findings)) / 2000
    assert (share if slower_by == 1 else 1 - share) <= wrong


def test_only_what_is_open_is_measured_on(monkeypatch):
    measured = []

    def measure(findings, old, new, number):
        measured.append([each.name for each in findings])
        for each in findings:
            each.old.append(1.0)
            each.ratios.append(1.3 if each.name == "slow" else 1.0)

    monkeypatch.setattr(verdict, "_measure_pair", measure)
    found = verdict.compare(Path(), Path(), {"slow": ("", []), "same": ("", [])})
    assert measured == [["slow", "same"]] * 3 + [["slow"]] * 5
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

    def measure(findings, old, new, number):
        text = (new / "kernels" / "operation_loops.py").read_text(encoding="utf-8")
        tried.append(int(re.search(r"columns \* (\d+) // 40", text)[1]))
        findings[0].ratios.append(1 + 0.45 * tried[-1] / 40)

    monkeypatch.setattr(verdict, "_measure_pair", measure)
    assert verdict.calibrated(verdict.ROOT, verdict.PLANTS[0]) == 13
    assert list(dict.fromkeys(tried)) == [6, 13]


def test_what_cannot_be_done(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["verdict.py", "no-such-commit", "."])
    assert verdict.main() == 2
    assert capsys.readouterr().err.startswith("verdict: 'no-such-commit' is no commit that git ")
    monkeypatch.setattr(sys, "argv", ["verdict.py", "--trust", "0"])
    with pytest.raises(SystemExit, match="2"):
        verdict.main()
    assert "--trust is 0, expected at least 1" in capsys.readouterr().err


def test_a_tree_that_cannot_be_imported(tmp_path, capfd):
    (tmp_path / "kernels.py").write_text("1 +\n")
    with pytest.raises(RuntimeError, match=r"has ended at kernels_matmul\.Square, see above"):
        verdict.compare(tmp_path, tmp_path, {"one": ("kernels_matmul.Square", [16])})
    assert "SyntaxError" in capfd.readouterr().err


@pytest.mark.compiled
def test_a_comparison(monkeypatch, tmp_path):
    """Of the working tree with one that lacks a kernel: processes, turns, and what is left out."""
    gone = ("kernels_elementwise.Gone", [verdict.MEDIUM])
    monkeypatch.setattr(verdict, "GATE", {RELU: verdict.GATE[RELU], "gone": gone})
    monkeypatch.setattr(verdict, "MOST_PAIRS", 1)
    monkeypatch.setattr(verdict, "ROUNDS", 2)
    with verdict.tree_of(".") as tree:
        relu, left_out = verdict.compare(tree, tree)
    assert 1e-8 < min(relu.old) < 1e-2
    assert len(relu.old) == len(relu.ratios) == 1
    assert 0.01 < relu.ratio < 100
    assert left_out.left_out.startswith("AttributeError: ")
