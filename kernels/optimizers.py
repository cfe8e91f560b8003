"""Optimizer steps, in place: the formula of one element, then its entry."""

from kernels.intrinsics import fma
from kernels.operations import Step
from kernels.runtime.jit import Array, door, inner


@inner
def sgd(w, dw, learning_rate):
    """Stochastic gradient descent: w <- fma(-learning_rate, dw, w)."""
    return fma(-learning_rate, dw, w)


SGD = Step(sgd, states=0, count=1, nanoseconds=0.15)


@door("dweights (...), learning_rate >= 0 -> weights (...)")
def sgd_update(weights: Array, dweights: Array, learning_rate: float) -> None:
    """Stochastic gradient descent: weights <- fma(-learning_rate, dweights, weights), in place.

    Parameters
    ----------
    weights : ndarray, float32 or float64
        Any shape; overwritten.
    dweights : ndarray of the same shape and dtype
    learning_rate : float
        Finite, not negative; rounded to the dtype of the weights.
    """
    SGD.run(weights, dweights, (), (learning_rate,))
