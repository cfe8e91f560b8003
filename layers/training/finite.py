"""Rows that hold NaN or Inf: found, and named, before or after they have done harm."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from layers.base import Array

if TYPE_CHECKING:
    from layers.sequential import Sequential

_BYTES = 2**22
"""Of the rows that are looked at together."""


def not_finite(x: Array) -> Iterator[int]:
    """Rows of x (n, n_in) that hold NaN or Inf, ascending."""
    at_once = max(1, _BYTES // max(1, x[:1].nbytes))
    for start in range(0, len(x), at_once):
        fine = np.isfinite(x[start : start + at_once])
        if not fine.all():
            yield from (start + np.flatnonzero(~fine.all(axis=1))).tolist()


def named(name: str, row: int, values: Array) -> str:
    """What to say of a row that holds NaN or Inf."""
    column = int(np.flatnonzero(~np.isfinite(values))[0])
    return f"row {row} of {name} holds {values[column]} in column {column}"


def check_scored(
    model: "Sequential", place: str, name: str, x: Array, numbers: Array | None = None
) -> None:
    """Refuse the first row that holds NaN or Inf, unless the model has numbers for it all the same.

    A layer of the user's own may fill gaps; then nothing is wrong.

    Parameters
    ----------
    model : Sequential
    place, name : str
        Who asks, and what ``x`` is called, for the error.
    x : ndarray, (n, n_in)
        Checked.
    numbers : ndarray, (n,), optional
        The numbers of these rows where they came from, for the error.
    """
    for row in not_finite(x):
        if not np.isfinite(model._scores(x[row : row + 1])).all():
            there = row if numbers is None else int(numbers[row])
            raise ValueError(f"{place}: {named(name, there, x[row])}, expected finite numbers")
