"""Optimizer steps, in place: the formula of one element, then its entry."""

from kernels.intrinsics import fma, square_root
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


@inner
def adam(w, dw, m, v, rate, beta1, beta2, epsilon):
    """Adam: moving means of the gradient and of its square, in place; weights move by their ratio.

    m <- beta1 m + (1 - beta1) dw, v <- beta2 v + (1 - beta2) dw^2, and
    weights <- weights - rate m / (sqrt(v) + epsilon). ``rate`` and ``epsilon`` have the correction
    of step t in them: learning_rate c / (1 - beta1^t) and epsilon c with c = sqrt(1 - beta2^t)
    (Kingma and Ba, 2015, at the end of section 2).
    """
    m = fma(beta1, m, (1.0 - beta1) * dw)
    v = fma(beta2, v, (1.0 - beta2) * (dw * dw))
    return fma(m * -rate, 1.0 / (square_root(v) + epsilon), w), m, v


ADAM = Step(
    adam,
    states=2,
    numbers=[
        Number("rate", ">= 0", "The learning rate, corrected for the step."),
        Number("beta1", ">= 0", "How much of the mean gradient stays."),
        Number("beta2", ">= 0", "How much of the mean square stays."),
        Number("epsilon", ">= 0", "Added to the root of the mean square, corrected for the step."),
    ],
    nanoseconds=1.0,
)
adam_update = ADAM.kernel
