"""Any of the formats, recognised by name, then by content."""

import numpy as np

from layers.data.checks import (
    Dtype,
    Inputs,
    Labels,
    check_options,
    checked_dtype,
    place_of,
)
from layers.data.columns import NumberColumns
from layers.data.csv_of_numbers import csv_table
from layers.data.idx import idx_images, idx_pair
from layers.data.mnist_files import unpacked
from layers.data.npz import npz_arrays
from layers.data.opening import kind_of
from layers.data.table import Table
from layers.replacing import StrPath


def read(
    path: StrPath,
    *,
    labels: StrPath | None = None,
    label_column: int | str | None = None,
    header: bool | None = None,
    dtype: Dtype = None,
) -> tuple[Inputs, Labels]:
    """Read inputs and labels from a CSV, .npz or IDX file, recognised by name, then by content.

    Parameters
    ----------
    path : str or path-like
        The data; of an IDX pair, the images.
    labels : str or path-like, optional
        The labels of an IDX pair, unless they are next to the images under the usual name.
    label_column, header, dtype
        As for `read_csv`; the first two are for CSV alone.

    Returns
    -------
    x : ndarray, shape (n, features)
    labels : ndarray of int64, shape (n,)
    """
    table = _read("read", path, labels, True, label_column, header, dtype)
    return table.x, table.labels


def read_inputs(
    path: StrPath,
    *,
    label_column: int | str | None = None,
    header: bool | None = None,
    dtype: Dtype = None,
) -> Inputs:
    """Read a file without labels, to predict from.

    Parameters
    ----------
    path : str or path-like
        A CSV file, in which every column except ``label_column`` is a feature; a .npz file, whose
        labels are ignored; or IDX images.
    label_column : int or str, optional
        A column of a CSV file to omit.
    header, dtype
        As for `read_csv`.

    Returns
    -------
    x : ndarray, shape (n, features)
    """
    return _read("read_inputs", path, None, False, label_column, header, dtype).x


def read_table(
    path: StrPath,
    *,
    labels: StrPath | bool | None = None,
    label_column: int | str | None = None,
    header: bool | None = None,
    dtype: Dtype = None,
    model: NumberColumns | None = None,
    n_features: int | None = None,
) -> Table:
    """Read a file as `read` and `read_inputs` do, and report how it was interpreted.

    Parameters
    ----------
    path : str or path-like
    labels : bool, or str or path-like, optional
        False to read no labels; else as for `read`.
    label_column, header, dtype
        As for `read_csv`.
    model : NumberColumns, optional
        A model's columns: features are matched by name, where both have names.
    n_features : int, optional
        A model's width; another width is refused before the rows are read. In a CSV file, one
        column more is the labels.

    Returns
    -------
    Table
    """
    beside = None if isinstance(labels, bool) else labels
    return _read(
        *("read_table", path, beside, labels is not False, label_column, header, dtype),
        *(model, n_features),
    )


def _read(
    reader: str,
    path: StrPath,
    labels_path: StrPath | None,
    with_labels: bool,
    label_column: int | str | None,
    header: bool | None,
    dtype: Dtype,
    model: NumberColumns | None = None,
    n_features: int | None = None,
) -> Table:
    place = place_of(reader, path)
    path = unpacked(path)
    kind = kind_of(path)
    to = checked_dtype(reader, dtype)
    check_options(reader, label_column, header)
    for name, value, belongs in (
        ("labels", labels_path, "IDX"),
        ("label_column", label_column, "CSV"),
        ("header", header, "CSV"),
    ):
        if value is not None and kind != belongs.lower():
            raise ValueError(f"{place}: {name} is for {belongs} files, this is taken for {kind}")
    if kind == "idx":
        if with_labels:
            return Table(*idx_pair(path, labels_path, to, n_features, reader))
        return Table(idx_images(path, to, n_features, place), np.empty(0, np.int64))
    if kind == "npz":
        return Table(*npz_arrays(path, with_labels, to, n_features, place))
    return csv_table(path, with_labels, label_column, header, to, model, n_features, place)
