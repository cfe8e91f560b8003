"""A recorder: writes what layers do with a batch as the lines of a program.

A layer describes its passes by calls on a ``run`` (`layers.runs`). With a recorder as the run,
nothing is computed: arrays are `Value` objects, and each call appends a line with its writer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernels.gather import GATHERED
from kernels.gradients import CLIP_BY_NORM, CLIP_BY_VALUE, PENALTY, ROW_NORMS
from kernels.network import program
from kernels.network.program import Place
from kernels.product.column_sum import COLUMN_SUM
from kernels.product.flags import ADD_BIASES, TRANSPOSE_A, TRANSPOSE_B
from kernels.runtime import checks
from kernels.runtime.families import ELEMENTWISE, GATHER, LOSS, ROWWISE, Operation
from kernels.weights import WEIGHTED_ROWS
from layers.base import Array
from layers.compiled.lines import Line, Value, Writer, shown_writer
from layers.runs import stated_twice

_FAMILIES = {
    ELEMENTWISE.name: program.ELEMENTWISE,
    ROWWISE.name: program.ROWWISE,
    LOSS.name: program.LOSS,
    GATHER.name: program.GATHER,
}


@dataclass
class Recorder:
    """Writes the lines of a program.

    Parameters
    ----------
    parameters, gradients : ndarray, (1, size)
        The model's flat buffers, statistics behind the parameters: an array within them is
        identified by its address.
    reserved : int
        How many numbers, the optimizer's, precede those of the lines.
    norm_at : int
        Where the norm of all gradients is, from where they begin.

    Attributes
    ----------
    lines, gradient_lines, statistic_lines : list of Line
        Passes over rows; those that give gradients: sums over all rows, penalties, clipping; and
        what moves statistics.
    norm : Value or None
        The norm of all gradients, where it is taken.
    frozen : bool
        Whether gradients of parameters are left out, as of a layer that is not trained.
    numbers : list of float
        The lines' own, after the optimizer's.
    """

    parameters: Array
    gradients: Array
    reserved: int = 0
    norm_at: int = 0
    writer: Writer = field(default_factory=lambda: Writer("forward"))
    lines: list[Line] = field(default_factory=list)
    gradient_lines: list[Line] = field(default_factory=list)
    statistic_lines: list[Line] = field(default_factory=list)
    _kept: dict[int, Any] = field(default_factory=dict)
    numbers: list[float] = field(default_factory=list)
    norm: Value | None = None
    frozen: bool = False
    _gradients: dict[int, tuple[Value, Writer]] = field(default_factory=dict)
    """Each gradient as it is by now, and its writer, by where it begins in its buffer."""

    # --- what layers call; see `layers.runs.Eager` ---

    def dense_forward(self, x: Value, weights: Array, biases: Array | None = None) -> Value:
        """Record the product with weights, biases added where there are any."""
        n_in, n_out = weights.shape
        self._check("dense_forward", {"x": x}, n_in)
        out, added, flags = Value(n_out), None, 0
        if biases is not None:
            self._check_biases("dense_forward", "biases", biases, n_out)
            added, flags = self._array(biases), ADD_BIASES
        self._product((n_in, n_out), x, self._array(weights), out, flags, added)
        return out

    def dense_backward_inputs(self, dy: Value, weights: Array) -> Value:
        """Record the product with the weights transposed."""
        n_in, n_out = weights.shape
        self._check("dense_backward_inputs", {"dy": dy}, n_out)
        out = Value(n_in)
        self._product((n_out, n_in), dy, self._array(weights), out, TRANSPOSE_B, None)
        return out

    def dense_backward_parameters(
        self, x: Value, dy: Value, dweights: Array, dbiases: Array | None = None
    ) -> None:
        """Record the gradients of weights and biases, sums over rows."""
        n_in, n_out = dweights.shape
        method = "dense_backward_parameters"
        self._check(method, {"x": x}, n_in)
        self._check(method, {"dy": dy}, n_out)
        if self.frozen:
            return
        writers, flags = (self._gradient_writer(),), TRANSPOSE_A
        out = self._stated(method, "dweights", dweights)
        self.gradient_lines.append(
            Line(*(program.PRODUCT, writers, n_in, n_out), x=x, dy=dy, out=out, flags=flags)
        )
        if dbiases is None:
            return
        self._check_biases(method, "dbiases", dbiases, n_out)
        out = self._stated(method, "dbiases", dbiases)
        self.gradient_lines.append(
            Line(*(program.COLUMNWISE, writers, n_out, n_out, COLUMN_SUM), x=dy, out=out)
        )

    def elementwise(
        self, operation: Operation, x: Value, *dy: Value, numbers: Sequence[float] = ()
    ) -> Value:
        """Record an elementwise operation."""
        self._check("elementwise", {"x": x, **dict(zip(["dy"], dy, strict=False))})
        return self._through(operation, x, dy, numbers)

    def rowwise(
        self,
        operation: Operation,
        x: Value,
        *dy: Value,
        parameters: Any = None,
        numbers: Sequence[float] = (),
        stream: int | None = None,
        n_out: int | None = None,
        out: Value | None = None,
    ) -> Value:
        """Record a rowwise operation; ``stream`` is its random numbers' stream at step 0."""
        self._check("rowwise", {"x": x})
        given = [self._shared("rowwise", "dy", each, x.n) for each in dy]
        out = Value(x.n if n_out is None else n_out) if out is None else out
        made = self._through(operation, x, given, numbers, stream or 0, out)
        if parameters is not None:
            self.lines[-1].extra = self._shared("rowwise", "parameters", parameters)
        return made

    def columnwise(
        self,
        operation: Operation,
        x: Any,
        *dy: Any,
        rows: int,
        out: Value | None = None,
        numbers: Sequence[float] = (),
    ) -> Value:
        """Record a columnwise operation: ``rows`` rows that all rows of the batch share."""
        taken = self._shared("columnwise", "x", x)
        n = taken.n if out is None else out.n // rows
        if isinstance(x, np.ndarray):
            n = x.shape[1]
        given = [self._shared("columnwise", "dy", each, n) for each in dy]
        made = Value(rows * n, is_shared=True) if out is None else out
        self._add(
            Line(
                *(program.COLUMNWISE, (self.writer,), n, n, operation),
                x=taken,
                dy=given[0] if given else None,
                out=made,
                numbers=self._numbers(numbers),
            )
        )
        return made

    def gradient(
        self,
        operation: Operation,
        x: Value,
        *dy: Value,
        out: Array,
        numbers: Sequence[float] = (),
    ) -> None:
        """Record a columnwise operation that gives the gradient of a parameter."""
        n = out.shape[1]
        self._check("gradient", {"x": x})
        for each in dy:
            self._check("gradient", {"dy": each}, None if numbers else x.n)
        if self.frozen:
            return
        self.gradient_lines.append(
            Line(
                *(program.COLUMNWISE, (self._gradient_writer(),), n, n, operation),
                x=x,
                dy=dy[0] if dy else None,
                out=self._stated("gradient", "out", out),
                numbers=self._numbers(numbers),
                is_alone=bool(numbers),
            )
        )

    def statistics(
        self, operation: Operation, values: Value, statistics: Array, numbers: Sequence[float]
    ) -> None:
        """Record the update of a layer's statistics by the first of the values."""
        moved = self._array(statistics)
        self.statistic_lines.append(
            Line(
                *(program.UPDATE, (self._gradient_writer(),), moved.n, moved.n, operation),
                x=values,
                out=moved,
                other=moved,
                numbers=self._numbers(numbers),
                flags=program.MOVES,
            )
        )

    def layer_forward(self, layer: Any, x: Value, training: bool) -> Value:
        """Record the forward pass of a layer within another."""
        y: Value = layer.run_forward(self, x, training)
        self._check("layer_forward", {"output": y}, getattr(layer, "n_out", x.n))
        return y

    def layer_backward(
        self, layer: Any, x: Value, y: Value, dy: Value, needs_inputs: bool
    ) -> Value | None:
        """Record the backward pass of a layer within another."""
        frozen = self.frozen
        self.frozen = frozen or not layer.trainable
        dx: Value = layer.run_backward(self, x, y, dy, needs_inputs)
        self.frozen = frozen
        if not needs_inputs:
            return None
        self._check("layer_backward", {"gradient": dx}, x.n)
        return dx

    def keep(self, layer: Any, things: Any) -> None:
        """Keep what the layer's `run_backward` needs of its `run_forward`."""
        self._kept[id(layer)] = things

    def kept(self, layer: Any) -> Any:
        """What the layer's `run_forward` has kept."""
        return self._kept[id(layer)]

    # --- what the lowering calls ---

    def gather(self, n: int, base: int) -> Value:
        """Record the gathering of rows in the order of the epoch."""
        out = Value(n)
        source = Value(n, Place(base, 0, n, 1))
        self._add(Line(program.GATHER, (self.writer,), n, n, GATHERED, x=source, out=out))
        return out

    def loss(
        self,
        operation: Operation,
        scores: Value,
        targets: Value,
        outputs: tuple[Value, Value, Value],
        numbers: Sequence[float],
    ) -> None:
        """Record the loss of each row, with its gradient and measures."""
        gradient, losses, measures = outputs
        self._add(
            Line(
                *(program.LOSS, (self.writer,), scores.n, scores.n, operation),
                x=scores,
                dy=targets,
                out=gradient,
                extra=losses,
                other=measures,
                numbers=self._numbers(numbers),
            )
        )

    def number(self, value: float) -> int:
        """Record a number of its own; where it is."""
        return self._numbers((value,))

    def weighted(self, x: Value, weights: Value, scale: int) -> Value:
        """Record rows times their weights and a common scale, the number at ``scale``."""
        out = Value(x.n)
        self._add(
            Line(
                *(program.ROWWISE, (self.writer,), x.n, x.n, WEIGHTED_ROWS),
                x=x,
                dy=weights,
                out=out,
                numbers=scale,
            )
        )
        return out

    def written(self, operation: Operation, x: Value, out: Value) -> None:
        """Record a rowwise operation with a given output."""
        line = Line(program.ROWWISE, (self.writer,), x.n, out.n, operation, x=x, out=out)
        self._add(line)

    def penalty(self, start: int, shape: tuple[int, int], l1: float, l2: float) -> None:
        """Add a penalty's gradient to the gradient that begins at ``start`` in its buffer."""
        weights = Value(shape[0] * shape[1], Place(program.PARAMETERS, start, shape[1], 0))
        self._change(PENALTY, start, shape, (l1, l2), weights)

    def clip_by_value(self, start: int, shape: tuple[int, int], limit: float) -> None:
        """Clip a gradient by value."""
        self._change(CLIP_BY_VALUE, start, shape, (limit,))

    def clip_by_norm(
        self, moved: Iterable[tuple[int, tuple[int, int], int]], rows: int, max_norm: float
    ) -> None:
        """Clip all gradients by their norm.

        Parameters
        ----------
        moved : iterable
            Of each: where it begins, its shape, and how many rows are before its own.
        rows : int
            Of all of them.
        max_norm : float
        """
        known = [each for each in moved if each[0] in self._gradients]
        behind = self.gradients.size
        self.norm = Value(1, Place(program.GRADIENTS, self.norm_at, 0, 0))
        for start, shape, row in known:
            gradient, writer = self._gradients[start]
            norms = Value(shape[0], Place(program.GRADIENTS, behind + row, 1, 0))
            x = Value(gradient.n, Place(program.GRADIENTS, start, shape[1], 0))
            self._on_array(program.ROWWISE, ROW_NORMS, writer, shape, x=x, out=norms)
        every = Value(rows, Place(program.GRADIENTS, behind, rows, 0))
        layers = {index for _, writer in self._gradients.values() for index in writer.layers}
        writer = Writer("update", tuple(sorted(layers)))
        self._on_array(program.ROWWISE, ROW_NORMS, writer, (1, rows), x=every, out=self.norm)
        numbers = self._numbers((max_norm,))
        for start, shape, _ in known:
            gradient, writer = self._gradients[start]
            clipped = Value(gradient.n, Place(program.GRADIENTS, start, shape[1], 0))
            self._on_array(
                *(program.ROWWISE, CLIP_BY_NORM, writer, shape),
                x=clipped,
                out=clipped,
                extra=self.norm,
                numbers=numbers,
            )
            self._gradients[start] = clipped, writer

    def updates(self, operation: Operation, numbers: Mapping[int, int] | None = None) -> list[Line]:
        """An update for each gradient that has been recorded, by an optimizer's operation.

        ``numbers`` is where those of a parameter begin, by where it begins in its buffer;
        without, all have the same.
        """
        lines = []
        for start, (gradient, writer) in self._gradients.items():
            size = gradient.n
            parameter = Value(size, Place(program.PARAMETERS, start, 0, 0))
            states = Value(size, Place(program.STATES, start, 0, 0))
            lines.append(
                Line(
                    *(program.UPDATE, (writer,), size, size, operation),
                    x=gradient,
                    out=parameter,
                    other=parameter,
                    states=states,
                    numbers=0 if numbers is None else numbers[start],
                    flags=program.MOVES,
                )
            )
        return lines

    # --- inside ---

    def _check(self, method: str, given: Mapping[str, Any], n: int | None = None) -> None:
        """Check that operands come from this run and have ``n`` numbers per row, or the first's.

        User-defined layers pass them, and compiled code checks no sizes.
        """
        for name, value in given.items():
            place = f"{shown_writer(self.writer)}: run.{method}: {name}"
            if not isinstance(value, Value):
                raise TypeError(f"{place} is {checks.shown(value)}, expected what a run has given")
            n = value.n if n is None else n
            if value.n != n:
                raise ValueError(f"{place} has {value.n} numbers a row, expected {n}")

    def _shared(self, method: str, name: str, given: Any, n: int | None = None) -> Value:
        """An operand that may be an array of the model, or one that rows share."""
        value = self._array(given) if isinstance(given, np.ndarray) else given
        self._check(method, {name: value}, n)
        return value

    def _check_biases(self, method: str, name: str, array: Array, n: int) -> None:
        place = f"{shown_writer(self.writer)}: run.{method}"
        checks.shape(place, name, array, (1, n))

    def _gradient_writer(self) -> Writer:
        return Writer("update", self.writer.layers)

    def _stated(self, method: str, name: str, array: Array) -> Value:
        """A gradient that a layer states now, for the first time."""
        value = self._array(array)
        assert value.place is not None
        if value.place.start in self._gradients:
            raise ValueError(stated_twice(f"{shown_writer(self.writer)}: run.{method}", name))
        self._gradients[value.place.start] = value, self._gradient_writer()
        return value

    def _change(
        self,
        operation: Operation,
        start: int,
        shape: tuple[int, int],
        numbers: Sequence[float],
        weights: Value | None = None,
    ) -> None:
        """Record an elementwise operation on a gradient, in place."""
        if start not in self._gradients:
            return
        gradient, writer = self._gradients[start]
        out = Value(gradient.n, Place(program.GRADIENTS, start, shape[1], 0))
        x, dy = (gradient, None) if weights is None else (weights, gradient)
        at = self._numbers(numbers)
        self._on_array(
            program.ELEMENTWISE, operation, writer, shape, x=x, dy=dy, out=out, numbers=at
        )
        self._gradients[start] = out, writer

    def _on_array(
        self,
        family: int,
        operation: Operation,
        writer: Writer,
        shape: tuple[int, int],
        **operands: Any,
    ) -> None:
        """Record a line on the rows of an array of the model."""
        rows, n = shape
        self.gradient_lines.append(
            Line(*(family, (writer,), n, n, operation), rows=rows, **operands)
        )

    def _add(self, line: Line) -> None:
        self.lines.append(line)

    def _numbers(self, numbers: Sequence[float]) -> int:
        start = self.reserved + len(self.numbers)
        self.numbers += numbers
        return start

    def _through(
        self,
        operation: Operation,
        x: Value,
        dy: Sequence[Value],
        numbers: Sequence[float],
        stream: int = 0,
        out: Value | None = None,
    ) -> Value:
        out = Value(x.n) if out is None else out
        self._add(
            Line(
                *(_FAMILIES[operation.family.name], (self.writer,), x.n, out.n, operation),
                x=x,
                dy=dy[0] if dy else None,
                out=out,
                numbers=self._numbers(numbers),
                stream=stream,
            )
        )
        return out

    def _product(
        self,
        sizes: tuple[int, int],
        x: Value,
        weights: Value,
        out: Value,
        flags: int,
        extra: Value | None,
    ) -> None:
        self._add(
            Line(
                *(program.PRODUCT, (self.writer,), *sizes),
                x=x,
                dy=weights,
                out=out,
                extra=extra,
                flags=flags,
            )
        )

    def _array(self, array: Array) -> Value:
        """The value of an array within one of the model's flat buffers."""
        writer = shown_writer(self.writer)
        if not array.flags.c_contiguous:
            raise ValueError(f"{writer}: an array is not C-contiguous, expected a whole parameter")
        for base, buffer in (
            (program.PARAMETERS, self.parameters),
            (program.GRADIENTS, self.gradients),
        ):
            if np.may_share_memory(array, buffer):
                start = (array.ctypes.data - buffer.ctypes.data) // array.itemsize
                return Value(array.size, Place(base, start, 0, 0))
        raise ValueError(
            f"{writer}: an array is not in its model's buffers, expected one that `bind` has given"
        )
