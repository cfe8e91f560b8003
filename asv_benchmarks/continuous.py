"""What a change did to the speed: the one command to run before a pull request.

    python asv_benchmarks/continuous.py                    main beside HEAD: a minute or two
    python asv_benchmarks/continuous.py main .             with the working tree as it is
    python asv_benchmarks/continuous.py main HEAD --all    and all benchmarks, through asv first
    python asv_benchmarks/continuous.py --bench Softmax    those that match, through asv first

asv times one commit after the other, so on short kernels it reports noise as a change. Here it only
selects: benchmarks whose results differ are measured again, interleaved as in verdict.py, on one
thread, and only that decides. What cannot be interleaved (ratios, new processes) is only listed.

Exit code 1 where something is slower, 2 on bad input, 0 otherwise.
"""

import argparse
import ast
import itertools
import json
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sides import ROOT
from verdict import GATE, Benchmarks, Finding, cell, compare, in_words, slower, table, tree_of

HERE = ROOT / "asv_benchmarks"
FACTOR = 1.05
"""The ratio from which results differ; low, so that no change is missed."""


class BadInput(Exception):
    """A command line that cannot be executed."""


# --- commits ---


def _git(*arguments: str) -> str | None:
    """Git's output; None where it fails."""
    command = ["git", "-C", str(ROOT), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.stdout.strip() if ran.returncode == 0 else None


def resolve(place: str, name: str) -> str:
    """The hash of a commit, or ``.`` for a working tree that differs from its commit."""
    if name == "." and _git("status", "--porcelain") != "":
        return "."
    found = _git(
        "rev-parse", "--verify", "--quiet", f"{'HEAD' if name == '.' else name}^{{commit}}"
    )
    if found is None:
        if _git("rev-parse", "--is-shallow-repository") == "true":
            raise BadInput(f"{place} is {name!r}, not in this shallow clone: git fetch --unshallow")
        raise BadInput(f"{place} is {name!r}, expected a commit, a branch, a tag, or .")
    return found


# --- what differs in asv's results ---


@dataclass(frozen=True)
class Change:
    """A benchmark whose results differ; `head` is None where it fails there."""

    key: str
    params: tuple[str, ...]
    base: float
    head: float | None

    @property
    def name(self) -> str:
        """The name as asv prints it."""
        return f"{self.key}({', '.join(self.params)})" if self.params else self.key

    @property
    def paired(self) -> tuple[str, list[Any]] | None:
        """The benchmark and parameters for `Side`; None where it cannot time them."""
        owner, _, method = self.key.rpartition(".")
        if method != "time_call":
            return None
        try:
            return owner, [ast.literal_eval(param) for param in self.params]
        except (SyntaxError, ValueError):  # a parameter that is no literal
            return None


def changed(results: Path, base: str, head: str) -> Iterator[Change]:
    """Benchmarks that differ between two commits in a folder of asv's results.

    asv itself requires disjoint intervals, which ten samples of a kernel of microseconds seldom
    have, even with 1.15 times the work.
    """
    from asv.results import iter_results

    of_commit: dict[str, dict[Any, Any]] = {base: {}, head: {}}
    for result in iter_results(str(results)):
        if result.commit_hash in of_commit:
            of_commit[result.commit_hash][result.params["machine"], result.env_name] = result
    for environment, new in of_commit[head].items():
        old = of_commit[base].get(environment)
        for key in sorted(new.get_all_result_keys()):
            version = new.benchmark_version.get(key)
            if old is None or old.benchmark_version.get(key, "absent") != version:
                continue
            params = new.get_result_params(key)
            cases = zip(
                itertools.product(*params),
                old.get_result_value(key, params),
                new.get_result_value(key, params),
                strict=True,
            )
            for combination, before, after in cases:
                if before is None or before != before or after != after:
                    continue  # fails, or is skipped
                # Some are zero or negative, such as exponents.
                if after is None or (
                    abs(after - before) > (FACTOR - 1) * min(abs(after), abs(before))
                ):
                    yield Change(key, combination, before, after)


def screen(base: str, head: str, pattern: str) -> list[Change]:
    """Run asv on two commits, each in its own environment; return what differs."""
    # An earlier run's results would count, and so would those of one at the same time.
    with tempfile.TemporaryDirectory() as scratch:
        return _screen_in(Path(scratch), base, head, pattern)


def _screen_in(scratch: Path, base: str, head: str, pattern: str) -> list[Change]:
    from asv.benchmarks import Benchmarks as Suite
    from asv.config import Config
    from asv.machine import Machine, MachineCollection
    from asv.util import UserError, load_json

    settings = load_json(str(HERE / "asv.conf.json"), js_comments=True)
    settings["pythons"] = [f"{sys.version_info.major}.{sys.version_info.minor}"]
    settings |= {"repo": str(ROOT), "results_dir": str(scratch / "results")}
    for name in ("benchmark_dir", "env_dir", "html_dir"):
        settings[name] = str(HERE / settings[name])
    config = scratch / "asv.conf.json"
    config.write_text(json.dumps(settings), encoding="utf-8")

    def asv(command: str, *arguments: str, quietly: bool = False) -> int:
        line = [sys.executable, "-m", "asv", command, "--config", str(config), *arguments]
        out = subprocess.DEVNULL if quietly else sys.stderr
        return subprocess.run(line, check=False, stdout=out).returncode

    try:
        MachineCollection.load(Machine.get_unique_machine_name())
    except UserError:
        asv("machine", "--yes", quietly=True)  # it prints questions and answers them itself
    asv("run", "--python=same", "--bench", "just-discover")
    try:
        if not Suite.load(Config.load(str(config)), regex=[pattern]):
            raise BadInput(f"--bench is {pattern!r}, which matches no benchmark")
    except UserError as error:
        raise BadInput("asv cannot import the benchmarks, see above: pip install -e .") from error
    options = ("--factor", str(FACTOR), "--interleave-rounds", "--bench", pattern)
    status = asv("continuous", *options, base, head)
    if len(list((scratch / "results").glob("*/*-*.json"))) < 2:
        raise BadInput(f"asv continuous left no results of both commits (it ended with {status})")
    return list(changed(scratch / "results", base, head))


# --- what is said ---


def report(title: str, findings: list[Finding], alone: list[Change]) -> str:
    """The tables in Markdown, and the verdict in a last line."""
    parts = [title]
    if findings:
        parts.append(table(findings))
    if alone:
        rows = ["| asv alone says, which decides nothing | old | new |", "| --- | ---: | ---: |"]
        for each in alone:
            after = "fails" if each.head is None else f"{each.head:.4g}"
            rows.append(f"| {cell(each.name)} | {each.base:.4g} | {after} |")
        parts.append("\n".join(rows))
    left_out = sum(found.left_out is not None for found in findings)
    more = f"; {left_out} left out" if left_out else ""
    return "\n\n".join([*parts, in_words(findings) + more])


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; the exit code says whether something is slower."""
    base, head = resolve("BASE", arguments.base), resolve("HEAD", arguments.head)
    if base == head:
        more = "" if "." in (arguments.base, arguments.head) else "; . is the working tree"
        raise BadInput(f"BASE and HEAD are the same, {base[:8]}{more}")
    if arguments.markdown and not arguments.markdown.absolute().parent.is_dir():
        raise BadInput(f"--markdown is {arguments.markdown}, in a folder that does not exist")
    pattern = arguments.bench or ("." if arguments.all else None)
    benchmarks: Benchmarks = {} if arguments.bench else dict(GATE)
    alone = []
    if pattern is not None:
        try:
            re.compile(pattern)
        except re.error as error:
            raise BadInput(f"--bench is {pattern!r}, no regular expression: {error}") from error
        if "." in (base, head):
            raise BadInput("asv measures commits, not a changed working tree: commit first")
        if _git("rev-parse", "--is-shallow-repository") == "true":
            raise BadInput("this clone is shallow, and asv needs all of it: git fetch --unshallow")
        for change in screen(base, head, pattern):
            if change.paired is None:
                alone.append(change)
            elif change.paired not in benchmarks.values():
                benchmarks[change.name] = change.paired
    with tree_of(base) as old, tree_of(head) as new:
        findings = compare(old, new, benchmarks) if benchmarks else []
    old_name, new_name = (
        "the working tree" if sha == "." else f"`{name}` ({sha[:8]})"
        for name, sha in ((arguments.base, base), (arguments.head, head))
    )
    title = f"{old_name} beside {new_name}"
    text = report(title, findings, alone)
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text + "\n", encoding="utf-8")
    return 1 if slower(findings) else 0


def main() -> int:
    """Run the command line; bad input gives one line on standard error, and 2."""
    parser = argparse.ArgumentParser(description="What a change did to the speed.")
    parser.add_argument("base", nargs="?", default="main", metavar="BASE", help="a commit, or .")
    parser.add_argument("head", nargs="?", default="HEAD", metavar="HEAD", help="a commit, or .")
    parser.add_argument("--all", action="store_true", help="all benchmarks, through asv first")
    parser.add_argument("--bench", metavar="PATTERN", help="those that match, through asv first")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write what is printed")
    try:
        return run(parser.parse_args())
    except (BadInput, OSError, RuntimeError) as error:
        print(f"continuous: {error}", file=sys.stderr)
        return 2
    except Exception:  # Python's exit code would be 1, which means slower
        traceback.print_exc()
        return 2


if __name__ == "__main__":
    sys.exit(main())
