"""Readers of data files: CSV, NumPy's .npz, and IDX, MNIST's format.

Inputs are (n, features), one example per row; labels are int64 (n,). Inputs have the requested
dtype; by default the smaller of float32 and float64 that holds the file's numbers, and float64 for
CSV. Values are those of the file, except that IDX images of bytes are scaled to [0, 1]. The model
checks labels against the number of classes. Errors name the file and the place in it.
"""

import csv
import gzip
import io
import math
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from layers import columns
from layers.columns import Columns, is_number, shortened
from layers.files.archive import (
    StrPath,
    array_names,
    array_shape,
    as_array,
    open_archive,
    read_array,
    read_promised,
)

__all__ = [
    "Table",
    "read",
    "read_csv",
    "read_idx",
    "read_idx_pair",
    "read_inputs",
    "read_npz",
    "read_table",
    "split",
]

Inputs: TypeAlias = NDArray[np.floating[Any]]
Labels: TypeAlias = NDArray[np.int64]
Dtype: TypeAlias = "str | np.dtype[Any] | type[Any] | None"

_PIECE = 1 << 18  # characters of a CSV file that are in memory and parsed at a time
_FIRST_LINE = 1 << 24  # most characters of a first line, which limits the others
_FIELD = 256  # most characters of a later line, per field
_BLANK = 1 << 20  # most characters of blank lines, plus as many as of other lines
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_EXACT = np.float64(2**53)  # up to here a float64 holds every integer

_NPZ_INPUTS = ("x", "X", "data", "images")
_NPZ_LABELS = ("y", "labels", "target")

_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

