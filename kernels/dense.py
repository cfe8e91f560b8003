"""The dense layer's four products: z = x . W + b, and its three gradients.

Of z = x . W + b with dz = dL/dz, the chain rule gives::

    dL/dW = xT . dz        sums over the batch what each input did to each output
    dL/db = column sum dz  as if x were a column of ones
    dL/dx = dz . WT        one column of W per neuron, so one row of WT per input

Each is a product by the rule of ``kernels/product/loops.py``. The backward is split in three, since
each parallelises over other axes: (n_in, n_out), (n_out), (batch, n_in).

Four more fuse a second operation into the product, as its epilogue. They are bit-identical to the
kernels they replace.
"""

from kernels.activations import RELU
from kernels.optimizers import SGD
from kernels.product.fast_path import Request, fast_door
from kernels.product.flags import (
    ADD_BIASES,
    CLIP,
    MASK,
    NEVER_EMPTY,
    OTHER,
    SCALE,
    SUM_COLUMNS,
    TRANSPOSE_A,
    TRANSPOSE_B,
    UPDATES,
)
from kernels.product.matmul import product, small_product
from kernels.runtime.jit import Array


@fast_door(
    product,
    small_product,
    "x (batch, n_in), weights (n_in, n_out), biases (1, n_out) -> out (batch, n_out)",
)
def dense_forward(x: Array, weights: Array, biases: Array, out: Array) -> Request:
    """Dense layer: out = x . weights + biases, the bias added after the chain, with one rounding.

    Parameters
    ----------
    x : ndarray, (batch, n_in)
        float32 or float64, as all arrays here.
    weights : ndarray, (n_in, n_out)
    biases : ndarray, (1, n_out)
        (n_out,) is accepted.
    out : ndarray, (batch, n_out)

    Raises
    ------
    TypeError, ValueError
        An argument is not as described, or ``out`` shares memory with another one.
    """
    return x, weights, biases, out, 0.0, 0, ADD_BIASES | NEVER_EMPTY


@fast_door(
    product,
    small_product,
    "x (batch, n_in), weights (n_in, n_out), biases (1, n_out) -> out (batch, n_out)",
)
def dense_relu_forward(x: Array, weights: Array, biases: Array, out: Array) -> Request:
    """Dense layer and ReLU in one pass: `dense_forward`, then `relu_forward`.

    Parameters
    ----------
    x : ndarray, (batch, n_in)
    weights : ndarray, (n_in, n_out)
    biases : ndarray, (1, n_out)
    out : ndarray, (batch, n_out)
    """
    then = RELU.forward.address(out.dtype)
    return x, weights, biases, out, 0.0, then, ADD_BIASES | CLIP | NEVER_EMPTY


@fast_door(product, small_product, "x (batch, n_in), dz (batch, n_out) -> out (n_in, n_out)")
def dense_backward_weights(x: Array, dz: Array, out: Array) -> Request:
    """Gradient with respect to the weights: out = xT . dz.

    Parameters
    ----------
    x : ndarray, (batch, n_in)
        The layer's input.
    dz : ndarray, (batch, n_out)
        Gradient of the loss with respect to the layer's output. It includes the mean over the
        batch, if the loss takes one: nothing is divided here.
    out : ndarray, (n_in, n_out)
        Overwritten, not accumulated.
    """
    return x, dz, out, out, 0.0, 0, TRANSPOSE_A | NEVER_EMPTY


@fast_door(product, small_product, "dz (batch, n_out), weights (n_in, n_out) -> out (batch, n_in)")
def dense_backward_inputs(dz: Array, weights: Array, out: Array) -> Request:
    """Gradient with respect to the inputs: out = dz . weightsT.

    Parameters
    ----------
    dz : ndarray, (batch, n_out)
        Gradient of the loss with respect to the layer's output.
    weights : ndarray, (n_in, n_out)
    out : ndarray, (batch, n_in)
    """
    return dz, weights, out, out, 0.0, 0, TRANSPOSE_B | NEVER_EMPTY


@fast_door(
    product,
    small_product,
    "x (batch, n_in), dz (batch, n_out) -> out_dweights (n_in, n_out), out_dbiases (1, n_out)",
)
def dense_backward_parameters(
    x: Array, dz: Array, out_dweights: Array, out_dbiases: Array
) -> Request:
    """Gradients of the parameters in one pass: `dense_backward_weights` and `column_sum`.

    Parameters
    ----------
    x : ndarray, (batch, n_in)
    dz : ndarray, (batch, n_out)
    out_dweights : ndarray, (n_in, n_out)
    out_dbiases : ndarray, (1, n_out)
    """
    if not out_dbiases.flags.writeable:
        raise TypeError  # the product takes it as a read-only operand
    return x, dz, out_dbiases, out_dweights, 0.0, 0, TRANSPOSE_A | SUM_COLUMNS | NEVER_EMPTY


@fast_door(
    product,
    small_product,
    "dz (batch, n_out), weights (n_in, n_out), y (batch, n_in) -> out (batch, n_in)",
)
def dense_relu_backward_inputs(dz: Array, weights: Array, y: Array, out: Array) -> Request:
    """Gradient through this layer and the ReLU before it, in one pass.

    `dense_backward_inputs`, then `relu_backward`: out = dz . weightsT where y > 0, else 0.

    Parameters
    ----------
    dz : ndarray, (batch, n_out)
    weights : ndarray, (n_in, n_out)
    y : ndarray, (batch, n_in)
        The output of that ReLU, which is this layer's input (or the ReLU's input).
    out : ndarray, (batch, n_in)
    """
    then = RELU.backward.address(out.dtype)
    return dz, weights, y, out, 0.0, then, TRANSPOSE_B | OTHER | MASK | NEVER_EMPTY


@fast_door(
    product,
    small_product,
    "x (batch, n_in), dz (batch, n_out), learning_rate >= 0 -> weights (n_in, n_out)",
)
def dense_sgd_update(x: Array, dz: Array, learning_rate: float, weights: Array) -> Request:
    """The SGD step of the weights in one pass: `dense_backward_weights`, then `sgd_update`.

    weights <- fma(-learning_rate, xT . dz, weights); the gradient is never stored.

    Parameters
    ----------
    x : ndarray, (batch, n_in)
    dz : ndarray, (batch, n_out)
    learning_rate : float
        Finite, not negative; rounded to the dtype of the weights.
    weights : ndarray, (n_in, n_out)
        Overwritten.
    """
    then = SGD.operation.address(weights.dtype)
    return x, dz, weights, weights, learning_rate, then, TRANSPOSE_A | UPDATES | SCALE | NEVER_EMPTY
