"""Lowering: a model's programs, recorded from its layers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.network import program
from kernels.network.program import Place
from kernels.runtime import checks
from layers.base import Array
from layers.compiled.fusing import fused
from layers.compiled.lines import Line, Value, Writer, shown_writer
from layers.compiled.numbering import numbered
from layers.compiled.recorder import Recorder

if TYPE_CHECKING:
    from layers.sequential import Sequential


@dataclass(frozen=True)
class Program:
    """A program for `kernels.network.interpreter.execute`, and the lines that it was made from.

    Attributes
    ----------
    table : ndarray of int64
    lines : tuple of Line
        The lines of the table, with their writers.
    numbers : tuple of float
        The operations' own, after the optimizer's.
    width, shared : int
        Elements of workspace per row of a batch, and those that rows share.
    multiply_adds : int
        Of the products, per row.
    weighted : bool
        Whether rows have weights. Then the first of the numbers is a batch's scale (see
        `kernels.weights`), and two more things are measured: weighted losses, and the weights.
    """

    table: Array
    lines: tuple[Line, ...]
    numbers: tuple[float, ...]
    width: int
    shared: int
    multiply_adds: int
    weighted: bool = False

    def elements(self, rows: int) -> int:
        """Elements of workspace for a batch."""
        return self.width * rows + self.shared


class Lowering:
    """Writes a model's programs.

    Parameters
    ----------
    model : Sequential
        Without an `obstacle`.

    Attributes
    ----------
    groups : ParameterGroups
        What training moves, when this was made.
    """

    def __init__(self, model: "Sequential") -> None:
        self._model = model
        self._buffers = model._buffers
        self.groups = model._groups()

    def training(self, form: str, words: int, weighted: bool = False) -> Program:
        """Forward, loss, backward, update; ``form`` and ``words`` per row describe the targets."""
        model, recorder = self._model, self._recorder()
        recorder.writer = Writer("gather")
        x, targets = recorder.gather(model.n_in, program.X), recorder.gather(words, program.TARGETS)
        weights = recorder.gather(1, program.WEIGHTS) if weighted else None
        scale = recorder.number(1.0) if weighted else 0  # the runner has one for each batch
        values = self._forward(recorder, x, training=True)
        gradient, losses, measures = Value(values[-1].n), Value(1), Value(1)
        recorder.writer = Writer("loss")
        recorder.loss(
            *(
                model.loss.operation(form, model.n_out),
                values[-1],
                targets,
                (gradient, losses, measures),
            ),
            model.loss.numbers(),
        )
        # No more than the runner has totals for: each is added to one.
        measured = [measures] if model.loss.measures else []
        if weights is not None:
            as_it_is = recorder.number(1.0)
            measured = [recorder.weighted(each, weights, as_it_is) for each in [*measured, losses]]
            measured.append(weights)
            losses = recorder.weighted(losses, weights, scale)
            gradient = recorder.weighted(gradient, weights, scale)
        self._backward(recorder, values, gradient)
        self._change_gradients(recorder)
        updates = recorder.updates(model.optimizer.entry.operation, self._update_numbers())
        updates += recorder.statistic_lines
        # A layer's side by side, last layer first; they are independent of each other.
        updates.sort(key=lambda line: line.writers[0].layers, reverse=True)
        lines = [*recorder.lines, *recorder.gradient_lines, *updates]
        return replace(self._made(recorder, lines, losses, measured), weighted=weighted)

    def scoring(self) -> Program:
        """The scores of each row."""
        recorder = self._recorder()
        values = self._forward(recorder, self._data())
        values[-1].place = Place(program.OUT, 0, values[-1].n, 1)
        return self._made(recorder, recorder.lines)

    def predicting(self, words: int) -> Program:
        """What is predicted for each row, ``words`` numbers."""
        recorder = self._recorder()
        scores = self._forward(recorder, self._data())[-1]
        recorder.writer = Writer("predict")
        operation = self._model.loss.prediction
        assert operation is not None
        recorder.written(operation, scores, Value(words, Place(program.OUT, 0, words, 1)))
        return self._made(recorder, recorder.lines)

    def evaluating(self, form: str, words: int) -> Program:
        """The loss and the measures of each row."""
        model, recorder = self._model, self._recorder()
        scores = self._forward(recorder, self._data())[-1]
        targets = Value(words, Place(program.TARGETS, 0, words, 1))
        losses = Value(1, Place(program.OUT, 0, 1, 1))
        measures = Value(1, Place(program.MEASURES, 0, 1, 1))
        recorder.writer = Writer("loss")
        recorder.loss(
            *(
                model.loss.operation(form, model.n_out),
                scores,
                targets,
                (Value(scores.n), losses, measures),
            ),
            model.loss.numbers(),
        )
        return self._made(recorder, recorder.lines)

    # --- inside ---

    def _recorder(self) -> Recorder:
        buffers = self._buffers
        norm_at = buffers.gradients.size + len(buffers.norms)
        return Recorder(buffers.learnt, buffers.gradients, self.groups.width, norm_at)

    def _update_numbers(self) -> dict[int, int]:
        """Where the optimizer's numbers begin for a parameter, by where that begins."""
        groups = self.groups
        return {each.start: groups.first_number(each.group) for each in groups.moved}

    def _change_gradients(self, recorder: Recorder) -> None:
        """What is between backward and update: penalties, then clipping."""
        groups, optimizer = self.groups, self._model.optimizer
        for each in groups.moved:
            if any(each.penalty):
                recorder.penalty(each.start, each.shape, *each.penalty)
            if optimizer.clip_value is not None:
                recorder.clip_by_value(each.start, each.shape, optimizer.clip_value)
        if optimizer.clip_norm is not None:
            self._buffers.norms[...] = 0
            moved = [(each.start, each.shape, each.row) for each in groups.moved]
            recorder.clip_by_norm(moved, groups.rows_of_all, optimizer.clip_norm)

    def _data(self) -> Value:
        n = self._model.n_in
        return Value(n, Place(program.X, 0, n, 1))

    def _forward(self, recorder: Recorder, x: Value, training: bool = False) -> list[Value]:
        values = [x]
        for index, layer in enumerate(self._model.layers):
            recorder.writer = Writer("forward", (index,))
            y = layer.run_forward(recorder, values[-1], training)
            n = getattr(layer, "n_out", values[-1].n)
            values.append(_checked(recorder, y, "run_forward", n))
        return values

    def _backward(self, recorder: Recorder, values: Sequence[Value], gradient: Value) -> None:
        layers = self._model.layers
        # The gradient with respect to the first trained layer's input is never used.
        first = self.groups.moved[0].layer
        for index in reversed(range(first, len(layers))):
            recorder.writer = Writer("backward", (index,))
            x, y = values[index], values[index + 1]
            recorder.frozen = not layers[index].trainable
            dx = layers[index].run_backward(recorder, x, y, gradient, index > first)
            if index > first:
                gradient = _checked(recorder, dx, "run_backward", x.n)

    def _made(
        self,
        recorder: Recorder,
        lines: Sequence[Line],
        losses: Value | None = None,
        measures: Sequence[Value] = (),
    ) -> Program:
        model = self._model
        whole = fused(lines)
        header = {
            "losses": losses,
            "measures": measures,
            "size": self._buffers.parameters.size,
            "norm": recorder.norm,
        }
        unit = 64 // model.dtype.itemsize
        table = numbered(whole, header, unit, model.dtype)
        table.flags.writeable = False
        head = program.Header(*table[: len(program.Header._fields)].tolist())
        products = (line for line in whole if line.family == program.PRODUCT)
        return Program(
            *(table, tuple(whole), tuple(recorder.numbers)),
            *(head.width, head.shared, sum(p.n_in * p.n_out for p in products)),
        )