# Files that are no tables, by their first bytes.
_FOREIGN = (
    (b"\x93NUMPY", "one NumPy array (.npy): put inputs and labels into an .npz by numpy.savez"),
    (b"\xfd7zXZ\0", "packed by xz: unpack it"),
    (b"BZh", "packed by bzip2: unpack it"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd: unpack it"),
    (b"\x04\x22\x4d\x18", "packed by lz4: unpack it"),
    (b"\x1f\x9d", "packed by compress (.Z): unpack it"),
    (_GZIP_MAGIC, "packed by gzip twice: unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"Rar!\x1a\x07", "a RAR archive: unpack it"),
    (b"PAR1\x15", "a Parquet file: export it as CSV"),
    (b"ARROW1\0", "an Arrow file: export it as CSV"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file (.xls): export it as CSV"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file: export it as CSV"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file: export it as CSV"),
    (b"SQLite format 3\0", "an SQLite database: export a table as CSV"),
    (b"%PDF-", "a PDF"),
    (b"\x89PNG\r\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
)
_MAGIC_BYTES = 264  # tar has its own at 257


# Whatever the format.


@dataclass(frozen=True)
class Table:
    """The data of a file, and how it was read.

    Attributes
    ----------
    x : ndarray, shape (n, features)
    labels : ndarray of int64, shape (n,)
        Empty if none were requested.
    columns : Columns or None
        Of a CSV file.
    notes : tuple of str
        How the file was interpreted, one sentence each.
    """

    x: Inputs
    labels: Labels
    columns: Columns | None = None
    notes: tuple[str, ...] = ()


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
    model: Columns | None = None,
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
    model : Columns, optional
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
    model: Columns | None = None,
    n_features: int | None = None,
) -> Table:
    place = _place(reader, path)
    path = _unpacked(path)
    kind = kind_of(path)
    to = _checked_dtype(reader, dtype)
    _check_options(reader, label_column, header)
    for name, value, belongs in (
        ("labels", labels_path, "IDX"),
        ("label_column", label_column, "CSV"),
        ("header", header, "CSV"),
    ):
        if value is not None and kind != belongs.lower():
            raise ValueError(f"{place}: {name} is for {belongs} files, this is taken for {kind}")
    if kind == "idx":
        if with_labels:
            return Table(*_idx_pair(path, labels_path, to, n_features, reader))
        return Table(_idx_images(path, to, n_features, place), np.empty(0, np.int64))
    if kind == "npz":
        return Table(*_npz(path, with_labels, to, n_features, place))
    return _csv(path, with_labels, label_column, header, to, model, n_features, place)


def _place(reader: str, path: object, name: str = "path") -> str:
    if not isinstance(path, str | bytes | os.PathLike):
        raise TypeError(f"{reader}: {name} is a {type(path).__name__}, expected the path of a file")
    return f"{reader}: {os.fsdecode(path)}"


def _checked_dtype(reader: str, dtype: Dtype) -> np.dtype[Any] | None:
    if dtype is None:
        return None
    try:
        checked = np.dtype(dtype)
    except TypeError:
        checked = np.dtype(object)
    if checked not in (np.float32, np.float64):
        raise TypeError(f"{reader}: dtype is {dtype!r}, expected float32, float64 or None")
    return checked


def _check_options(reader: str, label_column: object, header: object) -> None:
    if label_column is not None and (
        isinstance(label_column, bool) or not isinstance(label_column, int | np.integer | str)
    ):
        raise TypeError(
            f"{reader}: label_column is a {type(label_column).__name__}, expected an int or a str"
        )
    if header is not None and not isinstance(header, bool | np.bool):
        raise TypeError(
            f"{reader}: header is a {type(header).__name__}, expected True, False or None"
        )


def _check_width(width: int, n_features: int | None, place: str) -> None:
    if n_features is not None and width != n_features:
        raise ValueError(
            f"{place} has {width} columns of features, expected {n_features}, the width of the"
            " model"
        )


def kind_of(path: StrPath) -> str:
    """The format of a file, by its name or its first bytes."""
    # The name comes first, so that a damaged file is read in its intended format.
    name = os.path.basename(os.fsdecode(path)).lower().removesuffix(".gz")
    if name.endswith(".npz"):
        return "npz"
    if name.endswith((".csv", ".txt")):
        return "csv"
    if re.search(r"\bidx\d|\bubyte\b", name) or name.endswith(".idx"):
        return "idx"
    if not stat.S_ISREG(os.stat(path).st_mode):
        return "csv"  # bytes read from a pipe would be lost
    with open(path, "rb") as file:
        if file.read(4) in _ZIP_MAGICS:
            return "npz"
    with _open(path, f"read: {os.fsdecode(path)}") as stream:
        return "idx" if stream.read(2) == b"\0\0" else "csv"


@contextmanager
def _open(path: StrPath, place: str) -> Iterator[io.BufferedReader]:
    """Open a file, through gzip if its first bytes say so, whatever its name."""
    with open(path, "rb") as file:
        # peek, not seek, which a pipe lacks.
        packed = file.peek(2)[:2] == _GZIP_MAGIC
        try:
            stream: Any = io.BufferedReader(gzip.GzipFile(fileobj=file)) if packed else file
            _refuse_foreign(stream.peek(_MAGIC_BYTES), path, place)
            yield stream
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{place}: corrupt or truncated gzip data ({error})") from error


def _refuse_foreign(start: bytes, path: StrPath, place: str) -> None:
    """Refuse a file that is no table, and name its format."""
    what = next((what for magic, what in _FOREIGN if start.startswith(magic)), "")
    if start.startswith(b"BZh") and start[4:10] != b"1AY&SY":
        what = ""  # three letters, as a name may have them
    if start.startswith(_ZIP_MAGICS):
        what = _zip_archive(path)
    elif start[257:262] == b"ustar":
        what = "a tar archive: unpack it"
    elif re.match(rb"\x80[\x02-\x05]", start):
        what = "a pickle, which is not read since it may run code"
    elif re.match(rb"\s*<(!doctype html|html)", start, re.IGNORECASE):
        what = "a web page (HTML), as of a download that failed"
    if what:
        raise ValueError(f"{place} is {what}; expected CSV, .npz or IDX")


def _zip_archive(path: StrPath) -> str:
    """The kind of a zip archive that is no .npz."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return "a zip archive: unpack it"  # a pipe, or packed by gzip, or damaged
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook (.xlsx): export it as CSV"
    if "content.xml" in names:
        return "an OpenDocument file (.ods): export it as CSV"
    if any(name.endswith(".npy") for name in names):
        return "an .npz archive under another name: rename it to .npz"
    return f"a zip archive of {shortened(names)}: unpack it" if names else "an empty zip archive"


def _as_real(
    values: NDArray[Any], dtype: np.dtype[Any] | None, where: Callable[[int, int], str]
) -> Inputs:
    """Convert rows of features; a finite number must not become infinite."""
    if dtype is None:
        exact = np.result_type(values.dtype, np.float32)
        dtype = exact if exact == np.float32 else np.dtype(np.float64)
    with np.errstate(over="ignore"):
        x = values.astype(dtype, order="C", copy=False)
    if values.dtype.kind == "f" and values.dtype.itemsize > dtype.itemsize:
        overflows = np.isinf(x)
        if overflows.any():
            overflows &= np.isfinite(values)
        if overflows.any():
            row, column = np.argwhere(overflows)[0].tolist()
            raise ValueError(
                f"{where(row, column)}: {values[row, column]} is outside the range of {dtype}"
            )
    return x


def _as_labels(values: NDArray[Any], where: Callable[[int], str]) -> Labels:
    """Convert labels, each of which must be an integer that the file's dtype holds exactly."""
    if values.dtype.kind == "f":
        wrong = (np.abs(values) > _EXACT) | (np.floor(values) != values)  # nan differs from nan
    elif values.dtype.kind == "u":
        wrong = values > np.uint64(np.iinfo(np.int64).max)
    elif values.dtype.kind in "bi":
        return values.astype(np.int64)
    else:
        raise ValueError(f"{where(0)}: labels have dtype {values.dtype}, expected integers")
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{where(row)}: label {values[row]}, expected an integer")
    return values.astype(np.int64)


# CSV.


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
    place = _place("read_csv", path)
    to = _checked_dtype("read_csv", dtype)
    _check_options("read_csv", label_column, header)
    table = _csv(path, True, label_column, header, to, None, None, place)
    return table.x, table.labels


@dataclass(frozen=True)
class _Layout:
    """The layout of all lines, from the first, and names of cells."""

    place: str
    first_line: int
    width: int
    columns: Columns

    def cell(self, line: int, column: int) -> str:
        names = self.columns.names
        name = f" ({names[column]!r})" if names else ""
        return f"{self.place}, line {line}, column {column + 1}{name}"


def _csv(
    path: StrPath,
    with_labels: bool,
    label_column: int | str | None,
    header: bool | None,
    dtype: np.dtype[Any] | None,
    model: Columns | None,
    n_features: int | None,
    place: str,
) -> Table:
    """Read a CSV file; labels are empty if not requested."""
    with _open(path, place) as stream, _Lines(stream, place) as lines:
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
        _check_width(len(taken.features), n_features, place)
        notes += [note] if note else []
        if not has_names:
            lines.again()
        layout = _Layout(place, first_line, len(fields), taken)
        lines.longest = max(_PIECE, _FIELD * len(fields))
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
        _as_real(features, x.dtype, lambda row, i: layout.cell(numbers[row], taken.features[i]))
    )
    if labels is not None and (label := taken.label) is not None:
        values = table[:, label]
        labels.append(_as_labels(values, lambda row: layout.cell(numbers[row], label)))


def _raise_first_fault(block: Sequence[tuple[int, str]], layout: _Layout) -> None:
    for number, text in block:
        fields = _fields([text], f"{layout.place}, line {number}")
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
    for column, field in enumerate(_fields([text], f"{layout.place}, line {number}")):
        if math.isinf(float(field)) and "inf" not in field.lower():
            raise ValueError(
                f"{layout.cell(number, column)}: {field.strip()} is outside the range of {dtype}"
            )


class _Lines:
    """The non-blank lines of a UTF-8 text with their numbers, in pieces.

    However small the packed file, at most a piece and a line are in memory, and too many blank
    lines are refused.
    """

    def __init__(self, stream: io.BufferedReader, place: str) -> None:
        # utf-8-sig drops the byte order mark of spreadsheets.
        self._text = io.TextIOWrapper(stream, encoding="utf-8-sig")
        self._place = place
        self.longest = _FIRST_LINE
        self._number = 1  # of the next line
        self._rest, self._ended = "", False
        self._lines: list[tuple[int, str]] = []  # read and not yet returned
        self._first: list[tuple[int, str]] = []  # of the first record
        self._started = False
        self._blank, self._kept = 0, 0  # characters

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()

    def first_record(self) -> tuple[int, list[str]]:
        """Number and fields of the first record, which has several lines if a quoted field does."""
        while (start := next((i for i, line in enumerate(self._lines) if _holds(line)), -1)) < 0:
            self._lines = []
            if not self._read():
                raise ValueError(
                    f"{self._place} is empty, expected lines of numbers separated by commas"
                )
        del self._lines[:start]
        number = self._lines[0][0]
        fields = _fields(self._taken(), f"{self._place}, line {number}")
        if len(self._first) > 1 and sum(text.count('"') for _, text in self._first) % 2:
            raise ValueError(f"{self._place}, line {number}: a quote that is not closed")
        self._started = True
        return number, [field.strip() for field in fields]

    def _taken(self) -> Iterator[str]:
        """Lines of the first record, for the CSV reader."""
        while self._lines or self._read():
            while self._lines:
                self._first.append(self._lines.pop(0))
                yield self._first[-1][1] + "\n"

    @property
    def last(self) -> int:
        """Number of the last line of the first record."""
        return self._first[-1][0]

    def again(self) -> None:
        """Return the first record once more, as an example."""
        if len(self._first) > 1:
            raise ValueError(
                f"{self._place}, line {self._first[0][0]}: a line break within quotes, expected"
                " numbers separated by commas"
            )
        self._lines[:0] = self._first

    def block(self) -> list[tuple[int, str]]:
        """The next lines; none at the end."""
        while not (block := list(filter(_holds, self._lines))) and self._read():
            pass
        self._lines = []
        return block

    def _read(self) -> bool:
        """Read one more piece of the text; False at the end."""
        if self._ended:
            return False
        try:
            piece = self._text.read(_PIECE)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self._place} is not text in UTF-8 ({error}), expected CSV"
            ) from error
        self._ended = not piece
        # TextIOWrapper has normalised line ends; splitlines would split at others, too.
        *texts, self._rest = (self._rest + piece).split("\n")
        if self._ended and self._rest:
            texts.append(self._rest)
        if len(self._rest) > self.longest:
            raise ValueError(
                f"{self._place}, line {self._number + len(texts)} has more than {self.longest}"
                " characters, expected numbers separated by commas"
            )
        blank = sum(len(text) + 1 for text in texts if not text or text.isspace())
        self._blank += blank
        self._kept += len(piece) - blank
        if self._blank > _BLANK + max(self._kept, 0):
            raise ValueError(
                f"{self._place}, line {self._number + len(texts)}: more blank lines than others,"
                " expected lines of numbers separated by commas"
            )
        lines = enumerate(texts, self._number)
        # A quoted field in the first record may contain blank lines.
        self._lines += filter(_holds, lines) if self._started else lines
        self._number += len(texts)
        return True


