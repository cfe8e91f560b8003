"""The loss of rows of at most sixteen classes, sixteen rows at a time: lanes along the batch.

`kernels.softmax` has its lanes along a row. Ten classes fill ten of sixteen, and the maximum and
the sums of a row go across lanes, one step waiting for the other. Here sixteen rows are turned over
first, so that a vector holds one class of sixteen rows and every step serves all of them::

    z (16, n)                        square (n, 16)
    row 0    a b c                   class 0    a d g ...
    row 1    d e f      turned over  class 1    b e h ...
    row 2    g h i                   class 2    c f i ...

The bits are those of `kernels.softmax`: the same operations on each number, and a sum over classes
by the same tree.
"""

import numpy as np

from kernels.elementary import LANES, vector_exp, vector_log
from kernels.jit import inner
from kernels.microkernel import Strided
from kernels.packing import pack
from kernels.simd import ahead, as_item, load, local, select, splat, store, sum_of_lanes

_SQUARE = LANES * LANES


@inner
def loss_and_gradient(z, labels, order, out, losses, n, count, batch):
    """The loss by ``count`` <= 16 rows of n <= 16 logits, and its gradient: how many are right.

    For row i, of class t = labels[order[i]], with p = softmax of row i of z::

        losses[i] = - log p_t,   out[i] = (p - [j = t]) / batch

    A row with a NaN has a loss of NaN, which ends the run, so how it is counted does not matter.
    """
    square, sums, classes = local(z, _SQUARE), local(z, _SQUARE), local(z, LANES)
    for i in range(LANES):
        classes[i] = as_item(labels[order[i]] if i < count else -1, z)
    pack(Strided(z, n, 1), count, n, LANES, square)

    label = load(classes, LANES, LANES, 0.0)
    top, of_label, best = splat(z, LANES, -np.inf), splat(z, LANES, 0.0), splat(z, LANES, 0.0)
    for j in range(n):
        z_j, class_j = _line(square, j), as_item(j, z)
        of_label = select(label == class_j, z_j, of_label)
        best = select(z_j > top, class_j, best)
        top = select(z_j > top, z_j, top)
    for j in range(n):
        e = vector_exp(_line(square, j) - top)
        store(e, ahead(square, j * LANES), LANES)
        store(e, ahead(sums, j * LANES), LANES)
    total = _sum_over_classes(sums, n)
    store(vector_log(total) - (of_label - top), losses, count)
    for j in range(n):
        t = select(label == as_item(j, z), splat(z, LANES, 1.0), 0.0)
        gradient = (_line(square, j) / total - t) / as_item(batch, z)
        store(gradient, ahead(square, j * LANES), LANES)

    pack(Strided(square, LANES, 1), n, count, n, out)
    return np.int64(sum_of_lanes(select(label == best, splat(z, LANES, 1.0), 0.0)))


@inner
def _line(square, j):
    return load(ahead(square, j * LANES), LANES, LANES, 0.0)


@inner
def _sum_over_classes(sums, n):
    """Class j + class j + 8, then + 4, + 2, + 1: `sum_of_lanes` of each row. ``sums`` is spent."""
    half = LANES // 2
    while half > 0:
        for j in range(n - half):
            store(_line(sums, j) + _line(sums, j + half), ahead(sums, j * LANES), LANES)
        n, half = min(n, half), half // 2
    return _line(sums, 0)
