"""`python -m layers bench`: the sides measured and left out, the results, the output."""

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from layers.bench import cases, command, interleaved, machine, report
from layers.bench.interleaved import Effort
from layers.bench.libraries import OURS, SIDES, installed
from layers.bench.processes import Process, SideFailed, _environment
from layers.bench.results import Key, LeftOut, Measured, Results
from layers.bench.verdict import Duel, factor, verdict
from layers.command_line import cli

SMALL, EPOCH, ROW = (cases.CASES[name] for name in ("small", "epoch32", "predict"))


def results_of(*measured, sides=(OURS, "numpy", "torch"), threads=(1, 2)):
    return Results(
        command="python -m layers bench",
        date="2026-01-01 12:00 UTC",
        machine=machine.describe() | {"environment": {}},
        versions=machine.versions(),
        threads=list(threads),
        sides=list(sides),
        measured=list(measured),
    )


def rounds_of(**columns):
    """Rounds from a column of seconds for each ``side_threads``."""
    keys = [Key(*name.rsplit("_", 1)) for name in columns]
    keys = [Key({"ours": OURS}.get(side, side), int(count)) for side, count in keys]
    return [dict(zip(keys, times, strict=True)) for times in zip(*columns.values(), strict=True)]


# --- the verdict ----------------------------------------------------------------------------------


def duels(*ratios, name="NumPy"):
    return [Duel(f"row {index}", name, ratio) for index, ratio in enumerate(ratios)]


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        (
            [Duel("small", "NumPy", 7.0), Duel("large", "PyTorch", 1.9)],
            "On this machine numba-layers trains 1.9 to 7 times as fast as the fastest other "
            "library.",
        ),
        (
            duels(2.0, 2.04),
            "On this machine numba-layers trains 2 times as fast as the fastest other library, "
            "NumPy.",
        ),
        (
            [Duel("small", "NumPy", 7.0), Duel("large", "PyTorch", 0.8)],
            "On this machine numba-layers trains 7 times as fast as the fastest other library, "
            "except large (PyTorch is 1.2 times as fast).",
        ),
        (
            [Duel("small", "NumPy", 3.0), *duels(1.04, 0.5, name="JAX")],
            "On this machine numba-layers trains 3 times as fast as the fastest other library, "
            "except row 0 (level with JAX); row 1 (JAX is 2 times as fast).",
        ),
        (
            duels(0.5, 0.25),
            "On this machine numba-layers trains more slowly than the fastest other library, "
            "NumPy, which is 2 to 4 times as fast: row 0 (NumPy is 2 times as fast); row 1 "
            "(NumPy is 4 times as fast).",
        ),
        (
            duels(1.04, 0.96),
            "On this machine numba-layers trains as fast as the fastest other library, NumPy, "
            "within 5%.",
        ),
        (
            duels(1.0, 0.5),
            "On this machine numba-layers trains as fast as the fastest other library, NumPy, "
            "within 5%, except row 1 (NumPy is 2 times as fast).",
        ),
        ([], "There was nothing to compare numba-layers with on this machine."),
    ],
)
def test_the_verdict_in_words(training, expected):
    assert verdict(training) == expected


def test_the_verdict_on_a_prediction_is_a_sentence_of_its_own():
    both = verdict(duels(2.0), duels(0.5))
    assert both.startswith("On this machine numba-layers trains 2 times as fast as")
    assert both.endswith(
        " It predicts a single row more slowly than the fastest other library, NumPy, which is "
        "2 times as fast: row 0 (NumPy is 2 times as fast)."
    )
    alone = verdict([], duels(3.0))
    assert alone.startswith("On this machine numba-layers predicts a single row 3 times as fast")


def test_programs_by_hand_are_judged_apart():
    both = verdict(duels(2.0), by_hand=[0.784, 1.1])
    assert both.startswith("On this machine numba-layers trains 2 times as fast as")
    assert both.endswith(
        " A program by hand, compiled by Numba on a BLAS, trains in 0.78 to 1.10 times "
        "numba-layers' time."
    )
    measured = Measured(SMALL, rounds_of(ours_1=[2], numpy_1=[4], **{"numba-mkl_1": [1]}))
    (row,) = measured.rows()
    assert (row.fastest.side, row.fastest_by_hand.side) == ("numpy", "numba-mkl")