def _holds(line: tuple[int, str]) -> bool:
    """Whether a numbered line is not blank."""
    return bool(line[1]) and not line[1].isspace()


def _fields(lines: Iterable[str], where: str) -> list[str]:
    """Fields of the first record."""
    try:
        return next(csv.reader(lines))
    except csv.Error as error:
        raise ValueError(f"{where}: not a line of CSV ({error})") from error


# NumPy's .npz.


def read_npz(path: StrPath, *, dtype: Dtype = None) -> tuple[Inputs, Labels]:
    """Read inputs and labels from a .npz file, as ``numpy.savez(path, x=x, y=y)`` writes it.

    Parameters
    ----------
    path : str or path-like
        Holds one array called x, X, data or images, of shape (n, ...), and one called y, labels
        or target, of shape (n,) or (n, 1). Other arrays are ignored; pickles are refused.
    dtype : {"float32", "float64"}, optional
        Of the inputs; by default the smaller one that holds the file's own exactly.

    Returns
    -------
    x : ndarray, shape (n, features)
        The first axis kept, the others flattened; values as they are.
    labels : ndarray of int64, shape (n,)
    """
    place = _place("read_npz", path)
    return _npz(path, True, _checked_dtype("read_npz", dtype), None, place)


def _npz(
    path: StrPath,
    with_labels: bool,
    dtype: np.dtype[Any] | None,
    n_features: int | None,
    place: str,
) -> tuple[Inputs, Labels]:
    """Read a .npz file; shapes are checked before the arrays are read."""
    with open(path, "rb") as file:
        start = file.read(_MAGIC_BYTES)
    if not start.startswith(b"PK"):
        _refuse_foreign(start, path, place)
    with open_archive(path, place) as archive:
        names = array_names(archive)
        if not names and archive.namelist():
            raise ValueError(f"{place} is {_zip_archive(path)}; expected CSV, .npz or IDX")
        x_name = _pick(names, _NPZ_INPUTS, place)
        x_place = f"{place}, array {x_name!r}"
        shape = array_shape(archive, x_name, place)
        width = _width(shape, x_place)
        _check_width(width, n_features, x_place)
        labels = np.empty(0, np.int64)
        if with_labels:
            name = _pick(names, _NPZ_LABELS, place)
            where = f"{place}, array {name!r}"
            expected = ((shape[0],), (shape[0], 1))
            if (labels_shape := array_shape(archive, name, place)) not in expected:
                raise ValueError(
                    f"{where} has shape {labels_shape}, expected ({shape[0]},): one label to each"
                    f" row of {x_name!r}"
                )
            values = read_array(archive, name, place).reshape(-1)
            labels = _as_labels(values, lambda row: f"{where}, row {row}")
        x = read_array(archive, x_name, place)
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{x_place} has dtype {x.dtype}, expected real numbers")
    return _as_real(x.reshape(len(x), width), dtype, _feature(x_place)), labels


