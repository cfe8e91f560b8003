"""Pictures of predictions: a confusion matrix, the regions of two columns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import ListedColormap

from layers.base import Array
from layers.command_line.tables import confusion as counts_of
from layers.plots.figure import OF_CLASSES, Picture, written

if TYPE_CHECKING:
    from layers.sequential import Sequential

_STEPS = 300
"""Points of the plane, each way."""
_MOST_NUMBERED = 40
"""Classes up to which a cell of a confusion matrix has its number."""


def confusion(
    labels: Any, predicted: Any, names: Sequence[str] | None = None, path: Any = None
) -> Picture:
    """How many rows of each class were predicted as which; what is off the diagonal is wrong.

    Parameters
    ----------
    labels, predicted : array_like of int or str, (n,)
        Class indices, or both names of classes.
    names : sequence of str, optional
        Of the classes, in the order of their indices; where labels are names, in the order that
        the picture is to have.
    path : path, optional
        Where to write the picture, too.

    Returns
    -------
    matplotlib.figure.Figure
    """
    labels, predicted, names = _with_names(np.asarray(labels), np.asarray(predicted), names)
    labels, predicted = _indices("labels", labels), _indices("predicted", predicted)
    if len(labels) != len(predicted):
        raise ValueError(
            f"plots.confusion: predicted has {len(predicted)} rows, expected {len(labels)}"
        )
    classes = int(max(labels.max(), predicted.max())) + 1
    if names is not None and len(names) < classes:
        raise ValueError(
            f"plots.confusion: names has {len(names)} names, expected {classes}, one for each class"
        )
    shown = [str(index) for index in range(classes)] if names is None else list(names)
    size = max(4.0, 0.5 * min(len(shown), _MOST_NUMBERED) + 1.5)
    figure = Picture(size, size)
    right = np.count_nonzero(labels == predicted)
    draw_confusion(figure.subplots(), labels, predicted, shown)
    figure.suptitle(f"{right} of {len(labels)} rows right ({right / len(labels):.1%})")
    return written(figure, path)


def draw_confusion(axes: Any, labels: Array, predicted: Array, names: Sequence[str]) -> None:
    """Counts by class and prediction: right ones blue, wrong ones orange."""
    counts = counts_of(labels, predicted, len(names))
    most = max(counts.max(), 1)
    is_right = np.eye(len(names), dtype=bool)
    for kind, colours in ((is_right, "Blues"), (~is_right, "Oranges")):
        drawn = np.ma.masked_where(~kind | (counts == 0), counts)
        # Pale, so that the numbers read; the few that are wrong show, and look like few.
        scale = max(counts[kind].max(initial=0), most / 4)
        axes.imshow(drawn, cmap=colours, vmin=0, vmax=2 * scale)
    if len(names) <= _MOST_NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                weight = "bold" if row != column else "normal"
                axes.text(column, row, str(count), ha="center", va="center", fontweight=weight)
    ticks = range(0, len(names), -(-len(names) // _MOST_NUMBERED))
    shown = [names[tick] for tick in ticks]
    axes.set(xlabel="prediction", ylabel="class", xticks=ticks, yticks=ticks)
    axes.set(xticklabels=shown, yticklabels=shown)
    if max(map(len, shown)) > 3:
        axes.tick_params(axis="x", rotation=45)
    axes.tick_params(length=0)
    axes.spines[:].set(color="#CCCCCC", linewidth=0.8)


def decision_regions(
    model: "Sequential", x: Any, y: Any, names: Sequence[str] | None = None, path: Any = None
) -> Picture:
    """Which class a model predicts where in the plane, and the rows with their classes.

    Parameters
    ----------
    model : Sequential
        Of two columns, whose loss is one of classes.
    x : array_like, (n, 2)
    y : array_like of int, (n,)
    names : sequence of str, optional
        Of the two columns.
    path : path, optional
        Where to write the picture, too.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if model.n_in != 2 or model.loss.takes == "numbers":
        raise ValueError(
            f"plots.decision_regions: the model has {model.n_in} columns and {model.loss!r}, "
            "expected two columns and a loss of classes"
        )
    x, labels = np.asarray(x, np.float64), _indices("y", y)
    low, high = x.min(axis=0), x.max(axis=0)
    room = 0.08 * (high - low) + 1e-9
    first, second = (
        np.linspace(a - r, b + r, _STEPS) for a, b, r in zip(low, high, room, strict=True)
    )
    plane = np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)
    found = np.asarray(model.predict(plane.astype(model.dtype))).reshape(_STEPS, _STEPS)
    classes = int(max(found.max(), labels.max())) + 1
    colours = ListedColormap([OF_CLASSES[index % len(OF_CLASSES)] for index in range(classes)])
    limits = {"vmin": -0.5, "vmax": classes - 0.5, "cmap": colours}
    figure = Picture(6, 5)
    axes: Any = figure.subplots()
    axes.pcolormesh(first, second, found, alpha=0.25, shading="nearest", **limits)
    points = axes.scatter(x[:, 0], x[:, 1], c=labels, s=18, edgecolors="white", lw=0.4, **limits)
    axes.legend(*points.legend_elements(), title="class", frameon=False, loc="upper left")
    columns = names if names is not None else ("first column", "second column")
    axes.set(xlabel=columns[0], ylabel=columns[1], title="Predicted class by place")
    axes.spines[["top", "right"]].set_visible(False)
    return written(figure, path)


def _with_names(
    labels: Array, predicted: Array, names: Sequence[str] | None
) -> tuple[Array, Array, Sequence[str] | None]:
    """Indices in the place of names."""
    if not all(each.ndim == 1 and each.dtype.kind in "UO" for each in (labels, predicted)):
        return labels, predicted, names
    found = sorted({*map(str, labels), *map(str, predicted)})
    order = found if names is None else [str(name) for name in names]
    if unknown := [name for name in found if name not in order]:
        raise ValueError(
            f"plots.confusion: names has not {unknown[0]!r}, which is a class: {order}"
        )
    index = {name: at for at, name in enumerate(order)}
    first, second = (np.array([index[str(n)] for n in each]) for each in (labels, predicted))
    return first, second, order


def _indices(name: str, value: Any) -> Array:
    array = np.asarray(value)
    if array.ndim != 1 or array.dtype.kind not in "iub" or not len(array):
        raise ValueError(
            f"plots: {name} has shape {array.shape} and dtype {array.dtype}, expected class "
            "indices (n,)"
        )
    return array.astype(np.int64)