def test_numbers_in_words():
    assert [factor(number) for number in (1.05, 7.0, 9.94, 9.96, 104.4)] == [
        *("1.1", "7", "9.9", "10", "104")
    ]
    assert [report.times(number) for number in (0.854, 1.99, 1.996, 9.96)] == [
        *("0.85", "1.99", "2.0", "10")
    ]
    seconds = (0.0, 1.234e-6, 99.96e-6, 999.4e-6, 999.6e-6, 0.0123, 1.0, 123.4)
    assert [report.duration(number) for number in seconds] == [
        *("0.00 µs", "1.23 µs", "100 µs", "999 µs", "1.00 ms", "12.3 ms", "1.00 s", "123 s")
    ]


# --- what follows from the rounds -----------------------------------------------------------------


def test_a_ratio_is_taken_round_by_round():
    """The machine is twice as slow in the second round: no ratio may notice."""
    measured = Measured(SMALL, rounds_of(ours_1=[1, 2, 1], numpy_1=[3, 6, 3], torch_1=[2, 9, 2]))
    (row,) = measured.rows()
    assert (row.threads, row.seconds) == (1, 1)
    numpy, torch = row.others
    assert (numpy.seconds, numpy.ratio, numpy.low, numpy.high) == (3, 3, 3, 3)
    assert (torch.ratio, torch.low, torch.high) == (2, 2, 4.5)
    assert row.fastest == torch
    # The median of ratios, not the ratio of medians:
    skew = Measured(SMALL, rounds_of(ours_1=[1, 5, 4], numpy_1=[2, 5, 6]))
    assert next(skew.rows()).others[0].ratio == 1.5
    assert skew.unrest() == 4.5 / 2.5


def test_an_epoch_is_also_compared_with_each_side_at_its_best():
    times = rounds_of(ours_1=[2, 2], ours_2=[1, 1], numpy_1=[3, 3], numpy_2=[4, 4], torch_2=[5, 5])
    one, two, best = Measured(EPOCH, times).rows()
    assert [other.ratio for other in one.others] == [1.5]
    assert [other.ratio for other in two.others] == [4, 5]
    assert (best.threads, best.ours_threads, best.seconds) == (None, 2, 1)
    assert [(other.title, other.threads, other.ratio) for other in best.others] == [
        *(("NumPy", 1, 3), ("PyTorch", 2, 5))
    ]
    assert [row.threads for row in Measured(SMALL, times).rows()] == [1, 2]


def test_the_page_and_the_text_say_the_same():
    results = results_of(
        Measured(SMALL, rounds_of(ours_1=[1e-5] * 4, numpy_1=[4e-5] * 4, torch_1=[3e-4] * 4)),
        Measured(EPOCH, rounds_of(ours_1=[0.2], ours_2=[0.1], numpy_1=[0.1], numpy_2=[0.15])),
    )
    results.left_out = [LeftOut("jax", "", "not installed")]
    results.left_to_full = ["torch.compile", "more rows"]
    page = report.markdown(results, "benchmarks.png")
    assert "![Time of every side beside numba-layers'](benchmarks.png)" in page
    assert f"**{report.judged(results)}**" in page
    assert (
        "except an epoch of 784-128-10, batch 32, each at its best (level with NumPy); "
        "an epoch of 784-128-10, batch 32, on 1 thread (NumPy is 2 times as fast)"
    ) in page
    tables = [line for line in page.splitlines() if line.startswith("| 64-32")]
    assert tables == [
        "| 64-32-10, batch 32 | 1 | 10.0 µs | 40.0 µs (×4.0) | 300 µs (×30) "
        "| NumPy ×4.00 (4.00 to 4.00) |"
    ]
    assert "| best | 100 ms on 2 | 100 ms on 1 (×1.00) |" in page
    assert "- JAX jit: not installed\n" in page
    assert "- torch.compile; more rows: only with --full\n" in page
    assert "20,000 rows instead of 60,000" in page
    assert "busy" not in page
    assert "benchmarks.png" not in report.markdown(results, None)
    assert "\n\n[one](1.md)\n\n[two](2.md)\n\n" in report.markdown(
        results, None, ["[one](1.md)", "[two](2.md)"]
    )
    lines = report.text(results).splitlines()
    assert lines[0] == "One training step: forward, loss, backward and SGD; float32"
    assert lines[2].split() == ["network", "threads", "numba-layers", "NumPy", "PyTorch"]
    assert lines[3].split()[-6:] == ["10.0", "µs", "x", "4.0", "x", "30"]


