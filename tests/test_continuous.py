"""The one command about a change's speed: what it refuses, what it picks from asv, what it says."""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("asv", reason="asv comes with the extra test")
sys.path.insert(0, str(Path(__file__).parents[1] / "asv_benchmarks"))
import continuous
import verdict
from asv.results import Results
from asv.runner import BenchmarkResult

OLD, NEW = "a" * 40, "b" * 40


def git(folder, *arguments):
    person = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    command = ["git", "-C", str(folder), *person, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Two empty commits, as the repository that is asked."""
    folder = tmp_path / "repository"
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", str(folder))
    for message in ("one", "two"):
        git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    monkeypatch.setattr(continuous, "ROOT", folder)
    return folder


def asked(base="main", head="HEAD", **others):
    return argparse.Namespace(
        **{"base": base, "head": head, "all": False, "bench": None, "markdown": None, **others}
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (asked("nowhere"), "BASE is 'nowhere', expected a commit, a branch, a tag, or ."),
        (asked("main", "v9"), "HEAD is 'v9', expected a commit"),
        (asked("main", "HEAD"), "BASE and HEAD are the same"),
        (asked("main", "."), "BASE and HEAD are the same"),  # a tree that is its commit
        (asked("main~1", bench="("), r"--bench is '\(', no regular expression"),
    ],
)
def test_bad_input(repository, arguments, said):
    with pytest.raises(continuous.BadInput, match=said):
        continuous.run(arguments)


def test_asv_measures_commits(repository):
    (repository / "new").touch()
    with pytest.raises(continuous.BadInput, match="commit first"):
        continuous.run(asked("main~1", ".", all=True))


def test_a_shallow_clone(repository, tmp_path, monkeypatch):
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{repository}", "shallow")
    monkeypatch.setattr(continuous, "ROOT", tmp_path / "shallow")
    with pytest.raises(continuous.BadInput, match="git fetch --unshallow"):
        continuous.resolve("BASE", "main~1")


def test_a_bad_line_is_one_line_and_2(repository, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["continuous.py", "nowhere"])
    assert continuous.main() == 2
    assert capsys.readouterr().err.startswith("continuous: BASE is 'nowhere'")


def save(folder, commit, benchmarks, versions=None):
    """A file of asv's results; of each benchmark, the seconds by parameter: None where it fails."""
    params = {"machine": "m", "python": "3.11", "numpy": ""}
    results = Results(params, {"numpy": ""}, commit, 0, "3.11", "virtualenv-py3.11-numpy", {})
    for name, seconds in benchmarks.items():
        samples = [took and [took, took * 1.01, took * 0.99] * 3 for took in seconds.values()]
        known = {
            "name": name,
            "version": (versions or {}).get(name, "1"),
            "params": [[repr(size) for size in seconds]],
        }
        number = [None if took is None else 1 for took in samples]
        timed = BenchmarkResult(list(seconds.values()), samples, number, 0, "", None)
        results.add_result(known, timed, record_samples=True)
    results.save(str(folder))


def test_what_asv_calls_changed_is_picked(tmp_path):
    square, gone = "kernels_matmul.Square.time_call", "kernels_matmul.Gone.time_call"
    ratio = "kernels_matmul.SquareBesideNumPy.track_time_over_numpy"
    other = "kernels_softmax.Other.time_call"
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "machine.json").write_text('{"machine": "m", "version": 1}')
    before = {square: {8: 1e-6, 16: 2e-6, 32: 4e-6}, ratio: {8: 1.0}, gone: {8: 1.0}, other: {8: 1}}
    after = {square: {8: 1e-6, 16: 3e-6, 32: 3e-6}, ratio: {8: 2.0}, gone: {8: None}, other: {8: 9}}
    save(tmp_path, OLD, before)
    save(tmp_path, NEW, after, {other: "2"})  # measured differently, so not comparable
    found = {change.name: change for change in continuous.changed(tmp_path, OLD, NEW)}
    assert sorted(found) == sorted([f"{square}(16)", f"{square}(32)", f"{ratio}(8)", f"{gone}(8)"])
    assert found[f"{square}(16)"].paired == ("kernels_matmul.Square", [16])
    assert found[f"{ratio}(8)"].paired is None
    assert found[f"{gone}(8)"].head is None


def test_what_is_said():
    slow = verdict.Finding("slow", [1.0], [1.5])
    alone = continuous.Change("startup.Warm.timeraw_first_step", (), 0.2, 0.4)
    said = continuous.report("`main` beside `HEAD`", [slow], [alone]).splitlines()
    assert said[0] == "`main` beside `HEAD`"
    assert "| startup.Warm.timeraw_first_step | 0.2 | 0.4 |" in said
    assert said[-1] == "Slower: slow (1.50 times)"
    assert continuous.report("", [], [alone]).endswith("Nothing is slower")


@pytest.mark.compiled
def test_a_slower_kernel_is_found(tmp_path, monkeypatch, capsys):
    """From two commits to the exit code and the file, by one benchmark."""
    name, file, old, new = verdict.PLANTS[0]
    folder = tmp_path / "repository"
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", str(folder))
    shutil.copytree(
        verdict.ROOT / "kernels", folder / "kernels", ignore=shutil.ignore_patterns("__pycache__")
    )
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "as it is")
    slowed = folder / "kernels" / file
    slowed.write_text(slowed.read_text().replace(old, new.replace("* 3 // 20", "* 20 // 20")))
    git(folder, "commit", "--quiet", "--all", "--message", "slower")
    monkeypatch.setattr(continuous, "ROOT", folder)
    monkeypatch.setattr(verdict, "ROOT", folder)
    monkeypatch.setattr(continuous, "GATE", {name: verdict.GATE[name]})
    told = tmp_path / "table.md"
    assert continuous.run(asked("main~1", "main", markdown=told)) == 1
    assert told.read_text() == capsys.readouterr().out
    assert f"Slower: {name}" in told.read_text()
