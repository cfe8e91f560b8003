"""When training ends before its last epoch."""

from typing import TYPE_CHECKING

from kernels.runtime import checks
from layers.base import Array
from layers.training import resuming
from layers.training.callbacks.learnt import learnt
from layers.training.callbacks.monitor import Monitor
from layers.training.loop import Progress
from layers.training.resuming import State

if TYPE_CHECKING:
    from layers.sequential import Sequential


class EarlyStopping(Monitor):
    """Ends training when a metric gets no better, and gives the best epoch's parameters back.

    They come back, with the statistics of layers such as `BatchNorm`, however training ends: by
    patience, after all epochs, by an error or Ctrl-C. Where no epoch has ended yet, all stay as
    they are. The optimizer's states are those of the last step.

    Parameters
    ----------
    monitor : str
        ``"val_loss"``, ``"val_accuracy"``, ``"loss"``, ...: what `History.best` takes.
    patience : int
        End after so many epochs in a row that were not better than the best.
    min_delta : float
        By more than this has an epoch to be better.
    """

    _without_best = "the parameters are those of the last epoch"

    def __init__(
        self, monitor: str = "val_loss", patience: int = 10, min_delta: float = 0.0
    ) -> None:
        super().__init__(monitor, min_delta)
        self.patience = checks.integer("EarlyStopping", "patience", patience, 1)
        self._kept: dict[str, Array] | None = None

    @property
    def over(self) -> bool:  # type: ignore[override]
        """Whether patience is over."""
        return self._waited >= self.patience

    def begin(self, model: "Sequential") -> None:
        """Forget what an earlier call of `fit` has seen."""
        super().begin(model)
        self._kept = None

    def __call__(self, progress: Progress) -> bool:
        """Keep the parameters of the best epoch; True when patience is over."""
        if not progress.ended:
            return False
        if self._is_best(progress):
            self._kept = {k: array.copy() for k, array in learnt(progress.model).items()}
        return self.over

    def end(self, model: "Sequential") -> None:
        """Give the best parameters back."""
        if self._kept is not None:
            for name, array in learnt(model).items():
                array[...] = self._kept[name]
            self._kept = None
        super().end(model)

    def state(self) -> State:
        """What has been counted, and the parameters of the best epoch."""
        return super().state() | {f"kept.{k}": array for k, array in (self._kept or {}).items()}

    def restore(self, model: "Sequential", state: State) -> None:
        """Go on where a checkpoint has stopped."""
        super().restore(model, state)
        shapes = {name: array.shape for name, array in learnt(model).items()}
        self._kept = resuming.arrays("EarlyStopping", "kept.", state, shapes)

    def __repr__(self) -> str:
        return (
            f"EarlyStopping(monitor={self.monitor!r}, patience={self.patience}, "
            f"min_delta={self.min_delta:g})"
        )
