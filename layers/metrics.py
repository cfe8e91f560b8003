"""Metrics: what is measured of predictions besides the loss, by one number of all rows.

`Sequential.evaluate` and the validation of `fit` measure them, by the scores of all rows at once;
a training step does not, since it would have to keep the scores of an epoch.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.runtime import checks
from layers.backends import active
from layers.base import Array, Part

if TYPE_CHECKING:
    from layers.losses import Loss

_ROWS = 16_384
"""Rows whose errors are taken together: no result depends on it."""


class Metric(Part):
    """A number that says how good scores are, of all rows at once.

    A subclass of your own has a `name`, and `of`, which may use NumPy. For a model's file, `config`
    gives the arguments of its constructor.

    Attributes
    ----------
    name : str
        What it is called in `evaluate`'s result and, behind ``val_``, in a history.
    """

    _PASSES = ("of",)

    name = "metric"

    def check(self, place: str, loss: "Loss", n_out: int) -> None:
        """Raise ValueError where it does not suit a loss of so many outputs."""

    def of(self, loss: "Loss", scores: Array, targets: Array, weights: Array | None) -> float:
        """The metric.

        Parameters
        ----------
        loss : Loss
            It says what the scores are.
        scores : ndarray, (n, n_out)
        targets : ndarray
            As the loss has checked them: class indices (n,), or rows (n, n_out).
        weights : ndarray, (n, 1), or None
            What rows count for; None where all have 1.
        """
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, for a model's file."""
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class TopK(Metric):
    """Share of rows whose class is among those of the k largest scores.

    Of equal scores those of lower classes count as larger, as for accuracy, which is k = 1.

    Parameters
    ----------
    k : int
        At least 1, below the number of classes.
    """

    def __init__(self, k: int = 5) -> None:
        self.k = checks.integer("TopK", "k", k, 1)
        self.name = f"top_{self.k}_accuracy"

    def check(self, place: str, loss: "Loss", n_out: int) -> None:
        """For losses of more than k classes."""
        if loss.takes not in ("logits", "probabilities", "scores") or not loss.of_classes:
            raise ValueError(f"{place}: {self!r} is of classes, and the loss is {loss!r}")
        if self.k >= n_out:
            raise ValueError(
                f"{place}: {self!r} of {n_out} classes is always 1, expected k below {n_out}"
            )

    def of(self, loss: "Loss", scores: Array, targets: Array, weights: Array | None) -> float:
        """The weighted mean of 1 for a row that is right, else 0."""
        right = np.empty((len(scores), 1), scores.dtype)
        active().top_k_rows(scores, targets, self.k, right)
        return weighted_mean(right, weights)

    def config(self) -> dict[str, Any]:
        """The k."""
        return {"k": self.k}

    def __repr__(self) -> str:
        return f"TopK({self.k})"


class F1(Metric):
    """F1 of two classes, or of labels that are 0 or 1 each: 2 tp / (2 tp + fp + fn).

    tp, fp and fn are true positives, false positives and false negatives, counted by weight; class
    1 is positive. Several labels of a row are counted together (micro average). 0 where nothing is
    1, neither predicted nor wanted.
    """

    name = "f1"

    def check(self, place: str, loss: "Loss", n_out: int) -> None:
        """For losses of labels, and for two classes."""
        if loss.takes == "numbers" or (loss.of_classes and n_out != 2):
            raise ValueError(
                f"{place}: F1() is of two classes or of labels 0 and 1, and the loss is {loss!r} "
                f"of {n_out} outputs"
            )

    def of(self, loss: "Loss", scores: Array, targets: Array, weights: Array | None) -> float:
        """By the loss's predictions; one that is NaN is wrong."""
        predicted = loss.predictions(len(scores), scores.shape[1], scores.dtype)
        loss.predict(scores, predicted)
        found = np.where(predicted < 0, np.nan, predicted).astype(scores.dtype)
        if loss.of_classes and targets.ndim == 2:
            targets = targets.argmax(axis=1)
        shape = len(scores), -1
        wanted = np.ascontiguousarray(targets.reshape(shape), scores.dtype)
        given = _weights(scores, weights)
        return float(active().f1_score(found.reshape(shape), wanted, given, 0.5))


class MAE(Metric):
    """Mean absolute error over all numbers that the loss predicts."""

    name = "mae"

    def check(self, place: str, loss: "Loss", n_out: int) -> None:
        """For losses of numbers."""
        _check_numbers(self, place, loss)

    def of(self, loss: "Loss", scores: Array, targets: Array, weights: Array | None) -> float:
        """The weighted mean of each row's mean."""
        errors = np.empty((len(scores), 1), scores.dtype)
        for start in range(0, len(scores), _ROWS):
            part = slice(start, start + _ROWS)
            predicted = _predicted(loss, scores[part])
            slopes = np.empty_like(predicted)
            active().absolute_error_gradient(predicted, targets[part], slopes, errors[part])
        return weighted_mean(errors, weights)


class R2(Metric):
    """R squared: 1 - sum_i w_i (t_i - y_i)^2 / sum_i w_i (t_i - mean)^2, the mean over outputs.

    1 is perfect, 0 as good as the mean of the targets. Of an output whose targets are all alike it
    is 1 where the predictions are they, else 0, as in scikit-learn.
    """

    name = "r2"

    def check(self, place: str, loss: "Loss", n_out: int) -> None:
        """For losses of numbers."""
        _check_numbers(self, place, loss)

    def of(self, loss: "Loss", scores: Array, targets: Array, weights: Array | None) -> float:
        """See the class."""
        predicted = _predicted(loss, scores)
        return float(active().r2_score(predicted, targets, _weights(scores, weights)))


def checked_metrics(
    metrics: Any, loss: "Loss", n_out: int, place: str = "Sequential"
) -> tuple[Metric, ...] | None:
    """The metrics of a model, each of which suits its loss; None for the loss's own."""
    if metrics is None:
        return None
    if not isinstance(metrics, Sequence) or isinstance(metrics, str):
        raise TypeError(
            f"{place}: metrics is {checks.shown(metrics)}, expected a list, such as [TopK(5)]"
        )
    for index, metric in enumerate(metrics):
        if not isinstance(metric, Metric):
            raise TypeError(
                f"{place}: metrics[{index}] is {checks.shown(metric)}, expected TopK(5), F1(), "
                "MAE(), R2() or another Metric (each loss of classes has accuracy without one)"
            )
        metric.check(place, loss, n_out)
    names = ["loss", *loss.measures, *(metric.name for metric in metrics)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{place}: metrics has {twice[0]!r} twice, expected names that differ")
    return tuple(metrics)


def weighted_mean(values: Array, weights: Array | None) -> float:
    """The mean of a column, by the weights of its rows if they have any."""
    if weights is None:
        return float(active().mean_loss(values))
    return float(active().weighted_mean(values, weights))


def _weights(scores: Array, weights: Array | None) -> Array:
    return np.ones((len(scores), 1), scores.dtype) if weights is None else weights


def _predicted(loss: "Loss", scores: Array) -> Array:
    """The numbers that scores predict: most often they themselves."""
    if loss.prediction is None:
        return scores
    predicted = loss.predictions(len(scores), scores.shape[1], scores.dtype)
    loss.predict(scores, predicted)
    return predicted


def _check_numbers(metric: Metric, place: str, loss: "Loss") -> None:
    if loss.takes != "numbers":
        raise ValueError(f"{place}: {metric!r} is of numbers, and the loss is {loss!r}")
