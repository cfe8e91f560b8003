"""Elementwise activations: forward directly above its backward."""

from numba import prange

from kernels.jit import Array, kernel

_BLOCK = 16_384
"""Elements of one parallel iteration: 64 KB of float32, a few microseconds."""


@kernel("x (...) -> out (...)", nanoseconds=lambda x, out: 0.1 * x.size)
def relu_forward(x: Array, out: Array) -> None:
    """ReLU: out = 0 where x <= 0, else x. NaN stays NaN.

    Parameters
    ----------
    x, out : ndarray of one shape and dtype, float32 or float64
    """
    x = x.reshape(x.size)
    out = out.reshape(out.size)
    zero = x.dtype.type(0)
    for block in prange((x.size + _BLOCK - 1) // _BLOCK):
        for i in range(block * _BLOCK, min(x.size, (block + 1) * _BLOCK)):
            # Not `x if x > 0 else 0`, which would turn NaN into 0.
            out[i] = zero if x[i] <= zero else x[i]


@kernel("x (...), dy (...) -> out (...)", nanoseconds=lambda x, dy, out: 0.15 * x.size)
def relu_backward(x: Array, dy: Array, out: Array) -> None:
    """Gradient of ReLU: out = dy where x > 0, 0 where x <= 0, NaN where x is NaN.

    The lecture describes it as a copy of dy in which the elements with x <= 0 are then zeroed: the
    same numbers, here in one pass.

    Parameters
    ----------
    x : ndarray
        The input of the forward pass, or its output: both have the same sign.
    dy, out : ndarray of the same shape and dtype, float32 or float64
    """
    x = x.reshape(x.size)
    dy = dy.reshape(dy.size)
    out = out.reshape(out.size)
    zero = x.dtype.type(0)
    for block in prange((x.size + _BLOCK - 1) // _BLOCK):
        for i in range(block * _BLOCK, min(x.size, (block + 1) * _BLOCK)):
            gradient = dy[i] if x[i] > zero else x[i]
            out[i] = zero if x[i] <= zero else gradient
