"""What becomes of one column: numbers standardised, categories one-hot, or left out, and why."""

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from layers.base import Array
from layers.data.columns import listed
from layers.tables.table import as_numbers, as_text, missing, text_of

_ID = re.compile(r"(?:^|[^A-Za-z])(?:id|index|rownames?)$|(?:^|[a-z ])(?:Id|ID|Index)$", re.ASCII)


@dataclass(frozen=True)
class Decision:
    """One column: what it is, and the numbers that standardise it."""

    name: str
    kind: str
    """``"number"``, ``"category"`` or ``"left out"``."""
    mean: float = 0.0
    deviation: float = 1.0
    categories: tuple[str, ...] = ()
    n_missing: int = 0
    """In training; an indicator marks such rows, where there were any."""
    why: str = ""
    """Why it is left out."""

    def __post_init__(self) -> None:
        numbers = (self.mean, self.deviation, self.n_missing)
        texts = (self.name, self.why, *self.categories)
        if (
            self.kind not in ("number", "category", "left out")
            or not all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
            or not all(isinstance(text, str) for text in texts)
            or not self.deviation > 0
        ):
            raise ValueError(f"{self!r} is no decision on a column")

    @property
    def width(self) -> int:
        """How many inputs it becomes."""
        if self.kind == "left out":
            return 0
        return (len(self.categories) if self.kind == "category" else 1) + (self.n_missing > 0)

    def write(self, column: Array, out: Array, place: str) -> list[str]:
        """Write the inputs, (n, width) and zero so far; what was unusual is returned."""
        place, gone = f"{place}: column {self.name!r}", missing(column)
        unusual = []
        if self.kind == "number":
            numbers = as_numbers(place, column)
            _check_finite(place, numbers)
            standardised = (numbers - self.mean) / self.deviation
            out[:, 0] = np.where(gone, 0, standardised)  # the mean, where a number is missing
        else:
            known = {text: index for index, text in enumerate(self.categories)}
            index = np.array([known.get(text, -1) for text in as_text(column)], np.int64)
            rows = np.flatnonzero(index >= 0)
            out[rows, index[rows]] = 1
            if (new := (index < 0) & ~gone).any():
                texts = listed(sorted(set(as_text(column)[new])))
                unusual.append(f"holds unknown categories ({texts}) in {new.sum()} rows")
        if self.n_missing:
            out[:, -1] = gone
        elif gone.any():
            unusual.append(f"has no value in {gone.sum()} rows, and had one in each in training")
        return [f"column {self.name!r} {what}" for what in unusual]

    def config(self) -> dict[str, Any]:
        """Its fields, without those of the usual value."""
        usual = asdict(Decision("", "left out"))
        return {k: v for k, v in asdict(self).items() if k in ("name", "kind") or v != usual[k]}

    def __str__(self) -> str:
        if self.kind == "left out":
            return f"left out: {self.why}"
        what = f"category: {listed(self.categories)}"
        if self.kind == "number":
            what = f"number: mean {self.mean:.4g}, standard deviation {self.deviation:.4g}"
        return what + (f"; missing in {self.n_missing} rows, marked" if self.n_missing else "")


def decide(name: str, column: Array, most: int, is_wanted: bool, place: str) -> Decision:
    """What becomes of a column, by its values; one that is asked for by name is not left out."""
    gone = missing(column)
    values = column[~gone]
    why = "" if len(values) else "no values"
    if len(values) and not is_wanted:
        why = _why_left_out(name, values, len(column), most)
    if why:
        return Decision(name, "left out", why=why)
    n_missing = int(gone.sum())
    if column.dtype == object:
        categories = tuple(sorted(set(values)))
        return Decision(name, "category", categories=categories, n_missing=n_missing)
    _check_finite(f"{place}: column {name!r}", values)
    mean, deviation = mean_and_deviation(values)
    return Decision(name, "number", mean, deviation or 1.0, n_missing=n_missing)


def mean_and_deviation(values: Array) -> tuple[float, float]:
    """Of finite numbers, each sum rounded once: the same bits on any CPU."""
    n = len(values)
    mean = math.fsum(values) / n
    return mean, math.sqrt(math.fsum(((values - mean) ** 2).tolist()) / n)


def _why_left_out(name: str, values: Array, rows: int, most: int) -> str:
    """Why a column says nothing of a row, if so."""
    if not name or name.startswith("Unnamed: "):
        return "it has no name"
    n = len(set(values.tolist()))
    why = ""
    if n == 1 and len(values) == rows:
        why = f"always {text_of(values[0])}"
    elif values.dtype == object and n == len(values) > 2:
        why = f"another text in each of {n} rows"
    elif values.dtype == object and n > most:
        why = f"{n} different texts in {len(values)} rows, more than {most}"
    elif values.dtype != object and n == rows > 2 and (values == np.floor(values)).all():
        if values.max() - values.min() == rows - 1:
            why = "it counts the rows"
        elif _ID.search(name):
            why = f"an id, another number in each of {rows} rows"
    return why


def _check_finite(place: str, numbers: Array) -> None:
    endless = np.flatnonzero(np.isinf(numbers))
    if len(endless):
        raise ValueError(
            f"{place}, row {endless[0] + 1} holds {numbers[endless[0]]}, expected a number below "
            "1.8e308, or none where it is missing"
        )
    if len(numbers) and np.nanmax(np.abs(numbers), initial=0) > 1e150:
        raise ValueError(f"{place} runs up to {np.nanmax(np.abs(numbers)):.3g}: scale it")
