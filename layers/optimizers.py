"""Optimizers: how parameters move, given their gradients.

Weight decay is of weights, and not of biases: a layer says which (`Layer.decayed`).
"""

import copy
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np

from kernels import optimizers as entries
from kernels.operations import Step
from kernels.runtime import checks
from layers import schedules
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

    # --- weight decay ---

    _weight_decay = 0.0

    @property
    def has_decay(self) -> bool:
        """Whether it treats weights and biases differently."""
        return self._weight_decay > 0

    def without_decay(self) -> Self:
        """The same for parameters that no weight decay reaches."""
        other = copy.copy(self)
        other._weight_decay = 0.0
        return other

    @property
    def width(self) -> int:
        """How many `rows` of numbers a step has."""
        return self.entry.count * (2 if self.has_decay else 1)

    def rows(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """`numbers`, and behind them, where there is weight decay, those without it."""
        numbers = self.numbers(first, steps, dtype)
        if not self.has_decay:
            return numbers
        return np.concatenate([numbers, self.without_decay().numbers(first, steps, dtype)], axis=1)

    # --- shown and saved ---

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {}

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value:g}" for name, value in self.config().items())
        return f"{type(self).__name__}({given})"


Rate = float | Callable[[int], float]
"""A learning rate: a number, or a function of the step, which counts from 0."""


