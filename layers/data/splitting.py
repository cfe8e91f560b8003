"""Rows to train on, and rows to test on."""

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from layers.keywords import keywords
from layers.stratified import part_of_each

_X = TypeVar("_X", bound=np.generic)
_Y = TypeVar("_Y", bound=np.generic)


@keywords("split")
def split(
    x: NDArray[_X],
    labels: NDArray[_Y],
    test_fraction: float = 0.2,
    seed: int = 0,
    *,
    stratify: Any = None,
) -> tuple[NDArray[_X], NDArray[_Y], NDArray[_X], NDArray[_Y]]:
    """Shuffle the rows and split them into training and test rows.

    The same seed gives the same rows with every version of NumPy: the order sorts raw 64-bit draws,
    which NumPy guarantees, unlike its shuffle.

    Parameters
    ----------
    x : ndarray, shape (n, ...)
    labels : ndarray, shape (n, ...)
    test_fraction : float
        Between 0 and 1; the number of test rows is rounded, and no part may be empty.
    seed : int
        Not negative.
    stratify : True or array_like, (n,), optional
        As large a part of each class is for testing, as far as whole rows allow. True: of each
        class of ``labels``; an array has the class of each row.

    Returns
    -------
    x_train, labels_train, x_test, labels_test : ndarray
        Copies.
    """
    x, labels = _rows("x", x), _rows("labels", labels)
    if x.ndim == 0 or labels.ndim == 0 or len(x) != len(labels):
        raise ValueError(
            f"split: x has shape {x.shape} and labels {labels.shape}, expected as many rows"
        )
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"split: seed is a {type(seed).__name__}, expected an int")
    if seed < 0:
        raise ValueError(f"split: seed is {seed}, expected 0 or more")
    if isinstance(test_fraction, bool | np.bool) or not isinstance(
        test_fraction, int | float | np.integer | np.floating
    ):
        raise TypeError(
            f"split: test_fraction is a {type(test_fraction).__name__}, expected a number above 0,"
            " below 1"
        )
    if not 0 < test_fraction < 1:
        raise ValueError(f"split: test_fraction is {test_fraction}, expected more than 0, below 1")
    n_test = math.floor(len(x) * test_fraction + 0.5)
    if not 0 < n_test < len(x):
        raise ValueError(
            f"split: test_fraction {test_fraction} of {len(x)} rows leaves {len(x) - n_test} to"
            f" train and {n_test} to test, expected at least one of each"
        )
    draws = np.random.PCG64(seed).random_raw(len(x))
    order = np.argsort(draws, kind="stable")
    if stratify is None or stratify is False:
        test, train = order[:n_test], order[n_test:]
    else:
        is_test = np.zeros(len(x), bool)
        is_test[part_of_each(order, _classes(labels, stratify), test_fraction, n_test)] = True
        test, train = order[is_test[order]], order[~is_test[order]]
    return x[train], labels[train], x[test], labels[test]


def _classes(labels: NDArray[Any], stratify: Any) -> NDArray[Any]:
    """The class of each row."""
    is_of_labels = isinstance(stratify, bool | np.bool)
    classes = labels if is_of_labels else _rows("stratify", stratify)
    if classes.shape not in ((len(labels),), (len(labels), 1)):
        what = "labels has" if is_of_labels else "stratify has"
        raise ValueError(
            f"split: {what} shape {classes.shape}, expected ({len(labels)},), a class to each row"
        )
    return classes.reshape(-1)


def _rows(name: str, values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"split: {name} cannot be an array ({error})") from error