def test_a_busy_machine_is_said_to_be():
    steady, shaky = rounds_of(ours_1=[1.0] * 4), rounds_of(ours_1=[1.0, 1.0, 2.0, 2.0])
    assert report.busy(results_of(Measured(SMALL, steady))) is None
    results = results_of(Measured(SMALL, steady), Measured(SMALL, shaky))
    assert "2.0 times apart" in report.busy(results)
    assert "This machine was busy" in report.markdown(results, None)


def test_a_page_without_any_other_side():
    results = results_of(Measured(ROW, rounds_of(ours_1=[1e-6])), sides=[OURS])
    assert "There was nothing to compare" in report.markdown(results, None)


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="the picture needs the extra 'plot'")
    from layers.bench import picture

    results = results_of(
        Measured(SMALL, rounds_of(ours_1=[1e-5], numpy_1=[4e-5], torch_1=[3e-6])),
        Measured(EPOCH, rounds_of(ours_1=[0.2], ours_2=[0.1], numpy_1=[0.1], numpy_2=[0.15])),
    )
    picture.draw(results, tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    assert set(picture.STYLES) == set(SIDES) - {OURS}


# --- the cases ------------------------------------------------------------------------------------


def test_the_data_are_the_same_for_all_and_hold_every_class():
    few = cases.with_rows(EPOCH, 800)
    (x, y), (again, _) = cases.data(few), cases.data(few)
    assert (x.shape, x.dtype, y.shape) == ((800, 784), np.float32, (800,))
    assert 0 <= x.min() < 0.1 < 0.9 < x.max() <= 1
    assert set(y) == set(range(10))
    np.testing.assert_array_equal(x, again)
    shapes = [(w.shape, b.shape) for w, b in cases.weights(EPOCH)]
    assert shapes == [((784, 128), (128,)), ((128, 10), (10,))]


def test_a_full_run_has_more_cases_and_longer_epochs():
    short, full = cases.chosen(None, full=False), cases.chosen(None, full=True)
    assert [case.name for case in full if case not in short] == ["large", "epoch32", "epoch200"]
    assert {case.rows for case in full if case.kind == "epoch"} == {60_000}
    assert {case.rows for case in short if case.kind == "epoch"} == {20_000}
    assert cases.chosen(["large"], full=False) == [cases.CASES["large"]]


# --- taking turns, with processes that only pretend -----------------------------------------------


class Pretended:
    """Stands for a process: a side's behaviour is one word."""

    behaviour: ClassVar[dict[str, str]] = {}
    asked: ClassVar[list[str]] = []

    def __init__(self, side, threads):
        self.side, self.turns, self.alive = side, 0, True
        self.how = self.behaviour.get(side, "works")

    def send(self, **request):
        pass

    def receive(self):
        if self.how == "no import":
            raise SideFailed("ImportError: no engine")
        return {"versions": {self.side: "1.0"}}

    def ask(self, do, **request):
        self.asked.append(self.side)
        if do == "prepare":
            return {"numbers": [2.3, 2.2 if self.how != "disagrees" else 2.25]}
        self.turns += 1
        if self.how == "dies" and self.turns == 2:
            self.alive = False
            raise SideFailed("ended by signal 11")
        return {"seconds": 1.0, "number": math.nan if self.how == "diverges" else 2.0}

    def kill(self):
        self.alive = False


@pytest.fixture
def pretend(monkeypatch):
    """Measure two cases with sides that behave so."""

    def pretend(rounds=3, **behaviour):
        names = {name.replace("_", "-"): how for name, how in behaviour.items()}
        monkeypatch.setattr(Pretended, "behaviour", names)
        monkeypatch.setattr(Pretended, "asked", [])
        monkeypatch.setattr(interleaved, "Process", Pretended)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name != "jax" or None)
        results = results_of(sides=[OURS, "numpy", "torch", "jax"], threads=[1])
        done = []
        effort = Effort(rounds, seconds=0.0)
        interleaved.measure(results, [SMALL, ROW], effort, lambda _, n: done.append(n))
        assert sum(done) == 2 * rounds
        return results

    return pretend


