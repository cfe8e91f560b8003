"""The NumPy twins of the kernels: same names, same signatures. They say what is right.

They share no code with the kernels, check nothing, and are the second backend of ``layers`` and the
other side of every comparison. Where outputs are left out, the kernel's contract checks the
arguments and makes them (``kernels/runtime/twins.py``). NumPy has no fused multiply-add, so a sum
of products here is that of BLAS, rounded in another order; ``layers/comparison/bounds/`` states how
far apart that may be.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


# --- dense ----------------------------------------------------------------------------------------


def matmul(
    a: Array,
    b: Array,
    out: Array,
    transpose_a: bool = False,
    transpose_b: bool = False,
    accumulate: bool = False,
) -> None:
    """out = op(a) . op(b), or out + op(a) . op(b)."""
    product = (a.T if transpose_a else a) @ (b.T if transpose_b else b)
    out[...] = out + product if accumulate else product


def dense_forward(x: Array, weights: Array, biases: Array, out: Array) -> None:
    """out = x . weights + biases."""
    out[...] = x @ weights + biases


def dense_backward_weights(x: Array, dz: Array, out: Array) -> None:
    """out = xT . dz."""
    out[...] = x.T @ dz


def dense_backward_inputs(dz: Array, weights: Array, out: Array) -> None:
    """out = dz . weightsT."""
    out[...] = dz @ weights.T


def column_sum(dz: Array, out: Array) -> None:
    """out[0, j] = sum over i of dz[i, j]."""
    out[...] = dz.sum(axis=0)


def dense_relu_forward(x: Array, weights: Array, biases: Array, out: Array) -> None:
    """Forward, then ReLU."""
    dense_forward(x, weights, biases, out)
    relu_forward(out, out)


def dense_backward_parameters(x: Array, dz: Array, out_dweights: Array, out_dbiases: Array) -> None:
    """Both gradients of the parameters."""
    dense_backward_weights(x, dz, out_dweights)
    column_sum(dz, out_dbiases)


def dense_relu_backward_inputs(dz: Array, weights: Array, y: Array, out: Array) -> None:
    """Gradient of the inputs, then ReLU's."""
    dense_backward_inputs(dz, weights, out)
    relu_backward(y, out, out)


def dense_sgd_update(x: Array, dz: Array, learning_rate: float, weights: Array) -> None:
    """Gradient of the weights, then the step."""
    sgd_update(weights, x.T @ dz, learning_rate)


# --- elementwise ----------------------------------------------------------------------------------


def exp(x: Array, out: Array) -> None:
    """out = e^x."""
    with np.errstate(all="ignore"):
        np.exp(x, out=out)


def log(x: Array, out: Array) -> None:
    """out = ln x."""
    with np.errstate(all="ignore"):
        np.log(x, out=out)


def expm1(x: Array, out: Array) -> None:
    """out = e^x - 1."""
    with np.errstate(all="ignore"):
        np.expm1(x, out=out)


def tanh(x: Array, out: Array) -> None:
    """out = tanh x."""
    np.tanh(x, out=out)


def erf(x: Array, out: Array) -> None:
    """out = erf x, in float64."""
    out[...] = np.vectorize(math.erf, otypes=[np.float64])(x.astype(np.float64))


def relu_forward(x: Array, out: Array) -> None:
    """out = 0 where x <= 0, else x."""
    out[...] = np.where(x <= 0, 0, x)


def relu_backward(x: Array, dy: Array, out: Array) -> None:
    """out = dy where x > 0, 0 where x <= 0, NaN where x is NaN."""
    out[...] = np.where(x > 0, dy, np.where(x <= 0, 0, x))


def leaky_relu_forward(x: Array, slope: float, out: Array) -> None:
    """out = x where x > 0, else slope x."""
    out[...] = np.where(x > 0, x, x * x.dtype.type(slope))


def leaky_relu_backward(y: Array, dy: Array, slope: float, out: Array) -> None:
    """out = dy where y > 0, slope dy where y <= 0, NaN where y is NaN."""
    out[...] = np.where(y > 0, dy, np.where(y <= 0, dy * y.dtype.type(slope), y))


