"""As large a part of each class."""

import numpy as np

from layers.base import Array


def part_of_each(order: Array, classes: Array, fraction: float, count: int) -> Array:
    """The first rows of each class in an order, together so many, by class.

    Parameters
    ----------
    order : ndarray of int, (n,)
        All rows.
    classes : ndarray, (n,)
        Of each row.
    fraction : float
        Of each class; rounded so that the rows are ``count``.
    count : int
    """
    _, index, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    share = sizes * fraction
    taken = np.floor(share).astype(np.int64)
    # What rounding down has left goes to the largest remainders.
    taken[np.argsort(taken - share, kind="stable")[: count - taken.sum()]] += 1
    grouped = order[np.argsort(index[order], kind="stable")]
    starts = np.cumsum(sizes) - sizes
    return np.concatenate(
        [grouped[a : a + some] for a, some in zip(starts.tolist(), taken.tolist(), strict=True)]
    )
