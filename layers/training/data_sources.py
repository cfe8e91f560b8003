"""Sources of `Sequential.fit`: arrays, memory-mapped files, iterables of batches.

A source yields an epoch in pieces: arrays in the kernels' form, and the order of the rows to train
on.
"""

import hashlib
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from kernels.runtime import checks
from layers import frames
from layers.base import Array
from layers.training.finite import check_scored
from layers.weighting import Weighting

if TYPE_CHECKING:
    from layers.sequential import Sequential

PLACE = "Sequential.fit"
_CONVERTED_BYTES = 2**24
"""Bytes of a mapped file, in another dtype or order, that are converted at a time."""
_HASHED_BYTES = 2**26
"""Of so many bytes of an array is a hash taken, of all that are fewer: it takes 0.1 s."""


class Piece(NamedTuple):
    """Rows to train on: ``order`` of ``x`` and ``targets``, in batches of ``batch_size``.

    ``weights`` (n, 1) are those of the rows; None where all have 1. ``numbers`` are those of the
    rows where they came from; None where they are their places here.
    """

    x: Array
    targets: Array
    order: Array
    batch_size: int
    weights: Array | None = None
    numbers: Array | None = None

    def row_of(self, at: int) -> int:
        """The number of a row where it came from."""
        return at if self.numbers is None else int(self.numbers[at])


class Source(Protocol):
    """Yields epochs in pieces. ``rows`` is the number of rows of an epoch, None if unknown."""

    rows: int | None

    def pieces(self, order: Array | None) -> Iterator[Piece]:
        """One epoch, with its rows in ``order`` if given."""

    def described(self) -> dict[str, Any]:
        """What makes another training, for checkpoints: numbers, and hashes of rows."""

    def check(self) -> None:
        """Raise OSError where reading would kill the process; called before each compiled call."""


