"""What a thread does for a network at a time: some rows through some instructions, or some weights.

Each task runs the row functions and the product that the single kernels are made of.
"""

from collections import namedtuple

import numpy as np

from kernels.activations import relu, relu_gradient
from kernels.batches import SOON, copy_row
from kernels.columns import sum_columns
from kernels.elementary import LANES
from kernels.few_classes import loss_and_gradient
from kernels.jit import inner
from kernels.matmul import one_block, operands_at, plan_of, share, units
from kernels.metrics import argmax, is_right
from kernels.microkernel import ADD_BIASES, BY_COLUMNS, DESCEND, MASK, ROWS, TRANSPOSE_A
from kernels.optimizers import descend
from kernels.program import (
    ARGMAX,
    GATHER,
    OUT,
    PRODUCT,
    RELU,
    RELU_BACKWARD,
    SOFTMAX,
    SOFTMAX_BACKWARD,
    SOFTMAX_CROSS_ENTROPY,
    X,
    instruction,
)
from kernels.simd import LINE, add_at, ahead, as_item, memory_at
from kernels.softmax import (
    cross_entropy_gradient,
    cross_entropy_of,
    minus_target,
    softmax_cross_entropy_of,
    softmax_gradient,
    softmax_row,
)
from kernels.targets import Target

Data = namedtuple(
    "Data", ["x", "order", "labels", "targets", "has_labels", "out", "classes", "rows"]
)
Memory = namedtuple("Memory", ["parameters", "space", "batch", "control", "scratch", "bytes"])
Batch = namedtuple("Batch", ["start", "rows", "losses"])
Stage = namedtuple("Stage", ["end", "parts", "by_blocks"])

ALONE = 2**21
"""Multiply-adds from which on the threads share one product, rather than rows through several."""
PART = 2**18
"""Multiply-adds (5 us) that are worth a task of their own."""
ELEMENT = 32
"""Multiply-adds that an element costs in a pass that is no product."""

COUNTED = LINE
"""Where in the memory that threads share rows are counted: right predictions in training, in
inference rows of NaN."""


# --- rows ---