def _normal(x: Array) -> tuple[Array, Array]:
    """The standard normal distribution at x, in float64: probability below x, density."""
    wide = np.clip(x.astype(np.float64), -40, 40)
    erf = np.vectorize(math.erfc, otypes=[np.float64])
    return 0.5 * erf(-wide / math.sqrt(2)), np.exp(-0.5 * wide**2) / math.sqrt(2 * math.pi)


def gelu_forward(x: Array, out: Array) -> None:
    """out = x P(x)."""
    out[...] = x * _normal(x)[0]


def gelu_backward(x: Array, dy: Array, out: Array) -> None:
    """out = dy (P(x) + x p(x))."""
    below, density = _normal(x)
    with np.errstate(invalid="ignore"):
        out[...] = dy * (below + np.where(density == 0, 0, x * density))


def gelu_tanh_forward(x: Array, out: Array) -> None:
    """out = x s, s = (1 + tanh u) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    out[...] = x * _soft_step(x)[0]


def gelu_tanh_backward(x: Array, dy: Array, out: Array) -> None:
    """out = dy s (1 + (1 - s) 2 x du/dx)."""
    step, rest, slope = _soft_step(x)
    out[...] = dy * (step * (1 + rest * slope))


def _soft_step(x: Array) -> tuple[Array, Array, Array]:
    """s, 1 - s and 2 x du/dx, in float64."""
    wide = np.clip(x.astype(np.float64), -40, 40)
    scale = 2 * math.sqrt(2 / math.pi)
    u = scale * (wide + 0.044715 * wide**3)
    return *_logistic(u), scale * (wide + 3 * 0.044715 * wide**3)


def _logistic(x: Array) -> tuple[Array, Array]:
    """1 / (1 + e^-x), and 1 minus the same."""
    with np.errstate(under="ignore"):
        e = np.exp(-abs(x))
        return np.where(x < 0, e, 1) / (1 + e), np.where(x < 0, 1, e) / (1 + e)


def silu_forward(x: Array, out: Array) -> None:
    """out = x s(x), s the sigmoid."""
    with np.errstate(all="ignore"):
        out[...] = x * _logistic(x)[0]


def silu_backward(x: Array, dy: Array, out: Array) -> None:
    """out = dy s (1 + x (1 - s))."""
    s, rest = _logistic(x)
    with np.errstate(all="ignore"):
        out[...] = dy * (s * (1 + x * rest))


def sigmoid_forward(x: Array, out: Array) -> None:
    """out = 1 / (1 + e^-x)."""
    out[...] = _logistic(x)[0]


def sigmoid_backward(y: Array, dy: Array, out: Array) -> None:
    """out = dy y (1 - y)."""
    out[...] = dy * (y * (1 - y))


def tanh_forward(x: Array, out: Array) -> None:
    """out = tanh x."""
    tanh(x, out)


def tanh_backward(y: Array, dy: Array, out: Array) -> None:
    """out = dy (1 - y^2)."""
    out[...] = dy * ((1 - y) * (1 + y))


def softplus_forward(x: Array, out: Array) -> None:
    """out = ln(1 + e^x)."""
    with np.errstate(under="ignore"):
        out[...] = np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))


def softplus_backward(y: Array, dy: Array, out: Array) -> None:
    """out = dy (1 - e^-y)."""
    with np.errstate(all="ignore"):
        out[...] = dy * -np.expm1(-y)


def elu_forward(x: Array, alpha: float, out: Array) -> None:
    """out = x where x > 0, else alpha (e^x - 1)."""
    out[...] = np.where(x > 0, x, np.expm1(np.minimum(x, 0)) * x.dtype.type(alpha))


def elu_backward(y: Array, dy: Array, alpha: float, out: Array) -> None:
    """out = dy where y > 0, else dy (y + alpha)."""
    out[...] = np.where(y > 0, dy, dy * (y + y.dtype.type(alpha)))


_SELU = 1.0507009873554805, 1.6732632423543772


def selu_forward(x: Array, out: Array) -> None:
    """out = scale x where x > 0, else scale alpha (e^x - 1)."""
    scale, limit = x.dtype.type(_SELU[0]), x.dtype.type(_SELU[0] * _SELU[1])
    out[...] = np.where(x > 0, x * scale, np.expm1(np.minimum(x, 0)) * limit)


def selu_backward(y: Array, dy: Array, out: Array) -> None:
    """out = scale dy where y > 0, else dy (y + scale alpha)."""
    scale, limit = y.dtype.type(_SELU[0]), y.dtype.type(_SELU[0] * _SELU[1])
    out[...] = dy * np.where(y > 0, scale, y + limit)


def sgd_update(weights: Array, dweights: Array, learning_rate: float) -> None:
    """Descend: weights <- weights - learning_rate * dweights, in place."""
    weights -= weights.dtype.type(learning_rate) * dweights


def sgd_decay_update(weights: Array, dweights: Array, rate: float, decay: float) -> None:
    """Descend along dw + decay w."""
    weights -= weights.dtype.type(rate) * _decayed(weights, dweights, decay)


def momentum_update(
    weights: Array,
    dweights: Array,
    states: Array,
    rate: float,
    ahead: float,
    momentum: float,
    decay: float,
) -> None:
    """With g = dw + decay w: m <- momentum m + g; w <- w - ahead g - rate m."""
    real = weights.dtype.type
    (m,), g = _states(states, weights), _decayed(weights, dweights, decay)
    m[...] = _normal_or_zero(real(momentum) * m + g)
    weights -= real(ahead) * g + real(rate) * m


def adagrad_update(
    weights: Array, dweights: Array, states: Array, rate: float, epsilon: float, decay: float
) -> None:
    """With g = dw + decay w: s <- s + g^2; w <- w - rate g / (sqrt(s) + epsilon)."""
    (s,), g = _states(states, weights), _decayed(weights, dweights, decay)
    s[...] = _normal_or_zero(s + g * g)
    weights -= _along(g, s, rate, epsilon)


def rmsprop_update(
    weights: Array,
    dweights: Array,
    states: Array,
    rate: float,
    alpha: float,
    epsilon: float,
    decay: float,
) -> None:
    """With g = dw + decay w, s the moving mean of g^2: w <- w - rate g / (sqrt(s) + epsilon)."""
    (s,), g = _states(states, weights), _decayed(weights, dweights, decay)
    _move_mean(s, g * g, alpha)
    weights -= _along(g, s, rate, epsilon)


def adam_update(
    weights: Array,
    dweights: Array,
    states: Array,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None:
    """m and v are moving means of dw and dw^2; w <- w - rate m / (sqrt(v) + epsilon)."""
    m, v = _states(states, weights)
    _move_mean(m, dweights, beta1)
    _move_mean(v, dweights * dweights, beta2)
    weights -= _along(m, v, rate, epsilon)


def adam_decay_update(
    weights: Array,
    dweights: Array,
    states: Array,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    decay: float,
    shrink: float,
) -> None:
    """Adam's step by dw + decay w, from w - shrink w."""
    g = _decayed(weights, dweights, decay)
    weights -= weights.dtype.type(shrink) * weights
    adam_update(weights, g, states, rate, beta1, beta2, epsilon)


