"""Pictures of a training run; needs matplotlib."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)

from layers.base import Array
from layers.command_line.tables import confusion
from layers.replacing import replace_file
from layers.training.history import History

# Okabe and Ito's colours, told apart by all common kinds of colour vision.
_BLUE, _ORANGE, _RED, _GREY = "#0072B2", "#E69F00", "#D55E00", "#666666"
_COLUMNS, _ROWS = 6, 6

MADE_BY = "numba-layers: python -m layers"


def formats() -> set[str]:
    """The endings of file names that a picture may have."""
    return set(FigureCanvasAgg.get_supported_filetypes())


def digits(history: History, x: Array, labels: Array, predicted: Array, path: Path) -> None:
    """Curves, test digits with their predictions, and the confusion matrix, in one file.

    Parameters
    ----------
    history : History
        With validation data.
    x : ndarray, (n, 64)
        Test images of 8 x 8, 0 to 1.
    labels, predicted : ndarray of int, (n,)
    path : Path
    """
    figure = _figure(15, 6.4)
    wrong = np.count_nonzero(predicted != labels)
    figure.suptitle(
        f"Handwritten digits after {history.epochs} epochs: {len(x) - wrong} of {len(x)} test "
        f"images right ({(len(x) - wrong) / len(x):.1%})",
        fontsize=15,
        fontweight="bold",
    )
    left, middle, right = figure.subfigures(
        1, 3, width_ratios=(1, 1.05, 0.95), wspace=0.04, squeeze=False
    )[0]
    _curves(left, history)
    _grid(middle, x, labels, predicted)
    _confusion(right.subplots(), labels, predicted)
    _write(figure, path, metadata={"Software": MADE_BY})


def curves(history: History, path: Path) -> None:
    """Loss and accuracy by epoch, in one file."""
    figure = _figure(7, 7)
    _curves(figure, history)
    _write(figure, path)


def is_own(path: Path) -> bool:
    """Whether `digits` has made a file: it puts its name into the picture."""
    with path.open("rb") as file:
        start = file.read(1024)
    return start.startswith(b"\x89PNG") and b"tEXtSoftware\0" + MADE_BY.encode() in start


def _write(figure: Figure, path: Path, **options: Any) -> None:
    form = path.suffix[1:].lower() or "png"
    replace_file(path, lambda file: figure.savefig(file, format=form, **options), "plots")


def _figure(width: float, height: float) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.06)
    figure = Figure(figsize=(width, height), dpi=150, layout=layout)
    FigureCanvasAgg(figure)  # a file, whatever display there is
    return figure


def _curves(figure: Any, history: History) -> None:
    shown = ["loss", "accuracy"] if "accuracy" in history else ["loss"]
    every = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    epochs = np.arange(1, history.epochs + 1)
    marker = "o" if history.epochs == 1 else None  # a line needs two points
    for axes, name in zip(every, shown, strict=True):
        for key, colour, label in (
            (name, _BLUE, "training, during the epoch"),
            (f"val_{name}", _ORANGE, "rows held out, after it"),
        ):
            if key in history:
                axes.plot(epochs, history[key], marker=marker, color=colour, label=label, lw=2)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    every[0].legend(frameon=False)
    unit = "cross-entropy per row (nats)" if "accuracy" in history else "mean over the rows"
    every[0].set(title="Loss", ylabel=unit)
    _log_scale(every[0].yaxis, every[0])
    every[-1].set_xlabel("epoch")
    every[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if "accuracy" in history:
        every[-1].set(title="Accuracy", ylabel="share of rows predicted right")
        every[-1].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))


def _log_scale(axis: Any, axes: Any) -> None:
    """Logarithmic, with plain numbers at 1, 2 and 5, where the numbers are far enough apart."""
    numbers = np.concatenate([line.get_ydata() for line in axes.lines])
    if numbers.min() <= 0 or numbers.max() < 8 * numbers.min():
        return
    axes.set_yscale("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _grid(figure: Any, x: Array, labels: Array, predicted: Array) -> None:
    """The wrong ones first, marked, then right ones."""
    wrong = np.flatnonzero(predicted != labels)
    right = np.flatnonzero(predicted == labels)
    shown = np.concatenate([wrong, right])[: _COLUMNS * _ROWS]
    figure.suptitle("Test images with their predictions, the wrong ones first", fontsize="large")
    for place, axes in enumerate(figure.subplots(_ROWS, _COLUMNS).flat):
        axes.set(xticks=[], yticks=[])
        if place >= len(shown):
            axes.set_visible(False)
            continue
        index = shown[place]
        axes.imshow(x[index].reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        _mark(axes, int(predicted[index]), int(labels[index]))


def _mark(axes: Any, predicted: int, label: int) -> None:
    is_wrong = predicted != label
    axes.set_title(
        f"{predicted}, not {label}" if is_wrong else f"{predicted}",
        fontsize="medium",
        pad=3,
        color=_RED if is_wrong else _GREY,
        fontweight="bold" if is_wrong else "normal",
    )
    for spine in axes.spines.values():
        spine.set(color=_RED if is_wrong else "#CCCCCC", linewidth=2.5 if is_wrong else 0.8)


def _confusion(axes: Any, labels: Array, predicted: Array) -> None:
    """Counts by label and prediction; what lies off the diagonal is wrong."""
    counts = confusion(labels, predicted, 10)
    axes.imshow(
        counts, cmap="Blues", vmin=0, vmax=2 * counts.max()
    )  # pale, so that the numbers read
    for (row, column), count in np.ndenumerate(counts):
        if count:
            is_wrong = row != column
            axes.text(
                column,
                row,
                str(count),
                ha="center",
                va="center",
                color=_RED if is_wrong else "black",
                fontweight="bold" if is_wrong else "normal",
            )
    axes.set(
        title="Test images by digit",
        xlabel="prediction",
        ylabel="digit",
        xticks=range(10),
        yticks=range(10),
    )
    axes.tick_params(length=0)
    axes.spines[:].set(color="#CCCCCC", linewidth=0.8)
