"""Numbers in JSON, which has none for NaN and infinity."""

import math
from typing import Any

from kernels.runtime import checks

_WORDS = ("nan", "inf", "-inf")


def as_json(number: float) -> float | str:
    """A number, or one of the words "nan", "inf" and "-inf"."""
    return number if math.isfinite(number) else str(number)


def from_json(value: Any) -> Any:
    """What `as_json` made a word of, as a number again; anything else as it is."""
    return float(value) if isinstance(value, str) and value in _WORDS else value


def checked_list(place: str, name: str, numbers: Any) -> list[float]:
    """A list of what `as_json` gives, as numbers."""
    if not isinstance(numbers, list) or not all(
        isinstance(number, (int, float)) or number in _WORDS for number in numbers
    ):
        raise ValueError(
            f"{place}: {name} in its architecture is {checks.shown(numbers)}, expected a list of "
            "numbers"
        )
    try:
        return [float(number) for number in numbers]
    except OverflowError:
        raise ValueError(f"{place}: {name} has an integer beyond float64") from None