def everybody(measured):
    assert all(set(times) == set(measured.rounds[0]) for times in measured.rounds)
    return [key.side for key in measured.rounds[0]]


def test_the_sides_take_turns_forward_and_back(pretend):
    results = pretend(numpy="works")
    small, row = results.measured
    assert everybody(small) == everybody(row) == [OURS, "numpy", "torch"]
    assert Pretended.asked[3:9] == [OURS, "numpy", "torch", "torch", "numpy", OURS]
    assert [str(entry) for entry in results.left_out] == ["JAX jit: not installed"]
    assert results.versions[OURS] == results.versions["torch"] == "1.0"


def test_there_are_fewer_rounds_where_they_take_long(pretend):
    assert [len(measured.rounds) for measured in pretend(rounds=9).measured] == [5, 5]


@pytest.mark.parametrize(
    ("how", "words", "where"),
    [
        ("no import", "ImportError: no engine", "on 1 thread"),
        ("disagrees", "its loss is 2.25 and numba-layers' 2.2", SMALL.title),
        ("diverges", "its loss is nan", SMALL.title),
        ("dies", "ended by signal 11", f"{SMALL.title} and what follows"),
    ],
)
def test_who_fails_is_left_out_with_the_reason(pretend, how, words, where):
    results = pretend(torch=how)
    assert [everybody(each) for each in results.measured] == [[OURS, "numpy"]] * 2
    reasons = [entry for entry in results.left_out if entry.side == "torch"]
    assert where in reasons[0].where
    assert words in reasons[0].reason
    # Whose process lives on is asked again for the next case.
    assert len(reasons) == (1 if how in ("no import", "dies") else 2)


def test_nothing_is_measured_without_ourselves(pretend):
    with pytest.raises(ChildProcessError, match=r"numba-layers could not be measured on 1 thread"):
        pretend(numba_layers="no import")


# --- the processes --------------------------------------------------------------------------------


@pytest.mark.compiled
@pytest.mark.parametrize("side", [side for side, entry in SIDES.items() if not entry.full])
def test_a_side_trains_and_agrees(side):
    """In its process, as the command asks it; a short epoch, so that it does not take long."""
    if not installed(side):
        pytest.skip(f"{SIDES[side].title} is not installed")
    process = Process(side, 1)
    try:
        process.ask(do="start")
        for name in ("epoch32", "predict"):
            case = cases.with_rows(cases.CASES[name], 128)
            if case.kind in SIDES[side].kinds:
                numbers = process.ask(do="prepare", case=name, rows=128)["numbers"]
                assert numbers == pytest.approx(numbers_of(case), rel=1e-4)
                answer = process.ask(do="time")
                assert answer["seconds"] > 0
                assert math.isfinite(answer["number"])
    finally:
        process.kill()


def numbers_of(case):
    """What the sides have to agree on, in float64 and written in another way."""
    x, y = cases.data(case)
    x, y = x[: case.batch].astype(float), y[: case.batch]
    (w1, b1), (w2, b2) = [(w.astype(float), b.astype(float)) for w, b in cases.weights(case)]
    losses, classes = [], []
    for _ in range(2):
        h = np.maximum(x @ w1 + b1, 0)
        z = h @ w2 + b2
        logs = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        losses.append(-logs[np.arange(len(y)), y].mean())
        classes.append(z[0].argmax())
        dz = (np.exp(logs) - np.eye(10)[y]) / len(y)
        dh = dz @ w2.T * (h > 0)
        w2, b2 = w2 - cases.LEARNING_RATE * h.T @ dz, b2 - cases.LEARNING_RATE * dz.sum(axis=0)
        w1, b1 = w1 - cases.LEARNING_RATE * x.T @ dh, b1 - cases.LEARNING_RATE * dh.sum(axis=0)
    return classes[:1] if case.kind == "predict" else losses


