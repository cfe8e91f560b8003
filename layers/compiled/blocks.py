"""Weights in blocks of columns, while several threads train on many batches in one call.

Each thread computes some columns of ``x . weights``, and moves the same columns of the weights. As
rows of all columns they would share pages and runs of cache lines, which prefetchers follow: parts
of them would go from core to core in every batch. So they are copied when the call begins, and
back when it ends::

    weights                blocks
    a b c d e f            a b c    d e f
    g h i j k l            g h i    j k l

It is done for weights that no other line reads. Sums keep their order, so the bits are the same.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from kernels.network import program
from kernels.network.program import Header, Line, Place, lines_in, places_in, table_of
from kernels.product.block_sizes import CACHES
from kernels.product.flags import IN_BLOCKS, TRANSPOSE_A, TRANSPOSE_B
from kernels.product.loops import share
from kernels.product.microkernel import VECTOR_BYTES
from kernels.product.plan import column_blocks
from kernels.runtime.jit import interpreted
from layers.base import Array
from layers.compiled.lowering import Program

LEAST_BATCHES = 16
"""Fewest batches in a call: copying takes about as long as one of them."""
_LEAST_BYTES, _LEAST_WORK = 160 * 1024, 2**20
"""Fewest bytes of weights, and multiply-adds of a product, that threads share for this: it has one
stage more. (300-100-10, 64 rows: 0.97 to 1.09 of the time.)"""
_MOST_ROWS = 256
"""Most rows of a batch: beside the products of more, the weights' way from core to core is short.
(Ice Lake, two threads, time of a step in blocks: 784-64-10 and 32 rows 0.90, 784-128-10 0.76 with
32 rows, 0.90 with 128 and 0.95 with 256, 784-256-10 and 128 rows 0.88.)"""
_OPERANDS = [Line._fields.index(name) for name in ("x", "dy", "out", "extra", "other", "states")]

_column_blocks, _share = interpreted(column_blocks), interpreted(share)


class Weights(NamedTuple):
    """Weights in a flat buffer: where they begin, and their shape."""

    start: int
    n_in: int
    n_out: int


def weights_for_blocks(made: Program, rows: int, itemsize: int, count: int) -> list[Weights]:
    """The weights that ``count`` threads had better hold in blocks, in steps on ``rows`` rows."""
    found: list[Weights] = []
    if rows > _MOST_ROWS:
        return found
    lines, places = lines_in(made.table), places_in(made.table)
    for index, line in enumerate(lines):
        if line.family != program.PRODUCT or line.flags & (TRANSPOSE_A | TRANSPOSE_B):
            continue
        n_in, n_out = line.n_in, line.n_out
        fits = _LEAST_BYTES <= n_in * n_out * itemsize <= CACHES.level_2.size
        enough = rows * n_in * n_out >= _LEAST_WORK
        blocks = _column_blocks(n_out, VECTOR_BYTES // itemsize, count)
        if fits and enough and blocks == count and _is_alone(lines, places, index):
            found.append(Weights(places[line.dy].start, n_in, n_out))
    return found


def _is_alone(lines: list[Line], places: list[Place], index: int) -> bool:
    """Whether a product's weights are read by it alone, and moved by the product of an update."""
    weights = places[lines[index].dy]
    users = {
        (number, Line._fields[operand])
        for number, line in enumerate(lines)
        for operand in _OPERANDS
        if places[line[operand]][:2] == weights[:2]
    }
    moving = next((number for number, _ in users - {(index, "dy")}), index)
    line = lines[moving]
    is_update = line.family == program.PRODUCT and line.flags & program.MOVES and line.then
    expected = {(index, "dy"), (moving, "out"), (moving, "other")}
    return weights.base == program.PARAMETERS and bool(is_update) and users == expected


def in_blocks(made: Program, weights: list[Weights], size: int) -> Program:
    """A training step with some weights, and their states, in blocks.

    Parameters
    ----------
    made : Program
    weights : list of Weights
    size : int
        Elements from the parameters to the first states in blocks, and from one state to the next.
    """
    moved = {(program.PARAMETERS, each.start): each.start for each in weights}
    moved |= {(program.STATES, each.start): size + each.start for each in weights}
    places = places_in(made.table)
    for index, place in enumerate(places):
        if place[:2] in moved:
            places[index] = place._replace(base=program.BLOCKS, start=moved[place[:2]])
    lines = lines_in(made.table)
    for index, line in enumerate(lines):
        operands = places[line.dy], places[line.other]
        if line.family == program.PRODUCT and program.BLOCKS in (each.base for each in operands):
            lines[index] = line._replace(flags=line.flags | IN_BLOCKS)
    # Updates are independent of each other. Of those in blocks a thread begins with its own.
    order = sorted(range(len(lines)), key=lambda index: _rank(lines[index].flags))
    header = Header(*made.table[: len(Header._fields)].tolist())
    table = table_of(header, (lines[index] for index in order), places)
    table.flags.writeable = False
    return replace(made, table=table, lines=tuple(made.lines[index] for index in order))


def _rank(flags: int) -> int:
    return 0 if not flags & program.MOVES else 1 if flags & IN_BLOCKS else 2


def pieces_of(weights: list[Weights], flat: list[Array], blocks: Array, count: int) -> Array:
    """What is copied to blocks and back; see `kernels.network.interpreter.execute`.

    Parameters
    ----------
    weights : list of Weights
    flat : list of ndarray, (size,)
        The flat buffers of parameters and of each state.
    blocks : ndarray, (buffers, size)
    count : int
        Blocks.

    Returns
    -------
    ndarray of int64
        It holds addresses: the arrays have to live on.
    """
    pieces: list[int] = []
    for start, n_in, n_out in weights:
        for buffer, row in zip(flat, blocks, strict=True):
            size = buffer.itemsize
            for index in range(count):
                j, end = _share(n_out, count, index, VECTOR_BYTES // size)
                columns, together = start + j, start + j * n_in
                pieces += [buffer.ctypes.data + columns * size, n_out * size]
                pieces += [row.ctypes.data + together * size, n_in, end - j]
    return np.array(pieces, np.int64)