def _checked(recorder: Recorder, value: Any, method: str, n: int) -> Value:
    """Check a layer's result: a value of this run, with ``n`` numbers per row."""
    place = f"{shown_writer(recorder.writer)}: {method} has returned"
    if not isinstance(value, Value):
        raise TypeError(f"{place} {checks.shown(value)}, expected what a run's methods give")
    if value.n != n:
        raise ValueError(f"{place} {value.n} numbers a row, expected {n}")
    return value


def cut(made: Program, start: int, stop: int) -> Program:
    """Some lines of a program as another program, with the same places."""
    fields = len(program.Header._fields), len(program.Line._fields)
    head = program.Header(*made.table[: fields[0]])._replace(lines=stop - start)
    end = fields[0] + len(made.lines) * fields[1]
    rows = made.table[fields[0] : end].reshape(-1, fields[1])
    table = np.concatenate([np.array(head, np.int64), rows[start:stop].ravel(), made.table[end:]])
    table.flags.writeable = False
    return replace(made, table=table, lines=made.lines[start:stop])


def split(made: Program) -> tuple[Program, ...]:
    """A program for each line, and a last one for all lines that update parameters.

    Between them Python can handle Ctrl-C, where a batch takes long.
    """
    moving = [bool(line.flags & program.MOVES) for line in made.lines]
    first = moving.index(True) if True in moving else len(moving)
    ranges = [*((i, i + 1) for i in range(first)), (first, len(moving))]
    return tuple(cut(made, *each) for each in ranges if each[0] < each[1])


def obstacle(model: "Sequential") -> str | None:
    """Why a model must run layer by layer; None where it can be recorded."""
    for index, layer in enumerate(model.layers):
        why = layer.own_code()
        if why is not None:
            return f"layer {index} {why}"
    if not any(layer.parameter_shapes() for layer in model.layers):
        return "no layer has parameters"
    for name, part in (("loss", model.loss), ("optimizer", model.optimizer)):
        why = part.own_code()
        if why is not None:
            return f"the {name} {why}"
    return None
