"""Callbacks for `Sequential.fit`: when to stop, what to keep, how fast to go on, what to note."""

import contextlib
import csv
import math
import os
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.runtime import checks
from layers import files, schedules
from layers.base import Array
from layers.training import resuming
from layers.training.history import higher_is_better
from layers.training.loop import Callback, Progress, learning_rate
from layers.training.resuming import State, Stopped

if TYPE_CHECKING:
    from layers.replacing import StrPath
    from layers.sequential import Sequential


class _Monitor(Callback):
    """Looks at a metric at the end of each epoch, and counts epochs since it was best.

    Attributes
    ----------
    best_epoch : int or None
        The best epoch of this call of `fit` so far, from 1, as `Progress` counts them.
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
            self._kept = {k: array.copy() for k, array in _learnt(progress.model).items()}
        return self.over

    def end(self, model: "Sequential") -> None:
        """Give the best parameters back."""
        if self._kept is not None:
            for name, array in _learnt(model).items():
                array[...] = self._kept[name]
            self._kept = None

    def state(self) -> State:
        """What has been counted, and the parameters of the best epoch."""
        return super().state() | {f"kept.{k}": array for k, array in (self._kept or {}).items()}

    def restore(self, model: "Sequential", state: State) -> None:
        """Go on where a checkpoint has stopped."""
        super().restore(model, state)
        shapes = {name: array.shape for name, array in _learnt(model).items()}
        self._kept = resuming.arrays("EarlyStopping", "kept.", state, shapes)

    def __repr__(self) -> str:
        return (
            f"EarlyStopping(monitor={self.monitor!r}, patience={self.patience}, "
            f"min_delta={self.min_delta:g})"
        )


class Checkpoint(_Monitor):
    """Saves the model at the end of epochs, each time whole or not at all; `layers.load` reads it.

    Parameters
    ----------
    path : path
        One file, written anew each time. Or one each time, where ``{epoch}`` in it (or
        ``{epoch:04d}``) stands for the number of epochs in the model's history.
    monitor : str
    best : bool
        Whether to save only what is better than all epochs of this call of `fit` before, for use.
        Without it, whatever training needs to go on from there is saved, to the bit: the
        optimizer's states, and what the other callbacks have seen.
    epochs : int
        Without ``best``: save after so many epochs, and in the end.
    minutes : float, optional
        Without ``best``: save at the end of an epoch when so much time has passed since the last
        time, too.
    keep : int, optional
        With ``{epoch}``: how many of these files stay, the newest; older ones that this training
        has written are removed. By default all stay.

    Raises
    ------
    TypeError, OSError
        As training begins: the model cannot be saved, or not there.
    """

    saves = True

    def __init__(
        self,
        path: "StrPath",
        monitor: str = "val_loss",
        best: bool = True,
        *,
        epochs: int = 1,
        minutes: float | None = None,
        keep: int | None = None,
    ) -> None:
        super().__init__(monitor, 0.0)
        place = "Checkpoint"
        self.path = _checked_path(place, path)
        files.checked_ending(self.path, place)
        if not isinstance(best, (bool, np.bool_)):
            raise TypeError(f"{place}: best is {checks.shown(best)}, expected True or False")
        self.best_only = bool(best)
        self.epochs = checks.integer(place, "epochs", epochs, 1)
        self.minutes = None if minutes is None else checks.number(place, "minutes", minutes, 0)
        self.keep = None if keep is None else checks.integer(place, "keep", keep, 1)
        self._is_numbered = _NUMBERED.search(self.path.name) is not None
        if _NUMBERED.search(str(self.path.parent)):
            raise ValueError(f"{place}: path is {path!r}, expected {{epoch}} in the file's name")
        if self.keep is not None and not self._is_numbered:
            raise ValueError(
                f"{place}: keep is {keep!r} and path {str(self.path)!r}, expected {{epoch}} in the "
                "file's name: there is one file otherwise"
            )
        if self.best_only and (self.epochs > 1 or self.minutes is not None):
            raise ValueError(f"{place}: epochs or minutes is given, expected best=False with it")
        if not self.best_only:
            self.monitor = None  # type: ignore[assignment]
            if self.path.suffix.lower() in (".safetensors", ".onnx"):
                raise ValueError(
                    f"{place}: path is {str(self.path)!r}, and a file of that kind holds no "
                    "training: expected another ending, such as .npz"
                )

    def begin(self, model: "Sequential") -> None:
        """Save the model aside, so that what cannot be saved is known before it is trained."""
        super().begin(model)
        self._written: list[int] = []
        self._unsaved: tuple[Progress, int] | None = None
        self._last = time.monotonic()
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"Checkpoint: {self.path.parent} is no folder")
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".checkpoint") as folder:
            model.save(Path(folder) / f"trial{self.path.suffix}")

    def __call__(self, progress: Progress) -> None:
        """Save the model, where it is time to."""
        if not progress.ended:
            return
        if self.best_only:
            if self._is_best(progress):
                self._save(progress)
            return
        self._unsaved = progress, progress.model._step
        passed = time.monotonic() - self._last
        is_time = self.minutes is not None and passed >= 60 * self.minutes
        if is_time or progress.epoch % self.epochs == 0 or progress.epoch == progress.epochs:
            self._save(progress)

    def _save(self, progress: Progress) -> None:
        from layers.files import model_file

        model, number = progress.model, progress.model.history.epochs
        self._written = [*(n for n in self._written if n != number), number]
        path = self._path_of(number)
        if self.best_only:
            model.save(path, optimizer_state=False)
        else:
            states = resuming.states_of(progress.callbacks)
            stopped = Stopped(progress.epoch, states, dict(progress.given))
            model_file.save(model, path, stopped=stopped)
        self._prune()
        self._last, self._unsaved = time.monotonic(), None

    def _prune(self) -> None:
        """Remove all but the newest; files name the older ones too, for whoever is killed here."""
        while self.keep is not None and len(self._written) > self.keep:
            with contextlib.suppress(FileNotFoundError):
                self._path_of(self._written[0]).unlink()
            del self._written[0]

    def _path_of(self, number: int) -> Path:
        if not self._is_numbered:
            return self.path
        name = _NUMBERED.sub(lambda found: format(number, found[1] or ""), self.path.name)
        return self.path.with_name(name)

    def latest(self) -> Path | None:
        """The newest file of this path that is there: that of the most epochs; None without any."""
        if not self._is_numbered:
            return self.path if self.path.exists() else None
        if not self.path.parent.is_dir():
            return None
        found = _NUMBERED.search(self.path.name)
        assert found is not None
        before, after = self.path.name[: found.start()], self.path.name[found.end() :]
        form = re.compile(f"{re.escape(before)}([0-9]+){re.escape(after)}")
        numbers = {
            int(match[1]): path
            for path in self.path.parent.iterdir()
            if (match := form.fullmatch(path.name)) and path == self._path_of(int(match[1]))
        }
        return numbers[max(numbers)] if numbers else None

    def state(self) -> State:
        """What has been counted, and which files have been written."""
        return super().state() | {"written": list(self._written)}

    def restore(self, model: "Sequential", state: State) -> None:
        """Go on where a checkpoint has stopped, if it was by the same metric."""
        if state.get("monitor") != self.monitor:
            return self.begin(model)
        super().restore(model, state)
        written = state.get("written")
        if not isinstance(written, list):
            raise ValueError(f"Checkpoint: written in the checkpoint is {checks.shown(written)}")
        self._written = [checks.integer("Checkpoint", "written", each, 0) for each in written]
        self._prune()
        return None

    def end(self, model: "Sequential") -> None:
        """Save the last epoch, where training has ended with it, between two times."""
        unsaved, self._unsaved = self._unsaved, None
        if unsaved is not None and unsaved[1] == model._step:
            self._save(unsaved[0])

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: without the model."""
        return self.__dict__ | {"_unsaved": None}

    def __repr__(self) -> str:
        more = "".join(
            f", {name}={value!r}"
            for name, value, default in (
                ("epochs", self.epochs, 1),
                ("minutes", self.minutes, None),
                ("keep", self.keep, None),
            )
            if value != default
        )
        given = f"{str(self.path)!r}, monitor={self.monitor!r}, best={self.best_only}"
        return f"Checkpoint({given}{more})"


