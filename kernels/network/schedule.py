"""A schedule: how a number of threads share a program's work on batches of a number of rows.

It is made once for all batches of a size, so nothing is planned while a network runs.

::

    header | stages | tasks of each line | plans: of each line and part
"""

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.intrinsics import LINE, ahead
from kernels.network.program import COLUMNWISE, MOVES, PRODUCT, UPDATE, Line, lines_in
from kernels.product.block_sizes import CACHES
from kernels.product.flags import BY_COLUMNS, IN_BLOCKS, TRANSPOSE_A, TRANSPOSE_B
from kernels.product.loops import Plan, plan_of
from kernels.product.microkernel import ROWS
from kernels.runtime.jit import Array, inner, interpreted

BY_ROWS, BY_BLOCKS, BY_LINES, BY_OWN_LINES = range(4)
"""What a stage's task is: rows through all its lines, a block of a product, or part of a line; the
last where the first line has a block of weights for each thread, which it begins with."""

Stage = namedtuple("Stage", ["first", "end", "tasks", "sharing"])
"""Lines that run without waiting in between, and their number of tasks."""

Summary = namedtuple("Summary", ["stages", "scratch", "tasks", "guarded"])
"""The number of stages, a thread's scratch bytes, the most tasks of a stage, and the first stage
that updates what training keeps."""

ALONE = 2**21
"""Multiply-adds above which threads share one product, rather than rows through several lines."""
PART = 2**18
"""Multiply-adds (5 us) per task."""
ELEMENT = 32
"""Multiply-adds that an element costs in a line that is no product."""
RUN = 2**14
"""Elements of an update per task."""

_SUMMARY, _STAGE, _PLAN = len(Summary._fields), len(Stage._fields), len(Plan._fields)


_plan_of = interpreted(plan_of)

PLACE_NUMBERS = 3
"""What a thread keeps of each place of a program; see `tasks.find_places`."""


@inner
def places_bytes(places):
    """Bytes that a thread keeps of a program's places: whole cache lines."""
    return (places * PLACE_NUMBERS * 8 + LINE - 1) // LINE * LINE


@inner
def summary_of(schedule):
    """A schedule's header."""
    at = schedule
    return Summary(at[0], at[1], at[2], at[3])


@inner
def stage_of(schedule, index):
    """Stage number ``index``."""
    at = ahead(schedule, _SUMMARY + index * _STAGE)
    return Stage(at[0], at[1], at[2], at[3])


@inner
def tasks_of(schedule, lines, index):
    """The number of a line's tasks, in a stage by lines or by blocks."""
    return schedule[_SUMMARY + lines * _STAGE + index]


@inner
def stored_plan(schedule, lines, index, part, count):
    """The plan of a part of a product."""
    before = _SUMMARY + lines * (_STAGE + 1)
    at = ahead(schedule, before + (index * count + part) * _PLAN)
    return Plan(
        *(at[0], at[1], at[2], at[3], at[4], at[5]),
        *(at[6], at[7], at[8], at[9], at[10], at[11], at[12]),
    )


def make_schedule(program: Array, like: Array, rows: int, count: int) -> Array:
    """The schedule of a program for batches of ``rows`` rows and ``count`` threads.

    Parameters
    ----------
    program : ndarray of int64
    like : ndarray
        An array of the program's dtype.
    rows, count : int

    Returns
    -------
    ndarray of int64
    """
    lines = lines_in(program)
    tasks = np.ones(len(lines), np.int64)
    plans = np.zeros((len(lines), count, _PLAN), np.int64)
    stages: list[Stage] = []
    scratch = first = 0
    while first < len(lines):
        stage = _stage_from(lines, first, rows, count)
        for index in range(stage.first, stage.end):
            tasks[index], needed = _plan_line(lines[index], stage, rows, count, like, plans[index])
            scratch = max(scratch, needed)
        if stage.sharing != BY_ROWS:
            stage = stage._replace(tasks=int(tasks[stage.first : stage.end].sum()))
        stages.append(stage)
        first = stage.end
    moving = (i for i, stage in enumerate(stages) if lines[stage.first].flags & MOVES)
    most = max([count, *(stage.tasks for stage in stages)])
    places = _ceil_div(int(program[1]) * PLACE_NUMBERS * 8, LINE)
    needed = (_ceil_div(scratch, LINE) + places) * LINE
    summary = Summary(len(stages), needed, most, next(moving, -1))
    table = np.zeros((len(lines), _STAGE), np.int64)
    table[: len(stages)] = stages
    return np.concatenate([np.array(summary, np.int64), table.ravel(), tasks, plans.ravel()])


