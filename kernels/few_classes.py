"""Softmax and cross-entropy of at most sixteen classes, for sixteen rows at a time.

`kernels.losses.softmax_cross_entropy_of` has its lanes along a row. Ten classes fill ten of
sixteen, and the maximum and the sums of a row go across lanes, one step waiting for the other. Here
sixteen rows are transposed first, so that lanes go along the batch::

    z (16, n)                        square (n, 16)
    row 0    a b c                   class 0    a d g ...
    row 1    d e f      transposed   class 1    b e h ...
    row 2    g h i                   class 2    c f i ...

The bits are the same: the same operations on each number, and a sum over classes by the same tree.
"""

import numpy as np

from kernels.exp_log import vector_exp, vector_log
from kernels.intrinsics import LANES, ahead, as_item, load, local, select, splat, store
from kernels.product.microkernel import Strided
from kernels.product.packing import pack
from kernels.runtime.jit import inner

SQUARE = LANES * LANES
"""Numbers of a square: one line of sixteen for each class."""


@inner
def sixteen_rows_of_labels(z, labels, out, losses, right, n, count, batch):
    """The loss of ``count`` <= 16 rows by their class indices, and its gradient."""
    square, sums, classes = local(z, SQUARE), local(z, SQUARE), local(z, LANES)
    for i in range(LANES):
        classes[i] = as_item(labels[i] if i < count else -1, z)
    transpose(z, n, count, square)
    label = load(classes, LANES, LANES, 0.0)
    top, best, if_right = _largest(square, n)
    store(select(label == best, if_right, 0.0), right, count)
    of_label = splat(z, LANES, 0.0)
    for j in range(n):
        of_label = select(label == as_item(j, z), _line(square, j) - top, of_label)
    total = _exponentials(square, top, n, sums)
    store(vector_log(total) - of_label, losses, count)
    for j in range(n):
        t = select(label == as_item(j, z), splat(z, LANES, 1.0), 0.0)
        gradient = (_line(square, j) / total - t) / as_item(batch, z)
        store(gradient, ahead(square, j * LANES), LANES)
    pack(Strided(square, LANES, 1), n, count, n, out)


@inner
def sixteen_rows(z, targets, out, losses, right, n, count, batch, smoothing):
    """The loss of ``count`` <= 16 rows by their targets, already transposed, and its gradient."""
    square, sums, scale = local(z, SQUARE), local(z, SQUARE), as_item(batch, z)
    kept, spread = 1.0 - smoothing, smoothing / n
    transpose(z, n, count, square)
    _, label, _ = _largest(targets, n)
    top, best, if_right = _largest(square, n)
    store(select(label == best, if_right, 0.0), right, count)
    total = _exponentials(square, top, n, sums)
    transpose(z, n, count, sums)
    log_total = vector_log(total)
    for j in range(n):
        t = _line(targets, j) * kept + spread
        loss = select(t == 0.0, 0.0, t * (log_total - (_line(sums, j) - top)))
        store(loss, ahead(sums, j * LANES), LANES)
        store((_line(square, j) / total - t) / scale, ahead(square, j * LANES), LANES)
    store(_sum_over_classes(sums, n), losses, count)
    pack(Strided(square, LANES, 1), n, count, n, out)


@inner
def transpose(rows, n, count, square):
    """Write ``count`` rows of n as n lines of sixteen, with zeros for rows that are not there."""
    if count < LANES:  # what lay there before may be denormal, which costs hundreds of cycles
        for j in range(n):
            store(splat(rows, LANES, 0.0), ahead(square, j * LANES), LANES)
    pack(Strided(rows, n, 1), count, n, LANES, square)


@inner
def one_hot(labels, n, count, square):
    """Write the targets of ``count`` class indices as n lines of sixteen."""
    for j in range(n):
        store(splat(square, LANES, 0.0), ahead(square, j * LANES), LANES)
    for i in range(count):
        square[labels[i] * LANES + i] = 1.0


@inner
def _largest(square, n):
    """Of each row the largest number, the first class that has it, and 1, or 0 where one is NaN."""
    top, best = splat(square, LANES, -np.inf), splat(square, LANES, 0.0)
    are_numbers = splat(square, LANES, 1.0)
    for j in range(n):
        line = _line(square, j)
        best = select(line > top, as_item(j, square), best)
        top = select(line > top, line, top)
        are_numbers = select(line == line, are_numbers, 0.0)
    return top, best, are_numbers


@inner
def _exponentials(square, top, n, sums):
    """Replace numbers by exp(number - top); their sums over the classes."""
    for j in range(n):
        e = vector_exp(_line(square, j) - top)
        store(e, ahead(square, j * LANES), LANES)
        store(e, ahead(sums, j * LANES), LANES)
    return _sum_over_classes(sums, n)


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
