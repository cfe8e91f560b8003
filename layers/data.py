"""Readers of a user's own data: CSV, NumPy's .npz, and IDX, which is MNIST's format.

Inputs come back as float32 (n, features), one example a row, and labels as int64 (n,). Values are
as the file has them, but for IDX images of bytes, which are scaled to [0, 1]. Whether labels fit
the number of classes is for the model to say. Errors name the file and the place in it.
"""

import csv
import gzip
import io
import itertools
import math
import os
import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from layers.files.archive import (
    StrPath,
    array_names,
    as_array,
    open_archive,
    read_array,
    read_promised,
)

__all__ = ["read", "read_csv", "read_idx", "read_idx_pair", "read_inputs", "read_npz", "split"]

Inputs: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.int64]

_BLOCK = 1024  # lines of a CSV file parsed at a time: float64 and text exist for that many only
_GZIP_MAGIC = b"\x1f\x8b"
_EXACT = np.float64(2**53)  # up to here a float64 holds every integer

_NPZ_INPUTS = ("x", "X", "data", "images")
_NPZ_LABELS = ("y", "labels", "target")

_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


# Whatever the format.


def read(
    path: StrPath, *, labels: StrPath | None = None, label_column: int | str = -1
) -> tuple[Inputs, Labels]:
    """Read inputs and labels from a CSV, .npz or IDX file, told apart by name, then by content.

    Parameters
    ----------
    path : str or path-like
        The data; of an IDX pair, the images.
    labels : str or path-like, optional
        The labels of an IDX pair, where they do not lie beside the images under the usual name.
    label_column : int or str
        Of a CSV file, the column of labels: an index from 0, negative from the end, or a name.

    Returns
    -------
    x : ndarray of float32, shape (n, features)
    labels : ndarray of int64, shape (n,)
    """
    kind = kind_of(path)
    place = f"read: {os.fsdecode(path)}"
    if labels is not None and kind != "idx":
        raise ValueError(f"{place}: labels is for IDX files, this is taken for {kind}")
    if label_column != -1 and kind != "csv":
        raise ValueError(f"{place}: label_column is for CSV files, this is taken for {kind}")
    if kind == "idx":
        return read_idx_pair(path, labels)
    return read_npz(path) if kind == "npz" else read_csv(path, label_column)


def read_inputs(path: StrPath) -> Inputs:
    """Read a file without labels, to predict from.

    Parameters
    ----------
    path : str or path-like
        A CSV file, every column a feature; a .npz file, whose labels are not looked at; or IDX
        images.

    Returns
    -------
    x : ndarray of float32, shape (n, features)
    """
    kind = kind_of(path)
    place = f"read_inputs: {os.fsdecode(path)}"
    if kind == "idx":
        return _idx_images(path, place)
    if kind == "csv":
        return _read_table(path, None, place)[0]
    with open_archive(path, place) as archive:
        names = array_names(archive)
        return _npz_inputs(read_array(archive, _pick(names, _NPZ_INPUTS, place), place), place)


def kind_of(path: StrPath) -> str:
    """What a file holds, by its name or its first bytes."""
    # The name goes first, so that a damaged file is judged as what it was meant to be.
    name = os.path.basename(os.fsdecode(path)).lower().removesuffix(".gz")
    if name.endswith(".npz"):
        return "npz"
    if name.endswith((".csv", ".txt")):
        return "csv"
    if re.search(r"\bidx\d|\bubyte\b", name) or name.endswith(".idx"):
        return "idx"
    if not stat.S_ISREG(os.stat(path).st_mode):
        return "csv"  # what is read of a pipe to judge it would be lost
    with _open(path, f"read: {os.fsdecode(path)}") as stream:
        magic = stream.read(4)
    if magic.startswith(b"PK"):
        return "npz"
    return "idx" if magic[:2] == b"\0\0" else "csv"


@contextmanager
def _open(path: StrPath, place: str) -> Iterator[io.BufferedReader]:
    """Open a file, through gzip where its first bytes say so, whatever its name says."""
    with open(path, "rb") as file:
        # peek, not seek: a pipe will do.
        packed = file.peek(2)[:2] == _GZIP_MAGIC
        try:
            yield io.BufferedReader(gzip.GzipFile(fileobj=file)) if packed else file
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{place}: corrupt or truncated gzip data ({error})") from error


