"""The training loop of `Sequential.fit`: epochs, progress, callbacks, and when to stop."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.runtime import checks
from layers import seeds
from layers.backends import active
from layers.base import Array
from layers.compiled.runner import Totals
from layers.keywords import Spelled
from layers.streams import progress_bar
from layers.training.data_sources import PLACE, Held, Piece, Source
from layers.training.finite import named, not_finite
from layers.training.history import History
from layers.training.resuming import State, Stopped
from layers.validation import check_batches

if TYPE_CHECKING:
    from layers.sequential import Sequential

_BAR = "{desc}{percentage:3.0f}%|{bar}| {remaining}{postfix}"
"""Short: what `_shown` gives must find room in a terminal of 80 columns."""
_BAR_OF_UNKNOWN = "{desc}{n_fmt} rows {elapsed}{postfix}"

_UNSCALED, _GROWN = 100.0, 1e6
"""Sizes of data, and of parameters, from which on they are named as what makes scores large."""


class NonFiniteLoss(FloatingPointError):
    """`Sequential.fit` met a loss that is NaN or Inf, and stopped before using it.

    Or so is the norm of the gradients, where the optimizer clips by it.
    """


@dataclass(frozen=True)
class Progress:
    """Where training stands when a callback is called.

    Attributes
    ----------
    epoch, epochs : int
        Of this call of `fit`, from 1; where it goes on from a checkpoint, those of the call that
        was stopped count too.
    batch : int
        How many batches of the epoch are done.
    ended : bool
        Whether the epoch has ended.
    metrics : dict
        ``loss`` and what the loss measures besides, such as ``accuracy``: means over the epoch's
        rows so far. At the end of an epoch with validation data also ``val_loss``, ...
    model : Sequential
        The model that is trained.
    learning_rate : float or None
        The optimizer's at this step; None where it has none.
    seconds : float
        Since this call of `fit` began.
    callbacks : sequence
        All that are called.
    given : dict
        What a checkpoint notes of the arguments of `fit`: batch size, hashes of the rows, ...
    """

    epoch: int
    epochs: int
    batch: int
    ended: bool
    metrics: Mapping[str, float]
    model: "Sequential" = field(repr=False)
    learning_rate: float | None = None
    seconds: float = 0.0
    callbacks: Sequence[Any] = field(default=(), repr=False)
    given: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def loss(self) -> float:
        """Mean loss over the epoch's rows so far."""
        return self.metrics["loss"]

    @property
    def accuracy(self) -> float | None:
        """Mean accuracy over the epoch's rows so far; None where the loss measures none."""
        return self.metrics.get("accuracy")

    @property
    def val_loss(self) -> float | None:
        """Mean loss over the validation data, at the end of an epoch that has them."""
        return self.metrics.get("val_loss")

    @property
    def val_accuracy(self) -> float | None:
        """Accuracy on the validation data, at the end of an epoch that has them."""
        return self.metrics.get("val_accuracy")


Function = Callable[[Progress], Any]
"""What `fit` calls back: it returns True to end training."""


class Callback(Spelled):
    """A callback that is told of the beginning and the end of training too.

    Attributes
    ----------
    monitor : str or None
        The metric that it looks at, which `fit` then has to have.
    every : int or None
        Call it after so many batches too; None is ``callback_batches`` of `fit`.
    over : bool
        Whether training is to end before the next epoch, as it may be after `restore`.
    saves : bool
        Whether it saves what the others have seen, and is called after them.
    """

    monitor: str | None = None
    every: int | None = None
    over: bool = False
    saves: bool = False

    def begin(self, model: "Sequential") -> None:
        """Called before the first batch."""

    def __call__(self, progress: Progress) -> Any:
        """Called at the end of each epoch, and between batches; True ends training."""

    def end(self, model: "Sequential") -> None:
        """Called when training ends, however it ends: by an error or Ctrl-C too."""

    def state(self) -> State | None:
        """What it has seen by now, for a checkpoint: numbers, text and lists, and arrays, by name.

        None where there is nothing that a training that goes on from there would miss.
        """
        return None

    def restore(self, model: "Sequential", state: State) -> None:
        """Called instead of `begin` where training goes on: take up what `state` gave.

        It comes from a file: check it.
        """
        self.begin(model)


class _Stop(Exception):
    """A callback has asked for the end."""


