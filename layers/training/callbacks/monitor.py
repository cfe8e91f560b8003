"""What callbacks have in common that look at a metric."""

import math
import warnings
from typing import TYPE_CHECKING, Any

from kernels.runtime import checks
from layers.training import resuming
from layers.training.history import higher_is_better
from layers.training.loop import Callback, Progress
from layers.training.resuming import State

if TYPE_CHECKING:
    from layers.sequential import Sequential


class Monitor(Callback):
    """Looks at a metric at the end of each epoch, and counts epochs since it was best.

    Attributes
    ----------
    best_epoch : int or None
        The best epoch of this call of `fit` so far, from 1, as `Progress` counts them.
    best : float
        The metric then.
    """

    monitor: str
    _without_best = "nothing was done"
    """What became of it that no epoch was the best, for the warning."""

    def __init__(self, monitor: Any, min_delta: Any) -> None:
        place = type(self).__name__
        if not isinstance(monitor, str):
            raise TypeError(
                f"{place}: monitor is {checks.shown(monitor)}, expected the name of a metric, such "
                "as 'val_loss'"
            )
        self.monitor = monitor
        self.min_delta = checks.number(place, "min_delta", min_delta, 0)
        self._start()

    def _start(self) -> None:
        self.best_epoch: int | None = None
        self.best = math.nan
        self._waited = self._without = 0

    def begin(self, model: "Sequential") -> None:
        """Forget what an earlier call of `fit` has seen."""
        self._start()

    def end(self, model: "Sequential") -> None:
        """Warn where the metric was NaN in each epoch: then none was the best."""
        if self.best_epoch is None and self._without:
            warnings.warn(
                f"{type(self).__name__}: {self.monitor} was NaN in each epoch, so none was the "
                f"best: {self._without_best}",
                stacklevel=2,
            )

    def state(self) -> State:
        """The best epoch, the metric then, and how many epochs have been waited since."""
        return {
            "monitor": self.monitor,
            "best_epoch": self.best_epoch,
            "best": self.best,
            "waited": self._waited,
        }

    def restore(self, model: "Sequential", state: State) -> None:
        """Go on counting where a checkpoint has stopped."""
        self.begin(model)
        place = type(self).__name__
        resuming.same(place, "monitor", state, self.monitor)
        best = resuming.number(place, "best", state)
        waited = resuming.integer(place, "waited", state)
        if state.get("best_epoch") is not None:
            self.best_epoch, self.best = resuming.integer(place, "best_epoch", state), best
        self._waited = waited

    def _is_best(self, progress: Progress) -> bool:
        """Whether this epoch is the best so far, by more than ``min_delta``."""
        value = progress.metrics[self.monitor]
        gain = value - self.best if higher_is_better(self.monitor) else self.best - value
        self._without += math.isnan(value)
        if math.isnan(value) or (self.best_epoch is not None and not gain > self.min_delta):
            self._waited += 1
            return False
        self.best_epoch, self.best, self._waited = progress.epoch, value, 0
        return True
