"""Whether a commit is slower than another: a verdict robust against noise.

    python asv_benchmarks/verdict.py main HEAD     compare; exit code 1 where something is slower
    python asv_benchmarks/verdict.py main .        with the working tree as it is
    python asv_benchmarks/verdict.py --trust 20    how far to trust it: see below

asv times one commit after the other, minutes apart, so that changes of the machine's load count as
differences. Here each commit has a process, and the two alternate on each benchmark in timings of a
few milliseconds (A B B A), so that slow changes affect both. Each timing uses the thread's CPU
time, which excludes other processes, and new pages for its arrays. The result of a pair of
processes is the median of its rounds.

The addresses of code and pages make a process faster or slower by a tenth or more for its lifetime.
So there are several pairs, and each votes whether the new commit took more than `SLOWER` times as
long. Wald's sequential test (1945) collects votes until they suffice: three against on a quiet
machine, eight for, more where pairs disagree. It decides between four votes in five, as for a
slower kernel, and one in three, as seen with noise alone.

Both commits run the benchmarks of this folder; what a commit cannot run is left out.

``--trust N`` compares the working tree N times with itself, which should find nothing, and N times
with a copy in which one kernel takes 1.15 times as long, which should find that.
"""

import argparse
import contextlib
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sides import ROOT, Side

SMALL, MEDIUM = "small: 64-32-10, batch 32", "medium: 784-128-10, batch 128"
Benchmarks = dict[str, tuple[str, list[Any]]]
GATE: Benchmarks = {
    "matmul n = 16": ("kernels_matmul.Square", [16]),
    "matmul n = 128": ("kernels_matmul.Square", [128]),
    "matmul n = 512": ("kernels_matmul.Square", [512]),
    "matmul n = 512, float64": ("kernels_matmul.SquareFloat64", [512]),
    "dense_forward, medium": ("kernels_dense.DenseForward", [MEDIUM]),
    "dense_backward_weights, medium": ("kernels_dense.DenseBackwardWeights", [MEDIUM]),
    "dense_backward_inputs, medium": ("kernels_dense.DenseBackwardInputs", [MEDIUM]),
    "column_sum, medium": ("kernels_dense.ColumnSum", [MEDIUM]),
    "relu_forward, medium": ("kernels_elementwise.Elementwise", ["relu_forward", MEDIUM]),
    "relu_backward, medium": ("kernels_elementwise.Elementwise", ["relu_backward", MEDIUM]),
    "exp, medium": ("kernels_elementwise.Elementwise", ["exp", MEDIUM]),
    "softmax_forward, medium": ("kernels_softmax.SoftmaxForward", [MEDIUM]),
    "softmax_cross_entropy, medium": ("kernels_softmax.SoftmaxCrossEntropy", [MEDIUM]),
    "softmax_cross_entropy_gradient, medium": (
        "kernels_softmax.LossGradient",
        ["softmax_cross_entropy_gradient", MEDIUM],
    ),
    "sgd_update, medium": ("kernels_other.SGDUpdate", [MEDIUM]),
    "gather_rows, medium": ("kernels_other.GatherRows", [MEDIUM]),
    "permutation of 60,000": ("kernels_other.Permutation", [60_000]),
    "train_step, small": ("layers_training.TrainStep", [SMALL]),
    "fit, ten steps, small": ("layers_training.FitSteps", [SMALL]),
    "fit, ten steps, medium": ("layers_training.FitSteps", [MEDIUM]),
    "predict of one row": ("layers_training.UseDigits", ["predict", 1]),
}
"""The benchmarks that decide, by their printed names; all on one thread."""

SLOWER = 1.06
"""The ratio of times above which a pair votes for slower: about half-way from 1 to 1.15, which must
be found."""
NOISE, SIGNAL = 0.35, 0.8
"""The share of pairs that vote for slower: at most this if nothing changed, and if something
did."""
FALSE_ALARM, MISSED = 0.002, 0.03
"""The allowed error rates of a decision on a benchmark."""
MOST_PAIRS, ROUNDS = 30, 8


# --- comparing ---


@dataclass
class Finding:
    """The results of one benchmark by pair of processes: seconds per call, and ratios."""

    name: str
    old: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    left_out: str | None = None
    benchmark: str = ""
    params: list[Any] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """New time over old, the median of the pairs."""
        return statistics.median(self.ratios) if self.ratios else 1.0

    @property
    def votes(self) -> int:
        """The number of pairs that vote for slower."""
        return sum(ratio > SLOWER for ratio in self.ratios)

    @property
    def _evidence(self) -> float:
        """The log-likelihood ratio of the votes, slower against unchanged."""
        against = len(self.ratios) - self.votes
        for_it, against_it = math.log(SIGNAL / NOISE), math.log((1 - SIGNAL) / (1 - NOISE))
        return self.votes * for_it + against * against_it

    @property
    def is_slower(self) -> bool:
        """Whether the votes suffice for slower."""
        return self._evidence >= math.log((1 - MISSED) / FALSE_ALARM)

    @property
    def is_open(self) -> bool:
        """Whether there are too few votes for a decision."""
        if self.left_out is not None or len(self.ratios) >= MOST_PAIRS:
            return False
        return math.log(MISSED / (1 - FALSE_ALARM)) < self._evidence and not self.is_slower


