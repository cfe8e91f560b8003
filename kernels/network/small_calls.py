"""One training step of a small network on class labels, with little overhead.

A step of 64-32-10 takes 6 microseconds; checks and arguments in Python take several times that. So
one record holds everything that is the same at each step, and this kernel checks the batch and its
labels. A misfit is refused before anything is updated: the caller then takes the general path,
which raises the error.
"""

from collections import namedtuple

import numpy as np
from numba import types

from kernels.intrinsics import LINE, address_of, allocate, free, pointer, pointer_at, read_at
from kernels.network.interpreter import CONTROL_BYTES, COUNTED, Run, cleared, work
from kernels.network.program import BASES, OUT, SPACE, TARGETS, X
from kernels.runtime.jit import Array, inner, kernel

TAKEN, REFUSED = 1, 0
BASES_BYTES = -(-8 * BASES // LINE) * LINE
"""Whole cache lines."""

Record = namedtuple(
    "Record",
    [
        "program", "schedule", "bases", "order", "labels", "numbers", "totals", "control",
        "scratch", "key", "rows", "n_in", "n_classes",
    ],
)  # fmt: skip
"""Addresses of the arguments of `interpreter.execute`, of a copy of the labels, of control and
scratch memory; the model's key as int64; and the expected sizes of a batch."""


@inner
def _record_at(record):
    at = record
    return Record(
        *(at[0], at[1], at[2], at[3], at[4], at[5], at[6]),
        *(at[7], at[8], at[9], at[10], at[11], at[12]),
    )


@kernel(
    "x (n, w), labels <l>, record <r>, step uint64",
    public=False,
    calls=("block_product", "work"),
    is_short=True,
)
def step_on_labels(x: Array, labels: Array, record: Array, step: int) -> int:
    """Run a record's program on one batch; `REFUSED` where the batch does not match the record.

    The totals are those of `interpreter.execute`; no memory is allocated.
    """
    like, call = pointer(x), _record_at(pointer(record))
    if x.shape[0] != call.rows or x.shape[1] != call.n_in or labels.size != call.rows:
        return REFUSED
    integers = pointer(record)
    own = pointer_at(call.labels, integers)
    for i in range(call.rows):
        label = labels[i]
        if label < 0 or label >= call.n_classes:
            return REFUSED
        own[i] = label
    bases = pointer_at(call.bases, integers)
    bases[X], bases[TARGETS] = address_of(like), call.labels
    schedule = pointer_at(call.schedule, integers)
    numbers = pointer_at(call.numbers, np.float64)
    totals = pointer_at(call.totals, np.float64)
    totals[0] = 0.0
    run = Run(
        *(pointer_at(call.program, integers), schedule, schedule, bases),
        *(pointer_at(call.order, integers), call.rows, call.rows, numbers, np.int64(0)),
        *(types.uint64(call.key), step, totals, call.control, call.scratch, np.int64(0), like),
    )
    work(run, np.int64(0), np.int64(1))
    return TAKEN


InferenceRecord = namedtuple(
    "InferenceRecord",
    [
        "program", "schedule", "bases", "numbers", "rows", "n_in", "n_out", "space_bytes",
        "scratch_bytes",
    ],
)  # fmt: skip
"""Addresses of what `interpreter.execute` takes for inference, what x and out have to be, and the
memory that a call takes for itself, since several threads may predict at once."""


@kernel(
    "x (n, w), record <r> -> out (o, u)",
    public=False,
    calls=("block_product", "work"),
    is_short=True,
)
def infer_few(x: Array, record: Array, out: Array) -> int:
    """Run the program of a record on a few rows: what it has counted, or -1 for a misfit."""
    like, at = pointer(x), pointer(record)
    call = InferenceRecord(*(at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7], at[8]))
    if x.shape[0] != call.rows or x.shape[1] != call.n_in:
        return -1
    if out.shape[0] != call.rows or out.shape[1] != call.n_out:
        return -1
    before = CONTROL_BYTES + BASES_BYTES
    memory = allocate(LINE + before + call.space_bytes + call.scratch_bytes)
    control = cleared(memory, before)
    bases, given = pointer_at(control + CONTROL_BYTES, at), pointer_at(call.bases, at)
    for index in range(SPACE, X):
        bases[index] = given[index]
    bases[SPACE] = control + before
    bases[X], bases[OUT] = address_of(like), address_of(pointer(out))
    schedule, totals = pointer_at(call.schedule, at), pointer_at(control, np.float64)
    run = Run(
        *(pointer_at(call.program, at), schedule, schedule, bases, at, call.rows, call.rows),
        *(pointer_at(call.numbers, np.float64), np.int64(0), np.uint64(0), np.uint64(0), totals),
        *(control, control + before + call.space_bytes, np.int64(0), like),
    )
    work(run, np.int64(0), np.int64(1))
    counted = read_at(control + COUNTED)
    free(memory)
    return counted
