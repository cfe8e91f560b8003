"""A whole network's mini-batches in one compiled call, as a program says: data, not code.

A program is a table of instructions that ``layers/plan.py`` writes for a stack of layers. Each is
one pass over a batch, by the same row functions and products that the single kernels are made of,
so it has their bits. One compiled interpreter serves every network::

    for each batch
        rows         gather, forward, loss, gradients: each row by itself
        parameters   each layer's weights and biases move by the sum over all rows

Threads take tasks, parts of the rows or blocks of the weights, by tickets in the order of the
program, and wait only for tasks of earlier stages that others have begun. So there is one parallel
region for many batches, and a thread that the system runs late, or not at all, holds nobody up.
"""

from collections import namedtuple

import numpy as np
from numba import prange, types

from kernels.activations import relu, relu_gradient
from kernels.columns import sum_columns
from kernels.elementary import LANES
from kernels.jit import Array, inner, kernel, shared
from kernels.matmul import BLOCK, LINE, PACK_ROWS, one_block, operands_at, plan_of, share, units
from kernels.metrics import argmax, is_right
from kernels.microkernel import ADD_BIASES, BY_COLUMNS, DESCEND, MASK, ROWS, TRANSPOSE_A
from kernels.optimizers import descend
from kernels.simd import (
    add_at,
    ahead,
    allocate,
    as_item,
    claim_turn,
    free,
    give_way,
    itemsize,
    load,
    memory_at,
    pause,
    pointer,
    read_at,
    start_counting,
    store,
)
from kernels.softmax import (
    cross_entropy_gradient,
    cross_entropy_of,
    mean,
    minus_target,
    softmax_cross_entropy_of,
    softmax_gradient,
    softmax_row,
)
from kernels.targets import Target

# What an instruction on rows does; `PRODUCT` is any product with weights, by its flags.
GATHER, PRODUCT, RELU, RELU_BACKWARD, SOFTMAX, SOFTMAX_BACKWARD = range(6)
SOFTMAX_CROSS_ENTROPY, CROSS_ENTROPY, ARGMAX = 6, 7, 8

# Where rows are that lie in no buffer of the workspace.
X, OUT = -1, -2

Instruction = namedtuple(
    "Instruction", ["kind", "n_in", "n_out", "source", "target", "extra", "weights", "flags"]
)
"""One pass over a batch, from rows of ``n_in`` to rows of ``n_out``.

``source`` and ``target`` are buffers of the workspace: the number of elements a row before them.
``weights`` is a place in the parameters; ``extra`` one for biases, else another buffer. On
parameters, ``source`` has the layer's inputs, ``extra`` the gradient by its outputs, and
``target`` is the place of the biases.
"""

Header = namedtuple(
    "Header", ["row_steps", "parameter_steps", "losses", "width", "no_4", "no_5", "no_6", "no_7"]
)
"""A program's first line, as long as the others: how many instructions there are of each sort, the
buffer of the losses, and how many elements of workspace a row needs."""

_FIELDS = len(Instruction._fields)

_Data = namedtuple(
    "_Data", ["x", "order", "labels", "targets", "has_labels", "out", "classes", "rows"]
)
_Memory = namedtuple("_Memory", ["parameters", "space", "batch", "control", "scratch", "bytes"])
_Batch = namedtuple("_Batch", ["start", "rows", "losses"])
_Stage = namedtuple("_Stage", ["end", "parts", "by_blocks"])

ALONE = 2**22
"""Multiply-adds from which on the threads share one product, rather than rows through several."""
PART = 2**18
"""Multiply-adds (5 us) that are worth a ticket of their own."""
ELEMENT = 32
"""Multiply-adds that an element costs in a pass that is no product."""
_SPINS = 2_000
"""Pauses of about 20 ns before a waiting thread offers its core to others."""
_STOPPED = 2**60
"""What the count of finished tasks jumps by where nobody should go on."""

# The memory that threads share, in lines of their own: tasks done; rows counted, which are right
# predictions in training and rows of NaN in inference; numbers that only the first task on
# parameters writes; then the last turn that each part was claimed for.
_DONE, _COUNTED, _NUMBERS, _CLAIMS = (LINE * line for line in range(4))


def _work_types(real):
    at, integers, size = types.CPointer(real), types.CPointer(types.int64), types.int64
    data = types.NamedTuple((at, integers, integers, at, size, at, integers, size), _Data)
    memory = types.NamedTuple((at, at, size, size, size, size), _Memory)
    return (integers, data, types.float64, memory, size, size)


