"""Schedules: the learning rate as a function of the step, which counts from 0.

Any function of the step will do as an optimizer's ``learning_rate``; these are saved with a model.
They are asked in Python, for all steps of a compiled call before it begins.

>>> import layers
>>> layers.Adam(layers.schedules.Cosine(0.001, steps=1000, warmup=100))
Adam(learning_rate=Cosine(rate=0.001, steps=1000, warmup=100, end=0), ...)
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from kernels.runtime import checks
from layers.keywords import Spelled


class Schedule(Spelled):
    """A learning rate that depends on the step; a subclass says its `rates`.

    Attributes
    ----------
    _names : tuple of str
        The constructor's arguments, which are attributes too.
    """

    _names: ClassVar[tuple[str, ...]] = ()

    def __call__(self, step: int) -> float:
        """The learning rate of a step; the first is 0."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {name: getattr(self, name) for name in self._names}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.config() == other.config()

    def __hash__(self) -> int:
        return hash((type(self), *self.config().values()))

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value:g}" for name, value in self.config().items())
        return f"{type(self).__name__}({given})"

    def _number(self, name: str, value: Any, minimum: float = 0.0) -> float:
        return checks.number(type(self).__name__, name, value, minimum)

    def _steps(self, name: str, value: Any, minimum: int = 1) -> int:
        return checks.integer(type(self).__name__, name, value, minimum)


class InverseTime(Schedule):
    """rate / (1 + decay step).

    Parameters
    ----------
    rate, decay : float
        At least 0.
    """

    _names = ("rate", "decay")

    def __init__(self, rate: float, decay: float) -> None:
        self.rate, self.decay = self._number("rate", rate), self._number("decay", decay)

    def __call__(self, step: int) -> float:
        """The learning rate of a step."""
        return self.rate / (1.0 + self.decay * step)


