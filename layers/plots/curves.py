"""Curves: what training has measured by epoch, the loss by learning rate."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)

from layers.plots.figure import BLUE, GREY, ORANGE, Picture, plain, written
from layers.training.history import History

if TYPE_CHECKING:
    from layers.training.rate_finder import LearningRates


def curves(history: History, path: Any = None) -> Picture:
    """Loss and metrics by epoch, on the rows trained on and on those of validation.

    Parameters
    ----------
    history : History
        Of at least one epoch.
    path : path, optional
        Where to write the picture, too; its ending says in which format.

    Returns
    -------
    matplotlib.figure.Figure
    """
    count = len(names_of(history))
    figure = Picture(7, 3.5 * count if count > 1 else 4.5)
    draw_curves(figure, history, names_of(history))
    return written(figure, path)


def names_of(history: History) -> list[str]:
    """What there is a curve of: the loss first."""
    if not history.epochs:
        raise ValueError("plots.curves: history has no epochs, expected at least one")
    return list(dict.fromkeys(name.removeprefix("val_") for name in history))


def draw_curves(figure: Any, history: History, names: list[str], held: str = "validation") -> None:
    """One panel for each name."""
    epochs = np.arange(1, history.epochs + 1)
    marker = "o" if history.epochs == 1 else None  # a line needs two points
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        for key, colour, label in (
            (name, BLUE, "training, during the epoch"),
            (f"val_{name}", ORANGE, f"{held}, after it"),
        ):
            if key in history:
                axes.plot(epochs, history[key], marker=marker, color=colour, label=label, lw=2)
        plain(axes)
        axes.set(title=_title(name))
        if name.endswith("accuracy"):
            axes.set(ylabel="share of rows predicted right")
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        if name == "loss":
            axes.set(ylabel="mean over rows")
            _log_scale(axes.yaxis, axes)
    panels[0].legend(frameon=False)
    panels[-1].set(xlabel="epoch")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def learning_rates(found: "LearningRates", path: Any = None) -> Picture:
    """The mean loss by learning rate, and the rate that `find_learning_rate` suggests.

    Parameters
    ----------
    found : LearningRates
    path : path, optional
        Where to write the picture, too.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Picture(7, 4.5)
    axes: Any = figure.subplots()
    axes.plot(found.rates, found.losses, color=BLUE, lw=2)
    axes.axvline(found.suggestion, color=ORANGE, lw=2, label=f"suggested: {found.suggestion:.2g}")
    axes.set(xscale="log", title="Loss while the learning rate grows")
    axes.set(xlabel="learning rate", ylabel="moving mean of the loss")
    plain(axes)
    axes.legend(frameon=False, labelcolor=GREY)
    return written(figure, path)


def _title(name: str) -> str:
    words = name.replace("_", " ")
    return {"r2": "R²", "f1": "F1"}.get(words, words[:1].upper() + words[1:])


def _log_scale(axis: Any, axes: Any) -> None:
    """Logarithmic, with plain numbers at 1, 2 and 5, where the numbers are far enough apart."""
    numbers = np.concatenate([line.get_ydata() for line in axes.lines])
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers) or numbers.min() <= 0 or numbers.max() < 8 * numbers.min():
        return
    axes.set_yscale("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
