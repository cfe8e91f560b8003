"""Speed by commit as a picture; needs matplotlib."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from layers.bench.picture import GREY, INK, STYLES

Line = tuple[str, list[float | None]]
_MOST_DATES = 9
_LABEL_INCHES = 0.19


def draw(commits: list[str], dates: list[str], panels: dict[str, list[Line]], path: Path) -> None:
    """Draw panels below each other, with labelled lines.

    Parameters
    ----------
    commits, dates : list of str
        Short hashes and their dates, the oldest first.
    panels : dict
        By title, the lines: a label, and by commit NumPy's time over ours, or None.
    path : Path
        The file.
    """
    panels = {title: lines for title, lines in panels.items() if lines}
    heights = [max(1.5, _LABEL_INCHES * len(lines) + 0.9) for lines in panels.values()]
    figure = Figure(figsize=(10, sum(heights) + 1.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # a file, also without a display
    figure.get_layout_engine().set(hspace=0.08, w_pad=0.12, h_pad=0.08)
    rows: Any = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=heights)
    for axes, height, (title, lines) in zip(rows[:, 0], heights, panels.items(), strict=True):
        _panel(axes, title, lines, height)
    _commits(rows[-1, 0], commits, dates)
    figure.suptitle(
        "NumPy's time over numba-layers', by commit: above the line at ×1, numba-layers is faster",
        fontsize=12,
        fontweight="bold",
    )
    figure.savefig(path)


def _panel(axes: Any, title: str, lines: list[Line], height: float) -> None:
    axes.set_title(title.replace("`", ""), loc="left", fontsize=10, color=INK)
    axes.axhline(1, color=INK, lw=1.5, zorder=2)
    last = []
    for (label, speeds), (colour, marker) in zip(lines, _styles(len(lines)), strict=True):
        points = [(at, speed) for at, speed in enumerate(speeds) if speed is not None]
        across, up = zip(*points, strict=True)
        axes.plot(across, up, color=colour, marker=marker, ms=4, lw=1.5, zorder=3)
        last.append((points[-1], label, colour))
    _scale(axes, [speed for _, speeds in lines for speed in speeds if speed is not None])
    _labels(axes, last, height, len(lines[0][1]))


def _styles(count: int) -> list[tuple[str, str]]:
    """Colour and marker of each line, repeated if there are many."""
    styles = list(STYLES.values())
    return [styles[number % len(styles)] for number in range(count)]


def _scale(axes: Any, speeds: list[float]) -> None:
    axes.set_yscale("log")
    low, high = min(*speeds, 1.0), max(*speeds, 1.0)
    room = (high / low) ** 0.1
    axes.set_ylim(low / max(room, 1.05), high * max(room, 1.05))
    subs = (1, 2, 5) if high / low > 5 else (1, 1.2, 1.5, 2, 3, 4, 5, 7)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"×{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", length=0, labelsize=9)


def _labels(axes: Any, last: list[Any], height: float, commits: int) -> None:
    """Each line's label right of its last point, moved up or down until none covers another."""
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = sorted(
        (float(to_axes.transform(point)[1]), point, label, colour) for point, label, colour in last
    )
    gap = _LABEL_INCHES / max(height - 0.5, 0.5)
    places = [end[0] for end in ends]
    for _ in range(200):  # push neighbours apart, evenly, and back into the panel
        for lower in range(len(places) - 1):
            lack = gap - (places[lower + 1] - places[lower])
            if lack > 1e-6:
                places[lower] -= lack / 2
                places[lower + 1] += lack / 2
        if places:
            places = [place - min(0.0, places[0]) - max(0.0, places[-1] - 1) for place in places]
    for place, (_, point, label, colour) in zip(places, ends, strict=True):
        axes.annotate(
            f"{label}  ×{point[1]:.2f}",
            xy=point,
            xytext=(1.035, place),
            textcoords="axes fraction",
            fontsize=9,
            color=INK,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 1.2, "shrinkA": 2, "shrinkB": 3},
        )
    axes.set_xlim(-0.3 if commits > 1 else -1, commits - 0.85)


def _commits(axes: Any, commits: list[str], dates: list[str]) -> None:
    """Label as many commits as fit, always the newest."""
    step = -(-len(commits) // _MOST_DATES)
    shown = range((len(commits) - 1) % step, len(commits), step)
    axes.set_xticks(shown, [f"{commits[at]}\n{dates[at]}" for at in shown], fontsize=8)
    axes.set_xlabel("commit", color=GREY)
