"""A schedule: how so many threads share a program's work on batches of so many rows.

It depends on nothing else, so it is made once for all batches of a size, and neither plans nor
sizes are worked out while a network runs.

::

    header | stages | tasks of each line | plans: of each line and part
"""

from collections import namedtuple

import numpy as np

from kernels.intrinsics import LINE, ahead, itemsize, pointer
from kernels.network.program import (
    COLUMNWISE,
    MOVES,
    PRODUCT,
    UPDATE,
    Header,
    header_of,
    line_of,
)
from kernels.product.loops import Plan, plan_of, share, units
from kernels.product.microkernel import ROWS, TRANSPOSE_A, TRANSPOSE_B
from kernels.runtime.jit import Array, inner, kernel

BY_ROWS, BY_BLOCKS, BY_LINES = range(3)
"""How a stage's tasks differ: rows through all of its lines, blocks of a product, or lines."""

Stage = namedtuple("Stage", ["first", "end", "tasks", "sharing"])
"""Lines that follow each other without waiting, and how many tasks they are."""

Summary = namedtuple("Summary", ["stages", "scratch", "tasks", "guarded"])
"""How many stages there are, the bytes that a thread needs for itself, the most tasks of a stage,
and the first stage that moves what training keeps."""

ALONE = 2**21
"""Multiply-adds from which on the threads share one product, rather than rows through several."""
PART = 2**18
"""Multiply-adds (5 us) that are worth a task of their own."""
ELEMENT = 32
"""Multiply-adds that an element costs in a pass that is no product."""
RUN = 2**14
"""Elements of an update that are worth a task of their own."""

_SUMMARY, _STAGE, _PLAN = len(Summary._fields), len(Stage._fields), len(Plan._fields)


def schedule_size(program: Array, count: int) -> int:
    """How many numbers the schedule of a program for so many threads is."""
    lines = int(Header(*program[: len(Header._fields)]).lines)
    return _SUMMARY + lines * (_STAGE + 1 + count * _PLAN)


@inner
def summary_of(schedule):
    """A schedule's header."""
    at = schedule
    return Summary(at[0], at[1], at[2], at[3])


@inner
def stage_of(schedule, index):
    """The stage of that number."""
    at = ahead(schedule, _SUMMARY + index * _STAGE)
    return Stage(at[0], at[1], at[2], at[3])


@inner
def tasks_of(schedule, lines, index):
    """How many tasks a line is, in a stage by lines or by blocks."""
    return schedule[_SUMMARY + lines * _STAGE + index]


@inner
def plan_for(schedule, lines, index, part, count):
    """How a part of a product is cut."""
    before = _SUMMARY + lines * (_STAGE + 1)
    at = ahead(schedule, before + (index * count + part) * _PLAN)
    return Plan(
        *(at[0], at[1], at[2], at[3], at[4], at[5]),
        *(at[6], at[7], at[8], at[9], at[10], at[11]),
    )


@inner
def _write(start, numbers):
    for i, number in enumerate(numbers):
        start[i] = np.int64(number)


@kernel("program <p>, like (1, q), rows int64, count int64 -> schedule <s>", public=False)
def make_schedule(program: Array, like: Array, rows: int, count: int, schedule: Array) -> None:
    """Write the schedule of a program for batches of so many rows, shared by so many threads.

    Parameters
    ----------
    program : ndarray of int64
    like : ndarray
        Of the dtype that the program is for.
    rows, count : int
    schedule : ndarray of int64, as many as `schedule_size` says
    """
    at, out, real = pointer(program), pointer(schedule), pointer(like)
    lines = header_of(at).lines
    first, stages, scratch = np.int64(0), np.int64(0), np.int64(0)
    most, guarded = np.int64(count), np.int64(-1)
    while first < lines:
        stage = _stage_from(at, first, lines, rows, count)
        tasks = np.int64(0)
        for index in range(stage.first, stage.end):
            line = line_of(at, index)
            parts, needed = _plan_line(line, index, stage, rows, count, real, out, lines)
            scratch, tasks = max(scratch, needed), tasks + parts
        if stage.sharing == BY_ROWS:
            tasks = stage.tasks
        if guarded < 0 and line_of(at, first).flags & MOVES:
            guarded = stages
        _write(
            ahead(out, _SUMMARY + stages * _STAGE), (stage.first, stage.end, tasks, stage.sharing)
        )
        most, stages, first = max(most, tasks), stages + 1, stage.end
    _write(out, (stages, units(scratch, LINE) * LINE, most, guarded))