def _pick(names: Sequence[str], wanted: Sequence[str], place: str) -> str:
    """The only name among those wanted; two are an error."""
    found = [name for name in wanted if name in names]
    if len(found) != 1:
        raise ValueError(
            f"{place} holds {shortened(names) or 'no arrays'}, expected exactly one of"
            f" {', '.join(wanted)}"
        )
    return found[0]


def _feature(place: str) -> Callable[[int, int], str]:
    return lambda row, column: f"{place}, row {row}, feature {column}"


def _width(shape: tuple[int, ...], place: str) -> int:
    """Features of a row: the product of all axes except the first."""
    if len(shape) < 2 or 0 in shape:
        raise ValueError(
            f"{place} has shape {shape}, expected (n, features) or (n, height, width),"
            " none of them 0"
        )
    return math.prod(shape[1:])


# IDX.


def read_idx(path: StrPath) -> NDArray[Any]:
    """Read one array in IDX, MNIST's format; gzip is detected.

    Parameters
    ----------
    path : str or path-like
        The file, or the folder it was unpacked to.

    Returns
    -------
    ndarray
        With the file's shape and dtype, in the native byte order.
    """
    with _open_idx(path, _place("read_idx", path)) as file:
        return file.array()


def read_idx_pair(
    images_path: StrPath, labels_path: StrPath | None = None, *, dtype: Dtype = None
) -> tuple[Inputs, Labels]:
    """Read images and labels in the format of MNIST and Fashion-MNIST.

    Parameters
    ----------
    images_path : str or path-like
        For example ``train-images-idx3-ubyte.gz``, or the folder it was unpacked to.
    labels_path : str or path-like, optional
        By default the file in the same folder with labels for images and idx1 for idx3 in its
        name, packed or not.
    dtype : {"float32", "float64"}, optional
        Of the images; by default float64 for bytes, else the smaller one that holds the file's own
        exactly.

    Returns
    -------
    x : ndarray, shape (n, pixels)
        Unsigned bytes are scaled from 0 ... 255 to [0, 1]; other types are unchanged.
    labels : ndarray of int64, shape (n,)
    """
    _place("read_idx_pair", images_path, "images_path")
    if labels_path is not None:
        _place("read_idx_pair", labels_path, "labels_path")
    to = _checked_dtype("read_idx_pair", dtype)
    return _idx_pair(images_path, labels_path, to, None, "read_idx_pair")


