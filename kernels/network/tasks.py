"""Tasks, the units of a thread's work: rows through several lines, or a part of one line.

A task finds its operands by the program, and calls the product or an operation.
"""

import numpy as np

from kernels.intrinsics import ahead, aligned_pointer, invoke, itemsize, pointer_at
from kernels.network.program import (
    COLUMNWISE,
    ELEMENTWISE,
    GATHER,
    LOSS,
    MOVES,
    PRODUCT,
    ROWWISE,
    SPACE,
    header_of,
    line_of,
    place_of,
)
from kernels.network.schedule import PLACE_NUMBERS, stored_plan, tasks_of
from kernels.product.flags import TRANSPOSE_A
from kernels.product.loops import one_block, operands_at, share
from kernels.product.microkernel import ROWS, Epilogue, Rows, Then, run_then
from kernels.runtime import families
from kernels.runtime.families import Counter
from kernels.runtime.jit import inner

_ELEMENTWISE, _ROWWISE, _LOSS = families.ELEMENTWISE, families.ROWWISE, families.LOSS
_COLUMNWISE, _UPDATE, _GATHER = families.COLUMNWISE, families.UPDATE, families.GATHER


@inner
def find_places(run, places):
    """Write each place of a program: its address, its row stride in bytes, and the data's.

    The data's stride, by which a batch's first row moves the address, is 0 for other places.
    """
    size, header = itemsize(run.like), header_of(run.program)
    for index in range(header.places):
        place = place_of(run.program, index)
        start = place.start
        if place.base == SPACE:
            is_shared = place.stride == 0
            start = start + header.width * run.batch if is_shared else start * run.batch
        at = ahead(places, index * PLACE_NUMBERS)
        at[0], at[1] = run.bases[place.base] + start * size, place.stride * size
        at[2] = at[1] * place.is_data


@inner
def operand(run, batch, index, row):
    """The address of an operand, from ``row`` of the batch on."""
    at = ahead(batch.places, index * PLACE_NUMBERS)
    return pointer_at(at[0] + row * at[1] + batch.start * at[2], run.like)


# --- rows ---


@inner
def rows_task(run, batch, stage, part, count, scratch):
    """Run a part of the rows through a stage's lines; return what they count."""
    i, i_end = share(batch.rows, stage.tasks, part, ROWS)
    counted = np.int64(0)
    for index in range(stage.first, stage.end):
        line = line_of(run.program, index)
        if line.family == PRODUCT:
            lines = header_of(run.program).lines
            plan = stored_plan(batch.schedule, lines, index, part, count)
            whole = _product(run, batch, line, i, i_end)
            for block in range(plan.rows * plan.columns):
                one_block(block, plan, scratch, whole)
        else:
            counted += _rows(run, batch, line, i, i_end)
    return counted


@inner
def block_task(run, batch, stage, part, count, scratch):
    """Compute a block of a stage's product."""
    line = line_of(run.program, stage.first)
    lines = header_of(run.program).lines
    plan = stored_plan(batch.schedule, lines, stage.first, np.int64(0), count)
    one_block(part, plan, scratch, _product(run, batch, line, np.int64(0), batch.rows))


@inner
def _product(run, batch, line, i, i_end):
    """The operands of rows i to i_end of a product, or of one that sums over all rows."""
    x = operand(run, batch, line.x, i)
    n, flags = line.n_out, line.flags
    sums = flags & TRANSPOSE_A != 0
    # Parameters and gradients have no rows of the batch.
    dy = operand(run, batch, line.dy, np.int64(0))
    row = np.int64(0) if sums else i
    out, other = operand(run, batch, line.out, row), operand(run, batch, line.other, row)
    extra = operand(run, batch, line.extra, np.int64(0))
    states = operand(run, batch, line.states, np.int64(0))
    updates = np.int64(flags & MOVES != 0 and line.then != 0)
    numbers = ahead(batch.numbers, line.numbers)
    size = header_of(run.program).size
    then = Then(line.then, updates, other, states, n, size, numbers)
    m = line.n_in if sums else i_end - i
    a_shape = (i_end - i, m) if sums else (m, line.n_in)
    return operands_at((m, n), a_shape, x, dy, out, Epilogue(flags, extra, then))


