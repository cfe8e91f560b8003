"""CSV of numbers: inputs and labels."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

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
from layers.data.opening import open_data
from layers.data.records import Block, Records
from layers.data.table import Table
from layers.replacing import StrPath

_FIELD = 256  # most characters of a number


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
    with open_data(path, place) as stream:
        try:
            records = Records(stream, place, "numbers separated by commas", delimiter=",")
            fields = [field.strip() for field in records.first]
            if with_labels and len(fields) < 2:
                raise ValueError(f"{place} has 1 column, expected a feature and a label at least")
            where = f"{place}, line {records.line}"
            has_names = columns.are_names(fields, header, model, where)
            names = fields if has_names else ()
            note = f"first line taken as names: {columns.listed(names)}"
            notes = [note if has_names else "first line taken as an example, columns have no names"]
            taken, note = (
                columns.to_train_on(names, len(fields), label_column, place)
                if with_labels and model is None
                else columns.to_predict_from(
                    names, len(fields), label_column, model, n_features, place
                )
            )
            if with_labels and taken.label is None:
                raise ValueError(
                    f"{place} has no column of labels, expected that of the training data"
                )
            check_width(len(taken.features), n_features, place)
            notes += [note] if note else []
            records.limit(_FIELD)
            x = _Growing((len(taken.features),), np.dtype(np.float64) if dtype is None else dtype)
            labels = _Growing((), np.dtype(np.int64))
            for block in records.blocks(again=not has_names):
                _add(block, _Cells(place, taken, block.lines), x, labels if with_labels else None)
        except UnicodeDecodeError as error:
            raise ValueError(f"{place} is not text in UTF-8 ({error}), expected CSV") from error
    if x.rows == 0:
        raise ValueError(f"{place} has a header and no rows, expected at least one")
    return Table(x.array(), labels.array(), taken, tuple(notes))


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


class _Cells(NamedTuple):
    """What the cells of a block are called in an error."""

    place: str
    columns: NumberColumns
    lines: Sequence[int]

    def called(self, row: int, column: int) -> str:
        names = self.columns.names
        name = f" ({names[column]!r})" if names else ""
        return f"{self.place}, line {self.lines[row]}, column {column + 1}{name}"


def _add(block: Block, cells: _Cells, x: _Growing, labels: _Growing | None) -> None:
    """Append the rows of a block to inputs and labels."""
    table, taken = block.numbers, cells.columns
    if table is None:
        table = _numbers(block.rows, cells, x.dtype)
    features = table
    if taken.features != tuple(range(table.shape[1])):
        features = table[:, taken.features]
    x.append(as_real(features, x.dtype, lambda row, i: cells.called(row, taken.features[i])))
    if labels is not None and (label := taken.label) is not None:
        labels.append(as_labels(table[:, label], lambda row: cells.called(row, label)))


def _numbers(
    rows: Sequence[Sequence[str]], cells: _Cells, dtype: np.dtype[Any]
) -> NDArray[np.float64]:
    """Fields as numbers; the first that is none is an error, and one too large for any dtype."""
    for index, row in enumerate(rows):
        for column, field in enumerate(row):
            if not is_number(field):
                if row == [""]:
                    line = f"{cells.place}, line {cells.lines[index]}"
                    raise ValueError(f"{line} is blank, expected a number as in the others")
                what = f"{shortened([field])} is not a number" if field.strip() else "is empty"
                raise ValueError(
                    f"{cells.called(index, column)}: {what}, expected numbers separated by commas"
                    " (nan where one is missing)"
                )
            if math.isinf(float(field)) and "inf" not in field.lower():
                raise ValueError(
                    f"{cells.called(index, column)}: {field.strip()} is outside the range of"
                    f" {dtype}"
                )
    return np.array(rows, object).astype(np.float64)
