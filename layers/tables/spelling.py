"""Numbers as people write them: grouped by thousands, with a currency, percent, or in brackets.

A form is written as an example of itself: ``"$1,234.56"`` or ``"1.234,56 %"``. All cells of a
column have to follow one; "(5)" is -5, as in accounts, and 12 % is 12.
"""

import re
from collections.abc import Iterable, Sequence

from layers.data.columns import is_number

# Of each way to group digits: its example, what it matches, the separator, the decimal sign. No
# group begins with 0: "0,332" has a decimal comma. The first that fits all cells is taken.
_GROUPED = {
    "1,234.56": (re.compile(r"[1-9]\d{0,2}(,\d{3})+(\.\d*)?|\d+(\.\d*)?|\.\d+"), ",", "."),
    "1.234,56": (re.compile(r"[1-9]\d{0,2}(\.\d{3})+(,\d*)?|\d+(,\d*)?|,\d+"), ".", ","),
    "1'234.56": (re.compile(r"[1-9]\d{0,2}('\d{3})+(\.\d*)?|\d+(\.\d*)?|\.\d+"), "'", "."),
    "1 234.56": (re.compile(r"[1-9]\d{0,2}( \d{3})+(\.\d*)?|\d+(\.\d*)?|\.\d+"), " ", "."),
    "1 234,56": (re.compile(r"[1-9]\d{0,2}( \d{3})+(,\d*)?|\d+(,\d*)?|,\d+"), " ", ","),
}
_UNIT = r"[$€£¥]|CHF|EUR|GBP|USD"
_CELL = re.compile(
    rf"(?P<open>\()?(?P<sign>[+-])?(?P<before>(?:{_UNIT}) ?)?(?P<inner>[+-])?"
    rf"(?P<digits>[\d.,' ]*\d[.,]?)(?P<after> ?(?:{_UNIT}|%))?(?P<close>\))?",
    re.ASCII,
)
_USUAL = str.maketrans({"\u2019": "'", "\xa0": " ", "\u202f": " ", "\u2009": " ", "\u2212": "-"})
_FEWEST = 10
"""Of fewer cells nothing is said to be nearly a number."""


def forms_of(cell: str) -> dict[str, float]:
    """The numbers that a cell may be, by the form of each; none where it is text."""
    part = _parts(cell)
    if part is None:
        return {}
    negative = part["open"] or "-" in part["sign"] + part["inner"]
    return {
        f"{part['before']}{example}{part['after']}": (-1 if negative else 1)
        * float(part["digits"].replace(group, "").replace(point, "."))
        for example, (pattern, group, point) in _GROUPED.items()
        if pattern.fullmatch(part["digits"])
    }


def _parts(cell: str) -> dict[str, str] | None:
    """A cell's signs, units and digits; None where it has something else, or signs twice."""
    found = _CELL.fullmatch(cell.strip().translate(_USUAL))
    if found is None:
        return None
    part = found.groupdict("")
    signs = bool(part["open"]) + bool(part["sign"]) + bool(part["inner"])
    return None if signs > 1 or bool(part["open"]) != bool(part["close"]) else part


def form_of(cells: Sequence[str]) -> str:
    """The one form that all cells follow; empty where there is none, or all are plain numbers."""
    if not len(cells) or all(map(is_number, cells)) or all(map(_is_bracketed, cells)):
        return ""
    common: list[str] | None = None
    for cell in cells:
        forms = forms_of(cell)
        common = list(forms) if common is None else [form for form in common if form in forms]
        if not common:
            return ""
    return common[0] if common else ""


def is_form(form: str) -> bool:
    """Whether it is one that `form_of` gives."""
    return form == "" or form in forms_of(form)


def odd_ones(cells: Sequence[str]) -> list[int]:
    """Which of the cells are no numbers in any form, where nearly all others are; else none.

    Nearly all are 95 %, or all but one of at least 10.
    """
    most = max(1, len(cells) // 20)
    if len(cells) < _FEWEST:
        return []
    odd: list[int] = []
    for row, cell in enumerate(cells):
        if not looks_like_number(cell):
            odd.append(row)
            if len(odd) > most:
                return []
    return odd


def looks_like_number(cell: str) -> bool:
    """Whether a cell is a number in some form."""
    if is_number(cell):
        return True
    part = _parts(cell)
    return part is not None and any(
        pattern.fullmatch(part["digits"]) for pattern, _, _ in _GROUPED.values()
    )


def only_by_case(texts: Iterable[str]) -> list[list[str]]:
    """Groups of texts that differ by capitals and spaces alone."""
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault("".join(text.casefold().split()), []).append(text)
    return [group for group in groups.values() if len(group) > 1]


def _is_bracketed(cell: str) -> bool:
    return cell.startswith("(")
