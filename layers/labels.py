"""Labels at the edge of the layers: class indices, or rows of target probabilities."""

from typing import Any

import numpy as np

from kernels.runtime import checks
from kernels.targets import own_labels
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
        Integers (batch,), each in [0, n_classes), or real target rows (batch, n_classes), none
        negative, each summing to 1 (one-hot rows of integers or booleans too).
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
    if checked.ndim == 2 and (checked.shape[1] != 1 or n_classes == 1):
        checked = checks.real(place, name, checked, dtype, (batch, n_classes))
    return checks.labels(place, name, checked, batch, n_classes, dtype)


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
    checked = checks.real(place, name, y, dtype)
    if checked.ndim == 1 and n_out == 1:
        checked = checked[:, None]
    checks.shape(place, name, checked, (batch, n_out))
    bad = ~np.isfinite(checked)
    if bad.any():
        row = int(np.flatnonzero(bad.any(axis=1))[0])
        raise ValueError(
            f"{place}: row {row} of {name} holds {checked[row][bad[row]][0]}, expected finite "
            "numbers"
        )
    return checks.contiguous(checked)
