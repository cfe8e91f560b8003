"""The interpreter: runs a program on many mini-batches in one compiled call.

Threads claim tasks (parts of the rows, or blocks of the weights) in the order of the program, each
thread its own tasks first, and wait only for claimed tasks of earlier stages. So many batches share
one parallel region, and a thread that the system runs late, or never, delays no other. The program
holds the addresses of the functions that compute.
"""

from collections import namedtuple

import numpy as np
from numba import prange, types

from kernels.intrinsics import (
    LANES,
    LINE,
    add_at,
    address_of,
    ahead,
    aligned_pointer,
    allocate,
    free,
    itemsize,
    load,
    pause,
    pointer,
    pointer_at,
    raise_to,
    read_at,
    store,
    yield_thread,
    zero_at,
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
from kernels.network.schedule import (
    BY_BLOCKS,
    BY_LINES,
    BY_OWN_LINES,
    places_bytes,
    stage_of,
    summary_of,
)
from kernels.network.tasks import block_task, find_places, line_task, operand, rows_task
from kernels.product.loops import ceil_div
from kernels.runtime.jit import Array, inner, kernel, shared

_SPINS = 2_000
"""Pauses, of about 20 ns on x86, before a waiting thread offers its core to others."""
_STOPPED = 2**60
"""The count of finished tasks that stops all threads."""

# The memory that threads share, on separate cache lines: tasks done; what is counted; then the last
# generation in which each part was claimed. Each stage of each batch is a generation.
_DONE, COUNTED, _CLAIMS = 0, LINE, 2 * LINE
PIECE = 5
"""Numbers of a piece that is copied for the length of a call: the address of its first row, the
bytes from row to row, the address where they lie together, rows, and numbers of a row."""
CONTROL_BYTES = 3 * LINE
"""Bytes of it that a single thread needs."""

Run = namedtuple(
    "Run",
    [
        "program", "schedule", "rest", "bases", "order", "rows", "batch", "numbers",
        "per_batch", "key", "step", "totals", "control", "scratch", "bytes", "like",
    ],
)  # fmt: skip
"""A call: how its rows are cut into batches, and where all memory is."""

Batch = namedtuple("Batch", ["schedule", "start", "rows", "numbers", "step", "places"])
"""A batch: its schedule, first row, number of rows, operations' numbers, training step, and where
the program's places are."""


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
    """Run one of ``count`` threads: its own tasks, then tasks that no thread has claimed."""
    scratch = run.scratch + worker * run.bytes
    places = pointer_at(scratch, run.program)
    find_places(run, places)
    scratch += places_bytes(header_of(run.program).places)
    generation, before, number = np.int64(0), np.int64(0), np.int64(0)
    for start in range(0, run.rows, run.batch):
        rows = min(run.batch, run.rows - start)
        schedule = run.schedule if rows == run.batch else run.rest
        numbers, step = ahead(run.numbers, number * run.per_batch), run.step + np.uint64(number)
        batch = Batch(schedule, start, rows, numbers, step, places)
        summary = summary_of(schedule)
        for index in range(summary.stages):
            stage = stage_of(schedule, index)
            generation += 1
            if not _wait_for(run.control, before, count):
                return
            is_guarded, is_checked = index == summary.guarded, False
            for attempt in range(stage.tasks):
                part = _part_at(worker, attempt, stage, count)
                if count == 1 or raise_to(run.control + _CLAIMS + 8 * part, generation):
                    if is_guarded and (part == 0 or not is_checked):
                        if not _is_finite(run, batch, part == 0):
                            return
                        is_checked = True
                    counted = np.int64(0)
                    if stage.sharing == BY_BLOCKS:
                        block_task(run, batch, stage, part, count, scratch)
                    elif stage.sharing >= BY_LINES:
                        line_task(run, batch, stage, part, count, scratch)
                    else:
                        counted = rows_task(run, batch, stage, part, count, scratch)
                    if counted:
                        add_at(run.control + COUNTED, counted)
                    if count > 1:
                        add_at(run.control + _DONE, 1)
            before += stage.tasks
        number += 1


# --- claims ---


@inner
def _part_at(worker, attempt, stage, count):
    """The part that a thread tries at an attempt: its own first, the same in each batch.

    So it finds what it wrote in the last batch in its own cache.
    """
    own = worker if stage.sharing == BY_OWN_LINES else worker * stage.tasks // count
    part = own + attempt
    return part - stage.tasks if part >= stage.tasks else part


@inner
def _wait_for(control, before, count):
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
            yield_thread()
        done = read_at(control + _DONE)
    return done < _STOPPED


@inner
def _is_finite(run, batch, is_first):
    """Whether a batch's loss, and the norm of its gradients where that is taken, are finite.

    The first task of the update adds to the totals. The number that is not finite becomes the loss.
    """
    header = header_of(run.program)
    loss = mean(_rows_at(run, header.losses), batch.rows)
    totals = run.totals
    finite = loss - loss == 0.0
    if finite and header.norm >= 0:
        norm = np.float64(operand(run, batch, header.norm, np.int64(0))[0])
        if norm - norm != 0.0:
            loss, finite = norm, False
    if not finite:
        # Any thread: the first task may never be claimed, and all would write the same number.
        totals[0] = loss
        raise_to(run.control + _DONE, _STOPPED)
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
    """Where the workspace holds one number per row of the batch."""
    place = place_of(run.program, index)
    return ahead(pointer_at(run.bases[SPACE], run.like), place.start * run.batch)


# --- memory ---


@inner
def cleared(memory, size):
    """Align memory to a cache line, set ``size`` bytes to zero, and return the address."""
    control = ceil_div(memory, LINE) * LINE
    for place in range(0, size, 8):
        zero_at(control + place)
    return control


@inner
def _copy_pieces(pieces, like, is_back):
    """Copy the rows of each piece to where they lie together, or back."""
    for index in range(0, pieces.size, PIECE):
        start, row_bytes, together = pieces[index], pieces[index + 1], pieces[index + 2]
        rows, n = pieces[index + 3], pieces[index + 4]
        for i in range(rows):
            row = pointer_at(start + i * row_bytes, like)
            other = pointer_at(together + i * n * itemsize(like), like)
            source, target = (other, row) if is_back else (row, other)
            for j in range(0, n, LANES):
                store(load(ahead(source, j), LANES, n - j, 0.0), ahead(target, j), n - j)


@kernel(
    "x (n, w), targets (t, v), order <r>, program <p>, schedule <s>, rest <e>, bases <b>, "
    "pieces <c>, numbers numbers, per_batch int64, rows int64, batch int64, key uint64, "
    "step uint64, count threads -> out (o, u), measures (m, z), totals numbers",
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
    pieces: Array,
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
        The data: rows by ``order`` where the program gathers them, else in sequence.
    order : ndarray of int64
    program, schedule, rest : ndarray of int64
        ``rest`` is the schedule of a last, smaller batch.
    bases : ndarray of int64
        Addresses of workspace, parameters, states, gradients and the weights of rows; without a
        workspace (0), one is allocated for the call.
    pieces : ndarray of int64
        What lies in blocks meanwhile, `PIECE` numbers of each piece. It is copied in this call, so
        that no signal's handler, which Python runs between calls, sees a model in between.
    numbers : ndarray of float64
        The operations' numbers, ``per_batch`` of them for each batch.
    rows, batch : int
    key, step : int
        For random numbers: the model's key, and the training step of the first batch.
    out, measures : ndarray
        What the program writes for each row: scores or classes; losses and measures.
    totals : ndarray of float64
        The last batch's loss; then sums over all batches that updated parameters, added to what is
        there: loss times rows, rows, and each measure times rows. A loss that is not finite stops
        training before the update.

    Returns
    -------
    int
        The sum of what rowwise operations counted.
    """
    at_program, at_bases = pointer(program), pointer(bases)
    header, summary = header_of(at_program), summary_of(pointer(schedule))
    shared_bytes = _CLAIMS + ceil_div(8 * summary.tasks, LINE) * LINE
    more = summary_of(pointer(rest))
    shared_bytes = max(shared_bytes, _CLAIMS + ceil_div(8 * more.tasks, LINE) * LINE)
    scratch_bytes, space_bytes = max(summary.scratch, more.scratch), np.int64(0)
    if at_bases[SPACE] == 0:
        elements = header.width * batch + header.shared
        space_bytes = ceil_div(elements * itemsize(pointer(x)), LINE) * LINE
    memory = allocate(shared_bytes + LINE * 3 + space_bytes + scratch_bytes * count)
    control = cleared(memory, shared_bytes + 2 * LINE)
    scratch = control + shared_bytes + 2 * LINE
    all_bases = aligned_pointer(control + shared_bytes, program)
    for index in range(SPACE, X):
        all_bases[index] = at_bases[index]
    if at_bases[SPACE] == 0:
        all_bases[SPACE] = scratch + scratch_bytes * count
    all_bases[X], all_bases[TARGETS] = address_of(pointer(x)), address_of(pointer(targets))
    all_bases[OUT], all_bases[MEASURES] = address_of(pointer(out)), address_of(pointer(measures))
    _copy_pieces(pieces, pointer(x), False)
    for worker in prange(count):
        run = Run(
            *(pointer(program), pointer(schedule), pointer(rest)),
            *(aligned_pointer(control + shared_bytes, program), pointer(order), rows, batch),
            *(pointer(numbers), per_batch, key, step, pointer(totals)),
            *(control, scratch, scratch_bytes, pointer(x)),
        )
        work(run, worker, count)
    _copy_pieces(pieces, pointer(x), True)
    counted = read_at(control + COUNTED)
    free(memory)
    return counted