def lion_update(
    weights: Array,
    dweights: Array,
    states: Array,
    rate: float,
    beta1: float,
    beta2: float,
    shrink: float,
) -> None:
    """w <- w - shrink w - rate sign(beta1 m + (1 - beta1) dw); m <- beta2 m + (1 - beta2) dw."""
    real = weights.dtype.type
    (m,) = _states(states, weights)
    sign = np.sign(real(beta1) * m + real(1 - beta1) * dweights)
    _move_mean(m, dweights, beta2)
    weights -= real(shrink) * weights
    weights -= real(rate) * sign


def _states(states: Array, weights: Array) -> list[Array]:
    """Each state, shaped as the weights: views."""
    return [state.reshape(weights.shape) for state in states]


def _move_mean(mean: Array, new: Array, stays: float) -> None:
    """mean <- stays mean + (1 - stays) new, in place."""
    real = mean.dtype.type
    mean[...] = _normal_or_zero(real(stays) * mean + real(1 - stays) * new)


def _along(g: Array, squares: Array, rate: float, epsilon: float) -> Array:
    """A step along g, shortened by the root of what is known of its squares."""
    real = g.dtype.type
    return np.asarray(real(rate) * (g / (np.sqrt(squares) + real(epsilon))))


def _decayed(weights: Array, dweights: Array, decay: float) -> Array:
    """The gradient with weight decay in it."""
    return np.asarray(dweights + weights.dtype.type(decay) * weights)


