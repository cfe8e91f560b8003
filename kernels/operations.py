"""Kernels that run an operation on arrays: on one thread, or on as many as it is worth.

An operation is a formula in a loop's text (``kernels/entries.py``). The kernels here give it blocks
of arrays; a network's program gives it parts of a batch. It is the same machine code.
"""

from collections.abc import Sequence
from typing import Any

from numba import prange

from kernels.intrinsics import (
    ahead,
    invoke,
    pointer,
    row_of,
)
from kernels.runtime.families import (
    COLUMNWISE,
    ELEMENTWISE,
    LOSS,
    ROWWISE,
    UPDATE,
    Counter,
    Operation,
    numbers_array,
)
from kernels.runtime.jit import Array, inner, kernel

_BLOCK = 16_384
"""Elements that a thread takes at a time: 64 KB of float32, a few microseconds."""

_COLUMNS = 64
"""Columns that a thread takes at a time."""


@kernel(
    "function int64, x (...), dy (...), numbers numbers -> out (...)",
    nanoseconds=lambda *_: 0.0,
    public=False,
)
def elementwise(function: int, x: Array, dy: Array, numbers: Array, out: Array) -> None:
    """An elementwise operation on all elements."""
    for block in prange((out.size + _BLOCK - 1) // _BLOCK):
        start = block * _BLOCK
        x_block, dy_block = ahead(pointer(x), start), ahead(pointer(dy), start)
        out_block, count = ahead(pointer(out), start), min(_BLOCK, out.size - start)
        invoke(
            ELEMENTWISE,
            function,
            (x_block, dy_block, out_block, 1, count, 0, pointer(numbers)),
        )


@kernel(
    "function int64, x (batch, n), dy (d, m), parameters (r, p), numbers numbers, key uint64, "
    "stream uint64 -> out (batch, n_out)",
    nanoseconds=lambda *_: 0.0,
    public=False,
)
def rowwise(
    function: int,
    x: Array,
    dy: Array,
    parameters: Array,
    numbers: Array,
    key: int,
    stream: int,
    out: Array,
) -> None:
    """A rowwise operation on all rows; a ``dy`` of one row is that of all of them."""
    batch, n = x.shape
    some = _rows_at_a_time(n)
    for block in prange((batch + some - 1) // some):
        first = block * some
        rows = min(some, batch - first)
        of_dy = first if dy.shape[0] == batch else 0
        operands = row_of(x, first), row_of(dy, of_dy), row_of(out, first)
        given = pointer(parameters), pointer(numbers), Counter(key, stream, first)
        invoke(ROWWISE, function, operands + (rows, n) + given)


@kernel(
    "function int64, x (batch, n), dy (d, m), numbers numbers, width int64 -> out (r, w)",
    nanoseconds=lambda *_: 0.0,
    public=False,
)
def columnwise(function: int, x: Array, dy: Array, numbers: Array, width: int, out: Array) -> None:
    """A columnwise operation on all columns, ``width`` of them at a time."""
    batch, n = x.shape
    for block in prange((n + width - 1) // width):
        first = block * width
        operands = ahead(pointer(x), first), ahead(pointer(dy), first), ahead(pointer(out), first)
        columns = min(width, n - first)
        invoke(COLUMNWISE, function, operands + (batch, columns, n, pointer(numbers)))


@kernel(
    "function int64, scores (batch, n), targets (batch, t), numbers numbers -> out (batch, n), "
    "out_losses (batch, 1), out_measures (batch, 1)",
    nanoseconds=lambda *_: 0.0,
    public=False,
)
def loss(
    function: int,
    scores: Array,
    targets: Array,
    numbers: Array,
    out: Array,
    out_losses: Array,
    out_measures: Array,
) -> None:
    """The loss of each row, what is measured of it, and the gradient of the mean loss."""
    batch, n = scores.shape
    some = _rows_at_a_time(n)
    for block in prange((batch + some - 1) // some):
        first = block * some
        rows = min(some, batch - first)
        inputs = row_of(scores, first), row_of(targets, first)
        outputs = row_of(out, first), row_of(out_losses, first), row_of(out_measures, first)
        invoke(LOSS, function, inputs + outputs + (rows, n, batch, pointer(numbers)))


@kernel(
    "function int64, gradients (...), numbers numbers, states (s, q), apart int64 -> "
    "parameters (...)",
    nanoseconds=lambda *_: 0.0,
    public=False,
)
def update(
    function: int,
    parameters: Array,
    gradients: Array,
    states: Array,
    apart: int,
    numbers: Array,
) -> None:
    """An optimizer's step; its states begin at ``states``, ``apart`` elements from one another."""
    size = parameters.size
    for block in prange((size + _BLOCK - 1) // _BLOCK):
        start = block * _BLOCK
        places = ahead(pointer(parameters), start), ahead(pointer(gradients), start)
        state, count = ahead(pointer(states), start), min(_BLOCK, size - start)
        invoke(UPDATE, function, (*places, state, apart, 1, count, 0, 0, pointer(numbers)))


@inner
def _rows_at_a_time(n):
    """Rows of n elements that a thread takes at a time; whole groups of sixteen."""
    return max(1, _BLOCK // (16 * max(n, 1))) * 16


def run_elementwise(operation: Operation, x: Array, dy: Array, numbers: Array, out: Array) -> None:
    """An elementwise operation on arrays of one size, on as many threads as it is worth."""
    elementwise.sized(
        operation.nanoseconds * out.size, operation.address(out.dtype), x, dy, numbers, out
    )


def run_rowwise(
    operation: Operation,
    x: Array,
    dy: Array,
    out: Array,
    numbers: Sequence[float] = (),
    parameters: Array | None = None,
    key: int = 0,
    stream: int = 0,
) -> None:
    """A rowwise operation on all rows, on as many threads as it is worth."""
    address, given = operation.address(x.dtype), x if parameters is None else parameters
    rowwise.sized(
        operation.nanoseconds * x.size,
        *(address, x, dy, given, numbers_array(numbers), key, stream, out),
    )


def run_columnwise(
    operation: Operation,
    x: Array,
    dy: Array,
    out: Array,
    numbers: Sequence[float] = (),
    width: int = _COLUMNS,
) -> None:
    """A columnwise operation on all columns, on as many threads as it is worth.

    ``width`` is how many columns are taken at a time: all of them, where they belong together.
    """
    columnwise.sized(
        operation.nanoseconds * x.size,
        *(operation.address(x.dtype), x, dy, numbers_array(numbers), width, out),
    )


def run_update(
    operation: Operation,
    parameters: Array,
    gradients: Array,
    states: Array,
    numbers: Sequence[float],
) -> None:
    """An optimizer's step, on as many threads as it is worth; each row of ``states`` is one.

    Rows of ``states`` are contiguous, and may be parts of longer ones.
    """
    apart = states.strides[0] // states.itemsize
    first = states[:1] if states.size else gradients  # any array: it is not read
    update.sized(
        operation.nanoseconds * parameters.size,
        *(operation.address(parameters.dtype), parameters, gradients, first, apart),
        numbers_array(numbers),
    )


def run_loss(
    operation: Operation,
    scores: Array,
    targets: Array,
    numbers: Sequence[float],
    out: Array,
    out_losses: Array,
    out_measures: Array,
) -> None:
    """A loss operation on all rows, on as many threads as it is worth."""
    loss.sized(
        operation.nanoseconds * scores.size,
        *(operation.address(scores.dtype), scores, targets, numbers_array(numbers)),
        *(out, out_losses, out_measures),
    )


def as_words(targets: Array, dtype: Any) -> Array:
    """Targets as rows of numbers of a dtype: int64 labels are read as such, bit by bit."""
    return targets if targets.ndim == 2 else targets.view(dtype).reshape(len(targets), -1)
