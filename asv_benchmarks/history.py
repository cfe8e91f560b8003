"""Speed by commit, for the documentation: a picture and a page from the results that asv recorded.

    python asv_benchmarks/history.py --out docs     writes history.png and history.md there

The picture shows the inverse ratios of the benchmarks `...BesideNumPy`: NumPy's time over ours.
Both were timed alternately in one process, so that slow days of the machine cancel.
"""

import argparse
import itertools
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import asv.results
from asv.benchmarks import Benchmarks
from asv.config import Config
from asv.util import UserError, load_json

from layers.bench import report

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "asv.conf.json"
RATIO = "BesideNumPy.track_time_over_numpy"


class Curve(NamedTuple):
    """A curve of a panel: a benchmark and its parameters."""

    benchmark: str
    label: str
    by: str | None = None
    """The parameter with a line for each value; the others are averaged."""


PANELS = {
    "`fit`, ten steps in one call": [Curve("FitSteps", "", by="network")],
    "`train_step`": [Curve("TrainStep", "", by="network")],
    "Kernels, the geometric mean over their sizes": [
        Curve("Square", "matmul of squares"),
        Curve("Products", "kernels of a dense layer"),
        Curve("Softmax", "", by="kernel"),
    ],
}
"""The curves of each panel, by title; missing results are left out."""

TITLES = {
    "FitSteps": "Ten steps in one call of `fit`",
    "TrainStep": "One `train_step`",
    "Products": "The kernels of a dense layer",
    "Square": "`matmul` of squares",
    "Softmax": "Softmax",
}
"""By benchmark class without BesideNumPy, in the page's order."""


class NoHistory(Exception):
    """There is no history; the message says why in one line."""


class Commit(NamedTuple):
    """A commit of the branch, and its speeds relative to NumPy, by benchmark and parameters."""

    short: str
    date: str
    speeds: dict[str, dict[tuple[str, ...], float]]


class History(NamedTuple):
    """The commits that one machine has measured, the oldest first."""

    commits: list[Commit]
    param_names: dict[str, list[str]]
    machine: dict[str, str]
    left_out: list[str]


# --- reading ---


def read(config: Path = CONFIG, machine: str | None = None) -> History:
    """Read the recorded results.

    Parameters
    ----------
    config : Path
        asv's configuration.
    machine : str, optional
        asv's name of the machine; by default that of the latest commit, or of the most commits.

    Returns
    -------
    History
    """
    settings = Config.load(str(config))
    root = config.resolve().parent
    settings.results_dir = str(root / settings.results_dir)
    try:
        benchmarks = Benchmarks.load(settings)
    except UserError:
        raise NoHistory(f"no results in {settings.results_dir}: asv run makes them") from None
    ratios = {name: benchmarks[name] for name in benchmarks if name.endswith(RATIO)}

    # By machine and environment: a line has numbers of one pair only.
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for result in asv.results.iter_results(settings.results_dir):
        if result.get_result_keys(ratios):
            groups.setdefault((result.params["machine"], result.env_name), {})[
                result.commit_hash
            ] = result
    order = _branch(root / settings.repo, settings.branches[0])
    wanted = {
        key: found
        for key, found in groups.items()
        if machine in (None, key[0]) and order.keys() & found.keys()
    }
    if not wanted:
        where = f" of the machine {machine!r}" if machine else ""
        raise NoHistory(
            f"{settings.results_dir} has no ratios to NumPy{where} of a commit on "
            f"{settings.branches[0]}"
        )

    def places(key: tuple[str, str]) -> list[int]:
        return [place for place, commit in enumerate(order) if commit in wanted[key]]

    chosen = max(wanted, key=lambda key: (places(key)[-1], len(places(key)), key))
    results = wanted[chosen]
    commits = [
        Commit(short, date, _speeds(results[commit], ratios))
        for commit, (short, date) in order.items()
        if commit in results
    ]
    left_out = [
        f"{len(found)} commits of the machine {name} in {environment}"
        for (name, environment), found in sorted(groups.items())
        if (name, environment) != chosen
    ]
    strays = len(results.keys() - order.keys())
    if strays:
        left_out.append(f"{strays} commits that are not on {settings.branches[0]}")
    newest = results[next(commit for commit in reversed(order) if commit in results)]
    return History(
        commits,
        {_kind(name): benchmark["param_names"] for name, benchmark in ratios.items()},
        _machine(Path(settings.results_dir), newest),
        left_out,
    )


