"""Weights of rows: what users give, checked, and what they do to a batch's loss and gradient."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.runtime import checks
from kernels.weights import batch_scales
from layers import frames
from layers.backends import active
from layers.base import Array

if TYPE_CHECKING:
    from layers.losses import Loss

BALANCED = "balanced"


@dataclass(frozen=True)
class Weighting:
    """What rows count for: by a weight of their own, by their class, by what the loss ignores.

    Attributes
    ----------
    loss : Loss
    n_out : int
        Scores of a row.
    dtype : numpy.dtype
    class_weight : dict, "balanced" or None
    """

    loss: "Loss"
    n_out: int
    dtype: np.dtype[Any]
    class_weight: Any = None

    def rows(
        self,
        place: str,
        names: tuple[str, str],
        y: Any,
        targets: Array,
        sample_weight: Any,
        may_be_zero: bool = False,
    ) -> Array | None:
        """The weights of rows, (n, 1), without those of classes; None where all have 1.

        Parameters
        ----------
        place : str
        names : tuple of str
            What ``y`` and ``sample_weight`` are called, for errors.
        y, targets : array_like, ndarray
            As they were given, and checked.
        sample_weight : array_like or None
        may_be_zero : bool
            Whether no row may count at all: a batch of many.
        """
        given, ignored = sample_weight is not None, self.loss.ignored(y, self.n_out)
        if not given and ignored is None:
            return None
        weights = np.ones((len(targets), 1), self.dtype)
        if given:
            weights = _checked(place, names[1], sample_weight, len(targets), self.dtype)
            if not may_be_zero and not weights.any():
                raise ValueError(
                    f"{place}: {names[1]} is 0 for each row, expected a weight above 0"
                )
        if ignored is not None:
            weights[ignored] = 0
            if not may_be_zero and not weights.any():
                raise ValueError(
                    f"{place}: {names[0]} has no row that counts, expected a label that is not "
                    "ignore_index, with a weight above 0"
                )
        return weights

    def with_classes(
        self, place: str, targets: Array, weights: Array | None, may_be_zero: bool = False
    ) -> Array | None:
        """Weights of rows, times those of their classes."""
        if self.class_weight is None:
            return weights
        classes, count = self._classes(place, targets)
        if isinstance(self.class_weight, str):
            counting = classes if weights is None else classes[weights[:, 0] > 0]
            by_class = _balanced(place, counting, count)
        else:
            by_class = _by_class(place, self.class_weight, count)
        of_rows = by_class[classes][:, None].astype(self.dtype)
        together = np.ascontiguousarray(of_rows)
        if weights is not None:
            together = times(weights, together, 1.0)
        if not np.isfinite(together).all() or not (may_be_zero or together.any()):
            raise ValueError(
                f"{place}: sample_weight times class_weight runs up to {together.max()}, expected "
                "finite numbers, and one above 0"
            )
        return together

    def _classes(self, place: str, targets: Array) -> tuple[Array, int]:
        """The class of each row, and how many classes there are."""
        if self.loss.takes != "numbers":
            if targets.ndim == 1:
                return targets, self.n_out
            if self.loss.form(targets) == "rows":
                return np.asarray(targets.argmax(axis=1)), self.n_out
            if self.n_out == 1:
                return (targets[:, 0] > 0.5).astype(np.int64), 2
        raise ValueError(
            f"{place}: class_weight is given and the loss is {self.loss!r} of {self.n_out} "
            "outputs, expected a loss of classes: for others sample_weight weighs rows"
        )


def checked_class_weight(place: str, class_weight: Any, has_all_rows: bool) -> Any:
    """``class_weight`` of a kind that there is."""
    if class_weight is None or isinstance(class_weight, Mapping):
        return class_weight
    if not isinstance(class_weight, str) or class_weight != BALANCED:
        raise TypeError(
            f"{place}: class_weight is {checks.shown(class_weight)}, expected a dict from a class "
            f"to its weight, or {BALANCED!r}"
        )
    if not has_all_rows:
        raise ValueError(
            f"{place}: class_weight is {BALANCED!r} and x an iterable of batches, expected arrays, "
            "whose rows can be counted, or a dict"
        )
    return class_weight


def _checked(place: str, name: str, given: Any, rows: int, dtype: np.dtype[Any]) -> Array:
    """Weights as a column of our own: finite and not negative."""
    weights = frames.real(place, name, given, dtype)
    if weights.shape not in ((rows,), (rows, 1)):
        checks.shape(place, name, weights, (rows,))
    weights = np.array(weights.reshape(rows, 1))
    with np.errstate(invalid="ignore"):
        bad = ~((weights >= 0) & (weights < np.inf))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"{place}: row {row} of {name} is {weights[row, 0]}, expected finite numbers of at "
            "least 0"
        )
    return weights


def _by_class(place: str, given: Mapping[Any, Any], count: int) -> Array:
    """The weight of each class; 1 of one that is not named."""
    weights = np.ones(count)
    for label, weight in given.items():
        is_index = isinstance(label, (int, np.integer)) and not isinstance(label, bool)
        if not is_index or not 0 <= label < count:
            raise ValueError(
                f"{place}: class_weight names {checks.shown(label)}, expected classes 0 to "
                f"{count - 1}"
            )
        weights[label] = checks.number(place, f"class_weight[{label}]", weight, 0)
    if not weights.any():
        raise ValueError(f"{place}: class_weight is 0 for each class, expected a weight above 0")
    return weights


def _balanced(place: str, classes: Array, count: int) -> Array:
    """As scikit-learn has it: rows / (classes * rows of the class)."""
    sizes = np.bincount(classes, minlength=count)
    if not sizes.all():
        raise ValueError(
            f"{place}: class_weight is {BALANCED!r} and class {int(sizes.argmin())} has no row, "
            f"expected at least one of each of {count} classes"
        )
    return np.asarray(len(classes) / (count * sizes))


def weighted(
    losses: Array, measures: Sequence[Array], gradient: Callable[[], Array], weights: Array
) -> tuple[Array, list[Array], Callable[[], Array]]:
    """What a loss says of a batch, by the weights (batch, 1) of its rows; see `kernels.weights`.

    The mean of the losses that are returned is the weighted mean. The measures are multiplied by
    the weights; behind them come the losses, multiplied too, and the weights, so that their sums
    over many batches give weighted means.
    """
    scale = scale_of(weights)
    counted = [times(each, weights, 1.0) for each in (*measures, losses)]
    of_losses = times(losses, weights, scale)
    return of_losses, [*counted, weights], lambda: times(gradient(), weights, scale)


def scale_of(weights: Array) -> float:
    """The number of rows over the sum of their weights (n, 1); 0 where all are 0."""
    scales = np.empty(1)
    batch_scales.bare(weights, len(weights), scales)
    return float(scales[0])


def times(values: Array, weights: Array, scale: float) -> Array:
    """Rows times their weights and a scale."""
    out = np.empty_like(values)
    active().weighted_rows(values, weights, scale, out)
    return out
