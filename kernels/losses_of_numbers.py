"""Losses of numbers: means over all numbers of a batch, each number's loss beside its slope.

A formula is of vectors of predictions y and targets t, so it has no branches. It gives the loss of
each number and its derivative by y; the loop around it divides by the batch size times the width of
a row. A NaN stays in its number.
"""

from kernels.entries import Number, elementwise_loss
from kernels.exp_log import vector_exp
from kernels.intrinsics import LANES, ahead, load, magnitude, select, splatted, store
from kernels.runtime.families import ROWWISE, Operation
from kernels.runtime.jit import inner


@inner
def squared_error(y, t):
    """Mean squared error over all numbers: each row's mean, and 2 (y - t) / (batch n)."""
    difference = y - t
    return difference * difference, difference * 2.0


SQUARED_ERROR = elementwise_loss(squared_error)
squared_error_gradient = SQUARED_ERROR.kernel


@inner
def absolute_error(y, t):
    """Mean absolute error over all numbers: each row's mean, and sign(y - t) / (batch n)."""
    difference = y - t
    one = splatted(y, 1.0)
    # Where they are equal the slope is the difference itself, 0; so is a NaN.
    slope = select(difference > 0.0, one, select(difference < 0.0, one * -1.0, difference))
    return magnitude(difference), slope


ABSOLUTE_ERROR = elementwise_loss(absolute_error)
absolute_error_gradient = ABSOLUTE_ERROR.kernel


@inner
def huber(y, t, delta):
    """Huber's loss: (y - t)^2 / 2 up to delta, beyond it the line that goes on: each row's mean.

    With d = y - t the line is delta (abs(d) - delta / 2). The gradient is d, held within -delta and
    delta, over batch n.
    """
    difference = y - t
    size, most = magnitude(difference), splatted(y, delta)
    near = difference * 0.5 * difference
    far = (size - delta * 0.5) * delta
    slope = select(difference > most, most, difference)
    slope = select(difference < most * -1.0, most * -1.0, slope)
    return select(size > most, far, near), slope


HUBER = elementwise_loss(
    huber, numbers=[Number("delta", ">= 0", "Where the parabola becomes a line; above 0.")]
)
huber_gradient = HUBER.kernel


@inner
def poisson(y, t):
    """Poisson's loss of counts t, from logarithms y of their means: exp(y) - t y, each row's mean.

    The gradient is (exp(y) - t) / (batch n). What depends on t alone, log t!, is left out.
    """
    e = vector_exp(y)
    return e - t * y, e - t


POISSON = elementwise_loss(poisson, nanoseconds=0.6)
poisson_gradient = POISSON.kernel


def _expected_counts(scores, dy, out, rows, n, parameters, numbers, counter):
    for i in range(0, rows * n, LANES):
        left = rows * n - i
        store(vector_exp(load(ahead(scores, i), LANES, left, 0.0)), ahead(out, i), left)
    return 0


EXPECTED_COUNTS = Operation(ROWWISE, _expected_counts, nanoseconds=0.5)
"""What Poisson's scores predict: the exponential of each, as `kernels.exp` has it; NaN stays."""


@inner
def quantile(y, t, q):
    """The pinball loss of a quantile q: q (t - y) above y, (1 - q) (y - t) below, each row's mean.

    The gradient is -q where t is above y and 1 - q where it is below, over batch n; 0 where equal.
    """
    difference = y - t
    above, below = splatted(y, 1.0 - q), splatted(y, -q)
    is_above, is_below = difference > 0.0, difference < 0.0
    slope = select(is_above, above, select(is_below, below, difference))
    return difference * slope, slope


QUANTILE = elementwise_loss(
    quantile, numbers=[Number("q", ">= 0", "The quantile, between 0 and 1.")]
)
quantile_gradient = QUANTILE.kernel