THREADS_OF_A_PRODUCT = """
import os, sys
import numpy as np
from layers.bench.libraries import blas

before = len(os.listdir("/proc/self/task"))  # NumPy's BLAS may have threads of its own
sgemm = getattr(blas, sys.argv[1])()
a, c = np.ones((512, 512), np.float32), np.zeros((512, 512), np.float32)
one, out = a.ctypes.data, c.ctypes.data
plain = (blas.BY_ROWS, blas.AS_IT_IS, blas.AS_IT_IS, 512, 512, 512)
sgemm(*plain, 1.0, one, 512, one, 512, 0.0, out, 512)
assert (c == 512).all()
print(1 + len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.compiled
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["mkl", "openblas"])
def test_a_blas_has_as_many_threads_as_it_is_given(name, threads):
    if not installed(f"numba-{name}"):
        pytest.skip(f"{SIDES[f'numba-{name}'].package} is not installed")
    if machine.cpus() < threads:
        pytest.skip("OpenBLAS has no more threads than CPUs")
    # What a user may have set, and what would make MKL compute on one thread.
    environment = os.environ | {"MKL_THREADING_LAYER": "SEQUENTIAL"} | _environment(threads)
    command = [sys.executable, "-P", "-c", THREADS_OF_A_PRODUCT, name]
    ran = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert int(ran.stdout) == threads


def test_a_process_that_ends_says_how(monkeypatch, tmp_path):
    (tmp_path / "sklearn.py").write_text(
        "import os, sys\nprint('so it goes', file=sys.stderr, flush=True)\nos._exit(3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    process = Process("sklearn", 1)
    with pytest.raises(SideFailed, match=r"^ended with code 3: so it goes$"):
        process.ask(do="start")
    assert not process.alive
    process.kill()  # once more does no harm


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.compiled
def test_the_command_measures_and_writes(monkeypatch, tmp_path, capsys):
    (tmp_path / "sklearn.py").write_text("print('noise')\nraise ImportError('no such engine')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "jax", None)  # as where it is not installed
    monkeypatch.chdir(tmp_path)
    options = "--cases small,predict --sides numpy,jax,sklearn --rounds 2 --threads 1 --out folder"
    code = cli.main(["bench", *options.split()])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert "100%" in err
    assert re.search(r"64-32-10, batch 32 +1 +[\d.]+ µs +x [\d.]+\n", out)
    assert "Left out: JAX jit: not installed\n" in out
    assert "Left out: scikit-learn on 1 thread: ImportError: no such engine\n" in out
    assert re.search(r"^On this machine numba-layers trains .* NumPy", out, re.MULTILINE)

    document = json.loads((tmp_path / "folder" / "benchmarks.json").read_text(encoding="utf-8"))
    assert document["command"] == f"python -m layers bench {reordered(options)}"
    assert set(document) == {
        *("command", "date", "machine", "versions", "threads", "sides", "left_out"),
        *("left_to_full", "cases"),
    }
    assert {"cpu", "cores"} <= set(document["machine"])
    assert {"python", "numpy", "numba", "llvmlite", "blas"} <= set(document["versions"])
    assert document["threads"] == [1]
    small, row = document["cases"]
    assert (small["widths"], small["batch"], row["kind"]) == ([64, 32, 10], 32, "predict")
    for case in (small, row):
        keys = [(entry["side"], entry["threads"]) for entry in case["rounds"]]
        assert keys == [(OURS, 1), ("numpy", 1)]
        assert [len(entry["seconds"]) for entry in case["rounds"]] == [2, 2]
        assert all(seconds > 0 for entry in case["rounds"] for seconds in entry["seconds"])
    (result,) = small["results"]
    (other,) = result["others"]
    assert other["low"] <= other["ratio"] <= other["high"]

    page = (tmp_path / "folder" / "benchmarks.md").read_text(encoding="utf-8")
    assert page.startswith("# Beside NumPy, PyTorch, JAX and scikit-learn\n")
    assert "| network | threads | numba-layers | NumPy | fastest library |" in page
    assert re.search(
        r"\| 64-32-10, batch 32 \| 1 \| [\d.]+ µs \| [\d.]+ µs \(×[\d.]+\) \| NumPy ×", page
    )
    drawn = (tmp_path / "folder" / "benchmarks.png").exists()
    assert drawn == (importlib.util.find_spec("matplotlib") is not None)
    assert drawn == ("](benchmarks.png)" in page)


def test_links_to_pages_nearby(tmp_path):
    assert command._links(tmp_path) == []
    (tmp_path / "history.md").touch()
    machine_of = {"cpu": "One", "llvm_cpu": "znver3", "cores": 2}
    contents = {
        "other": json.dumps({"machine": machine_of}),
        "asv": json.dumps({"benchmark": {}}),
        "list": "[1]",
        "torn": '{"machine": {',
    }
    for name, text in contents.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "benchmarks.json").write_text(text, encoding="utf-8")
    assert command._links(tmp_path) == [
        report.HISTORY,
        "[The same on another machine: One (znver3), 2 cores](other/benchmarks.md)",
    ]


def reordered(options):
    """The options in the order in which the command names them."""
    pairs = re.findall(r"--(\w+) (\S+)", options)
    order = ("threads", "cases", "sides", "rounds", "out")
    pairs.sort(key=lambda pair: order.index(pair[0]))
    return " ".join(f"--{name} {value}" for name, value in pairs)


@pytest.fixture
def measured_nothing(monkeypatch):
    """The command line, and what it was about to measure."""
    asked = []

    def measure(results, chosen, effort, _):
        asked.append((results, chosen, effort))
        results.measured = [
            Measured(SMALL, rounds_of(ours_1=[1e-5], numpy_1=[2e-5])) for _ in chosen[:1]
        ]

    monkeypatch.setattr(command, "measure", measure)
    return asked


def test_by_default_nothing_is_written_and_what_is_left_to_full_is_said(
    measured_nothing, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert (err, list(tmp_path.iterdir())) == ("", [])
    assert "torch.compile; 1024-1024-1024-1024-10, batch 512; epochs of 60,000 rows" in out
    assert "fastest other library, NumPy." in out
    assert all(len(line) <= 100 for line in out.splitlines()[:8])
    ((results, chosen, effort),) = measured_nothing
    assert "torch-compile" not in results.sides
    assert results.threads == sorted({1, machine.cores()})
    assert "large" not in [case.name for case in chosen]
    assert effort == command._SHORT

    assert cli.main(["bench", "--quiet", "--full", "--rounds", "2"]) == 0
    results, chosen, effort = measured_nothing[1]
    assert "torch-compile" in results.sides
    assert "large" in [case.name for case in chosen]
    assert effort == (2, math.inf)
    assert "Left out" not in capsys.readouterr().out


def test_a_picture_needs_matplotlib(measured_nothing, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["bench", "--quiet", "--out", str(tmp_path)]) == 0
    assert command.NO_MATPLOTLIB in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["benchmarks.json", "benchmarks.md"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--cases", "frob"), "--cases has 'frob', expected some of small,batch32,"),
        (("--cases", ""), "--cases has ''"),
        (("--sides", "numpy,theano"), "--sides has 'theano'"),
        (("--threads", "0"), "--threads has '0', expected numbers from 1"),
        (("--threads", "one"), "--threads has 'one'"),
        (("--threads", "1,100000"), "--threads has '100000'"),
        (("--rounds", "0"), "--rounds is 0, expected an integer of at least 1"),
        (("--out", "file"), "file is a file, expected the name of a folder"),
        (("--out", "nowhere/folder"), "there is no folder"),
    ],
)
def test_a_wrong_option_is_refused_by_name(
    options, expected, measured_nothing, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert cli.main(["bench", *options]) == 2
    out, err = capsys.readouterr()
    assert (out, measured_nothing) == ("", [])
    assert re.fullmatch(r"numba-layers: error: [^\n]+\n", err)
    assert expected in err


def test_help_names_the_cases_and_the_sides(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"\b{name}\b", out) for name in [*cases.CASES, *SIDES])
    assert all(len(line) <= 100 for line in out.splitlines())


# --- the machine ----------------------------------------------------------------------------------


def test_the_machine_is_described():
    described = machine.describe()
    assert described["cpu"]
    assert 1 <= described["cores"] <= described["cpus"]
    assert re.match(r"\S+", machine.blas())


def test_twins_of_a_core_come_last(monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(machine, "_siblings", lambda cpu: "0-1" if cpu < 2 else "2-3")
    monkeypatch.setattr(machine.threads, "quota", lambda: None)
    assert machine.one_cpu_per_core() == [0, 2, 1, 3]
    assert (machine.cores(), machine.cpus()) == (2, 4)
    monkeypatch.setattr(machine.threads, "quota", lambda: 1)
    assert (machine.cores(), machine.cpus()) == (1, 1)