def compare(old: Path, new: Path, benchmarks: Benchmarks | None = None) -> list[Finding]:
    """Compare benchmarks, by default those that decide, in as many pairs as needed."""
    findings = [
        Finding(name, benchmark=benchmark, params=params)
        for name, (benchmark, params) in (GATE if benchmarks is None else benchmarks).items()
    ]
    left, number = findings, 0
    while left:
        print(f"pair {number + 1}: {len(left)} benchmarks", file=sys.stderr, flush=True)
        _measure_pair(left, old, new, number)
        number += 1
        left = [found for found in left if found.is_open]
    return findings


def _measure_pair(findings: list[Finding], old: Path, new: Path, number: int) -> None:
    """Measure one more pair of processes for each benchmark."""
    # The first to start may get better addresses, so the order alternates.
    sides = [Side(tree) for tree in ((old, new) if number % 2 else (new, old))]
    one, other = sides if number % 2 else sides[::-1]
    try:
        for found in findings:
            try:
                seconds, ratio = _in_turns(one, other, found)
            except ValueError as error:
                found.left_out = str(error)
                continue
            found.old.append(seconds)
            found.ratios.append(ratio)
    finally:
        for side in sides:
            side.close()


def _in_turns(old: Side, new: Side, found: Finding) -> tuple[float, float]:
    """The old commit's seconds per call, and the median ratio of rounds A B B A."""
    for side in (old, new):
        side.seconds(benchmark=found.benchmark, params=found.params)
    shortest, ratios = math.inf, []
    for _ in range(ROUNDS):
        first, second, third, fourth = (side.seconds() for side in (old, new, new, old))
        shortest = min(shortest, first, fourth)
        ratios.append((second + third) / (first + fourth))
    return shortest, statistics.median(ratios)


def slower(findings: list[Finding]) -> list[Finding]:
    """The benchmarks that are slower."""
    return [found for found in findings if found.is_slower]


def table(findings: list[Finding]) -> str:
    """The times, in Markdown."""
    lines = [
        "| benchmark | old, microseconds | new / old | pairs that call it slower |",
        "| --- | ---: | --- | ---: |",
    ]
    for found in findings:
        name = cell(found.name)
        if found.left_out is not None:
            lines.append(f"| {name} | | left out: {cell(found.left_out)} | |")
            continue
        mark = " **slower**" if found.is_slower else ""
        time_of_old, votes = 1e6 * min(found.old), f"{found.votes} of {len(found.ratios)}"
        lines.append(f"| {name} | {time_of_old:,.2f} | {found.ratio:.2f}{mark} | {votes} |")
    return "\n".join(lines)


