"""What nobody would expect of a column, and is said: as an error where it has to be mended."""

import math
import re
from itertools import chain

import numpy as np

from layers.base import Array
from layers.data.columns import is_number, shortened
from layers.tables.decisions import Decision, decide
from layers.tables.spelling import looks_like_number, odd_ones, only_by_case
from layers.tables.table import as_numbers, missing


def check_numbers(column: Array, most: int | None, place: str) -> list[str]:
    """Find text among numbers.

    Parameters
    ----------
    column : ndarray, (n,)
    most : int or None
        Of more different values it is an error: a column of numbers would be lost. Of fewer they
        are categories, and that is returned as a sentence. None for any number of them.
    place : str
    """
    if column.dtype != object:
        return []
    rows = np.flatnonzero(~missing(column))
    values = column[rows].tolist()
    odd = odd_ones(values)
    if not odd:
        return []
    first = f"row {rows[odd[0]] + 1} holds {shortened([values[odd[0]]])}"
    others = f" and {len(odd) - 1} more hold text" if len(odd) > 1 else ""
    what = f"{len(values) - len(odd)} of {len(values)} values are numbers, but {first}{others}"
    if most is None or len(set(values)) <= most:
        return [f"{what}: taken as categories"]
    raise ValueError(
        f"{place}: {what}; expected numbers alone. Mend the value, leave it empty if it is "
        "missing, or leave the column out (drop, --drop); keep (--keep) takes it as categories"
    )


def on_decision(column: Array, decision: Decision) -> list[str]:
    """Sentences on what was decided of a column that is text."""
    if column.dtype != object:
        return []
    values = column[~missing(column)].tolist()
    if decision.kind in ("embedded", "left out") and values and all(map(_is_quantity, values)):
        numbers = as_numbers("", column)
        if decide(decision.name, numbers, (1, 0), False, "").kind == "left out":
            return []  # an id, as numbers too
        what = "left out" if decision.kind == "left out" else "taken as categories"
        return [f"holds numbers as text ({shortened(values[:1])}), {what}: convert quantities"]
    if decision.categories:
        groups = only_by_case(map(str, decision.categories))
        what = "classes" if decision.kind == "classes" else "categories"
        return [f"{what} differ only by case or spaces: {shortened(group)}" for group in groups]
    is_plain = all(map(is_number, values))  # codes
    if decision.kind != "left out" or is_plain or not all(map(looks_like_number, values)):
        return []
    examples = shortened(list(dict.fromkeys(chain([values[0]], _shortest_and_longest(values)))))
    return [f"looks like numbers ({examples}), but written in no single form, and is left out"]


def _is_quantity(cell: str) -> bool:
    """Whether a cell is a plain finite number; 007 is a code."""
    return is_number(cell) and re.match(r"[+-]?0\d", cell) is None and math.isfinite(float(cell))


def _shortest_and_longest(values: list[str]) -> tuple[str, str]:
    return min(values, key=len), max(values, key=len)
