"""What a file of numbers holds, and how it was read."""

from dataclasses import dataclass

from layers.data.checks import Inputs, Labels
from layers.data.columns import NumberColumns


@dataclass(frozen=True)
class Table:
    """The data of a file, and how it was read.

    Attributes
    ----------
    x : ndarray, shape (n, features)
    labels : ndarray of int64, shape (n,)
        Empty if none were requested.
    columns : NumberColumns or None
        Of a CSV file.
    notes : tuple of str
        How the file was interpreted, one sentence each.
    """

    x: Inputs
    labels: Labels
    columns: NumberColumns | None = None
    notes: tuple[str, ...] = ()