def _normal_or_zero(state: Array) -> Array:
    """0 instead of a number below the normal ones."""
    return np.where(abs(state) < np.finfo(state.dtype).tiny, state.dtype.type(0), state)


# --- gradients ------------------------------------------------------------------------------------


def row_penalties(weights: Array, l1: float, l2: float, out: Array) -> None:
    """out = l1 sum |w| + l2 sum w^2 of each row, in float64."""
    w = weights.astype(np.float64)
    out[...] = (l1 * abs(w).sum(axis=1) + l2 * (w * w).sum(axis=1))[:, None]


def penalty_gradient(weights: Array, dweights: Array, l1: float, l2: float, out: Array) -> None:
    """out = dw + l1 sign(w) + 2 l2 w."""
    real = weights.dtype.type
    out[...] = dweights + (real(l2) + real(l2)) * weights + real(l1) * np.sign(weights)


def clip_by_value(x: Array, limit: float, out: Array) -> None:
    """out = x, no further from 0 than the limit."""
    np.clip(x, -x.dtype.type(limit), x.dtype.type(limit), out=out)


def row_norms(x: Array, out: Array) -> None:
    """out = sqrt(sum of x^2) of each row, in float64."""
    squares = x.astype(np.float64) ** 2
    out[...] = np.sqrt(squares.sum(axis=1))[:, None]


def clip_by_norm(x: Array, norm: Array, max_norm: float, out: Array) -> None:
    """out = x min(1, max_norm / (norm + 1e-6))."""
    scale = np.minimum(max_norm / (norm.astype(np.float64) + 1e-6), 1.0)
    out[...] = x * scale.astype(x.dtype)


# --- softmax and losses ---------------------------------------------------------------------------


def _targets(labels: Array, like: Array) -> Array:
    """Rows of probabilities, whether the labels are such rows or class indices."""
    if labels.ndim == 2:
        return labels
    return (labels[:, None] == np.arange(like.shape[1])).astype(like.dtype)


def softmax_forward(z: Array, out: Array) -> None:
    """exp(z - max z) / sum of exp(z - max z), row by row."""
    with np.errstate(all="ignore"):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        out[...] = e / e.sum(axis=1, keepdims=True)


def softmax_backward(probabilities: Array, dy: Array, out: Array) -> None:
    """out_k = p_k (dy_k - sum_j p_j dy_j)."""
    out[...] = probabilities * (dy - (probabilities * dy).sum(axis=1, keepdims=True))


def log_softmax_forward(z: Array, out: Array) -> None:
    """z - max z - log of the sum of exp(z - max z), row by row."""
    with np.errstate(all="ignore"):
        shifted = z - z.max(axis=1, keepdims=True)
        out[...] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def log_softmax_backward(log_probabilities: Array, dy: Array, out: Array) -> None:
    """out_k = dy_k - p_k sum_j dy_j."""
    with np.errstate(all="ignore"):
        out[...] = dy - np.exp(log_probabilities) * dy.sum(axis=1, keepdims=True)


def cross_entropy(probabilities: Array, labels: Array) -> float:
    """Mean over the batch of - sum_j t_j log p_j."""
    losses = np.empty((len(probabilities), 1), probabilities.dtype)
    cross_entropy_rows(probabilities, labels, losses)
    return mean_loss(losses)


def cross_entropy_rows(probabilities: Array, labels: Array, out: Array) -> None:
    """out_i = - sum_j t_ij log p_ij."""
    t = _targets(labels, probabilities)
    log_p = np.log(np.maximum(probabilities, np.finfo(probabilities.dtype).tiny))
    out[...] = -np.where(t == 0, 0, t * log_p).sum(axis=1, keepdims=True)


