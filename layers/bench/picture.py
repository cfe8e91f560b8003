"""The table as a picture; needs matplotlib."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from layers.bench.libraries import OURS, SIDES
from layers.bench.report import duration
from layers.bench.results import Results, Row

# Okabe and Ito's colours, distinguishable with all common kinds of colour vision, and shapes.
STYLES = {
    "numpy": ("#0072B2", "o"),
    "torch": ("#D55E00", "s"),
    "torch-compile": ("#CC79A7", "D"),
    "jax": ("#009E73", "^"),
    "jax-scan": ("#56B4E9", "v"),
    "sklearn": ("#E69F00", "P"),
    "numba-mkl": ("#8C6D1F", "*"),
    "numba-openblas": ("#7A7A7A", "X"),
}
INK, GREY = "#222222", "#666666"


def draw(results: Results, path: Path) -> None:
    """Every other side's time over ours, one line per row of the table."""
    rows = results.rows("step", "epoch", "predict")
    figure = Figure(figsize=(10, 1.7 + 0.36 * len(rows)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # a file, also without a display
    axes: Any = figure.subplots()
    for side in results.sides:
        points = [
            (other.ratio, height)
            for height, row in enumerate(rows)
            for other in row.others
            if other.side == side
        ]
        if points and side != OURS:
            colour, marker = STYLES[side]
            across, heights = zip(*points, strict=True)
            label = SIDES[side].title
            axes.scatter(across, heights, 42, colour, marker=marker, label=label, zorder=3)
    axes.axvline(1, color=INK, lw=1.5, label="numba-layers", zorder=2)
    _scales(axes, rows)
    figure.suptitle(
        "Time beside numba-layers': to the right of the line, numba-layers is faster",
        fontsize=12,
        fontweight="bold",
    )
    figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    figure.savefig(path)


def _scales(axes: Any, rows: list[Row]) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.8), max(high, 2.5))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"×{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(rows)), [duration(row.seconds) for row in rows], fontsize=9)
    right.set_ylabel("numba-layers takes", color=GREY)
    right.tick_params(length=0, colors=GREY)
    right.spines["right"].set_visible(False)


def _label(row: Row) -> str:
    what = {"step": "step", "epoch": "epoch", "predict": "predict"}[row.case.kind]
    threads = "each at its best" if row.threads is None else f"threads: {row.threads}"
    return f"{what}, {row.case.title}, {threads}"
