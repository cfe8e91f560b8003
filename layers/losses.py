"""Losses: a number to make smaller, and its gradient. Each is the mean over the batch.

The mean is taken once, in the loss's gradient: no layer divides by the batch again.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from kernels.entries import LossEntry
from kernels.losses import CROSS_ENTROPY, SMOOTHED_CROSS_ENTROPY, SOFTMAX_CROSS_ENTROPY
from kernels.metrics import CLASSES
from kernels.runtime import checks
from kernels.runtime.families import Operation
from layers.backends import active
from layers.base import Array, Part
from layers.labels import as_labels, labels_ignored
from layers.metrics import Metric
from layers.weighting import Weighting, scale_of, times


class Loss(Part):
    """A mean over rows: `forward` gives it, `backward` its gradient with respect to the scores.

    It owns what the targets are, what is measured besides, and what a prediction is. A subclass
    names a kernel's entry, or computes by itself in `rows` and `gradient`, which are then called as
    they are, layer by layer.

    Attributes
    ----------
    entry : kernels.entries.LossEntry
        The loss of a row and its gradient, for each form of targets.
    takes : str
        What the scores are: ``"logits"``, ``"probabilities"``, ``"sigmoid"`` (the probability of
        each label by itself) or ``"numbers"``.
    measures : tuple of str
        What is measured of each row besides, of which histories have the mean.
    prediction : kernels.runtime.families.Operation or None
        What makes a prediction of a row's scores, a class by default; None where the scores are
        the prediction.
    """

    _PASSES = ("rows", "gradient", "targets", "predict", "measured")
    _RUNS = ("numbers", "used_entry")
    entry: ClassVar[LossEntry]
    takes = "scores"
    measures: ClassVar[tuple[str, ...]] = ("accuracy",)
    prediction: ClassVar[Operation | None] = CLASSES

    @property
    def of_classes(self) -> bool:
        """Whether a row has one class, and a score for each."""
        return self.prediction is CLASSES

    output: float | None = None
    dinputs: Array | None = None
    _kept: Any = None
    _targets: Array | None = None
    _weights: Array | None = None
    _shapes: tuple[tuple[int, ...], ...] = ()

    # --- what a subclass says ---

    def targets(
        self, place: str, name: str, y: Any, batch: int, n_out: int, dtype: np.dtype[Any]
    ) -> Array:
        """Checked targets in the form that the entry takes.

        Parameters
        ----------
        place, name : str
            Who asks, and what the argument is called, for the error.
        y : array_like
        batch, n_out : int
            Rows, and scores of a row.
        dtype : numpy.dtype

        Raises
        ------
        TypeError, ValueError
            It names the first target at fault.
        """
        return as_labels(place, name, y, batch, n_out, dtype)

    def ignored(self, y: Any, n_out: int) -> Array | None:
        """Which rows of ``y``, as it was given, count for nothing; None where each counts."""
        return None

    def metrics(self) -> tuple[Metric, ...]:
        """What `Sequential.evaluate` measures of a loss like this, besides `measures`."""
        return ()

    def numbers(self) -> tuple[float, ...]:
        """The entry's numbers."""
        return ()

    def predictions(self, rows: int, n_out: int, dtype: np.dtype[Any]) -> Array:
        """Memory for the predictions of so many rows of scores."""
        return np.empty(rows, np.int64)

    def predict(self, scores: Array, out: Array) -> None:
        """What scores predict, as `prediction` does in compiled code; -1 where there is a NaN."""
        active().argmax_rows(scores, out)

    def probabilities(self, scores: Array) -> Array:
        """The probabilities of classes that scores stand for."""
        if self.takes == "probabilities":
            return scores
        out = np.empty_like(scores)
        active().softmax_forward(scores, out)
        return out

    def measured(self, scores: Array, targets: Array) -> Array:
        """What is measured of each row, (batch, 1), where the entry's operation does not run."""
        classes = np.empty(len(scores), np.int64)
        active().argmax_rows(scores, classes)
        labels = targets if targets.ndim == 1 else targets.argmax(axis=1)
        right: Array = (classes == labels)[:, None].astype(scores.dtype)
        return right

    def used_entry(self) -> LossEntry:
        """The entry that such numbers need."""
        return self.entry

    def check_outputs(self, place: str, n_out: int) -> None:
        """Raise ValueError where this is no loss for networks with so many outputs."""

    def rows(self, scores: Array, targets: Array, out_losses: Array) -> Any:
        """Each row's loss into ``out_losses`` (batch, 1); what `gradient` needs. No checks.

        Models may share a loss, so nothing is kept in it.
        """
        return self._entry_run(scores, targets, out_losses)[1]

    def gradient(self, kept: Any, targets: Array, out: Array) -> None:
        """Gradient of the mean loss by the scores, from what `rows` returned. No checks."""
        out[...] = kept

    # --- what a user calls ---

    def forward(self, scores: Array, labels: Any, sample_weight: Any = None) -> float:
        """Mean loss over the batch, kept for `backward`.

        Parameters
        ----------
        scores : array_like, (batch, n_classes)
            What the model gives: logits, probabilities or numbers, as the class says.
        labels : array_like
            The targets: class indices (batch,), target rows (batch, n_classes) that sum to 1, or
            numbers (batch, n), as the class says.
        sample_weight : array_like, (batch,), optional
            What each row counts for, at least 0: the loss is the mean over the sum of weights.
        """
        place, width = (
            f"{type(self).__name__}.forward",
            "n" if self.takes == "numbers" else "n_classes",
        )
        checked = checks.real(place, self.takes, scores, None, ("batch", width))
        batch, n_out = checked.shape
        self._targets = self.targets(place, "labels", labels, batch, n_out, checked.dtype)
        weighting, names = Weighting(self, n_out, checked.dtype), ("labels", "sample_weight")
        self._weights = weighting.rows(place, names, labels, self._targets, sample_weight)
        losses = np.empty((batch, 1), checked.dtype)
        self._kept = self.rows(checked, self._targets, losses)
        self._shapes = np.shape(self._kept), self._targets.shape
        if self._weights is not None:
            losses = times(losses, self._weights, scale_of(self._weights))
        self.output = float(active().mean_loss(losses))
        return self.output

    def backward(self) -> Array:
        """Gradient of the mean loss with respect to the scores, (batch, n_classes)."""
        place = f"{type(self).__name__}.backward"
        if self._kept is None or self._targets is None:
            raise ValueError(f"{place}: called before forward, expected a forward pass first")
        # Both may be the caller's own arrays, whose shapes may have been changed meanwhile.
        kept = (self.takes, self._kept), ("labels", self._targets)
        for (name, array), shape in zip(kept, self._shapes, strict=True):
            checks.shape(place, name, array, shape)
        dinputs: Array = np.empty_like(self._kept)
        self.gradient(self._kept, self._targets, dinputs)
        if self._weights is not None:
            dinputs = times(dinputs, self._weights, scale_of(self._weights))
        self.dinputs = dinputs
        return dinputs

    # --- what a model calls ---

    def run(self, scores: Array, targets: Array) -> tuple[Array, list[Array], Callable[[], Array]]:
        """Each row's loss, what is measured of it, and what gives the gradient. No checks."""
        losses = np.empty((len(scores), 1), scores.dtype)
        if self.own_code() is None:
            measured, given = self._entry_run(scores, targets, losses)
            return losses, measured, lambda: given
        kept = self.rows(scores, targets, losses)
        measures = [self.measured(scores, targets)] if self.measures else []

        def filled() -> Array:
            out = np.empty_like(scores)
            self.gradient(kept, targets, out)
            return out

        return losses, measures, filled

    def form(self, targets: Array) -> str:
        """The form of checked targets, by which the entry has an operation."""
        return self.used_entry().form(targets)

    def operation(self, form: str, n: int) -> Operation:
        """The entry's operation for a form of targets, and rows of n scores."""
        return self.used_entry().operation(form, n)

    def _entry_run(self, scores: Array, targets: Array, losses: Array) -> tuple[list[Array], Array]:
        gradient, measures = np.empty_like(scores), [np.empty_like(losses) for _ in self.measures]
        outputs = gradient, losses, *measures
        getattr(active(), self.used_entry().name)(scores, targets, *self.numbers(), *outputs)
        return measures, gradient

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: without what the last pass left behind."""
        left_out = ("output", "dinputs", "_kept", "_targets", "_weights", "_shapes")
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

    The mean is over the batch: its denominator is the batch size, or the sum of the weights of rows
    that have any (as with ``weight=`` in PyTorch), so rows that are ignored do not count in it.

    Parameters
    ----------
    label_smoothing : float
        At least 0 and below 1. Targets t become t (1 - label_smoothing) + label_smoothing /
        n_classes, in `evaluate` too, as in PyTorch. Accuracy counts the targets as they are given.
    ignore_index : int, optional
        A class index that stands for no class: a model gives its rows the weight 0, so that they
        count neither in the loss nor in accuracy. For class indices, not for target rows.
    """

    takes = "logits"
    entry = SOFTMAX_CROSS_ENTROPY
    _label_smoothing = 0.0
    _ignore_index: int | None = None

    def __init__(self, label_smoothing: float = 0.0, ignore_index: int | None = None) -> None:
        place = "SoftmaxCrossEntropy"
        if ignore_index is not None:
            self._ignore_index = checks.integer(place, "ignore_index", ignore_index, -(2**63))
        self._label_smoothing = checks.number(place, "label_smoothing", label_smoothing, 0)
        if self._label_smoothing >= 1:
            raise ValueError(
                f"{place}: label_smoothing is {label_smoothing!r}, expected a number of at least 0 "
                "and below 1"
            )

    @property
    def label_smoothing(self) -> float:
        """The share of each target that all classes get alike."""
        return self._label_smoothing

    @property
    def ignore_index(self) -> int | None:
        """The label of rows that count for nothing."""
        return self._ignore_index

    def ignored(self, y: Any, n_out: int) -> Array | None:
        """The rows whose label is `ignore_index`."""
        return None if self.ignore_index is None else labels_ignored(y, n_out, self.ignore_index)[1]

    def targets(
        self, place: str, name: str, y: Any, batch: int, n_out: int, dtype: np.dtype[Any]
    ) -> Array:
        """Labels, 0 for one that is ignored, or target rows."""
        if self.ignore_index is not None:
            y, _ = labels_ignored(y, n_out, self.ignore_index)
        return super().targets(place, name, y, batch, n_out, dtype)

    def numbers(self) -> tuple[float, ...]:
        """The smoothing, if there is any."""
        return (self.label_smoothing,) if self.label_smoothing else ()

    def used_entry(self) -> LossEntry:
        """The entry with smoothing, or that without."""
        return SMOOTHED_CROSS_ENTROPY if self.label_smoothing else self.entry

    def check_outputs(self, place: str, n_out: int) -> None:
        """At least two: the softmax of one is always 1."""
        if n_out == 1:
            raise ValueError(
                f"{place}: the network has 1 output and {type(self).__name__}: use "
                "SigmoidCrossEntropy()"
            )

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them: those that are not the default."""
        config: dict[str, Any] = {}
        if self.label_smoothing:
            config["label_smoothing"] = self.label_smoothing
        if self.ignore_index is not None:
            config["ignore_index"] = self.ignore_index
        return config

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value:g}" for name, value in self.config().items())
        return f"{type(self).__name__}({given})"


class CategoricalCrossEntropy(Loss):
    """Cross-entropy of probabilities, as a `Softmax` layer gives them: - sum_j t_j log p_j.

    A probability below the dtype's smallest normal number counts as that number. The gradient is
    - target / prediction / batch. The mean is over the batch: its denominator is the batch size, or
    the sum of the weights of rows that have any.
    """

    takes = "probabilities"
    entry = CROSS_ENTROPY

    def check_outputs(self, place: str, n_out: int) -> None:
        """At least two: the softmax of one is always 1."""
        if n_out == 1:
            raise ValueError(
                f"{place}: the network has 1 output and {type(self).__name__}: use "
                "SigmoidCrossEntropy() without a layer Softmax()"
            )
