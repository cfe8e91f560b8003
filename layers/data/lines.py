"""The lines of a text, in pieces, with their numbers."""

import csv
import io
from collections.abc import Iterable, Iterator

PIECE = 1 << 18  # characters of a CSV file that are in memory and parsed at a time
_FIRST_LINE = 1 << 24  # most characters of a first line, which limits the others
_FIELD = 256  # most characters of a later line, per field
_BLANK = 1 << 20  # most characters of blank lines, plus as many as of other lines


class Lines:
    """The non-blank lines of a UTF-8 text with their numbers, in pieces.

    However small the packed file, at most a piece and a line are in memory, and too many blank
    lines are refused.
    """

    def __init__(self, stream: io.BufferedReader, place: str) -> None:
        # utf-8-sig drops the byte order mark of spreadsheets.
        self._text = io.TextIOWrapper(stream, encoding="utf-8-sig")
        self._place = place
        self._longest = _FIRST_LINE
        self._number = 1  # of the next line
        self._rest, self._ended = "", False
        self._lines: list[tuple[int, str]] = []  # read and not yet returned
        self._first: list[tuple[int, str]] = []  # of the first record
        self._started = False
        self._blank, self._kept = 0, 0  # characters

    def __enter__(self) -> "Lines":
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
        fields = fields_of(self._taken(), f"{self._place}, line {number}")
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

    def limit(self, n_fields: int) -> None:
        """From here on, no line is longer than one of so many numbers may be."""
        self._longest = max(PIECE, _FIELD * n_fields)

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
            piece = self._text.read(PIECE)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self._place} is not text in UTF-8 ({error}), expected CSV"
            ) from error
        self._ended = not piece
        # TextIOWrapper has normalised line ends; splitlines would split at others, too.
        *texts, self._rest = (self._rest + piece).split("\n")
        if self._ended and self._rest:
            texts.append(self._rest)
        if len(self._rest) > self._longest:
            raise ValueError(
                f"{self._place}, line {self._number + len(texts)} has more than {self._longest}"
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


def fields_of(lines: Iterable[str], where: str) -> list[str]:
    """Fields of the first record."""
    try:
        return next(csv.reader(lines))
    except csv.Error as error:
        raise ValueError(f"{where}: not a line of CSV ({error})") from error
