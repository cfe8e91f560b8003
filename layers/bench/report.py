"""The tables, as text and as a Markdown page."""

from collections.abc import Mapping, Sequence
from typing import Any

from layers.bench.cases import LEARNING_RATE, ROWS
from layers.bench.interleaved import threads_in_words
from layers.bench.libraries import OURS, SIDES
from layers.bench.results import Other, Results, Row
from layers.bench.verdict import Duel, verdict
from layers.command_line.tables import aligned

_HEADINGS = {
    "step": "One training step",
    "epoch": "A whole shuffled epoch",
    "predict": "A prediction",
}
_BUSY = 1.2
HISTORY = "[How the speed changed, commit by commit](history.md)"
"""The link to the page of asv_benchmarks/history.py, if it exists."""
_EXPLAINED = {
    "step": "forward, loss, backward and SGD; float32",
    "epoch": "{rows:,} x {features} rows, from the permutation to the last update",
    "predict": "one call for one row",
}


def judged(results: Results) -> str:
    """The verdict on these results."""
    training = [_duel(row, row.fastest) for row in results.rows("step", "epoch") if row.fastest]
    predicting = [_duel(row, row.fastest) for row in results.rows("predict") if row.fastest]
    by_hand = [row.fastest_by_hand for row in results.rows("step", "epoch")]
    return verdict(training, predicting, [other.ratio for other in by_hand if other])


def _duel(row: Row, fastest: Other) -> Duel:
    what = "an epoch of " if row.case.kind == "epoch" else ""
    return Duel(f"{what}{row.case.title}, {_threads(row, 'on ')}", fastest.title, fastest.ratio)


def _threads(row: Row, before: str = "") -> str:
    return "each at its best" if row.threads is None else before + threads_in_words(row.threads)


def duration(seconds: float) -> str:
    """Seconds with three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= 0.9995 * size or unit == "µs":
            number = seconds / size
            digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
            return f"{number:.{digits}f} {unit}"
    raise AssertionError


def times(ratio: float) -> str:
    """A ratio with three digits below 2, where one decimal would hide which side is faster."""
    return f"{ratio:.2f}" if ratio < 1.995 else f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"


def busy(results: Results) -> str | None:
    """A warning if even our own times varied much; else None."""
    unrest = max((measured.unrest() for measured in results.measured), default=1.0)
    if unrest < _BUSY:
        return None
    return (
        f"This machine was busy: the middle half of numba-layers' own times lay up to "
        f"{unrest:.1f} times apart. Measure again when nothing else runs."
    )


def left_out(results: Results) -> list[str]:
    """A line for each side left out, and for what only a full run has."""
    lines = [str(entry) for entry in results.left_out]
    if results.left_to_full:
        lines.append(f"{'; '.join(results.left_to_full)}: only with --full")
    return lines


# --- as text --------------------------------------------------------------------------------------


def text(results: Results) -> str:
    """The tables: our time, and the others' as multiples of it."""
    parts = []
    for kind, heading in _HEADINGS.items():
        rows = results.rows(kind)
        if rows:
            parts.append(f"{heading}: {_explained(rows)}\n\n{_text_table(results, rows)}")
    return "\n\n".join(parts)


def _explained(rows: Sequence[Row]) -> str:
    case = rows[0].case
    return _EXPLAINED[case.kind].format(rows=case.rows, features=case.widths[0])


def _text_table(results: Results, rows: Sequence[Row]) -> str:
    sides = _shown(results, rows)
    table = [["  network", "threads", *(SIDES[side].title for side in sides)]]
    for row in rows:
        others = {other.side: f"x {times(other.ratio)}" for other in row.others}
        table.append(
            [
                f"  {row.case.title}",
                "best" if row.threads is None else str(row.threads),
                *(others.get(side, "-") for side in sides),
            ]
        )
        table[-1][2] = duration(row.seconds)
    return aligned(table)


def _shown(results: Results, rows: Sequence[Row]) -> list[str]:
    """The sides with a number in at least one row, ours first."""
    present = {OURS, *(other.side for row in rows for other in row.others)}
    return [side for side in results.sides if side in present]


# --- as Markdown ----------------------------------------------------------------------------------


