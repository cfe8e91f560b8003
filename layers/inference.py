"""What a trained model is used for: `evaluate`, `predict`, `predict_proba`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from kernels.runtime import checks
from layers.base import Array, for_inference
from layers.metrics import weighted_mean
from layers.training.data_sources import as_batches, joined

if TYPE_CHECKING:
    from layers.sequential import Sequential

_PREDICT_ROWS, _EVALUATE_ROWS = 1024, 16_384
"""Rows that go through the layers, and through the loss, together: no result depends on it."""


class Usable:
    """The methods of `Sequential` that use it; none changes the model."""

    def evaluate(self, x: Any, y: Any = None, sample_weight: Any = None) -> dict[str, float]:
        """Mean loss, accuracy and other metrics over all rows.

        Parameters
        ----------
        x : array_like, (n, n_in), or iterable of batches
            Without ``y``, an iterable of pairs (x, y) or triples (x, y, sample_weight) that ends;
            they are put together in memory.
        y : array_like
            Class indices (n,), or target rows (n, n_classes).
        sample_weight : array_like, (n,), optional
            What each row counts for, at least 0: each mean is over the sum of weights.

        Returns
        -------
        dict
            ``{"loss": ..., "accuracy": ...}``, and those of `metrics`. A row whose scores hold NaN
            counts as wrong, and makes the loss NaN.
        """
        model = cast("Sequential", self)
        batches = as_batches(x, y)
        if batches is not None:
            if sample_weight is not None:
                raise ValueError(
                    "Sequential.evaluate: sample_weight is given and x an iterable of batches, "
                    "expected triples (x, y, sample_weight) in it"
                )
            return model._evaluate(*joined("Sequential.evaluate", "x", batches, model))
        checked = model._checked_data("evaluate", "x", x)
        targets = model._targets("evaluate", "y", y, len(checked))
        weights = model._weights("Sequential.evaluate", y, targets, sample_weight)
        return model._evaluate(checked, targets, weights)

    def _evaluate(self, x: Array, targets: Array, weights: Array | None = None) -> dict[str, float]:
        model = cast("Sequential", self)
        metrics, names = model.metrics, model.loss.measures
        losses = np.empty((len(x), 1), model.dtype)
        measures = [np.empty_like(losses) for _ in names]
        compiled = model._compiled()
        if metrics:
            scores = model._scores(x)
            model._score_rows(scores, targets, losses, measures)
        elif compiled is not None:
            compiled.evaluate(x, targets, losses, measures[0] if measures else losses)
        else:
            for start in range(0, len(x), _EVALUATE_ROWS):
                part = slice(start, start + _EVALUATE_ROWS)
                outputs = losses[part], [each[part] for each in measures]
                model._score_rows(model._scores(x[part]), targets[part], *outputs)
        found = {"loss": weighted_mean(losses, weights)} | {
            name: weighted_mean(each, weights) for name, each in zip(names, measures, strict=True)
        }
        return found | {
            each.name: each.of(model.loss, scores, targets, weights) for each in metrics
        }

    def _score_rows(
        self, scores: Array, targets: Array, losses: Array, measures: Sequence[Array]
    ) -> None:
        """The loss and the measures of each row of scores."""
        model = cast("Sequential", self)
        for start in range(0, len(scores), _EVALUATE_ROWS):
            part = slice(start, start + _EVALUATE_ROWS)
            checks.unshrunk("Sequential", "y", targets)
            losses[part], measured, _ = model.loss.run(scores[part], targets[part])
            for each, values in zip(measures, measured, strict=True):
                each[part] = values

    def predict(self, x: Array) -> Array:
        """What the loss says: classes, 0 and 1 of each label, or the numbers of a regression.

        `forward` gives the scores that a prediction is made of.

        Parameters
        ----------
        x : array_like, (n, n_in)
            A frame has the columns of that which the model was fitted with, in their order.

        Returns
        -------
        ndarray of int64, (n,), or (n, n_out) of several labels; or of numbers, (n, n_out)
            The same for a row alone as in any batch.

        Raises
        ------
        ValueError
            The scores of a row hold NaN, and numbers are not what is predicted: it names the first
            such row.
        """
        model = cast("Sequential", self)
        checked = model._checked_data("predict", "x", x)
        if model.loss.prediction is None:
            return model._scores(checked)
        predictions = model.loss.predictions(len(checked), model.n_out, model.dtype)
        compiled = model._compiled()
        if compiled is not None:
            without = compiled.predictions(checked, predictions)
        else:
            model.loss.predict(model._scores(checked), predictions)
            without = int(np.count_nonzero(predictions < 0))
        if without:
            row = int(np.flatnonzero((predictions < 0).reshape(len(checked), -1).any(axis=1))[0])
            raise ValueError(
                f"Sequential.predict: the scores of row {row} of x hold NaN, expected numbers "
                "(predict_proba gives NaN for such a row)"
            )
        return predictions

    def predict_proba(self, x: Array) -> Array:
        """Probabilities of each row's classes, or of each label; NaN stays in its row.

        Parameters
        ----------
        x : array_like, (n, n_in)

        Returns
        -------
        ndarray, (n, n_out)
            The same bits for a row alone as in any batch.
        """
        model = cast("Sequential", self)
        if model.loss.takes == "numbers":
            raise ValueError(
                f"Sequential.predict_proba: the loss is {model.loss!r}, whose predictions are "
                "numbers, expected a loss of classes (predict gives the numbers)"
            )
        scores = model._scores(model._checked_data("predict_proba", "x", x))
        return (
            scores
            if model.layers[-1].gives == "probabilities"
            else model.loss.probabilities(scores)
        )

    def _scores(self, x: Array) -> Array:
        model = cast("Sequential", self)
        scores = np.empty((len(x), model.n_out), model.dtype)
        compiled = model._compiled()
        if compiled is not None:
            compiled.scores(x, scores)
            return scores
        layers = [for_inference(layer) for layer in model.layers]  # another thread may be training
        for start in range(0, len(x), _PREDICT_ROWS):
            checks.unshrunk("Sequential", "x", x)
            part = slice(start, start + _PREDICT_ROWS)
            scores[part] = model._forward(x[part], False, layers)
        return scores