def _idx_pair(
    images_path: StrPath,
    labels_path: StrPath | None,
    dtype: np.dtype[Any] | None,
    n_features: int | None,
    reader: str,
) -> tuple[Inputs, Labels]:
    """Read images and labels; shapes are checked before the bytes are read."""
    place = _place(reader, images_path)
    images_path = _unpacked(images_path)
    with _open_idx(images_path, place) as images:
        images.check_images(n_features)
        if labels_path is None:
            labels_path = _labels_beside(os.fsdecode(images_path), place)
        labels_place = _place(reader, labels_path, "labels")
        with _open_idx(labels_path, labels_place) as labels:
            if labels.shape != images.shape[:1]:
                raise ValueError(
                    f"{labels_place} has shape {labels.shape}, expected ({images.shape[0]},): one"
                    f" label to each image of {os.fsdecode(images_path)}"
                )
            y = _as_labels(labels.array(), lambda row: f"{labels_place}, row {row}")
        return images.rows(dtype), y


def _idx_images(
    path: StrPath, dtype: np.dtype[Any] | None, n_features: int | None, place: str
) -> Inputs:
    with _open_idx(path, place) as images:
        images.check_images(n_features)
        return images.rows(dtype)


@dataclass(frozen=True)
class _Idx:
    """An IDX file whose header has been read."""

    stream: io.BufferedReader
    place: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def array(self) -> NDArray[Any]:
        """The whole array."""
        body = read_promised(self.stream, self.dtype.itemsize * math.prod(self.shape), self.place)
        return as_array(body, self.dtype, self.shape, self.place)

    def check_images(self, n_features: int | None) -> None:
        _check_width(_width(self.shape, self.place), n_features, self.place)

    def rows(self, dtype: np.dtype[Any] | None) -> Inputs:
        """Images flattened, bytes scaled."""
        images = self.array().reshape(self.shape[0], -1)
        if images.dtype != np.uint8:
            return _as_real(images, dtype, _feature(self.place))
        x = images.astype(np.float64 if dtype is None else dtype)
        x /= x.dtype.type(255)
        return x


