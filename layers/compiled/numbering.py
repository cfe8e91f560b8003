"""From recorded lines to a program's table: a number for each operand, a place for each buffer."""

from collections.abc import Iterable, Sequence
from typing import Any

from kernels.network import program
from kernels.network.program import Place
from kernels.runtime.families import Operation
from layers.base import Array
from layers.compiled.lines import Line, Value


def numbered(lines: Sequence[Line], header: dict[str, Any], unit: int, dtype: Any) -> Array:
    """The lines as a program table, with places for buffers and addresses for operations.

    Parameters
    ----------
    lines : sequence of Line
    header : dict
        ``losses``, ``measures`` and ``norm``: values; ``size``: elements from one state to the
        next.
    unit : int
        Elements of a cache line, to which each buffer is aligned for any batch size.
    dtype : numpy.dtype
    """
    numbers: dict[Value, int] = {}

    def number(value: Value | None) -> int:
        return 0 if value is None else numbers.setdefault(value, len(numbers) + 1)

    def address(operation: Operation | None) -> int:
        return 0 if operation is None else operation.address(dtype)

    losses, measures, norm = header["losses"], header["measures"], header.get("norm")
    first = [number(value) for value in measures]  # consecutive
    at_losses, at_norm = (-1 if value is None else number(value) for value in (losses, norm))
    rows = [
        program.Line(
            *(line.family, address(line.operation), line.n_in, line.n_out, number(line.x)),
            *(number(line.dy), number(line.out), number(line.extra), line.numbers, line.flags),
            *(address(line.then), number(line.other), number(line.states), line.stream, line.rows),
        )
        for line in lines
    ]
    width, shared, places = _laid_out(numbers, unit)
    head = program.Header(
        *(len(rows), len(places), at_losses, first[0] if first else 0, len(first)),
        *(width, header["size"], shared, at_norm),
    )
    return program.table_of(head, rows, places)


def _laid_out(values: Iterable[Value], unit: int) -> tuple[int, int, list[Place]]:
    """The width of the workspace, what rows share of it, and the place of each value.

    The place of no value comes first; values of one number per row lie last.
    """
    widths, starts = {False: 0, True: 0}, {}
    for value in sorted(values, key=lambda value: value.n == 1):
        if value.place is None:
            starts[value] = widths[value.is_shared]
            widths[value.is_shared] += -(-value.n // unit) * unit
    nowhere = Place(program.SPACE, 0, 0, 0)
    places = [
        value.place or Place(program.SPACE, starts[value], 0 if value.is_shared else value.n, 0)
        for value in values
    ]
    return widths[False], widths[True], [nowhere, *places]