def cross_entropy_backward(probabilities: Array, labels: Array, out: Array) -> None:
    """out = - t / p / batch."""
    t = _targets(labels, probabilities)
    p = np.maximum(probabilities, np.finfo(probabilities.dtype).tiny)
    out[...] = np.where(t == 0, 0, -t / p / len(p))


def softmax_cross_entropy(z: Array, labels: Array, out: Array, out_losses: Array) -> None:
    """Probabilities, and each row's loss by log-sum-exp of the logits."""
    softmax_forward(z, out)
    t = _targets(labels, z)
    with np.errstate(all="ignore"):
        shifted = z - z.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        terms = np.where(t == 0, 0, t * (log_sum - shifted))
    out_losses[...] = terms.sum(axis=1, keepdims=True)


def softmax_minus_target(probabilities: Array, labels: Array, out: Array) -> None:
    """out = (prediction - target) / batch."""
    out[...] = (probabilities - _targets(labels, probabilities)) / len(probabilities)


def softmax_cross_entropy_gradient(
    z: Array, labels: Array, out: Array, out_losses: Array, out_right: Array
) -> None:
    """Each row's loss, (prediction - target) / batch, and whether the largest logit is right."""
    softmax_cross_entropy(z, labels, out, out_losses)
    softmax_minus_target(out, labels, out)
    out_right[...] = _right(z, labels)


def smoothed_cross_entropy_gradient(
    z: Array, labels: Array, label_smoothing: float, out: Array, out_losses: Array, out_right: Array
) -> None:
    """The same with targets t (1 - label_smoothing) + label_smoothing / n."""
    real = z.dtype.type
    t = _targets(labels, z) * real(1 - label_smoothing) + real(label_smoothing / z.shape[1])
    softmax_cross_entropy_gradient(z, t, out, out_losses, out_right)
    out_right[...] = _right(z, labels)


def cross_entropy_gradient(
    probabilities: Array, labels: Array, out: Array, out_losses: Array, out_right: Array
) -> None:
    """Each row's loss, - t / p / batch, and whether the largest probability is right."""
    cross_entropy_rows(probabilities, labels, out_losses)
    cross_entropy_backward(probabilities, labels, out)
    out_right[...] = _right(probabilities, labels)


def _right(scores: Array, labels: Array) -> Array:
    """Of each row, (batch, 1): whether its largest score is at its label."""
    predicted = np.empty(len(scores), np.int64)
    argmax_rows(scores, predicted)
    wanted = labels.argmax(axis=1) if labels.ndim == 2 else labels
    return (predicted == wanted)[:, None]


def sigmoid_cross_entropy_gradient(
    z: Array, targets: Array, out: Array, out_losses: Array, out_right: Array
) -> None:
    """Each row's mean of max(z, 0) - z t + log(1 + e^-|z|), (s - t) / (batch n), labels right."""
    with np.errstate(all="ignore"):
        e = np.exp(-abs(z))
        s, rest = np.where(z < 0, e, 1) / (1 + e), np.where(z < 0, 1, e) / (1 + e)
        losses = np.where(z > 0, z, 0) - z * targets + np.log1p(e)
        out_right[...] = _labels_right(z, 0, targets)
        _of_numbers(losses, s * (1 - targets) - rest * targets, out, out_losses)


def binary_cross_entropy_gradient(
    probabilities: Array, targets: Array, out: Array, out_losses: Array, out_right: Array
) -> None:
    """Each row's mean of -t log p - (1 - t) log(1 - p), its gradient, and labels right."""
    smallest, t, u = np.finfo(probabilities.dtype).tiny, targets, 1 - targets
    p, q = np.maximum(probabilities, smallest), np.maximum(1 - probabilities, smallest)
    with np.errstate(all="ignore"):
        losses = -(np.where(t == 0, 0, t * np.log(p)) + np.where(u == 0, 0, u * np.log(q)))
        slopes = np.where(u == 0, 0, u / q) - np.where(t == 0, 0, t / p)
        out_right[...] = _labels_right(probabilities, 0.5, targets)
        _of_numbers(losses, slopes, out, out_losses)


