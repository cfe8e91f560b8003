"""The class of a row: the first largest score, and none where a score is NaN, in any lane."""

import numpy as np
import pytest

import kernels
from kernels.intrinsics import LANES

each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
WIDTHS = (1, 2, LANES - 1, LANES, LANES + 1, 2 * LANES, 2 * LANES + 5)


def classes(scores):
    out = np.full(len(scores), 99, np.int64)
    kernels.argmax_rows(scores, out)
    return out.tolist()


@each_dtype
@pytest.mark.parametrize("n", WIDTHS)
def test_a_nan_at_any_place_leaves_no_class(dtype, n):
    scores = np.zeros((n + 1, n), dtype)
    scores[range(n), range(n)] = np.nan
    assert classes(scores) == [-1] * n + [0]
    labels = np.zeros(n + 1, np.int64)
    assert kernels.accuracy(scores, labels) == 1 / (n + 1)


@each_dtype
@pytest.mark.parametrize("n", WIDTHS)
def test_the_largest_is_found_at_any_place(dtype, n):
    scores = np.where(np.eye(n, dtype=bool), dtype(-1), dtype(-np.inf))
    assert classes(scores) == list(range(n))
    scores[:, 0] = -1  # equal to it, and first
    assert classes(scores) == [0] * n
