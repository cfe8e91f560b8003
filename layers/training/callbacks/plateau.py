"""A learning rate that follows a metric."""

from typing import TYPE_CHECKING, Any

from kernels.runtime import checks
from layers import schedules
from layers.training.callbacks.monitor import Monitor
from layers.training.loop import Progress, learning_rate

if TYPE_CHECKING:
    from layers.sequential import Sequential


class ReduceOnPlateau(Monitor):
    """Makes the learning rate smaller when a metric gets no better.

    A schedule goes on, multiplied by all factors so far (`layers.schedules.Scaled`).

    Parameters
    ----------
    factor : float
        What it is multiplied by: above 0, below 1.
    patience : int
        After so many epochs in a row that were not better than the best.
    monitor : str
    min_delta : float
        By more than this has an epoch to be better.
    lowest : float
        The learning rate gets no smaller than this.
    """

    _without_best = "the learning rate followed none"

    def __init__(
        self,
        factor: float = 0.5,
        patience: int = 5,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        lowest: float = 0.0,
    ) -> None:
        super().__init__(monitor, min_delta)
        self.factor = checks.number("ReduceOnPlateau", "factor", factor, 0)
        if not 0 < self.factor < 1:
            raise ValueError(
                f"ReduceOnPlateau: factor is {factor!r}, expected a number above 0, below 1"
            )
        self.patience = checks.integer("ReduceOnPlateau", "patience", patience, 1)
        self.lowest = checks.number("ReduceOnPlateau", "lowest", lowest, 0)

    def begin(self, model: "Sequential") -> None:
        """Refuse an optimizer without a learning rate that can be set."""
        super().begin(model)
        if learning_rate(model) is None:
            raise TypeError(
                f"ReduceOnPlateau: the optimizer is {model.optimizer!r}, expected one whose "
                "learning_rate is a number or a function of the step"
            )

    def __call__(self, progress: Progress) -> None:
        """Make the learning rate smaller when patience is over."""
        if not progress.ended or self._is_best(progress) or self._waited < self.patience:
            return
        optimizer: Any = progress.model.optimizer
        rate, now = optimizer.learning_rate, learning_rate(progress.model)
        if callable(rate):
            assert now is not None
            if now > self.lowest:
                share = max(self.factor, self.lowest / now)
                optimizer.learning_rate = schedules.scaled(rate, share)
        else:
            optimizer.learning_rate = min(rate, max(rate * self.factor, self.lowest))
        self._waited = 0

    def __repr__(self) -> str:
        return (
            f"ReduceOnPlateau(factor={self.factor:g}, patience={self.patience}, "
            f"monitor={self.monitor!r})"
        )
