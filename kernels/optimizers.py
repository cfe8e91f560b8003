"""Optimizer steps, in place: the formula of one element, then its entry."""

from kernels.intrinsics import fma
from kernels.operations import Number, Step
from kernels.product.flags import SCALE
from kernels.runtime.jit import inner


@inner
def sgd(w, dw, learning_rate):
    """Stochastic gradient descent: weights <- fma(-learning_rate, dweights, weights), in place."""
    return fma(-learning_rate, dw, w)


SGD = Step(
    sgd,
    numbers=[
        Number("learning_rate", ">= 0", "Finite, not negative; rounded to the weights' dtype.")
    ],
    in_registers=SCALE,
)
sgd_update = SGD.kernel
