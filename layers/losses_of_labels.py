"""Losses of labels that are 0 or 1 each: one output, or many (multi-label)."""

from typing import Any, ClassVar

import numpy as np

from kernels.losses_of_labels import (
    BINARY_CROSS_ENTROPY,
    LABELS_OF_LOGITS,
    LABELS_OF_PROBABILITIES,
    SIGMOID_CROSS_ENTROPY,
)
from layers.backends import active
from layers.base import Array
from layers.labels import as_binary
from layers.losses import Loss


class LossOfLabels(Loss):
    """A mean over all labels; each is 1 where its score is above a threshold.

    Attributes
    ----------
    threshold : float
    """

    threshold: ClassVar[float]

    def targets(
        self, place: str, name: str, y: Any, batch: int, n_out: int, dtype: np.dtype[Any]
    ) -> Array:
        """Numbers from 0 to 1, (batch, n_out), or (batch,) where rows have one."""
        return as_binary(place, name, y, batch, n_out, dtype)

    def predictions(self, rows: int, n_out: int, dtype: np.dtype[Any]) -> Array:
        """Memory for labels: (rows,), or (rows, n_out) where there are several."""
        return np.empty(rows if n_out == 1 else (rows, n_out), np.int64)

    def predict(self, scores: Array, out: Array) -> None:
        """1 for a score above the threshold, else 0; -1 for NaN."""
        labels = np.where(np.isnan(scores), -1, scores > self.threshold)
        out[...] = labels.reshape(out.shape)

    def measured(self, scores: Array, targets: Array) -> Array:
        """The share of each row's labels that are right."""
        labels = self.predictions(len(scores), scores.shape[1], scores.dtype)
        self.predict(scores, labels)
        right = labels.reshape(scores.shape) == (targets > 0.5)
        return np.asarray(right.mean(axis=1, keepdims=True, dtype=scores.dtype))


class SigmoidCrossEntropy(LossOfLabels):
    """Sigmoid and cross-entropy in one, from logits: one output, or one for each label.

    Targets are 0 or 1 (booleans too) or probabilities, (n,) for one output, else (n, labels).
    `predict` gives 0 and 1 in the same shape, `predict_proba` the sigmoid of each logit, and
    accuracy is the mean over all labels. The denominator of the mean is the batch size times the
    labels of a row, as in PyTorch's ``BCEWithLogitsLoss``; the gradient is sigmoid(z) - t over
    that. With weights of rows it is the weighted mean of the rows' means, over the sum of weights.
    It is right for logits of any size.
    """

    takes = "logits"
    entry = SIGMOID_CROSS_ENTROPY
    prediction = LABELS_OF_LOGITS
    threshold = 0.0

    def probabilities(self, scores: Array) -> Array:
        """The sigmoid of each logit."""
        out = np.empty_like(scores)
        active().sigmoid_forward(scores, out)
        return out


class BinaryCrossEntropy(LossOfLabels):
    """Cross-entropy of the probabilities of labels, as a `Sigmoid` layer gives them.

    -t log p - (1 - t) log(1 - p), where a probability, of either, below the dtype's smallest normal
    number counts as that number; `SigmoidCrossEntropy` on the logits is faster and keeps more
    digits. Targets, predictions, accuracy and the denominator are as there.
    """

    takes = "sigmoid"
    entry = BINARY_CROSS_ENTROPY
    prediction = LABELS_OF_PROBABILITIES
    threshold = 0.5

    def probabilities(self, scores: Array) -> Array:
        """The scores themselves."""
        return scores
