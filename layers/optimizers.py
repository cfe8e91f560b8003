"""Optimizers: how parameters move, given their gradients."""

from typing import Any, ClassVar

import numpy as np

from kernels.operations import Step
from kernels.optimizers import SGD as SGD_STEP
from kernels.runtime import checks
from layers.backends import active
from layers.base import Array, Part


class Optimizer(Part):
    """How parameters move; a subclass names the kernel's entry and gives its numbers.

    Attributes
    ----------
    entry : kernels.operations.Step
        The step of one element: its formula, and how many states and numbers that takes.
    """

    @property
    def states(self) -> int:
        """How many numbers it keeps of each parameter."""
        return self.entry.states if hasattr(self, "entry") else 0

    _PASSES = ("update",)
    _RUNS = ("numbers",)
    entry: ClassVar[Step]

    def numbers(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """What the entry takes in some steps, from step ``first`` on, which counts from 0.

        Returns
        -------
        ndarray of float64, (steps, count), or (1, count) where all steps have the same numbers

        Raises
        ------
        ValueError
            A number is beyond what the dtype holds.
        """
        raise NotImplementedError

    def update(self, parameters: Array, gradients: Array, states: Array, step: int) -> None:
        """Move parameters in place by one step.

        Parameters
        ----------
        parameters, gradients : ndarray, (1, size)
        states : ndarray, (states, size)
            As many as the entry has, zeros before the first step; changed in place.
        step : int
            How many steps have been taken before.
        """
        numbers = self.numbers(step, 1, parameters.dtype)[0].tolist()
        kept = (states,) if self.entry.states else ()
        getattr(active(), self.entry.name)(parameters, gradients, *kept, *numbers)

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {}

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value:g}" for name, value in self.config().items())
        return f"{type(self).__name__}({given})"


class SGD(Optimizer):
    """Stochastic gradient descent: w <- w - learning_rate * dL/dw.

    Parameters
    ----------
    learning_rate : float
        Finite, at least 0. It may be changed between steps.
    """

    entry = SGD_STEP

    def __init__(self, learning_rate: float = 0.01) -> None:
        self.learning_rate = learning_rate

    @property
    def learning_rate(self) -> float:
        """The step's length for a gradient of length 1."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = checks.number("SGD", "learning_rate", value, 0)

    def numbers(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """The learning rate."""
        return np.array([[checks.number("SGD", "learning_rate", self._learning_rate, 0, dtype)]])

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {"learning_rate": self.learning_rate}