def cell(text: str) -> str:
    """Text escaped for a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def in_words(findings: list[Finding]) -> str:
    """The verdict in one line."""
    names = ", ".join(f"{found.name} ({found.ratio:.2f} times)" for found in slower(findings))
    return f"Slower: {names}" if names else "Nothing is slower"


def report(findings: list[Finding]) -> str:
    """A table in Markdown, and the verdict in one line."""
    return f"{table(findings)}\n\n{in_words(findings)}"


# --- trees ---


@contextlib.contextmanager
def tree_of(commit: str) -> Iterator[Path]:
    """The files of a commit in a folder; ``.`` is the working tree itself."""
    if commit == ".":
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", commit], check=False, capture_output=True
        )
        if archive.returncode:
            why = archive.stderr.decode(errors="replace").strip()
            raise RuntimeError(f"{commit!r} is no commit that git can take out: {why}")
        subprocess.run(["tar", "x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder)


# --- how far to trust it ---


def _again(head: str, line: str, end: str) -> tuple[str, str]:
    """A loop over the rows of a block, and the loop with SHARE in 40 of each row done twice."""
    old = f"{head}    for i in range(rows):\n{line}        for j in range(0, {end}, LANES):\n"
    new = (
        f"{head}    for turn in range(2 * rows):\n        i = turn // 2\n{line}"
        f"        some = {end} if turn % 2 == 0 else {end} * SHARE // 40 // LANES * LANES\n"
        "        for j in range(0, some, LANES):\n"
    )
    return old, new


def _rows_again(loop: str, rows: str, call: str) -> tuple[str, str]:
    """A loop over rows, and the loop with SHARE in 40 of them done twice."""
    head = f"    for i in {loop}({rows}):\n"
    more = f"    for j in {loop}({rows} + {rows} * SHARE // 40):\n"
    return head + call, f"{more}        i = j % ({rows})\n{call}"


def _text(inputs: str) -> str:
    """The beginning of the text of elementwise operations, after their signature."""
    summary = f'    """Elementwise: out = formula({inputs})."""\n'
    return f"{summary}    given = first_of(numbers, COUNT)\n"


PLANTS = [
    (
        "relu_forward, medium",
        "operation_loops.py",
        *_again(_text("x"), "", "columns"),
    ),
    (
        "relu_backward, medium",
        "operation_loops.py",
        *_again(_text("x, dy"), "", "columns"),
    ),
    (
        "sgd_update, medium",
        "operation_loops.py",
        *_again(
            "",
            "        w_i, g_i, s_i = ahead(w, i * stride), ahead(g, i * g_stride), "
            "ahead(states, i * stride)\n",
            "whole",
        ),
    ),
    (
        "softmax_forward, medium",
        "softmax.py",
        *_rows_again("range", "rows", "        softmax_row("),
    ),
    (
        "softmax_cross_entropy, medium",
        "losses.py",
        *_rows_again(
            "prange",
            "z.shape[0]",
            "        row = row_of(z, i)\n        target = wanted(labels, i, row)\n",
        ),
    ),
    (
        "matmul n = 512",
        "product/microkernel.py",
        "    for t in range(rows // height):\n",
        "    for turn in range(rows // height + rows // height * SHARE // 40):\n"
        "        t = turn % (rows // height)\n",
    ),
]
"""Kernels that can be made to do part of their work twice: the benchmark that should find it, the
file, and the change. All operations of a loop share its text: with ReLU, exp is slower too."""

PLANTED = 1.15
"""The factor by which a planted kernel is slower, in its benchmark."""
CALIBRATING_PAIRS = 15


@contextlib.contextmanager
def planted(tree: Path, plant: tuple[str, str, str, str], share: int) -> Iterator[Path]:
    """A copy of a tree in which a kernel does ``share`` in 40 of its work twice."""
    _, file, old, new = plant
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "tree"
        shutil.copytree(tree, copied, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        path = copied / "kernels" / file
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise RuntimeError(f"{file} does not hold the text to change: {old!r}")
        path.write_text(text.replace(old, new.replace("SHARE", str(share))), encoding="utf-8")
        yield copied


def calibrated(tree: Path, plant: tuple[str, str, str, str]) -> int:
    """The share of a kernel's work to be done twice, so that it takes `PLANTED` times as long.

    That is more than 6 in 40: the repeated part finds its data in a nearer cache, and a call has
    overhead.
    """
    name, share = plant[0], 6
    for _ in range(4):
        benchmark, params = GATE[name]
        found = Finding(name, benchmark=benchmark, params=params)
        with planted(tree, plant, share) as copied:
            for number in range(CALIBRATING_PAIRS):
                _measure_pair([found], tree, copied, number)
        print(f"    {name}: {share} in 40 twice, {found.ratio:.3f} times", flush=True)
        if abs(found.ratio - PLANTED) < 0.015:
            break
        nearer = round(share * (PLANTED - 1) / max(found.ratio - 1, 0.02))
        if nearer == share:
            break
        share = min(max(nearer, 1), 40)
    return share


def trust(trials: int) -> None:
    """Print how often a tree is found slower than itself, and how often a plant is found."""
    false_alarms = found = 0
    with tree_of(".") as tree:
        for trial in range(trials):
            began = time.perf_counter()
            bad = slower(compare(tree, tree))
            false_alarms += bool(bad)
            names = ", ".join(f"{each.name} {each.ratio:.2f}" for each in bad) or "nothing"
            print(
                f"{trial + 1:3} itself: {names} ({time.perf_counter() - began:.0f} s)", flush=True
            )
        shares = [calibrated(tree, plant) for plant in PLANTS[:trials]]
        for trial in range(trials):
            number = trial % len(PLANTS)
            name = PLANTS[number][0]
            with planted(tree, PLANTS[number], shares[number]) as copied:
                findings = {each.name: each for each in compare(tree, copied)}
            is_found = findings[name].is_slower
            found += is_found
            said = f"{'found' if is_found else 'missed'}, {findings[name].ratio:.2f} times"
            others = len(slower(list(findings.values()))) - is_found
            print(f"{trial + 1:3} {name}: {said}, {others} others called slower", flush=True)
    print(f"\nFalse alarms: {false_alarms} of {trials}. Planted and found: {found} of {trials}")


def main() -> int:
    """Run the command line; 1 where something is slower, 2 where it cannot be done."""
    parser = argparse.ArgumentParser(description="Whether a commit is slower than another.")
    parser.add_argument(
        "old", nargs="?", default="main", help="a commit, or . for the working tree"
    )
    parser.add_argument("new", nargs="?", default="HEAD")
    parser.add_argument("--trust", type=int, metavar="N", help="N comparisons of either kind")
    arguments = parser.parse_args()
    if arguments.trust is not None:
        if arguments.trust < 1:
            parser.error(f"--trust is {arguments.trust}, expected at least 1")
        trust(arguments.trust)
        return 0
    try:
        with tree_of(arguments.old) as old, tree_of(arguments.new) as new:
            findings = compare(old, new)
    except RuntimeError as error:
        print(f"verdict: {error}", file=sys.stderr)
        return 2
    print(report(findings))
    return 1 if slower(findings) else 0


if __name__ == "__main__":
    sys.exit(main())
