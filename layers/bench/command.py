"""The command ``python -m layers bench``: check options, measure, print and write."""

import argparse
import importlib.util
import json
import os
import shlex
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from layers.bench import machine, report
from layers.bench.cases import CASES, FEWER_ROWS, ROWS, Case, chosen
from layers.bench.interleaved import Effort, measure, threads_in_words
from layers.bench.libraries import OURS, SIDES
from layers.bench.results import Results
from layers.streams import progress_bar

NAME = "benchmarks"
NO_MATPLOTLIB = "No picture, since matplotlib is not installed: pip install matplotlib"

_SHORT = Effort(rounds=9, seconds=7.0)
_FULL = Effort(rounds=15, seconds=60.0)
_BAR = "{desc}{percentage:3.0f}%|{bar}| {elapsed}"


def run(arguments: argparse.Namespace) -> None:
    """Measure, print the tables and the verdict, and write the requested files.

    Raises
    ------
    ValueError
        An option is not as described; nothing has been measured.
    OSError
        The folder cannot be written to, or our own side failed.
    """
    cases, sides, threads, effort = _checked(arguments)
    if arguments.out is not None:
        _check_folder(arguments.out)
    results = Results(
        _command(arguments), machine.today(), machine.describe(), machine.versions(), threads, sides
    )
    if not arguments.full:
        results.left_to_full = _left_to_full(arguments, cases)
    print(
        f"{_plural(len(cases), 'case')} on {_threads_in_words(threads)}, in up to "
        f"{_plural(effort.rounds, 'round')}:\n  {', '.join(SIDES[side].title for side in sides)}",
        flush=True,
    )
    began = time.perf_counter()
    _measure(results, cases, effort, arguments.quiet)
    print(f"\n{report.text(results)}\n")
    print("Above x 1, numba-layers is faster: the other's time over ours, median of the rounds")
    for line in report.left_out(results):
        print(f"Left out: {line}")
    print(f"Measured in {time.perf_counter() - began:.0f} s")
    warning = report.busy(results)
    if warning is not None:
        print(warning)
    print(f"\n{report.judged(results)}")
    if arguments.out is not None:
        _write(results, arguments.out)


def _measure(results: Results, cases: list[Case], effort: Effort, quiet: bool) -> None:
    total = len(cases) * effort.rounds
    with progress_bar(total=total, bar_format=_BAR, disable=quiet, leave=False) as bar:

        def tell(what: str, rounds: int) -> None:
            bar.set_description(f"{what} ", refresh=False)
            bar.update(rounds)
            bar.refresh()

        measure(results, cases, effort, tell)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _threads_in_words(counts: Sequence[int]) -> str:
    """As in ``1 and 2 threads``."""
    *others, last = counts
    return "".join(f"{count} and " for count in others) + threads_in_words(last)


def _left_to_full(arguments: argparse.Namespace, cases: Sequence[Case]) -> list[str]:
    """What a short run omits unless cases or sides were chosen, in words."""
    words = []
    if arguments.sides is None:
        words += [entry.title for entry in SIDES.values() if entry.full]
    if arguments.cases is None:
        words += [case.title for case in CASES.values() if case.full]
    if any(case.kind == "epoch" for case in cases):
        words.append(f"epochs of {ROWS:,} rows instead of {FEWER_ROWS:,}")
    return words


# --- the options ----------------------------------------------------------------------------------


def _checked(arguments: argparse.Namespace) -> tuple[list[Case], list[str], list[int], Effort]:
    """The cases, sides, numbers of threads and effort."""
    cases = chosen(_listed("--cases", arguments.cases, CASES), arguments.full)
    sides = _listed("--sides", arguments.sides, SIDES)
    if sides is None:
        sides = [side for side, entry in SIDES.items() if arguments.full or not entry.full]
    sides = [side for side in SIDES if side in sides or side == OURS]
    effort = _FULL if arguments.full else _SHORT
    if arguments.rounds is not None:
        if arguments.rounds < 1:
            raise ValueError(f"bench: --rounds is {arguments.rounds}, expected at least 1")
        effort = Effort(arguments.rounds, float("inf"))
    return cases, sides, _threads(arguments.threads), effort


def _listed(option: str, value: str | None, known: Collection[str]) -> list[str] | None:
    """Comma-separated names, each once, in the table's order; None unchanged."""
    if value is None:
        return None
    names = [name.strip() for name in value.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"bench: {option} has {unknown[0]!r}, expected some of {','.join(known)}")
    return [name for name in known if name in names]


def _threads(value: str | None) -> list[int]:
    """One and all cores, or the numbers given, each once."""
    if value is None:
        return sorted({1, machine.cores()})
    most = machine.cpus()
    counts = []
    for part in value.split(","):
        text = part.strip()
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
            raise ValueError(
                f"bench: --threads has {text!r}, expected numbers from 1 to {most}, which is how "
                "many CPUs this process may use, with commas between them"
            )
        counts.append(int(text))
    return sorted(set(counts))


def _command(arguments: argparse.Namespace) -> str:
    """The command line that reproduces these results."""
    words = ["python -m layers bench"]
    words += ["--full"] * arguments.full
    for name in ("threads", "cases", "sides", "rounds", "out"):
        value: Any = getattr(arguments, name)
        if value is not None:
            words.append(f"--{name} {shlex.quote(str(value))}")
    return " ".join(words)


# --- what is written ------------------------------------------------------------------------------


def _check_folder(folder: Path) -> None:
    """Make the folder and check that it can be written to, before minutes of measuring."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file, expected the name of a folder")
    if not folder.absolute().parent.is_dir():
        raise FileNotFoundError(f"{folder}: there is no folder {folder.absolute().parent}")
    folder.mkdir(exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder}: files cannot be written there")


def _write(results: Results, folder: Path) -> None:
    picture = _picture(results, folder / f"{NAME}.png")
    document = json.dumps(results.document(), indent=1, ensure_ascii=False)
    (folder / f"{NAME}.json").write_text(f"{document}\n", encoding="utf-8")
    page = folder / f"{NAME}.md"
    page.write_text(report.markdown(results, picture, _links(folder)), encoding="utf-8")
    print(f"Written: {page.resolve()}, with {NAME}.json" + (f" and {picture}" if picture else ""))


def _links(folder: Path) -> list[str]:
    """Links to the history and to pages of other machines in subfolders, if present."""
    links = [report.HISTORY] if (folder / "history.md").exists() else []
    for path in sorted(folder.glob(f"*/{NAME}.json")):
        try:
            cpu = report.cpu(json.loads(path.read_text(encoding="utf-8"))["machine"])
        except (OSError, ValueError, LookupError, TypeError):
            continue  # another program's file
        links.append(f"[The same on another machine: {cpu}]({path.parent.name}/{NAME}.md)")
    return links


def _picture(results: Results, path: Path) -> str | None:
    """Draw the picture; return its name, None without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        print(NO_MATPLOTLIB)
        return None
    from layers.bench import picture

    picture.draw(results, path)
    return path.name
