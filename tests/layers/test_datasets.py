import hashlib
from importlib.resources import files

import numpy as np
import pytest

from layers import datasets

FOLDER = files("layers.datasets")


def test_shapes_dtypes_and_range():
    x, labels = datasets.load_digits()
    assert x.shape == (1797, 64)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    assert (x.min(), x.max()) == (0, 1)
    assert labels.shape == (1797,)
    assert labels.dtype == np.int64
    # UCI's own count of each digit in optdigits.tes.
    expected = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    np.testing.assert_array_equal(np.bincount(labels), expected)


def test_pixels_are_sixteenths():
    x, _ = datasets.load_digits()
    np.testing.assert_array_equal(x * 16, np.rint(x * 16))
    first_rows = [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
    np.testing.assert_array_equal(x[0, :16] * 16, first_rows)


def test_each_call_gives_arrays_of_its_own():
    x, labels = datasets.load_digits()
    x[:] = 7
    labels[:] = 7
    again, labels_again = datasets.load_digits()
    assert again.max() == 1
    assert labels_again[0] == 0


def test_same_as_scikit_learn():
    sklearn_datasets = pytest.importorskip("sklearn.datasets")
    expected_x, expected_labels = sklearn_datasets.load_digits(return_X_y=True)
    x, labels = datasets.load_digits()
    np.testing.assert_array_equal(x, expected_x / 16)
    np.testing.assert_array_equal(labels, expected_labels)


def test_licence_lies_beside_the_data_and_names_its_bytes():
    licence = (FOLDER / "digits-LICENSE.txt").read_text(encoding="utf-8")
    digest = hashlib.sha256((FOLDER / "digits.csv.gz").read_bytes()).hexdigest()
    assert f"sha256 {digest}" in licence
    assert "CC BY 4.0" in licence
    assert "https://doi.org/10.24432/C50P49" in licence
