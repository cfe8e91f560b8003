"""What a row of scores predicts, and how often that is right."""

import numpy as np

from kernels.intrinsics import (
    LANES,
    ahead,
    first_on,
    integers_at,
    load,
    max_of_lanes,
    row_of,
    select,
    splat,
)
from kernels.operations import run_rowwise
from kernels.runtime.families import ROWWISE, Operation
from kernels.runtime.jit import Array, door, inner, kernel
from kernels.targets import wanted


def _classes(scores, dy, out, rows, n, parameters, numbers, counter):
    classes, unknown = integers_at(out), np.int64(0)
    for i in range(rows):
        classes[i] = argmax(ahead(scores, i * n), n)
        unknown += classes[i] < 0
    return unknown


CLASSES = Operation(ROWWISE, _classes, nanoseconds=1.0)
"""The class of each row as int64, -1 for a row with a NaN; it counts those."""


@door("scores (batch, n_classes) -> out <batch>")
def argmax_rows(scores: Array, out: Array) -> None:
    """Index of the largest score of each row; the first of equals; -1 where the row has a NaN.

    Parameters
    ----------
    scores : ndarray, (batch, n_classes)
        float32 or float64.
    out : ndarray of int64, (batch,)
    """
    words = out.view(scores.dtype).reshape(len(out), -1)
    run_rowwise(CLASSES, scores, scores, words)


@door("scores (batch, n_classes), labels [batch < n_classes]")
def accuracy(scores: Array, labels: Array) -> float:
    """Fraction of rows whose largest score is their label's; a row with a NaN counts as wrong.

    Parameters
    ----------
    scores : ndarray, (batch, n_classes)
        Logits or probabilities.
    labels : ndarray
        Class indices (batch,), or target rows (batch, n_classes), whose largest is the label.
    """
    return count_correct.bare(scores, labels) / scores.shape[0]


@kernel("scores (batch, n_classes), labels [batch < n_classes]")
def count_correct(scores: Array, labels: Array) -> int:
    """How many rows have their largest score at their label; see `accuracy`.

    Parameters
    ----------
    scores : ndarray, (batch, n_classes)
    labels : ndarray
        Class indices (batch,), or target rows (batch, n_classes).
    """
    correct = 0
    for i in range(scores.shape[0]):
        scored = row_of(scores, i)
        correct += is_right(scored, wanted(labels, i, scored), scores.shape[1])
    return correct


@inner
def is_right(scores, target, n):
    """Whether the largest of n scores is the target's."""
    label = target.label if target.label >= 0 else argmax(target.row, n)
    return argmax(scores, n) == label


@inner
def argmax(row, n):
    """Index of the largest of n numbers; the first of equals; -1 where one is NaN.

    No branch depends on the numbers: a CPU cannot foretell what a network predicts.
    """
    largest, not_numbers = splat(row, LANES, -np.inf), 0
    for j in range(0, n, LANES):
        lanes = load(ahead(row, j), LANES, n - j, -np.inf)
        not_numbers += first_on(lanes != lanes) < LANES
        largest = select(lanes > largest, lanes, largest)
    top = max_of_lanes(largest)
    best = n
    for j in range(0, n, LANES):
        first = first_on(load(ahead(row, j), LANES, n - j, -np.inf) == top)
        best = min(best, j + first if first < LANES else n)
    return -1 if not_numbers else best