@shared(_work_types)
def work(program, data, rate, memory, worker, count):
    """What one of ``count`` threads does: its own tasks, and those that nobody has begun."""
    header = _header(program)
    rows_end, end = header.row_steps, header.row_steps + header.parameter_steps
    losses = ahead(memory.space, header.losses * memory.batch)
    scratch = memory.scratch + worker * memory.bytes
    turn, before = np.int64(0), np.int64(0)
    for start in range(0, data.rows, memory.batch):
        batch = _Batch(start, min(memory.batch, data.rows - start), losses)
        first = np.int64(0)
        while first < rows_end:
            stage = _stage(program, first, rows_end, batch, data, memory, count)
            turn += 1
            if not _begins(memory.control, before, stage.parts):
                return
            for some in range(stage.parts):
                part = _turn_of(worker, some, stage.parts, count)
                if claim_turn(memory.control + _CLAIMS + 8 * part, turn):
                    _rows_task(program, first, stage, part, batch, data, memory, scratch, count)
                    add_at(memory.control + _DONE, 1)
            before += stage.parts
            first = stage.end
        parts = _parameter_parts(program, rows_end, end, batch, rate, data, memory, count)
        turn += 1
        if parts == 0:
            continue
        if not _begins(memory.control, before, parts):
            return
        for some in range(parts):
            part = _turn_of(worker, some, parts, count)
            if claim_turn(memory.control + _CLAIMS + 8 * part, turn):
                if not _goes_on(mean(losses, batch.rows), batch, part == 0, memory.control):
                    return
                _parameters_task(program, rows_end, part, batch, rate, data, memory, scratch, count)
                add_at(memory.control + _DONE, 1)
        before += parts


# --- turns ---


@inner
def _turn_of(worker, some, parts, count):
    """The part that a thread tries as its ``some``-th: its own first, the same in each batch.

    So it finds what it wrote last time in its own cache.
    """
    part = worker * parts // count + some
    return part - parts if part >= parts else part


@inner
def _begins(control, before, parts):
    """Wait until all tasks of earlier stages are done; False where the run has been stopped."""
    spins = 0
    done = read_at(control + _DONE)
    while done < before:
        spins += 1
        if spins < _SPINS:
            pause()
        else:
            give_way()
        done = read_at(control + _DONE)
    return done < _STOPPED


@inner
def _goes_on(loss, batch, is_first, control):
    """Whether a batch's loss is finite; the first task on parameters writes down what it was."""
    finite = loss - loss == 0.0
    if is_first:
        numbers = memory_at(control + _NUMBERS, np.float64)
        numbers[0] = loss
        if finite:
            numbers[1] += loss * batch.rows
            numbers[2] += batch.rows
    if not finite:
        add_at(control + _DONE, _STOPPED)
    return finite


# --- tasks on rows ---


