"""Formulas of your own, compiled: an activation, a loss, an optimizer.

Each is made of plain Python functions of single numbers, and runs within compiled training as this
package's own do. A saved model names the functions, and `layers.load` takes them back in
``custom``, since their code is not in the file.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kernels.formulas import elementwise_operations, loss_operation, update_operation
from kernels.operations import run_loss, run_update
from kernels.runtime import checks
from kernels.runtime.families import Operation
from layers.activations import Activation
from layers.backends import is_compiled
from layers.base import Array
from layers.losses_of_numbers import MeanSquaredError
from layers.optimizer import Optimizer


class Elementwise(Activation):
    """An activation of your own, compiled: y = value(x), with the gradient dy derivative(x).

    Parameters
    ----------
    value, derivative : callable
        Plain Python functions of one number that return a float; they may branch and use ``math``.
        They run within compiled training, with the same bits on any number of threads.

    Raises
    ------
    TypeError
        One is no such function, or Numba cannot compile it: the error quotes why.

    Examples
    --------
    >>> softsign = layers.Elementwise(
    ...     lambda x: x / (1.0 + abs(x)), lambda x: 1.0 / (1.0 + abs(x)) ** 2
    ... )
    """

    def __init__(
        self, value: Callable[[float], float], derivative: Callable[[float], float]
    ) -> None:
        self._formulas = value, derivative
        self._operations = elementwise_operations("Elementwise", value, derivative)

    def run_forward(self, run: Any, x: Any, training: bool) -> Any:
        """The value of each number."""
        return run.elementwise(self._operations[0], x)

    def run_backward(self, run: Any, x: Any, y: Any, dy: Any, needs_inputs: bool) -> Any:
        """dy times the derivative at x."""
        return run.elementwise(self._operations[1], x, dy)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: the formulas, which are compiled anew."""
        return {k: v for k, v in super().__getstate__().items() if k != "_operations"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._operations = elementwise_operations("Elementwise", *self._formulas)

    def config(self) -> dict[str, Any]:
        """The two functions, which a file names."""
        return dict(zip(("value", "derivative"), self._formulas, strict=True))

    def __repr__(self) -> str:
        return f"Elementwise({', '.join(formula.__name__ for formula in self._formulas)})"


class ElementwiseLoss(MeanSquaredError):
    """A loss of your own, compiled: the mean over all numbers of value(y, t).

    Parameters
    ----------
    value, derivative : callable
        Plain Python functions of a prediction and a target that return a float: the loss, and its
        derivative with respect to the prediction.

    Raises
    ------
    TypeError
        One is no such function, or Numba cannot compile it: the error quotes why.
    """

    def __init__(
        self, value: Callable[[float, float], float], derivative: Callable[[float, float], float]
    ) -> None:
        self._formulas = value, derivative
        self._operation = loss_operation("ElementwiseLoss", value, derivative)

    def form(self, targets: Array) -> str:
        """The form of checked targets: numbers."""
        return "numbers"

    def operation(self, form: str, n: int) -> Operation:
        """The formulas' operation."""
        return self._operation

    def _entry_run(self, scores: Array, targets: Array, losses: Array) -> tuple[list[Array], Array]:
        gradient = np.empty_like(scores)
        if is_compiled():
            run_loss(self._operation, scores, targets, (), gradient, losses, losses)
        else:
            assert self._operation.twin is not None
            self._operation.twin(scores, targets, gradient, losses)
        return [], gradient

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: the formulas, which are compiled anew."""
        return {k: v for k, v in super().__getstate__().items() if k != "_operation"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._operation = loss_operation("ElementwiseLoss", *self._formulas)

    def config(self) -> dict[str, Any]:
        """The two functions, which a file names."""
        return dict(zip(("value", "derivative"), self._formulas, strict=True))

    def __repr__(self) -> str:
        return f"ElementwiseLoss({', '.join(formula.__name__ for formula in self._formulas)})"


class FormulaStep:
    """What `kernels.entries.Step` is to our own steps, for a user's formula."""

    def __init__(self, operation: Operation, states: int, count: int) -> None:
        self.operation, self.states, self.count = operation, states, max(count, 1)

    def run(
        self, parameters: Array, gradients: Array, states: Array, numbers: Sequence[float]
    ) -> None:
        """Move parameters in place."""
        if is_compiled():
            run_update(self.operation, parameters, gradients, states, numbers)
        else:
            assert self.operation.twin is not None
            kept = (states,) if self.states else ()
            self.operation.twin(parameters, gradients, *kept, *numbers)


class ElementwiseOptimizer(Optimizer):
    """An optimizer of your own, compiled, from its step of one parameter.

    Parameters
    ----------
    update : callable
        A plain Python function of a parameter, its gradient, its states and the numbers, in this
        order; it returns the new parameter, or a tuple of that and the new states.
    states : int
        How many numbers are kept of each parameter, 0 before the first step: up to 2.
    clip_value, clip_norm : float, optional
        As of `SGD`.
    **numbers : float
        What the further arguments of ``update`` are, by name. They may be changed between steps,
        as attributes.

    Raises
    ------
    TypeError, ValueError
        ``update`` is no such function, or Numba cannot compile it: the error quotes why.

    Examples
    --------
    >>> def momentum(w, g, v, learning_rate, beta):
    ...     v = beta * v + g
    ...     return w - learning_rate * v, v
    >>> optimizer = layers.ElementwiseOptimizer(momentum, states=1, learning_rate=0.1, beta=0.9)
    """

    def __init__(
        self,
        update: Callable[..., Any],
        *,
        states: int = 0,
        clip_value: float | None = None,
        clip_norm: float | None = None,
        **numbers: float,
    ) -> None:
        self._formula = update
        self._set_clips(clip_value, clip_norm)
        self._states = checks.integer("ElementwiseOptimizer", "states", states, 0, 2)
        self._numbers = {
            name: checks.number("ElementwiseOptimizer", name, value)
            for name, value in numbers.items()
        }
        self._made()

    def _made(self) -> None:
        place, names = "ElementwiseOptimizer", list(self._numbers)
        if not callable(self._formula):
            raise TypeError(
                f"{place}: update is {checks.shown(self._formula)}, expected a function"
            )
        taken = list(inspect.signature(self._formula).parameters)[2 + self._states :]
        if taken != names:
            raise TypeError(
                f"{place}: numbers are {names}, expected {taken}, the arguments of update behind "
                f"the parameter, its gradient and {self._states} states, in this order"
            )
        operation = update_operation(place, self._formula, self._states, names)
        self._entry = FormulaStep(operation, self._states, len(names))

    @property
    def entry(self) -> FormulaStep:  # type: ignore[override]
        """The compiled step."""
        return self._entry

    def __getattr__(self, name: str) -> float:
        numbers = self.__dict__.get("_numbers", {})
        if name not in numbers:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return float(numbers[name])

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_numbers", {}):
            self._numbers[name] = checks.number("ElementwiseOptimizer", name, value)
        else:
            super().__setattr__(name, value)

    def numbers(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """The given numbers."""
        return np.array([[*self._numbers.values(), *([0.0] if not self._numbers else [])]])

    def update(self, parameters: Array, gradients: Array, states: Array, step: int) -> None:
        """Move parameters in place by one step; see `Optimizer.update`."""
        self._entry.run(parameters, gradients, states, list(self._numbers.values()))

    def _copied(self) -> "ElementwiseOptimizer":
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, _numbers=dict(self._numbers))
        return other

    def config(self) -> dict[str, Any]:
        """The function, which a file names, its states, numbers and clips."""
        clips = {name: getattr(self, name) for name in self._clips}
        return {"update": self._formula, "states": self._states, **self._numbers, **clips}

    def __repr__(self) -> str:
        clips = {name: getattr(self, name) for name in self._clips}
        given = [f"{name}={value:g}" for name, value in (self._numbers | clips).items()]
        return f"{type(self).__name__}({', '.join(given)})"

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: the formula, which is compiled anew."""
        return {k: v for k, v in self.__dict__.items() if k != "_entry"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._made()
