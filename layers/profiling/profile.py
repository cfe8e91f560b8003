"""The measurement: each pass over a batch by itself, a whole step, and what a core can do."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from kernels.product.peak import limit
from kernels.runtime import checks
from layers import frames, streams
from layers.base import Array
from layers.keywords import keywords
from layers.profiling import passes
from layers.profiling.results import Profile
from layers.profiling.samples import MOST_CALLS, Sample, repeated
from layers.sequential import Sequential
from layers.settings import flag
from layers.timing import kernel_threads, one_blas_thread
from layers.training.data_sources import Piece

_FIT_SECONDS = 0.02
"""How long a sample of `fit` is to last: each call has a cost of its own."""


@keywords("profile")
def profile(
    model: Sequential,
    x: Any,
    y: Any,
    batch_size: int = 32,
    *,
    repeats: int = 7,
    show: bool = False,
    sample_weight: Any = None,
    class_weight: Any = None,
) -> Profile:
    """Measure where the time of one training step goes, pass by pass, on one thread.

    The model stays as it is: a copy takes the steps, at a learning rate of 0, or from the same
    parameters in each sample where its optimizer has no such attribute. Meanwhile all kernels
    of the process run on one thread, and NumPy's BLAS where threadpoolctl is installed. A pass of a
    compiled model is run over and over, so it finds its operands in the nearest cache that holds
    them; what a whole step takes beyond that is in `Profile.outside`.

    Parameters
    ----------
    model : Sequential
    x : array_like, (n, n_in)
    y : array_like
        Targets, as `Sequential.fit` takes them.
    batch_size : int
        At least 1; no more than the rows of ``x`` are taken.
    repeats : int
        Samples of each pass, taken in turn; a row has their median.
    show : bool
        Whether to print the table too.
    sample_weight, class_weight
        What rows and classes count for, as `Sequential.fit` takes them: with weights a step has
        more to do.

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
    show = flag(place, "show", show)
    x = frames.real(place, "x", x, model.dtype, ("batch", model.n_in))
    targets = model.loss.targets(place, "y", y, len(x), model.n_out, model.dtype)
    weights = model._weights(place, y, targets, sample_weight, class_weight)
    batch_size = min(batch_size, len(x))
    if weights is not None and not weights[:batch_size].any():
        raise ValueError(
            f"{place}: the first {batch_size} rows of x have weights of 0, expected one above 0"
        )
    copied = copy.deepcopy(model)
    buffers, kept = copied._buffers, []
    if hasattr(copied.optimizer, "learning_rate"):
        copied.optimizer.learning_rate = 0.0
    else:
        kept = [(array, array.copy()) for array in (buffers.learnt, buffers.states)]
    compiled, obstacle = copied._compiled(), copied.obstacle()

    def fit(epochs: int, batches: int) -> None:
        rows = batches * batch_size
        of_rows = None if weights is None else weights[:rows]
        copied.fit(x[:rows], targets[:rows], epochs, batch_size, sample_weight=of_rows)

    with kernel_threads(1), one_blas_thread():
        # One epoch of `fit`, or so much of it as takes long enough; repeated where it is short.
        batches = Sample(lambda count: fit(1, count), len(x) // batch_size, _FIT_SECONDS).units
        whole = Sample(lambda count: fit(count, batches), MOST_CALLS, _FIT_SECONDS)
        rows = batches * batch_size
        order = np.random.default_rng(0).permutation(rows)
        of_rows = None if weights is None else weights[:rows]
        piece = Piece(x[:rows], targets[:rows], order, batch_size, of_rows)
        if compiled is not None:
            timed = list(passes.of_program(copied, compiled, piece))
        else:
            timed = list(passes.of_calls(copied, piece, whole.units * batches))
        call, operations = limit(model.dtype.name)
        full = Sample(repeated(call), MOST_CALLS)
        # What watches `whole` comes behind it.
        takes = [full.take, whole.take, *(take for _, take in timed)]
        samples = [[_from_the_start(kept, take) for take in takes] for _ in range(repeats)]
    at_most, epoch, *each = map(median, zip(*samples, strict=True))
    done = [replace(row, seconds=took) for (row, _), took in zip(timed, each, strict=True)]
    rate, dtype = operations / at_most, model.dtype.name
    made = Profile(tuple(done), epoch / batches, rate, batch_size, dtype, obstacle)
    if show:
        with streams.usable():
            print(made)
    return made


def _from_the_start(kept: Sequence[tuple[Array, Array]], take: Callable[[], float]) -> float:
    """A sample, taken with the given values in the given arrays."""
    for array, values in kept:
        array[...] = values
    return take()


def _check_model(model: Any) -> None:
    if not isinstance(model, Sequential):
        raise TypeError(f"profile: model is {checks.shown(model)}, expected a layers.Sequential")
    for index, layer in enumerate(model.layers):
        if layer.has_own_methods():
            # In a copy too, it may be a method of this very layer.
            raise ValueError(
                f"profile: layer {index} of model, {layer!r}, has a method of its own, expected "
                "those of its class"
            )
