"""What the columns of a table do around a network, in numbers that a graph can hold."""

from typing import Any, NamedTuple

import numpy as np

from layers.base import Array
from layers.sequential import Sequential


class Scale(NamedTuple):
    """Mean and standard deviation of each column, (n,)."""

    mean: Array
    deviation: Array


class Around(NamedTuple):
    """What comes before and after a network.

    Attributes
    ----------
    inputs : Scale or None
        By which inputs are standardised.
    target : Scale or None
        By which predictions are brought into the target's unit.
    names : list of str or None
        Of the inputs, in their order.
    classes : tuple of str, tuple of int, or None
    """

    inputs: Scale | None = None
    target: Scale | None = None
    names: list[str] | None = None
    classes: tuple[Any, ...] | None = None


def around(model: Sequential, place: str) -> Around:
    """What the columns of a model do.

    Raises
    ------
    ValueError
        They are not all numbers without gaps: it names the first other one.
    """
    columns: Any = model.columns
    if columns is None or not hasattr(columns, "decisions"):  # arrays, taken as they are
        return Around(classes=model.classes)
    used = [each for each in columns.decisions if each.width]
    for each in used:
        if each.kind != "number" or each.n_missing:
            raise ValueError(
                f"{place}: column {each.name!r} is a {each}; a graph takes numbers without gaps, "
                "expected columns of such alone. The network by itself, for what Columns.transform "
                "gives, is written after model.columns = None by model.save (export "
                "--without-columns)"
            )
    target = None if columns.classes else _scale([columns.goal])
    classes = model.classes or columns.classes
    if not classes or classes == tuple(range(len(classes))):
        classes = None
    return Around(_scale(used), target, [each.name for each in used], classes)


def _scale(decisions: list[Any]) -> Scale:
    return Scale(
        np.array([each.mean for each in decisions]),
        np.array([each.deviation for each in decisions]),
    )
