"""Optimizers: how parameters move, given their gradients."""

from typing import Any

from kernels import checks
from layers.backends import active
from layers.base import Array


class SGD:
    """Stochastic gradient descent: w <- w - learning_rate * dL/dw.

    Parameters
    ----------
    learning_rate : float
        Finite, at least 0. It may be changed between steps.
    """

    def __init__(self, learning_rate: float = 0.01) -> None:
        self.learning_rate = learning_rate

    @property
    def learning_rate(self) -> float:
        """The step's length for a gradient of length 1."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = checks.number("SGD", "learning_rate", value, 0)

    def update(self, parameters: Array, gradients: Array) -> None:
        """Move parameters in place; both are C-contiguous, 2-D, of one shape and dtype."""
        active().sgd_update(parameters, gradients, self._learning_rate)

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {"learning_rate": self.learning_rate}

    def __repr__(self) -> str:
        return f"SGD(learning_rate={self.learning_rate:g})"
