"""Many mini-batches of a network in one compiled call, as a program and its schedule say.

Threads take tasks, parts of the rows or blocks of the weights, in the order of the program, each
its own first, and wait only for tasks of earlier stages that others have begun. So there is one
parallel region for many batches, and a thread that the system runs late, or not at all, holds
nobody up. What a task computes is in the functions whose addresses the program holds.
"""

from collections import namedtuple

import numpy as np
from numba import prange, types

from kernels.intrinsics import (
    LINE,
    add_at,
    address_of,
    ahead,
    allocate,
    claim_turn,
    free,
    give_way,
    itemsize,
    located,
    memory_at,
    pause,
    pointer,
    read_at,
    start_counting,
)
from kernels.mean import mean
from kernels.network.program import (
    MEASURES,
    OUT,
    SPACE,
    TARGETS,
    X,
    header_of,
    place_of,
)
from kernels.network.schedule import BY_BLOCKS, BY_LINES, places_bytes, stage_of, summary_of
from kernels.network.tasks import block_task, find_places, line_task, rows_task
from kernels.product.loops import units
from kernels.runtime.jit import Array, inner, kernel, shared

_SPINS = 2_000
"""Pauses, of about 20 ns on x86, before a waiting thread offers its core to others."""
_STOPPED = 2**60
"""What the count of finished tasks is raised to where nobody should go on."""

# The memory that threads share, in lines of their own: tasks done; what is counted; then the last
# turn that each part was claimed for.
_DONE, _COUNTED, _CLAIMS = 0, LINE, 2 * LINE
CONTROL_BYTES = 3 * LINE
"""What one thread alone needs of it."""

Run = namedtuple(
    "Run",
    [
        "program", "schedule", "rest", "bases", "order", "rows", "batch", "numbers",
        "per_batch", "key", "step", "totals", "control", "scratch", "bytes", "like",
    ],
)  # fmt: skip
"""What a call is about: how the rows are to be taken, and where all memory is."""

Batch = namedtuple("Batch", ["schedule", "start", "rows", "numbers", "step", "places"])
"""A batch: its schedule, its first row and their number, its numbers and its step's number; and
where the program's places are."""


def _work_types(real):
    at, integers, size = types.CPointer(real), types.CPointer(types.int64), types.int64
    floats = types.CPointer(types.float64)
    run = types.NamedTuple(
        (integers, integers, integers, integers, integers, size, size, floats, size)
        + (types.uint64, types.uint64, floats, size, size, size, at),
        Run,
    )
    return (run, size, size)


@shared(_work_types)
def work(run, worker, count):
    """What one of ``count`` threads does: its own tasks, and those that nobody has begun."""
    scratch = run.scratch + worker * run.bytes
    places = located(scratch, run.program)
    find_places(run, places)
    scratch += places_bytes(header_of(run.program).places)
    turn, before, number = np.int64(0), np.int64(0), np.int64(0)
    for start in range(0, run.rows, run.batch):
        rows = min(run.batch, run.rows - start)
        schedule = run.schedule if rows == run.batch else run.rest
        numbers, step = ahead(run.numbers, number * run.per_batch), run.step + np.uint64(number)
        batch = Batch(schedule, start, rows, numbers, step, places)
        summary = summary_of(schedule)
        for index in range(summary.stages):
            stage = stage_of(schedule, index)
            turn += 1
            if not _begins(run.control, before, count):
                return
            is_guarded, is_checked = index == summary.guarded, False
            for some in range(stage.tasks):
                part = _turn_of(worker, some, stage.tasks, count)
                if count == 1 or claim_turn(run.control + _CLAIMS + 8 * part, turn):
                    if is_guarded and (part == 0 or not is_checked):
                        if not _goes_on(run, batch, part == 0):
                            return
                        is_checked = True
                    counted = np.int64(0)
                    if stage.sharing == BY_BLOCKS:
                        block_task(run, batch, stage, part, count, scratch)
                    elif stage.sharing == BY_LINES:
                        line_task(run, batch, stage, part, count, scratch)
                    else:
                        counted = rows_task(run, batch, stage, part, count, scratch)
                    if counted:
                        add_at(run.control + _COUNTED, counted)
                    if count > 1:
                        add_at(run.control + _DONE, 1)
            before += stage.tasks
        number += 1


# --- turns ---


@inner
def _turn_of(worker, some, parts, count):
    """The part that a thread tries as its ``some``-th: its own first, the same in each batch.

    So it finds what it wrote last time in its own cache.
    """
    part = worker * parts // count + some
    return part - parts if part >= parts else part


