"""Elementwise activations: the formula directly above its gradient, then the entry of both.

A formula is of a `Vector` of elements, so it has no branches: ``select(mask, yes, no)`` has both.
A gradient takes dy rather than giving a factor, since ReLU's is 0, not NaN, where dy is infinite.
"""

from kernels.exp_log import normal
from kernels.intrinsics import fma, select
from kernels.operations import Activation, Number
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


@inner
def leaky_relu(x, slope):
    """Leaky ReLU: out = x where x > 0, else slope x."""
    return select(x > 0.0, x, x * slope)


@inner
def leaky_relu_gradient(y, dy, slope):
    """Gradient of leaky ReLU, from its output: out = dy where y > 0, else slope dy."""
    return select(y > 0.0, dy, select(y <= 0.0, dy * slope, y))


LEAKY_RELU = Activation(
    leaky_relu,
    leaky_relu_gradient,
    kept="y",
    numbers=[Number("slope", ">= 0", "The factor for x <= 0; not negative.")],
)
leaky_relu_forward, leaky_relu_backward = LEAKY_RELU.kernels


@inner
def gelu(x):
    """GELU: out = x P(x), where P(x) is the probability of a standard normal number below x."""
    below, _ = normal(x)
    return x * below


@inner
def gelu_gradient(x, dy):
    """Gradient of GELU, from its input: out = dy (P(x) + x p(x)), where p is the density of P."""
    below, density = normal(x)
    # Where x is infinite its density is 0, and so is their product.
    return dy * fma(select(density == 0.0, 0.0, x), density, below)


GELU = Activation(gelu, gelu_gradient, kept="x", nanoseconds=(2.0, 2.0))
gelu_forward, gelu_backward = GELU.kernels
