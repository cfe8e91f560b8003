"""Where the time of one training step goes: each pass over a batch by itself, and what is left.

A compiled step is a program (``layers/lowering.py``), so a pass of it is a program too, of a single
instruction. A model that runs layer by layer is watched while it trains.

All times are CPU times of the thread: where other programs took turns on the same cores, they were
within a few hundredths of each other, and medians by the clock on the wall off by half.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from kernels.network import interpreter
from kernels.network.program import (
    CROSS_ENTROPY,
    GATHER,
    PRODUCT,
    RELU_BACKWARD,
    SOFTMAX_BACKWARD,
    SOFTMAX_CROSS_ENTROPY,
    Header,
    Instruction,
)
from kernels.product.microkernel import ADD_BIASES, MASK, RELU, TRANSPOSE_B
from kernels.product.peak import limit
from kernels.runtime import checks
from layers import streams
from layers.activations import ReLU, Softmax
from layers.backends import active
from layers.base import Array, Layer
from layers.command_line.tables import aligned
from layers.compiled.buffers import aligned_zeros
from layers.compiled.runner import lowering
from layers.dense import Dense
from layers.labels import as_labels
from layers.losses import CategoricalCrossEntropy, SoftmaxCrossEntropy
from layers.optimizers import SGD
from layers.sequential import Sequential
from layers.timing import kernel_threads, one_blas_thread
from layers.training.data_sources import Piece

_SECONDS, _FIT_SECONDS = 0.002, 0.02
"""How long a sample of one pass is to last, and one of `fit`: each call has a cost of its own."""
_MOST_ROWS, _MOST_CALLS = 2**17, 2**10
"""Rows, or calls, of a sample at most, however short they are."""


@dataclass(frozen=True)
class Row:
    """One pass over a batch.

    Attributes
    ----------
    part : {"gather", "forward", "loss", "backward", "update"}
    layers : tuple of int
        Those that it is the pass of.
    name : str
    operations : int
        Additions and multiplications of products with weights, of biases and of the update; 0 for
        all else, and for what is the user's own.
    bytes : int
        Of the operands, each read and written once; 0 for what is the user's own.
    seconds : float
        CPU time of the thread: the median.
    """

    part: str
    layers: tuple[int, ...]
    name: str
    operations: int
    bytes: int
    seconds: float = 0.0


@dataclass(frozen=True)
class Profile:
    """What `profile` has measured, on one thread; as text it is a table.

    Attributes
    ----------
    rows : tuple of Row
        In the order in which a step runs them.
    seconds : float
        Of a whole step, as `Sequential.fit` runs it, in the same way.
    limit : float
        Additions and multiplications a second with everything in registers.
    batch_size : int
    dtype : str
    obstacle : str or None
        Why the model runs layer by layer; see `Sequential.obstacle`.
    """

    rows: tuple[Row, ...]
    seconds: float
    limit: float
    batch_size: int
    dtype: str
    obstacle: str | None

    @property
    def outside(self) -> float:
        """Seconds of a step that are in no row: Python, and operands that have left the caches.

        Where the model runs layer by layer, reading the clock is in it too. Noise can make it
        negative.
        """
        return self.seconds - sum(row.seconds for row in self.rows)

    def __str__(self) -> str:
        rows = self.rows
        operations = sum(row.operations for row in rows)
        lines = [
            ("pass", "", "microseconds", "of step", "GFLOP/s", "of limit", "kB"),
            *((r.part, r.name, *self._shown(r.seconds, r.operations, r.bytes)) for r in rows),
            ("outside", "", *self._shown(self.outside)),
            ("step", "", *self._shown(self.seconds, operations)),
        ]
        how = "compiled" if self.obstacle is None else f"layer by layer: {self.obstacle}"
        return (
            f"{aligned(lines, left=2)}\n"
            f"batch of {self.batch_size}, {self.dtype}, one thread, {how}\n"
            f"limit {self.limit / 1e9:.1f} GFLOP/s: multiply-adds with everything in registers"
        )

    def _shown(self, seconds: float, operations: int = 0, moved: int = 0) -> tuple[str, ...]:
        rate = operations / seconds if operations else 0.0
        return (
            f"{seconds * 1e6:,.2f}",
            f"{seconds / self.seconds:.1%}",
            f"{rate / 1e9:.1f}" if operations else "-",
            f"{rate / self.limit:.0%}" if operations else "-",
            f"{moved / 1e3:,.1f}" if moved else "-",
        )


def profile(
    model: Sequential, x: Any, y: Any, batch_size: int = 32, *, repeats: int = 7, show: bool = True
) -> Profile:
    """Measure where the time of one training step goes, pass by pass, on one thread.

    The model stays as it is: a copy takes the steps, at a learning rate of 0. Meanwhile all kernels
    of the process run on one thread, and NumPy's BLAS where threadpoolctl is installed. A pass of a
    compiled model is run over and over, so it finds its operands in the nearest cache that holds
    them; what a whole step takes beyond that is in `Profile.outside`.

    Parameters
    ----------
    model : Sequential
    x : array_like, (n, n_in)
    y : array_like
        Class indices (n,), or target rows (n, n_classes).
    batch_size : int
        At least 1; no more than the rows of ``x`` are taken.
    repeats : int
        Samples of each pass, taken in turn; a row has their median.
    show : bool
        Whether to print the table.

    Returns
    -------
    Profile

    Raises
    ------
    TypeError, ValueError
        An argument is not as described, or a layer has a method of its own.
    NonFiniteLoss
        A batch's loss is NaN or Inf.
    """
    place = "profile"
    _check_model(model)
    batch_size = checks.integer(place, "batch_size", batch_size, 1)
    repeats = checks.integer(place, "repeats", repeats, 1)
    x = checks.real(place, "x", x, model.dtype, ("batch", model.n_in))
    y = as_labels(place, "y", y, len(x), model.n_out, model.dtype)
    batch_size = min(batch_size, len(x))
    copied = copy.deepcopy(model)
    copied.optimizer.learning_rate = 0.0

    def fit(epochs: int, batches: int) -> None:
        rows = batches * batch_size
        copied.fit(x[:rows], y[:rows], epochs, batch_size)

    obstacle = model.obstacle()
    with kernel_threads(1), one_blas_thread():
        # One epoch of `fit`, or so much of it as takes long enough; repeated where it is short.
        batches = _Sample(lambda count: fit(1, count), len(x) // batch_size, _FIT_SECONDS).units
        whole = _Sample(lambda count: fit(count, batches), _MOST_CALLS, _FIT_SECONDS)
        rows = batches * batch_size
        order = np.random.default_rng(0).permutation(rows)
        piece = Piece(x[:rows], y[:rows], order, batch_size)
        if obstacle is None:
            passes = list(_instructions(copied, piece))
        else:
            passes = list(_calls(copied, piece, whole.units * batches))
        call, operations = limit(model.dtype.name)
        full = _Sample(_repeated(call), _MOST_CALLS)
        # What watches `whole` comes behind it.
        takes = [full.take, whole.take, *(take for _, take in passes)]
        samples = [[take() for take in takes] for _ in range(repeats)]
    at_most, epoch, *each = map(median, zip(*samples, strict=True))
    timed = [replace(row, seconds=took) for (row, _), took in zip(passes, each, strict=True)]
    rate, dtype = operations / at_most, model.dtype.name
    made = Profile(tuple(timed), epoch / batches, rate, batch_size, dtype, obstacle)
    if show:
        with streams.usable():
            print(made)
    return made


def _check_model(model: Any) -> None:
    if not isinstance(model, Sequential):
        raise TypeError(f"profile: model is {checks.shown(model)}, expected a layers.Sequential")
    for index, layer in enumerate(model.layers):
        if lowering.have_own_methods([vars(layer)]):
            # In a copy too, it may be a method of this very layer.
            raise ValueError(
                f"profile: layer {index} of model, {layer!r}, has a method of its own, expected "
                "those of its class"
            )


# --- samples ---

_Timed = tuple[Row, Callable[[], float]]
"""A pass, and what takes a sample of its seconds."""


class _Sample:
    """Work that is timed by itself: so many units in one call as take long enough.

    Parameters
    ----------
    run : callable
        Does so many units.
    most : int
        Units at most.
    seconds : float
        What a sample is to take.
    """

    def __init__(self, run: Callable[[int], None], most: int, seconds: float = _SECONDS) -> None:
        self._run, self.units = run, 1
        run(1)  # the first time, kernels are compiled or loaded
        while self.units < most:
            took = self.units * min(self.take(), self.take())
            if took >= seconds:
                break
            more = int(1.1 * self.units * seconds / took)
            self.units = min(most, max(2 * self.units, more))

    def take(self) -> float:
        """Seconds of one unit."""
        began = time.thread_time()
        self._run(self.units)
        return (time.thread_time() - began) / self.units


def _repeated(call: Callable[[], object]) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            call()

    return run


def _watched(steps: int, *methods: tuple[object, str]) -> Callable[[], float]:
    """What takes a sample of some methods: seconds a step, where somebody has taken ``steps``."""
    seconds = 0.0

    def watch(method: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            nonlocal seconds
            began = time.thread_time()
            result = method(*args, **kwargs)
            seconds += time.thread_time() - began
            return result

        return watched

    def take() -> float:
        nonlocal seconds
        taken, seconds = seconds / steps, 0.0
        return taken

    for owner, name in methods:
        setattr(owner, name, watch(getattr(owner, name)))
    return take


# --- a compiled step ---


def _instructions(model: Sequential, piece: Piece) -> Iterator[_Timed]:
    """Each instruction of a model's program, as a program of its own."""
    x, labels, order, batch = piece
    program = lowering.lower(model, model._buffers.places).training.reshape(-1, len(Header._fields))
    header = Header(*program[0].tolist())
    space = aligned_zeros(header.width * batch, model.dtype)
    no_labels, no_targets = np.empty(0, np.int64), np.empty((0, 1), model.dtype)
    wanted = (labels, no_targets) if labels.ndim == 1 else (no_labels, labels)
    most = max(1, _MOST_ROWS // batch)
    order = np.resize(order, most * batch)

    def run(lines: Array, batches: int) -> None:
        interpreter.train.serial(
            *(x, order[: batches * batch], *wanted, lines.ravel()),
            *(0.0, batch, 0.0, model._buffers.parameters, space, 1),
        )

    # From here on what an instruction reads is there, and none writes over what it reads.
    run(program, 1)
    steps = [Instruction(*line) for line in program[1:].tolist()]
    for number, (step, (part, of)) in enumerate(zip(steps, _parts(model, steps), strict=True)):
        on_rows = number < header.row_steps
        one = header._replace(row_steps=int(on_rows), parameter_steps=int(not on_rows))
        sample = _Sample(partial(run, np.array([one, step], np.int64)), most)
        yield _row(model, piece, part, of, _cost_of(step, part, batch)), sample.take


def _parts(
    model: Sequential, steps: Sequence[Instruction]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """What each instruction is a part of, and the layers that it is the pass of."""
    dense = {place["weights"]: index for index, place in enumerate(model._buffers.places) if place}
    ends: dict[int, int] = {}  # by buffer: the last layer of the pass that fills it
    reached = 0
    for step in steps:
        if step.kind == GATHER:
            yield "gather", ()
        elif step.kind in (SOFTMAX_CROSS_ENTROPY, CROSS_ENTROPY):
            yield "loss", ()
        elif step.kind in (RELU_BACKWARD, SOFTMAX_BACKWARD):
            yield "backward", (ends[step.extra],)
        elif step.flags & TRANSPOSE_B:
            index = dense[step.weights]
            yield "backward", (index - 1, index) if step.flags & MASK else (index,)
        elif step.kind == PRODUCT and not step.flags & ADD_BIASES:
            yield "update", (dense[step.weights],)
        else:
            end = reached + (2 if step.flags & RELU else 1)
            yield "forward", tuple(range(reached, end))
            reached, ends[step.target] = end, end - 1


# --- a step layer by layer ---


def _calls(model: Sequential, piece: Piece, steps: int) -> Iterator[_Timed]:
    """What a step calls, watched while `fit` takes so many steps between two samples."""
    x, _, order, batch = piece
    rows = np.empty((batch, model.n_in), model.dtype)
    gather = _Sample(_repeated(lambda: active().gather_rows(x, order[:batch], rows)), _MOST_CALLS)
    yield _row(model, piece, "gather", (), (0, 2 * rows.size)), gather.take
    backwards: list[_Timed] = []
    width = model.n_in
    for index, layer in enumerate(model.layers):
        n_in, width = width, getattr(layer, "n_out", width)
        # As in `Sequential.backward`.
        only_parameters = index == 0 and isinstance(layer, Dense)
        forward, backward = _costs_of(layer, only_parameters, batch, n_in, width)
        take = _watched(steps, (layer, "forward"))
        yield _row(model, piece, "forward", (index,), forward), take
        take = _watched(steps, (layer, "backward_parameters" if only_parameters else "backward"))
        backwards.append((_row(model, piece, "backward", (index,), backward), take))
    known = type(model.loss) in (SoftmaxCrossEntropy, CategoricalCrossEntropy)
    take = _watched(steps, (model.loss, "rows"), (model.loss, "gradient"))
    yield _row(model, piece, "loss", (), _loss(batch, width) if known else _UNKNOWN), take
    yield from reversed(backwards)
    size = sum(array.size for array in model.parameters().values())
    cost = (2 * size, 3 * size) if type(model.optimizer) is SGD else _UNKNOWN
    yield _row(model, piece, "update", (), cost), _watched(steps, (model.optimizer, "update"))


# --- what a pass costs: operations, and numbers that are read or written ---

_Cost = tuple[int, int]
_UNKNOWN: _Cost = 0, 0


def _cost_of(step: Instruction, part: str, batch: int) -> _Cost:
    """An instruction's."""
    n_in, n_out = step.n_in, step.n_out
    if step.kind != PRODUCT:
        return _loss(batch, n_out) if part == "loss" else _elementwise(part, batch, n_out)
    if part == "backward":
        operations, numbers = _product(batch, n_in, n_out)
        return operations, numbers + (batch * n_out if step.flags & MASK else 0)
    operations, numbers = _with_biases(batch, n_in, n_out)
    # The update reads and writes the parameters, and stores no gradients.
    size = (n_in + 1) * n_out if part == "update" else 0
    return operations + 2 * size, numbers + size


def _costs_of(
    layer: Layer, only_parameters: bool, batch: int, n_in: int, n_out: int
) -> tuple[_Cost, _Cost]:
    """A layer's, forward and backward."""
    if type(layer) in (ReLU, Softmax):
        return _elementwise("forward", batch, n_out), _elementwise("backward", batch, n_out)
    if type(layer) is not Dense:
        return _UNKNOWN, _UNKNOWN
    forward = gradients = _with_biases(batch, n_in, n_out)
    inputs = (0, 0) if only_parameters else _product(batch, n_in, n_out)
    return forward, (gradients[0] + inputs[0], gradients[1] + inputs[1])


def _product(batch: int, n_in: int, n_out: int) -> _Cost:
    """Any of a Dense layer's three: inputs, weights and outputs, or their gradients."""
    return 2 * batch * n_in * n_out, batch * (n_in + n_out) + n_in * n_out


def _with_biases(batch: int, n_in: int, n_out: int) -> _Cost:
    """Added to each row, or summed over the rows."""
    operations, numbers = _product(batch, n_in, n_out)
    return operations + batch * n_out, numbers + n_out


def _elementwise(part: str, batch: int, n: int) -> _Cost:
    """Backward, the outputs are read too."""
    return 0, (3 if part == "backward" else 2) * batch * n


def _loss(batch: int, n: int) -> _Cost:
    """Scores, their gradient, and each row's loss."""
    return 0, 2 * batch * n + batch


def _row(model: Sequential, piece: Piece, part: str, of: tuple[int, ...], cost: _Cost) -> Row:
    operations, numbers = cost
    size = numbers * model.dtype.itemsize
    if size and part in ("gather", "loss"):
        size += piece.order[: piece.batch_size].nbytes
    if size and part == "loss":
        size += piece.labels[: piece.batch_size].nbytes
    others = {"gather": "rows of x", "loss": repr(model.loss), "update": "all parameters"}
    name = ", ".join(f"{index} {model.layers[index]!r}" for index in of) or others[part]
    return Row(part, of, name, operations, size)