class _OfRate(Optimizer):
    """An optimizer of this package: a learning rate, then further numbers of its own."""

    _rate: Rate
    _epsilon: float
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

    @property
    def weight_decay(self) -> float:
        """How much of a weight is in its gradient, or is taken off for a learning rate of 1."""
        return self._weight_decay

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

    def _checked_rate(
        self, rate: Callable[[int], float], step: int, dtype: np.dtype[Any] | None = None
    ) -> float:
        return self._number(f"learning_rate({step})", rate(step), dtype)

    def _number(self, name: str, value: Any, dtype: np.dtype[Any] | None = None) -> float:
        return checks.number(type(self).__name__, name, value, 0, dtype)

    def _share(self, name: str, value: Any) -> float:
        return _below_one(type(self).__name__, name, value)

    def _above_zero(self, name: str, value: Any) -> float:
        checked = self._number(name, value)
        if checked == 0:
            raise ValueError(f"{type(self).__name__}: {name} is 0, expected a number above 0")
        return checked

    def _check_epsilon(self, dtype: np.dtype[Any], least: float) -> None:
        """Epsilon, or the least that it becomes by a correction, is a normal number."""
        if dtype.type(least) < np.finfo(dtype).tiny:
            raise ValueError(
                f"{type(self).__name__}: epsilon is {self._epsilon:g}, which is too small in "
                f"{dtype}: expected 1e-8 or the like"
            )

    def _row(self, dtype: np.dtype[Any], *columns: Any) -> Array:
        """Numbers of some steps, which the dtype has to hold."""
        numbers = np.stack(np.broadcast_arrays(*columns), axis=1)
        if not (abs(numbers) <= np.finfo(dtype).max).all():
            raise ValueError(
                f"{self!r}: its numbers {checks.shown(numbers.max(axis=0).tolist())} are beyond "
                f"{dtype}, expected smaller ones"
            )
        return numbers

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {"learning_rate": schedules.described(self._rate)} | {
            name: getattr(self, name) for name in self._config
        }

    def __repr__(self) -> str:
        given = {"learning_rate": self._rate} | {n: getattr(self, n) for n in self._config}
        shown = (
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value!r}"
            for name, value in given.items()
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class SGD(_OfRate):
    """Stochastic gradient descent: w <- w - learning_rate * dL/dw.

    With momentum, m <- momentum m + g and w <- w - learning_rate m; Nesterov's step is along
    g + momentum m. g is dL/dw + weight_decay w. m is 0 at first, and nothing is dampened.

    Parameters
    ----------
    learning_rate : float or function
        Finite, at least 0; or a function of the step, which counts from 0, such as those in
        `layers.schedules`. It may be changed between steps.
    momentum : float
        At least 0, below 1.
    nesterov : bool
        Whether to look ahead, which takes momentum.
    weight_decay : float
        At least 0; of weights, and not of biases.
    """

    _known: tuple[Any, Array] | None = None

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        *,
        weight_decay: float = 0.0,
    ) -> None:
        self.learning_rate = learning_rate
        self._momentum = self._share("momentum", momentum)
        if not isinstance(nesterov, (bool, np.bool_)):
            raise TypeError(f"SGD: nesterov is {checks.shown(nesterov)}, expected a bool")
        if nesterov and not self._momentum:
            raise ValueError("SGD: nesterov is True and momentum is 0, expected momentum above 0")
        self._nesterov = bool(nesterov)
        self._weight_decay = self._number("weight_decay", weight_decay)
        self._decays = self._weight_decay > 0

    @property
    def momentum(self) -> float:
        """How much of a step is in the next one."""
        return self._momentum

    @property
    def nesterov(self) -> bool:
        """Whether the momentum is looked ahead by."""
        return self._nesterov

    @property
    def _config(self) -> tuple[str, ...]:  # type: ignore[override]
        # Files and texts of plain SGD are what they were before there was more.
        plain = not self._momentum and not self._decays
        return () if plain else ("momentum", "nesterov", "weight_decay")

    @property
    def entry(self) -> Step:  # type: ignore[override]
        """The step: without states where there is no momentum."""
        if self._momentum:
            return entries.MOMENTUM
        return entries.SGD_DECAY if self._decays else entries.SGD

    def numbers(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """The learning rate; with more, what m and g are multiplied by, momentum, decay."""
        if not self._momentum and not self._decays:
            return self._plain(first, steps, dtype)
        rates, decay = self.rates(first, steps, dtype), self._weight_decay
        if not self._momentum:
            return self._row(dtype, rates, decay)
        ahead = rates if self._nesterov else 0.0
        along = rates * self._momentum if self._nesterov else rates
        return self._row(dtype, along, ahead, self._momentum, decay)

    def _plain(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        known, key = self._known, (self._rate, dtype)
        if callable(self._rate):
            return self.rates(first, steps, dtype)[:, None]
        if known is None or known[0] != key:
            known = self._known = key, self.rates(first, steps, dtype)[:, None]
        return known[1]


class Adagrad(_OfRate):
    """Adagrad: s <- s + g^2, w <- w - learning_rate g / (sqrt(s) + epsilon).

    g is dL/dw + weight_decay w (Duchi, Hazan and Singer, 2011).

    Parameters
    ----------
    learning_rate : float or function
        As of `SGD`.
    epsilon : float
        Above 0.
    weight_decay : float
        At least 0; of weights, and not of biases.
    """

    entry = entries.ADAGRAD
    _config = ("epsilon", "weight_decay")

    def __init__(
        self, learning_rate: Rate = 0.01, epsilon: float = 1e-10, *, weight_decay: float = 0.0
    ) -> None:
        self.learning_rate = learning_rate
        self._epsilon = self._above_zero("epsilon", epsilon)
        self._weight_decay = self._number("weight_decay", weight_decay)

    @property
    def epsilon(self) -> float:
        """What is added to the root of the squares."""
        return self._epsilon

    def numbers(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """Learning rate, epsilon and weight decay."""
        rates = self.rates(first, steps, dtype)
        self._check_epsilon(dtype, self._epsilon)
        return self._row(dtype, rates, self._epsilon, self._weight_decay)


class RMSprop(_OfRate):
    """RMSprop: s <- alpha s + (1 - alpha) g^2, w <- w - learning_rate g / (sqrt(s) + epsilon).

    g is dL/dw + weight_decay w (Hinton, 2012).

    Parameters
    ----------
    learning_rate : float or function
        As of `SGD`.
    alpha : float
        How much of the mean square stays from step to step: at least 0, below 1.
    epsilon : float
        Above 0.
    weight_decay : float
        At least 0; of weights, and not of biases.
    """

    entry = entries.RMSPROP
    _config = ("alpha", "epsilon", "weight_decay")

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        alpha: float = 0.99,
        epsilon: float = 1e-8,
        *,
        weight_decay: float = 0.0,
    ) -> None:
        self.learning_rate = learning_rate
        self._alpha = self._share("alpha", alpha)
        self._epsilon = self._above_zero("epsilon", epsilon)
        self._weight_decay = self._number("weight_decay", weight_decay)

    @property
    def alpha(self) -> float:
        """How much of the mean square stays from step to step."""
        return self._alpha

    @property
    def epsilon(self) -> float:
        """What is added to the root of the mean square."""
        return self._epsilon

    def numbers(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """Learning rate, alpha, epsilon and weight decay."""
        rates = self.rates(first, steps, dtype)
        self._check_epsilon(dtype, self._epsilon)
        return self._row(dtype, rates, self._alpha, self._epsilon, self._weight_decay)


class Adam(_OfRate):
    """Adam: steps by moving means of the gradient and of its square (Kingma and Ba, 2015).

    m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2, and at step t = 1, 2, ...
    w <- w - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon). g is
    dL/dw + weight_decay w.

    Parameters
    ----------
    learning_rate : float or function
        As of `SGD`.
    beta1, beta2 : float
        How much of the means stays from step to step: at least 0, below 1.
    epsilon : float
        Above 0.
    weight_decay : float
        At least 0; of weights, and not of biases.
    """

    _config = ("beta1", "beta2", "epsilon", "weight_decay")

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        *,
        weight_decay: float = 0.0,
    ) -> None:
        self.learning_rate = learning_rate
        self._betas = self._share("beta1", beta1), self._share("beta2", beta2)
        self._epsilon = self._above_zero("epsilon", epsilon)
        self._weight_decay = self._number("weight_decay", weight_decay)
        self._decays = self._weight_decay > 0

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

    @property
    def entry(self) -> Step:  # type: ignore[override]
        """The step, with weight decay or without."""
        return entries.ADAM_DECAY if self._decays else entries.ADAM

    def numbers(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """Learning rate, the betas and epsilon, corrected for each step; both kinds of decay."""
        rates = self.rates(first, steps, dtype)
        taken = np.arange(first + 1, first + steps + 1)
        first_left, second_left = (1.0 - _powers(beta, taken) for beta in self._betas)
        root = np.sqrt(second_left)
        self._check_epsilon(dtype, self._epsilon * float(root.min()))
        columns = [rates * (root / first_left), *self._betas, self._epsilon * root]
        if self._decays:
            columns += self._decay_numbers(rates)
        return self._row(dtype, *columns)

    def _decay_numbers(self, rates: Array) -> tuple[Any, Any]:
        """By how much of a weight its gradient grows, and how much of it is taken off."""
        return self._weight_decay, 0.0


class AdamW(Adam):
    """Adam with decoupled weight decay: before its step, w <- w - learning_rate weight_decay w.

    (Loshchilov and Hutter, 2019.)

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As of `Adam`.
    weight_decay : float
        At least 0; of weights, and not of biases.
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        *,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon, weight_decay=weight_decay)

    def _decay_numbers(self, rates: Array) -> tuple[Any, Any]:
        return 0.0, rates * self._weight_decay


class Lion(_OfRate):
    """Lion: each parameter moves by the learning rate, along the sign of a moving mean.

    w <- w - learning_rate weight_decay w, then w <- w - learning_rate sign(beta1 m + (1 - beta1) g)
    and m <- beta2 m + (1 - beta2) g (Chen and others, 2023).

    Parameters
    ----------
    learning_rate : float or function
        As of `SGD`.
    beta1, beta2 : float
        How much of m is in the step, and how much of it stays: at least 0, below 1.
    weight_decay : float
        At least 0; of weights, and not of biases.
    """

    entry = entries.LION
    _config = ("beta1", "beta2", "weight_decay")

    def __init__(
        self,
        learning_rate: Rate = 1e-4,
        beta1: float = 0.9,
        beta2: float = 0.99,
        *,
        weight_decay: float = 0.0,
    ) -> None:
        self.learning_rate = learning_rate
        self._betas = self._share("beta1", beta1), self._share("beta2", beta2)
        self._weight_decay = self._number("weight_decay", weight_decay)

    @property
    def beta1(self) -> float:
        """How much of m is in the step."""
        return self._betas[0]

    @property
    def beta2(self) -> float:
        """How much of m stays from step to step."""
        return self._betas[1]

    def numbers(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """Learning rate, the betas and what is taken off of weights."""
        rates = self.rates(first, steps, dtype)
        return self._row(dtype, rates, *self._betas, rates * self._weight_decay)


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