_NUMBERED = re.compile(r"\{epoch(?::(0?[0-9]*d?))?\}")


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
        Written anew by each call of `fit`, unless it goes on from a checkpoint: lines that came
        after that are written over. Each line is in the file once its epoch has ended.
    """

    def __init__(self, path: "StrPath") -> None:
        self.path = _checked_path("CSVLog", path)
        self._file: Any = None

    def begin(self, model: "Sequential") -> None:
        """Open the file."""
        self._file = self.path.open("w", encoding="utf-8", newline="")
        self._has_header = False

    def state(self) -> State:
        """How far the file is written."""
        return {"bytes": self._file.tell()}

    def restore(self, model: "Sequential", state: State) -> None:
        """Open the file, and go on where a checkpoint has stopped."""
        size = resuming.integer("CSVLog", "bytes", state)
        file = self.path.open("r+", encoding="utf-8", newline="")
        there = os.fstat(file.fileno()).st_size
        if there < size:
            file.close()
            raise ValueError(
                f"CSVLog: {self.path} has {there} bytes, expected at least {size}, the log of the "
                "training that was stopped"
            )
        file.seek(size)
        file.truncate()
        self._file, self._has_header = file, size > 0

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
        self._sums: dict[str, Array] | None = None

    def begin(self, model: "Sequential") -> None:
        """Forget the average of an earlier call of `fit`."""
        self._sums = {name: np.zeros(array.shape) for name, array in _learnt(model).items()}
        self._weight, self._step = 0.0, model._step

    def __call__(self, progress: Progress) -> None:
        """Take the parameters into the average."""
        model = progress.model
        stays = self.decay ** (model._step - self._step)
        if self._sums is None or stays == 1:  # an epoch has ended just after a batch that counted
            return
        for name, array in _learnt(model).items():
            self._sums[name] *= stays
            self._sums[name] += (1 - stays) * array.astype(np.float64)
        self._weight = stays * self._weight + (1 - stays)
        self._step = model._step

    def end(self, model: "Sequential") -> None:
        """Put the average into the model."""
        if self._sums is not None and self._weight > 0:
            for name, array in _learnt(model).items():
                array[...] = self._sums[name] / self._weight
        self._sums = None

    def state(self) -> State:
        """The average so far."""
        sums = {f"sum.{name}": array for name, array in (self._sums or {}).items()}
        return {"decay": self.decay, "weight": self._weight, "step": self._step} | sums

    def restore(self, model: "Sequential", state: State) -> None:
        """Go on with the average of a checkpoint."""
        place = "MovingAverage"
        resuming.same(place, "decay", state, self.decay)
        self.begin(model)
        shapes = {name: array.shape for name, array in _learnt(model).items()}
        sums = resuming.arrays(place, "sum.", state, shapes, np.dtype(np.float64))
        weight = resuming.number(place, "weight", state)
        if sums is None or not 0 <= weight <= 1.001:
            raise ValueError(
                f"{place}: the checkpoint holds no average, expected sums and a weight"
            )
        self._sums, self._weight = sums, weight
        self._step = resuming.integer(place, "step", state)

    def __repr__(self) -> str:
        return f"MovingAverage(decay={self.decay:g}, every={self.every})"


def _checked_path(place: str, path: Any) -> Path:
    try:
        return Path(os.fsdecode(path))
    except TypeError:
        raise TypeError(f"{place}: path is {checks.shown(path)}, expected a path") from None


def _learnt(model: "Sequential") -> dict[str, Array]:
    """What training changes in a model: parameters, and layers' statistics; views."""
    return model.parameters() | model.statistics()
