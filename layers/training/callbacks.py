"""Callbacks for `Sequential.fit`: when to stop, what to keep, how fast to go on, what to note."""

import csv
import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.runtime import checks
from layers import schedules
from layers.base import Array
from layers.training.history import higher_is_better
from layers.training.loop import Callback, Progress, learning_rate

if TYPE_CHECKING:
    from layers.files.archive import StrPath
    from layers.sequential import Sequential


class _Monitor(Callback):
    """Looks at a metric at the end of each epoch, and counts epochs since it was best.

    Attributes
    ----------
    best_epoch : int or None
        The best epoch of this call of `fit` so far, from 1.
    best : float
        The metric then.
    """

    monitor: str

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
        self._waited = 0

    def begin(self, model: "Sequential") -> None:
        """Forget what an earlier call of `fit` has seen."""
        self._start()

    def _is_best(self, progress: Progress) -> bool:
        """Whether this epoch is the best so far, by more than ``min_delta``."""
        value = progress.metrics[self.monitor]
        gain = value - self.best if higher_is_better(self.monitor) else self.best - value
        if math.isnan(value) or (self.best_epoch is not None and not gain > self.min_delta):
            self._waited += 1
            return False
        self.best_epoch, self.best, self._waited = progress.epoch, value, 0
        return True


class EarlyStopping(_Monitor):
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

    def __init__(
        self, monitor: str = "val_loss", patience: int = 10, min_delta: float = 0.0
    ) -> None:
        super().__init__(monitor, min_delta)
        self.patience = checks.integer("EarlyStopping", "patience", patience, 1)
        self._kept: Array | None = None

    def begin(self, model: "Sequential") -> None:
        """Forget what an earlier call of `fit` has seen."""
        super().begin(model)
        self._kept = None

    def __call__(self, progress: Progress) -> bool:
        """Keep the parameters of the best epoch; True when patience is over."""
        if not progress.ended:
            return False
        if self._is_best(progress):
            self._kept = progress.model._buffers.learnt.copy()
        return self._waited >= self.patience

    def end(self, model: "Sequential") -> None:
        """Give the best parameters back."""
        if self._kept is not None:
            model._buffers.learnt[...] = self._kept
            self._kept = None

    def __repr__(self) -> str:
        return (
            f"EarlyStopping(monitor={self.monitor!r}, patience={self.patience}, "
            f"min_delta={self.min_delta:g})"
        )


class Checkpoint(_Monitor):
    """Saves the model at the end of an epoch, whole or not at all; `layers.load` reads it.

    Parameters
    ----------
    path : path
        One file, written anew each time.
    monitor : str
    best : bool
        Whether to save only what is better than all epochs of this call of `fit` before. Without
        it each epoch is saved, with the optimizer's states, to go on from.

    Raises
    ------
    TypeError, OSError
        As training begins: the model cannot be saved, or not there.
    """

    def __init__(self, path: "StrPath", monitor: str = "val_loss", best: bool = True) -> None:
        super().__init__(monitor, 0.0)
        self.path = _checked_path("Checkpoint", path)
        if not isinstance(best, (bool, np.bool_)):
            raise TypeError(f"Checkpoint: best is {checks.shown(best)}, expected True or False")
        self.best_only = bool(best)
        if not self.best_only:
            self.monitor = None  # type: ignore[assignment]

    def begin(self, model: "Sequential") -> None:
        """Save the model aside, so that what cannot be saved is known before it is trained."""
        super().begin(model)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"Checkpoint: {self.path.parent} is no folder")
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=self.path.name) as folder:
            model.save(Path(folder) / "trial")

    def __call__(self, progress: Progress) -> None:
        """Save the model."""
        if not progress.ended:
            return
        if not self.best_only:
            progress.model.save(self.path, optimizer_state=True)
        elif self._is_best(progress):
            progress.model.save(self.path)

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}, monitor={self.monitor!r}, best={self.best_only})"


class ReduceOnPlateau(_Monitor):
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


class CSVLog(Callback):
    """Writes a line for each epoch into a file: epoch, seconds, learning_rate, loss, ...

    Parameters
    ----------
    path : path
        Written anew by each call of `fit`; each line is in the file once its epoch has ended.
    """

    def __init__(self, path: "StrPath") -> None:
        self.path = _checked_path("CSVLog", path)
        self._file: Any = None

    def begin(self, model: "Sequential") -> None:
        """Open the file."""
        self._file = self.path.open("w", encoding="utf-8", newline="")
        self._has_header = False

    def __call__(self, progress: Progress) -> None:
        """Write a line."""
        if not progress.ended:
            return
        rate = progress.learning_rate
        numbers = {
            "epoch": progress.epoch,
            "seconds": round(progress.seconds, 3),
            "learning_rate": "" if rate is None else rate,
            **progress.metrics,
        }
        writer = csv.writer(self._file, lineterminator="\n")
        if not self._has_header:
            writer.writerow(numbers)
            self._has_header = True
        writer.writerow(numbers.values())
        self._file.flush()

    def end(self, model: "Sequential") -> None:
        """Close the file."""
        self._file.close()
        self._file = None

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: without the open file."""
        return self.__dict__ | {"_file": None}

    def __repr__(self) -> str:
        return f"CSVLog({str(self.path)!r})"


class MovingAverage(Callback):
    """Keeps an exponential moving average (EMA) of the parameters, which the model has in the end.

    So it does of the statistics of layers, such as the running means of `BatchNorm`.

    For each batch, average <- decay average + (1 - decay) parameters; the weights of all of them
    sum to 1. Training and its validation go by the parameters themselves. The model gets the
    average however training ends.

    Parameters
    ----------
    decay : float
        How much of the average stays from batch to batch: above 0, below 1.
    every : int
        How often the parameters are looked at, in batches, and at the end of each epoch; they
        then stand for all batches since.
    """

    def __init__(self, decay: float = 0.999, every: int = 10) -> None:
        self.decay = checks.number("MovingAverage", "decay", decay, 0)
        if not 0 < self.decay < 1:
            raise ValueError(
                f"MovingAverage: decay is {decay!r}, expected a number above 0, below 1"
            )
        self.every = checks.integer("MovingAverage", "every", every, 1)
        self._sum: Array | None = None

    def begin(self, model: "Sequential") -> None:
        """Forget the average of an earlier call of `fit`."""
        self._sum = np.zeros(model._buffers.learnt.shape)
        self._weight, self._step = 0.0, model._step

    def __call__(self, progress: Progress) -> None:
        """Take the parameters into the average."""
        model = progress.model
        stays = self.decay ** (model._step - self._step)
        if self._sum is None or stays == 1:  # an epoch has ended just after a batch that counted
            return
        self._sum *= stays
        self._sum += (1 - stays) * model._buffers.learnt.astype(np.float64)
        self._weight = stays * self._weight + (1 - stays)
        self._step = model._step

    def end(self, model: "Sequential") -> None:
        """Put the average into the model."""
        if self._sum is not None and self._weight > 0:
            model._buffers.learnt[...] = self._sum / self._weight
        self._sum = None

    def __repr__(self) -> str:
        return f"MovingAverage(decay={self.decay:g}, every={self.every})"


def _checked_path(place: str, path: Any) -> Path:
    try:
        return Path(os.fsdecode(path))
    except TypeError:
        raise TypeError(f"{place}: path is {checks.shown(path)}, expected a path") from None
