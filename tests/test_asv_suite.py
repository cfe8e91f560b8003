"""The asv suite: each benchmark is set up, is compiled before, and runs; the scripts' messages."""

import importlib
import inspect
import itertools
import json
import os
import pkgutil
import re
import sys
from pathlib import Path

import pytest

import kernels
from layers.timing import timed

sys.path.insert(0, str(Path(__file__).parents[1] / "asv_benchmarks"))
import benchmarks
import record
from benchmarks import in_turns, peers

SUITE = Path(record.__file__).parent
MEASURES = ("time_", "track_", "timeraw_")
LEFT_OUT = {"startup.Cold": "compiles the package from nothing, which takes too long here"}


def classes():
    """Those that asv would find, by the name that it gives them."""
    found = {}
    for module in pkgutil.iter_modules(benchmarks.__path__):
        loaded = importlib.import_module(f"benchmarks.{module.name}")
        for name, its in vars(loaded).items():
            own = inspect.isclass(its) and its.__module__ == loaded.__name__
            measures = any(member.startswith(MEASURES) for member in dir(its))
            if own and measures and not name.startswith("_") and not inspect.isabstract(its):
                found[f"{module.name}.{name}"] = its
    return found


FOUND = classes()
SMALLEST = [
    (name, params)
    for name, its in FOUND.items()
    for params in (
        itertools.product(its.params[0], *([each[0]] for each in its.params[1:]))
        if name == "peers.TrainingBesidePeers"
        else [tuple(each[0] for each in getattr(its, "params", []))]
    )
]


@pytest.fixture
def apart(monkeypatch):
    """What a benchmark changes in its process, put back."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(peers, "on_one_cpu", lambda: None)
    monkeypatch.setattr(in_turns.Ratio, "pairs", 1)
    monkeypatch.setattr(in_turns.Growth, "rounds", 1)
    yield
    kernels.set_num_threads(None)


@pytest.mark.compiled
@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize(("name", "params"), SMALLEST, ids=lambda value: str(value))
def test_a_benchmark_runs_and_was_compiled_before(name, params):
    if name in LEFT_OUT:
        pytest.skip(LEFT_OUT[name])
    benchmark = FOUND[name]()
    try:
        getattr(benchmark, "setup", lambda *_: None)(*params)
    except NotImplementedError as reason:
        pytest.skip(str(reason))
    with timed() as timing:
        results = [
            getattr(benchmark, method)(*params)
            for method in dir(benchmark)
            if method.startswith(MEASURES)
        ]
    getattr(benchmark, "teardown", lambda *_: None)(*params)
    assert results
    assert (timing.compiled, timing.loaded) == (0, 0)


@pytest.mark.parametrize("name", FOUND)
def test_the_page_can_name_the_parameters(name):
    params = getattr(FOUND[name], "params", [])
    names = getattr(FOUND[name], "param_names", [])
    assert len(names) == len(params)
    assert all(len(set(map(str, values))) == len(values) for values in params)


def test_the_exponent_of_quadratic_times_is_two():
    assert in_turns.exponent({n: 3e-9 * n**2 for n in (8, 32, 64)}) == pytest.approx(2)
    assert in_turns.exponent({1: 0.8, 2: 0.4, 4: 0.2}) == pytest.approx(-1)


NAMES = [
    f"{name}.{method}({', '.join(map(repr, params))})"
    for name, its in FOUND.items()
    for method in dir(its)
    if method.startswith(MEASURES)
    for params in itertools.product(*getattr(its, "params", []))
]
RUN_BY_CI = re.findall(r"--bench '(.*?)'", (SUITE.parent / ".ci/run").read_text(encoding="utf-8"))


def test_ci_runs_some():
    assert len(RUN_BY_CI) > 1


@pytest.mark.parametrize("pattern", [*record.RECORDED, *RUN_BY_CI])
def test_a_pattern_finds_benchmarks(pattern):
    assert any(re.search(pattern, name) for name in NAMES)


def test_recorded_commits_are_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "0123abcd-virtualenv-py3.11.json").touch()
    (tmp_path / "here" / "4567abcd-existing-py.json").touch()
    commits = [begin + "0" * 32 for begin in ("0123abcd", "4567abcd", "89abcdef")]
    assert record.missing(commits, "here") == commits[1:]
    assert record.missing(commits, "elsewhere") == commits


def test_the_latest_that_are_not_recorded(monkeypatch):
    asked = []

    def run(commits, machine, whole):
        assert machine == "here"
        asked.append((commits, whole))
        return 0

    monkeypatch.setattr(record, "commits_of", lambda revisions: list("abcd"))
    monkeypatch.setattr(record, "missing", lambda commits, _: [] if asked else commits[1:])
    monkeypatch.setattr(record, "_asv_run", run)
    monkeypatch.setattr(sys, "argv", ["record.py", "--machine", "here", "--limit", "2", "a..d"])
    record.main()
    assert asked == [(["b", "c"], False)]


def test_the_machine_record_reaches_the_results(monkeypatch, tmp_path):
    """Through asv's own reading and writing, which is what could drop our fields."""
    pytest.importorskip("asv", reason="asv is not installed")
    import machine
    from asv.machine import Machine, MachineCollection

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["machine.py", "here"])
    machine.main()
    Machine.load(machine_name="here").save(str(tmp_path / "results"))
    path = tmp_path / "results" / "here" / "machine.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    assert MachineCollection.load("here").keys() <= written.keys()
    assert written["machine"] == "here"
    for field in ("host cpu", "threads", "threading layer", "blas", "llvm", "versions"):
        assert written[field], field
    config = (SUITE / "asv.conf.json").read_text(encoding="utf-8")
    taken = {name for name in machine.fields() if f'"{name}": [' in config}
    assert not taken, "asv would write over them"
