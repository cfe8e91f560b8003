"""What becomes of one column: standardised, one-hot, embedded or left out; or it is the target."""

import math
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from layers.base import Array
from layers.data.columns import listed, shortened
from layers.tables.spelling import form_of, is_form
from layers.tables.table import as_numbers, as_text, missing, text_of

_KINDS = ("number", "category", "embedded", "left out", "classes")
_MOST_CLASSES = 20
"""So many different whole numbers are classes to predict; more are a quantity."""
_FEWEST_ROWS = 10
"""Of so many rows each, on average, a category's vector can be learnt."""
_ID = re.compile(r"(?:^|[^A-Za-z])(?:id|index|rownames?)$|(?:^|[a-z ])(?:Id|ID|Index)$", re.ASCII)
_LARGEST = sys.float_info.max
"""Nothing above it, no integer either, is a float."""


@dataclass(frozen=True)
class Decision:
    """One column: what it is, and the numbers that standardise it."""

    name: str
    kind: str
    """``"number"``, ``"category"``, ``"embedded"``, ``"left out"``; of a target, ``"classes"``."""
    mean: float = 0.0
    deviation: float = 1.0
    categories: tuple[Any, ...] = ()
    """Text; of classes, perhaps integers."""
    counts: tuple[int, ...] = ()
    """Of classes: how many rows there were of each."""
    n_missing: int = 0
    """In training; an indicator marks such rows, where there were any."""
    why: str = ""
    """Why it is left out."""
    form: str = ""
    """How its numbers are written, where that is not plainly: ``"1,234.56"``; see `spelling`."""

    def __post_init__(self) -> None:
        numbers = (self.mean, self.deviation, self.n_missing, *self.counts)
        texts = {type(text) for text in (self.name, self.why, self.form, *self.categories)}
        whole = {int} == {type(name) for name in self.categories} and self.kind == "classes"
        if (
            self.kind not in _KINDS
            or not all(
                type(number) in (int, float) and abs(number) <= _LARGEST for number in numbers
            )
            or not (texts == {str} or whole)
            or not self.deviation > 0
            or not is_form(self.form)
            or len(self.counts) != len(self.categories) * (self.kind == "classes")
        ):
            raise ValueError(f"{self!r} is no decision on a column")

    @property
    def width(self) -> int:
        """How many inputs it becomes."""
        if self.kind in ("left out", "embedded"):
            return int(self.kind == "embedded")
        return (len(self.categories) if self.kind == "category" else 1) + (self.n_missing > 0)

    def write(self, column: Array, out: Array, place: str) -> list[str]:
        """Write the inputs, (n, width) and zero so far; what was unusual is returned."""
        place, gone = f"{place}: column {self.name!r}", missing(column)
        unusual = []
        if self.kind == "number":
            numbers = self.numbers(column, place)
            _check_finite(place, numbers)
            standardised = (numbers - self.mean) / self.deviation
            out[:, 0] = np.where(gone, 0, standardised)  # the mean, where a number is missing
        else:
            known = {text: index for index, text in enumerate(self.categories)}
            index = np.array([known.get(text, -1) for text in as_text(column)], np.int64)
            rows = np.flatnonzero(index >= 0)
            if self.kind == "embedded":  # 0 is for what is missing or unknown
                out[:, 0] = index + 1
            else:
                out[rows, index[rows]] = 1
            if (new := (index < 0) & ~gone).any():
                texts = listed(sorted(set(as_text(column)[new])))
                unusual.append(f"holds unknown categories ({texts}) in {new.sum()} rows")
        if self.n_missing and self.kind != "embedded":
            out[:, -1] = gone
        elif gone.any() and not self.n_missing:
            unusual.append(f"has no value in {gone.sum()} rows, and had one in each in training")
        return [f"column {self.name!r} {what}" for what in unusual]

    def config(self) -> dict[str, Any]:
        """Its fields, without those of the usual value."""
        usual = asdict(Decision("", "left out"))
        return {k: v for k, v in asdict(self).items() if k in ("name", "kind") or v != usual[k]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Decision":
        """The decision of a `config`; ValueError or TypeError where it is none."""
        if not isinstance(config, dict):
            raise TypeError(f"{config!r:.80} is no decision on a column")
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in config.items()
        }
        return cls(**fields)

    def numbers(self, column: Array, place: str) -> Array:
        """The column's numbers, as they are written here; text that is none is an error."""
        return as_numbers(place, column, self.form)

    def targets(self, column: Array, dtype: np.dtype[Any], place: str) -> Array:
        """What a model learns: class indices (n,), or standardised numbers (n, 1)."""
        _check_whole(column, place)
        if self.kind == "number":
            return ((self.numbers(column, place) - self.mean) / self.deviation).astype(dtype)[
                :, None
            ]
        index = {text_of(name): position for position, name in enumerate(self.categories)}
        texts = as_text(column)
        unknown = sorted({text for text in texts if text not in index})
        if unknown:
            raise ValueError(
                f"{place} holds {shortened(unknown)}, expected classes of training: "
                f"{listed(list(index))}"
            )
        return np.array([index[text] for text in texts], np.int64)

    def answers(self, predicted: Array) -> Array:
        """What a model's predictions mean: names of classes, or numbers in the target's unit."""
        if self.kind == "number":
            numbers: Array = np.asarray(predicted, np.float64).reshape(-1)
            return numbers * self.deviation + self.mean
        names: Array = np.array(self.categories)
        return names[np.asarray(predicted)]  # type: ignore[no-any-return]

    def __str__(self) -> str:
        if self.kind == "left out":
            return f"left out: {self.why}"
        if self.kind == "classes":
            pairs = zip(self.categories, self.counts, strict=True)
            shown = [f"{name} ({count} rows)" for name, count in pairs]
            return f"{len(shown)} classes: {listed(shown)}"
        what = f"{self.kind}: {listed(self.categories)}"
        if self.kind == "embedded":
            what = f"category, a vector is learnt of each: {listed(self.categories)}"
        elif self.kind == "number":
            like = f" written like {self.form}" if self.form else ""
            what = f"number{like}: mean {self.mean:.4g}, standard deviation {self.deviation:.4g}"
        return what + (f"; missing in {self.n_missing} rows, marked" if self.n_missing else "")


