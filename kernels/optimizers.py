"""Optimizer steps, in place."""

from numba import prange

from kernels.jit import Array, kernel
from kernels.simd import fma

_BLOCK = 16_384


@kernel(
    "dweights (...), learning_rate >= 0 -> weights (...)",
    nanoseconds=lambda weights, dweights, learning_rate: 0.15 * weights.size,
)
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
    weights = weights.reshape(weights.size)
    dweights = dweights.reshape(dweights.size)
    step = weights.dtype.type(-learning_rate)
    for block in prange((weights.size + _BLOCK - 1) // _BLOCK):
        for i in range(block * _BLOCK, min(weights.size, (block + 1) * _BLOCK)):
            weights[i] = fma(step, dweights[i], weights[i])
