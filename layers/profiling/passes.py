"""The passes of one training step: a row for each, and what takes a sample of its seconds.

A compiled step is a program (``layers/compiled/lowering.py``), so a pass of it is one too: the
lines of the same writers. A step layer by layer is watched while the model trains.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby

import numpy as np

from kernels.network import program
from kernels.network.program import Place
from kernels.operations import as_words
from layers.backends import active
from layers.base import Array, Layer
from layers.compiled.costs import UNKNOWN, Cost, cost_of
from layers.compiled.lines import Line, Value
from layers.compiled.lowering import cut
from layers.compiled.recorder import Recorder
from layers.compiled.runner import Compiled
from layers.profiling.results import Row
from layers.profiling.samples import MOST_CALLS, Sample, repeated, watched
from layers.sequential import Sequential
from layers.training.data_sources import Piece

Timed = tuple[Row, Callable[[], float]]
"""A pass, and what takes a sample of its seconds."""

_MOST_ROWS = 2**17
"""Rows of a sample at most, however short they are."""


class _Rows:
    """Makes the rows of a model's passes over a batch."""

    def __init__(self, model: Sequential, piece: Piece) -> None:
        self._model, self._batch = model, piece.batch_size
        self._gathered = "rows of x and y" if piece.weights is None else "rows of x, y and weights"

    def cost(self, *lines: Line) -> Cost:
        """Of some lines."""
        model = self._model
        kept = model.optimizer.states, len(model.loss.measures)
        return cost_of(lines, self._batch, model.dtype.itemsize, *kept)

    def row(self, part: str, of: tuple[int, ...], cost: Cost) -> Row:
        """A pass of a step, of the given layers."""
        model = self._model
        others = {"gather": self._gathered, "loss": repr(model.loss), "update": "all parameters"}
        name = ", ".join(f"{index} {model.layers[index]!r}" for index in of) or others[part]
        return Row(part, of, name, *cost)


# --- a compiled step ---


def of_program(model: Sequential, compiled: Compiled, piece: Piece) -> Iterator[Timed]:
    """Each pass of a model's training program, as a program of its own."""
    x, targets, order, batch, weights, _ = piece
    rows, made = _Rows(model, piece), compiled.step(targets, weights is not None)
    most = max(1, _MOST_ROWS // batch)
    order = np.resize(order, most * batch)
    # From here on what a line reads is there, and none writes over what it reads.
    compiled.serially(made, x, targets, batch, weights)(order[:batch])
    end = 0
    for (part, of), lines in groupby(made.lines, _pass_of):
        start, end = end, end + len(list(lines))
        one = cut(made, start, end)
        run = partial(_on_batches, compiled.serially(one, x, targets, batch, weights), order, batch)
        yield rows.row(part, of, rows.cost(*one.lines)), Sample(run, most).take


def _on_batches(run: Callable[[Array], None], order: Array, batch: int, count: int) -> None:
    run(order[: count * batch])


def _pass_of(line: Line) -> tuple[str, tuple[int, ...]]:
    """The part of a step that a line is of, and the layers that it is the pass of."""
    return line.writers[0].part, tuple(sorted({i for each in line.writers for i in each.layers}))


# --- a step layer by layer ---


def of_calls(model: Sequential, piece: Piece, steps: int) -> Iterator[Timed]:
    """What a step calls, watched while `fit` takes so many steps between two samples."""
    x, targets, order, batch, weights, _ = piece
    rows, loss, optimizer = _Rows(model, piece), model.loss, model.optimizer
    batch_x, taken = np.empty((batch, model.n_in), model.dtype), order[:batch]
    words = as_words(targets, model.dtype).shape[1]

    def gather() -> None:
        active().gather_rows(x, taken, batch_x)
        targets[taken]
        if weights is not None:
            weights[taken]

    recorder = _recorder(model)
    recorder.gather(model.n_in, program.X)
    recorder.gather(words, program.TARGETS)
    if weights is not None:
        recorder.gather(1, program.WEIGHTS)
    row = rows.row("gather", (), rows.cost(*recorder.lines))
    yield row, Sample(repeated(gather), MOST_CALLS).take

    backwards: list[Timed] = []
    width = model.n_in
    for index, layer in enumerate(model.layers):
        method = model._backward_of(index)
        forward, backward, width = _recorded(model, layer, width, method == "backward")
        cost = rows.cost(*forward)
        yield rows.row("forward", (index,), cost), watched(steps, (layer, "forward"))
        cost = rows.cost(*backward)
        backwards.append((rows.row("backward", (index,), cost), watched(steps, (layer, method))))

    own, cost = loss.own_code() is not None, UNKNOWN
    if not own:
        recorder = _recorder(model)
        operation = loss.operation(loss.form(targets), width)
        outputs = Value(width), Value(1), Value(1)
        recorder.loss(operation, Value(width), Value(words), outputs, loss.numbers())
        cost = rows.cost(*recorder.lines)
    # What `run` returns calls the gradient of a loss of the user's own.
    methods = [(loss, "run"), (loss, "gradient")] if own else [(loss, "run")]
    yield rows.row("loss", (), cost), watched(steps, *methods)
    yield from reversed(backwards)

    own, cost = optimizer.own_code() is not None, UNKNOWN
    if not own:
        size = sum(array.size for array in model.parameters().values())
        gradients, parameters = (
            Value(size, Place(base, 0, 0, 0)) for base in (program.GRADIENTS, program.PARAMETERS)
        )
        line = Line(program.UPDATE, (), size, size, x=gradients, out=parameters)
        line.flags = program.MOVES
        cost = rows.cost(line)
    yield rows.row("update", (), cost), watched(steps, (optimizer, "update"))


def _recorder(model: Sequential) -> Recorder:
    return Recorder(model._buffers.learnt, model._buffers.gradients)


def _recorded(
    model: Sequential, layer: Layer, width: int, needs_inputs: bool
) -> tuple[Sequence[Line], Sequence[Line], int]:
    """A layer's lines, forward and backward, and its width; no lines where it has none."""
    unknown = (), (), getattr(layer, "n_out", width)
    if layer.own_code() is not None:
        return unknown
    recorder = _recorder(model)
    x = Value(width)
    try:
        y = layer.run_forward(recorder, x, True)
        forward = [*recorder.lines, *recorder.statistic_lines]
        recorder.lines = []
        layer.run_backward(recorder, x, y, Value(y.n), needs_inputs)
    except (AttributeError, TypeError, ValueError):
        return unknown  # it does something with arrays that a recorder has no word for
    return forward, [*recorder.lines, *recorder.gradient_lines], y.n
