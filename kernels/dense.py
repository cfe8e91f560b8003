"""The dense layer's four products: z = x . W + b, and its three gradients.

Of z = x . W + b with dz = dL/dz, the chain rule gives::

    dL/dW = xT . dz        sums over the batch what each input did to each output
    dL/db = column sum dz  as if x were a column of ones
    dL/dx = dz . WT        one column of W per neuron, so one row of WT per input

Each is a product under the one rule of ``kernels/matmul.py``. The backward is split in three since
each parallelises over another pair of axes: (n_in, n_out), (n_out), (batch, n_in).
"""

from numba import prange

from kernels.jit import Array, door, inner, kernel
from kernels.matmul import CUT, no_biases, product
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
    product.bare(x, weights, biases, out, False, False, False, True)


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
    product.bare(x, dz, no_biases(out), out, True, False, False, False)


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
    product.bare(dz, weights, no_biases(out), out, False, True, False, False)


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
