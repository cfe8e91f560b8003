"""Pictures of a training run; needs matplotlib."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from layers.base import Array
from layers.history import History

# Okabe and Ito's colours, told apart by all common kinds of colour vision.
_BLUE, _ORANGE, _RED, _GREY = "#0072B2", "#E69F00", "#D55E00", "#666666"
_COLUMNS, _ROWS = 8, 5


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # a file, whatever display there is
    return figure


def digits(history: History, x: Array, labels: Array, predicted: Array, path: Path) -> None:
    """Curves on the left, test digits with their predictions on the right, in one PNG file.

    Parameters
    ----------
    history : History
        With validation data.
    x : ndarray, (n, 64)
        Test images of 8 x 8, 0 to 1.
    labels, predicted : ndarray of int, (n,)
    path : Path
    """
    figure = _figure(13, 7)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25), wspace=0.03, squeeze=False)[0]
    _curves(left, history)
    _grid(right, x, labels, predicted)
    figure.savefig(path)


def curves(history: History, path: Path) -> None:
    """Loss and accuracy by epoch in one PNG file."""
    figure = _figure(7, 7)
    _curves(figure, history)
    figure.savefig(path)


def _curves(figure: Any, history: History) -> None:
    loss, accuracy = figure.subplots(2, 1, sharex=True)
    epochs = np.arange(1, history.epochs + 1)
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        for key, colour, label in ((name, _BLUE, "train"), (f"val_{name}", _ORANGE, "test")):
            if key in history:
                axes.plot(epochs, history[key], color=colour, label=label, linewidth=2)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    loss.set(title="Learning", ylabel="cross-entropy per image, nats", yscale="log")
    accuracy.set(xlabel="epoch", ylabel="accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    accuracy.xaxis.set_major_locator(MaxNLocator(integer=True))


def _grid(figure: Any, x: Array, labels: Array, predicted: Array) -> None:
    """The wrong ones first, marked, then right ones."""
    wrong = np.flatnonzero(predicted != labels)
    right = np.flatnonzero(predicted == labels)
    shown = np.concatenate([wrong, right])[: _COLUMNS * _ROWS]
    title = f"Test digits: {len(wrong)} of {len(x)} wrong"
    if len(wrong) > len(shown):
        title += f", {len(shown)} of them shown"
    figure.suptitle(title, fontsize="large")
    for place, axes in enumerate(figure.subplots(_ROWS, _COLUMNS).flat):
        axes.set(xticks=[], yticks=[])
        if place >= len(shown):
            axes.set_visible(False)
            continue
        index = shown[place]
        axes.imshow(x[index].reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        is_wrong = predicted[index] != labels[index]
        text = f"{predicted[index]}, not {labels[index]}" if is_wrong else f"{predicted[index]}"
        axes.set_title(
            text,
            fontsize="medium",
            pad=3,
            color=_RED if is_wrong else _GREY,
            fontweight="bold" if is_wrong else "normal",
        )
        for spine in axes.spines.values():
            spine.set(color=_RED if is_wrong else "#CCCCCC", linewidth=2.5 if is_wrong else 0.8)
