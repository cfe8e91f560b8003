"""The picture of the README's first command."""

from pathlib import Path
from typing import Any

import numpy as np

from layers.base import Array
from layers.plots.classes import draw_confusion
from layers.plots.curves import draw_curves
from layers.plots.figure import GREY, RED, Picture, written
from layers.training.history import History

_COLUMNS, _ROWS = 6, 6

MADE_BY = "numba-layers: python -m layers"


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
    figure = Picture(15, 6.4)
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
    draw_curves(left, history, ["loss", "accuracy"], "test")
    _grid(middle, x, labels, predicted)
    axes: Any = right.subplots()
    draw_confusion(axes, labels, predicted, [*map(str, range(10))])
    axes.set(title="Test images by digit", ylabel="digit")
    written(figure, path, metadata={"Software": MADE_BY})


def is_own(path: Path) -> bool:
    """Whether `digits` has made a file: it puts its name into the picture."""
    with path.open("rb") as file:
        start = file.read(1024)
    return start.startswith(b"\x89PNG") and b"tEXtSoftware\0" + MADE_BY.encode() in start


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
        color=RED if is_wrong else GREY,
        fontweight="bold" if is_wrong else "normal",
    )
    for spine in axes.spines.values():
        spine.set(color=RED if is_wrong else "#CCCCCC", linewidth=2.5 if is_wrong else 0.8)
