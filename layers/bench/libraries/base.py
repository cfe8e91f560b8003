"""What a side is: one library's way to take a step, to train for an epoch and to predict."""

from abc import ABC, abstractmethod
from typing import Any

from layers.bench import cases
from layers.bench.cases import Case


class Side(ABC):
    """One library, ready for one case.

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
        """Use so many threads, where the environment does not say it; versions of the library."""
        return {}

    def numbers(self) -> list[float]:
        """What all sides have to agree on.

        The predicted class; or the losses before a first step and before a second one on the same
        batch, which show the forward pass and the gradients.
        """
        self.reset()
        if self.case.kind == "predict":
            return [self.predict(1)]
        return [self.first_batch(), self.first_batch()]

    def run(self, passes: int) -> float:
        """Go over the data so many times; the last loss, or the predicted class."""
        if self.case.kind == "step":
            return self.steps(passes)
        if self.case.kind == "predict":
            return self.predict(passes)
        return [self.epoch() for _ in range(passes)][-1]

    @abstractmethod
    def build(self) -> None:
        """Make the model and bring the data into the library's own form."""

    @abstractmethod
    def reset(self) -> None:
        """Go back to the first weights, so that every turn does the same work."""

    @abstractmethod
    def first_batch(self) -> float:
        """One step on the first batch; the loss before the update."""

    @abstractmethod
    def steps(self, passes: int) -> float:
        """So many passes over all batches; the last loss."""

    @abstractmethod
    def epoch(self) -> float:
        """A whole shuffled epoch, with the shuffle; the last loss."""

    @abstractmethod
    def predict(self, times: int) -> float:
        """The class of the first row, so many times one after another."""


class Fitting(Side):
    """A side whose model has ``fit`` and ``predict``."""

    model: Any
    """Made by `build`."""

    def epoch(self) -> float:
        """One ``fit`` of one epoch."""
        return self.steps(1)

    def predict(self, times: int) -> float:
        """``predict`` of one row."""
        model, x = self.model, self.x[:1]
        for _ in range(times):
            classes = model.predict(x)
        return float(classes[0])


class Looping(Side):
    """A side whose step is a call from Python, for each batch."""

    batches: list[tuple[Any, Any]]
    """Made by `build`, so that nobody pays for slicing."""

    @abstractmethod
    def step(self, x: Any, y: Any) -> Any:
        """One step; the loss before the update."""

    @abstractmethod
    def shuffled(self) -> Any:
        """The epoch's batches in a new order, gathered one after another."""

    def first_batch(self) -> float:
        """One step on the first batch."""
        return float(self.step(*self.batches[0]))

    def steps(self, passes: int) -> float:
        """So many passes over all batches, in their order."""
        step, loss = self.step, None
        for _ in range(passes):
            for x, y in self.batches:
                loss = step(x, y)
        return self.finished(loss)

    def epoch(self) -> float:
        """A step for each shuffled batch."""
        step, loss = self.step, None
        for x, y in self.shuffled():
            loss = step(x, y)
        return self.finished(loss)

    def finished(self, loss: Any) -> float:
        """The loss as a number, once nothing is left to compute."""
        return float(loss)

    def sliced(self, x: Any, y: Any) -> list[tuple[Any, Any]]:
        """Batches as views, in order."""
        size = self.case.batch
        return [(x[i : i + size], y[i : i + size]) for i in range(0, self.case.rows, size)]
