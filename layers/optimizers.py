"""Optimizers: how parameters move, given their gradients."""

from typing import Any

import numpy as np

from kernels.runtime import checks
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

    def rate_in(self, dtype: np.dtype[Any]) -> float:
        """The learning rate; a ValueError where it is beyond what the dtype holds."""
        return checks.number("SGD", "learning_rate", self._learning_rate, 0, dtype)

    def update(self, parameters: Array, gradients: Array) -> None:
        """Move parameters in place; both are C-contiguous, 2-D, of one shape and dtype."""
        active().sgd_update(parameters, gradients, self.rate_in(parameters.dtype))

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {"learning_rate": self.learning_rate}

    def __repr__(self) -> str:
        return f"SGD(learning_rate={self.learning_rate:g})"
