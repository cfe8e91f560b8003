"""A side: one library's training step, epoch and prediction."""

from abc import ABC, abstractmethod
from typing import Any

from layers.bench import cases
from layers.bench.cases import Case


class Side(ABC):
    """One library, set up for one case.

    Parameters
    ----------
    case : Case
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.x, self.y = cases.data(case)
        self.weights = cases.weights(case)
        self.build()

    @classmethod
    def start(cls, threads: int) -> dict[str, str]:
        """Set the number of threads, if the environment does not; return the library's versions."""
        return {}

    def numbers(self) -> list[float]:
        """The numbers in which all sides must agree.

        The predicted class; or the losses before the first and the second step on the same batch,
        which test the forward pass and the gradients.
        """
        self.reset()
        if self.case.kind == "predict":
            return [self.predict(1)]
        return [self.first_batch(), self.first_batch()]

    def run(self, passes: int) -> float:
        """Pass over the data ``passes`` times; return the last loss or predicted class."""
        if self.case.kind == "step":
            return self.steps(passes)
        if self.case.kind == "predict":
            return self.predict(passes)
        return [self.epoch() for _ in range(passes)][-1]

    @abstractmethod
    def build(self) -> None:
        """Make the model and convert the data to the library's form."""

    @abstractmethod
    def reset(self) -> None:
        """Restore the initial weights, so that every timing does the same work."""

    @abstractmethod
    def first_batch(self) -> float:
        """Take a step on the first batch; return the loss before the update."""

    @abstractmethod
    def steps(self, passes: int) -> float:
        """Pass over all batches ``passes`` times; return the last loss."""

    @abstractmethod
    def epoch(self) -> float:
        """Train a shuffled epoch, shuffle included; return the last loss."""

    @abstractmethod
    def predict(self, times: int) -> float:
        """Predict the class of the first row ``times`` times."""


class Fitting(Side):
    """A side whose model has ``fit`` and ``predict``."""

    model: Any
    """Made by `build`."""

    @abstractmethod
    def fit(self, epochs: int, shuffle: bool) -> float:
        """One ``fit``; return the last loss."""

    def steps(self, passes: int) -> float:
        """One ``fit`` of ``passes`` epochs, its batches in order."""
        return self.fit(passes, shuffle=False)

    def epoch(self) -> float:
        """One ``fit`` of one shuffled epoch."""
        return self.fit(1, shuffle=True)

    def predict(self, times: int) -> float:
        """``predict`` of one row."""
        model, x = self.model, self.x[:1]
        for _ in range(times):
            classes = model.predict(x)
        return float(classes[0])


class Looping(Side):
    """A side that calls its step from Python for each batch."""

    batches: list[tuple[Any, Any]]
    """Made by `build`, so that slicing is not timed."""

    @abstractmethod
    def step(self, x: Any, y: Any) -> Any:
        """Take a step; return the loss before the update."""

    @abstractmethod
    def shuffled(self) -> Any:
        """The epoch's batches in a new order, gathered one by one."""

    def first_batch(self) -> float:
        """One step on the first batch."""
        return float(self.step(*self.batches[0]))

    def steps(self, passes: int) -> float:
        """Pass over all batches ``passes`` times, in order."""
        step, loss = self.step, None
        for _ in range(passes):
            for x, y in self.batches:
                loss = step(x, y)
        return self.finished(loss)

    def epoch(self) -> float:
        """Take a step on each shuffled batch."""
        step, loss = self.step, None
        for x, y in self.shuffled():
            loss = step(x, y)
        return self.finished(loss)

    def finished(self, loss: Any) -> float:
        """Wait for pending computations; return the loss as a number."""
        return float(loss)

    def sliced(self, x: Any, y: Any) -> list[tuple[Any, Any]]:
        """Batches as views, in order."""
        size = self.case.batch
        return [(x[i : i + size], y[i : i + size]) for i in range(0, self.case.rows, size)]