@inner
def stage_at(program, first, end, batch, data, memory, count):
    """Instructions that a task does one after the other, and how many tasks share the rows.

    Threads share one large product by blocks, so that each packs only a part of the weights.
    """
    if count == 1:
        return Stage(end, np.int64(1), False)
    last, multiply_adds = first, 0
    while last < end:
        step = instruction(program, last)
        if step.kind == PRODUCT:
            size = batch.rows * step.n_in * step.n_out
            if size >= ALONE:
                if last > first:
                    break
                whole = product_of(step, 0, batch.rows, batch, data, memory)
                plan = plan_of(whole, count)
                return Stage(first + 1, plan.rows * plan.columns, True)
            multiply_adds += size
        else:
            multiply_adds += ELEMENT * batch.rows * step.n_out
        last += 1
    parts = min(count, multiply_adds // PART, units(batch.rows, ROWS))
    return Stage(last, max(1, parts), False)


@inner
def rows_task(program, first, stage, part, batch, data, memory, scratch, count):
    """A part of the rows through a stage's instructions, or a block of its product."""
    if stage.by_blocks:
        whole = product_of(instruction(program, first), 0, batch.rows, batch, data, memory)
        one_block(part, plan_of(whole, count), scratch, whole)
        return
    i, i_end = share(batch.rows, stage.parts, part, ROWS)
    for index in range(first, stage.end):
        step = instruction(program, index)
        if step.kind == PRODUCT:
            whole = product_of(step, i, i_end, batch, data, memory)
            plan = plan_of(whole, 1)
            for block in range(plan.rows * plan.columns):
                one_block(block, plan, scratch, whole)
        elif step.kind == SOFTMAX_CROSS_ENTROPY and step.n_out <= LANES and data.has_labels:
            _few_classes(step, i, i_end, batch, data, memory)
        else:
            _row_by_row(step, i, i_end, batch, data, memory)


@inner
def _source(step, i, batch, data, memory):
    if step.source == X:
        return ahead(data.x, (batch.start + i) * step.n_in)
    return ahead(memory.space, step.source * memory.batch + i * step.n_in)


@inner
def _target(step, i, batch, data, memory):
    if step.target == OUT:
        return ahead(data.out, (batch.start + i) * step.n_out)
    return ahead(memory.space, step.target * memory.batch + i * step.n_out)


@inner
def product_of(step, i, i_end, batch, data, memory):
    """The operands of rows i to i_end of a product with weights."""
    m, n, k = i_end - i, step.n_out, step.n_in
    source, out = _source(step, i, batch, data, memory), _target(step, i, batch, data, memory)
    extra = out
    if step.flags & ADD_BIASES:
        extra = ahead(memory.parameters, step.extra)
    elif step.flags & MASK:
        extra = ahead(memory.space, step.extra * memory.batch + i * n)
    weights = ahead(memory.parameters, step.weights)
    flags = step.flags | BY_COLUMNS
    return operands_at((m, n), (m, k), source, weights, extra, out, 0.0, flags)


@inner
def _row_by_row(step, i, i_end, batch, data, memory):
    """Rows i to i_end of an instruction that is no product."""
    kind, n, counted = step.kind, step.n_out, np.int64(0)
    for row in range(i, i_end):
        source = _source(step, row, batch, data, memory)
        out = _target(step, row, batch, data, memory)
        if kind == GATHER:
            place = batch.start + row
            soon = ahead(data.x, data.order[min(place + SOON, data.rows - 1)] * n)
            copy_row(ahead(data.x, data.order[place] * n), soon, out, n)
        elif kind == RELU:
            relu(source, out, n)
        elif kind == SOFTMAX:
            softmax_row(source, out, n)
        elif kind in (RELU_BACKWARD, SOFTMAX_BACKWARD):
            y = ahead(memory.space, step.extra * memory.batch + row * n)
            if kind == RELU_BACKWARD:
                relu_gradient(y, source, out, n)
            else:
                softmax_gradient(y, source, out, n)
        elif kind == ARGMAX:
            label = argmax(source, n)
            data.classes[batch.start + row] = label
            counted += label < 0
        else:
            target = _wanted(data, batch.start + row, n)
            if kind == SOFTMAX_CROSS_ENTROPY:
                batch.losses[row] = softmax_cross_entropy_of(source, target, out, n)
                minus_target(out, target, out, n, batch.rows)
            else:
                batch.losses[row] = cross_entropy_of(source, target, n)
                cross_entropy_gradient(source, target, out, n, batch.rows)
            counted += is_right(source, target, n)
    if counted:
        add_at(memory.control + COUNTED, counted)


@inner
def _few_classes(step, i, i_end, batch, data, memory):
    """Rows i to i_end of a loss by at most sixteen classes."""
    right = np.int64(0)
    for row in range(i, i_end, LANES):
        z, out = _source(step, row, batch, data, memory), _target(step, row, batch, data, memory)
        order, losses = ahead(data.order, batch.start + row), ahead(batch.losses, row)
        count = min(LANES, i_end - row)
        right += loss_and_gradient(
            z, data.labels, order, out, losses, step.n_out, count, batch.rows
        )
    add_at(memory.control + COUNTED, right)


@inner
def _wanted(data, place, n):
    """The target of the row at a place of the order."""
    row = data.order[place]
    if data.has_labels:
        return Target(data.labels[row], data.targets)
    return Target(np.int64(-1), ahead(data.targets, row * n))


# --- parameters ---


@inner
def weights_of(step, batch, rate, data, memory):
    """The operands of the step that a layer's weights take."""
    m, n, k = step.n_in, step.n_out, batch.rows
    x = _source(step, 0, batch, data, memory)
    dz = ahead(memory.space, step.extra * memory.batch)
    weights = ahead(memory.parameters, step.weights)
    flags = TRANSPOSE_A | DESCEND | BY_COLUMNS
    return operands_at((m, n), (k, m), x, dz, weights, weights, rate, flags)


@inner
def plan_of_weights(whole, count):
    """How a layer's weights are cut into blocks: no more than are worth a task."""
    return plan_of(whole, min(count, max(1, whole.m * whole.n * whole.k // PART)))


@inner
def parameter_parts(program, first, end, batch, rate, data, memory, count):
    """How many tasks the parameters are: blocks of each layer's weights."""
    parts = np.int64(0)
    for index in range(first, end):
        whole = weights_of(instruction(program, index), batch, rate, data, memory)
        plan = plan_of_weights(whole, count)
        parts += plan.rows * plan.columns
    return parts


@inner
def parameters_task(program, first, part, batch, rate, data, memory, scratch, count):
    """Block ``part``, counted through all layers."""
    index = first
    while True:
        step = instruction(program, index)
        whole = weights_of(step, batch, rate, data, memory)
        plan = plan_of_weights(whole, count)
        if part < plan.rows * plan.columns:
            break
        part -= plan.rows * plan.columns
        index += 1
    if part == 0:
        biases = ahead(memory.parameters, step.target)
        dbiases = memory_at(scratch, biases)
        sum_columns(whole.b.start, batch.rows, step.n_out, step.n_out, dbiases)
        descend(biases, dbiases, as_item(-rate, biases), step.n_out)
    one_block(part, plan, scratch, whole)
