"""The dense layer's four products: z = x . W + b, and its three gradients.

Of z = x . W + b with dz = dL/dz, the chain rule gives::

    dL/dW = xT . dz        sums over the batch what each input did to each output
    dL/db = column sum dz  as if x were a column of ones
    dL/dx = dz . WT        one column of W per neuron, so one row of WT per input

Each is a product under the one rule of ``kernels/matmul.py``. The backward is split in three since
each parallelises over another pair of axes: (n_in, n_out), (n_out), (batch, n_in).

Four more do in the same pass what would be a pass of its own over the result, while the tile that
it concerns is still in registers. They give the bits of the kernels that they stand for.
"""

from numba import prange

from kernels.jit import Array, door, inner, kernel
from kernels.matmul import CUT, nothing, product
from kernels.microkernel import (
    ADD_BIASES,
    DESCEND,
    MASK,
    RELU,
    SUM_COLUMNS,
    TRANSPOSE_A,
    TRANSPOSE_B,
)
from kernels.simd import (
    TileShape,
    ahead,
    lanes_of,
    pointer,
    store_tile,
    tile_of_zeros,
    tile_plus_stored,
)
from kernels.tiles import TILE

# Four vectors of columns at a time: enough sums in flight to hide an addition's latency, and
# enough of each row that memory is read in more than single cache lines.
_VECTORS, _BYTES = 4, TILE.vector_bytes
_STRIP = TileShape(1, _VECTORS)


@door("x (batch, n_in), weights (n_in, n_out), biases (1, n_out) -> out (batch, n_out)")
def dense_forward(x: Array, weights: Array, biases: Array, out: Array) -> None:
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
    product.bare(x, weights, biases, out, 0.0, ADD_BIASES)


@door("x (batch, n_in), weights (n_in, n_out), biases (1, n_out) -> out (batch, n_out)")
def dense_relu_forward(x: Array, weights: Array, biases: Array, out: Array) -> None:
    """Dense layer and ReLU in one pass: `dense_forward`, then `relu_forward`.

    Parameters
    ----------
    x : ndarray, (batch, n_in)
    weights : ndarray, (n_in, n_out)
    biases : ndarray, (1, n_out)
    out : ndarray, (batch, n_out)
    """
    product.bare(x, weights, biases, out, 0.0, ADD_BIASES | RELU)


@door("x (batch, n_in), dz (batch, n_out) -> out (n_in, n_out)")
def dense_backward_weights(x: Array, dz: Array, out: Array) -> None:
    """Gradient of the weights: out = xT . dz.

    Parameters
    ----------
    x : ndarray, (batch, n_in)
        The layer's input.
    dz : ndarray, (batch, n_out)
        Gradient of the loss by the layer's output. The mean over the batch, if the loss takes one,
        is in it already: nothing is divided here.
    out : ndarray, (n_in, n_out)
        Overwritten, not accumulated.
    """
    product.bare(x, dz, nothing(out), out, 0.0, TRANSPOSE_A)


@door("dz (batch, n_out), weights (n_in, n_out) -> out (batch, n_in)")
def dense_backward_inputs(dz: Array, weights: Array, out: Array) -> None:
    """Gradient of the inputs: out = dz . weightsT.

    Parameters
    ----------
    dz : ndarray, (batch, n_out)
        Gradient of the loss by the layer's output.
    weights : ndarray, (n_in, n_out)
    out : ndarray, (batch, n_in)
    """
    product.bare(dz, weights, nothing(out), out, 0.0, TRANSPOSE_B)


@door("x (batch, n_in), dz (batch, n_out) -> out_dweights (n_in, n_out), out_dbiases (1, n_out)")
def dense_backward_parameters(x: Array, dz: Array, out_dweights: Array, out_dbiases: Array) -> None:
    """Both gradients of the parameters: `dense_backward_weights` and `column_sum` in one pass.

    Parameters
    ----------
    x : ndarray, (batch, n_in)
    dz : ndarray, (batch, n_out)
    out_dweights : ndarray, (n_in, n_out)
    out_dbiases : ndarray, (1, n_out)
    """
    product.bare(x, dz, out_dbiases, out_dweights, 0.0, TRANSPOSE_A | SUM_COLUMNS)


@door("dz (batch, n_out), weights (n_in, n_out), y (batch, n_in) -> out (batch, n_in)")
def dense_relu_backward_inputs(dz: Array, weights: Array, y: Array, out: Array) -> None:
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
    product.bare(dz, weights, y, out, 0.0, TRANSPOSE_B | MASK)


@door("x (batch, n_in), dz (batch, n_out), learning_rate >= 0 -> weights (n_in, n_out)")
def dense_sgd_update(x: Array, dz: Array, learning_rate: float, weights: Array) -> None:
    """The SGD step of the weights without their gradient: `dense_backward_weights`, `sgd_update`.

    weights <- fma(-learning_rate, xT . dz, weights), the gradient never stored.

    Parameters
    ----------
    x : ndarray, (batch, n_in)
    dz : ndarray, (batch, n_out)
    learning_rate : float
        Finite, not negative; rounded to the dtype of the weights.
    weights : ndarray, (n_in, n_out)
        Overwritten.
    """
    product.bare(x, dz, nothing(weights), weights, learning_rate, TRANSPOSE_A | DESCEND)


@kernel("dz (batch, n_out) -> out (1, n_out)", nanoseconds=lambda dz, out: 0.05 * dz.size)
def column_sum(dz: Array, out: Array) -> None:
    """Gradient of the biases: out[0, j] = sum over i of dz[i, j].

    The product with a row of ones, by the same rule: rows ascending, cut every 4,096 terms.

    Parameters
    ----------
    dz : ndarray, (batch, n_out)
    out : ndarray, (1, n_out)
        (n_out,) is accepted.
    """
    batch, n_out = dz.shape
    width = _VECTORS * lanes_of(pointer(dz), _BYTES)
    for strip in prange((n_out + width - 1) // width):
        column = strip * width
        columns = n_out - column
        source, target = ahead(pointer(dz), column), ahead(pointer(out), column)
        total = _sum_of_rows(source, min(CUT, batch), n_out, columns)
        for row in range(CUT, batch, CUT):
            store_tile(total, target, 0, columns)
            rows = min(CUT, batch - row)
            total = _sum_of_rows(ahead(source, row * n_out), rows, n_out, columns)
            total = tile_plus_stored(total, target, 0, columns)
        store_tile(total, target, 0, columns)


@inner
def _sum_of_rows(source, rows, stride, columns):
    """The sum of a strip of columns over ``rows`` rows."""
    total = tile_of_zeros(_STRIP, source, _BYTES)
    for i in range(rows):
        total = tile_plus_stored(total, ahead(source, i * stride), 0, columns)
    return total
