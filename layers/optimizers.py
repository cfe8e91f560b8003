"""Optimizers: how parameters move, given their gradients."""

from typing import Any, ClassVar

import numpy as np

from kernels.operations import Step
from kernels.optimizers import ADAM as ADAM_STEP
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
    _known: tuple[Any, Array] | None = None

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
        known = self._known
        if known is None or known[0] != (self._learning_rate, dtype):
            rate = checks.number("SGD", "learning_rate", self._learning_rate, 0, dtype)
            known = self._known = (rate, dtype), np.array([[rate]])
        return known[1]

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {"learning_rate": self.learning_rate}


class Adam(Optimizer):
    """Adam: steps by moving means of the gradient and of its square (Kingma and Ba, 2015).

    m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2, and at step t = 1, 2, ...
    w <- w - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon).

    Parameters
    ----------
    learning_rate : float
        Finite, at least 0. It may be changed between steps.
    beta1, beta2 : float
        How much of the means stays from step to step: at least 0, below 1.
    epsilon : float
        Above 0.
    """

    entry = ADAM_STEP

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        self.learning_rate = learning_rate
        self._betas = tuple(
            _below_one("Adam", name, beta) for name, beta in (("beta1", beta1), ("beta2", beta2))
        )
        self._epsilon = checks.number("Adam", "epsilon", epsilon, 0)
        if self._epsilon == 0:
            raise ValueError("Adam: epsilon is 0, expected a number above 0")

    @property
    def learning_rate(self) -> float:
        """How far a step goes, about, in each parameter."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = checks.number("Adam", "learning_rate", value, 0)

    @property
    def beta1(self) -> float:
        """How much of the mean gradient stays from step to step."""
        return self._betas[0]

    @property
    def beta2(self) -> float:
        """How much of the mean square stays from step to step."""
        return self._betas[1]

    @property
    def epsilon(self) -> float:
        """What is added to the root of the mean square."""
        return self._epsilon

    def numbers(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """Learning rate and epsilon, corrected for each step, and the betas."""
        rate = checks.number("Adam", "learning_rate", self._learning_rate, 0, dtype)
        taken = np.arange(first + 1, first + steps + 1)
        first_left, second_left = (1.0 - _powers(beta, taken) for beta in self._betas)
        root = np.sqrt(second_left)
        numbers = np.empty((steps, 4))
        numbers[:, 0], numbers[:, 3] = rate * (root / first_left), self.epsilon * root
        numbers[:, 1], numbers[:, 2] = self._betas
        return numbers

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {
            "learning_rate": self.learning_rate,
            "beta1": self.beta1,
            "beta2": self.beta2,
            "epsilon": self.epsilon,
        }


def _below_one(place: str, name: str, value: Any) -> float:
    checked = checks.number(place, name, value, 0)
    if checked >= 1:
        raise ValueError(f"{place}: {name} is {value!r}, expected a number from 0 to below 1")
    return checked


def _powers(base: float, exponents: Array) -> Array:
    """base ** exponents by repeated squaring: the same bits with every NumPy, on every CPU."""
    result, factor = np.ones(len(exponents)), base
    left = exponents.copy()
    while left.any():
        result = np.where(left & 1, result * factor, result)
        left >>= 1
        factor *= factor
    return result
