"""Which learning rate to begin with: losses while it grows from batch to batch."""

import copy
import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kernels.runtime import checks
from layers import seeds
from layers.backends import active
from layers.compiled.runner import Totals
from layers.keywords import keywords
from layers.training.trainable import source_of
from layers.validation import check_batches

if TYPE_CHECKING:
    from layers.plots.figure import Picture
    from layers.sequential import Sequential

_PLACE = "find_learning_rate"
_STAYS = 0.9
"""How much of the mean loss stays from batch to batch."""
_TOO_FAR = 4.0
"""How many times the smallest mean loss ends the search."""


class LearningRates(NamedTuple):
    """What `find_learning_rate` has found.

    Attributes
    ----------
    rates, losses : tuple of float
        Of each batch: the rate, and the moving mean of the losses before its update.
    suggestion : float
        A third of where the loss falls fastest, as the mean lags behind; none below the rates that
        were tried.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float

    def plot(self, path: Any = None) -> "Picture":
        """The curve of the losses; see `layers.plots.learning_rates`."""
        from layers import plots

        return plots.learning_rates(self, path)

    def __repr__(self) -> str:
        return (
            f"LearningRates(suggestion {self.suggestion:.2g}, {len(self.rates)} rates from "
            f"{self.rates[0]:.2g} to {self.rates[-1]:.2g})"
        )


@keywords(_PLACE)
def find_learning_rate(
    model: "Sequential",
    x: Any,
    y: Any = None,
    *,
    batch_size: int = 32,
    lowest: float = 1e-5,
    highest: float = 10.0,
    steps: int = 200,
    sample_weight: Any = None,
    class_weight: Any = None,
) -> LearningRates:
    """Train a copy of a model while the learning rate grows, until the loss does.

    Parameters
    ----------
    model : Sequential
        It stays as it is. A schedule of its optimizer is set aside: what is found is a good
        ``rate``, or ``peak``, of one.
    x, y : array_like
        What `fit` takes. They are begun anew as often as it takes, but for an iterator.
    batch_size : int
    lowest, highest : float
        The rates of the first batch and of the last; each is the same multiple of the one before.
    steps : int
        Batches, at most; one whose weights are all 0 is left out.
    sample_weight, class_weight
        What rows and classes count for, as `fit` takes them.

    Returns
    -------
    LearningRates

    Warns
    -----
    UserWarning
        The loss fell by no more than it differs from batch to batch, as that of a model that has
        learnt: then the suggestion says little.

    Raises
    ------
    TypeError, ValueError
        An argument is not as described, or the optimizer has no learning rate to set.
    """
    from layers.sequential import Sequential

    if not isinstance(model, Sequential):
        raise TypeError(f"{_PLACE}: model is {checks.shown(model)}, expected a Sequential")
    steps = checks.integer(_PLACE, "steps", steps, 10)
    lowest, highest = (
        checks.number(_PLACE, name, value, 0)
        for name, value in (("lowest", lowest), ("highest", highest))
    )
    if not 0 < lowest < highest:
        raise ValueError(
            f"{_PLACE}: lowest is {lowest:g} and highest {highest:g}, expected numbers above 0, "
            "the second the larger"
        )
    optimizer: Any = copy.deepcopy(model.optimizer)
    rate = getattr(optimizer, "learning_rate", None)
    if not isinstance(rate, (int, float)) and not callable(rate):
        raise TypeError(
            f"{_PLACE}: the optimizer is {model.optimizer!r}, expected one whose learning_rate is "
            "a number or a function of the step"
        )
    twin = copy.deepcopy(model)
    twin.optimizer = optimizer
    source = source_of(twin, _PLACE, x, y, 1, batch_size, None, sample_weight, class_weight)
    once = source.rows is None and iter(x) is x
    rates: list[float] = []
    losses: list[float] = []
    single: list[float] = []  # losses of each batch by itself
    mean = 0.0
    while len(rates) < steps:
        before = len(rates)
        for piece in source.pieces(_order(twin, source.rows, len(rates))):
            sizes = len(piece.order), piece.batch_size
            check_batches(twin.layers, _PLACE, "x", piece.x, *sizes)
            for start in range(0, len(piece.order), piece.batch_size):
                if len(rates) == steps:
                    break
                rate = lowest * (highest / lowest) ** (len(rates) / (steps - 1))
                optimizer.learning_rate = rate
                source.check()
                order = piece.order[start : start + piece.batch_size]
                loss, totals = twin._train(piece, order, Totals())
                if math.isfinite(loss) and not totals.weight:
                    continue  # its loss of 0 says nothing
                mean = _STAYS * mean + (1 - _STAYS) * loss
                corrected = mean / (1 - _STAYS ** (len(rates) + 1))
                too_far = len(losses) > 4 and corrected > _TOO_FAR * min(losses)
                if not math.isfinite(loss) or too_far:
                    return _found(rates, losses, single)
                single.append(loss)
                rates.append(rate)
                losses.append(corrected)
        if once or len(rates) == before:
            break
    return _found(rates, losses, single)


def _order(model: "Sequential", rows: int | None, seen: int) -> Any:
    """Another order of the rows for each round."""
    if rows is None:
        return None
    order = np.arange(rows)
    active().permutation(model._key, seeds.SHUFFLE + seen, order)
    return order


def _found(rates: list[float], losses: list[float], single: list[float]) -> LearningRates:
    """The steepest fall before the smallest mean loss."""
    if len(rates) < 5:
        raise ValueError(
            f"{_PLACE}: the loss grew or was not finite after {len(rates)} batches, expected a "
            "smaller lowest, or data that are scaled to about 1"
        )
    least = max(int(np.argmin(losses)), 4)
    width = max(1, least // 10)
    seen = np.array(losses[: least + 1])
    falls = seen[width:] - seen[:-width]
    at = int(np.argmin(falls)) + width
    if _is_flat(single, losses, least):
        warnings.warn(
            f"{_PLACE}: the mean loss, {losses[least]:.3g} at best, falls no further than the loss "
            "differs from batch to batch, as that of a model that has learnt does, so the "
            "suggestion says little: search before training, over more steps, or with larger "
            "batches",
            stacklevel=4,  # of who called `find_learning_rate`
        )
    return LearningRates(tuple(rates), tuple(losses), max(rates[at] / 3, rates[0]))


def _is_flat(single: list[float], losses: list[float], least: int) -> bool:
    """Whether the mean loss falls by no more than single losses differ from their neighbours."""
    begun = float(np.mean(losses[: least // 4 + 1]))
    noise = float(np.std(np.diff(single[: least + 1]))) / math.sqrt(2)
    return begun - losses[least] <= noise