@inner
def _begins(control, before, count):
    """Wait until all tasks of earlier stages are done; False where the run has been stopped."""
    if count == 1:
        return True
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
def _goes_on(run, batch, is_first):
    """Whether a batch's loss is finite; the first task that moves something writes down totals."""
    header = header_of(run.program)
    loss = mean(_rows_at(run, header.losses), batch.rows)
    totals = run.totals
    finite = loss - loss == 0.0
    if not finite:
        # Any thread, for the first task may never be begun; all would write the same number.
        totals[0] = loss
        claim_turn(run.control + _DONE, _STOPPED)
    elif is_first:
        totals[0] = loss
        totals[1] += loss * batch.rows
        totals[2] += batch.rows
        for measured in range(header.measured):
            values = _rows_at(run, header.measures + measured)
            totals[3 + measured] += mean(values, batch.rows) * batch.rows
    return finite


@inner
def _rows_at(run, index):
    """One number a row of the batch, in the workspace."""
    place = place_of(run.program, index)
    return ahead(located(run.bases[SPACE], run.like), place.start * run.batch)


# --- memory ---


@inner
def _cleared(memory, size):
    """The first whole cache line of some memory; ``size`` bytes from there are zeros, 0.0 too."""
    control = units(memory, LINE) * LINE
    for place in range(0, size, 8):
        start_counting(control + place)
    return control


@kernel(
    "x (n, w), targets (t, v), order <r>, program <p>, schedule <s>, rest <e>, bases <b>, "
    "numbers numbers, per_batch int64, rows int64, batch int64, key uint64, step uint64, "
    "count threads -> out (o, u), measures (m, z), totals numbers",
    nanoseconds=lambda *_: 0.0,
    public=False,
    calls=("block_product", "work"),
)
def execute(  # noqa: PLR0913, PLR0917 - a compiled function gets each array by itself
    x: Array,
    targets: Array,
    order: Array,
    program: Array,
    schedule: Array,
    rest: Array,
    bases: Array,
    numbers: Array,
    per_batch: int,
    rows: int,
    batch: int,
    key: int,
    step: int,
    out: Array,
    measures: Array,
    totals: Array,
    count: int,
) -> int:
    """Run a program on ``rows`` rows, ``batch`` of them at a time.

    Parameters
    ----------
    x, targets : ndarray
        The data: the rows in ``order`` where the program gathers them, else all in turn.
    order : ndarray of int64
    program, schedule, rest : ndarray of int64
        ``rest`` is the schedule of a last batch that has fewer rows.
    bases : ndarray of int64
        Where a workspace, parameters, states and gradients are; without a workspace (0), one is
        made that lasts as long as the call.
    numbers : ndarray of float64
        The operations' numbers, ``per_batch`` further for each batch.
    rows, batch : int
    key, step : int
        Of random numbers: the model's key, and the number of the first batch.
    out, measures : ndarray
        What the program writes for each row: scores, classes, losses, what is measured.
    totals : ndarray of float64
        The last batch's loss; then, added to what is there, over all batches that parameters have
        moved by, the sum over rows of their batch's loss, the rows, and the sum of each measure.
        Before a loss that is not finite, training stops.

    Returns
    -------
    int
        What rowwise operations have counted.
    """
    at_program, at_bases = pointer(program), pointer(bases)
    header, summary = header_of(at_program), summary_of(pointer(schedule))
    shared_bytes = _CLAIMS + units(8 * summary.tasks, LINE) * LINE
    more = summary_of(pointer(rest))
    shared_bytes = max(shared_bytes, _CLAIMS + units(8 * more.tasks, LINE) * LINE)
    scratch_bytes, space_bytes = max(summary.scratch, more.scratch), np.int64(0)
    if at_bases[SPACE] == 0:
        space_bytes = units(header.width * batch * itemsize(pointer(x)), LINE) * LINE
    memory = allocate(shared_bytes + LINE * 3 + space_bytes + scratch_bytes * count)
    control = _cleared(memory, shared_bytes + 2 * LINE)
    scratch = control + shared_bytes + 2 * LINE
    all_bases = memory_at(control + shared_bytes, program)
    for index in range(SPACE, X):
        all_bases[index] = at_bases[index]
    if at_bases[SPACE] == 0:
        all_bases[SPACE] = scratch + scratch_bytes * count
    all_bases[X], all_bases[TARGETS] = address_of(pointer(x)), address_of(pointer(targets))
    all_bases[OUT], all_bases[MEASURES] = address_of(pointer(out)), address_of(pointer(measures))
    for worker in prange(count):
        run = Run(
            *(pointer(program), pointer(schedule), pointer(rest)),
            *(memory_at(control + shared_bytes, program), pointer(order), rows, batch),
            *(pointer(numbers), per_batch, key, step, pointer(totals)),
            *(control, scratch, scratch_bytes, pointer(x)),
        )
        work(run, worker, count)
    counted = read_at(control + _COUNTED)
    free(memory)
    return counted