def markdown(results: Results, picture: str | None, links: Sequence[str] = ()) -> str:
    """The whole page.

    Parameters
    ----------
    results : Results
    picture : str, optional
        The file's name, in the page's folder.
    links : sequence of str
        Lines with links to related pages.
    """
    parts = [
        "# Beside NumPy, PyTorch, JAX and scikit-learn",
        f"**{judged(results)}**",
        "One command measures this on your machine and writes this page:",
        f"```sh\n{results.command}\n```",
        "The others come with `pip install -e '.[bench]'`; who is not installed is left out, and "
        "the CPU build of PyTorch is enough. It takes two or three minutes, with `--full` ten to "
        "fifteen.",
    ]
    parts += links
    if picture is not None:
        parts.append(f"![Time of every side beside numba-layers']({picture})")
    for kind, heading in _HEADINGS.items():
        rows = results.rows(kind)
        if rows:
            parts += [f"## {heading}", f"{_capital(_explained(rows))}.", _table(results, rows)]
    parts += ["## How it was measured", _method(results)]
    warning = busy(results)
    if warning is not None:
        parts.append(f"**{warning}**")
    missing = left_out(results)
    if missing:
        parts += ["## Left out", "\n".join(f"- {line}" for line in missing)]
    parts += ["## The machine", _machine(results)]
    return "\n\n".join(parts) + "\n"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _table(results: Results, rows: Sequence[Row]) -> str:
    sides = _shown(results, rows)
    lines = [
        ["network", "threads", *(SIDES[side].title for side in sides), "fastest library"],
        ["---", *["---:"] * (len(sides) + 1), "---"],
    ]
    for row in rows:
        cells = {other.side: _cell(row, other) for other in row.others}
        cells[OURS] = duration(row.seconds) + _count(row, row.ours_threads)
        lines.append(
            [
                row.case.title,
                "best" if row.threads is None else str(row.threads),
                *(cells.get(side, "") for side in sides),
                _fastest(row),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: Row, other: Other) -> str:
    return f"{duration(other.seconds)}{_count(row, other.threads)} (×{times(other.ratio)})"


def _count(row: Row, threads: int) -> str:
    return f" on {threads}" if row.threads is None else ""


def _fastest(row: Row) -> str:
    other = row.fastest
    if other is None:
        return ""
    return f"{other.title} ×{other.ratio:.2f} ({other.low:.2f} to {other.high:.2f})"


def _method(results: Results) -> str:
    rounds = sorted({len(measured.rounds) for measured in results.measured})
    span = f"{rounds[0]} to {rounds[-1]}" if len(rounds) > 1 else f"{rounds[0]}"
    epochs = [measured.case for measured in results.measured if measured.case.kind == "epoch"]
    lines = [
        "A number after × is the other side's time over numba-layers': above 1, numba-layers is "
        "faster. It is the median of ratios taken round by round; in brackets the least and the "
        "most.",
        "Every side on every number of threads is a process of its own. They take turns, one at a "
        f"time, in {span} rounds; whoever is not at work is stopped, so that no waiting thread "
        "takes a core from another.",
        f"SGD has a rate of {LEARNING_RATE}, and each turn starts from first weights. Before a "
        "case, all have to agree on the loss before and after one step from the same weights, to a "
        "thousandth; after each turn, the loss has to be finite.",
        "A turn lasts about 50 ms or, where it is longer, one pass over the batches or one epoch.",
        "A step of numba-layers and of scikit-learn is a `fit` of many batches without a shuffle, "
        "divided by the batches. The others take slices of the same batches in a Python loop; "
        "JAX scan and Numba take all of them in one compiled call.",
        "Numba + MKL and Numba + OpenBLAS are what an expert writes without a C compiler: a whole "
        "pass in one compiled function, fast-math loops between products by `cblas_sgemm`, and no "
        "memory taken while it trains. The library's threads share a product; the loops have one. "
        "Their prediction checks nothing.",
    ]
    if epochs:
        rows = epochs[0].rows
        shorter = "" if rows == ROWS else f", {rows:,} rows instead of {ROWS:,}"
        lines.append(
            "An epoch, end to end: `fit`; a NumPy permutation and `x[rows]`; PyTorch's `randperm` "
            "and `index_select`; for JAX a permutation and a gather in the compiled step; for "
            "Numba both in the compiled pass. The data are noise over ten patterns, in "
            f"Fashion-MNIST's shape{shorter}."
        )
    lines.append(
        "On one thread a process may use one CPU only. “Best” compares each side at the number of "
        "threads that suits it."
    )
    return "\n".join(f"- {line}" for line in lines)


def cpu(machine: Mapping[str, Any]) -> str:
    """The CPU of a results' machine, in words."""
    cores = f"{machine['cores']} core{'s' if machine['cores'] != 1 else ''}"
    return f"{machine['cpu']} ({machine['llvm_cpu']}), {cores}"


def _machine(results: Results) -> str:
    machine = results.machine
    rows = [
        ("CPU", cpu(machine)),
        ("system", machine["system"]),
        *results.versions.items(),
        ("date", results.date),
    ]
    if machine["environment"]:
        settings = " ".join(f"{name}={value}" for name, value in machine["environment"].items())
        rows.append(("set in the environment", f"`{settings}`"))
    lines = ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines)
