"""`continuous.py`: what is refused, which of asv's results count, the report."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "asv_benchmarks"))
import continuous
import verdict

BASE, HEAD = "a" * 40, "b" * 40


# --- what is refused ---


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """The scripts in a repository of two commits, the second on the branch `more`."""
    top = tmp_path_factory.mktemp("whole")
    (top / "asv_benchmarks").mkdir()
    for name in ("continuous.py", "answering.py", "sides.py", "verdict.py"):
        shutil.copy(continuous.HERE / name, top / "asv_benchmarks")
    (top / ".gitignore").write_text("__pycache__/\n")
    git(top, "init", "-q", "-b", "main")
    commit(top, "first")
    git(top, "switch", "-qc", "more")
    (top / "new").touch()
    commit(top, "second")
    return top


def git(top, *arguments):
    names = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    command = ["git", *names, "-C", str(top), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(top, message):
    git(top, "add", ".")
    git(top, "commit", "-qm", message)


def refusal(top, *arguments):
    """The one line that the command leaves with."""
    command = [sys.executable, str(top / "asv_benchmarks" / "continuous.py"), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    return line.removeprefix("continuous: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "BASE is 'nowhere', expected a commit, a branch, a tag, or ."),
        (["main", "gone"], "HEAD is 'gone', expected a commit, a branch, a tag, or ."),
        (["main", "main"], "BASE and HEAD are the same, "),
        (["more", "."], "BASE and HEAD are the same, "),
        (["main", "more", "--markdown", "no/table.md"], "--markdown is no/table.md, in a folder"),
        (["main", "more", "--bench", "("], "--bench is '(', no regular expression: "),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(repository, arguments, said):
    assert refusal(repository, *arguments).startswith(said)


def test_an_error_of_its_own_is_no_verdict(monkeypatch, capsys):
    """Python would leave with 1."""

    def fails(arguments):
        raise LookupError("something")

    monkeypatch.setattr(continuous, "run", fails)
    monkeypatch.setattr(sys, "argv", ["continuous.py"])
    assert continuous.main() == 2
    assert "LookupError: something" in capsys.readouterr().err


def test_asv_takes_commits_alone(repository, tmp_path):
    edited = tmp_path / "edited"
    shutil.copytree(repository, edited)
    (edited / "new").write_text("other")
    said = refusal(edited, "main", ".", "--all")
    assert said == "asv measures commits, not a changed working tree: commit first"


def test_a_shallow_clone_is_told_how_to_become_whole(repository, tmp_path):
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", repository.as_uri(), str(shallow))
    first = git(repository, "rev-parse", "main")
    said = refusal(shallow, first)
    assert said == f"BASE is {first!r}, not in this shallow clone: git fetch --unshallow"
    (shallow / "third").touch()
    commit(shallow, "third")
    said = refusal(shallow, "HEAD~1", "HEAD", "--all")
    assert said == "this clone is shallow, and asv needs all of it: git fetch --unshallow"


# --- what of asv's results counts ---


SOFTMAX = "kernels_softmax.SoftmaxForward.time_call"
SIZES = [["16", "128"]]
STEADY, SLOWER = [1.0, 1.001, 1.002] * 4, [1.2, 1.201, 1.202] * 4
NAN = float("nan")


@pytest.fixture
def changes(tmp_path):
    """What `changed` finds in results that asv's own code writes.

    Of each commit, by benchmark: the parameters, for each of their combinations the samples (None
    where it fails, NaN where it is skipped), and the version of the benchmark.
    """
    pytest.importorskip("asv", reason="asv comes with the extra dev")
    from asv.machine import Machine
    from asv.results import Results
    from asv.runner import BenchmarkResult
    from asv.util import write_json

    # Without it asv reads no result of that machine.
    write_json(str(tmp_path / "here" / "machine.json"), {"machine": "here"}, Machine.api_version)

    def write(sha, entries, environment):
        result = Results({"machine": "here"}, {}, sha, 0, "3.11", environment, {})
        for name, (params, cases, version) in entries.items():
            timed = [isinstance(case, list) for case in cases]
            outcome = BenchmarkResult(
                [0.0 if has else case for case, has in zip(cases, timed, strict=True)],
                [case if has else None for case, has in zip(cases, timed, strict=True)],
                [1 if has else None for has in timed],
                errcode=0,
                stderr="",
                profile=None,
            )
            benchmark = {"name": name, "params": params, "version": version}
            result.add_result(benchmark, outcome, record_samples=True)
        result.save(str(tmp_path))

    def found(old, new, environment="virtualenv-py3.11"):
        write(BASE, old, "virtualenv-py3.11")
        write(HEAD, new, environment)
        write("c" * 40, new, environment)  # a commit that nobody asked about
        return list(continuous.changed(tmp_path, BASE, HEAD))

    return found


def test_what_differs_is_found_whichever_way(changes):
    old = {SOFTMAX: (SIZES, [STEADY, STEADY], "1"), "some.track": ([], [SLOWER], "1")}
    new = {SOFTMAX: (SIZES, [STEADY, SLOWER], "1"), "some.track": ([], [STEADY], "1")}
    slower, faster = changes(old, new)
    assert (slower.name, faster.name) == (f"{SOFTMAX}(128)", "some.track")
    assert (slower.base, slower.head) == pytest.approx((1.001, 1.201))
    assert slower.paired == ("kernels_softmax.SoftmaxForward", [128])
    assert (faster.base, faster.head) == pytest.approx((1.201, 1.001))
    assert faster.paired is None


def test_a_small_difference_is_none(changes):
    old = {SOFTMAX: ([], [STEADY], "1")}
    assert changes(old, {SOFTMAX: ([], [[each * 1.04 for each in STEADY]], "1")}) == []
    assert changes(old, {SOFTMAX: ([], [[each / 1.04 for each in STEADY]], "1")}) == []
    # asv asks for intervals that do not meet; what is measured again anyway need not.
    assert len(changes(old, {SOFTMAX: ([], [[0.9, 1.07, 1.3]], "1")})) == 1


@pytest.mark.parametrize(
    ("before", "after", "differ"),
    [(0, 0, False), (0, 1, True), (-1, -1.04, False), (-1, -1.2, True), (-1, 1, True)],
)
def test_results_that_are_no_times(changes, before, after, differ):
    one, other = ({"growth.Of.track": ([], [[value]], "1")} for value in (before, after))
    assert bool(changes(one, other)) == differ


def test_what_fails_now_is_found(changes):
    for params, cases in (([], [None]), (SIZES, [STEADY, None])):
        good = {SOFTMAX: (params, [STEADY] * len(cases), "1")}
        bad = {SOFTMAX: (params, cases, "1")}
        (change,) = changes(good, bad)
        assert change.head is None
        assert changes(bad, bad) == []
        assert changes(bad, good) == []  # there is nothing to compare with


def test_what_cannot_be_compared_is_left_out(changes):
    old, new = {SOFTMAX: (SIZES, [STEADY] * 2, "1")}, {SOFTMAX: (SIZES, [SLOWER] * 2, "1")}
    assert len(changes(old, new)) == 2
    assert changes(old, {SOFTMAX: (SIZES, [SLOWER] * 2, "2")}) == []  # it measures something else
    assert changes(old, {"other.Name.time_call": (SIZES, [SLOWER] * 2, "1")}) == []
    assert changes(old, {SOFTMAX: (SIZES, [NAN] * 2, "1")}) == []  # skipped
    assert changes({SOFTMAX: (SIZES, [NAN] * 2, "1")}, new) == []


def test_times_of_two_environments_are_not_compared(changes):
    old, new = {SOFTMAX: ([], [STEADY], "1")}, {SOFTMAX: ([], [SLOWER], "1")}
    assert changes(old, new, environment="virtualenv-py3.13") == []


@pytest.mark.parametrize(
    ("key", "params", "paired"),
    [
        ("m.A.time_call", (), ("m.A", [])),
        ("m.A.time_call", ("'small: 64'", "1"), ("m.A", ["small: 64", 1])),
        ("m.A.time_call", ("<class 'float'>",), None),
        ("m.A.track_ratio", (), None),
        ("m.A.timeraw_import", (), None),
    ],
)
def test_what_a_side_can_time(key, params, paired):
    assert continuous.Change(key, params, 1.0, 2.0).paired == paired


# --- what is said ---


def test_the_report():
    findings = [
        verdict.Finding("worse", [1e-6] * 8, [1.2] * 8),
        verdict.Finding("even", [1e-6], [1.0]),
        verdict.Finding("gone", left_out="AttributeError: gone"),
    ]
    alone = [
        continuous.Change("some.track", ("'a | b'",), 1.5, 3.0),
        continuous.Change("startup.Warm.timeraw_import_layers", (), 0.25, None),
    ]
    lines = continuous.report("`main` beside `HEAD`", findings, alone).splitlines()
    assert lines[0] == "`main` beside `HEAD`"
    assert "| worse | 1.00 | 1.20 **slower** | 8 of 8 |" in lines
    assert "| some.track('a \\| b') | 1.5 | 3 |" in lines
    assert "| startup.Warm.timeraw_import_layers | 0.25 | fails |" in lines
    assert lines[-1] == "Slower: worse (1.20 times); 1 left out"


def test_a_report_of_nothing():
    assert continuous.report("title", [], []) == "title\n\nNothing is slower"


@pytest.mark.parametrize(("after", "code"), [(1.2, 1), (1.0, 0)])
def test_the_exit_code_and_the_file(monkeypatch, tmp_path, capsys, after, code):
    monkeypatch.setattr(continuous, "resolve", lambda place, name: BASE if name == "b" else ".")
    found = [verdict.Finding("one", [1e-6] * 8, [after] * 8)]
    monkeypatch.setattr(continuous, "compare", lambda old, new, benchmarks: found)
    monkeypatch.setattr(continuous, "tree_of", lambda sha: contextlib.nullcontext(tmp_path))
    written = tmp_path / "table.md"
    monkeypatch.setattr(sys, "argv", ["continuous.py", "b", ".", "--markdown", str(written)])
    assert continuous.main() == code
    text = capsys.readouterr().out
    assert text.startswith("`b` (aaaaaaaa) beside the working tree\n")
    assert written.read_text(encoding="utf-8") == text


@pytest.mark.compiled
@pytest.mark.long
def test_a_slower_kernel_is_found(tmp_path, monkeypatch, capsys):
    """From two commits to the exit code, by one benchmark; the kernel does its work twice."""
    name, file, old, new = verdict.PLANTS[0]
    shutil.copytree(
        verdict.ROOT / "kernels",
        tmp_path / "kernels",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, "as it is")
    slowed = tmp_path / "kernels" / file
    text = slowed.read_text(encoding="utf-8").replace(old, new.replace("SHARE", "40"))
    slowed.write_text(text, encoding="utf-8")
    commit(tmp_path, "slower")
    monkeypatch.setattr(continuous, "ROOT", tmp_path)
    monkeypatch.setattr(verdict, "ROOT", tmp_path)
    monkeypatch.setattr(continuous, "GATE", {name: verdict.GATE[name]})
    monkeypatch.setattr(sys, "argv", ["continuous.py", "main~1", "main"])
    assert continuous.main() == 1
    assert f"Slower: {name}" in capsys.readouterr().out