class Step(Schedule):
    """rate factor^k, where k is how often ``every`` steps have been taken.

    Parameters
    ----------
    rate : float
        At least 0.
    every : int
        At least 1.
    factor : float
        At least 0.
    """

    _names = ("rate", "every", "factor")

    def __init__(self, rate: float, every: int, factor: float = 0.1) -> None:
        self.rate, self.every = self._number("rate", rate), self._steps("every", every)
        self.factor = self._number("factor", factor)

    def __call__(self, step: int) -> float:
        """The learning rate of a step."""
        return self.rate * _power(self.factor, step // self.every)


class Exponential(Schedule):
    """rate factor^(step / every).

    Parameters
    ----------
    rate, factor : float
        At least 0.
    every : int
        Steps in which the rate is multiplied by ``factor``: at least 1.
    """

    _names = ("rate", "factor", "every")

    def __init__(self, rate: float, factor: float, every: int = 1) -> None:
        self.rate, self.factor = self._number("rate", rate), self._number("factor", factor)
        self.every = self._steps("every", every)

    def __call__(self, step: int) -> float:
        """The learning rate of a step."""
        return self.rate * _power(self.factor, step / self.every)


class Cosine(Schedule):
    """Up to ``rate`` in a straight line over ``warmup`` steps, then down to ``end`` by a cosine.

    Parameters
    ----------
    rate : float
        At least 0.
    steps : int
        Of all, those of the warm-up included; from then on it is ``end``.
    warmup : int
        Below ``steps``. Step i of these has (i + 1) / warmup of the rate.
    end : float
        At least 0.
    """

    _names = ("rate", "steps", "warmup", "end")

    def __init__(self, rate: float, steps: int, warmup: int = 0, end: float = 0.0) -> None:
        self.rate, self.steps = self._number("rate", rate), self._steps("steps", steps)
        self.warmup, self.end = self._steps("warmup", warmup, 0), self._number("end", end)
        if self.warmup >= self.steps:
            raise ValueError(f"Cosine: warmup is {warmup}, expected fewer than steps, {steps}")

    def __call__(self, step: int) -> float:
        """The learning rate of a step."""
        if step < self.warmup:
            return self.rate * ((step + 1) / self.warmup)
        gone = min((step - self.warmup) / (self.steps - self.warmup), 1.0)
        return _eased(self.rate, self.end, gone)


class OneCycle(Schedule):
    """From peak / 25 up to ``peak`` over 0.3 of the steps, then down to almost 0, both by a cosine.

    PyTorch's ``OneCycleLR`` with its defaults: the last step has peak / 250,000.

    Parameters
    ----------
    peak : float
        At least 0.
    steps : int
        Of all: at least 2; from then on the rate is that of the last.
    """

    _names = ("peak", "steps")

    def __init__(self, peak: float, steps: int) -> None:
        self.peak, self.steps = self._number("peak", peak), self._steps("steps", steps, 2)

    def __call__(self, step: int) -> float:
        """The learning rate of a step."""
        start, top = self.peak / 25, max(0.3 * self.steps - 1, 0.0)
        if step < top:
            return _eased(start, self.peak, step / top)
        return _eased(self.peak, start / 1e4, min((step - top) / (self.steps - 1 - top), 1.0))


class Scaled(Schedule):
    """Another schedule, or any function of the step, times a factor.

    Parameters
    ----------
    schedule : function
    factor : float
        At least 0.
    """

    _names = ("schedule", "factor")

    def __init__(self, schedule: Any, factor: float) -> None:
        if not callable(schedule) or isinstance(schedule, type):
            raise TypeError(
                f"Scaled: schedule is {checks.shown(schedule)}, expected a function of the step"
            )
        self.schedule, self.factor = schedule, self._number("factor", factor)

    def __call__(self, step: int) -> float:
        """The learning rate of a step."""
        rate = self.schedule(step)
        if isinstance(rate, bool) or not isinstance(rate, (int, float, np.integer, np.floating)):
            return rate  # the optimizer refuses it, and says when
        return float(rate * self.factor)

    def __repr__(self) -> str:
        return f"Scaled({self.schedule!r}, factor={self.factor:g})"


def scaled(rate: Any, factor: float) -> Any:
    """A learning rate, a number or a function of the step, times a factor."""
    if not callable(rate):
        return rate * factor
    if isinstance(rate, Scaled):
        rate, factor = rate.schedule, rate.factor * factor
    return Scaled(rate, factor)


def settings(rate: Any) -> tuple[Any, ...] | None:
    """What a schedule of this module follows from; None for any other function of the step."""
    if type(rate) is Scaled:
        inner = settings(rate.schedule)
        return inner and (Scaled, rate.factor, *inner)
    if _KNOWN.get(type(rate).__name__) is not type(rate):
        return None
    return (type(rate), *(getattr(rate, name) for name in rate._names))


def _eased(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) * (0.5 * (1.0 + math.cos(math.pi * share)))


def _power(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf  # the optimizer refuses it, and says at which step


_KNOWN: dict[str, type[Schedule]] = {
    kind.__name__: kind for kind in (InverseTime, Step, Exponential, Cosine, OneCycle, Scaled)
}


def described(rate: Any) -> Any:
    """A learning rate as JSON can hold it; a function as it is, which a file can only name."""
    if not isinstance(rate, Schedule):
        return rate
    if isinstance(rate, Scaled):
        return {"schedule": "Scaled", "of": described(rate.schedule), "factor": rate.factor}
    name = type(rate).__name__
    own = {} if _KNOWN.get(name) is type(rate) else {"custom": True}
    return {"schedule": name, **own, **rate.config()}


def made(description: Any, custom: Mapping[str, Any] | None = None) -> Schedule:
    """The schedule that `described` has described.

    Parameters
    ----------
    description : dict
    custom : mapping, optional
        Classes of the user's own by name, which a description may name as such.

    Raises
    ------
    TypeError, ValueError
        It is no such description, or names a class of the user's own that is not given.
    """
    given = dict(description)
    if given.get("schedule") == "Scaled" and set(given) == {"schedule", "of", "factor"}:
        of = given["of"]
        return Scaled(of if callable(of) else made(of, custom), given["factor"])
    name, own = str(given.pop("schedule", None)), given.pop("custom", False)
    kind = (custom or {}).get(name) if own else _KNOWN.get(name)
    if own and not (isinstance(kind, type) and issubclass(kind, Schedule)):
        raise ValueError(
            f"learning_rate is by {checks.shown(name)}, a schedule of your own: expected it in "
            "custom"
        )
    if kind is None or set(given) != set(kind._names) or "schedule" in kind._names:
        raise ValueError(
            f"learning_rate is {checks.shown(description)}, expected a number or one of "
            f"{', '.join(_KNOWN)} with its arguments"
        )
    found: Schedule = kind(**given)
    return found
