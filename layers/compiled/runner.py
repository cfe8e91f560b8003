"""Runs a model's programs: many mini-batches in each compiled call."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kernels.network import interpreter, program
from kernels.network.interpreter import CONTROL_BYTES
from kernels.network.schedule import Summary, make_schedule
from kernels.network.small_calls import (
    TAKEN,
    InferenceRecord,
    Record,
    infer_few,
    step_on_labels,
)
from kernels.operations import as_words
from kernels.runtime import checks
from kernels.weights import batch_scales
from layers.base import Array
from layers.compiled.blocks import LEAST_BATCHES, in_blocks, pieces_of, weights_for_blocks
from layers.compiled.buffers import aligned_zeros
from layers.compiled.lowering import Lowering, Program, split
from layers.compiled.tuning import Pace

if TYPE_CHECKING:
    from layers.parameter_groups import ParameterGroups
    from layers.sequential import Sequential

_ROWS = 1024
"""Rows of a batch in inference."""
_LONG_SECONDS = 0.1
"""A batch that takes longer gets a call for each line, so that Ctrl-C need not wait."""
_DIRECT = 2**19
"""Multiply-adds of inference (10 us) below which calls are not timed."""
_SMALL_STEP = 2**21
"""Multiply-adds of a step (40 us) up to which `SingleStep` takes it."""
_INT64 = np.dtype(np.int64)
_MOST_SCHEDULES = 64
"""Most schedules that are kept: a loader may give batches of any size."""


class Totals(NamedTuple):
    """Sums over the rows trained on: losses, their number, each measure, their weights.

    A row without a weight has 1; losses and measures are counted by weight.
    """

    loss: float = 0.0
    rows: int = 0
    measures: tuple[float, ...] = ()
    weight: float = 0.0

    def plus(self, loss: float, rows: int, measured: Sequence[float], weight: float) -> "Totals":
        """The totals with one more batch: its sums, of the loss too."""
        before = self.measures or (0.0,) * len(measured)
        sums = tuple(a + b for a, b in zip(before, measured, strict=True))
        return Totals(self.loss + loss, self.rows + rows, sums, self.weight + weight)


class _Call(NamedTuple):
    """The arguments of a call; see `kernels.network.interpreter.execute`."""

    x: Array
    targets: Array
    order: Array
    numbers: Array
    rows: int
    batch: int
    step: int
    bases: Array
    out: Array
    measures: Array
    sums: Array


@dataclass
class _Prepared:
    """A program with its schedules and numbers."""

    made: Program
    numbers: Array = field(default_factory=lambda: np.zeros((1, 1)))
    schedules: dict[tuple[int, int], Array] = field(default_factory=dict)
    records: dict[int, Array] = field(default_factory=dict)
    kept: dict[int, Any] = field(default_factory=dict)
    in_blocks: dict[tuple[int, int], "tuple[_Prepared, Array]"] = field(default_factory=dict)

    def schedule(self, rows: int, count: int, like: Array) -> Array:
        """The schedule of ``count`` threads for batches of ``rows`` rows."""
        found = self.schedules.get((rows, count))
        if found is None:
            if len(self.schedules) >= _MOST_SCHEDULES:
                self.schedules.clear()
            found = make_schedule(self.made.table, like, rows, count)
            self.schedules[rows, count] = found
        return found


class Compiled:
    """Runs a model's programs on its parameters.

    Parameters
    ----------
    model : Sequential
        Without an `obstacle`.
    """

    def __init__(self, model: "Sequential") -> None:
        self._model = model
        self._lowering = Lowering(model)
        buffers = model._buffers
        self._parameters = buffers.parameters
        self._empty = np.empty((0, 1), buffers.parameters.dtype)
        self._no_order, self._no_totals = np.empty(0, np.int64), np.zeros(3)
        self._space = np.empty((1, 0), buffers.parameters.dtype)
        self._blocks: Array | None = None
        self._sums = self._no_totals
        self._key = np.uint64(model._key)
        self._words = 8 // buffers.parameters.itemsize
        self._paces: dict[int, Pace] = {}
        self._programs: dict[Any, tuple[_Prepared, ...]] = {}
        addresses = [0] * program.BASES
        addresses[program.PARAMETERS] = buffers.parameters.ctypes.data
        addresses[program.STATES] = buffers.states.ctypes.data
        addresses[program.GRADIENTS] = buffers.gradients.ctypes.data
        # Each call of inference has its own workspace, since several threads may predict at once.
        self._shared_bases = np.array(addresses, np.int64)
        self._bases = self._shared_bases.copy()

    # --- training ---

    def train(
        self,
        x: Array,
        targets: Array,
        order: Array,
        batch_size: int,
        step: int,
        totals: Totals,
        weights: Array | None = None,
    ) -> tuple[float, Totals]:
        """Train on as many of the rows in ``order`` as fit one call; ``weights`` (n, 1) are theirs.

        Return the last batch's loss and the totals. After a loss that is not finite, training has
        stopped before that batch's update.
        """
        self._sums = np.array([0.0, 0.0, totals.rows])
        batch_size = min(batch_size, len(order))
        words = as_words(targets, x.dtype)
        weighted = weights is not None
        programs = self._training(self._model.loss.form(targets), words.shape[1], weighted)
        made = programs[0].made
        self._bases[program.WEIGHTS] = weights.ctypes.data if weights is not None else 0
        self._make_space(made.elements(batch_size), batch_size)

        kind = batch_size.bit_length()  # one pace for similar sizes
        pace = self._pace(kind, made.multiply_adds * batch_size)
        most = -(-len(order) // batch_size)
        if pace.unit_seconds > _LONG_SECONDS:
            most, programs = 1, programs[1:]
        else:
            programs = programs[:1]
        before = totals.measures or (0.0,) * len(self._model.loss.measures)
        by_weight = (totals.loss, totals.weight) if weighted else ()
        sums = np.array([0.0, totals.loss, totals.rows, *before, *by_weight])
        self._sums = sums

        def run(batches: int, count: int) -> None:
            rows = min(batches * batch_size, len(order))
            numbers = self._numbers(made, step - self._model._first_step, batches)
            if weights is not None:
                numbers = np.repeat(numbers, batches // len(numbers), axis=0)
                scales = np.empty(batches)
                batch_scales.bare(weights[order[:rows]], batch_size, scales)
                numbers[:, self._lowering.groups.width] = scales
            call = _Call(
                *(x, words, order, numbers, rows, batch_size, step),
                *(self._bases, self._empty, self._empty, sums),
            )
            for each in programs:
                self._execute(each, count, call)

        pace.run(most, run)
        loss, losses, rows, *measures = sums.tolist()
        if not math.isfinite(loss):
            self._paces.pop(kind, None)  # it counted batches that did not run
        weight = totals.weight + rows - totals.rows
        if weighted:
            *measures, losses, weight = measures
        return loss, Totals(losses, int(rows), tuple(measures), weight)

    def rows_trained(self, totals: Totals) -> int:
        """The rows that the last call of `train`, with these totals, has trained on.

        Where Ctrl-C ends it as well, which Python raises when the compiled call has returned.
        """
        return int(self._sums[2]) - totals.rows

    def step(self, targets: Array, weighted: bool = False) -> Program:
        """The program of a training step for such targets, and rows with weights or without."""
        words = as_words(targets, self._parameters.dtype).shape[1]
        return self._training(self._model.loss.form(targets), words, weighted)[0].made

    def serially(
        self,
        made: Program,
        x: Array,
        targets: Array,
        batch_size: int,
        weights: Array | None = None,
    ) -> Callable[[Array], None]:
        """A function that runs `step`, or a part of it, on rows in an order, on one thread.

        Each batch has the optimizer's numbers of the first step, and a scale of 1 where rows have
        ``weights``. A part of a step reads the
        workspace as the last whole step of that batch size left it.
        """
        prepared, words = _Prepared(made), as_words(targets, x.dtype)
        numbers = self._numbers(made, 0, 1)
        sums = np.zeros(3 + len(self._model.loss.measures) + 2 * made.weighted)
        self._make_space(made.elements(batch_size), batch_size)

        def run(order: Array) -> None:
            # Each time: a call of `train` in between has set its own.
            self._bases[program.WEIGHTS] = weights.ctypes.data if weights is not None else 0
            call = _Call(
                *(x, words, order, numbers, len(order), batch_size, 0),
                *(self._bases, self._empty, self._empty, sums),
            )
            self._execute(prepared, 1, call)

        return run

    def _training(self, form: str, words: int, weighted: bool = False) -> tuple[_Prepared, ...]:
        """The training program, then the programs of its lines."""
        key = "training", form, words, weighted
        if key not in self._programs:
            made = self._lowering.training(form, words, weighted)
            self._programs[key] = tuple(map(_Prepared, (made, *split(made))))
        return self._programs[key]

    def _numbers(self, made: Program, step: int, batches: int) -> Array:
        """The operations' numbers of some batches: the optimizer's, then the lines' own."""
        given = self._lowering.groups.rows(step, batches, self._parameters.dtype)
        if not made.numbers:
            return given
        numbers = np.empty((len(given), given.shape[1] + len(made.numbers)))
        numbers[:, : given.shape[1]], numbers[:, given.shape[1] :] = given, made.numbers
        return numbers

    def single_step(self, x: Array, targets: Array) -> "SingleStep | None":
        """A `SingleStep` for batches like this one; None where it does not apply."""
        form = self._model.loss.form(targets)
        if form != "labels":
            return None
        (prepared, *_) = self._training(form, self._words)
        if prepared.made.multiply_adds * len(x) > _SMALL_STEP:
            return None
        return SingleStep(self._model, self._lowering.groups, prepared, self._bases, len(x))

    # --- inference ---

    def scores(self, x: Array, out: Array) -> None:
        """Write the last layer's scores for each row of x."""
        self._infer("scoring", self._lowering.scoring, x, self._empty, out, self._empty)

    def predictions(self, x: Array, out: Array) -> int:
        """Write what is predicted for each row of x; return how many rows get -1, for a NaN."""
        words = out.view(x.dtype).reshape(len(out), -1)
        return self._infer(
            "predicting",
            lambda: self._lowering.predicting(words.shape[1]),
            *(x, self._empty, words, self._empty),
        )

    def evaluate(self, x: Array, targets: Array, losses: Array, measures: Array) -> None:
        """Write the loss and the measures of each row."""
        words, form = as_words(targets, x.dtype), self._model.loss.form(targets)
        self._infer(
            ("evaluating", form, words.shape[1]),
            lambda: self._lowering.evaluating(form, words.shape[1]),
            *(x, words, losses, measures),
        )

    def _infer(
        self, key: Any, make: Any, x: Array, targets: Array, out: Array, measures: Array
    ) -> int:
        if key not in self._programs:
            made = make()
            own = [*([0.0] * self._lowering.groups.width), *made.numbers] or [0.0]
            self._programs[key] = (_Prepared(made, np.array([own])),)
        (prepared,) = self._programs[key]
        made, rows, sums = prepared.made, len(x), self._no_totals
        given = self._no_order, prepared.numbers
        if rows * made.multiply_adds <= _DIRECT:
            if targets is self._empty and rows <= _ROWS:
                counted = self._few(prepared, x, out)
                if counted >= 0:
                    return counted
            unit = min(rows, _ROWS)
            call = _Call(x, targets, *given, rows, unit, 0, self._shared_bases, out, measures, sums)
            return self._execute(prepared, 1, call)

        def infer_part(start: int, end: int, unit: int, count: int) -> int:
            part = slice(start, end)
            call = _Call(
                *(x[part], targets[part], *given, end - start, unit),
                *(0, self._shared_bases, out[part], measures[part], sums),
            )
            return self._execute(prepared, count, call)

        unit = min(rows, _ROWS)
        pace = self._pace(-unit.bit_length(), made.multiply_adds * unit)
        at = counted = 0
        while at < rows:
            # A mapped file may have shrunk, and reading beyond its end would kill the process.
            checks.unshrunk("Sequential", "x", x)

            def run(units: int, count: int, at: int = at) -> tuple[int, int]:
                end = min(at + units * unit, rows)
                return end, infer_part(at, end, unit, count)

            at, more = pace.run(-(-(rows - at) // unit), run)
            counted += more
        return counted

    def _few(self, prepared: _Prepared, x: Array, out: Array) -> int:
        """Inference of a few rows in a call that costs little; -1 where the arrays do not fit."""
        rows = len(x)
        record = prepared.records.get(rows)
        if record is None:
            record = prepared.records[rows] = self._inference_record(prepared, rows, out.shape[1])
        try:
            return int(infer_few.serial(x, record, out))
        except TypeError:
            return -1

    def _inference_record(self, prepared: _Prepared, rows: int, n_out: int) -> Array:
        made, like = prepared.made, self._parameters
        schedule = prepared.schedule(rows, 1, like)
        if len(prepared.records) >= _MOST_SCHEDULES:
            prepared.records.clear()
        prepared.kept[rows] = schedule, prepared.numbers  # the record holds their addresses
        space_bytes = -(-made.elements(rows) * like.itemsize // 64) * 64
        record = InferenceRecord(
            *(made.table.ctypes.data, schedule.ctypes.data, self._shared_bases.ctypes.data),
            *(prepared.numbers.ctypes.data, rows, self._model.n_in, n_out, space_bytes),
            Summary(*schedule[: len(Summary._fields)].tolist()).scratch,
        )
        return np.array(record, np.int64)

    # --- both ---

    def _execute(self, prepared: _Prepared, count: int, call: _Call) -> int:
        """Run a program on ``count`` threads, or on one while another caller has them."""
        numbers, rows, batch = call.numbers, call.rows, min(call.batch, call.rows)
        per_batch = numbers.shape[1] if len(numbers) > 1 else 0
        flat, left, like = numbers.reshape(-1), rows % batch, self._parameters

        def arguments(threads: int) -> tuple[Any, ...]:
            used, pieces = prepared, self._no_order
            if threads > 1 and rows >= LEAST_BATCHES * batch:
                used, pieces = self._in_blocks(prepared, batch, threads)
            schedule = used.schedule(batch, threads, like)
            rest = used.schedule(left, threads, like) if left else schedule
            return (
                *(call.x, call.targets, call.order, used.made.table, schedule, rest),
                *(call.bases, pieces, flat, per_batch, rows, batch),
                *(self._key, np.uint64(call.step), call.out, call.measures, call.sums),
            )

        return int(interpreter.execute.for_threads(count, arguments))

    def _in_blocks(self, prepared: _Prepared, batch: int, count: int) -> tuple[_Prepared, Array]:
        """The program with weights in blocks, and what is copied; as it is where there are none."""
        found = prepared.in_blocks.get((batch, count))
        if found is None:
            found = prepared, self._no_order
            buffers, made = self._model._buffers, prepared.made
            size, itemsize = buffers.parameters.size, buffers.parameters.itemsize
            weights = weights_for_blocks(made, batch, itemsize, count)
            if weights:
                flat = [buffers.parameters[0], *buffers.states]
                if self._blocks is None:
                    blocks = aligned_zeros(len(flat) * size, buffers.parameters.dtype)
                    self._blocks = blocks.reshape(len(flat), size)
                    self._bases[program.BLOCKS] = blocks.ctypes.data
                pieces = pieces_of(weights, flat, self._blocks, count)
                found = _Prepared(in_blocks(made, weights, size)), pieces
            prepared.in_blocks[batch, count] = found
        return found

    def _pace(self, kind: int, multiply_adds: int) -> Pace:
        if kind not in self._paces:
            self._paces[kind] = Pace(multiply_adds)
        return self._paces[kind]

    def _make_space(self, size: int, batch_size: int) -> None:
        if self._space.size < size:
            try:
                self._space = aligned_zeros(size, self._space.dtype)
            except MemoryError as error:
                raise MemoryError(
                    f"Sequential.fit: no memory for a workspace of {size * self._space.itemsize:,} "
                    f"bytes, for what batches of {batch_size} rows become on their way: expected a "
                    "smaller batch_size"
                ) from error
            self._bases[program.SPACE] = self._space.ctypes.data


class SingleStep:
    """Takes training steps on batches of one size with class labels, with little overhead.

    Parameters
    ----------
    model : Sequential
    groups : ParameterGroups
    prepared : _Prepared
        Its training program for labels.
    bases : ndarray of int64
    rows : int
    """

    def __init__(
        self,
        model: "Sequential",
        groups: "ParameterGroups",
        prepared: _Prepared,
        bases: Array,
        rows: int,
    ) -> None:
        made, dtype = prepared.made, model.dtype
        like = model._buffers.parameters
        schedule = prepared.schedule(rows, 1, like)
        summary = Summary(*schedule[: len(Summary._fields)].tolist())
        self._groups, self._first_step = groups, model._first_step
        self._dtype = dtype
        self._numbers = np.array([*([0.0] * groups.width), *made.numbers])
        self._totals = np.zeros(3 + len(model.loss.measures))
        order, labels = np.arange(rows), np.empty(rows, np.int64)
        space = aligned_zeros(made.elements(rows), dtype)
        scratch = aligned_zeros(summary.scratch + 64, np.dtype(np.uint8))
        control = aligned_zeros(CONTROL_BYTES, np.dtype(np.uint8))
        own_bases = bases.copy()
        own_bases[program.SPACE] = space.ctypes.data
        # Arrays whose addresses are in the record.
        self._kept = made.table, schedule, own_bases, order, labels, space, scratch, control
        record = Record(
            *(made.table.ctypes.data, schedule.ctypes.data, own_bases.ctypes.data),
            *(order.ctypes.data, labels.ctypes.data, self._numbers.ctypes.data),
            *(self._totals.ctypes.data, control.ctypes.data, scratch.ctypes.data),
            *(int(np.uint64(model._key).astype(np.int64)), rows, model.n_in, model.n_out),
        )
        self._record = np.array(record, np.int64)
        step_on_labels.compile(dtype)
        self._run = getattr(step_on_labels.serial, dtype.name)

    def take(self, x: Array, labels: Array, step: int) -> float | None:
        """Train on a batch and return its loss; no update if it is not finite, None if refused."""
        if not (  # Numba would read any array with elements of eight bytes as labels
            type(x) is type(labels) is np.ndarray
            and labels.dtype is _INT64
            and labels.ndim == 1
            and labels.flags.c_contiguous
            and labels.flags.aligned
        ):
            return None
        for name, array in (("x", x), ("y", labels)):
            if array.base is not None:
                checks.unshrunk("Sequential.train_step", name, array)
        given = self._groups.rows(step - self._first_step, 1, self._dtype)
        self._numbers[: given.shape[1]] = given[0]
        try:
            taken = self._run(x, labels, self._record, step)
        except TypeError:  # other arrays
            return None
        return float(self._totals[0]) if taken == TAKEN else None
