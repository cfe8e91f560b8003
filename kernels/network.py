"""A whole network's mini-batches in one compiled call, as a program says: data, not code.

A program is a table of instructions that ``layers/plan.py`` writes for a stack of layers. Each is
one pass over a batch, by the same row functions and products that the single kernels are made of,
so it has their bits. One compiled interpreter serves every network::

    for each batch
        rows         gather, forward, loss, gradients: each row by itself
        parameters   each layer's weights and biases move by the sum over all rows

Threads take tasks, parts of the rows or blocks of the weights, in the order of the program, each
its own first, and wait only for tasks of earlier stages that others have begun. So there is one
parallel region for many batches, and a thread that the system runs late, or not at all, holds
nobody up.
"""

import numpy as np
from numba import prange, types

from kernels.jit import Array, inner, kernel, shared
from kernels.matmul import MOST_NEEDED, plan_of, units
from kernels.program import PRODUCT, header_of, instruction
from kernels.simd import (
    LINE,
    add_at,
    ahead,
    allocate,
    claim_turn,
    free,
    give_way,
    itemsize,
    memory_at,
    pause,
    pointer,
    read_at,
    start_counting,
)
from kernels.softmax import mean
from kernels.tasks import (
    COUNTED,
    Batch,
    Data,
    Memory,
    parameter_parts,
    parameters_task,
    plan_of_weights,
    product_of,
    rows_task,
    stage_at,
    weights_of,
)

_SPINS = 2_000
"""Pauses, of about 20 ns on x86, before a waiting thread offers its core to others."""
_STOPPED = 2**60
"""What the count of finished tasks is raised to where nobody should go on."""

# The memory that threads share, in lines of their own: tasks done; rows counted; numbers that the
# first task on parameters writes; then the last turn that each part was claimed for.
_DONE, _NUMBERS, _CLAIMS = 0, COUNTED + LINE, COUNTED + 2 * LINE


def _work_types(real):
    at, integers, size = types.CPointer(real), types.CPointer(types.int64), types.int64
    data = types.NamedTuple((at, integers, integers, at, size, at, integers, size), Data)
    memory = types.NamedTuple((at, at, size, size, size, size), Memory)
    return (integers, data, types.float64, memory, size, size)


@shared(_work_types)
def work(program, data, rate, memory, worker, count):
    """What one of ``count`` threads does: its own tasks, and those that nobody has begun."""
    header = header_of(program)
    rows_end, end = header.row_steps, header.row_steps + header.parameter_steps
    losses = ahead(memory.space, header.losses * memory.batch)
    scratch = memory.scratch + worker * memory.bytes
    turn, before = np.int64(0), np.int64(0)
    for start in range(0, data.rows, memory.batch):
        batch = Batch(start, min(memory.batch, data.rows - start), losses)
        first = np.int64(0)
        while first < rows_end:
            stage = stage_at(program, first, rows_end, batch, data, memory, count)
            turn += 1
            if not _begins(memory.control, before):
                return
            for some in range(stage.parts):
                part = _turn_of(worker, some, stage.parts, count)
                if claim_turn(memory.control + _CLAIMS + 8 * part, turn):
                    rows_task(program, first, stage, part, batch, data, memory, scratch, count)
                    add_at(memory.control + _DONE, 1)
            before += stage.parts
            first = stage.end
        parts = parameter_parts(program, rows_end, end, batch, rate, data, memory, count)
        turn += 1
        if parts == 0:
            continue
        if not _begins(memory.control, before):
            return
        for some in range(parts):
            part = _turn_of(worker, some, parts, count)
            if claim_turn(memory.control + _CLAIMS + 8 * part, turn):
                if not _goes_on(mean(losses, batch.rows), batch, part == 0, memory.control):
                    return
                parameters_task(program, rows_end, part, batch, rate, data, memory, scratch, count)
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
def _begins(control, before):
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
    numbers = memory_at(control + _NUMBERS, np.float64)
    finite = loss - loss == 0.0
    if not finite:
        # Whoever sees it, for then the first task may never be begun; all write the same number.
        numbers[0] = loss
        claim_turn(control + _DONE, _STOPPED)
    elif is_first:
        numbers[0] = loss
        numbers[1] += loss * batch.rows
        numbers[2] += batch.rows
    return finite


