"""The target of a row: a class index, or a row of target probabilities."""

from collections import namedtuple

from kernels.intrinsics import LANES, ahead, lane_numbers, load, row_of, select, splat
from kernels.runtime.jit import Array, inner, kernel

Target = namedtuple("Target", ["label", "row"])
"""One row's class index; or -1 and the address of its target probabilities."""


@inner
def wanted(labels, i, like):
    """The target of row i, from class indices (batch,) or target rows (batch, n_classes)."""
    if labels.ndim == 1:
        return Target(labels[i], like)
    return Target(-1, row_of(labels, i))


@inner
def targets_from(target, j, n):
    """The target probabilities of a row of n from column j on; a class index becomes one-hot."""
    if target.label >= 0:
        ones = splat(target.row, LANES, 1.0)
        return select(lane_numbers(ones) == target.label - j, ones, 0.0)
    return load(ahead(target.row, j), LANES, n - j, 0.0)


@kernel("labels <n>, below int64 -> out <n>", public=False)
def own_labels(labels: Array, below: int, out: Array) -> int:
    """Copy labels and check the copy: the index of the first one outside [0, below), or -1.

    Compiled code indexes memory by a label, and the caller's array may change meanwhile.
    """
    bad = -1
    for i in range(labels.size - 1, -1, -1):
        out[i] = labels[i]
        if out[i] < 0 or out[i] >= below:
            bad = i
    return bad
