"""Data that comes with the package, so that an example runs without a download."""

from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray

from layers.data import read_csv

__all__ = ["load_digits"]


def load_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read UCI's optical handwritten digits: 1,797 images of 8 x 8 pixels, ten classes.

    Source, citation and licence (CC BY 4.0) lie beside the data, in ``digits-LICENSE.txt``.

    Returns
    -------
    x : ndarray of float32, shape (1797, 64)
        One image a row, its pixels row by row, from 0 (white) to 1 (black).
    labels : ndarray of int64, shape (1797,)
        The digit, 0 to 9.
    """
    # as_file also serves a package that is imported from a zip archive.
    with as_file(files(__name__) / "digits.csv.gz") as path:
        x, labels = read_csv(path, header=False, dtype="float32")
    x /= np.float32(16)  # exact: a count of 0 to 16 by a power of two
    return x, labels
