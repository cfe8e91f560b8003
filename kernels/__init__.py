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
from kernels.columns import add
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
from kernels.gradients import (
    clip_by_norm,
    clip_by_value,
    penalty_gradient,
    row_norms,
    row_penalties,
)
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
from kernels.metrics import (
    accuracy,
    argmax_rows,
    count_correct,
    f1_score,
    r2_score,
    top_k_rows,
)
from kernels.norms import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_running,
    batch_norm_statistics,
    batch_norm_sums,
    column_products,
    layer_norm_backward,
    layer_norm_forward,
    layer_norm_normalized,
    running_statistics_update,
)
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
from kernels.runtime.jit import PUBLIC
from kernels.runtime.threads import get_num_threads, set_num_threads
from kernels.runtime.twins import Twin
from kernels.softmax import (
    log_softmax_backward,
    log_softmax_forward,
    softmax_backward,
    softmax_forward,
)
from kernels.standardize import (
    standardize_backward,
    standardize_forward,
    standardize_statistics,
)
from kernels.weights import weighted_mean, weighted_rows

__version__ = "0.1.0"

__all__ = [
    "absolute_error_gradient",
    "accuracy",
    "adagrad_update",
    "adam_decay_update",
    "adam_update",
    "add",
    "argmax_rows",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_running",
    "batch_norm_statistics",
    "batch_norm_sums",
    "binary_cross_entropy_gradient",
    "clip_by_norm",
    "clip_by_value",
    "column_products",
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
    "f1_score",
    "gather_rows",
    "gelu_backward",
    "gelu_forward",
    "gelu_tanh_backward",
    "gelu_tanh_forward",
    "get_num_threads",
    "huber_gradient",
    "layer_norm_backward",
    "layer_norm_forward",
    "layer_norm_normalized",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "lion_update",
    "log",
    "log_softmax_backward",
    "log_softmax_forward",
    "matmul",
    "mean_loss",
    "momentum_update",
    "penalty_gradient",
    "permutation",
    "poisson_gradient",
    "quantile_gradient",
    "r2_score",
    "reference",
    "relu_backward",
    "relu_forward",
    "rmsprop_update",
    "row_norms",
    "row_penalties",
    "running_statistics_update",
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
    "standardize_backward",
    "standardize_forward",
    "standardize_statistics",
    "tanh",
    "tanh_backward",
    "tanh_forward",
    "top_k_rows",
    "uniform",
    "weighted_mean",
    "weighted_rows",
]

for _name, _kernel in PUBLIC.items():
    if hasattr(reference, _name):
        setattr(reference, _name, Twin(getattr(reference, _name), _kernel.contract))
