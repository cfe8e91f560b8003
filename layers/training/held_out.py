"""Which rows are set apart for validation: as large a part of each class."""

import math
from typing import Any

import numpy as np

from layers import seeds
from layers.backends import active
from layers.base import Array
from layers.stratified import part_of_each


def held_out_rows(place: str, key: int, targets: Array, fraction: float, by_class: bool) -> Array:
    """The rows to set apart, ascending: the same for the same key and targets.

    Parameters
    ----------
    place : str
        Who asks, for the error.
    key : int
        Of the model's random numbers.
    targets : ndarray, (n,) or (n, n_out)
        Checked.
    fraction : float
        Above 0, below 1; the number of rows is rounded, and no part may be empty.
    by_class : bool
        Whether targets are classes, of each of which as large a part is taken.
    """
    n = len(targets)
    count = math.floor(n * fraction + 0.5)
    if not 0 < count < n:
        raise ValueError(
            f"{place}: validation_fraction {fraction:g} of {n} rows leaves {n - count} to train on "
            f"and {count} to validate on, expected at least one of each"
        )
    order = np.arange(n)
    active().permutation(key, seeds.HELD_OUT, order)
    if not by_class:
        return np.sort(order[:count])
    return np.sort(part_of_each(order, _classes(targets), fraction, count))


def _classes(targets: Array) -> Any:
    """One number a row: its class index, or that of its largest target."""
    if targets.ndim == 1:
        return targets
    return targets.argmax(axis=1) if targets.shape[1] > 1 else targets[:, 0] > 0.5
