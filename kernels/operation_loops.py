"""The loops of operations: texts, in which a formula takes the place of ``formula``.

An operation is such a text with one formula in it, compiled by itself (`specialised` in
``kernels/runtime/families.py``).
"""

from kernels.intrinsics import (
    LANES,
    ahead,
    as_item,
    first_of,
    lane_numbers,
    load,
    select,
    splat,
    store,
    sum_of_lanes,
)

# These stand for functions, and for how many numbers they take; see `specialised`.
formula, move, COUNT = None, None, 0


def value_loop(x, dy, out, rows, columns, stride, numbers):
    """Elementwise: out = formula(x)."""
    given = first_of(numbers, COUNT)
    for i in range(rows):
        for j in range(0, columns, LANES):
            place, left = i * stride + j, columns - j
            lanes = load(ahead(x, place), LANES, left, 0.0)
            store(formula(lanes, *given), ahead(out, place), left)


def gradient_loop(x, dy, out, rows, columns, stride, numbers):
    """Elementwise: out = formula(x, dy)."""
    given = first_of(numbers, COUNT)
    for i in range(rows):
        for j in range(0, columns, LANES):
            place, left = i * stride + j, columns - j
            lanes = load(ahead(x, place), LANES, left, 0.0)
            gradient = load(ahead(dy, place), LANES, left, 0.0)
            store(formula(lanes, gradient, *given), ahead(out, place), left)


def _move_0(w, g, states, size, left, given):
    weights = formula(load(w, LANES, left, 0.0), load(g, LANES, left, 0.0), *given)
    store(weights, w, left)


def _move_1(w, g, states, size, left, given):
    before, gradients = load(w, LANES, left, 0.0), load(g, LANES, left, 0.0)
    weights, m = formula(before, gradients, load(states, LANES, left, 0.0), *given)
    store(m, states, left)
    store(weights, w, left)


def _move_2(w, g, states, size, left, given):
    before, gradients = load(w, LANES, left, 0.0), load(g, LANES, left, 0.0)
    second = ahead(states, size)
    m, v = load(states, LANES, left, 0.0), load(second, LANES, left, 0.0)
    weights, m, v = formula(before, gradients, m, v, *given)
    store(m, states, left)
    store(v, second, left)
    store(weights, w, left)


def update_loop(w, g, states, size, rows, columns, stride, g_stride, numbers):
    """Update: each vector of weights by ``move``, one of `MOVES`."""
    given, whole = first_of(numbers, COUNT), columns // LANES * LANES
    for i in range(rows):
        w_i, g_i, s_i = ahead(w, i * stride), ahead(g, i * g_stride), ahead(states, i * stride)
        for j in range(0, whole, LANES):
            move(ahead(w_i, j), ahead(g_i, j), ahead(s_i, j), size, LANES, given)
        if whole < columns:
            left = columns - whole
            move(ahead(w_i, whole), ahead(g_i, whole), ahead(s_i, whole), size, left, given)


def loss_loop(y, targets, out, losses, measures, rows, n, batch, numbers):
    """Loss: each row's mean of formula(y, targets), and its gradient over the batch."""
    given, count = first_of(numbers, COUNT), as_item(batch * n, y)
    for i in range(rows):
        partial = splat(y, LANES, 0.0)
        for j in range(0, n, LANES):
            place, left = i * n + j, n - j
            lanes, t = (
                load(ahead(y, place), LANES, left, 0.0),
                load(ahead(targets, place), LANES, left, 0.0),
            )
            value, gradient = formula(lanes, t, *given)
            partial = partial + select(lane_numbers(partial) < left, value, 0.0)
            store(gradient / count, ahead(out, place), left)
        losses[i] = sum_of_lanes(partial) / as_item(n, y)


MOVES = (_move_0, _move_1, _move_2)
"""The step of a vector, by the number of states."""