@contextmanager
def _open_idx(path: StrPath, place: str) -> Iterator[_Idx]:
    with _open(_unpacked(path), place) as stream:
        magic = stream.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_DTYPES or magic[3] == 0:
            known = ", ".join(f"{code:02x}" for code in _IDX_DTYPES)
            raise ValueError(
                f"{place}: starts with the bytes '{magic.hex(' ')}', expected IDX: 00 00, a type"
                f" (one of {known}), the number of dimensions (01 or more)"
            )
        dtype, ndim = np.dtype(_IDX_DTYPES[magic[2]]), magic[3]
        sizes = stream.read(4 * ndim)
        if len(sizes) < 4 * ndim:
            raise ValueError(
                f"{place}: truncated, {len(sizes)} bytes of sizes, expected {4 * ndim} for"
                f" {ndim} dimensions"
            )
        yield _Idx(stream, place, dtype, struct.unpack(f">{ndim}I", sizes))


# Where MNIST's files lie.


def idx_file(folder: StrPath, name: str) -> str | None:
    """Find one of MNIST's files by its name, as downloaded or unpacked.

    ``train-images-idx3-ubyte`` is also ``train-images.idx3-ubyte``, either may be packed as .gz,
    and some programs unpack a file to a folder of its name.

    Parameters
    ----------
    folder : str or path-like
    name : str
        Packed names come first if this one ends with ``.gz``.

    Returns
    -------
    str or None
        The path of a file.
    """
    folder = os.fsdecode(folder)
    names = _spellings(name)
    inner = [os.path.join(outer, candidate) for outer in names for candidate in names]
    paths = (os.path.join(folder, candidate) for candidate in (*names, *inner))
    return next(filter(_is_file, paths), None)