@inner
def _rows(run, batch, line, i, i_end):
    """Run rows i to i_end of a line that is no product; return what it counts."""
    x, out = operand(run, batch, line.x, i), operand(run, batch, line.out, i)
    dy, extra = operand(run, batch, line.dy, i), operand(run, batch, line.extra, i)
    rows, n, numbers = i_end - i, line.n_out, ahead(batch.numbers, line.numbers)
    if line.family == ELEMENTWISE:
        block = np.int64(1), rows * n, np.int64(0), numbers
        invoke(_ELEMENTWISE, line.function, (x, dy, out) + block)
    elif line.family == ROWWISE:
        counter = Counter(run.key, np.uint64(line.stream) + batch.step, i)
        given = (rows, line.n_in, extra, numbers, counter)
        return invoke(_ROWWISE, line.function, (x, dy, out) + given)
    elif line.family == LOSS:
        measures = operand(run, batch, line.other, i)
        given = rows, n, batch.rows, numbers
        invoke(_LOSS, line.function, (x, dy, out, extra, measures) + given)
    elif line.family == GATHER:
        base = operand(run, batch, line.x, -batch.start)
        place = batch.start + i
        order, left = ahead(run.order, place), run.rows - place
        invoke(_GATHER, line.function, (base, order, left, out, rows, n))
    return np.int64(0)


# --- lines ---


@inner
def line_task(run, batch, stage, part, count, scratch):
    """Run task ``part``, numbered through all lines of a stage: a block or part of an operation."""
    lines, index = header_of(run.program).lines, stage.first
    tasks = tasks_of(batch.schedule, lines, index)
    while part >= tasks:
        part, index = part - tasks, index + 1
        tasks = tasks_of(batch.schedule, lines, index)
    line = line_of(run.program, index)
    if line.family == PRODUCT:
        plan = stored_plan(batch.schedule, lines, index, np.int64(0), count)
        one_block(part, plan, scratch, _product(run, batch, line, np.int64(0), batch.rows))
    elif line.family == COLUMNWISE:
        _columns(run, batch, line, scratch)
    else:
        _elements(run, batch, line, part, tasks)


@inner
def _columns(run, batch, line, scratch):
    """Run a columnwise line on all rows, then the update that follows it."""
    no, n = np.int64(0), line.n_out
    x, dy = operand(run, batch, line.x, no), operand(run, batch, line.dy, no)
    out, numbers = operand(run, batch, line.out, no), ahead(batch.numbers, line.numbers)
    if line.then:
        out = aligned_pointer(scratch, run.like)
    invoke(_COLUMNWISE, line.function, (x, dy, out, batch.rows, n, n, numbers))
    other, states = operand(run, batch, line.other, no), operand(run, batch, line.states, no)
    size = header_of(run.program).size
    then = Then(line.then, np.int64(1), other, states, n, size, numbers)
    run_then(np.int64(1), n, Rows(out, n), then)


@inner
def _elements(run, batch, line, part, tasks):
    """Run an update on a part of its elements."""
    no = np.int64(0)
    first, end = share(line.n_out, tasks, part, 16)
    parameters, gradients = (
        ahead(operand(run, batch, line.other, no), first),
        ahead(operand(run, batch, line.x, no), first),
    )
    states = ahead(operand(run, batch, line.states, no), first)
    size, numbers = header_of(run.program).size, ahead(batch.numbers, line.numbers)
    block = (size, np.int64(1), end - first, no, no, numbers)
    invoke(_UPDATE, line.function, (parameters, gradients, states) + block)