class Rows:
    """Arrays in memory or in memory-mapped files.

    Parameters
    ----------
    x : array_like, (n, n_in)
        A `numpy.memmap` is not copied; one of another dtype or layout is converted in pieces.
    y : array_like
        Class indices are copied; see `layers.labels.as_labels`.
    n_in, batch_size : int
    weighting : Weighting
        Of the loss, which checks targets.
    sample_weight : array_like, optional
    place : str
        Who asks, for errors.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        n_in: int,
        batch_size: int,
        weighting: Weighting,
        sample_weight: Any = None,
        place: str = PLACE,
    ) -> None:
        self._place = place
        n_out, dtype = weighting.n_out, weighting.dtype
        self._dtype, self._batch_size = dtype, batch_size
        is_mapped = isinstance(x, np.ndarray) and checks.mapping(x) is not None
        self._converts = is_mapped and not checks.is_contiguous_native(x, dtype)
        if self._converts:
            checks.real(place, "x", x[:0], dtype)
            checks.shape(place, "x", x, ("batch", n_in))
        else:
            x = frames.real(place, "x", x, dtype, ("batch", n_in))
        labels = weighting.loss.targets(place, "y", y, len(x), n_out, dtype)
        names = "y", "sample_weight"
        self._of_rows = weighting.rows(place, names, y, labels, sample_weight)
        self._weights = weighting.with_classes(place, labels, self._of_rows)
        self._held = held(x), held(labels)
        self._x, self._labels = (each.array for each in self._held)
        self.rows: int | None = len(self._x)
        self._kept: Array | None = None
        self._is_mapped = any(checks.mapping(each) for each in (self._x, self._labels))

    @property
    def targets(self) -> Array:
        """The targets of all rows, checked."""
        return self._labels

    def set_apart(self, rows: Array) -> tuple[Array, Array, Array | None]:
        """Train on all rows but these ascending ones; copies of what they hold.

        Their weights are without those of classes, as those of given validation data are.
        """
        self._kept = np.delete(np.arange(len(self._x)), rows)
        self.rows = len(self._kept)
        x = checks.real(self._place, "x", np.asarray(self._x)[rows], self._dtype)
        weights = None if self._of_rows is None else self._of_rows[rows]
        for kept, which in ((weights, "to validate on"), (self._weights, "to train on")):
            some = kept if which == "to validate on" or kept is None else kept[self._kept]
            if some is not None and not some.any():
                raise ValueError(
                    f"{self._place}: validation_fraction leaves only weights of 0 {which}"
                )
        return x, self._labels[rows], weights

    def pieces(self, order: Array | None) -> Iterator[Piece]:
        """All rows in ``order``: one piece, or several if the file is converted."""
        if order is None:
            order = np.arange(len(self._x) if self._kept is None else len(self._kept))
        if self._kept is not None:
            order = self._kept[order]
        if not self._converts:
            yield Piece(self._x, self._labels, order, self._batch_size, self._weights)
            return
        row_bytes = self._x.shape[1] * self._dtype.itemsize
        size = max(1, _CONVERTED_BYTES // (row_bytes * self._batch_size)) * self._batch_size
        for start in range(0, len(order), size):
            self.check()
            rows = order[start : start + size]
            x = checks.real(self._place, "x", np.asarray(self._x)[rows], self._dtype)
            weights = None if self._weights is None else self._weights[rows]
            order_here = np.arange(len(rows))
            yield Piece(x, self._labels[rows], order_here, self._batch_size, weights, rows)

    def described(self) -> dict[str, Any]:
        """How many rows there are, how many at a time, and a hash of what they hold."""
        self.check()
        return {
            "rows": self.rows,
            "batch_size": self._batch_size,
            "x": _fingerprint(self._x, self._dtype),
            "y": _fingerprint(self._labels, self._labels.dtype),
            "sample_weight": self._weights is not None
            and _fingerprint(self._weights, self._weights.dtype),
        }

    def check(self) -> None:
        """Reading a missing page of a mapped file would kill the process."""
        if not self._is_mapped:
            return
        try:
            checks.unshrunk(self._place, "x", self._x)
            checks.unshrunk(self._place, "y", self._labels)
        except OSError as error:
            raise OSError(f"{error}; the parameters are those before this batch") from None


class Batches:
    """Batches (x, y) or (x, y, sample_weight) from an iterable: a list, a loader, a generator.

    Parameters
    ----------
    batches : iterable
        Restarted in each epoch, unless it is an iterator, which continues.
    steps : int, optional
        Batches per epoch; by default all.
    epochs : int
    n_in : int
    weighting : Weighting
        Of the loss, which checks targets.
    place, name : str
        Who asks, and what the argument is called, for errors.
    """

    rows: int | None = None

    def __init__(
        self,
        batches: Iterable[Any],
        steps: int | None,
        epochs: int,
        n_in: int,
        weighting: Weighting,
        place: str = PLACE,
        name: str = "x",
    ) -> None:
        self._batches, self._steps = batches, steps
        self._place, self._name, self._weighting = place, name, weighting
        self._n_in = n_in
        if iter(batches) is batches and steps is None and epochs > 1:
            raise ValueError(
                f"{place}: x is an iterator, which has one epoch, and epochs is {epochs}: expected "
                "steps_per_epoch, or an iterable that begins anew, such as a list"
            )

    def pieces(self, order: Array | None) -> Iterator[Piece]:
        """One epoch's batches, each a piece."""
        number = 0
        batches = iter(self._batches)
        while self._steps is None or number < self._steps:
            try:
                batch = next(batches)
            except StopIteration:
                break
            yield self._piece(batch, number)
            number += 1
        if number == 0 or (self._steps is not None and number < self._steps):
            wanted = "at least 1" if self._steps is None else str(self._steps)
            raise ValueError(
                f"{self._place}: {self._name} ended after {number} batches, expected {wanted} an "
                "epoch"
            )

    def _piece(self, batch: Any, number: int) -> Piece:
        place, name = self._place, f"batch {number + 1} of {self._name}"
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise TypeError(
                f"{place}: {name} is {checks.shown(batch)}, expected a pair (x, y), or a triple "
                "(x, y, sample_weight)"
            )
        given, weighting = (*batch, None)[:3], self._weighting
        n_out, dtype = weighting.n_out, weighting.dtype
        names = f"y in {name}", f"sample_weight in {name}"
        x = frames.real(place, f"x in {name}", given[0], dtype, ("batch", self._n_in))
        labels = weighting.loss.targets(place, names[0], given[1], len(x), n_out, dtype)
        weights = weighting.rows(place, names, given[1], labels, given[2], may_be_zero=True)
        weights = weighting.with_classes(place, labels, weights, may_be_zero=True)
        return Piece(x, labels, np.arange(len(x)), len(x), weights)

    def described(self) -> dict[str, Any]:
        """Of the batches nothing is known before they come."""
        return {"steps_per_epoch": self._steps}

    def check(self) -> None:
        """Nothing: batches are arrays in memory."""


