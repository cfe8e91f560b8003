"""What a recorder writes: lines of a program before they are numbered, operands and writers."""

from dataclasses import dataclass

from kernels.network.program import Place
from kernels.runtime.families import Operation


@dataclass(eq=False)
class Value:
    """An operand: rows of ``n`` numbers, or an array of the model.

    Attributes
    ----------
    n : int
        Numbers per row.
    place : Place or None
        Where it is; None for a buffer of the workspace that has no place yet.
    is_shared : bool
        Whether all rows of a batch have the same ``n`` numbers.
    """

    n: int
    place: Place | None = None
    is_shared: bool = False


@dataclass(frozen=True)
class Writer:
    """The writer of a line: a part of a training step, and its layers."""

    part: str
    layers: tuple[int, ...] = ()


@dataclass
class Line:
    """A line of a program before it is numbered; see `kernels.network.program.Line`."""

    family: int
    writers: tuple[Writer, ...]
    n_in: int
    n_out: int
    operation: Operation | None = None
    x: Value | None = None
    dy: Value | None = None
    out: Value | None = None
    extra: Value | None = None
    other: Value | None = None
    states: Value | None = None
    numbers: int = 0
    flags: int = 0
    then: Operation | None = None
    stream: int = 0
    is_alone: bool = False
    """Whether no update may follow in the same line: it has numbers of its own."""
    rows: int = 0

    def reads(self) -> list[Value]:
        """The operands that the line reads."""
        operands = (self.x, self.dy, self.extra, self.other)
        return [value for value in operands if value is not None and value is not self.out]


def shown_writer(writer: Writer) -> str:
    """The writer of a line, for an error."""
    return f"layer {', '.join(map(str, writer.layers))}, {writer.part}"
