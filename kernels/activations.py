"""Elementwise activations: the formula directly above its gradient, then the entry of both.

A formula is of a `Vector` of elements, so it has no branches: ``select(mask, yes, no)`` has both.
A gradient takes dy rather than giving a factor, since ReLU's is 0, not NaN, where dy is infinite.
"""

import math

from kernels.entries import Activation, Number
from kernels.exp_log import (
    logistic,
    normal,
    vector_exp,
    vector_expm1,
    vector_log1p,
    vector_tanh,
)
from kernels.intrinsics import fma, magnitude, select, splatted
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


# What GELU's approximation by tanh is made of. Beyond 40 its step is as good as 0 or 1.
_GELU_SCALE, _GELU_CUBE, _GELU_FAR = 2 * math.sqrt(2 / math.pi), 0.044715, 40.0


@inner
def _soft_step(x):
    """(1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), 1 minus it, and x 2 du/dx.

    (1 + tanh u) / 2 is the logistic function of 2 u, which keeps its digits next to 0.
    """
    x = select(x > _GELU_FAR, _GELU_FAR, select(x < -_GELU_FAR, -_GELU_FAR, x))
    scaled, cube = x * _GELU_SCALE, x * x * _GELU_CUBE
    step, rest = logistic(fma(scaled, cube, scaled))
    return step, rest, fma(scaled, cube * 3.0, scaled)


@inner
def gelu_tanh(x):
    """GELU by tanh: out = x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    step, _, _ = _soft_step(x)
    return x * step


@inner
def gelu_tanh_gradient(x, dy):
    """Gradient of GELU by tanh, from its input: out = dy s (1 + (1 - s) 2 x du/dx).

    s is (1 + tanh u) / 2.
    """
    step, rest, slope = _soft_step(x)
    return dy * (step * fma(rest, slope, 1.0))


GELU_TANH = Activation(gelu_tanh, gelu_tanh_gradient, kept="x", nanoseconds=(1.0, 1.2))
gelu_tanh_forward, gelu_tanh_backward = GELU_TANH.kernels


@inner
def silu(x):
    """SiLU, or swish: out = x s(x), where s is the sigmoid."""
    s, _ = logistic(x)
    return x * s


@inner
def silu_gradient(x, dy):
    """Gradient of SiLU, from its input: out = dy s(x) (1 + x (1 - s(x)))."""
    s, rest = logistic(x)
    return dy * (s * fma(x, rest, 1.0))


SILU = Activation(silu, silu_gradient, kept="x", nanoseconds=(0.8, 1.0))
silu_forward, silu_backward = SILU.kernels


@inner
def sigmoid(x):
    """Sigmoid: out = 1 / (1 + e^-x)."""
    s, _ = logistic(x)
    return s


@inner
def sigmoid_gradient(y, dy):
    """Gradient of the sigmoid, from its output: out = dy y (1 - y)."""
    return dy * (y * (splatted(y, 1.0) - y))


SIGMOID = Activation(sigmoid, sigmoid_gradient, kept="y", nanoseconds=(0.8, 0.15))
sigmoid_forward, sigmoid_backward = SIGMOID.kernels


@inner
def tanh(x):
    """Hyperbolic tangent: out = tanh x."""
    return vector_tanh(x)


@inner
def tanh_gradient(y, dy):
    """Gradient of tanh, from its output: out = dy (1 - y^2)."""
    # 1 - y is exact where y is large; y^2 would be rounded first.
    return dy * ((splatted(y, 1.0) - y) * (y + 1.0))


TANH = Activation(tanh, tanh_gradient, kept="y", nanoseconds=(0.7, 0.15))
tanh_forward, tanh_backward = TANH.kernels


@inner
def softplus(x):
    """Softplus: out = ln(1 + e^x)."""
    return select(x > 0.0, x, 0.0) + vector_log1p(vector_exp(magnitude(x) * -1.0))


@inner
def softplus_gradient(y, dy):
    """Gradient of softplus, from its output: out = dy (1 - e^-y), which is dy sigmoid(x)."""
    return dy * (vector_expm1(y * -1.0) * -1.0)


SOFTPLUS = Activation(softplus, softplus_gradient, kept="y", nanoseconds=(1.0, 0.6))
softplus_forward, softplus_backward = SOFTPLUS.kernels


@inner
def elu(x, alpha):
    """ELU: out = x where x > 0, else alpha (e^x - 1)."""
    return select(x > 0.0, x, vector_expm1(x) * alpha)


@inner
def elu_gradient(y, dy, alpha):
    """Gradient of ELU, from its output: out = dy where y > 0, else dy (y + alpha)."""
    return select(y > 0.0, dy, dy * (y + alpha))


ELU = Activation(
    elu,
    elu_gradient,
    kept="y",
    numbers=[Number("alpha", ">= 0", "Minus the limit for x to -Inf; not negative.")],
    nanoseconds=(0.6, 0.15),
)
elu_forward, elu_backward = ELU.kernels


# The fixed point of G. Klambauer et al., "Self-Normalizing Neural Networks": scale, scale alpha.
_SELU_SCALE, _SELU_LIMIT = 1.0507009873554805, 1.0507009873554805 * 1.6732632423543772


@inner
def selu(x):
    """SELU: out = 1.0507 x where x > 0, else 1.0507 * 1.6733 (e^x - 1)."""
    return select(x > 0.0, x * _SELU_SCALE, vector_expm1(x) * _SELU_LIMIT)


@inner
def selu_gradient(y, dy):
    """Gradient of SELU, from its output: out = 1.0507 dy where y > 0, else dy (y + 1.7581)."""
    return dy * select(y > 0.0, _SELU_SCALE, y + _SELU_LIMIT)


SELU = Activation(selu, selu_gradient, kept="y", nanoseconds=(0.6, 0.15))
selu_forward, selu_backward = SELU.kernels
