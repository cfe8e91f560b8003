"""The optimizers: how parameters move, given their gradients."""

from functools import lru_cache
from typing import Any

import numpy as np

from kernels import optimizers as entries
from kernels.entries import Step
from layers.base import Array
from layers.optimizer import OfRate, Rate
from layers.optimizer import Optimizer as Optimizer
from layers.settings import Setting, flag

_EPSILON = Setting("> 0", "What is added to the root of the squares.")


class SGD(OfRate):
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
    clip_value : float, optional
        Each number of a gradient goes no further from 0 than this; above 0.
    clip_norm : float, optional
        All gradients together are shortened to this norm where they are longer, as PyTorch's
        ``clip_grad_norm_`` does; above 0. See `Optimizer`. One of the two at most.
    """

    momentum = Setting("[0, 1)", "How much of a step is in the next one.")
    _known: tuple[Any, Array] | None = None

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        *,
        weight_decay: float = 0.0,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        self.learning_rate, self.momentum = learning_rate, momentum
        self._nesterov = flag("SGD", "nesterov", nesterov)
        if nesterov and not self.momentum:
            raise ValueError("SGD: nesterov is True and momentum is 0, expected momentum above 0")
        self.weight_decay = weight_decay
        self._set_clips(clip_value, clip_norm)
        self._decays = self.weight_decay > 0

    @property
    def nesterov(self) -> bool:
        """Whether the momentum is looked ahead by."""
        return self._nesterov

    @property
    def _config(self) -> tuple[str, ...]:  # type: ignore[override]
        # Files and texts of plain SGD are what they were before there was more.
        plain = not self.momentum and not self._decays
        return () if plain else ("momentum", "nesterov", "weight_decay")

    @property
    def entry(self) -> Step:  # type: ignore[override]
        """The step: without states where there is no momentum."""
        if self.momentum:
            return entries.MOMENTUM
        return entries.SGD_DECAY if self._decays else entries.SGD

    def numbers(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """The learning rate; with more, what m and g are multiplied by, momentum, decay."""
        if not self.momentum and not self._decays:
            return self._plain(first, steps, dtype)
        rates, decay = self.rates(first, steps, dtype), self.weight_decay
        if not self.momentum:
            return self._row(dtype, rates, decay)
        ahead = rates if self._nesterov else 0.0
        along = rates * self.momentum if self._nesterov else rates
        return self._row(dtype, along, ahead, self.momentum, decay)

    def _plain(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        known, key = self._known, (self._rate, dtype)
        if callable(self._rate):
            return self.rates(first, steps, dtype)[:, None]
        if known is None or known[0] != key:
            known = self._known = key, self.rates(first, steps, dtype)[:, None]
        return known[1]


class Adagrad(OfRate):
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
    clip_value, clip_norm : float, optional
        As of `SGD`.
    """

    entry = entries.ADAGRAD
    epsilon = _EPSILON
    _config = ("epsilon", "weight_decay")

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        epsilon: float = 1e-10,
        *,
        weight_decay: float = 0.0,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        self.learning_rate, self.epsilon = learning_rate, epsilon
        self.weight_decay = weight_decay
        self._set_clips(clip_value, clip_norm)

    def numbers(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """Learning rate, epsilon and weight decay."""
        rates = self.rates(first, steps, dtype)
        self._check_epsilon(dtype, self.epsilon, self.epsilon)
        return self._row(dtype, rates, self.epsilon, self.weight_decay)


class RMSprop(OfRate):
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
    clip_value, clip_norm : float, optional
        As of `SGD`.
    """

    entry = entries.RMSPROP
    alpha = Setting("[0, 1)", "How much of the mean square stays from step to step.")
    epsilon = _EPSILON
    _config = ("alpha", "epsilon", "weight_decay")

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        alpha: float = 0.99,
        epsilon: float = 1e-8,
        *,
        weight_decay: float = 0.0,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        self.learning_rate, self.alpha, self.epsilon = learning_rate, alpha, epsilon
        self.weight_decay = weight_decay
        self._set_clips(clip_value, clip_norm)

    def numbers(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """Learning rate, alpha, epsilon and weight decay."""
        rates = self.rates(first, steps, dtype)
        self._check_epsilon(dtype, self.epsilon, self.epsilon)
        return self._row(dtype, rates, self.alpha, self.epsilon, self.weight_decay)


class Adam(OfRate):
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
    clip_value, clip_norm : float, optional
        As of `SGD`.
    """

    beta1 = Setting("[0, 1)", "How much of the mean gradient stays from step to step.")
    beta2 = Setting("[0, 1)", "How much of the mean square stays from step to step.")
    epsilon = _EPSILON
    _config = ("beta1", "beta2", "epsilon", "weight_decay")

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        *,
        weight_decay: float = 0.0,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        self.learning_rate, self.epsilon = learning_rate, epsilon
        self.beta1, self.beta2 = beta1, beta2
        self.weight_decay = weight_decay
        self._set_clips(clip_value, clip_norm)
        self._decays = self.weight_decay > 0

    @property
    def entry(self) -> Step:  # type: ignore[override]
        """The step, with weight decay or without."""
        return entries.ADAM_DECAY if self._decays else entries.ADAM

    def numbers(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """Learning rate, the betas and epsilon, corrected for each step; both kinds of decay."""
        rates = self.rates(first, steps, dtype)
        first_left = _left(self.beta1, first, steps)
        root = np.sqrt(_left(self.beta2, first, steps))
        self._check_epsilon(dtype, self.epsilon, self.epsilon * float(root.min()))
        columns = [rates * (root / first_left), self.beta1, self.beta2, self.epsilon * root]
        if self._decays:
            columns += self._decay_numbers(rates)
        return self._row(dtype, *columns)

    def _decay_numbers(self, rates: Array) -> tuple[Any, Any]:
        """By how much of a weight its gradient grows, and how much of it is taken off."""
        return self.weight_decay, 0.0


class AdamW(Adam):
    """Adam with decoupled weight decay: before its step, w <- w - learning_rate weight_decay w.

    (Loshchilov and Hutter, 2019.)

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As of `Adam`.
    weight_decay : float
        At least 0; of weights, and not of biases.
    clip_value, clip_norm : float, optional
        As of `SGD`.
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        *,
        weight_decay: float = 0.01,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(
            *(learning_rate, beta1, beta2, epsilon),
            weight_decay=weight_decay,
            clip_value=clip_value,
            clip_norm=clip_norm,
        )

    def _decay_numbers(self, rates: Array) -> tuple[Any, Any]:
        return 0.0, rates * self.weight_decay


class Lion(OfRate):
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
    clip_value, clip_norm : float, optional
        As of `SGD`.
    """

    entry = entries.LION
    beta1 = Setting("[0, 1)", "How much of m is in the step.")
    beta2 = Setting("[0, 1)", "How much of m stays from step to step.")
    _config = ("beta1", "beta2", "weight_decay")

    def __init__(
        self,
        learning_rate: Rate = 1e-4,
        beta1: float = 0.9,
        beta2: float = 0.99,
        *,
        weight_decay: float = 0.0,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        self.learning_rate = learning_rate
        self.beta1, self.beta2 = beta1, beta2
        self.weight_decay = weight_decay
        self._set_clips(clip_value, clip_norm)

    def numbers(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """Learning rate, the betas and what is taken off of weights."""
        rates = self.rates(first, steps, dtype)
        return self._row(dtype, rates, self.beta1, self.beta2, rates * self.weight_decay)


_BLOCK = 1024
"""Steps whose powers are computed at a time: most calls, of a few steps each, find them there."""


def _left(beta: float, first: int, steps: int) -> Array:
    """1 - beta ** t for the steps from ``first`` on, of which t is one more."""
    block, start = divmod(first, _BLOCK)
    if start + steps <= _BLOCK:
        return _left_in(beta, block)[start : start + steps]
    last = (first + steps - 1) // _BLOCK
    blocks = np.concatenate([_left_in(beta, each) for each in range(block, last + 1)])
    return blocks[start : start + steps]


@lru_cache(maxsize=64)
def _left_in(beta: float, block: int) -> Array:
    """`_left` of all steps of a block; read alone."""
    left = 1.0 - _powers(beta, np.arange(block * _BLOCK + 1, (block + 1) * _BLOCK + 1))
    left.flags.writeable = False
    return left


def _powers(base: float, exponents: Array) -> Array:
    """base ** exponents by repeated squaring: the same bits with every NumPy, on every CPU."""
    result, factor = np.ones(len(exponents)), base
    left = exponents.copy()
    while left.any():
        result = np.where(left & 1, result * factor, result)
        left >>= 1
        factor *= factor
    return result
