"""Elementwise activations: forward directly above its backward."""

from numba import prange

from kernels.elementary import LANES
from kernels.jit import Array, inner, kernel
from kernels.simd import ahead, load, pointer, select, store

_BLOCK = 16_384
"""Elements of one parallel iteration: 64 KB of float32, a few microseconds."""

# Vectors are written out: LLVM does not vectorise the plain loop, since a branch that keeps NaN is
# no maximum, and takes ten times as long over it.


@kernel("x (...) -> out (...)", nanoseconds=lambda x, out: 0.1 * x.size)
def relu_forward(x: Array, out: Array) -> None:
    """ReLU: out = 0 where x <= 0, else x. NaN stays NaN.

    Parameters
    ----------
    x, out : ndarray of one shape and dtype, float32 or float64
    """
    for block in prange((x.size + _BLOCK - 1) // _BLOCK):
        start = block * _BLOCK
        count = min(_BLOCK, x.size - start)
        relu(ahead(pointer(x), start), ahead(pointer(out), start), count)


@inner
def relu(x, out, count):
    """`relu_forward` of ``count`` numbers."""
    for i in range(0, count, LANES):
        lanes = load(ahead(x, i), LANES, count - i, 0.0)
        # Not `x where x > 0, else 0`, which would turn NaN into 0.
        store(select(lanes <= 0.0, 0.0, lanes), ahead(out, i), count - i)


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
    for block in prange((x.size + _BLOCK - 1) // _BLOCK):
        start = block * _BLOCK
        count = min(_BLOCK, x.size - start)
        x_block, dy_block = ahead(pointer(x), start), ahead(pointer(dy), start)
        relu_gradient(x_block, dy_block, ahead(pointer(out), start), count)


@inner
def relu_gradient(x, dy, out, count):
    """`relu_backward` of ``count`` numbers."""
    for i in range(0, count, LANES):
        lanes = load(ahead(x, i), LANES, count - i, 0.0)
        dx = select(lanes > 0.0, load(ahead(dy, i), LANES, count - i, 0.0), lanes)
        store(select(lanes <= 0.0, 0.0, dx), ahead(out, i), count - i)
