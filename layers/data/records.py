"""The records of a CSV text, in blocks: as numbers where a block has nothing else."""

import csv
import io
from collections import deque
from collections.abc import Iterator, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from layers.base import Array

PIECE = 1 << 18  # characters that are in memory and parsed at a time
ROWS = 1 << 18  # fields that are in memory as text of their own
_SAMPLE = 1 << 16  # characters that the delimiter is found from
_LONGEST = 1 << 24  # most characters of a line
_BLANK = 1 << 20  # most characters of blank lines, plus as many as of other lines
DELIMITERS = {
    "\t": "tabs",
    ";": "semicolons",
    ",": "commas",
    "|": "bars",
}  # the first one where several fit


class Block(NamedTuple):
    """Some records, each as wide as the first one."""

    lines: list[int]
    """The number of each record's first line."""
    rows: list[list[str]]
    """Their fields; perhaps none where all are numbers."""
    numbers: Array | None = None
    """Finite ones or NaN, (n, columns), where these columns have nothing else."""
    columns: Sequence[int] = ()
    """Which these are."""


class Records:
    """The records of a text, each with the number of its line.

    However small the packed file, at most a piece, a line and a block are in memory, and too many
    blank lines are refused. Blank lines are skipped; between records of one field each is a record
    whose field is empty.

    Parameters
    ----------
    stream : io.BufferedReader
    place, expected : str
        Where an error is, and what was expected there.
    encoding : str
    delimiter : str, optional
        By default the one that fits best.

    Attributes
    ----------
    first : list of str
        The fields of the first record.
    line : int
        Its line.
    """

    def __init__(
        self,
        stream: io.BufferedReader,
        place: str,
        expected: str,
        encoding: str = "utf-8-sig",
        delimiter: str | None = None,
    ) -> None:
        self._text = io.TextIOWrapper(stream, encoding)
        self._place, self._expected = place, expected
        self._pending: deque[str] = deque()  # lines read and not yet taken
        self._taken = 0  # how many were
        self._rest, self._ended = "", False
        self._blank = self._kept = 0  # characters
        self._longest = _LONGEST
        self._read()
        sample = "\n".join([*self._pending, self._rest])[:_SAMPLE]
        self.delimiter = delimiter or _delimiter_of(sample)
        self._reader = csv.reader(self._lines(), delimiter=self.delimiter, strict=True)
        while self._more():
            self.line, self.first = self._record()
            if not _is_blank(self.first):
                return
        raise ValueError(f"{place} is empty, expected lines of {expected}")

    def limit(self, characters: int) -> None:
        """From here on, no line is longer than its fields may be, each of so many characters."""
        self._longest = max(PIECE, characters * len(self.first))

    def blocks(
        self, again: bool, text: Set[int] = frozenset(), plain: bool = True
    ) -> Iterator[Block]:
        """All records after the first.

        Parameters
        ----------
        again : bool
            The first one too.
        text : set of int
            Columns that are no numbers; it may grow meanwhile.
        plain : bool
            Whether to give numbers, where all other columns hold them.
        """
        width, blanks = len(self.first), list[int]()
        block = Block([self.line], [self.first]) if again else Block([], [])
        while self._more():
            if plain and width > 1 and (numbers := self._plain(width, text)) is not None:
                if block.rows:
                    yield block
                    block = Block([], [])
                yield numbers
                continue
            while self._pending:
                line, row = self._record()
                if _is_blank(row):
                    blanks.append(line)
                    continue
                if len(row) != width:
                    raise ValueError(
                        f"{self._place}, line {line} has {len(row)} columns,"
                        f" expected {width} as in line {self.line}"
                    )
                if width == 1:
                    block.lines.extend(blanks)
                    block.rows.extend([""] for _ in blanks)
                block.lines.append(line)
                block.rows.append(row)
                blanks = []
            if len(block.rows) * width >= ROWS:
                yield block
                block = Block([], [])
        if block.rows:
            yield block

    def _plain(self, width: int, text: Set[int]) -> Block | None:
        """The lines at hand as numbers; None where another column than text holds something else.

        NumPy parses about ten times as fast as Python; but only Python says which field is none.
        """
        found = [(i, line) for i, line in enumerate(self._pending, self._taken + 1) if _holds(line)]
        taken = [column for column in range(width) if column not in text]
        if not found or not taken:
            return None
        lines = [line for _, line in found]
        rows: list[list[str]] = []
        try:
            if text or any('"' in line for line in lines):
                rows = list(csv.reader(lines, delimiter=self.delimiter, strict=True))
                if {len(row) for row in rows} != {width} or len(rows) < len(lines):
                    return None
            parsed = np.loadtxt(
                lines,
                delimiter=self.delimiter,
                comments=None,
                quotechar='"',
                usecols=taken if text else None,
                ndmin=2,
            )
        except (ValueError, csv.Error):
            return None
        if parsed.shape != (len(lines), len(taken)) or np.isinf(parsed).any():
            return None
        self._taken += len(self._pending)
        self._pending.clear()
        return Block([i for i, _ in found], rows, parsed, taken)

    def _record(self) -> tuple[int, list[str]]:
        """The next record, and its first line."""
        line = self._taken + 1
        try:
            return line, next(self._reader)
        except csv.Error as error:
            where = f"{self._place}, line {line}"
            if "end of data" in str(error):
                raise ValueError(f"{where}: a quote that is not closed") from error
            raise ValueError(f"{where}: not a line of CSV ({error})") from error

    def _lines(self) -> Iterator[str]:
        while self._more():
            self._taken += 1
            yield self._pending.popleft() + "\n"

    def _more(self) -> bool:
        """Whether there is a line to take."""
        while not self._pending and not self._ended:
            self._read()
        return bool(self._pending)

    def _read(self) -> None:
        """Read one more piece of the text."""
        piece = self._text.read(PIECE)
        self._ended = not piece
        # TextIOWrapper has normalised line ends; splitlines would split at others, too.
        *texts, self._rest = (self._rest + piece).split("\n")
        if self._ended and self._rest:
            texts.append(self._rest)
        number = self._taken + len(self._pending) + 1
        where = f"{self._place}, line {number + len(texts)}"
        if "\0" in piece:
            number += next((i for i, text in enumerate(texts) if "\0" in text), len(texts))
            raise ValueError(f"{self._place}, line {number} holds a NUL, as no text does")
        if len(self._rest) > self._longest:
            raise ValueError(
                f"{where} has more than {self._longest} characters, expected {self._expected}"
            )
        blank = sum(len(text) + 1 for text in texts if not _holds(text))
        self._blank += blank
        self._kept += len(piece) - blank
        if self._blank > _BLANK + max(self._kept, 0):
            raise ValueError(
                f"{where}: more blank lines than others, expected lines of {self._expected}"
            )
        self._pending.extend(texts)


def _holds(line: str) -> bool:
    return bool(line) and not line.isspace()


def _is_blank(row: list[str]) -> bool:
    return len(row) < 2 and not "".join(row).strip()


def _delimiter_of(sample: str) -> str:
    """What separates fields: by the first record, and by others where it holds several signs."""
    counts: dict[str, list[int]] = {}
    for sign in DELIMITERS:
        reader: Any = csv.reader(io.StringIO(sample, newline=""), delimiter=sign)
        try:
            counts[sign] = [len(row) for row in reader if row]
        except csv.Error:  # in another reader it will be named by its line
            counts[sign] = [1]
    found = {sign: widths for sign, widths in counts.items() if widths and widths[0] > 1}
    even = [sign for sign, widths in found.items() if len(set(widths[:-1][:50] or widths)) == 1]
    return (even or sorted(found, key=lambda sign: -found[sign][0]) or [","])[0]