def _labels_right(scores: Array, threshold: float, targets: Array) -> Array:
    """Of each row, (batch, 1): the share of labels that are right."""
    right = ((scores > threshold) == (targets > 0.5)) & ~np.isnan(scores)
    return np.asarray(right.mean(axis=1, keepdims=True, dtype=scores.dtype))


def squared_error_gradient(y: Array, targets: Array, out: Array, out_losses: Array) -> None:
    """Each row's mean of (y - t)^2, and 2 (y - t) / (batch n)."""
    difference = y - targets
    out_losses[...] = (difference * difference).mean(axis=1, keepdims=True, dtype=y.dtype)
    out[...] = 2 * difference / y.dtype.type(y.size)


def absolute_error_gradient(y: Array, targets: Array, out: Array, out_losses: Array) -> None:
    """Each row's mean of |y - t|, and sign(y - t) / (batch n)."""
    _of_numbers(abs(y - targets), np.sign(y - targets), out, out_losses)


def huber_gradient(y: Array, targets: Array, delta: float, out: Array, out_losses: Array) -> None:
    """Each row's mean of d^2 / 2, or of delta (|d| - delta / 2) where d = y - t is beyond delta."""
    d, most = y - targets, y.dtype.type(delta)
    far = most * (abs(d) - most / 2)
    _of_numbers(np.where(abs(d) > most, far, d / 2 * d), np.clip(d, -most, most), out, out_losses)


def poisson_gradient(y: Array, targets: Array, out: Array, out_losses: Array) -> None:
    """Each row's mean of exp(y) - t y, and (exp(y) - t) / (batch n)."""
    with np.errstate(all="ignore"):
        e = np.exp(y)
        _of_numbers(e - targets * y, e - targets, out, out_losses)


def quantile_gradient(y: Array, targets: Array, q: float, out: Array, out_losses: Array) -> None:
    """Each row's mean of q (t - y) above y and (1 - q) (y - t) below, and the slopes."""
    d, real = y - targets, y.dtype.type
    slope = np.where(d > 0, real(1 - q), np.where(d < 0, real(-q), d))
    _of_numbers(d * slope, slope, out, out_losses)


def _of_numbers(losses: Array, slopes: Array, out: Array, out_losses: Array) -> None:
    """Means of rows, and slopes over how many numbers there are."""
    out_losses[...] = losses.mean(axis=1, keepdims=True, dtype=losses.dtype)
    out[...] = slopes / losses.dtype.type(losses.size)


def mean_loss(losses: Array) -> float:
    """Mean, summed in float64."""
    return float(losses.mean(dtype=np.float64))


# --- metrics, batches, random numbers -------------------------------------------------------------


def argmax_rows(scores: Array, out: Array) -> None:
    """Index of each row's largest, the first of equals, -1 for a row with a NaN."""
    out[...] = np.where(np.isnan(scores).any(axis=1), -1, scores.argmax(axis=1))


def accuracy(scores: Array, labels: Array) -> float:
    """Fraction of rows whose largest score is their label's."""
    return count_correct(scores, labels) / len(scores)


def count_correct(scores: Array, labels: Array) -> int:
    """How many rows have their largest score at their label."""
    return int(_right(scores, labels).sum())


