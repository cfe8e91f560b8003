"""Optimizer steps, in place: the formula of one element, then its entry."""

from kernels.entries import Number, Step
from kernels.exp_log import SMALLEST_NORMAL
from kernels.intrinsics import fma, for_dtype, magnitude, select, square_root
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


# A number of a state falls by a factor each step where no gradient comes, as of a unit that is
# never on. Below the normal numbers each step with it would take a hundred times as long.


@inner
def normal_or_zero(state):
    """A state, 0 instead of a number below the normal ones."""
    return select(magnitude(state) < for_dtype(state, SMALLEST_NORMAL), 0.0, state)


_RATE = Number("rate", ">= 0", "The learning rate.")
_EPSILON = Number("epsilon", ">= 0", "Added to the root of the squares.")
_DECAY = Number("decay", ">= 0", "Coupled weight decay: dweights grow by decay times weights.")
_SHRINK = Number("shrink", ">= 0", "Decoupled weight decay: the share that weights lose first.")


@inner
def sgd_decay(w, dw, rate, decay):
    """Stochastic gradient descent with weight decay: weights <- weights - rate (dw + decay w)."""
    return fma(-rate, fma(decay, w, dw), w)


SGD_DECAY = Step(sgd_decay, numbers=[_RATE, _DECAY])
sgd_decay_update = SGD_DECAY.kernel


@inner
def momentum(w, dw, m, rate, ahead, momentum, decay):
    """SGD with momentum: m <- momentum m + g, weights <- weights - rate m - ahead g.

    g is dw + decay w. Nesterov's step has ``rate`` = learning_rate momentum and ``ahead`` =
    learning_rate; the plain one has ``rate`` = learning_rate and ``ahead`` = 0.
    """
    g = fma(decay, w, dw)
    m = normal_or_zero(fma(momentum, m, g))
    return fma(-rate, m, fma(-ahead, g, w)), m


MOMENTUM = Step(
    momentum,
    states=1,
    numbers=[
        Number("rate", ">= 0", "What m is multiplied by."),
        Number("ahead", ">= 0", "What g is multiplied by: 0 without Nesterov's look ahead."),
        Number("momentum", ">= 0", "How much of m stays."),
        _DECAY,
    ],
    nanoseconds=0.5,
)
momentum_update = MOMENTUM.kernel


@inner
def adagrad(w, dw, s, rate, epsilon, decay):
    """Adagrad: s <- s + g^2, weights <- weights - rate g / (sqrt(s) + epsilon).

    g is dw + decay w.
    """
    g = fma(decay, w, dw)
    s = normal_or_zero(fma(g, g, s))
    return fma(-rate, g / (square_root(s) + epsilon), w), s


ADAGRAD = Step(adagrad, states=1, numbers=[_RATE, _EPSILON, _DECAY], nanoseconds=0.8)
adagrad_update = ADAGRAD.kernel


@inner
def rmsprop(w, dw, s, rate, alpha, epsilon, decay):
    """RMSprop: s <- alpha s + (1 - alpha) g^2, weights <- weights - rate g / (sqrt(s) + epsilon).

    g is dw + decay w.
    """
    g = fma(decay, w, dw)
    part = g * square_root(1.0 - alpha)
    s = normal_or_zero(fma(part, part, s * alpha))
    return fma(-rate, g / (square_root(s) + epsilon), w), s


RMSPROP = Step(
    rmsprop,
    states=1,
    numbers=[
        _RATE,
        Number("alpha", ">= 0", "How much of the mean square stays."),
        _EPSILON,
        _DECAY,
    ],
    nanoseconds=0.8,
)
rmsprop_update = RMSPROP.kernel


@inner
def adam(w, dw, m, v, rate, beta1, beta2, epsilon):
    """Adam: moving means of the gradient and of its square, in place; weights move by their ratio.

    m <- beta1 m + (1 - beta1) dw, v <- beta2 v + (1 - beta2) dw^2, and
    weights <- weights - rate m / (sqrt(v) + epsilon). ``rate`` and ``epsilon`` have the correction
    of step t in them: learning_rate c / (1 - beta1^t) and epsilon c with c = sqrt(1 - beta2^t)
    (Kingma and Ba, 2015, at the end of section 2).
    """
    m = normal_or_zero(fma(beta1, m, (1.0 - beta1) * dw))
    part = dw * square_root(1.0 - beta2)
    v = normal_or_zero(fma(part, part, v * beta2))
    return fma(-rate, m / (square_root(v) + epsilon), w), m, v


_ADAM_NUMBERS = (
    Number("rate", ">= 0", "The learning rate, corrected for the step."),
    Number("beta1", ">= 0", "How much of the mean gradient stays."),
    Number("beta2", ">= 0", "How much of the mean square stays."),
    Number("epsilon", ">= 0", "Added to the root of the mean square, corrected for the step."),
)
ADAM = Step(adam, states=2, numbers=_ADAM_NUMBERS, nanoseconds=1.0)
adam_update = ADAM.kernel


@inner
def adam_decay(  # noqa: PLR0913, PLR0917 - a formula gets each number by itself
    w, dw, m, v, rate, beta1, beta2, epsilon, decay, shrink
):
    """Adam with weight decay, coupled (``decay``) or decoupled as in AdamW (``shrink``).

    It is Adam's step with dw + decay w for dw, from weights - shrink weights.
    """
    return adam(fma(-shrink, w, w), fma(decay, w, dw), m, v, rate, beta1, beta2, epsilon)


ADAM_DECAY = Step(adam_decay, states=2, numbers=[*_ADAM_NUMBERS, _DECAY, _SHRINK], nanoseconds=1.0)
adam_decay_update = ADAM_DECAY.kernel


@inner
def lion(w, dw, m, rate, beta1, beta2, shrink):
    """Lion: weights lose shrink w, then rate times the sign of beta1 m + (1 - beta1) dw.

    Then m <- beta2 m + (1 - beta2) dw. The sign of 0 is 0, that of NaN NaN.
    """
    way = fma(beta1, m, (1.0 - beta1) * dw)
    sign = select(way > 0.0, 1.0, select(way < 0.0, -1.0, way))
    m = normal_or_zero(fma(beta2, m, (1.0 - beta2) * dw))
    return fma(-rate, sign, fma(-shrink, w, w)), m


LION = Step(
    lion,
    states=1,
    numbers=[
        _RATE,
        Number("beta1", ">= 0", "How much of m there is in the direction of the step."),
        Number("beta2", ">= 0", "How much of m stays."),
        _SHRINK,
    ],
    nanoseconds=0.5,
)
lion_update = LION.kernel