@dataclass
class Fitting:
    """One call of `Sequential.fit`, its arguments checked."""

    model: "Sequential"
    source: Source
    epochs: int
    shuffle: bool
    validation: tuple[Held, Held, Array | None] | None
    callbacks: Sequence[Function]
    every: int | None
    given: Mapping[str, Any] = field(default_factory=dict)
    _intervals: list[int | None] = field(default_factory=list)
    _began: float = 0.0
    _before: int = 0
    """Epochs of the call that was stopped, where this one goes on from a checkpoint."""

    def run(self, progress: bool) -> History:
        """All epochs, or those until a callback asks for the end."""
        self.callbacks = sorted(
            self.callbacks, key=lambda each: isinstance(each, Callback) and each.saves
        )
        self._intervals = [
            (callback.every if isinstance(callback, Callback) else None) or self.every
            for callback in self.callbacks
        ]
        self._check_monitors()
        history, rows = History(), self.source.rows
        total = None if rows is None else self.epochs * rows
        form = _BAR_OF_UNKNOWN if total is None else _BAR
        bar = progress_bar(total=total, bar_format=form, disable=not progress)
        with bar, ExitStack() as endings:
            self._begin(endings)
            self._began = time.perf_counter()
            try:
                for epoch in range(self._before, self._before + self.epochs):
                    if any(isinstance(each, Callback) and each.over for each in self.callbacks):
                        break
                    if progress:
                        last = self._before + self.epochs
                        bar.set_description(f"epoch {epoch + 1}/{last}", refresh=False)
                    self._epoch(epoch, history, bar)
            except _Stop:
                pass
        return history

    def _begin(self, endings: ExitStack) -> None:
        """Tell the callbacks that training begins, or goes on."""
        model = self.model
        stopped = Stopped() if model._stopped is None else model._stopped.copy()
        learnt = model._buffers.learnt.copy()
        try:
            for callback in self.callbacks:
                if not isinstance(callback, Callback):
                    continue
                state = stopped.take(callback)
                if state is None:
                    callback.begin(model)
                else:
                    callback.restore(model, state)
                endings.callback(callback.end, model)
        except BaseException:
            with endings.pop_all():  # one that had gone on may put its parameters into the model
                pass
            model._buffers.learnt[...] = learnt
            raise
        self._before, model._stopped = stopped.epoch, None
        stopped.warn_of_the_rest(PLACE)

    def _check_monitors(self) -> None:
        """Each metric that a callback looks at is there, or will be."""
        names = ["loss", *self.model.loss.measures]
        held = [f"val_{name}" for name in [*names, *(each.name for each in self.model.metrics)]]
        for callback in self.callbacks:
            monitor = callback.monitor if isinstance(callback, Callback) else None
            if monitor is None or monitor in names:
                continue
            place = f"{PLACE}: {type(callback).__name__} looks at {checks.shown(monitor)}"
            if monitor not in held:
                raise ValueError(f"{place}, expected one of {names + held}")
            if self.validation is None:
                raise ValueError(
                    f"{place}, expected validation_data or validation_fraction with it"
                )

    def _epoch(self, epoch: int, history: History, bar: Any) -> None:
        totals, batch, before = Totals(), 0, bar.n
        for batch, totals in self._steps(epoch):
            if bar.n == 0:
                bar.unpause()  # kernels were compiled: how long that took says nothing of the rest
            if not bar.disable:
                bar.update(before + totals.rows - bar.n)
            called = [
                callback
                for callback, every in zip(self.callbacks, self._intervals, strict=True)
                if every and batch % every == 0
            ]
            if called:
                self._call_back(called, epoch, batch, self._means(totals), False)
        numbers = self._means(totals)
        if self.validation is not None:
            of_x, of_y, weights = self.validation
            x, y = of_x.array, of_y.array
            checks.unshrunk(PLACE, "validation_data[0]", x)
            checks.unshrunk(PLACE, "validation_data[1]", y)
            scored = self.model._evaluate(x, y, weights)
            numbers |= {f"val_{name}": value for name, value in scored.items()}
        history.add(**numbers)
        self.model.history.add(**numbers)
        if not bar.disable:
            bar.set_postfix_str(_shown(numbers), refresh=epoch == self._before + self.epochs - 1)
        self._call_back(self.callbacks, epoch, batch, numbers, True)

    def _steps(self, epoch: int) -> Iterator[tuple[int, Totals]]:
        """One epoch: after each step how many batches are done, and the totals."""
        model, totals, batch = self.model, Totals(), 0
        for piece in self.source.pieces(self._order()):
            at, sizes = 0, (len(piece.order), piece.batch_size)
            name = "x" if self.source.rows is not None else f"batch {batch + 1}: x"
            check_batches(model.layers, PLACE, name, piece.x, *sizes)
            while at < len(piece.order):
                self.source.check()
                before = totals.rows
                part = self._part(piece, at, batch)
                loss, totals = model._train(piece, part, totals)
                rows = totals.rows - before
                batch += -(-rows // piece.batch_size)
                at += rows
                if not math.isfinite(loss):
                    bad = piece._replace(order=piece.order[at : at + piece.batch_size])
                    of_x = self.source.rows is not None
                    raise NonFiniteLoss(_not_finite(model, loss, epoch, batch, bad, of_x))
                yield batch, totals

    def _part(self, piece: Piece, at: int, batch: int) -> Array:
        """The rows that one step may train on: no further than the next callback."""
        left = [every - batch % every for every in self._intervals if every]
        if not left:
            return piece.order[at:]
        return piece.order[at : at + min(left) * piece.batch_size]

    def _order(self) -> Array | None:
        if self.source.rows is None:
            return None
        order = np.arange(self.source.rows)
        if self.shuffle:
            model = self.model
            active().permutation(model._key, seeds.SHUFFLE + model.history.epochs, order)
        return order

    def _means(self, totals: Totals) -> dict[str, float]:
        """The mean loss of the epoch so far, and that of each measure; NaN where no row counts."""
        names, weight = self.model.loss.measures, totals.weight or math.nan
        sums = totals.measures or (0.0,) * len(names)
        means = {name: total / weight for name, total in zip(names, sums, strict=True)}
        return {"loss": totals.loss / weight, **means}

    def _call_back(
        self,
        callbacks: Sequence[Function],
        epoch: int,
        batch: int,
        numbers: dict[str, float],
        ended: bool,
    ) -> None:
        """Call callbacks; stop where one says so."""
        if not callbacks:
            return
        progress = Progress(
            *(epoch + 1, self._before + self.epochs, batch, ended, numbers, self.model),
            learning_rate=learning_rate(self.model),
            seconds=time.perf_counter() - self._began,
            callbacks=self.callbacks,
            given=self.given,
        )
        answers = [callback(progress) for callback in callbacks]
        # Not whatever counts as true: a callback may well return a number.
        if any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers):
            raise _Stop


