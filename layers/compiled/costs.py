"""The cost of lines: operations and bytes, from their families and sizes."""

from collections.abc import Sequence
from typing import NamedTuple

from kernels.network import program
from layers.compiled.lines import Line, Value

_OF_MODEL = (program.PARAMETERS, program.STATES, program.GRADIENTS)
_INDEX_BYTES = 8


class Cost(NamedTuple):
    """Operations, and bytes that are read or written."""

    operations: int
    bytes: int


UNKNOWN = Cost(0, 0)


def cost_of(
    lines: Sequence[Line], rows: int, itemsize: int, states: int = 0, measures: int = 0
) -> Cost:
    """The cost of some lines for a batch of ``rows`` rows.

    Operations are the multiplications and additions of products, biases and sums over rows. An
    update counts as one of each per parameter, whatever the optimizer; other lines count as none. A
    line reads or writes each operand once, and both for parameters and states that it updates.

    Parameters
    ----------
    lines : sequence of Line
    rows : int
    itemsize : int
        Bytes of a number.
    states : int
        Numbers that the optimizer keeps per parameter.
    measures : int
        Numbers that the loss measures per row.
    """
    operations = sum(_operations(line, rows) for line in lines)
    numbers = sum(_numbers(line, rows, states, measures) for line in lines)
    indices = sum(rows for line in lines if line.family == program.GATHER)
    return Cost(operations, numbers * itemsize + indices * _INDEX_BYTES)


def _operations(line: Line, rows: int) -> int:
    count = 2 * line.out.n if line.out is not None and line.flags & program.MOVES else 0
    if line.family == program.PRODUCT:
        count += 2 * rows * line.n_in * line.n_out
        count += rows * line.n_out if line.extra is not None else 0
    elif line.family == program.COLUMNWISE and _is_of_rows(line.x):
        count += rows * line.n_out
    return count


def _is_of_rows(value: Value | None) -> bool:
    """Whether an operand has numbers for each row of a batch."""
    return value is not None and value.place is None and not value.is_shared


def _numbers(line: Line, rows: int, states: int, measures: int) -> int:
    other = None if line.family == program.LOSS and not measures else line.other
    operands = {line.x, line.dy, line.out, line.extra, other}
    count = sum(_size(value, rows) for value in operands if value is not None)
    if line.out is not None and line.flags & program.MOVES:
        count += (1 + 2 * states) * line.out.n
    return count


def _size(value: Value, rows: int) -> int:
    of_model = value.place is not None and value.place.base in _OF_MODEL
    return value.n if of_model or value.is_shared else rows * value.n
