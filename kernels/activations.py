"""Elementwise activations: the formula directly above its gradient, then the entry of both.

A formula is of a `Vector` of elements, so it has no branches: ``select(mask, yes, no)`` has both.
A gradient takes dy rather than giving a factor, since ReLU's is 0, not NaN, where dy is infinite.
"""

from kernels.intrinsics import select
from kernels.operations import Activation
from kernels.product.flags import CLIP, MASK
from kernels.runtime.jit import inner


@inner
def relu(x):
    """ReLU: out = 0 where x <= 0, else x. NaN stays NaN."""
    # Not `x where x > 0, else 0`, which would turn NaN into 0.
    return select(x <= 0.0, 0.0, x)


@inner
def relu_gradient(x, dy):
    """Gradient of ReLU: out = dy where x > 0, 0 where x <= 0, NaN where x is NaN.

    ``x`` may be ReLU's input or its output: both have the same sign. The lecture describes it as a
    copy of dy in which the elements with x <= 0 are then zeroed: the same numbers, here in one
    pass.
    """
    return select(x <= 0.0, 0.0, select(x > 0.0, dy, x))


RELU = Activation(relu, relu_gradient, kept="y", kept_name="x", in_registers=(CLIP, MASK))
relu_forward, relu_backward = RELU.kernels
