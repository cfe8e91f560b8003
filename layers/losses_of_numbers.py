"""Losses of numbers, for regressions: targets are numbers, and so is a prediction.

Each is the mean over all numbers: its denominator is the batch size times the width of a row. Where
rows have weights it is the weighted mean of the rows' means, over the sum of weights.
"""

from typing import Any, ClassVar

import numpy as np

from kernels.losses_of_numbers import (
    ABSOLUTE_ERROR,
    EXPECTED_COUNTS,
    HUBER,
    POISSON,
    QUANTILE,
    SQUARED_ERROR,
)
from kernels.runtime import checks
from kernels.runtime.families import Operation
from layers.backends import active
from layers.base import Array
from layers.labels import as_numbers
from layers.losses import Loss
from layers.metrics import MAE, R2, Metric


class LossOfNumbers(Loss):
    """A mean over all numbers of a formula of each; a subclass names the kernel's entry."""

    takes = "numbers"
    measures = ()
    prediction: ClassVar[Operation | None] = None

    def targets(
        self, place: str, name: str, y: Any, batch: int, n_out: int, dtype: np.dtype[Any]
    ) -> Array:
        """Finite numbers (batch, n_out), or (batch,) where rows have one."""
        return as_numbers(place, name, y, batch, n_out, dtype)

    def metrics(self) -> tuple[Metric, ...]:
        """Mean absolute error and R squared."""
        return MAE(), R2()


class MeanSquaredError(LossOfNumbers):
    """Mean squared error of a regression: the mean over all numbers of (y - t)^2.

    The denominator is the batch size times the width of a row, as in PyTorch; the gradient is
    2 (y - t) over that. With weights of rows: their means, over the sum of weights. Targets are
    numbers, and so is a prediction.
    """

    entry = SQUARED_ERROR


class MeanAbsoluteError(LossOfNumbers):
    """Mean absolute error: the mean over all numbers of abs(y - t).

    It leads to medians, and outliers pull at it no more than others. The denominator is the batch
    size times the width of a row, as in PyTorch; the gradient is the sign of y - t over that, and 0
    where they are equal. With weights of rows: their means, over the sum of weights.
    """

    entry = ABSOLUTE_ERROR


class Huber(LossOfNumbers):
    """Huber's loss: the mean over all numbers of (y - t)^2 / 2 near the target, of a line far away.

    With d = y - t the line is delta (abs(d) - delta / 2), from abs(d) = delta on. The denominator
    is the batch size times the width of a row, as in PyTorch; the gradient is d, held within -delta
    and delta, over that. With weights of rows: their means, over the sum of weights.

    Parameters
    ----------
    delta : float
        Above 0.
    """

    entry = HUBER

    def __init__(self, delta: float = 1.0) -> None:
        self._delta = checks.number("Huber", "delta", delta, 0)
        if self._delta == 0:
            raise ValueError(f"Huber: delta is {delta!r}, expected a number above 0")

    @property
    def delta(self) -> float:
        """Where the parabola becomes a line."""
        return self._delta

    def numbers(self) -> tuple[float, ...]:
        """The delta."""
        return (self.delta,)

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {"delta": self.delta}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(delta={self.delta:g})"


class Poisson(LossOfNumbers):
    """Poisson's loss of counts: the mean over all numbers of exp(y) - t y.

    The scores y are logarithms of the expected counts, as in PyTorch's ``PoissonNLLLoss`` with its
    defaults, and a prediction is the expected counts themselves: ``model.predict(x)`` gives exp(y),
    ``model.forward(x)`` the logarithms. MAE and R squared are those of the counts. What depends on
    the target alone, log t!, is left out, so a loss may be below 0. Targets are counts, or other
    numbers that are not negative. The denominator is the batch size times the width of a row; the
    gradient is exp(y) - t over that. With weights of rows: their means, over the sum of weights.
    """

    entry = POISSON
    prediction = EXPECTED_COUNTS

    def predictions(self, rows: int, n_out: int, dtype: np.dtype[Any]) -> Array:
        """Memory for expected counts, (rows, n_out)."""
        return np.empty((rows, n_out), dtype)

    def predict(self, scores: Array, out: Array) -> None:
        """The exponential of each score; NaN stays."""
        active().exp(scores, out)

    def targets(
        self, place: str, name: str, y: Any, batch: int, n_out: int, dtype: np.dtype[Any]
    ) -> Array:
        """Numbers of at least 0, (batch, n_out), or (batch,) where rows have one."""
        checked = super().targets(place, name, y, batch, n_out, dtype)
        if checked.size and checked.min() < 0:
            row = int(np.flatnonzero((checked < 0).any(axis=1))[0])
            raise ValueError(
                f"{place}: row {row} of {name} holds {checked[row].min()}, expected counts, "
                "numbers of at least 0"
            )
        return checked


class Quantile(LossOfNumbers):
    """The pinball loss: the mean over all numbers of q (t - y), (1 - q) (y - t) where t is below y.

    It leads to a quantile: a share q of the targets will lie below the predictions; 0.5 gives
    medians, and half the mean absolute error. The denominator is the batch size times the width of
    a row; the gradient is -q where t is above y, 1 - q where it is below, over that. With weights
    of rows: their means, over the sum of weights.

    Parameters
    ----------
    q : float
        Between 0 and 1.
    """

    entry = QUANTILE

    def __init__(self, q: float = 0.5) -> None:
        self._q = checks.number("Quantile", "q", q, 0)
        if not 0 < self._q < 1:
            raise ValueError(f"Quantile: q is {q!r}, expected a number between 0 and 1")

    @property
    def q(self) -> float:
        """The quantile."""
        return self._q

    def numbers(self) -> tuple[float, ...]:
        """The quantile."""
        return (self.q,)

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {"q": self.q}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(q={self.q:g})"
