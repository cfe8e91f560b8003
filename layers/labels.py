"""Labels at the edge of the layers: class indices, or rows of target probabilities."""

from typing import Any

import numpy as np

from kernels.runtime import checks
from kernels.targets import own_labels
from layers import frames
from layers.base import Array

_INT64 = np.dtype(np.int64)


def as_labels(
    place: str, name: str, labels: Any, batch: int, n_classes: int, dtype: np.dtype[Any]
) -> Array:
    """Checked labels in the form that the kernels take.

    Class indices are copied, 8 bytes each: kernels read memory at them, and the caller may write to
    an array of its own. Target rows are only numbers, and stay where they are if they can.

    Parameters
    ----------
    place, name : str
        Who asks, and what the argument is called, for the error.
    labels : array_like
        Class indices (batch,) or (batch, 1), each in [0, n_classes): integers, booleans or whole
        floats. Or real target rows (batch, n_classes), none negative, each summing to 1 (one-hot
        rows of integers or booleans too).
    batch, n_classes : int
    dtype : numpy.dtype
        Target rows are converted to it.

    Raises
    ------
    TypeError, ValueError
        It names the first label at fault.
    """
    if (  # as most are: checks that may have to explain themselves take ten times as long
        type(labels) is np.ndarray
        and labels.dtype is _INT64
        and labels.shape == (batch,)
        and labels.base is None
        and labels.flags.c_contiguous
        and labels.flags.aligned
    ):
        own = np.empty(batch, np.int64)
        if own_labels.bare(labels, n_classes, own) < 0:
            return own
    if labels is None:
        raise TypeError(
            f"{place}: {name} is None, expected class indices ({batch},) or target rows "
            f"({batch}, {n_classes})"
        )
    if not isinstance(labels, np.ndarray):
        try:
            labels = np.asarray(checks.detached(labels))
        except MemoryError:
            raise
        except Exception as error:  # rows of several lengths, or whatever an object raises
            raise ValueError(
                f"{place}: {name} cannot be an array ({error}), expected class indices ({batch},) "
                f"or target rows ({batch}, {n_classes})"
            ) from error
    checked = checks.array(place, name, labels)
    text = _text_in(checked)
    if text is not None:
        raise TypeError(
            f"{place}: {name} holds text ({text!r}), expected class indices: "
            f"np.unique({name}, return_inverse=True) gives indices"
        )
    if checked.shape == (batch, 1) and n_classes > 1:
        checked = checked[:, 0]
    if checked.ndim == 2 and (checked.shape[1] != 1 or n_classes == 1):
        checked = checks.real(place, name, checked, dtype, (batch, n_classes))
    elif checked.ndim == 1:
        checked = _as_integers(place, name, checked, n_classes)
    return checks.labels(place, name, checked, batch, n_classes, dtype)


def labels_ignored(labels: Any, n_classes: int, ignore_index: int) -> tuple[Any, Array]:
    """Labels with 0 for each that is ignored, to be checked, and which rows these are."""
    try:
        given = np.asarray(checks.detached(labels))
    except Exception:  # `as_labels` says what is wrong with them
        return labels, np.zeros(0, bool)
    if given.shape[1:] == (1,) and n_classes > 1:
        given = given[:, 0]
    is_masked = isinstance(labels, np.ma.MaskedArray)  # which is refused
    if given.ndim != 1 or given.dtype.kind not in "iufO" or is_masked:
        return labels, np.zeros(len(given) if given.ndim else 0, bool)
    ignored = np.asarray(given == ignore_index, bool)
    return np.where(ignored, given.dtype.type(0) if given.dtype.kind != "O" else 0, given), ignored


def _as_integers(place: str, name: str, labels: Array, n_classes: int) -> Array:
    """Class indices that came as booleans, whole floats or objects; anything else as it is."""
    kind = labels.dtype.kind
    if kind == "f":
        with np.errstate(invalid="ignore"):
            bad = ~((labels >= 0) & (labels < n_classes) & (labels == np.floor(labels)))
        if bad.any():
            raise ValueError(
                f"{place}: {name} holds numbers ({labels[bad][0]} ...), expected class indices 0 "
                f"to {n_classes - 1}: for a regression use MeanSquaredError()"
            )
    elif kind != "b" and not (
        kind == "O" and all(isinstance(each, (bool, int, np.bool_, np.integer)) for each in labels)
    ):
        return labels
    try:
        return labels.astype(np.int64)
    except OverflowError:  # an object beyond 64 bits
        return labels


def _text_in(value: Any) -> str | None:
    """The first text in an array or what can be one, if it has any."""
    try:
        array = np.asarray(value)
    except Exception:  # rows of several lengths, or whatever an object raises
        return None
    if array.dtype.kind not in "OSTU":
        return None
    return next((str(each) for each in array.flat if isinstance(each, (str, bytes))), None)


def _rows(
    place: str, name: str, y: Any, n_out: int, dtype: np.dtype[Any], instead_of_text: str
) -> Array:
    """Numbers, as a column where there is one a row; text is refused by what it should be."""
    try:
        checked = frames.real(place, name, y, dtype)
    except TypeError:
        text = _text_in(y)
        if text is None:
            raise
        expected = instead_of_text.format(name=name, text=text)
        raise TypeError(f"{place}: {name} holds text ({text!r}), expected {expected}") from None
    return checked[:, None] if checked.ndim == 1 and n_out == 1 else checked


def as_binary(place: str, name: str, y: Any, batch: int, n_out: int, dtype: np.dtype[Any]) -> Array:
    """Checked labels, each by itself 0, 1 or a number between: (batch, n_out), or (batch,) for one.

    Raises
    ------
    TypeError, ValueError
        It names the first label at fault.
    """
    checked = _rows(place, name, y, n_out, dtype, "0 and 1: {name} == {text!r} gives them")
    if checked.ndim == 1:
        raise ValueError(
            f"{place}: {name} has shape {checked.shape}, expected {(batch, n_out)}, 0 or 1 of each "
            "label (of class indices, SoftmaxCrossEntropy() is the loss)"
        )
    checks.shape(place, name, checked, (batch, n_out))
    with np.errstate(invalid="ignore"):
        bad = ~((checked >= 0) & (checked <= 1))
    if bad.any():
        row = int(np.flatnonzero(bad.any(axis=1))[0])
        raise ValueError(
            f"{place}: row {row} of {name} holds {checked[row][bad[row]][0]}, expected 0, 1 or a "
            "probability (of class indices, SoftmaxCrossEntropy() is the loss)"
        )
    return checks.contiguous(checked)


def as_numbers(
    place: str, name: str, y: Any, batch: int, n_out: int, dtype: np.dtype[Any]
) -> Array:
    """Checked targets of a regression: finite numbers (batch, n_out), or (batch,) for one a row.

    They stay where they are if they can.

    Raises
    ------
    TypeError, ValueError
        It names the first target at fault.
    """
    checked = _rows(place, name, y, n_out, dtype, "numbers")
    if checked.ndim == 1:
        raise ValueError(
            f"{place}: {name} has shape {checked.shape}, expected {(batch, n_out)} (of class "
            f"indices, SoftmaxCrossEntropy() is the loss; for a number a row, end with 1 output)"
        )
    checks.shape(place, name, checked, (batch, n_out))
    bad = ~np.isfinite(checked)
    if bad.any():
        row = int(np.flatnonzero(bad.any(axis=1))[0])
        raise ValueError(
            f"{place}: row {row} of {name} holds {checked[row][bad[row]][0]}, expected finite "
            "numbers"
        )
    return checks.contiguous(checked)
