"""CSV of numbers, read in blocks by NumPy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layers.data import columns
from layers.data.checks import (
    Dtype,
    Inputs,
    Labels,
    as_labels,
    as_real,
    check_options,
    check_width,
    checked_dtype,
    place_of,
)
from layers.data.columns import NumberColumns, is_number, shortened
from layers.data.lines import Lines, fields_of
from layers.data.opening import open_data
from layers.data.table import Table
from layers.replacing import StrPath


def read_csv(
    path: StrPath,
    label_column: int | str | None = None,
    *,
    header: bool | None = None,
    dtype: Dtype = None,
) -> tuple[Inputs, Labels]:
    """Read comma-separated numbers, one example per line; gzip is detected.

    Blank lines are skipped, except between rows of a single column. ``nan`` and ``inf`` are valid
    features, not labels; an empty field is an error.

    Parameters
    ----------
    path : str or path-like
        UTF-8 text.
    label_column : int or str, optional
        The column of labels: an index from 0, negative from the end, or a name in the header. By
        default the one column that is called label, class, target or y, else the last.
    header : bool, optional
        Whether the first line is a header. By default it is if none of its fields is a number, and
        an example if all are. A mixture, and 0, 1, 2, ..., which may be either, are errors.
    dtype : {"float32", "float64"}, optional
        Of the inputs; by default float64, which a model converts to its dtype.

    Returns
    -------
    x : ndarray, shape (n, features)
        The other columns, in file order.
    labels : ndarray of int64, shape (n,)

    Raises
    ------
    ValueError
        It names the line and the column, both from 1.
    """
    place = place_of("read_csv", path)
    to = checked_dtype("read_csv", dtype)
    check_options("read_csv", label_column, header)
    table = csv_table(path, True, label_column, header, to, None, None, place)
    return table.x, table.labels


@dataclass(frozen=True)
class _Layout:
    """The layout of all lines, from the first, and names of cells."""

    place: str
    first_line: int
    width: int
    columns: NumberColumns

    def cell(self, line: int, column: int) -> str:
        names = self.columns.names
        name = f" ({names[column]!r})" if names else ""
        return f"{self.place}, line {line}, column {column + 1}{name}"


def csv_table(
    path: StrPath,
    with_labels: bool,
    label_column: int | str | None,
    header: bool | None,
    dtype: np.dtype[Any] | None,
    model: NumberColumns | None,
    n_features: int | None,
    place: str,
) -> Table:
    """Read a CSV file; labels are empty if not requested."""
    with open_data(path, place) as stream, Lines(stream, place) as lines:
        first_line, fields = lines.first_record()
        if with_labels and len(fields) < 2:
            raise ValueError(f"{place} has 1 column, expected a feature and a label at least")
        has_names = columns.are_names(fields, header, model, f"{place}, line {first_line}")
        names = fields if has_names else ()
        note = f"first line taken as names: {columns.listed(names)}"
        notes = [note if has_names else "first line taken as an example, columns have no names"]
        if with_labels and model is None:
            taken, note = columns.to_train_on(names, len(fields), label_column, place)
        else:
            taken, note = columns.to_predict_from(
                names, len(fields), label_column, model, n_features, place
            )
        if with_labels and taken.label is None:
            raise ValueError(f"{place} has no column of labels, expected that of the training data")
        check_width(len(taken.features), n_features, place)
        notes += [note] if note else []
        if not has_names:
            lines.again()
        layout = _Layout(place, first_line, len(fields), taken)
        lines.limit(len(fields))
        x = _Growing((len(taken.features),), np.dtype(np.float64) if dtype is None else dtype)
        labels = _Growing((), np.dtype(np.int64))
        last = lines.last if has_names else first_line
        while block := lines.block():
            if len(fields) == 1:
                last = _refuse_gaps(block, last, place)
            _parse_block(block, layout, x, labels if with_labels else None)
    if x.rows == 0:
        raise ValueError(f"{place} has a header and no rows, expected at least one")
    return Table(x.array(), labels.array(), taken, tuple(notes))


def _refuse_gaps(block: Sequence[tuple[int, str]], last: int, place: str) -> int:
    """Refuse a blank line between rows of a single column: it may be a missing number."""
    for number, _ in block:
        if number > last + 1:
            raise ValueError(
                f"{place}, line {last + 1} is blank, expected a number as in the others"
            )
        last = number
    return last


class _Growing:
    """An array that grows in place as rows are appended, without a second copy."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.rows, self._array = 0, np.empty((0, *shape), dtype)

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self._array.dtype
        return dtype

    def append(self, block: NDArray[Any]) -> None:
        end = self.rows + len(block)
        if end > len(self._array):
            self._resize(max(end, self.rows + self.rows // 5))
        self._array[self.rows : end] = block
        self.rows = end

    def array(self) -> NDArray[Any]:
        self._resize(self.rows)
        return self._array

    def _resize(self, rows: int) -> None:
        # Nothing else references the array, except a debugger or tracer, which NumPy would count.
        self._array.resize((rows, *self._array.shape[1:]), refcheck=False)


def _parse_block(
    block: Sequence[tuple[int, str]], layout: _Layout, x: _Growing, labels: _Growing | None
) -> None:
    """Append the rows of some lines to inputs and labels."""
    numbers, texts = zip(*block, strict=True)
    try:
        table = np.loadtxt(texts, delimiter=",", comments=None, quotechar='"', ndmin=2)
        if table.shape != (len(block), layout.width):
            raise ValueError(f"parsed as shape {table.shape}")
    except ValueError as error:
        # NumPy parses about twenty times as fast as Python, but only Python can name the line.
        _raise_first_fault(block, layout)
        raise ValueError(f"{layout.place}, line {numbers[0]} or later: {error}") from error
    for row in np.flatnonzero(np.isinf(table).any(axis=1)):
        _refuse_overflow(numbers[row], texts[row], layout, x.dtype)
    taken = layout.columns
    features = table
    if taken.features != tuple(range(layout.width)):
        features = table[:, taken.features]
    x.append(
        as_real(features, x.dtype, lambda row, i: layout.cell(numbers[row], taken.features[i]))
    )
    if labels is not None and (label := taken.label) is not None:
        values = table[:, label]
        labels.append(as_labels(values, lambda row: layout.cell(numbers[row], label)))


def _raise_first_fault(block: Sequence[tuple[int, str]], layout: _Layout) -> None:
    for number, text in block:
        fields = fields_of([text], f"{layout.place}, line {number}")
        if len(fields) != layout.width:
            raise ValueError(
                f"{layout.place}, line {number} has {len(fields)} columns,"
                f" expected {layout.width} as in line {layout.first_line}"
            )
        for column, field in enumerate(fields):
            if not is_number(field):
                what = f"{shortened([field])} is not a number" if field.strip() else "is empty"
                raise ValueError(
                    f"{layout.cell(number, column)}: {what}, expected numbers separated by commas"
                    " (nan where one is missing)"
                )


def _refuse_overflow(number: int, text: str, layout: _Layout, dtype: np.dtype[Any]) -> None:
    """Refuse 1e999, which is parsed as infinity, in a row with an infinity."""
    for column, field in enumerate(fields_of([text], f"{layout.place}, line {number}")):
        if math.isinf(float(field)) and "inf" not in field.lower():
            raise ValueError(
                f"{layout.cell(number, column)}: {field.strip()} is outside the range of {dtype}"
            )