def _as_float32(values: NDArray[Any], where: Callable[[int, int], str]) -> Inputs:
    """Convert rows of features; a number may be infinite only where it was so before."""
    with np.errstate(over="ignore"):
        x = values.astype(np.float32, order="C")
    if values.dtype.kind == "f":
        overflows = np.isinf(x) & np.isfinite(values)
        if overflows.any():
            row, column = np.argwhere(overflows)[0].tolist()
            raise ValueError(
                f"{where(row, column)}: {values[row, column]} is outside the range of float32"
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


def read_csv(path: StrPath, label_column: int | str = -1) -> tuple[Inputs, Labels]:
    """Read numbers separated by commas, one example a line; gzip is seen by itself.

    A first line that is not all numbers is a header. Blank lines are passed over. ``nan`` and
    ``inf`` are numbers in a feature, not in a label; an empty field is an error.

    Parameters
    ----------
    path : str or path-like
        UTF-8 text.
    label_column : int or str
        The column of labels: an index from 0, negative from the end, or a name in the header.

    Returns
    -------
    x : ndarray of float32, shape (n, features)
        The other columns, in file order.
    labels : ndarray of int64, shape (n,)

    Raises
    ------
    ValueError
        Naming the line and the column, both counted from 1.
    """
    if isinstance(label_column, bool) or not isinstance(label_column, int | np.integer | str):
        raise TypeError(
            f"read_csv: label_column is a {type(label_column).__name__}, expected an int or a str"
        )
    return _read_table(path, label_column, f"read_csv: {os.fsdecode(path)}")


@dataclass(frozen=True)
class _Layout:
    """What the first line says of all the others, and how to name a cell."""

    place: str
    first_line: int
    header: Sequence[str]  # empty where there is none
    width: int

    def cell(self, line: int, column: int) -> str:
        name = f" ({self.header[column]!r})" if self.header else ""
        return f"{self.place}, line {line}, column {column + 1}{name}"

    def label_index(self, label_column: int | str) -> int:
        """Position of the label column, counted from 0."""
        if self.width < 2:
            raise ValueError(f"{self.place} has 1 column, expected a feature and a label at least")
        if isinstance(label_column, str):
            if self.header.count(label_column) != 1:
                known = _shortened(self.header) if self.header else "no header line"
                raise ValueError(
                    f"{self.place}: label_column {label_column!r} is the name of"
                    f" {self.header.count(label_column)} columns, expected one of {known}"
                )
            return self.header.index(label_column)
        if not -self.width <= label_column < self.width:
            raise ValueError(
                f"{self.place}: label_column {label_column}, expected an index into"
                f" {self.width} columns, from {-self.width} to {self.width - 1}"
            )
        return label_column % self.width


def _read_table(path: StrPath, label_column: int | str | None, place: str) -> tuple[Inputs, Labels]:
    """Read a CSV file; without a label column the labels are empty."""
    features: list[Inputs] = []
    labels: list[Labels] = [np.empty(0, np.int64)]
    with _open(path, place) as stream:
        lines = _numbered_lines(stream, place)
        first = next(lines, None)
        if first is None:
            raise ValueError(f"{place} is empty, expected lines of numbers separated by commas")
        fields = _fields(first[1], f"{place}, line {first[0]}")
        is_header = not all(map(_is_number, fields))
        layout = _Layout(place, first[0], fields if is_header else (), len(fields))
        index = None if label_column is None else layout.label_index(label_column)
        if not is_header:
            lines = itertools.chain([first], lines)
        while block := list(itertools.islice(lines, _BLOCK)):
            x, block_labels = _parse_block(block, index, layout)
            features.append(x)
            labels.append(block_labels)
    if not features:
        raise ValueError(f"{place} has a header and no rows, expected at least one")
    return np.concatenate(features), np.concatenate(labels)


def _parse_block(
    block: Sequence[tuple[int, str]], label_index: int | None, layout: _Layout
) -> tuple[Inputs, Labels]:
    numbers, texts = zip(*block, strict=True)
    try:
        table = np.loadtxt(texts, delimiter=",", comments=None, quotechar='"', ndmin=2)
        if table.shape != (len(block), layout.width):
            raise ValueError(f"parsed as shape {table.shape}")
    except ValueError as error:
        # NumPy parses some twenty times faster than Python would, but only Python knows the line.
        _raise_first_fault(block, layout)
        raise ValueError(f"{layout.place}, line {numbers[0]} or later: {error}") from error
    for row in np.flatnonzero(np.isinf(table).any(axis=1)):
        _refuse_overflow(numbers[row], texts[row], layout)
    x = _as_float32(table, lambda row, column: layout.cell(numbers[row], column))
    if label_index is None:
        return x, np.empty(0, np.int64)
    labels = _as_labels(table[:, label_index], lambda row: layout.cell(numbers[row], label_index))
    return np.delete(x, label_index, axis=1), labels


def _raise_first_fault(block: Sequence[tuple[int, str]], layout: _Layout) -> None:
    for number, text in block:
        fields = _fields(text, f"{layout.place}, line {number}")
        if len(fields) != layout.width:
            raise ValueError(
                f"{layout.place}, line {number} has {len(fields)} columns,"
                f" expected {layout.width} as in line {layout.first_line}"
            )
        for column, field in enumerate(fields):
            if not _is_number(field):
                what = f"{_shortened([field])} is not a number" if field.strip() else "is empty"
                raise ValueError(
                    f"{layout.cell(number, column)}: {what}, expected numbers separated by commas"
                    " (nan where one is missing)"
                )


def _refuse_overflow(number: int, text: str, layout: _Layout) -> None:
    """Refuse 1e999, which is parsed as infinity, in a row that holds an infinity."""
    for column, field in enumerate(_fields(text, f"{layout.place}, line {number}")):
        if math.isinf(float(field)) and "inf" not in field.lower():
            raise ValueError(
                f"{layout.cell(number, column)}: {field.strip()} is outside the range of float32"
            )


def _numbered_lines(stream: io.BufferedReader, place: str) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers in the file."""
    try:
        # utf-8-sig drops the mark that spreadsheets put in front.
        with io.TextIOWrapper(stream, encoding="utf-8-sig") as text:
            yield from ((number, line) for number, line in enumerate(text, 1) if line.strip())
    except UnicodeDecodeError as error:
        raise ValueError(f"{place} is not text in UTF-8 ({error}), expected CSV") from error


def _fields(line: str, where: str) -> list[str]:
    try:
        return next(csv.reader([line]))
    except csv.Error as error:
        raise ValueError(f"{where}: not a line of CSV ({error})") from error


def _is_number(field: str) -> bool:
    """Tell whether NumPy takes `field` for a number; float takes 1_000 and other digits too."""
    try:
        float(field)
    except ValueError:
        return False
    return field.isascii() and "_" not in field


def _shortened(names: Sequence[str]) -> str:
    """Names as an error message shows them: not all of a thousand, nor all of a long one."""
    shown = [repr(name if len(name) <= 40 else f"{name[:40]}...") for name in names[:12]]
    return ", ".join(shown) + (", ..." if len(names) > 12 else "")


# NumPy's .npz.


def read_npz(path: StrPath) -> tuple[Inputs, Labels]:
    """Read inputs and labels from a .npz file, as ``numpy.savez(path, x=x, y=y)`` writes it.

    Parameters
    ----------
    path : str or path-like
        Holds one array called x, X, data or images, of shape (n, ...), and one called y, labels
        or target, of shape (n,) or (n, 1). Other arrays are left alone; pickles are refused.

    Returns
    -------
    x : ndarray of float32, shape (n, features)
        The first axis kept, the others flattened; values as they are.
    labels : ndarray of int64, shape (n,)
    """
    place = f"read_npz: {os.fsdecode(path)}"
    with open_archive(path, place) as archive:
        names = array_names(archive)
        x_name, labels_name = _pick(names, _NPZ_INPUTS, place), _pick(names, _NPZ_LABELS, place)
        x = _npz_inputs(read_array(archive, x_name, place), f"{place}, array {x_name!r}")
        values = read_array(archive, labels_name, place)
    place = f"{place}, array {labels_name!r}"
    if values.shape not in ((len(x),), (len(x), 1)):
        raise ValueError(
            f"{place} has shape {values.shape}, expected ({len(x)},): one label to each row of"
            f" {x_name!r}"
        )
    return x, _as_labels(values.reshape(-1), lambda row: f"{place}, row {row}")


def _pick(names: Sequence[str], wanted: Sequence[str], place: str) -> str:
    """Choose the one name that is wanted; two of them would leave it to chance."""
    found = [name for name in wanted if name in names]
    if len(found) != 1:
        raise ValueError(
            f"{place} holds {_shortened(names) or 'no arrays'}, expected exactly one of"
            f" {', '.join(wanted)}"
        )
    return found[0]


def _npz_inputs(values: NDArray[Any], place: str) -> Inputs:
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{place} has dtype {values.dtype}, expected real numbers")
    return _as_float32(_rows(values, place), _feature(place))


def _feature(place: str) -> Callable[[int, int], str]:
    return lambda row, column: f"{place}, row {row}, feature {column}"


def _rows(values: NDArray[Any], place: str) -> NDArray[Any]:
    """Flatten all axes but the first."""
    if values.ndim < 2 or values.size == 0:
        raise ValueError(
            f"{place} has shape {values.shape}, expected (n, features) or (n, height, width),"
            " none of them 0"
        )
    return values.reshape(len(values), -1)


# IDX.


def read_idx(path: StrPath) -> NDArray[Any]:
    """Read one array in IDX, MNIST's format; gzip is seen by itself.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    ndarray
        With the file's shape and dtype, in the native byte order.
    """
    return _read_idx(path, f"read_idx: {os.fsdecode(path)}")


def read_idx_pair(
    images_path: StrPath, labels_path: StrPath | None = None
) -> tuple[Inputs, Labels]:
    """Read images and their labels, as MNIST and Fashion-MNIST come.

    Parameters
    ----------
    images_path : str or path-like
        For example ``train-images-idx3-ubyte.gz``.
    labels_path : str or path-like, optional
        By default the file beside the images whose name says labels for images and idx1 for
        idx3, packed or not.

    Returns
    -------
    x : ndarray of float32, shape (n, pixels)
        Bytes are scaled from 0 ... 255 to [0, 1]; other types are as they are.
    labels : ndarray of int64, shape (n,)
    """
    place = f"read_idx_pair: {os.fsdecode(images_path)}"
    x = _idx_images(images_path, place)
    if labels_path is None:
        labels_path = _labels_beside(os.fsdecode(images_path), place)
    place = f"read_idx_pair: {os.fsdecode(labels_path)}"
    values = _read_idx(labels_path, place)
    if values.shape != (len(x),):
        raise ValueError(
            f"{place} has shape {values.shape}, expected ({len(x)},): one label to each image of"
            f" {os.fsdecode(images_path)}"
        )
    return x, _as_labels(values, lambda row: f"{place}, row {row}")


def _read_idx(path: StrPath, place: str) -> NDArray[Any]:
    with _open(path, place) as stream:
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
        shape = struct.unpack(f">{ndim}I", sizes)
        body = read_promised(stream, dtype.itemsize * math.prod(shape), place)
    return as_array(body, dtype, shape, place)


def _idx_images(path: StrPath, place: str) -> Inputs:
    images = _read_idx(path, place)
    x = _as_float32(_rows(images, place), _feature(place))
    if images.dtype == np.uint8:
        x /= np.float32(255)
    return x


def _labels_beside(images_path: str, place: str) -> str:
    """Find the labels by the usual names, packed as the images are or the other way."""
    folder, name = os.path.split(images_path)
    if "images" not in name:
        raise ValueError(
            f"{place}: the labels are not given, and the name has no 'images' in it to put"
            " 'labels' for; pass their path"
        )
    packed = ".gz" if name.endswith(".gz") else ""
    plain = name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    candidates = [plain + packed, plain if packed else plain + ".gz"]
    for candidate in candidates:
        if os.path.exists(os.path.join(folder, candidate)):
            return os.path.join(folder, candidate)
    raise FileNotFoundError(
        f"{place}: no labels beside it, looked for {' and '.join(candidates)}; pass their path"
    )


# Train and test.

_X = TypeVar("_X", bound=np.generic)
_Y = TypeVar("_Y", bound=np.generic)


def split(
    x: NDArray[_X], labels: NDArray[_Y], test_fraction: float = 0.2, seed: int = 0
) -> tuple[NDArray[_X], NDArray[_Y], NDArray[_X], NDArray[_Y]]:
    """Shuffle the rows and set some apart for a test.

    The same seed gives the same rows with every version of NumPy: the order is that of raw 64-bit
    draws, and NumPy promises those, not what its shuffle makes of them.

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
    x, labels = np.asarray(x), np.asarray(labels)
    if x.ndim == 0 or labels.ndim == 0 or len(x) != len(labels):
        raise ValueError(
            f"split: x has shape {x.shape} and labels {labels.shape}, expected as many rows"
        )
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"split: seed is a {type(seed).__name__}, expected an int")
    if seed < 0:
        raise ValueError(f"split: seed is {seed}, expected 0 or more")
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
