"""`read_table`: files of every kind, and the frames of other libraries, as a `Table`."""

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from layers import data
from layers.files.npz import array_names, open_archive, read_array
from layers.replacing import StrPath
from layers.tables.table import Table, table_of
from layers.tables.text import read_text

_ENDINGS = {
    ".parquet": "parquet", ".pq": "parquet", ".feather": "feather", ".arrow": "feather",
    ".xlsx": "excel", ".xlsm": "excel",
}  # fmt: skip
# Who can read what: the first that is installed does. The name before the colon is to be installed.
_READERS = {
    "parquet": ("pyarrow.parquet:read_table", "polars:read_parquet", "pandas:read_parquet"),
    "feather": ("pyarrow.feather:read_table", "polars:read_ipc", "pandas:read_feather"),
    "excel": ("openpyxl:load_workbook",),
}


def read_table(source: Any, *, header: bool | None = None, text: Sequence[str] = ()) -> Table:
    """Read a table: a file of any kind, or a frame of another library.

    Parameters
    ----------
    source : path, frame or mapping
        A CSV file, perhaps packed by gzip, whose fields commas, semicolons, tabs or | separate,
        with decimal commas where no commas separate, in UTF-8, UTF-16 or cp1252; an ``.npz`` whose
        arrays are columns, or several each; IDX images; Parquet, Feather or Excel, by whichever
        library is installed. Or a frame of pandas, Polars or Arrow, or a mapping of columns.
    header : bool, optional
        Whether the first line of a CSV file has names; None goes by its fields, and raises where
        they may be either.
    text : sequence of str
        Columns of a CSV file to read as text, though all of it may be numbers: "007" stays "007".

    Returns
    -------
    Table
        Its ``notes`` say how the source was understood.

    Raises
    ------
    ValueError
        It names the file, the line and what was expected.
    ImportError
        It says what to install for the format.
    """
    if not isinstance(source, str | os.PathLike):
        return _frame(source)
    place = f"read_table: {os.fsdecode(source)}"
    kind = kind_of(source)
    if header is not None and kind != "csv":
        raise ValueError(f"{place}: header is for CSV files, this is taken for {kind}")
    if kind == "csv":
        return read_text(source, header, text, place)
    if kind == "npz":
        return _arrays(source, place)
    if kind == "idx":
        return _images(source, place)
    if kind == "excel":
        return _sheet(_reader(kind, place)(source, read_only=True, data_only=True), place)
    return _frame(_reader(kind, place)(os.fsdecode(source)), place)


def kind_of(path: StrPath) -> str:
    """The format, by the name, else by the first bytes."""
    ending = os.path.splitext(os.fsdecode(path).lower())[1]
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    if ending != ".tsv" and os.path.isfile(path):
        with open(path, "rb") as file:
            start = file.read(8)
        if start.startswith(b"PAR1\x15") or start == b"ARROW1\0\0":
            return "parquet" if start.startswith(b"P") else "feather"
    return "csv" if ending == ".tsv" else data.kind_of(path)


def _reader(kind: str, place: str) -> Callable[..., Any]:
    """The first library's function that is there."""
    for reader in _READERS[kind]:
        module, _, name = reader.partition(":")
        try:
            return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
        except ImportError:
            continue
    package = _READERS[kind][0].partition(":")[0].partition(".")[0]
    raise ImportError(f"{place} is {kind}, which {package} reads: pip install {package}")


def _frame(frame: Any, place: str = "read_table") -> Table:
    """Columns of a pandas, Polars or Arrow frame, or of a mapping."""
    names: Any = frame
    if not isinstance(frame, Mapping):  # Arrow's `columns` are the arrays themselves
        names = getattr(frame, "column_names", getattr(frame, "columns", None))
    if names is None or not hasattr(frame, "__getitem__"):
        raise TypeError(
            f"{place}: source is {type(frame).__name__}, expected a path, a frame of pandas, "
            "Polars or Arrow, or a mapping from names to columns"
        )
    return table_of(place, names, [frame[name] for name in names])


def _sheet(book: Any, place: str) -> Table:
    """The first sheet of a workbook; its first row has the names."""
    try:
        sheet, *others = book.worksheets
        rows = [row for row in sheet.iter_rows(values_only=True) if any(v is not None for v in row)]
    finally:
        book.close()
    if len(rows) < 2 or not all(isinstance(name, str | None) for name in rows[0]):
        raise ValueError(
            f"{place}, sheet {sheet.title!r} has {len(rows)} rows, expected names in the first and "
            "values below"
        )
    notes = [f"sheet {sheet.title!r} read, the first of {len(others) + 1}"] if others else []
    return table_of(place, rows[0], list(map(list, zip(*rows[1:], strict=True))), notes)


def _arrays(path: StrPath, place: str) -> Table:
    """The arrays of an .npz: one of n rows is a column of its name, one of more axes several."""
    names: list[str] = []
    columns: list[Any] = []
    with open_archive(path, place) as archive:
        for name in array_names(archive):
            array = read_array(archive, name, place)
            if array.ndim < 2:
                names, columns = [*names, name], [*columns, array]
                continue
            flat = array.reshape(len(array), -1)
            names += [f"{name}{index + 1}" for index in range(flat.shape[1])]
            columns += list(flat.T)
    return table_of(place, names, columns)


def _images(path: StrPath, place: str) -> Table:
    """Pixels of IDX images, from 0 to 1, and their labels, where those lie beside them."""
    try:
        x, labels = data.read(path)
    except FileNotFoundError:
        x, labels = data.read_inputs(path), None
    names = [f"pixel{index + 1}" for index in range(x.shape[1])]
    if labels is None:
        return table_of(place, names, list(x.T))
    return table_of(place, [*names, "label"], [*x.T, labels])