def _kind(name: str) -> str:
    """`Square` of kernels_matmul.SquareBesideNumPy.track_time_over_numpy."""
    return name.removesuffix(RATIO).rpartition(".")[2]


def _branch(repository: Path, branch: str) -> dict[str, tuple[str, str]]:
    """Commits in git's order: hash to (short hash, date)."""
    shown = ["--reverse", "--topo-order", "--abbrev=8", "--format=%H %h %cs"]
    listed = subprocess.run(
        ["git", "-C", str(repository), "log", *shown, f"refs/heads/{branch}"],
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        raise NoHistory(f"{repository.resolve()} has no local branch {branch!r}")
    commits = map(str.split, listed.stdout.splitlines())
    return {full: (short, date) for full, short, date in commits}


def _speeds(result: Any, benchmarks: dict[str, Any]) -> dict[str, dict[tuple[str, ...], float]]:
    speeds = {}
    for name in result.get_result_keys(benchmarks):
        params = benchmarks[name]["params"]
        values = result.get_result_value(name, params)
        speeds[_kind(name)] = {
            tuple(map(_plain, chosen)): 1 / value
            for chosen, value in zip(itertools.product(*params), values, strict=True)
            if value and math.isfinite(value)  # a failure is None, a skipped benchmark NaN
        }
    return speeds


def _plain(value: str) -> str:
    """asv stores the repr of a parameter."""
    return value.strip("'")


def _machine(results: Path, newest: Any) -> dict[str, str]:
    record = load_json(str(results / newest.params["machine"] / "machine.json"))
    python = newest.params["python"]
    memory = int(record["ram"]) / 2**30 if str(record.get("ram", "")).isdigit() else 0
    # asv records each of these, but any may be missing.
    cores = f"{record['num_cpu']} cores" if record.get("num_cpu") else ""
    found = {
        "machine": record["machine"],
        "CPU": ", ".join(filter(None, (record.get("cpu"), cores))),
        "memory": f"{memory:.0f} GiB" if memory else "",
        "system": " ".join(filter(None, (record.get("os"), record.get("arch")))),
        # asv run --python=same leaves a path there.
        "python": "" if "/" in python else python,
        **{name: version for name, version in newest.params.items() if name in _LIBRARIES},
        "set in the environment": " ".join(
            f"`{name}={value}`" for name, value in newest.env_vars.items()
        ),
    }
    return {name: value for name, value in found.items() if value}


_LIBRARIES = ("numpy", "numba")


# --- lines of the picture ---


def lines_of(history: History, curves: list[Curve]) -> Iterator[tuple[str, list[float | None]]]:
    """(label, a speed or None by commit) of a panel."""
    for curve in curves:
        recorded = [commit.speeds.get(curve.benchmark, {}) for commit in history.commits]
        names = history.param_names.get(curve.benchmark, [])
        if curve.by is None:
            yield from _unless_empty(curve.label, recorded)
        elif curve.by in names:
            place = names.index(curve.by)
            values = dict.fromkeys(chosen[place] for speeds in recorded for chosen in speeds)
            for value in values:
                some = [
                    {chosen: speed for chosen, speed in speeds.items() if chosen[place] == value}
                    for speeds in recorded
                ]
                yield from _unless_empty(value.partition(":")[0], some)


def _unless_empty(
    label: str, recorded: list[dict[tuple[str, ...], float]]
) -> Iterator[tuple[str, list[float | None]]]:
    """The geometric means; a commit that lacks one of the sizes has no point."""
    most = max(map(len, recorded), default=0)
    if most:
        yield (
            label,
            [_mean(list(speeds.values())) if len(speeds) == most else None for speeds in recorded],
        )


def _mean(speeds: list[float]) -> float:
    return math.exp(sum(map(math.log, speeds)) / len(speeds))


# --- the page ---


def page(history: History, picture: str) -> str:
    """The page, in Markdown."""
    first, last = history.commits[0], history.commits[-1]
    parts = [
        "# Speed by commit, beside NumPy",
        f"How many times as fast as NumPy, on one thread, from {first.date} ({first.short}) to "
        f"{last.date} ({last.short}). The others are in "
        "[Beside NumPy, PyTorch, JAX and scikit-learn](benchmarks.md).",
        f"![NumPy's time over numba-layers', by commit]({picture})",
        "The same benchmarks, as they are now, have timed each commit; a commit without what a "
        "benchmark times has no point. A ratio is the median of 15 pairs, ours and NumPy's in turn "
        "in one process. One command draws this from what asv has recorded:",
        "```sh\npython asv_benchmarks/history.py --out docs\n```",
        f"## The latest commit: {last.short}, {last.date}",
        "NumPy's time over numba-layers': above 1, numba-layers is faster.",
    ]
    for kind in sorted(last.speeds, key=_rank):
        parts += [
            f"### {TITLES.get(kind, kind)}",
            _table(history.param_names[kind], last.speeds[kind]),
        ]
    if history.left_out:
        parts += ["## Left out", "\n".join(f"- {line}" for line in history.left_out)]
    rows = [f"| {name} | {value} |" for name, value in history.machine.items()]
    recorded = f"| recorded commits | {len(history.commits)} |"
    written = f"| page written | {datetime.now(UTC):%Y-%m-%d} |"
    parts += ["## The machine", "\n".join(["| | |", "| --- | --- |", *rows, recorded, written])]
    return "\n\n".join(parts) + "\n"


def _rank(kind: str) -> tuple[int, str]:
    return list(TITLES).index(kind) if kind in TITLES else len(TITLES), kind


def _table(names: list[str], speeds: dict[tuple[str, ...], float]) -> str:
    """The last parameter across, the others down."""
    across = list(dict.fromkeys(chosen[-1] for chosen in speeds))
    down = list(dict.fromkeys(chosen[:-1] for chosen in speeds))
    lines = [
        [", ".join(names[:-1]) or names[-1], *across],
        ["---", *["---:"] * len(across)],
    ]
    for chosen in down:
        cells = [speeds.get((*chosen, value)) for value in across]
        label = ", ".join(chosen) or "speed"
        lines.append([label, *("" if cell is None else f"×{report.times(cell)}" for cell in cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def link_from(benchmarks: Path) -> None:
    """Add a link to this page to the bench's page, which another command writes."""
    if not benchmarks.exists():
        return
    text = benchmarks.read_text(encoding="utf-8")
    if report.HISTORY not in text:
        changed = re.sub(r"\n\n(?=!\[|## )", f"\n\n{report.HISTORY}\n\n", text, count=1)
        benchmarks.write_text(changed, encoding="utf-8")


# --- the command ---


def main() -> int:
    """Run the command line: draw and write."""
    parser = argparse.ArgumentParser(description="Speed by commit: a picture and a page.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to")
    parser.add_argument("--config", type=Path, default=CONFIG, help="asv's configuration")
    parser.add_argument("--machine", help="whose results; by default, that of the latest commit")
    arguments = parser.parse_args()
    try:
        history = read(arguments.config, arguments.machine)
    except NoHistory as reason:
        print(f"history: {reason}", file=sys.stderr)
        return 1
    from asv_benchmarks.history_picture import draw

    arguments.out.mkdir(parents=True, exist_ok=True)
    draw(
        [c.short for c in history.commits],
        [c.date for c in history.commits],
        {title: list(lines_of(history, curves)) for title, curves in PANELS.items()},
        arguments.out / "history.png",
    )
    (arguments.out / "history.md").write_text(page(history, "history.png"), encoding="utf-8")
    link_from(arguments.out / "benchmarks.md")
    print(f"Written: {arguments.out / 'history.md'}, with history.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
