"""The one rule of fusion: an operation on a sum's result becomes the sum's epilogue.

A product, or a sum over rows, takes the elementwise operation or update that follows as its
``then``, if no other line reads the result. So ReLU, its mask and any optimizer's update run while
the result is in level 1, and no gradient is stored. An activation whose gradient reads the input
again is not fused, since the gradient is a second reader.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from kernels.network import program
from layers.compiled.lines import Line

_SUMS = (program.PRODUCT, program.COLUMNWISE)


def fused(lines: Sequence[Line]) -> list[Line]:
    """The lines of a program, with followers of sums merged into them."""
    readers = Counter(id(value) for line in lines for value in line.reads())
    # The index of the line that writes each value.
    made: dict[int, int] = {}
    kept: list[Line | None] = []
    for line in lines:
        main = _main_operand(line)
        at = None if main is None or readers[id(main)] != 1 else made.get(id(main))
        before = None if at is None else kept[at]
        if at is not None and before is not None and _is_open(before):
            merged = _merged(before, line)
            if merged is not None:
                kept[at] = None
                kept.append(merged)
                made[id(merged.out)] = len(kept) - 1
                continue
        kept.append(line)
        if line.out is not None:
            made[id(line.out)] = len(kept) - 1
    return [line for line in kept if line is not None]


def _is_open(line: Line) -> bool:
    """Whether an operation may follow on a line."""
    return line.then is None and line.family in _SUMS and not line.is_alone


def _main_operand(line: Line) -> object | None:
    """The operand that an operation transforms: dy of a gradient, else x."""
    if line.family == program.ELEMENTWISE:
        return line.dy if line.dy is not None else line.x
    return line.x if line.family == program.UPDATE else None


def _merged(line: Line, follower: Line) -> Line | None:
    """A sum and its follower as one line; None if they cannot be fused."""
    writers = tuple(dict.fromkeys(line.writers + follower.writers))
    if follower.family == program.UPDATE:
        return replace(
            line,
            writers=writers,
            out=follower.out,
            other=follower.other,
            states=follower.states,
            numbers=follower.numbers,
            flags=line.flags | follower.flags | _flag(line, follower),
            then=follower.operation,
        )
    if line.family != program.PRODUCT:
        return None
    other = follower.x if follower.dy is not None else follower.out
    return replace(
        line,
        writers=writers,
        out=follower.out,
        other=other,
        numbers=follower.numbers,
        flags=line.flags | _flag(line, follower),
        then=follower.operation,
    )


def _flag(line: Line, follower: Line) -> int:
    """The product's flag for its follower, if there is one."""
    operation = follower.operation
    is_product = line.family == program.PRODUCT
    return operation.in_registers if operation is not None and is_product else 0