def _fingerprint(array: Array, dtype: np.dtype[Any]) -> str:
    """A hash of an array's shape and numbers; of evenly spread rows where there are many."""
    found = hashlib.blake2b(f"{array.shape} {dtype.str}".encode(), digest_size=16)
    row_bytes = max(1, array[:1].size * dtype.itemsize)
    rows = np.arange(0, len(array), -(-len(array) * row_bytes // _HASHED_BYTES) or 1)
    at_once = max(1, _CONVERTED_BYTES // row_bytes)
    for start in range(0, len(rows), at_once):
        part = array[rows[start : start + at_once]]
        found.update(np.ascontiguousarray(part, dtype).view(np.uint8).data)
    return found.hexdigest()


def as_batches(x: Any, y: Any) -> Iterable[Any] | None:
    """x, where it is an iterable of batches: without y, and no array or frame."""
    is_array = hasattr(x, "__array__") or hasattr(x, "__dlpack__")
    if y is None and isinstance(x, Iterable) and not is_array:
        return x
    return None


def joined(
    place: str, name: str, batches: Iterable[Any], model: "Sequential", is_scored: bool = False
) -> tuple[Array, Array, Array | None]:
    """All batches of an iterable that ends, checked, as arrays of x, of targets and of weights.

    With ``is_scored``, each row has to have finite scores.
    """
    weighting = Weighting(model.loss, model.n_out, model.dtype)
    source = Batches(batches, None, 1, model.n_in, weighting, place, name)
    pieces = list(source.pieces(None))
    forms = [piece.targets.ndim for piece in pieces]
    if len(set(forms)) > 1:
        other = next(number for number, form in enumerate(forms) if form != forms[0])
        raise ValueError(
            f"{place}: y in batch {other + 1} of {name} has {forms[other]} dimensions, expected "
            f"{forms[0]}, as in batch 1"
        )
    weights = None
    if any(piece.weights is not None for piece in pieces):
        ones = [np.ones((len(piece.x), 1), model.dtype) for piece in pieces]
        own = [piece.weights for piece in pieces]
        weights = np.concatenate(
            [one if each is None else each for each, one in zip(own, ones, strict=True)]
        )
        if not weights.any():
            raise ValueError(f"{place}: {name} has no row with a weight above 0")
    for number, piece in enumerate(pieces):
        model.layers[0].check_data(place, f"batch {number + 1} of {name}: x", piece.x)
        if is_scored:
            check_scored(model, place, f"x in batch {number + 1} of {name}", piece.x)
    return (
        np.concatenate([piece.x for piece in pieces]),
        np.concatenate([piece.targets for piece in pieces]),
        weights,
    )


class Held(NamedTuple):
    """A caller's array, held while callbacks and other threads run.

    NumPy never resizes an array with a weak reference, not even with ``refcheck=False``.
    """

    array: Array
    owner: "weakref.ref[Array]"


def held(array: Array) -> Held:
    """A view of an array, whose memory cannot be resized meanwhile."""
    view = owner = array.view()
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return Held(view, weakref.ref(owner))
