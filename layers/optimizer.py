"""What an optimizer is: numbers for each step, and a kernel that moves parameters by them.

Weight decay is of weights, and not of biases: a layer says which (`Layer.decayed`). The optimizers
themselves are in ``layers/optimizers.py``.
"""

import copy
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np

from kernels.entries import Step
from kernels.runtime import checks
from layers import schedules
from layers.backends import active
from layers.base import Array, Part
from layers.settings import Setting

Rate = float | Callable[[int], float]
"""A learning rate: a number, or a function of the step, which counts from 0."""


class Optimizer(Part):
    """How parameters move; a subclass names the kernel's entry and gives its numbers.

    Attributes
    ----------
    entry : kernels.entries.Step
        The step of one element: its formula, and how many states and numbers that takes.
    clip_value : float or None
        Each number of each gradient goes no further from 0 than this.
    clip_norm : float or None
        All gradients together are shortened to this norm where they are longer, to
        gradient min(1, clip_norm / (norm + 1e-6)). The norm is that of all gradients of a batch,
        penalties included; where it is not finite, nothing moves, as by a loss that is not.
    """

    @property
    def states(self) -> int:
        """How many numbers it keeps of each parameter."""
        return self.entry.states if hasattr(self, "entry") else 0

    _PASSES = ("update",)
    _RUNS = ("numbers",)
    entry: ClassVar[Step]
    clip_value = Setting("> 0", "The largest magnitude of a gradient's numbers.", optional=True)
    clip_norm = Setting("> 0", "The largest norm of all gradients together.", optional=True)
    _clip_value: float | None = None
    _clip_norm: float | None = None

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

    def numbers_follow(self) -> Any:
        """What the numbers of a step follow from, besides the step; equal, while they are the same.

        None where that is not known, as it is not of a subclass or a function of the user's own:
        then `numbers` is asked before each call, for the steps that it takes, and not ahead.
        """
        return None

    def update(self, parameters: Array, gradients: Array, states: Array, step: int) -> None:
        """Move parameters in place by one step.

        Parameters
        ----------
        parameters, gradients : ndarray, (1, size)
        states : ndarray, (states, size)
            As many as the entry has, zeros before the first step; changed in place. Each is
            contiguous, all together need not be.
        step : int
            How many steps have been taken before.
        """
        numbers = self.numbers(step, 1, parameters.dtype)[0].tolist()
        kept = (states,) if self.entry.states else ()
        getattr(active(), self.entry.name)(parameters, gradients, *kept, *numbers)

    # --- for groups of parameters ---

    _weight_decay = 0.0

    @property
    def has_decay(self) -> bool:
        """Whether it treats weights and biases differently."""
        return self._weight_decay > 0

    def without_decay(self) -> Self:
        """The same for parameters that no weight decay reaches."""
        return self.variant(decays=False)

    def variant(self, *, decays: bool = True, scale: float = 1.0) -> Self:
        """The same for some parameters: without weight decay, or with a scaled learning rate."""
        if decays and scale == 1:
            return self
        other = self._copied()
        if not decays:
            other._weight_decay = 0.0
        if scale != 1:
            other._scale_rate(scale)
        return other

    def _scale_rate(self, scale: float) -> None:
        scaled: Any = self
        scaled.learning_rate = schedules.scaled(scaled.learning_rate, scale)

    def _copied(self) -> Self:
        return copy.copy(self)

    def _set_clips(self, clip_value: Any, clip_norm: Any) -> None:
        """Set both; one of them at most."""
        if clip_value is not None and clip_norm is not None:
            raise ValueError(
                f"{type(self).__name__}: clip_value is {checks.shown(clip_value)} and clip_norm "
                f"{checks.shown(clip_norm)}, expected one of them"
            )
        self.clip_value, self.clip_norm = clip_value, clip_norm

    @property
    def _clips(self) -> tuple[str, ...]:
        """Which of the two are set."""
        both = ("clip_value", "clip_norm")
        return tuple(name for name in both if getattr(self, name) is not None)

    # --- shown and saved ---

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {}

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value:g}" for name, value in self.config().items())
        return f"{type(self).__name__}({given})"


class OfRate(Optimizer):
    """An optimizer of this package: a learning rate, then further numbers of its own."""

    weight_decay = Setting(
        ">= 0", "How much of a weight is in its gradient, or is taken off for a learning rate of 1."
    )
    _rate: Rate
    _config: ClassVar[tuple[str, ...]] = ()
    """The constructor's arguments behind the learning rate, which are attributes too."""

    @property
    def learning_rate(self) -> Rate:
        """The step's length: for a gradient of length 1, or in each parameter."""
        return self._rate

    @learning_rate.setter
    def learning_rate(self, value: Rate) -> None:
        if callable(value) and not isinstance(value, type):
            self._checked_rate(value, 0)
            self._rate = value
        else:
            self._rate = self._number("learning_rate", value)

    def rates(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """The learning rate of each of some steps; of one, where it is a number.

        Raises
        ------
        TypeError, ValueError
            A schedule has returned no finite number of at least 0, or one is beyond the dtype.
        """
        rate = self._rate
        if callable(rate):
            return np.array([self._checked_rate(rate, first + i, dtype) for i in range(steps)])
        return np.array([self._number("learning_rate", rate, dtype)])

    def numbers_follow(self) -> Any:
        """The learning rate: all other numbers stay as they were made."""
        if "numbers" in vars(self) or not type(self).__module__.startswith("layers."):
            return None
        return schedules.settings(self._rate) if callable(self._rate) else self._rate

    def _scale_rate(self, scale: float) -> None:
        self._rate = schedules.scaled(self._rate, scale)  # it has been checked

    def _checked_rate(
        self, rate: Callable[[int], float], step: int, dtype: np.dtype[Any] | None = None
    ) -> float:
        return self._number(f"learning_rate({step})", rate(step), dtype)

    def _number(self, name: str, value: Any, dtype: np.dtype[Any] | None = None) -> float:
        return checks.number(type(self).__name__, name, value, 0, dtype)

    def _check_epsilon(self, dtype: np.dtype[Any], epsilon: float, least: float) -> None:
        """Epsilon, or the least that it becomes by a correction, is a normal number."""
        if dtype.type(least) < np.finfo(dtype).tiny:
            raise ValueError(
                f"{type(self).__name__}: epsilon is {epsilon:g}, which is too small in "
                f"{dtype}: expected 1e-8 or the like"
            )

    def _row(self, dtype: np.dtype[Any], *columns: Any) -> Array:
        """Numbers of some steps, which the dtype has to hold."""
        steps = max([len(each) for each in columns if isinstance(each, np.ndarray)])
        numbers = np.empty((steps, len(columns)))
        for index, column in enumerate(columns):
            numbers[:, index] = column
        if not (abs(numbers) <= np.finfo(dtype).max).all():
            raise ValueError(
                f"{self!r}: its numbers {checks.shown(numbers.max(axis=0).tolist())} are beyond "
                f"{dtype}, expected smaller ones"
            )
        return numbers

    def _names(self) -> tuple[str, ...]:
        """The arguments behind the learning rate that are shown and saved."""
        return (*self._config, *self._clips)

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {"learning_rate": schedules.described(self._rate)} | {
            name: getattr(self, name) for name in self._names()
        }

    def __repr__(self) -> str:
        given = {"learning_rate": self._rate} | {n: getattr(self, n) for n in self._names()}
        shown = (
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value!r}"
            for name, value in given.items()
        )
        return f"{type(self).__name__}({', '.join(shown)})"