def decide(
    name: str, column: Array, most: tuple[int, int], is_wanted: bool, place: str
) -> Decision:
    """What becomes of a column, by its values.

    Parameters
    ----------
    name, column
    most : (int, int)
        So many different texts are one-hot, and so many embedded.
    is_wanted : bool
        Whether it is asked for by name: then it is not left out.
    place : str
        For errors.
    """
    gone = missing(column)
    form = form_of(column[~gone].tolist()) if column.dtype == object else ""
    if form:
        column = as_numbers(place, column, form)
    values = column[~gone]
    why = "" if len(values) else "no values"
    n = len(set(values)) if column.dtype == object else 0
    embedded = most[0] < n <= most[1] and (is_wanted or len(values) >= _FEWEST_ROWS * n)
    if len(values) and not is_wanted:
        why = _why_left_out(name, values, len(column), len(values) if embedded else most[0])
    if why:
        return Decision(name, "left out", why=why)
    n_missing = int(gone.sum())
    if column.dtype == object:
        categories = tuple(sorted(set(values)))
        kind = "embedded" if embedded else "category"
        return Decision(name, kind, categories=categories, n_missing=n_missing)
    _check_finite(f"{place}: column {name!r}", values)
    mean = _sum(values) / len(values)
    deviation = math.sqrt(_sum((values - mean) ** 2) / len(values))
    return Decision(name, "number", mean, deviation or 1.0, n_missing=n_missing, form=form)


