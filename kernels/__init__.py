"""Hand-written Numba kernels for training dense neural networks: the checked, public doors.

``kernels.NAME(...)`` checks its arguments, ``kernels.NAME.bare(...)`` does not, and
``kernels.reference.NAME(...)`` is the same in plain NumPy. With an output, nothing is allocated and
nothing returned. Without it, as on the blackboard, a new one is: ``dW =
kernels.dense_backward_weights(x, dz)``; and lists of numbers are taken for arrays.
"""

from kernels import reference
from kernels.activations import (
    elu_backward,
    elu_forward,
    gelu_backward,
    gelu_forward,
    gelu_tanh_backward,
    gelu_tanh_forward,
    leaky_relu_backward,
    leaky_relu_forward,
    relu_backward,
    relu_forward,
    selu_backward,
    selu_forward,
    sigmoid_backward,
    sigmoid_forward,
    silu_backward,
    silu_forward,
    softplus_backward,
    softplus_forward,
    tanh_backward,
    tanh_forward,
)
from kernels.dense import (
    dense_backward_inputs,
    dense_backward_parameters,
    dense_backward_weights,
    dense_forward,
    dense_relu_backward_inputs,
    dense_relu_forward,
    dense_sgd_update,
)
from kernels.dropout import dropout
from kernels.exp_log import erf, exp, expm1, log, tanh
from kernels.gather import gather_rows
from kernels.losses import (
    cross_entropy,
    cross_entropy_backward,
    cross_entropy_gradient,
    cross_entropy_rows,
    mean_loss,
    smoothed_cross_entropy_gradient,
    softmax_cross_entropy,
    softmax_cross_entropy_gradient,
    softmax_minus_target,
)
from kernels.losses_of_labels import (
    binary_cross_entropy_gradient,
    sigmoid_cross_entropy_gradient,
)
from kernels.losses_of_numbers import (
    absolute_error_gradient,
    huber_gradient,
    poisson_gradient,
    quantile_gradient,
    squared_error_gradient,
)
from kernels.metrics import accuracy, argmax_rows, count_correct
from kernels.optimizers import (
    adagrad_update,
    adam_decay_update,
    adam_update,
    lion_update,
    momentum_update,
    rmsprop_update,
    sgd_decay_update,
    sgd_update,
)
from kernels.product.column_sum import column_sum
from kernels.product.matmul import matmul
from kernels.random import permutation, uniform
from kernels.runtime.threads import get_num_threads, set_num_threads
from kernels.softmax import (
    log_softmax_backward,
    log_softmax_forward,
    softmax_backward,
    softmax_forward,
)

__version__ = "0.1.0"

__all__ = [
    "absolute_error_gradient",
    "accuracy",
    "adagrad_update",
    "adam_decay_update",
    "adam_update",
    "argmax_rows",
    "binary_cross_entropy_gradient",
    "column_sum",
    "count_correct",
    "cross_entropy",
    "cross_entropy_backward",
    "cross_entropy_gradient",
    "cross_entropy_rows",
    "dense_backward_inputs",
    "dense_backward_parameters",
    "dense_backward_weights",
    "dense_forward",
    "dense_relu_backward_inputs",
    "dense_relu_forward",
    "dense_sgd_update",
    "dropout",
    "elu_backward",
    "elu_forward",
    "erf",
    "exp",
    "expm1",
    "gather_rows",
    "gelu_backward",
    "gelu_forward",
    "gelu_tanh_backward",
    "gelu_tanh_forward",
    "get_num_threads",
    "huber_gradient",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "lion_update",
    "log",
    "log_softmax_backward",
    "log_softmax_forward",
    "matmul",
    "mean_loss",
    "momentum_update",
    "permutation",
    "poisson_gradient",
    "quantile_gradient",
    "reference",
    "relu_backward",
    "relu_forward",
    "rmsprop_update",
    "selu_backward",
    "selu_forward",
    "set_num_threads",
    "sgd_decay_update",
    "sgd_update",
    "sigmoid_backward",
    "sigmoid_cross_entropy_gradient",
    "sigmoid_forward",
    "silu_backward",
    "silu_forward",
    "smoothed_cross_entropy_gradient",
    "softmax_backward",
    "softmax_cross_entropy",
    "softmax_cross_entropy_gradient",
    "softmax_forward",
    "softmax_minus_target",
    "softplus_backward",
    "softplus_forward",
    "squared_error_gradient",
    "tanh",
    "tanh_backward",
    "tanh_forward",
    "uniform",
]
