"""Passes over the data, compiled with a BLAS: an elementwise loop or two between its products.

A layer's weights are (n_in, n_out) and its outputs (rows, n_out); those of the last layer are
(n_out, n_in) and (n_out, rows). A classifier has few classes and more rows, and BLAS's products and
the loops over the scores are faster along the longer side.
"""

import importlib
from collections.abc import Callable
from typing import Any

from layers.bench.libraries.blas import AS_IT_IS, BY_ROWS, TRANSPOSED

# As for the other libraries; the package itself neither calls Numba like this nor uses fast math.
numba: Any = importlib.import_module("numba")
np: Any = importlib.import_module("numpy")
_FLOAT = 4
"""Bytes of a number."""

_LOG2_E, _LN_2 = np.float32(1.4426950408889634), np.float32(0.6931471805599453)
_LEAST = np.float32(-87.0)
"""Below it, exp is not a normal float32."""


def njit(function: Callable[..., Any]) -> Any:
    """Compile as peers do: sums in any order, nothing promised of NaN."""
    return numba.njit(fastmath=True, error_model="numpy")(function)


def compiled(sgemm: Any, rate: float) -> tuple[Any, Any]:
    """A pass that trains and a call that classifies, compiled when first called.

    Parameters
    ----------
    sgemm : ctypes function
        ``cblas_sgemm``, called by its address.
    rate : float
        SGD's; the mean over the batch is taken in the gradient of the loss.

    Returns
    -------
    train : function
        ``train(x, y, order, plan, parameters, outputs, slopes, gathered, of_rows)`` takes a step on
        each batch and returns the last loss. An order that is not empty is shuffled first.
    classify : function
        ``classify(x, plan, parameters, outputs)`` returns the class of the row x (1, n_in).
    """
    forward, backward = forward_by(sgemm), backward_by(sgemm, rate)

    @njit
    def train(
        x: Any,
        y: Any,
        order: Any,
        plan: Any,
        parameters: Any,
        outputs: Any,
        slopes: Any,
        gathered: Any,
        of_rows: Any,
    ) -> Any:
        """A step on each batch, in the order of the rows or in a new one."""
        np.random.shuffle(order)
        rows, last, loss = of_rows.shape[1], plan[len(plan) - 1], np.float32(0)
        for start in range(0, len(x), rows):
            batch, classes = x[start : start + rows], y[start : start + rows]
            if len(order):
                gather(x, y, order[start : start + rows], gathered)
                batch, classes = gathered
            begin = address(batch, 0)
            forward(begin, rows, plan, parameters, outputs)
            loss = softmax_and_move(
                matrix(outputs, last.outputs, last.n_out, rows),
                classes,
                parameters[last.biases : last.biases + last.n_out],
                matrix(slopes, last.outputs, last.n_out, rows),
                of_rows,
                rate,
            )
            backward(begin, rows, plan, parameters, outputs, slopes)
        return loss

    @njit
    def classify(x: Any, plan: Any, parameters: Any, outputs: Any) -> Any:
        """The class with the greatest score."""
        forward(address(x, 0), 1, plan, parameters, outputs)
        own = plan[len(plan) - 1]
        best, most = 0, outputs[own.outputs] + parameters[own.biases]
        for kind in range(1, own.n_out):
            score = outputs[own.outputs + kind] + parameters[own.biases + kind]
            if score > most:
                best, most = kind, score
        return best

    return train, classify


def forward_by(sgemm: Any) -> Any:
    """H = max(X W + b, 0) of each layer; of the last Zᵀ = W Xᵀ."""

    @njit
    def forward(x: Any, rows: Any, plan: Any, parameters: Any, outputs: Any) -> None:
        last = len(plan) - 1
        for layer in range(last):
            own = plan[layer]
            n_in, n_out, h = own.n_in, own.n_out, address(outputs, own.outputs)
            sgemm(
                *(BY_ROWS, AS_IT_IS, AS_IT_IS, rows, n_out, n_in, 1.0),
                *(x, n_in, address(parameters, own.weights), n_out, 0.0, h, n_out),
            )
            biases = parameters[own.biases : own.biases + n_out]
            add_and_clip(matrix(outputs, own.outputs, rows, n_out), biases)
            x = h
        own = plan[last]
        n_in, n_out, z = own.n_in, own.n_out, address(outputs, own.outputs)
        sgemm(
            *(BY_ROWS, AS_IT_IS, TRANSPOSED, n_out, rows, n_in, 1.0),
            *(address(parameters, own.weights), n_in, x, n_in, 0.0, z, rows),
        )

    return forward


