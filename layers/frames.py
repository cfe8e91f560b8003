"""Frames: numbers whose columns have names, as those of pandas and Polars."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.runtime import checks

_SHOWN = 5


def real(
    place: str,
    name: str,
    value: Any,
    dtype: np.dtype[Any] | None,
    expected: tuple[int | str, ...] | None = None,
) -> NDArray[Any]:
    """Whatever holds real numbers, as `checks.real` has it; frames of nullable numbers too.

    Where it holds something else, the error names the first such value and its column.
    """
    numbers = value if type(value) is np.ndarray else _without_gaps(value)
    try:
        return checks.real(place, name, numbers, dtype, expected)
    except TypeError:
        if value is not None:
            _explain(place, name, value)
        raise


def names_of(x: Any) -> tuple[str, ...] | None:
    """The names of a frame's columns; None of anything else, or where not all are text."""
    if isinstance(x, np.ndarray):
        return None
    columns = getattr(x, "columns", None)
    try:
        names = tuple(columns) if columns is not None else ()
    except TypeError:  # a method, of whatever class
        return None
    return names if names and all(isinstance(name, str) for name in names) else None


def check_names(place: str, name: str, value: Any, known: Sequence[str] | None) -> None:
    """Refuse a frame whose columns are not those that the model was fitted with, in their order.

    Where one of the two has no names, the order counts.
    """
    came = None if known is None else names_of(value)
    if known is None or came is None or list(came) == list(known):
        return
    way_out = f"as in fit ({name}.to_numpy() has no names, and goes by the order)"
    if sorted(came) == sorted(known):
        at = next(n for n, pair in enumerate(zip(came, known, strict=True)) if pair[0] != pair[1])
        raise ValueError(
            f"{place}: the columns of {name} are {_listed(came[at:])} from column {at} on, "
            f"expected {_listed(known[at:])}, {way_out}"
        )
    unknown = [each for each in came if each not in known]
    missing = [each for each in known if each not in came]
    there = f"has the columns {_listed(unknown or came)}"
    lacks = f"and lacks {_listed(missing)}, " if missing else ""
    raise ValueError(f"{place}: {name} {there}, {lacks}expected {_listed(known)}, {way_out}")


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more


def _without_gaps(value: Any) -> Any:
    """A frame or a series of pandas' nullable numbers as an array, with NaN for what is missing."""
    dtypes = getattr(value, "dtypes", None)
    if dtypes is None or not hasattr(value, "to_numpy"):
        return value
    each = list(dtypes) if hasattr(dtypes, "__iter__") else [dtypes]
    is_nullable = any(hasattr(dtype, "na_value") for dtype in each)
    if is_nullable and all(getattr(dtype, "kind", "O") in "biuf" for dtype in each):
        return value.to_numpy(dtype="float64", na_value=np.nan)
    return value


def _explain(place: str, name: str, value: Any) -> None:
    """Say what it is that holds no numbers: the type that came, or the first value at fault."""
    array = np.asarray(checks.made(place, name, value))
    if array.dtype.kind in "biuf":
        return
    if array.ndim == 0 and not isinstance(value, (str, bytes, complex, np.generic, np.ndarray)):
        hint = f" ({name}.toarray() gives one)" if hasattr(value, "toarray") else ""
        raise TypeError(
            f"{place}: {name} is {checks.article(value)}, expected an array of real numbers{hint}"
        ) from None
    if array.ndim != 2:
        return
    names = names_of(value)
    for column in range(array.shape[1]):
        for row, each in enumerate(array[:, column].tolist()):
            if not isinstance(each, (bool, int, float, np.number)):
                label = f"column {column}" if names is None else f"column {names[column]!r}"
                raise TypeError(
                    f"{place}: {name} has dtype {array.dtype}, and {label} holds "
                    f"{checks.shown(each)} in row {row}, expected real numbers"
                ) from None
