"""Pictures of a network: weights as images, activations and gradients layer by layer."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from layers.base import for_inference
from layers.plots.figure import BLUE, ORANGE, Picture, plain, written

if TYPE_CHECKING:
    from layers.sequential import Sequential

_MOST = 64
"""Units that are shown."""


def weights(
    model: "Sequential", shape: tuple[int, int], layer: int = 0, path: Any = None
) -> Picture:
    """The weights into each unit of a dense layer, as an image of the inputs' shape.

    Parameters
    ----------
    model : Sequential
    shape : (rows, columns)
        Of an image: rows times columns are the layer's inputs.
    layer : int
        Which layer; it has weights (n_in, n_out).
    path : path, optional
        Where to write the picture, too.

    Returns
    -------
    matplotlib.figure.Figure
        Of the first 64 units; white is 0, and all have one scale.
    """
    array = model.parameters().get(f"{layer}.weights")
    if array is None or array.shape[0] != math.prod(shape):
        held = "no weights" if array is None else f"weights of shape {array.shape}"
        raise ValueError(
            f"plots.weights: layer {layer} has {held}, expected ({math.prod(shape)}, n_out) for "
            f"images of shape {tuple(shape)}"
        )
    shown = array[:, :_MOST]
    columns = math.ceil(math.sqrt(shown.shape[1]))
    rows = -(-shown.shape[1] // columns)
    largest = float(abs(shown).max())
    figure = Picture(columns, rows + 0.5)
    figure.suptitle(f"Weights of layer {layer}, ±{largest:.2g}")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, unit in zip(panels, shown.T, strict=False):
        axes.imshow(unit.reshape(shape), cmap="RdBu", vmin=-largest, vmax=largest)
    return written(figure, path)


def activations(model: "Sequential", x: Any, path: Any = None) -> Picture:
    """How the outputs of each layer are distributed over the rows of x, as in inference.

    Parameters
    ----------
    model : Sequential
    x : array_like, (n, n_in)
    path : path, optional
        Where to write the picture, too.

    Returns
    -------
    matplotlib.figure.Figure
        A histogram for each layer, with its mean, deviation and share of zeros.
    """
    values, outputs = model._checked_data("activations", "x", x), []
    for layer in model.layers:
        values = for_inference(layer).forward(values, training=False)
        outputs.append(np.array(values))
    count = len(outputs)
    figure = Picture(7, 1.3 * count + 0.8)
    figure.suptitle("Outputs of each layer")
    panels = figure.subplots(count, 1, squeeze=False)[:, 0]
    for index, (axes, layer, each) in enumerate(zip(panels, model.layers, outputs, strict=True)):
        axes.hist(each.ravel(), bins=80, color=BLUE)
        axes.set(yticks=[], yscale="log")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_title(
            f"{index}  {type(layer).__name__}: mean {each.mean():.2g}, deviation "
            f"{each.std():.2g}, {np.count_nonzero(each == 0) / each.size:.0%} zeros",
            fontsize="medium",
            loc="left",
        )
    return written(figure, path)


def gradients(model: "Sequential", x: Any, y: Any, path: Any = None) -> Picture:
    """How large gradients are beside their parameters: root mean squares, on a logarithmic scale.

    Parameters
    ----------
    model : Sequential
        It stays as it is.
    x, y : array_like
        A batch, as `Sequential.gradients` takes it.
    path : path, optional
        Where to write the picture, too.

    Returns
    -------
    matplotlib.figure.Figure
    """
    held = model.parameters()
    found = {name: each for name, each in model.gradients(x, y).items() if name in held}
    sizes = np.array([[_size(held[name]), _size(found[name])] for name in found])
    places = np.arange(len(found))
    figure = Picture(7, 0.45 * len(found) + 1.5)
    axes: Any = figure.subplots()
    for offset, column, colour, label in (
        (-0.2, 0, BLUE, "parameter"),
        (0.2, 1, ORANGE, "gradient"),
    ):
        axes.barh(places + offset, sizes[:, column], 0.4, color=colour, label=label)
    axes.set(yticks=places, yticklabels=list(found), xscale="log", xlabel="root mean square")
    axes.set_title("Parameters and their gradients")
    axes.invert_yaxis()
    plain(axes)
    axes.legend(frameon=False)
    return written(figure, path)


def _size(array: Any) -> float:
    """The root mean square; not 0, which a logarithmic scale cannot show."""
    return max(float(np.sqrt(np.mean(np.square(array, dtype=np.float64)))), 1e-12)
