"""A program: what a network does with a batch, as a table of int64.

A line says how threads may share its work (its family), which compiled function does it (by
address), and where its operands are. A program is data, so one compiled interpreter serves every
network, and knows no operation by name. ``layers/compiled/recorder.py`` writes programs.

::

    header | lines | places
"""

from collections import namedtuple
from collections.abc import Iterable

import numpy as np

from kernels.intrinsics import ahead
from kernels.runtime.jit import Array, inner

# A line's family: how work is shared, and what its function takes (kernels/runtime/families.py).
# A product is compiled with the interpreter; the operation that follows it is called by address.
PRODUCT, ELEMENTWISE, ROWWISE, LOSS, COLUMNWISE, UPDATE, GATHER = range(7)

# What a place is relative to: the workspace, a model's flat buffers, weights of rows, what lies in
# blocks while a program runs (layers/compiled/blocks.py), the caller's arrays.
SPACE, PARAMETERS, STATES, GRADIENTS, WEIGHTS, BLOCKS, X, TARGETS, OUT, MEASURES = range(10)
BASES = 10

MOVES = 2**16
"""A line's flag, besides the product's: it updates what training keeps. Such lines are independent
of each other, and the batch's loss is checked before the first of them."""

Line = namedtuple(
    "Line",
    [
        "family", "function", "n_in", "n_out", "x", "dy", "out", "extra", "numbers", "flags",
        "then", "other", "states", "stream", "rows",
    ],
)  # fmt: skip
"""One pass over a batch, from rows of ``n_in`` to rows of ``n_out``.

``x``, ``dy``, ``out``, ``extra``, ``other`` and ``states`` are indices of places; ``numbers`` is
the index of the operation's first number.

=============  ===========================================================================
product        out = op(x) . op(dy) + extra, by the flags; then the operation ``then``: with
               ``other`` for its x, or an update of ``other`` and its ``states`` by out
elementwise    x, dy, out
rowwise        x, dy, out; extra: parameters; stream: of its random numbers
loss           scores x, targets dy, gradient out; extra: losses; other: measures
columnwise     x, dy, out; then an update of ``other`` and its ``states`` by out
update         of ``other`` and its ``states`` by x, all ``n_out`` elements
gather         rows of x in the order of the epoch, to out
=============  ===========================================================================

An elementwise or rowwise line is on the rows of the batch, or on the ``rows`` rows of arrays of the
model, such as gradients.
"""

Place = namedtuple("Place", ["base", "start", "stride", "is_data"])
"""Where an operand begins, and from row to row of it.

In the workspace ``start`` is counted in elements a row of the batch, so that one program serves any
batch size. Rows of data are counted from the first row of all, others from the first of the batch.
What all rows of a batch share, such as a mean of them, lies in the workspace with a stride of 0:
its ``start`` is counted in elements, from the end of what rows have.
"""

Header = namedtuple(
    "Header",
    ["lines", "places", "losses", "measures", "measured", "width", "size", "shared", "norm"],
)
"""The number of lines and of places; the losses' place (-1 for none); the first place of the
measures and their number; workspace elements per row; elements from one optimizer state to the
next; workspace elements that rows share, behind those of all rows; the place of the gradients'
norm, which has to be finite as the loss has (-1 for none)."""

_HEADER, _LINE, _PLACE = len(Header._fields), len(Line._fields), len(Place._fields)


@inner
def header_of(program):
    """A program's header."""
    at = program
    return Header(at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7], at[8])


@inner
def line_of(program, index):
    """Line number ``index``."""
    at = ahead(program, _HEADER + index * _LINE)
    return Line(
        *(at[0], at[1], at[2], at[3], at[4], at[5], at[6]),
        *(at[7], at[8], at[9], at[10], at[11], at[12], at[13], at[14]),
    )


@inner
def place_of(program, index):
    """Place number ``index``."""
    at = ahead(program, _HEADER + program[0] * _LINE + index * _PLACE)
    return Place(at[0], at[1], at[2], at[3])


def lines_in(program: Array) -> list[Line]:
    """The lines of a program, for Python."""
    end = _HEADER + int(program[0]) * _LINE
    return [Line(*numbers) for numbers in program[_HEADER:end].reshape(-1, _LINE).tolist()]


def places_in(program: Array) -> list[Place]:
    """The places of a program, for Python."""
    begin = _HEADER + int(program[0]) * _LINE
    return [Place(*numbers) for numbers in program[begin:].reshape(-1, _PLACE).tolist()]


def table_of(header: Header, lines: Iterable[Line], places: Iterable[Place]) -> Array:
    """A program of these, from Python."""
    numbers: list[int] = [*header]
    for row in (*lines, *places):
        numbers += row
    return np.array(numbers, np.int64)
