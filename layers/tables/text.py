"""CSV of any columns: delimiter, decimal comma, encoding, quotes; in blocks."""

import codecs
import csv
import io
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from layers.base import Array
from layers.data.columns import are_names, is_number, listed, shortened
from layers.data.opening import open_data
from layers.replacing import StrPath
from layers.tables.table import HOLES, Table

_BLOCK = 1 << 16  # cells that are in memory as text at a time
_SAMPLE = 1 << 16  # characters that the delimiter is found from
_LONGEST = 1 << 24  # most characters of a line
_BLANK = 1 << 20  # most characters of blank lines, plus as many as of others
_DELIMITERS = {"\t": "tabs", ";": "semicolons", ",": "commas"}  # the first one where several fit
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: StrPath, header: bool | None, text: Sequence[str], place: str) -> Table:
    """Read a CSV file; a column is numbers where all of it is, else text.

    The encoding is that of its byte order mark, else UTF-8, else cp1252. At most a block of cells
    is held as text of its own, beside the columns.
    """
    with _seekable(path) as seekable:
        with open_data(seekable, place) as stream:
            start = stream.peek(4)
        marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
        for encoding in [marked] if marked else ["utf-8", "cp1252"]:
            scan = _Scan(seekable, encoding, header, text, place)
            try:
                while not scan.is_settled():  # again where a column turned out to be text
                    pass
                return scan.table()
            except UnicodeError as error:
                fault = error
    known = marked or "UTF-8, nor in cp1252"
    raise ValueError(f"{place} is not text in {known} ({fault}), expected CSV") from fault


@contextmanager
def _seekable(path: StrPath) -> Iterator[StrPath]:
    """The file, or a copy of what a pipe brings: it may be read twice."""
    if stat.S_ISREG(os.stat(path).st_mode):
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="numba-layers-") as copy, open(path, "rb") as pipe:
        shutil.copyfileobj(pipe, copy)
        copy.flush()
        yield copy.name


