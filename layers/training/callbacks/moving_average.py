"""The mean of the parameters over the steps."""

from typing import TYPE_CHECKING

import numpy as np

from kernels.runtime import checks
from layers.base import Array
from layers.training import resuming
from layers.training.callbacks.learnt import learnt
from layers.training.loop import Callback, Progress
from layers.training.resuming import State

if TYPE_CHECKING:
    from layers.sequential import Sequential


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
        self._sums = {name: np.zeros(array.shape) for name, array in learnt(model).items()}
        self._weight, self._step = 0.0, model._step

    def __call__(self, progress: Progress) -> None:
        """Take the parameters into the average."""
        model = progress.model
        stays = self.decay ** (model._step - self._step)
        if self._sums is None or stays == 1:  # an epoch has ended just after a batch that counted
            return
        for name, array in learnt(model).items():
            self._sums[name] *= stays
            self._sums[name] += (1 - stays) * array.astype(np.float64)
        self._weight = stays * self._weight + (1 - stays)
        self._step = model._step

    def end(self, model: "Sequential") -> None:
        """Put the average into the model."""
        if self._sums is not None and self._weight > 0:
            for name, array in learnt(model).items():
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
        shapes = {name: array.shape for name, array in learnt(model).items()}
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