# --- memory ---


@inner
def _needs(program, rate, data, memory, count):
    """The bytes that a thread needs for packing and for a bias gradient, and those of all."""
    header = header_of(program)
    rows_end, end = header.row_steps, header.row_steps + header.parameter_steps
    size, parts = np.int64(0), np.int64(count)
    rows = min(memory.batch, data.rows)
    while rows > 0:
        batch = Batch(np.int64(0), rows, memory.space)
        for index in range(rows_end):
            step = instruction(program, index)
            if step.kind == PRODUCT:
                plan = plan_of(product_of(step, 0, rows, batch, data, memory), count)
                size, parts = max(size, plan.bytes), max(parts, plan.rows * plan.columns)
                # A task has any number of rows up to these, and needs no more than one of these.
                for most in MOST_NEEDED:
                    part = product_of(step, 0, min(rows, most), batch, data, memory)
                    size = max(size, plan_of(part, 1).bytes)
        for index in range(rows_end, end):
            step = instruction(program, index)
            plan = plan_of_weights(weights_of(step, batch, rate, data, memory), count)
            size = max(size, plan.bytes, step.n_out * itemsize(memory.space) + LINE)
        parts = max(
            parts, parameter_parts(program, rows_end, end, batch, rate, data, memory, count)
        )
        # The last batch may be smaller.
        rest = data.rows % memory.batch
        rows = rest if rows > rest else 0
    return units(size, LINE) * LINE, _CLAIMS + units(8 * parts, LINE) * LINE


@inner
def _cleared(memory, size):
    """The first whole cache line of some memory; ``size`` bytes from there are zeros, 0.0 too."""
    control = units(memory, LINE) * LINE
    for place in range(0, size, 8):
        start_counting(control + place)
    return control


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
        the sum over rows of their batch's loss, and the rows; then the right predictions, those
        in a batch that has stopped it too.
    """
    like = pointer(space)
    at_x, at_order = pointer(x), pointer(order)
    at_labels, at_targets = pointer(labels), pointer(targets)
    at_program, at_parameters = pointer(program), pointer(parameters)
    rows, has_labels = order.size, np.int64(labels.size > 0)
    data = Data(at_x, at_order, at_labels, at_targets, has_labels, like, at_order, rows)
    memory = Memory(at_parameters, like, batch, np.int64(0), np.int64(0), np.int64(0))
    scratch, shared_bytes = _needs(at_program, rate, data, memory, count)
    memory_taken = allocate(shared_bytes + LINE + scratch * count)
    control = _cleared(memory_taken, shared_bytes)
    numbers = memory_at(control + _NUMBERS, np.float64)
    numbers[1] = before
    for worker in prange(count):
        data = Data(at_x, at_order, at_labels, at_targets, has_labels, like, at_order, rows)
        memory = Memory(at_parameters, like, batch, control, control + shared_bytes, scratch)
        work(at_program, data, rate, memory, worker, count)
    outcome = numbers[0], numbers[1], numbers[2], np.float64(read_at(control + COUNTED))
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
    data = Data(at_x, at_program, at_program, at_x, no, at_out, at_classes, rows)
    memory = Memory(at_parameters, at_x, batch, no, no, no)
    scratch, shared_bytes = _needs(at_program, 0.0, data, memory, count)
    space = units(header_of(at_program).width * batch * itemsize(at_x), LINE) * LINE
    memory_taken = allocate(shared_bytes + LINE + space + scratch * count)
    control = _cleared(memory_taken, shared_bytes)
    for worker in prange(count):
        data = Data(at_x, at_program, at_program, at_x, no, at_out, at_classes, rows)
        at_space = memory_at(control + shared_bytes, at_x)
        after = control + shared_bytes + space
        memory = Memory(at_parameters, at_space, batch, control, after, scratch)
        work(at_program, data, 0.0, memory, worker, count)
    counted = read_at(control + COUNTED)
    free(memory_taken)
    return counted