@inner
def _stage(program, first, end, batch, data, memory, count):
    """Instructions that a task does one after the other, and how many tasks share the rows.

    Threads share one large product by blocks, so that each packs only a part of the weights.
    """
    if count == 1:
        return _Stage(end, np.int64(1), False)
    last, multiply_adds = first, 0
    while last < end:
        step = _instruction(program, last)
        if step.kind == PRODUCT:
            size = batch.rows * step.n_in * step.n_out
            if size >= ALONE:
                if last > first:
                    break
                whole = _product(step, 0, batch.rows, batch, data, memory)
                plan = plan_of(whole, count)
                return _Stage(first + 1, plan.rows * plan.columns, True)
            multiply_adds += size
        else:
            multiply_adds += ELEMENT * batch.rows * step.n_out
        last += 1
    parts = min(count, multiply_adds // PART, units(batch.rows, ROWS))
    return _Stage(last, max(1, parts), False)


@inner
def _rows_task(program, first, stage, part, batch, data, memory, scratch, count):
    if stage.by_blocks:
        whole = _product(_instruction(program, first), 0, batch.rows, batch, data, memory)
        one_block(part, plan_of(whole, count), scratch, whole)
        return
    i, i_end = share(batch.rows, stage.parts, part, ROWS)
    for index in range(first, stage.end):
        step = _instruction(program, index)
        if step.kind == PRODUCT:
            whole = _product(step, i, i_end, batch, data, memory)
            plan = plan_of(whole, 1)
            for block in range(plan.rows * plan.columns):
                one_block(block, plan, scratch, whole)
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
def _product(step, i, i_end, batch, data, memory):
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
    kind, n = step.kind, step.n_out
    for row in range(i, i_end):
        source, out = (
            _source(step, row, batch, data, memory),
            _target(step, row, batch, data, memory),
        )
        if kind == GATHER:
            _copy(ahead(data.x, data.order[batch.start + row] * n), out, n)
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
            add_at(memory.control + _COUNTED, label < 0)
        else:
            target = _wanted(data, batch.start + row, n)
            if kind == SOFTMAX_CROSS_ENTROPY:
                batch.losses[row] = softmax_cross_entropy_of(source, target, out, n)
                minus_target(out, target, out, n, batch.rows)
            else:
                batch.losses[row] = cross_entropy_of(source, target, n)
                cross_entropy_gradient(source, target, out, n, batch.rows)
            add_at(memory.control + _COUNTED, is_right(source, target, n))


@inner
def _wanted(data, place, n):
    """The target of the row at a place of the order."""
    row = data.order[place]
    if data.has_labels:
        return Target(data.labels[row], data.targets)
    return Target(np.int64(-1), ahead(data.targets, row * n))


@inner
def _copy(source, out, n):
    for j in range(0, n, LANES):
        store(load(ahead(source, j), LANES, n - j, 0.0), ahead(out, j), n - j)


# --- tasks on parameters ---


@inner
def _weights(step, batch, rate, data, memory):
    """The operands of the step that a layer's weights take."""
    m, n, k = step.n_in, step.n_out, batch.rows
    x = _source(step, 0, batch, data, memory)
    dz = ahead(memory.space, step.extra * memory.batch)
    weights = ahead(memory.parameters, step.weights)
    flags = TRANSPOSE_A | DESCEND | BY_COLUMNS
    return operands_at((m, n), (k, m), x, dz, weights, weights, rate, flags)


@inner
def _plan_of_weights(whole, count):
    return plan_of(whole, min(count, max(1, whole.m * whole.n * whole.k // PART)))


@inner
def _parameter_parts(program, first, end, batch, rate, data, memory, count):
    """How many tasks the parameters are: blocks of each layer's weights."""
    parts = np.int64(0)
    for index in range(first, end):
        whole = _weights(_instruction(program, index), batch, rate, data, memory)
        plan = _plan_of_weights(whole, count)
        parts += plan.rows * plan.columns
    return parts


@inner
def _parameters_task(program, first, part, batch, rate, data, memory, scratch, count):
    """Block ``part``, counted through all layers."""
    index = first
    while True:
        step = _instruction(program, index)
        whole = _weights(step, batch, rate, data, memory)
        plan = _plan_of_weights(whole, count)
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


# --- memory ---


@inner
def _needs(program, rate, data, memory, count):
    """The bytes that a thread needs for packing and for a bias gradient, and those of all."""
    header = _header(program)
    rows_end, end = header.row_steps, header.row_steps + header.parameter_steps
    size, parts = np.int64(0), np.int64(count)
    rows = min(memory.batch, data.rows)
    while rows > 0:
        batch = _Batch(np.int64(0), rows, memory.space)
        for index in range(rows_end):
            step = _instruction(program, index)
            if step.kind == PRODUCT:
                plan = plan_of(_product(step, 0, rows, batch, data, memory), count)
                size, parts = max(size, plan.bytes), max(parts, plan.rows * plan.columns)
                # A task has any number of rows up to these, and needs no more than one of these.
                most = min(rows, BLOCK)
                size = max(size, plan_of(_product(step, 0, most, batch, data, memory), 1).bytes)
                if most >= PACK_ROWS:
                    most = PACK_ROWS - 1
                    size = max(size, plan_of(_product(step, 0, most, batch, data, memory), 1).bytes)
        for index in range(rows_end, end):
            step = _instruction(program, index)
            plan = _plan_of_weights(_weights(step, batch, rate, data, memory), count)
            size = max(size, plan.bytes, step.n_out * itemsize(memory.space) + LINE)
        parts = max(
            parts, _parameter_parts(program, rows_end, end, batch, rate, data, memory, count)
        )
        # The last batch may be smaller.
        rest = data.rows % memory.batch
        rows = rest if rows > rest else 0
    return units(size, LINE) * LINE, _CLAIMS + units(8 * parts, LINE) * LINE


@inner
def _clear(control, size):
    for place in range(0, size, 8):
        start_counting(control + place)
    numbers = memory_at(control + _NUMBERS, np.float64)
    for index in range(3):
        numbers[index] = 0.0


@kernel(
    "x (n, n_in), order <r>, labels <l>, targets (t, n_out), program <p>, rate number, "
    "batch int64, before number, count threads -> parameters (1, q), space (1, w)",
    nanoseconds=lambda *_: 0.0,
    public=False,
    calls=("block_product", "work"),
)
def train(  # noqa: PLR0913, PLR0917 - a compiled function gets each array by itself
    x: Array,
    order: Array,
    labels: Array,
    targets: Array,
    program: Array,
    rate: float,
    batch: int,
    before: float,
    parameters: Array,
    space: Array,
    count: int,
) -> tuple[float, float, float, float]:
    """Train on mini-batches of the rows in ``order``; stop before a loss that is not finite.

    Returns
    -------
    tuple of float
        The last batch's loss; then of all batches that parameters have moved by: ``before`` plus
        the sum over rows of their batch's loss, the rows, and the right predictions among them.
    """
    like = pointer(space)
    at_x, at_order = pointer(x), pointer(order)
    at_labels, at_targets = pointer(labels), pointer(targets)
    at_program, at_parameters = pointer(program), pointer(parameters)
    rows, has_labels = order.size, np.int64(labels.size > 0)
    data = _Data(at_x, at_order, at_labels, at_targets, has_labels, like, at_order, rows)
    memory = _Memory(at_parameters, like, batch, np.int64(0), np.int64(0), np.int64(0))
    scratch, shared_bytes = _needs(at_program, rate, data, memory, count)
    memory_taken = allocate(shared_bytes + LINE + scratch * count)
    control = units(memory_taken, LINE) * LINE
    _clear(control, shared_bytes)
    numbers = memory_at(control + _NUMBERS, np.float64)
    numbers[1] = before
    for worker in prange(count):
        data = _Data(at_x, at_order, at_labels, at_targets, has_labels, like, at_order, rows)
        memory = _Memory(at_parameters, like, batch, control, control + shared_bytes, scratch)
        work(at_program, data, rate, memory, worker, count)
    outcome = numbers[0], numbers[1], numbers[2], np.float64(read_at(control + _COUNTED))
    free(memory_taken)
    return outcome


@kernel(
    "x (n, n_in), program <p>, parameters (1, q), batch int64, count threads "
    "-> out (s, n_out), classes <c>",
    nanoseconds=lambda *_: 0.0,
    public=False,
    calls=("block_product", "work"),
)
def infer(
    x: Array,
    program: Array,
    parameters: Array,
    batch: int,
    out: Array,
    classes: Array,
    count: int,
) -> int:
    """Scores or classes of all rows, ``batch`` of them at a time through the layers.

    A program has one or the other, and leaves the other array alone. A row with a NaN has class -1.

    Returns
    -------
    int
        How many rows have class -1.
    """
    at_x, at_program, at_parameters = pointer(x), pointer(program), pointer(parameters)
    at_out, at_classes = pointer(out), pointer(classes)
    rows, no = x.shape[0], np.int64(0)
    batch = min(batch, rows)
    data = _Data(at_x, at_program, at_program, at_x, no, at_out, at_classes, rows)
    memory = _Memory(at_parameters, at_x, batch, no, no, no)
    scratch, shared_bytes = _needs(at_program, 0.0, data, memory, count)
    space = units(_header(at_program).width * batch * itemsize(at_x), LINE) * LINE
    memory_taken = allocate(shared_bytes + LINE + space + scratch * count)
    control = units(memory_taken, LINE) * LINE
    _clear(control, shared_bytes)
    for worker in prange(count):
        data = _Data(at_x, at_program, at_program, at_x, no, at_out, at_classes, rows)
        at_space = memory_at(control + shared_bytes, at_x)
        after = control + shared_bytes + space
        memory = _Memory(at_parameters, at_space, batch, control, after, scratch)
        work(at_program, data, 0.0, memory, worker, count)
    counted = read_at(control + _COUNTED)
    free(memory_taken)
    return counted


@inner
def _header(program):
    return _line(Header, program, 0)


@inner
def _instruction(program, index):
    return _line(Instruction, program, 1 + index)


@inner
def _line(kind, program, index):
    at = ahead(program, index * _FIELDS)
    return kind(at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7])