def learning_rate(model: "Sequential") -> float | None:
    """The optimizer's learning rate at the model's next step; None where it has none."""
    rate = getattr(model.optimizer, "learning_rate", None)
    if callable(rate):  # a schedule
        rate = rate(model._step - model._first_step)
    return float(rate) if isinstance(rate, (int, float, np.integer, np.floating)) else None


def checked_callbacks(callbacks: Any, every: Any) -> tuple[list[Function], int | None]:
    """The callbacks of `fit`, and after how many batches they are called too."""
    if callable(callbacks):
        callbacks = [callbacks]
    is_list = isinstance(callbacks, (list, tuple))
    if not is_list or not all(callable(each) and not isinstance(each, type) for each in callbacks):
        raise TypeError(
            f"{PLACE}: callbacks is {checks.shown(callbacks)}, expected a function or a list of "
            "functions that take a layers.Progress"
        )
    if every is not None:
        every = checks.integer(PLACE, "callback_batches", every, 1)
    return list(callbacks), every


def _shown(metrics: Mapping[str, float]) -> str:
    """An epoch's numbers for the progress bar."""
    own = [f"{n}={v:{_form(n)}}" for n, v in metrics.items() if not n.startswith("val_")]
    held = []
    for name, value in metrics.items():
        short = name.removeprefix("val_")
        if short != name:  # named only where it stands in another place than among an epoch's own
            held.append(f"{'' if short in metrics else f'{short}='}{value:{_form(name)}}")
    return " ".join(own) + (f" (val: {' '.join(held)})" if held else "")


def _form(name: str) -> str:
    return ".3f" if name.endswith("accuracy") else ".3g"


def _not_finite(
    model: "Sequential", loss: float, epoch: int, batch: int, piece: Piece, of_x: bool
) -> str:
    """What to say of a loss that is NaN or Inf, and where it may come from.

    ``of_x`` says whether the rows of the piece are all those of ``x``, not those of one batch.
    """
    what = "loss" if model.optimizer.clip_norm is None else "loss, or the norm of its gradients,"
    text = (
        f"{PLACE}: the {what} is {loss} at epoch {epoch + 1}, batch {batch + 1}; "
        "the parameters are those before that batch"
    )
    for name, array in model.parameters().items():
        if not np.isfinite(array).all():
            return f"{text}, and {name} is not finite itself: model.reset() starts anew"
    rows = piece.order
    x = piece.x[rows]
    for at in not_finite(x):
        name = "x" if of_x else f"x in batch {batch + 1}"
        row = piece.row_of(int(rows[at]))
        return f"{text}. In it, {named(name, row, x[at])}"
    if _size(x) > _UNSCALED:
        return f"{text}. Scores have overflowed: x runs up to {_size(x):.2g}: scale it to about 1"
    if model.loss.takes == "numbers" and _size(piece.targets[rows]) > _UNSCALED:
        size = _size(piece.targets[rows])
        return f"{text}. Scores have overflowed: y runs up to {size:.2g}: scale it to about 1"
    text = f"{text}. Scores have overflowed: try a smaller learning rate"
    for name, array in model.parameters().items():
        if _size(array) > _GROWN:
            return f"{text}; {name} runs up to {_size(array):.2g}: model.reset() starts anew"
    return text


def _size(array: Array) -> float:
    """The largest number, without its sign."""
    return float(np.abs(array).max(initial=0.0))
