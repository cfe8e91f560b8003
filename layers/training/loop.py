"""The training loop of `Sequential.fit`: epochs, progress, callbacks, and when to stop."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.runtime import checks
from layers import seeds
from layers.backends import active
from layers.base import Array
from layers.compiled.runner import Totals
from layers.streams import progress_bar
from layers.training.data_sources import PLACE, Held, Piece, Source
from layers.training.history import History

if TYPE_CHECKING:
    from layers.sequential import Sequential

_BAR = "{desc}{percentage:3.0f}%|{bar}| {remaining}{postfix}"
"""Short: what `_shown` gives must find room in a terminal of 80 columns."""
_BAR_OF_UNKNOWN = "{desc}{n_fmt} rows {elapsed}{postfix}"


class NonFiniteLoss(FloatingPointError):
    """`Sequential.fit` met a loss that is NaN or Inf, and stopped before using it."""


@dataclass(frozen=True)
class Progress:
    """Where training stands when a callback is called.

    Attributes
    ----------
    epoch, epochs : int
        Of this call of `fit`, from 1.
    batch : int
        How many batches of the epoch are done.
    ended : bool
        Whether the epoch has ended.
    metrics : dict
        ``loss`` and what the loss measures besides, such as ``accuracy``: means over the epoch's
        rows so far. At the end of an epoch with validation data also ``val_loss``, ...
    """

    epoch: int
    epochs: int
    batch: int
    ended: bool
    metrics: Mapping[str, float]

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


Callback = Callable[[Progress], Any]


class _Stop(Exception):
    """A callback has asked for the end."""


@dataclass
class Fitting:
    """One call of `Sequential.fit`, its arguments checked."""

    model: "Sequential"
    source: Source
    epochs: int
    shuffle: bool
    validation: tuple[Held, Held] | None
    callbacks: Sequence[Callback]
    every: int | None

    def run(self, progress: bool) -> History:
        """All epochs, or those until a callback asks for the end."""
        history, rows = History(), self.source.rows
        total = None if rows is None else self.epochs * rows
        form = _BAR_OF_UNKNOWN if total is None else _BAR
        with progress_bar(total=total, bar_format=form, disable=not progress) as bar:
            try:
                for epoch in range(self.epochs):
                    if progress:
                        bar.set_description(f"epoch {epoch + 1}/{self.epochs}", refresh=False)
                    self._epoch(epoch, history, bar)
            except _Stop:
                pass
        return history

    def _epoch(self, epoch: int, history: History, bar: Any) -> None:
        totals, batch, before = Totals(), 0, bar.n
        for batch, totals in self._steps(epoch):
            if not bar.disable:
                bar.update(before + totals.rows - bar.n)
            if self.every and batch % self.every == 0:
                self._call_back(epoch, batch, self._means(totals), False)
        numbers = self._means(totals)
        if self.validation is not None:
            x, y = (each.array for each in self.validation)
            checks.unshrunk(PLACE, "validation_data[0]", x)
            checks.unshrunk(PLACE, "validation_data[1]", y)
            scored = self.model._evaluate(x, y)
            numbers |= {f"val_{name}": value for name, value in scored.items()}
        history.add(**numbers)
        self.model.history.add(**numbers)
        if not bar.disable:
            bar.set_postfix_str(_shown(numbers), refresh=epoch == self.epochs - 1)
        self._call_back(epoch, batch, numbers, True)

    def _steps(self, epoch: int) -> Iterator[tuple[int, Totals]]:
        """One epoch: after each step how many batches are done, and the totals."""
        model, totals, batch = self.model, Totals(), 0
        for piece in self.source.pieces(self._order()):
            at = 0
            while at < len(piece.order):
                self.source.check()
                before = totals.rows
                part = self._part(piece, at, batch)
                loss, totals = model._train(piece, part, totals)
                rows = totals.rows - before
                batch += -(-rows // piece.batch_size)
                at += rows
                if not math.isfinite(loss):
                    bad = piece.x[piece.order[at : at + piece.batch_size]]
                    raise NonFiniteLoss(_not_finite(model, loss, epoch, batch, bad))
                yield batch, totals

    def _part(self, piece: Piece, at: int, batch: int) -> Array:
        """The rows that one step may train on: no further than the next callback."""
        if not self.every:
            return piece.order[at:]
        return piece.order[at : at + (self.every - batch % self.every) * piece.batch_size]

    def _order(self) -> Array | None:
        if self.source.rows is None:
            return None
        order = np.arange(self.source.rows)
        if self.shuffle:
            model = self.model
            active().permutation(model._key, seeds.SHUFFLE + model.history.epochs, order)
        return order

    def _means(self, totals: Totals) -> dict[str, float]:
        """The mean loss of the epoch so far, and that of each measure."""
        names = self.model.loss.measures
        sums = totals.measures or (0.0,) * len(names)
        means = {name: total / totals.rows for name, total in zip(names, sums, strict=True)}
        return {"loss": totals.loss / totals.rows, **means}

    def _call_back(self, epoch: int, batch: int, numbers: dict[str, float], ended: bool) -> None:
        """Call every callback; stop where one says so."""
        if not self.callbacks:
            return
        progress = Progress(epoch + 1, self.epochs, batch, ended, numbers)
        answers = [callback(progress) for callback in self.callbacks]
        # Not whatever counts as true: a callback may well return a number.
        if any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers):
            raise _Stop


def checked_callbacks(callbacks: Any, every: Any) -> tuple[list[Callback], int | None]:
    """The callbacks of `fit`, and after how many batches they are called too."""
    if callable(callbacks):
        callbacks = [callbacks]
    if not isinstance(callbacks, (list, tuple)) or not all(map(callable, callbacks)):
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
    held = [f"{v:{_form(n)}}" for n, v in metrics.items() if n.startswith("val_")]
    return " ".join(own) + (f" (val: {' '.join(held)})" if held else "")


def _form(name: str) -> str:
    return ".3f" if name.endswith("accuracy") else ".3g"


def _not_finite(model: "Sequential", loss: float, epoch: int, batch: int, x: Array) -> str:
    """What to say of a loss that is NaN or Inf, and where it may come from."""
    text = (
        f"{PLACE}: the loss is {loss} at epoch {epoch + 1}, batch {batch + 1}; "
        "the parameters are those before that batch"
    )
    for name, array in model.parameters().items():
        if not np.isfinite(array).all():
            return f"{text}, and {name} is not finite itself"
    if not np.isfinite(x).all():
        return f"{text}. The batch's x holds NaN or Inf"
    return f"{text}. Scores have overflowed: try a smaller learning rate"
