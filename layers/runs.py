"""Runs: what a layer says its passes against, so that it says them once.

A layer's `run_forward` and `run_backward` call the methods of a run. The run of the moment decides
what that means: `Eager` computes at once, by the kernels or by their NumPy twins; a recorder
(``layers/compiled/recorder.py``) writes the lines of a compiled program.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from kernels import reference
from kernels.operations import run_columnwise, run_elementwise, run_rowwise
from kernels.runtime.families import Operation, numbers_array
from layers.backends import active, is_compiled
from layers.base import Array, Layer


class Position(NamedTuple):
    """What random numbers are counted by: a model's key, and how many steps it has taken."""

    key: int
    step: int


_position: ContextVar[Position | None] = ContextVar("layers.position", default=None)


def position() -> Position | None:
    """Where the model that is being trained stands; None outside a model."""
    return _position.get()


@contextmanager
def at(key: int, step: int) -> Iterator[None]:
    """Count random numbers by a model's key and step within the ``with``."""
    token = _position.set(Position(key, step))
    try:
        yield
    finally:
        _position.reset(token)


class Eager:
    """Computes each pass at once: an output is a new array. Nothing is checked."""

    def dense_forward(self, x: Array, weights: Array, biases: Array) -> Array:
        """The product x . weights, biases added."""
        out = np.empty((len(x), weights.shape[1]), x.dtype)
        active().dense_forward(x, weights, biases, out)
        return out

    def dense_backward_inputs(self, dy: Array, weights: Array) -> Array:
        """The product dy . weightsT."""
        out = np.empty((len(dy), weights.shape[0]), dy.dtype)
        active().dense_backward_inputs(dy, weights, out)
        return out

    def dense_backward_parameters(
        self, x: Array, dy: Array, dweights: Array, dbiases: Array
    ) -> None:
        """The product xT . dy, and the column sum of dy."""
        active().dense_backward_parameters(x, dy, dweights, dbiases)

    def elementwise(
        self, operation: Operation, x: Array, *dy: Array, numbers: Sequence[float] = ()
    ) -> Array:
        """An elementwise operation on x, or on what is kept and dy."""
        out = np.empty_like(x)
        if is_compiled():
            run_elementwise(operation, x, dy[0] if dy else x, numbers_array(numbers), out)
        else:
            twin = operation.twin or getattr(active(), operation.name)
            twin(x, *dy, *numbers, out)
        return out

    def rowwise(
        self,
        operation: Operation,
        x: Array,
        *dy: Array,
        parameters: Array | None = None,
        numbers: Sequence[float] = (),
        stream: int | None = None,
        n_out: int | None = None,
        out: Array | None = None,
    ) -> Array:
        """A rowwise operation on x, or on what is kept and dy; ``dy`` may be one row for all.

        ``parameters`` are for all rows too. ``stream`` is that of its random numbers at step 0;
        without it, there are none. ``n_out`` is the width of the output, where it is not that of x;
        ``out`` an output that has been made before, of which the operation writes a part.
        """
        if out is None:
            out = np.empty((len(x), x.shape[1] if n_out is None else n_out), x.dtype)
        if operation.twin is not None:
            if is_compiled():
                run_rowwise(operation, x, dy[0] if dy else x, out, numbers, parameters)
            else:
                operation.twin(
                    x, *dy, *(() if parameters is None else (parameters,)), *numbers, out
                )
            return out
        random: tuple[Any, ...] = ()
        if stream is not None:
            here = position() or Position(0, 0)
            random = np.uint64(here.key), np.uint64(stream + here.step)
        shared = () if parameters is None else (parameters,)
        getattr(active(), operation.name)(x, *dy, *shared, *numbers, *random, out)
        return out

    def columnwise(
        self,
        operation: Operation,
        x: Array,
        *dy: Array,
        rows: int,
        out: Array | None = None,
        numbers: Sequence[float] = (),
    ) -> Array:
        """A columnwise operation on x, or on x and dy: ``rows`` numbers of each column.

        They are written to ``out``, if it is given.
        """
        if out is None:
            out = np.empty((rows, x.shape[1]), x.dtype)
        if is_compiled():
            run_columnwise(operation, x, dy[0] if dy else x, out, numbers)
        else:
            getattr(reference, operation.name)(x, *dy, *numbers, out)
        return out

    def gradient(
        self,
        operation: Operation,
        x: Array,
        *dy: Array,
        out: Array,
        numbers: Sequence[float] = (),
    ) -> None:
        """A columnwise operation that gives the gradient of a parameter.

        One row, of which columns belong to columns of x; with numbers it may have any shape.
        """
        if not numbers:
            self.columnwise(operation, x, *dy, rows=1, out=out)
        elif is_compiled():
            run_columnwise(operation, x, dy[0], out, numbers, x.shape[1])
        else:
            assert operation.twin is not None
            operation.twin(x, *dy, *numbers, out)

    def statistics(
        self, operation: Operation, values: Array, statistics: Array, numbers: Sequence[float]
    ) -> None:
        """Move a layer's statistics by the first of the values, as many as there are."""
        first = values.reshape(1, -1)[:, : statistics.size]
        getattr(active(), operation.name)(statistics, first, *numbers)

    def keep(self, layer: Layer, things: Any) -> None:
        """Keep what the layer's `run_backward` needs of its `run_forward`."""
        layer._between = things

    def kept(self, layer: Layer) -> Any:
        """What the layer's `run_forward` has kept."""
        return layer._between


EAGER = Eager()