class _Scan:
    """Passes over a file in one encoding, until it is known which columns are text."""

    def __init__(
        self, path: StrPath, encoding: str, header: bool | None, text: Sequence[str], place: str
    ) -> None:
        self._path, self._encoding, self._place = path, encoding, place
        self._header, self._wanted = header, frozenset(text)
        self._text: set[int] = set()

    def is_settled(self) -> bool:
        """Read the whole file once; False where it has to be read once more."""
        before = None
        with open_data(self._path, self._place) as stream:
            lines = io.TextIOWrapper(stream, self._encoding, newline="")
            self._delimiter = _delimiter_of(lines.read(_SAMPLE))
            lines.seek(0)
            checked = _checked(lines, self._place)
            self._reader = csv.reader(checked, delimiter=self._delimiter, strict=True)
            try:
                self._begin()
                before = frozenset(self._text)
                for block in self._blocks():
                    self._add(block)
            except csv.Error as error:
                where = f"{self._place}, line {self._reader.line_num}"
                raise ValueError(f"{where}: not a line of CSV ({error})") from error
        return not self._rows or before == self._text

    def table(self) -> Table:
        """What the last pass found."""
        if not self._rows:
            raise ValueError(f"{self._place} has a header and no rows, expected at least one")
        mixed = [self._names[i] for i in sorted(self._commas & self._points - self._text)]
        if mixed:
            raise ValueError(f"{self._place}: {shortened(mixed)} hold decimal commas and points")
        columns = []
        for index, blocks in enumerate(self._columns):
            is_text = index in self._text
            columns.append(np.concatenate(blocks, dtype=object if is_text else np.float64))
            blocks.clear()
        return Table(self._names, tuple(columns), tuple(self._notes()), self._has_names)

    def _notes(self) -> Iterator[str]:
        if self._encoding != "utf-8":
            why = ", since it is not UTF-8" if self._encoding == "cp1252" else ", by its mark"
            yield f"read as {self._encoding.removesuffix('-sig')}{why}"
        if self._delimiter != ",":
            yield f"fields are separated by {_DELIMITERS[self._delimiter]}"
        if self._has_names:
            yield f"first line taken as names: {listed(self._names)}"
        else:
            yield "first line taken as an example, columns have no names"
        if commas := sorted(self._commas - self._text):
            yield f"decimal commas in {listed([self._names[i] for i in commas])}"

    def _begin(self) -> None:
        """Read the first record, which may hold the names."""
        first = next((row for row in self._reader if not _is_blank(row)), None)
        if first is None:
            raise ValueError(f"{self._place} is empty, expected lines of CSV")
        self._line, fields = self._reader.line_num, [field.strip() for field in first]
        shown = [self._with_point(field) for field in fields]
        where = f"{self._place}, line {self._line}"
        self._has_names = are_names(shown, self._header, None, where)
        numbered = [f"column {index + 1}" for index in range(len(fields))]
        self._names = tuple(fields if self._has_names else numbered)
        double = sorted({n for n in self._names if n and self._names.count(n) > 1})
        if double:
            raise ValueError(f"{where}: more than one column is called {shortened(double)}")
        self._first = [] if self._has_names else [first]
        self._text |= {i for i, name in enumerate(self._names) if name in self._wanted}
        self._columns: list[list[Array]] = [[] for _ in fields]
        self._known: list[dict[str, str]] = [{} for _ in fields]  # one string for equal cells
        self._commas: set[int] = set()
        self._points: set[int] = set()
        self._rows = 0

    def _blocks(self) -> Iterator[list[list[str]]]:
        width, blanks = len(self._names), 0
        rows, self._first = self._first, []
        for row in self._reader:
            if _is_blank(row):
                blanks += 1
                continue
            if len(row) != width:
                raise ValueError(
                    f"{self._place}, line {self._reader.line_num} has {len(row)} columns,"
                    f" expected {width} as in line {self._line}"
                )
            if width == 1:  # a blank line between others is a value that is missing
                rows += [[""]] * blanks
            rows.append(row)
            blanks = 0
            if len(rows) * width >= _BLOCK:
                yield rows
                rows = []
        if rows:
            yield rows

    def _add(self, rows: list[list[str]]) -> None:
        self._rows += len(rows)
        for index, cells in enumerate(zip(*rows, strict=True)):
            numbers = None if index in self._text else self._numbers(index, cells)
            if numbers is None:
                self._text.add(index)
                known = self._known[index]
                stripped = (known.setdefault(cell, cell.strip()) for cell in cells)
                values = [None if cell.lower() in HOLES else cell for cell in stripped]
                self._columns[index].append(np.array(values, object))
            else:
                self._columns[index].append(numbers)

    def _numbers(self, index: int, cells: Sequence[str]) -> Array | None:
        """Cells as numbers, NaN where they are empty; None where one of them is text."""
        joined = "".join(cells)
        if "." in joined:
            self._points.add(index)
        try:
            if "_" not in joined and joined.isascii():  # which float takes, and no one else
                return np.array(list(map(float, cells)))
        except ValueError:
            pass
        numbers = []
        for cell in cells:
            value = cell.strip()
            if value.lower() in HOLES:
                numbers.append(np.nan)
                continue
            pointed = self._with_point(value)
            if not is_number(pointed):
                return None
            if pointed != value:
                self._commas.add(index)
            numbers.append(float(pointed))
        return np.array(numbers)

    def _with_point(self, cell: str) -> str:
        """A number with its decimal comma as a point, where commas do not separate fields."""
        if self._delimiter != "," and _DECIMAL_COMMA.fullmatch(cell):
            return cell.replace(",", ".")
        return cell


def _is_blank(row: Sequence[str]) -> bool:
    return len(row) < 2 and not "".join(row).strip()


def _delimiter_of(sample: str) -> str:
    """What separates fields: by the first record, and by others where it holds several signs."""
    counts: dict[str, list[int]] = {}
    for sign in _DELIMITERS:
        reader: Any = csv.reader(io.StringIO(sample, newline=""), delimiter=sign)
        try:
            counts[sign] = [len(row) for row in reader if row]
        except csv.Error:  # in another reader it will be named by its line
            counts[sign] = [1]
    found = {sign: widths for sign, widths in counts.items() if widths and widths[0] > 1}
    even = [sign for sign, widths in found.items() if len(set(widths[:-1][:50] or widths)) == 1]
    return (even or sorted(found, key=lambda sign: -found[sign][0]) or [","])[0]


def _checked(stream: io.TextIOBase, place: str) -> Iterator[str]:
    """Lines; text that is none, and too much of nothing, is given up on."""
    blank = kept = 0
    for number, line in enumerate(iter(lambda: stream.readline(_LONGEST + 1), ""), 1):
        blank, kept = (blank, kept + len(line)) if line.strip() else (blank + len(line), kept)
        if len(line) > _LONGEST:
            fault = f"has more than {_LONGEST} characters"
        elif "\0" in line:
            fault = "holds a NUL, as no text does"
        elif blank > _BLANK + kept:
            fault = "comes after more blank lines than others"
        else:
            yield line
            continue
        raise ValueError(f"{place}, line {number} {fault}, expected CSV")