@inner
def _stage_from(program, first, lines, rows, count):
    """The lines from the first on that follow each other without waiting, and their tasks by rows.

    Threads share one large product by blocks, so that each packs only a part of the weights.
    """
    start = line_of(program, first)
    if start.flags & MOVES:
        end = first + 1
        while end < lines and line_of(program, end).flags & MOVES:
            end += 1
        return Stage(first, end, np.int64(0), np.int64(BY_LINES))
    if _sums_over_rows(start):
        return Stage(first, first + 1, np.int64(0), np.int64(BY_LINES))
    end, multiply_adds = first, 0
    while end < lines:
        line = line_of(program, end)
        if line.flags & MOVES or _sums_over_rows(line):
            break
        if line.family == PRODUCT:
            size = rows * line.n_in * line.n_out
            if count > 1 and size >= ALONE:
                if end > first:
                    break
                return Stage(first, first + 1, np.int64(0), np.int64(BY_BLOCKS))
            multiply_adds += size
        else:
            multiply_adds += ELEMENT * rows * line.n_out
        end += 1
    parts = max(1, min(count, multiply_adds // PART, units(rows, ROWS)))
    return Stage(first, end, parts, np.int64(BY_ROWS))


@inner
def _sums_over_rows(line):
    """Whether a line needs all rows of a batch at once."""
    return line.family == COLUMNWISE or line.flags & TRANSPOSE_A != 0


@inner
def _plan_line(line, index, stage, rows, count, like, schedule, lines):
    """Write a line's plans and tasks; how many tasks it is by itself, and a task's bytes."""
    parts, needed = np.int64(1), np.int64(0)
    plans = ahead(schedule, _SUMMARY + lines * (_STAGE + 1) + index * count * _PLAN)
    if line.family == PRODUCT:
        splits = stage.tasks if stage.sharing == BY_ROWS else np.int64(1)
        for part in range(splits):
            i, i_end = np.int64(0), rows
            threads = np.int64(1)
            if stage.sharing == BY_ROWS:
                i, i_end = share(rows, splits, part, ROWS)
            elif stage.sharing == BY_BLOCKS:
                threads = count
            else:
                # No more blocks than are worth a task.
                threads = min(count, max(1, rows * line.n_in * line.n_out // PART))
            plan = _plan_of_rows(line, i_end - i, threads, like)
            _write(ahead(plans, part * _PLAN), plan)
            needed = max(needed, plan.bytes)
            parts = plan.rows * plan.columns
    elif line.family == COLUMNWISE:
        needed = line.n_out * itemsize(like) + LINE
    elif line.family == UPDATE:
        parts = max(1, min(count, units(line.n_out, RUN)))
    schedule[_SUMMARY + lines * _STAGE + index] = parts
    return parts, needed


@inner
def _plan_of_rows(line, rows, threads, like):
    """How a product of a part of the rows is cut, or an update's, which sums over the rows."""
    n, flags = line.n_out, line.flags
    updates = np.int64(flags & MOVES != 0 and line.then != 0)
    m, k = (line.n_in, rows) if flags & TRANSPOSE_A else (rows, line.n_in)
    a_step = line.n_in if flags & TRANSPOSE_A else np.int64(1)
    b_row = k if flags & TRANSPOSE_B else np.int64(1)
    return plan_of((m, n, k), a_step, b_row, flags, updates, like, threads)
