"""CSV of any columns: numbers or text, decimal commas, encodings."""

import codecs
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from layers.base import Array
from layers.data.columns import are_names, is_number, listed, shortened
from layers.data.opening import open_data
from layers.data.records import DELIMITERS, Block, Records
from layers.replacing import StrPath
from layers.tables.table import HOLES, Table

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
        self._commas: set[int] = set()

    def is_settled(self) -> bool:
        """Read the whole file once; False where it has to be read once more."""
        had_commas = bool(self._commas)
        with open_data(self._path, self._place) as stream:
            records = Records(stream, self._place, "CSV", self._encoding)
            self._begin(records)
            for block in records.blocks(not self._has_names, self._text, plain=not had_commas):
                self._add(block)
        if self._commas and self._plain_points and not had_commas:
            return False  # which columns have points was not seen
        return not self._is_late

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
            yield f"fields are separated by {DELIMITERS[self._delimiter]}"
        if self._has_names:
            yield f"first line taken as names: {listed(self._names)}"
        else:
            yield "first line taken as an example, columns have no names"
        if commas := sorted(self._commas - self._text):
            yield f"decimal commas in {listed([self._names[i] for i in commas])}"

    def _begin(self, records: Records) -> None:
        """Look at the first record, which may hold the names."""
        self._delimiter = records.delimiter
        fields = [field.strip() for field in records.first]
        where = f"{self._place}, line {records.line}"
        self._has_names = are_names(list(map(self._with_point, fields)), self._header, None, where)
        numbered = [f"column {index + 1}" for index in range(len(fields))]
        self._names = tuple(fields if self._has_names else numbered)
        double = sorted({n for n in self._names if n and self._names.count(n) > 1})
        if double:
            raise ValueError(f"{where}: more than one column is called {shortened(double)}")
        self._text |= {i for i, name in enumerate(self._names) if name in self._wanted}
        self._columns: list[list[Array]] = [[] for _ in fields]
        self._known: list[dict[str, str]] = [{} for _ in fields]  # one string for equal cells
        self._points: set[int] = set()
        self._plain_points = self._is_late = False
        self._rows = 0

    def _add(self, block: Block) -> None:
        self._rows += len(block.lines)
        if block.numbers is not None:
            self._plain_points |= self._delimiter != ","
            for index, numbers in zip(block.columns, block.numbers.T, strict=True):
                self._columns[index].append(numbers.copy())
        for index in range(len(self._names)) if block.numbers is None else self._text:
            cells = [row[index] for row in block.rows]
            found = None if index in self._text else self._numbers(index, cells)
            self._columns[index].append(self._texts(index, cells) if found is None else found)

    def _texts(self, index: int, cells: Sequence[str]) -> Array:
        """Cells as text, None where they are empty."""
        self._is_late |= index not in self._text and bool(self._columns[index])
        self._text.add(index)
        known = self._known[index]
        stripped = (known.setdefault(cell, cell.strip()) for cell in cells)
        return np.array([None if cell.lower() in HOLES else cell for cell in stripped], object)

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
