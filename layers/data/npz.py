"""NumPy's .npz, with inputs and labels."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from layers.data.checks import (
    Dtype,
    Inputs,
    Labels,
    as_labels,
    as_real,
    check_width,
    checked_dtype,
    place_of,
)
from layers.data.columns import shortened
from layers.data.opening import MAGIC_BYTES, refuse_foreign, zip_archive
from layers.files.npz import array_names, array_shape, open_archive, read_array
from layers.replacing import StrPath

_NPZ_INPUTS = ("x", "X", "data", "images")
_NPZ_LABELS = ("y", "labels", "target")


def read_npz(path: StrPath, *, dtype: Dtype = None) -> tuple[Inputs, Labels]:
    """Read inputs and labels from a .npz file, as ``numpy.savez(path, x=x, y=y)`` writes it.

    Parameters
    ----------
    path : str or path-like
        Holds one array called x, X, data or images, of shape (n, ...), and one called y, labels
        or target, of shape (n,) or (n, 1). Other arrays are ignored; pickles are refused.
    dtype : {"float32", "float64"}, optional
        Of the inputs; by default the smaller one that holds the file's own exactly.

    Returns
    -------
    x : ndarray, shape (n, features)
        The first axis kept, the others flattened; values as they are.
    labels : ndarray of int64, shape (n,)
    """
    place = place_of("read_npz", path)
    return npz_arrays(path, True, checked_dtype("read_npz", dtype), None, place)


def npz_arrays(
    path: StrPath,
    with_labels: bool,
    dtype: np.dtype[Any] | None,
    n_features: int | None,
    place: str,
) -> tuple[Inputs, Labels]:
    """Read a .npz file; shapes are checked before the arrays are read."""
    with open(path, "rb") as file:
        start = file.read(MAGIC_BYTES)
    if not start.startswith(b"PK"):
        refuse_foreign(start, path, place)
    with open_archive(path, place) as archive:
        names = array_names(archive)
        if not names and archive.namelist():
            raise ValueError(f"{place} is {zip_archive(path)}; expected CSV, .npz or IDX")
        x_name = _pick(names, _NPZ_INPUTS, place)
        x_place = f"{place}, array {x_name!r}"
        shape = array_shape(archive, x_name, place)
        width = width_of(shape, x_place)
        check_width(width, n_features, x_place)
        labels = np.empty(0, np.int64)
        if with_labels:
            name = _pick(names, _NPZ_LABELS, place)
            where = f"{place}, array {name!r}"
            expected = ((shape[0],), (shape[0], 1))
            if (labels_shape := array_shape(archive, name, place)) not in expected:
                raise ValueError(
                    f"{where} has shape {labels_shape}, expected ({shape[0]},): one label to each"
                    f" row of {x_name!r}"
                )
            values = read_array(archive, name, place).reshape(-1)
            labels = as_labels(values, lambda row: f"{where}, row {row}")
        x = read_array(archive, x_name, place)
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{x_place} has dtype {x.dtype}, expected real numbers")
    return as_real(x.reshape(len(x), width), dtype, feature(x_place)), labels


def _pick(names: Sequence[str], wanted: Sequence[str], place: str) -> str:
    """The only name among those wanted; two are an error."""
    found = [name for name in wanted if name in names]
    if len(found) != 1:
        raise ValueError(
            f"{place} holds {shortened(names) or 'no arrays'}, expected exactly one of"
            f" {', '.join(wanted)}"
        )
    return found[0]


def feature(place: str) -> Callable[[int, int], str]:
    """What a feature of a row is called in an error."""
    return lambda row, column: f"{place}, row {row}, feature {column}"


def width_of(shape: tuple[int, ...], place: str) -> int:
    """Features of a row: the product of all axes except the first."""
    if len(shape) < 2 or 0 in shape:
        raise ValueError(
            f"{place} has shape {shape}, expected (n, features) or (n, height, width),"
            " none of them 0"
        )
    return math.prod(shape[1:])