def decide_target(name: str, column: Array, task: str | None, place: str) -> Decision:
    """Classes or a quantity, by the values, unless the task says which."""
    _check_whole(column, place)
    form = form_of(column.tolist()) if column.dtype == object and task != "classification" else ""
    if form and (task == "regression" or not _are_classes(as_numbers(place, column, form))):
        return decide(name, column, (1, 0), True, place)
    distinct = set(column.tolist())
    is_text = column.dtype == object
    is_classes = is_text or _are_classes(column)
    if len(distinct) < 2:
        raise ValueError(f"{place} is always {text_of(column[0])}, expected several values")
    if task == "regression" or (task is None and not is_classes):
        return decide(name, as_numbers(place, column), (1, 0), True, place)
    if is_text and len(distinct) == len(column) > 2:
        raise ValueError(f"{place} has another text in each row, expected classes")
    whole = not is_text and all(value.is_integer() for value in distinct)
    counts = sorted(Counter(map(int, column) if whole else as_text(column).tolist()).items())
    classes, rows = zip(*counts, strict=True)
    _check_learnable(rows, place)
    return Decision(name, "classes", categories=classes, counts=rows)


def _are_classes(numbers: Array) -> bool:
    """Whether numbers are classes, where nobody says what they are."""
    distinct = set(numbers.tolist())
    return len(distinct) <= _MOST_CLASSES and all(number.is_integer() for number in distinct)


def _check_learnable(counts: Sequence[int], place: str) -> None:
    """Refuse so many classes that there is next to nothing to learn each from."""
    n, rows = len(counts), sum(counts)
    middle = sorted(counts)[n // 2]
    if n > _MOST_CLASSES and (n * _FEWEST_ROWS > rows or middle < 2):
        raise ValueError(
            f"{place} has {n} classes in {rows} rows, {middle} of the class in the middle: "
            f"expected {_FEWEST_ROWS} rows of each on average, and 2 of most. Numbers that are "
            "a quantity are predicted with task='regression' (--task regression); classes of few "
            "rows may be merged"
        )


def _why_left_out(name: str, values: Array, rows: int, most: int) -> str:
    """Why a column says nothing of a row, if so."""
    if not name or name.startswith("Unnamed: "):
        return "it has no name"
    if len(values) == rows and (values == values[0]).all():
        return f"always {text_of(values[0])}"
    why = ""
    if values.dtype == object:
        n = len(set(values))
        if n == len(values) > 2:
            why = f"another text in each of {n} rows"
        elif n > most:
            why = f"{n} different texts in {len(values)} rows, more than {most}"
    elif len(values) == rows > 2 and (values == np.floor(values)).all():
        counts = values.max() - values.min() == rows - 1
        if (counts or _ID.search(name)) and len(set(values.tolist())) == rows:
            why = (
                "it counts the rows" if counts else f"an id, another number in each of {rows} rows"
            )
    return why


def _check_whole(column: Array, place: str) -> None:
    rows = np.flatnonzero(missing(column))
    if len(rows):
        raise ValueError(
            f"{place} has no value in {len(rows)} rows, the first of them row {rows[0] + 1}, "
            "expected one in each"
        )


def _check_finite(place: str, numbers: Array) -> None:
    endless = np.flatnonzero(np.isinf(numbers))
    if len(endless):
        raise ValueError(
            f"{place}, row {endless[0] + 1} holds {numbers[endless[0]]}, expected a number below "
            "1.8e308, or none where it is missing"
        )
    if len(numbers) and np.nanmax(np.abs(numbers), initial=0) > 1e150:
        raise ValueError(f"{place} runs up to {np.nanmax(np.abs(numbers)):.3g}: scale it")


def _sum(values: Array) -> float:
    """The sum, rounded once, so of the same bits on any CPU: math.fsum, some ten times as fast.

    In each round the leading bits of all values are added up, so few that no order of additions
    rounds (Rump, Ogita and Oishi, Accurate floating-point summation, part I, 2008).
    """
    parts = []
    while top := float(np.abs(values).max()):
        large = math.ldexp(1.0, math.frexp(top)[1] + len(values).bit_length() + 1)
        leading = (values + large) - large
        parts.append(float(leading.sum()))
        values = values - leading
    return math.fsum(parts)