def top_k_rows(scores: Array, labels: Array, k: float, out: Array) -> None:
    """1 where fewer than k scores of a row come before its label's, as a stable sort has them."""
    label = labels if labels.ndim == 1 else labels.argmax(axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")
    place = (order == label[:, None]).argmax(axis=1)
    out[:, 0] = (place < k) & ~np.isnan(scores).any(axis=1)


def f1_score(scores: Array, targets: Array, weights: Array, threshold: float) -> float:
    """2 tp / (2 tp + fp + fn), by the weights of the rows."""
    predicted, wanted = scores > threshold, targets > 0.5
    wrong = (predicted != wanted) | np.isnan(scores)
    each = np.broadcast_to(weights, scores.shape).astype(np.float64)
    right, missed = each[wanted & ~wrong].sum(), each[wrong].sum()
    both = 2 * right + missed
    return float(2 * right / both) if both else 0.0


def r2_score(y: Array, targets: Array, weights: Array) -> float:
    """The mean over columns of 1 - sum w (t - y)^2 / sum w (t - mean)^2."""
    w, t = weights.astype(np.float64), targets.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = t[0] + (w * (t - t[0])).sum(axis=0) / (w.sum() or 1.0)
        spread = (w * (t - mean) ** 2).sum(axis=0)
        left = (w * (t - y) ** 2).sum(axis=0)
        alike = np.where(left == 0, 1.0, left * 0)
        return float(np.where(spread != 0, 1 - left / spread, alike).mean())


def weighted_rows(x: Array, weights: Array, scale: float, out: Array) -> None:
    """out = x (w scale), the product in brackets in float64, rounded to the dtype."""
    out[...] = x * (weights.astype(np.float64) * scale).astype(x.dtype)


def weighted_mean(values: Array, weights: Array) -> float:
    """The sum of w v over that of w, in float64."""
    w = weights.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float((w * values).sum() / w.sum())


def gather_rows(x: Array, rows: Array, out: Array) -> None:
    """out[i] = x[rows[i]]."""
    out[...] = x[rows]


def _philox(key: int, stream: int, elements: Array) -> list[Array]:
    """Philox4x32-10: four words per element."""
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    stream, key = int(stream), int(key)
    c = [elements & mask, elements >> shift]
    c += [np.full_like(elements, word) for word in (stream & 0xFFFFFFFF, stream >> 32)]
    k = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        first, second = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [
            (second >> shift) ^ c[1] ^ np.uint64(k[0]),
            second & mask,
            (first >> shift) ^ c[3] ^ np.uint64(k[1]),
            first & mask,
        ]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def uniform(key: int, stream: int, low: float, high: float, out: Array) -> None:
    """out_i = low + u_i (high - low), u_i from the first bits of Philox words 0 and 1."""
    words = _philox(key, stream, np.arange(out.size, dtype=np.uint64))
    bits = (words[0] << np.uint64(32)) | words[1]
    digits = 53 if out.dtype == np.float64 else 24
    u = (bits >> np.uint64(64 - digits)).astype(out.dtype) * out.dtype.type(2.0**-digits)
    width = out.dtype.type(high - low)
    out[...] = (u * width + out.dtype.type(low)).reshape(out.shape)


def dropout(x: Array, rate: float, key: int, stream: int, out: Array) -> None:
    """out = 0 where word e mod 4 of draw e / 4 is below rate 2^32, else x / (1 - rate)."""
    elements = np.arange(x.size, dtype=np.uint64)
    words = np.stack(_philox(key, stream, elements // np.uint64(4)))
    word = words[elements % np.uint64(4), np.arange(x.size)].reshape(x.shape)
    scale = x.dtype.type(1 / (1 - rate))
    out[...] = np.where(word >= np.uint64(rate * 2.0**32), x * scale, 0)


def permutation(key: int, stream: int, out: Array) -> None:
    """Fisher and Yates' shuffle of 0 ... n - 1, from the last place down."""
    out[...] = np.arange(out.size)
    words = _philox(key, stream, np.arange(out.size, dtype=np.uint64))
    for i in range(out.size - 1, 0, -1):
        j = (((int(words[0][i]) << 32) | int(words[1][i])) * (i + 1)) >> 64
        out[i], out[j] = out[j], out[i]


# --- branches -------------------------------------------------------------------------------------


def add(x: Array, y: Array, out: Array) -> None:
    """out = x + y."""
    with np.errstate(invalid="ignore"):
        np.add(x, y, out=out)


# --- normalization --------------------------------------------------------------------------------


def batch_norm_statistics(x: Array, weights: Array, epsilon: float, out: Array) -> None:
    """Mean, unbiased variance, 1 / sqrt(biased variance + epsilon), that times w; zeros."""
    with np.errstate(all="ignore"):
        rest = x - x[0]
        mean = rest.mean(axis=0)
        squares = ((rest - mean) ** 2).sum(axis=0)
        out[0] = x[0] + mean
        out[1] = squares / x.dtype.type(len(x) - 1)
        out[2] = 1 / np.sqrt(squares / len(x) + x.dtype.type(epsilon))
        out[3] = out[2] * weights
        out[4:] = 0


def batch_norm_running(running: Array, weights: Array, epsilon: float, out: Array) -> None:
    """The same from a mean and a variance."""
    with np.errstate(all="ignore"):
        out[:2] = running
        out[2] = 1 / np.sqrt(running[1] + running.dtype.type(epsilon))
        out[3] = out[2] * weights
        out[4:] = 0


def batch_norm_forward(x: Array, biases: Array, table: Array, out: Array) -> None:
    """out = (x - mean) scale + biases."""
    out[...] = (x - table[0]) * table[3] + biases


def batch_norm_sums(x: Array, dy: Array, table: Array) -> None:
    """Sums of dy and dy xhat, and their means."""
    hat = (x - table[0]) * table[2]
    table[4], table[5] = dy.sum(axis=0), (dy * hat).sum(axis=0)
    table[6:] = table[4:6] / x.dtype.type(len(x))


def batch_norm_dbiases(table: Array, out: Array) -> None:
    """The sum of dy."""
    out[0] = table[4]


def batch_norm_dweights(table: Array, out: Array) -> None:
    """The sum of dy xhat."""
    out[0] = table[5]


def batch_norm_backward(x: Array, dy: Array, table: Array, out: Array) -> None:
    """out = scale (dy - mean dy - xhat mean(dy xhat))."""
    hat = (x - table[0]) * table[2]
    out[...] = table[3] * (dy - table[6] - hat * table[7])


def running_statistics_update(weights: Array, dweights: Array, momentum: float) -> None:
    """weights <- (1 - momentum) weights + momentum dweights."""
    stays, comes = weights.dtype.type(1 - momentum), weights.dtype.type(momentum)
    weights[...] = stays * weights + comes * dweights


def _hat(x: Array, epsilon: float) -> tuple[Array, Array]:
    """Each row without its mean, divided by its deviation; and 1 / deviation."""
    rest = x - x.mean(axis=1, keepdims=True)
    variance = (rest**2).mean(axis=1, keepdims=True)
    inverse = 1 / np.sqrt(variance + x.dtype.type(epsilon))
    return rest * inverse, inverse


def layer_norm_forward(x: Array, weights: Array, biases: Array, epsilon: float, out: Array) -> None:
    """out = w xhat + b."""
    with np.errstate(all="ignore"):
        out[...] = _hat(x, epsilon)[0] * weights + biases


def layer_norm_normalized(x: Array, epsilon: float, out: Array) -> None:
    """out = xhat."""
    with np.errstate(all="ignore"):
        out[...] = _hat(x, epsilon)[0]


def layer_norm_backward(x: Array, dy: Array, weights: Array, epsilon: float, out: Array) -> None:
    """out = (g - mean g - xhat mean(g xhat)) / deviation, g = w dy."""
    with np.errstate(all="ignore"):
        hat, inverse = _hat(x, epsilon)
        g = dy * weights
        part = g.mean(axis=1, keepdims=True) + hat * (g * hat).mean(axis=1, keepdims=True)
        out[...] = (g - part) * inverse


def column_products(x: Array, dy: Array, out: Array) -> None:
    """out[0, j] = sum over i of x[i, j] dy[i, j]."""
    out[...] = (x * dy).sum(axis=0)


def standardize_statistics(x: Array, out: Array) -> None:
    """Mean and deviation of each column, 1 where it is 0."""
    rest = x - x[0]
    mean = rest.mean(axis=0)
    deviation = np.sqrt(((rest - mean) ** 2).mean(axis=0))
    out[0], out[1] = x[0] + mean, np.where(deviation == 0, 1, deviation)


def standardize_forward(x: Array, statistics: Array, out: Array) -> None:
    """out = (x - mean) / deviation."""
    with np.errstate(all="ignore"):
        out[...] = (x - statistics[0]) / statistics[1]


def standardize_backward(dy: Array, statistics: Array, out: Array) -> None:
    """out = dy / deviation."""
    with np.errstate(all="ignore"):
        out[...] = dy / statistics[1]