def _stage_from(lines: Sequence[Line], first: int, rows: int, count: int) -> Stage:
    """The stage that starts at line ``first``, and its tasks by rows.

    Threads share a large product by blocks, so that each packs only a part of the weights.
    """
    if lines[first].flags & MOVES:
        moving = (i for i in range(first, len(lines)) if not lines[i].flags & MOVES)
        sharing = BY_OWN_LINES if lines[first].flags & IN_BLOCKS else BY_LINES
        return Stage(first, next(moving, len(lines)), 0, sharing)
    if _sums_over_rows(lines[first]) or lines[first].rows:
        return Stage(first, first + 1, 0, BY_LINES)
    end, multiply_adds = first, 0
    while end < len(lines):
        line = lines[end]
        if line.flags & MOVES or _sums_over_rows(line) or line.rows:
            break
        size = rows * line.n_in * line.n_out
        if line.family != PRODUCT:
            multiply_adds += ELEMENT * rows * line.n_out
        elif count == 1 or (size < ALONE and not line.flags & IN_BLOCKS):
            multiply_adds += size
        elif end > first:
            break
        else:
            return Stage(first, first + 1, 0, BY_BLOCKS)
        end += 1
    tasks = max(1, min(count, multiply_adds // PART, _ceil_div(rows, ROWS)))
    return Stage(first, end, tasks, BY_ROWS)


def _sums_over_rows(line: Line) -> bool:
    """Whether a line sums over the rows of a batch."""
    return line.family == COLUMNWISE or line.flags & TRANSPOSE_A != 0


def _plan_line(
    line: Line, stage: Stage, rows: int, count: int, like: Array, plans: Array
) -> tuple[int, int]:
    """Write a line's plans; return its number of tasks and a task's scratch bytes."""
    if line.family == COLUMNWISE:
        return 1, line.n_out * like.itemsize + LINE
    if line.family == UPDATE:
        return max(1, min(count, _ceil_div(line.n_out, RUN))), 0
    if line.rows:
        return max(1, min(count, line.rows, _ceil_div(line.rows * line.n_in, RUN))), 0
    if line.family != PRODUCT:
        return 1, 0
    if stage.sharing != BY_ROWS:
        # A product that sums over rows has no more blocks than are worth a task.
        worth = max(1, rows * line.n_in * line.n_out // PART)
        has_blocks = stage.sharing == BY_BLOCKS or line.flags & IN_BLOCKS
        threads = count if has_blocks else min(count, worth)
        plan = _plan_rows(line, rows, threads, like, plans[0])
        return plan.rows * plan.columns, plan.bytes
    needed, whole = 0, _ceil_div(rows, ROWS)
    for part in range(stage.tasks):
        first, end = (min(rows, whole * i // stage.tasks * ROWS) for i in (part, part + 1))
        needed = max(needed, _plan_rows(line, end - first, 1, like, plans[part]).bytes)
    return 1, needed


def _plan_rows(line: Line, rows: int, threads: int, like: Array, out: Array) -> Any:
    """The plan of a product of some rows, or of one that sums over them."""
    flags = line.flags
    # By columns each thread packs its own part of weights that level 2 cannot hold. Smaller weights
    # are cut along the longer side of the product: of columns a prefetcher would also take the next
    # ones, which another core writes. (Ice Lake, two threads: 0.82 to 0.92 of the time of columns
    # at 784-128-10 and 300-100-10, batches of 32 to 256; at 1024 x 1024 columns take 0.8 to 1.0.)
    if line.n_in * line.n_out * like.itemsize > CACHES.level_2.size:
        flags |= BY_COLUMNS
    updates = int(flags & MOVES != 0 and line.then != 0)
    sums = flags & TRANSPOSE_A != 0
    m, k = (line.n_in, rows) if sums else (rows, line.n_in)
    a_k_stride, b_row = line.n_in if sums else 1, k if flags & TRANSPOSE_B else 1
    plan = _plan_of((m, line.n_out, k), a_k_stride, b_row, flags, updates, like.itemsize, threads)
    out[:] = plan
    return plan


def _ceil_div(size: int, unit: int) -> int:
    return -(-size // unit)
