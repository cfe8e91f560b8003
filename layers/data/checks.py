"""What the readers of data check of their arguments and of a file's numbers."""

import os
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Inputs: TypeAlias = NDArray[np.floating[Any]]
Labels: TypeAlias = NDArray[np.int64]
Dtype: TypeAlias = "str | np.dtype[Any] | type[Any] | None"

_EXACT = np.float64(2**53)  # up to here a float64 holds every integer


def place_of(reader: str, path: object, name: str = "path") -> str:
    """Where an error is: the reader and the path."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise TypeError(f"{reader}: {name} is a {type(path).__name__}, expected the path of a file")
    return f"{reader}: {os.fsdecode(path)}"


def checked_dtype(reader: str, dtype: Dtype) -> np.dtype[Any] | None:
    """The dtype that is asked for, if one is."""
    if dtype is None:
        return None
    try:
        checked = np.dtype(dtype)
    except TypeError:
        checked = np.dtype(object)
    if checked not in (np.float32, np.float64):
        raise TypeError(f"{reader}: dtype is {dtype!r}, expected float32, float64 or None")
    return checked


def check_options(reader: str, label_column: object, header: object) -> None:
    """Check the types of what is for CSV alone."""
    if label_column is not None and (
        isinstance(label_column, bool) or not isinstance(label_column, int | np.integer | str)
    ):
        raise TypeError(
            f"{reader}: label_column is a {type(label_column).__name__}, expected an int or a str"
        )
    if header is not None and not isinstance(header, bool | np.bool):
        raise TypeError(
            f"{reader}: header is a {type(header).__name__}, expected True, False or None"
        )


def check_width(width: int, n_features: int | None, place: str) -> None:
    """Check that a file has as many features as the model takes."""
    if n_features is not None and width != n_features:
        raise ValueError(
            f"{place} has {width} columns of features, expected {n_features}, the width of the"
            " model"
        )


def as_real(
    values: NDArray[Any], dtype: np.dtype[Any] | None, where: Callable[[int, int], str]
) -> Inputs:
    """Convert rows of features; a finite number must not become infinite."""
    if dtype is None:
        exact = np.result_type(values.dtype, np.float32)
        dtype = exact if exact == np.float32 else np.dtype(np.float64)
    with np.errstate(over="ignore"):
        x = values.astype(dtype, order="C", copy=False)
    if values.dtype.kind == "f" and values.dtype.itemsize > dtype.itemsize:
        overflows = np.isinf(x)
        if overflows.any():
            overflows &= np.isfinite(values)
        if overflows.any():
            row, column = np.argwhere(overflows)[0].tolist()
            raise ValueError(
                f"{where(row, column)}: {values[row, column]} is outside the range of {dtype}"
            )
    return x


def as_labels(values: NDArray[Any], where: Callable[[int], str]) -> Labels:
    """Convert labels, each of which must be an integer that the file's dtype holds exactly."""
    if values.dtype.kind == "f":
        wrong = (np.abs(values) > _EXACT) | (np.floor(values) != values)  # nan differs from nan
    elif values.dtype.kind == "u":
        wrong = values > np.uint64(np.iinfo(np.int64).max)
    elif values.dtype.kind in "bi":
        return values.astype(np.int64)
    else:
        raise ValueError(f"{where(0)}: labels have dtype {values.dtype}, expected integers")
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{where(row)}: label {values[row]}, expected an integer")
    return values.astype(np.int64)
