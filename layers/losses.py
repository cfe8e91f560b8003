"""Losses: a number to make smaller, and its gradient. Each is the mean over the batch.

The mean is taken once, in the loss's gradient: no layer divides by the batch again.
"""

from typing import Any

import numpy as np

from kernels.runtime import checks
from layers.backends import active
from layers.base import Array
from layers.labels import as_labels


class Loss:
    """A mean over rows: `forward` gives it, `backward` its gradient by the scores."""

    takes = "scores"
    output: float | None = None
    dinputs: Array | None = None
    _probabilities: Array | None = None
    _labels: Array | None = None
    _shapes: tuple[tuple[int, ...], ...] = ()

    def forward(self, scores: Array, labels: Any) -> float:
        """Mean loss over the batch, kept for `backward`.

        Parameters
        ----------
        scores : array_like, (batch, n_classes)
            What the model gives: logits or probabilities, as the class says.
        labels : array_like
            Class indices (batch,), or target rows (batch, n_classes) that sum to 1.
        """
        place = f"{type(self).__name__}.forward"
        checked = checks.real(place, self.takes, scores, None, ("batch", "n_classes"))
        batch, n_classes = checked.shape
        self._labels = as_labels(place, "labels", labels, batch, n_classes, checked.dtype)
        losses = np.empty((len(checked), 1), checked.dtype)
        self._probabilities = self.rows(checked, self._labels, losses)
        self._shapes = np.shape(self._probabilities), self._labels.shape
        self.output = float(active().mean_loss(losses))
        return self.output

    def backward(self) -> Array:
        """Gradient of the mean loss by the scores, (batch, n_classes)."""
        place = f"{type(self).__name__}.backward"
        if self._probabilities is None or self._labels is None:
            raise ValueError(f"{place}: called before forward, expected a forward pass first")
        # Both may be the caller's own arrays, whose shapes may have been changed meanwhile.
        kept = (self.takes, self._probabilities), ("labels", self._labels)
        for (name, array), shape in zip(kept, self._shapes, strict=True):
            checks.shape(place, name, array, shape)
        dinputs = np.empty_like(self._probabilities)
        self.gradient(self._probabilities, self._labels, dinputs)
        self.dinputs = dinputs
        return dinputs

    # What a model calls: without checks, and without a memory, since models may share a loss.

    def rows(self, scores: Array, labels: Array, out_losses: Array) -> Array:
        """Each row's loss into ``out_losses`` (batch, 1); the probabilities. No checks."""
        raise NotImplementedError

    def gradient(self, probabilities: Array, labels: Array | None, out: Array) -> None:
        """Gradient of the mean loss by the scores, from what `rows` returned. No checks."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: without what the last pass left behind."""
        left_out = ("output", "dinputs", "_probabilities", "_labels", "_shapes")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class SoftmaxCrossEntropy(Loss):
    """Softmax and cross-entropy in one, from logits.

    A row's loss is finite where its logits lie no further apart than the dtype's largest number, so
    for all of at most half that in size: 1.7e38 in float32, 9e307 in float64.

    The gradient is (prediction - target) / batch. The lecture that this project follows writes
    Actual - Prediction on its slide, which is the direction of descent, its negative.
    """

    takes = "logits"

    def rows(self, scores: Array, labels: Array, out_losses: Array) -> Array:
        """Each row's loss by log-sum-exp; the probabilities."""
        probabilities = np.empty_like(scores)
        active().softmax_cross_entropy(scores, labels, probabilities, out_losses)
        return probabilities

    def gradient(self, probabilities: Array, labels: Array | None, out: Array) -> None:
        """(prediction - target) / batch."""
        active().softmax_minus_target(probabilities, labels, out)


class CategoricalCrossEntropy(Loss):
    """Cross-entropy of probabilities, as a `Softmax` layer gives them: - sum_j t_j log p_j.

    A probability below the dtype's smallest normal number counts as that number.
    """

    takes = "probabilities"

    def rows(self, scores: Array, labels: Array, out_losses: Array) -> Array:
        """Each row's loss; the probabilities, which are the scores themselves."""
        active().cross_entropy_rows(scores, labels, out_losses)
        return scores

    def gradient(self, probabilities: Array, labels: Array | None, out: Array) -> None:
        """- target / prediction / batch."""
        active().cross_entropy_backward(probabilities, labels, out)
