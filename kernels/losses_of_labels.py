"""Losses of labels that are 0 or 1 each, or a probability: one in a row, or many.

For a logit z, its sigmoid s = 1 / (1 + e^-z) and a target t::

    loss = - t log s - (1 - t) log(1 - s) = max(z, 0) - z t + log(1 + e^-|z|)
    d loss / d z = s - t

Each is a mean over all numbers; what is measured besides is the share of a row's labels that are
right, where a label is 1 if its probability is above a half.
"""

import inspect

import numpy as np

from kernels.entries import LossEntry
from kernels.exp_log import SMALLEST_NORMAL, logistic, vector_exp, vector_log, vector_log1p
from kernels.intrinsics import (
    LANES,
    ahead,
    as_item,
    for_dtype,
    integers_at,
    lane_numbers,
    load,
    magnitude,
    select,
    splat,
    splatted,
    store,
    sum_of_lanes,
)
from kernels.runtime.families import LOSS, ROWWISE, Operation, specialised
from kernels.runtime.jit import inner

# These stand for a formula and a number; see `specialised`.
formula, THRESHOLD = None, 0.0


def _loss_loop(y, targets, out, losses, right, rows, n, batch, numbers):
    count, width = as_item(batch * n, y), as_item(n, y)
    if n == 1:  # sixteen rows at a time
        for i in range(0, rows, LANES):
            left = rows - i
            lanes, t = (
                load(ahead(y, i), LANES, left, 0.0),
                load(ahead(targets, i), LANES, left, 0.0),
            )
            value, gradient, is_right = formula(lanes, t)
            store(gradient / count, ahead(out, i), left)
            store(value, ahead(losses, i), left)
            store(is_right, ahead(right, i), left)
        return
    for i in range(rows):
        total, rights = splat(y, LANES, 0.0), splat(y, LANES, 0.0)
        for j in range(0, n, LANES):
            place, left = i * n + j, n - j
            lanes = load(ahead(y, place), LANES, left, 0.0)
            t = load(ahead(targets, place), LANES, left, 0.0)
            value, gradient, is_right = formula(lanes, t)
            is_there = lane_numbers(total) < left
            total = total + select(is_there, value, 0.0)
            rights = rights + select(is_there, is_right, 0.0)
            store(gradient / count, ahead(out, place), left)
        losses[i] = sum_of_lanes(total) / width
        right[i] = sum_of_lanes(rights) / width


@inner
def _is_right(y, threshold, t):
    """1 where prediction and target are on the same side, else 0; 0 for a NaN."""
    one = splatted(y, 1.0)
    predicted, wanted = select(y > threshold, one, 0.0), select(t > 0.5, one, 0.0)
    return select(y == y, select(predicted == wanted, one, 0.0), 0.0)


@inner
def sigmoid_cross_entropy(z, t):
    """Sigmoid and cross-entropy of labels, from logits: each row's mean, and its gradient.

    The loss is max(z, 0) - z t + log(1 + e^-abs(z)), so no logit is too large.
    """
    s, rest = logistic(z)
    log_sum = vector_log1p(vector_exp(magnitude(z) * -1.0))
    # s - t would lose the digits of a probability that is next to its target.
    gradient = s * (splatted(t, 1.0) - t) - rest * t
    return select(z > 0.0, z, 0.0) - z * t + log_sum, gradient, _is_right(z, 0.0, t)


@inner
def binary_cross_entropy(p, t):
    """Cross-entropy of the probabilities of labels: each row's mean loss, and its gradient.

    The loss is -t log p - (1 - t) log(1 - p), the gradient ((1 - t) / (1 - p) - t / p) / (batch n).
    A probability below the dtype's smallest normal number, of either, counts as that number.
    """
    u, q = splatted(t, 1.0) - t, _floored(splatted(p, 1.0) - p)
    is_right, p = _is_right(p, 0.5, t), _floored(p)
    loss = select(t == 0.0, 0.0, t * vector_log(p)) + select(u == 0.0, 0.0, u * vector_log(q))
    gradient = select(u == 0.0, 0.0, u / q) - select(t == 0.0, 0.0, t / p)
    return loss * -1.0, gradient, is_right


@inner
def _floored(p):
    """At least the smallest normal number; NaN stays."""
    smallest = for_dtype(p, SMALLEST_NORMAL)
    return select(p < smallest, smallest, p)


def _labels(scores, dy, out, rows, n, parameters, numbers, counter):
    labels, unknown = integers_at(out), np.int64(0)
    for j in range(rows * n):
        score = scores[j]
        labels[j] = np.int64(score > THRESHOLD) if score == score else np.int64(-1)
        unknown += labels[j] < 0
    return unknown


def _entry(formula, scores, nanoseconds):
    """A loss of labels: a formula of scores and targets gives loss, slope and what is right."""
    name = formula.__name__
    text = specialised(_loss_loop, name, __name__, {"formula": formula})
    return LossEntry(
        f"{name}_gradient",
        {"numbers": Operation(LOSS, text, nanoseconds)},
        inspect.getdoc(formula),
        scores=scores,
        targets="targets",
        measures={"out_right": "The share of labels that are on their target's side of 1/2."},
    )


def _prediction(name, threshold):
    """Label by label 1 above a threshold, 0 below, -1 for a NaN; it counts those."""
    return Operation(ROWWISE, specialised(_labels, name, __name__, {"THRESHOLD": threshold}))


SIGMOID_CROSS_ENTROPY = _entry(sigmoid_cross_entropy, "z", 1.5)
BINARY_CROSS_ENTROPY = _entry(binary_cross_entropy, "probabilities", 1.0)
sigmoid_cross_entropy_gradient = SIGMOID_CROSS_ENTROPY.kernel
binary_cross_entropy_gradient = BINARY_CROSS_ENTROPY.kernel

LABELS_OF_LOGITS = _prediction("labels_of_logits", 0.0)
LABELS_OF_PROBABILITIES = _prediction("labels_of_probabilities", 0.5)