def backward_by(sgemm: Any, rate: float) -> Any:
    """dH = dZ Wᵀ by the old weights, then W -= rate Hᵀ dZ, from the last layer to the first."""

    @njit
    def backward(x: Any, rows: Any, plan: Any, parameters: Any, outputs: Any, slopes: Any) -> None:
        last = len(plan) - 1
        for layer in range(last, -1, -1):
            own, below = plan[layer], plan[max(layer - 1, 0)]
            n_in, n_out = own.n_in, own.n_out
            w, dz = address(parameters, own.weights), address(slopes, own.outputs)
            dh = address(slopes, below.outputs)
            h = address(outputs, below.outputs) if layer else x
            if layer == last:
                sgemm(
                    *(BY_ROWS, TRANSPOSED, AS_IT_IS, rows, n_in, n_out, 1.0),
                    *(dz, rows, w, n_in, 0.0, dh, n_in),
                )
                sgemm(
                    *(BY_ROWS, AS_IT_IS, AS_IT_IS, n_out, n_in, rows, -rate),
                    *(dz, rows, h, n_in, 1.0, w, n_in),
                )
            else:
                if layer:
                    sgemm(
                        *(BY_ROWS, AS_IT_IS, TRANSPOSED, rows, n_in, n_out, 1.0),
                        *(dz, n_out, w, n_out, 0.0, dh, n_in),
                    )
                sgemm(
                    *(BY_ROWS, TRANSPOSED, AS_IT_IS, n_in, n_out, rows, -rate),
                    *(h, n_in, dz, n_out, 1.0, w, n_out),
                )
            if layer:
                mask_and_move(
                    matrix(slopes, below.outputs, rows, n_in),
                    matrix(outputs, below.outputs, rows, n_in),
                    parameters[below.biases : below.biases + n_in],
                    rate,
                )

    return backward


@njit
def address(array: Any, index: Any) -> Any:
    """Where an element lies."""
    return array.ctypes.data + _FLOAT * index


@njit
def matrix(flat: Any, start: Any, rows: Any, columns: Any) -> Any:
    """A part of a flat array as (rows, columns)."""
    return flat[start : start + rows * columns].reshape(rows, columns)


@njit
def gather(x: Any, y: Any, chosen: Any, gathered: Any) -> None:
    """Copy the chosen rows of x and y."""
    batch, labels = gathered
    for row in range(len(chosen)):
        source, target = x[chosen[row]], batch[row]
        for column in range(len(target)):
            target[column] = source[column]
        labels[row] = y[chosen[row]]


@njit
def add_and_clip(hidden: Any, biases: Any) -> None:
    """H = max(H + b, 0)."""
    zero = np.float32(0)
    for row in range(len(hidden)):
        out = hidden[row]
        for column in range(len(out)):
            out[column] = max(out[column] + biases[column], zero)


@njit
def mask_and_move(slopes: Any, hidden: Any, biases: Any, rate: Any) -> None:
    """dZ = dH where H > 0, else 0; b -= rate times the sum of its rows."""
    zero, rate = np.float32(0), np.float32(rate)
    for row in range(len(slopes)):
        out, h = slopes[row], hidden[row]
        for column in range(len(out)):
            slope = out[column] if h[column] > zero else zero
            out[column] = slope
            biases[column] -= rate * slope


@njit
def softmax_and_move(
    scores: Any, labels: Any, biases: Any, slopes: Any, of_rows: Any, rate: Any
) -> Any:
    """DZ = (softmax(Z + b) - Y) / rows and b -= rate times its sums, all (classes, rows).

    Returns the loss; ``of_rows`` (2, rows) is written to.
    """
    classes, rows = scores.shape
    share, loss = np.float32(1 / rows), np.float32(0)
    most, total = of_rows[0], of_rows[1]
    for row in range(rows):
        most[row], total[row] = scores[0, row] + biases[0], 0
    for kind in range(1, classes):
        z, bias = scores[kind], biases[kind]
        for row in range(rows):
            most[row] = max(most[row], z[row] + bias)
    for kind in range(classes):
        z, dz, bias = scores[kind], slopes[kind], biases[kind]
        for row in range(rows):
            z[row] = z[row] + bias - most[row]
            dz[row] = exp(z[row])
            total[row] += dz[row]
    for row in range(rows):
        loss += np.log(total[row]) - scores[labels[row], row]
        total[row] = share / total[row]
    for row in range(rows):
        slopes[labels[row], row] -= share / total[row]
    for kind in range(classes):
        dz, sum_ = slopes[kind], np.float32(0)
        for row in range(rows):
            dz[row] *= total[row]
            sum_ += dz[row]
        biases[kind] -= np.float32(rate) * sum_
    return loss * share


@njit
def exp(x: Any) -> Any:
    """2ⁿ by its bits, times the polynomial of Cephes' expf: no call, so that loops vectorise."""
    x = max(x, _LEAST)
    whole = np.floor(x * _LOG2_E + np.float32(0.5))
    r = x - whole * _LN_2
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    power = (np.int32(whole) + np.int32(127)) << np.int32(23)
    return (p * r * r + r + np.float32(1)) * np.int32(power).view(np.float32)
