"""What a row of scores predicts, and how good predictions are: accuracy, top-k, F1, R squared."""

import numpy as np
from numba import prange

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


@kernel(
    "scores (batch, n_classes), labels [batch < n_classes], k >= 1 -> out (batch, 1)",
    nanoseconds=lambda scores, labels, k, out: 0.5 * scores.size,
)
def top_k_rows(scores: Array, labels: Array, k: float, out: Array) -> None:
    """1 for each row whose label's score is one of the k largest, else 0; 0 for a row with a NaN.

    Of equal scores those of lower classes count as larger, so k = 1 is `accuracy`'s rule.

    Parameters
    ----------
    scores : ndarray, (batch, n_classes)
        Logits or probabilities.
    labels : ndarray
        Class indices (batch,), or target rows (batch, n_classes), whose largest is the label.
    k : float
        A whole number of at least 1.
    out : ndarray, (batch, 1)
    """
    n = scores.shape[1]
    for i in prange(scores.shape[0]):
        row = row_of(scores, i)
        target = wanted(labels, i, row)
        label = target.label if target.label >= 0 else argmax(target.row, n)
        score, before = scores[i, max(label, 0)], 0
        for j in range(n):
            other = scores[i, j]
            # A NaN, anywhere in the row, is not below the score, and neither is anything below it.
            before += other > score or (other == score and j < label)
            before += n * (other != other)
        out[i, 0] = before < min(k, n) and label >= 0


@kernel("scores (batch, n), targets (batch, n), weights (batch, 1), threshold number")
def f1_score(scores: Array, targets: Array, weights: Array, threshold: float) -> float:
    """F1 of labels that are 0 or 1: 2 tp / (2 tp + fp + fn), over all labels of all rows.

    tp, fp and fn are the sums of the weights of true positives, false positives and false
    negatives. A label is predicted as 1 where its score is above the threshold; a NaN is wrong
    either way. Where nothing is 1, neither predicted nor wanted, it is 0, as in scikit-learn.

    Parameters
    ----------
    scores : ndarray, (batch, n)
    targets : ndarray, (batch, n)
        1 is what is above 1/2.
    weights : ndarray, (batch, 1)
        Of the rows.
    threshold : float
    """
    right, wrong = 0.0, 0.0
    for i in range(scores.shape[0]):
        weight = _wide(weights[i, 0])
        for j in range(scores.shape[1]):
            score, is_one = scores[i, j], targets[i, j] > 0.5
            if score != score or (score > threshold) != is_one:
                wrong += weight
            elif is_one:
                right += weight
    both = 2.0 * right + wrong
    return 2.0 * right / both if both != 0.0 else 0.0


@kernel("y (batch, n), targets (batch, n), weights (batch, 1)")
def r2_score(y: Array, targets: Array, weights: Array) -> float:
    """R squared: 1 - sum_i w_i (t_i - y_i)^2 / sum_i w_i (t_i - mean)^2, the mean over columns.

    The mean in it is that of the targets of a column, by the same weights. 1 is perfect, 0 as good
    as the mean. Of a column whose targets are all alike it is 1 where the predictions are they,
    else 0, as in scikit-learn.

    Parameters
    ----------
    y, targets : ndarray, (batch, n)
    weights : ndarray, (batch, 1)
    """
    batch, n = y.shape
    sum_of_columns = 0.0
    for j in range(n):
        # From the first target on: so targets that are all alike are their mean, to the bit.
        first, total, above = _wide(targets[0, j]), 0.0, 0.0
        for i in range(batch):
            weight = _wide(weights[i, 0])
            total += weight
            above += weight * (_wide(targets[i, j]) - first)
        mean = first + (above / total if total != 0.0 else above)
        spread, left = 0.0, 0.0
        for i in range(batch):
            weight, t = _wide(weights[i, 0]), _wide(targets[i, j])
            spread += weight * ((t - mean) * (t - mean))
            error = t - _wide(y[i, j])
            left += weight * (error * error)
        if spread != 0.0:
            sum_of_columns += 1.0 - left / spread
        else:
            sum_of_columns += 1.0 if left == 0.0 else left * 0.0
    return sum_of_columns / n


@inner
def _wide(number):
    """A number in float64: Python's own where nothing is compiled, which warns of no Inf - Inf."""
    return float(np.float64(number))


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
