"""Optimizer steps, in place."""

from numba import prange

from kernels.elementary import LANES
from kernels.jit import Array, inner, kernel
from kernels.simd import ahead, fma, load, pointer, store

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
    step = weights.dtype.type(-learning_rate)
    for block in prange((weights.size + _BLOCK - 1) // _BLOCK):
        start = block * _BLOCK
        count = min(_BLOCK, weights.size - start)
        descend(ahead(pointer(weights), start), ahead(pointer(dweights), start), step, count)


@inner
def descend(weights, dweights, step, count):
    """`sgd_update` of ``count`` numbers; ``step`` is minus the learning rate, in their dtype."""
    for i in range(0, count, LANES):
        w = load(ahead(weights, i), LANES, count - i, 0.0)
        dw = load(ahead(dweights, i), LANES, count - i, 0.0)
        store(fma(step, dw, w), ahead(weights, i), count - i)
