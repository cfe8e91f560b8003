"""Measurements, medians, and ratios by round."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any, NamedTuple

from layers.bench.cases import Case
from layers.bench.libraries import OURS, SIDES


class Key(NamedTuple):
    """A side and its number of threads."""

    side: str
    threads: int


Round = dict[Key, float]
"""Seconds of each side and number of threads."""


class LeftOut(NamedTuple):
    """A side that is left out, where, and why."""

    side: str
    where: str
    reason: str

    def __str__(self) -> str:
        """As in ``PyTorch on 2 threads: ImportError: ...``."""
        where = f" {self.where}" if self.where else ""
        return f"{SIDES[self.side].title}{where}: {self.reason}"


class Other(NamedTuple):
    """Another side compared with ours.

    Attributes
    ----------
    side : str
    threads : int
    seconds : float
        The median.
    ratio, low, high : float
        Its time over ours by round: median, least and most.
    """

    side: str
    threads: int
    seconds: float
    ratio: float
    low: float
    high: float

    @property
    def title(self) -> str:
        """The side's name for readers."""
        return SIDES[self.side].title


class Row(NamedTuple):
    """A line of the table.

    Attributes
    ----------
    case : Case
    threads : int or None
        None: each side with its best number.
    ours_threads : int
    seconds : float
        Our median.
    others : list of Other
    """

    case: Case
    threads: int | None
    ours_threads: int
    seconds: float
    others: list[Other]

    @property
    def fastest(self) -> Other | None:
        """The fastest of the other libraries."""
        return self._fastest(by_hand=False)

    @property
    def fastest_by_hand(self) -> Other | None:
        """The fastest program that an expert writes for one network."""
        return self._fastest(by_hand=True)

    def _fastest(self, by_hand: bool) -> Other | None:
        others = [other for other in self.others if SIDES[other.side].by_hand == by_hand]
        return min(others, key=lambda other: other.ratio, default=None)


@dataclass
class Measured:
    """All rounds of a case."""

    case: Case
    rounds: list[Round] = field(default_factory=list)

    def rows(self) -> Iterator[Row]:
        """One row per number of threads; for an epoch also one with each side's best."""
        keys = list(self.rounds[0]) if self.rounds else []
        counts = sorted({key.threads for key in keys if key.side == OURS})
        for count in counts:
            yield self._row(count, [key for key in keys if key.threads == count])
        if self.case.kind == "epoch" and len(counts) > 1:
            best: dict[str, Key] = {}
            for key in sorted(keys, key=self._seconds):
                best.setdefault(key.side, key)
            yield self._row(None, [key for key in keys if best[key.side] == key])

    def unrest(self) -> float:
        """Spread of our own times: the upper quartile over the lower one."""
        if len(self.rounds) < 2:
            return 1.0
        quartiles = [
            quantiles([times[key] for times in self.rounds], n=4, method="inclusive")
            for key in self.rounds[0]
            if key.side == OURS
        ]
        return max(high / low for low, _, high in quartiles)

    def _row(self, threads: int | None, keys: Sequence[Key]) -> Row:
        ours = next(key for key in keys if key.side == OURS)
        others = [self._beside(key, ours) for key in keys if key != ours]
        return Row(self.case, threads, ours.threads, self._seconds(ours), others)

    def _beside(self, key: Key, ours: Key) -> Other:
        ratios = [times[key] / times[ours] for times in self.rounds]
        return Other(*key, self._seconds(key), median(ratios), min(ratios), max(ratios))

    def _seconds(self, key: Key) -> float:
        return median(times[key] for times in self.rounds)


@dataclass
class Results:
    """The results of a run of the benchmark.

    Attributes
    ----------
    command, date : str
    machine, versions : dict
    threads : list of int
    sides : list of str
        The requested sides, ours included.
    measured : list of Measured
    left_out : list of LeftOut
    left_to_full : list of str
        What only a full run has, in words.
    """

    command: str
    date: str
    machine: dict[str, Any]
    versions: dict[str, str]
    threads: list[int]
    sides: list[str]
    measured: list[Measured] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    left_to_full: list[str] = field(default_factory=list)

    def rows(self, *kinds: str) -> list[Row]:
        """All rows of cases of these kinds."""
        return [
            row
            for measured in self.measured
            if measured.case.kind in kinds
            for row in measured.rows()
        ]

    def document(self) -> dict[str, Any]:
        """The JSON document: all rounds and the rows. Times are in seconds."""
        return {
            "command": self.command,
            "date": self.date,
            "machine": self.machine,
            "versions": self.versions,
            "threads": self.threads,
            "sides": {name: SIDES[name].title for name in self.sides},
            "left_out": [entry._asdict() for entry in self.left_out],
            "left_to_full": self.left_to_full,
            "cases": [_case_document(measured) for measured in self.measured],
        }


def _case_document(measured: Measured) -> dict[str, Any]:
    case = measured.case
    return {
        "name": case.name,
        "kind": case.kind,
        "title": case.title,
        "widths": list(case.widths),
        "batch": case.batch,
        "rows": case.rows,
        "dtype": "float32",
        "results": [
            {
                "threads": "best" if row.threads is None else row.threads,
                "seconds": row.seconds,
                "ours_threads": row.ours_threads,
                "others": [other._asdict() for other in row.others],
            }
            for row in measured.rows()
        ],
        "rounds": [
            {**key._asdict(), "seconds": [times[key] for times in measured.rounds]}
            for key in (measured.rounds[0] if measured.rounds else ())
        ],
    }
