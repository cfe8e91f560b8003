"""A table: columns of numbers or of text, by name."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from layers.base import Array
from layers.data.columns import listed, shortened
from layers.tables.spelling import forms_of

HOLES = frozenset({"", "-", "?", ".", "na", "n/a", "nan", "none", "null", "#n/a"})
"""What stands where a value is missing, in lower case."""


@dataclass(frozen=True)
class Table:
    """Columns by name; `layers.read_table` gives one.

    Attributes
    ----------
    names : tuple of str
        Different ones; several may be empty, which is no name.
    columns : tuple of ndarray, (n,)
        Of float64, NaN where a number is missing; or of objects: text, None where it is missing.
    notes : tuple of str
        How the source was understood, one sentence each.
    has_names : bool
        False where the source had none: its columns are called "column 1", "column 2", ...
    """

    names: tuple[str, ...]
    columns: tuple[Array, ...]
    notes: tuple[str, ...] = ()
    has_names: bool = True

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    def __contains__(self, name: object) -> bool:
        return name != "" and name in self.names

    def __getitem__(self, name: str) -> Array:
        """The column of a name."""
        if name not in self:
            raise KeyError(f"no column is called {name!r}, expected one of {shortened(self.names)}")
        return self.columns[self.names.index(name)]

    def rows(self, index: Any) -> "Table":
        """The table of some of its rows."""
        taken = tuple(column[index] for column in self.columns)
        return Table(self.names, taken, self.notes, self.has_names)

    def __repr__(self) -> str:
        return f"Table({len(self)} rows of {listed(self.names)})"


def table_of(
    place: str, names: Iterable[Any], columns: Sequence[Any], notes: Sequence[str] = ()
) -> Table:
    """A table of values of any kind; its names and lengths are checked."""
    called = tuple("" if name is None else str(name).strip() for name in names)
    double = sorted({name for name in called if name and called.count(name) > 1})
    if double:
        raise ValueError(f"{place}: more than one column is called {shortened(double)}")
    made = tuple(
        column_of(f"{place}, column {name!r}", column)
        for name, column in zip(called, columns, strict=True)
    )
    if not any(map(len, made)):
        raise ValueError(f"{place}: the table has no rows, expected at least one")
    if len({len(column) for column in made}) != 1:
        sizes = sorted({len(column) for column in made})
        raise ValueError(f"{place} has columns of {sizes} rows, expected as many in each")
    return Table(called, made, tuple(notes))


def column_of(place: str, values: Any) -> Array:
    """Float64 where all values that are there are numbers, else text; True is text."""
    array = np.array(values, object) if isinstance(values, (list, tuple)) else np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{place} has shape {array.shape}, expected one value a row")
    if array.dtype.kind in "iuf":
        return array.astype(np.float64)
    cells = [None if _is_missing(value) else value for value in array.astype(object).tolist()]
    if all(value is None or _is_number(value) for value in cells):
        return np.array([np.nan if value is None else float(value) for value in cells])
    return np.array([None if value is None else text_of(value) for value in cells], object)


def text_of(value: Any) -> str:
    """A value as text; a whole number without a point."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value).strip()


def as_text(column: Array) -> Array:
    """A column as text, None where it is missing."""
    if column.dtype == object:
        return column
    return np.array([None if v != v else text_of(v) for v in column.tolist()], object)


def as_numbers(place: str, column: Array, form: str = "") -> Array:
    """A column as numbers, in a form of `spelling`; text that is none is an error by its row."""
    if column.dtype != object:
        return column
    numbers = np.full(len(column), np.nan)
    for row, value in enumerate(column):
        try:
            if value is not None:
                numbers[row] = forms_of(value)[form] if form else float(value)
        except (ValueError, KeyError):
            like = f" written like {form}" if form else ""
            raise ValueError(
                f"{place}, row {row + 1} holds {shortened([value])}, expected a number{like}"
            ) from None
    return numbers


def missing(column: Array) -> Array:
    """Which rows hold no value."""
    return np.isnan(column) if column.dtype != object else column == np.array(None)


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in HOLES
    is_nan = isinstance(value, float) and value != value
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def _is_number(value: Any) -> bool:
    if isinstance(value, (bool, np.bool, str, bytes)):
        return False
    return isinstance(value, (int, float, np.number)) or type(value).__name__ == "Decimal"