def _spellings(name: str) -> list[str]:
    """The names that a file may have, ``name`` first."""
    packed = name.endswith(".gz")
    plain = name.removesuffix(".gz")
    other = re.sub(r"[-.](?=idx\d)", lambda sign: "-."[sign[0] == "-"], plain)
    endings = (".gz", "") if packed else ("", ".gz")
    return [stem + ending for stem in dict.fromkeys((plain, other)) for ending in endings]


def _is_file(path: str) -> bool:
    return os.path.exists(path) and not os.path.isdir(path)


def _unpacked(path: StrPath) -> StrPath:
    """The file in a folder named like an IDX file; any other path unchanged."""
    name = os.path.basename(os.path.normpath(os.fsdecode(path)))
    if not os.path.isdir(path) or not re.search(r"idx\d", name):
        return path
    return idx_file(path, name) or path


def beside(path: StrPath, name: str) -> str | None:
    """Find another of MNIST's files next to one, even if each has its own folder."""
    folder, own = os.path.split(os.path.abspath(os.fsdecode(path)))
    outer, outer_name = os.path.split(folder)
    found = idx_file(folder, name)
    if found is None and outer_name in _spellings(own):
        found = idx_file(outer, name)
    return found


def _labels_beside(images_path: str, place: str) -> str:
    """Find the labels by the usual names, first packed like the images, then the other way."""
    name = os.path.basename(images_path)
    if "images" not in name:
        raise ValueError(
            f"{place}: the labels are not given, and the name has no 'images' in it to put"
            " 'labels' for; pass their path"
        )
    name = name.replace("images", "labels").replace("idx3", "idx1")
    found = beside(images_path, name)
    if found is None:
        raise FileNotFoundError(
            f"{place}: no labels beside it, looked for {' and '.join(_spellings(name))}; pass"
            " their path"
        )
    return found


# Train and test.

_X = TypeVar("_X", bound=np.generic)
_Y = TypeVar("_Y", bound=np.generic)


def split(
    x: NDArray[_X], labels: NDArray[_Y], test_fraction: float = 0.2, seed: int = 0
) -> tuple[NDArray[_X], NDArray[_Y], NDArray[_X], NDArray[_Y]]:
    """Shuffle the rows and split them into training and test rows.

    The same seed gives the same rows with every version of NumPy: the order sorts raw 64-bit draws,
    which NumPy guarantees, unlike its shuffle.

    Parameters
    ----------
    x : ndarray, shape (n, ...)
    labels : ndarray, shape (n, ...)
    test_fraction : float
        Between 0 and 1; the number of test rows is rounded, and no part may be empty.
    seed : int
        Not negative.

    Returns
    -------
    x_train, labels_train, x_test, labels_test : ndarray
        Copies.
    """
    x, labels = _rows("x", x), _rows("labels", labels)
    if x.ndim == 0 or labels.ndim == 0 or len(x) != len(labels):
        raise ValueError(
            f"split: x has shape {x.shape} and labels {labels.shape}, expected as many rows"
        )
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"split: seed is a {type(seed).__name__}, expected an int")
    if seed < 0:
        raise ValueError(f"split: seed is {seed}, expected 0 or more")
    if isinstance(test_fraction, bool | np.bool) or not isinstance(
        test_fraction, int | float | np.integer | np.floating
    ):
        raise TypeError(
            f"split: test_fraction is a {type(test_fraction).__name__}, expected a number above 0,"
            " below 1"
        )
    if not 0 < test_fraction < 1:
        raise ValueError(f"split: test_fraction is {test_fraction}, expected more than 0, below 1")
    n_test = math.floor(len(x) * test_fraction + 0.5)
    if not 0 < n_test < len(x):
        raise ValueError(
            f"split: test_fraction {test_fraction} of {len(x)} rows leaves {len(x) - n_test} to"
            f" train and {n_test} to test, expected at least one of each"
        )
    draws = np.random.PCG64(seed).random_raw(len(x))
    order = np.argsort(draws, kind="stable")
    test, train = order[:n_test], order[n_test:]
    return x[train], labels[train], x[test], labels[test]


def _rows(name: str, values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"split: {name} cannot be an array ({error})") from error
