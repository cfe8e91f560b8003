"""What is likely wrong with a gradient, given central differences beside it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from layers.backends import active
from layers.base import Array

_NEAR = 1e-4
"""How near a guess has to come, beside the largest difference, to be the likely mistake."""


@dataclass
class Case:
    """A gradient, and what may explain it.

    Attributes
    ----------
    kind : {"loss", "parameter", "inputs"}
    analytic : ndarray
        The whole gradient.
    numeric : ndarray, (elements,)
        Differences at the elements ``at``; NaN at a kink.
    rows, width : int
        Of the batch, and of the layer's output.
    x, dy : ndarray, optional
        The layer's input, and the gradient by its output.
    parameter : ndarray, optional
        The parameter itself.
    weights : list of ndarray
        The layer's parameters of more than one row.
    targets : ndarray, optional
    diagonal : callable, optional
        How each output changes with the input at its own place, at some inputs.
    """

    kind: str
    analytic: Array
    numeric: Array
    at: Array
    rows: int
    width: int
    x: Array | None = None
    dy: Array | None = None
    parameter: Array | None = None
    weights: list[Array] = field(default_factory=list)
    targets: Array | None = None
    diagonal: Callable[[Array, Array], Array] | None = None

    def picked(self, array: Array) -> Array:
        """The elements of an array that were looked at."""
        return np.asarray(array).ravel()[self.at]

    def is_near(self, guess: Array, other: Array) -> bool:
        """Whether two guesses at the elements are the same, kinks left out."""
        known = ~np.isnan(self.numeric)
        size = np.abs(other[known]).max(initial=0.0)
        if size == 0:
            return False
        return bool((np.abs(guess - other)[known] <= _NEAR * size).all())


def likely_mistake(case: Case) -> str:
    """The first explanation that fits, in words."""
    if not np.isfinite(case.picked(case.analytic)).all():
        return "holds NaN or Inf"
    for explain in _EXPLANATIONS:
        for text in explain(case):
            return text
    return "wrong, not by any of the usual mistakes"


def _nothing(case: Case) -> Iterator[str]:
    if not case.picked(case.analytic).any():
        if case.kind == "parameter":
            yield (
                "is 0 throughout: `backward` does not write into the arrays that `bind` was given"
            )
        yield "is 0 throughout"


def _multiple(case: Case) -> Iterator[str]:
    """A sign, or a factor: the batch's size, a width, 2."""
    analytic, numeric = case.picked(case.analytic), case.numeric
    known = ~np.isnan(numeric)
    square = (numeric[known] ** 2).sum()
    if square == 0:
        return
    factor = float((analytic * numeric)[known].sum() / square)
    if factor == 0 or not case.is_near(analytic, factor * numeric):
        return
    sign = "the sign is wrong" if factor < 0 else ""
    size = abs(factor)
    if abs(size - 1) < _NEAR:
        yield f"{sign}: minus is missing, or one too many"
        return
    n, width = case.rows, case.width
    reasons = {
        float(n): f"{n} times too large: the mean over the batch of {n} is not taken",
        1 / n: f"{n} times too small: the mean over the batch of {n} is taken twice",
        float(width): f"{width} times too large: the mean over the width of {width} is not taken",
        1
        / width: f"{width} times too small: the mean over the width of {width} is taken once more",
        float(n * width): f"{n * width} times too large: no mean over the {n} x {width} numbers",
        2.0: "2 times too large: a factor of 1/2 is missing, or it is counted twice",
        0.5: "2 times too small: the 2 of a square's derivative is missing",
    }
    texts = [
        text for value, text in reasons.items() if value != 1 and abs(size / value - 1) < _NEAR
    ]
    text = "; or ".join(texts) or f"{size:.6g} times what it should be: a factor is wrong"
    yield f"{sign}, and it is {text}" if sign else text


def _transposed(case: Case) -> Iterator[str]:
    array = case.analytic
    if min(array.shape) < 2:
        return
    ways = [array.reshape(array.shape[::-1]).T]
    if array.shape[0] == array.shape[1]:
        ways.append(array.T)
    for way in ways:
        if case.is_near(case.picked(way), case.numeric):
            yield "is transposed"
        elif case.is_near(-case.picked(way), case.numeric):
            yield "is transposed, and the sign is wrong"


def _not_summed(case: Case) -> Iterator[str]:
    """A row of biases, from dy."""
    dy = case.dy
    if case.kind != "parameter" or dy is None or case.analytic.shape != (1, dy.shape[1]):
        return
    analytic = case.picked(case.analytic)
    guesses = {
        "is dy's first row alone: not summed over the batch": dy[:1],
        "is dy's last row alone: not summed over the batch": dy[-1:],
        "is the sum of all of dy: summed over the wrong axis": np.full((1, dy.shape[1]), dy.sum()),
    }
    if dy.shape[0] == dy.shape[1]:
        guesses["is summed along rows instead of over the batch"] = dy.sum(axis=1)[None, :]
    for text, guess in guesses.items():
        if case.is_near(analytic, case.picked(guess)):
            yield text


def _product(case: Case) -> Iterator[str]:
    """dy times a square matrix of weights that was not transposed; or dy handed on as it is."""
    dy = case.dy
    if case.kind != "inputs" or dy is None:
        return
    analytic = case.picked(case.analytic)
    for weights in case.weights:
        if weights.shape[0] == weights.shape[1] == dy.shape[1]:
            guess = np.empty_like(dy)
            active().dense_backward_inputs(dy, np.ascontiguousarray(weights.T), guess)
            if case.is_near(analytic, case.picked(guess)):
                yield "is dy times the weights: they are not transposed"
    if dy.shape == case.analytic.shape and case.is_near(analytic, case.picked(dy)):
        yield "is dy as it came: not multiplied by the derivative"


def _mask(case: Case) -> Iterator[str]:
    """Right but where one of the two is 0."""
    analytic, numeric = case.picked(case.analytic), case.numeric
    size = np.nanmax(np.abs(numeric), initial=0.0)
    wrong = np.abs(analytic - numeric) > _NEAR * size  # not at kinks
    count, of = int(wrong.sum()), len(wrong)
    flat, shut = np.abs(numeric) <= _NEAR * size, np.abs(analytic) <= _NEAR * size
    passes, stops = wrong & flat, wrong & shut
    if case.kind == "loss" or count == 0 or not (passes | stops)[wrong].all():
        return
    below = ""
    if case.x is not None and case.x.shape == case.analytic.shape:
        inputs = case.picked(case.x)
        if (inputs[wrong] == 0).all():
            below = ", where the input is exactly 0"
        elif (inputs[wrong] <= 0).all():
            below = ", where the input is below 0"
        elif (inputs[wrong] > 0).all():
            below = ", where the input is above 0"
    where = f"{count} of {of} elements{below}"
    if passes.any() and stops.any():
        yield f"the mask is the wrong way round: it passes where it should stop ({where})"
    elif passes.any():
        yield (
            f"passes in {where} what should stop: the mask is missing, or at >= instead of > (of "
            "an output, >= 0 is always true)"
        )
    else:
        yield f"stops in {where} what should pass: the mask is too wide, at <= instead of <"


def _slope(case: Case) -> Iterator[str]:
    """An activation's: without dy, without what is off the diagonal, the slope of another place."""
    x, dy = case.x, case.dy
    if case.kind != "inputs" or x is None or dy is None or case.diagonal is None:
        return
    analytic, given = case.picked(case.analytic), case.picked(dy)
    if case.is_near(analytic * given, case.numeric):
        yield "is the derivative alone: not multiplied by dy"
    own = case.diagonal(x, case.at) * given
    if case.is_near(analytic, own) and not case.is_near(own, case.numeric):
        yield (
            "has the diagonal alone: what an input does to the row's other outputs, a sum over the "
            "row, is missing"
        )


def _target(case: Case) -> Iterator[str]:
    """A loss's: right but where the targets are."""
    if case.kind != "loss" or case.targets is None:
        return
    targets, shape = case.targets, case.analytic.shape
    if targets.ndim == 1:
        targets = np.zeros(shape)
        targets[np.arange(shape[0]), case.targets] = 1
    if targets.shape != shape:
        return
    off, picked = case.picked(case.analytic) - case.numeric, case.picked(targets)
    for times, divisor in (
        (1, case.rows),
        (1, 1),
        (2, case.rows),
        (2, 1),
        (2, case.analytic.size),
    ):
        if case.is_near(off, times * picked / divisor):
            yield "the target is not subtracted" if times == 1 else "the target is added"
    square = float((picked**2).sum())
    factor = float((off * picked).sum() / square) if square else 0.0
    if factor and case.is_near(off, factor * picked):
        yield f"is off by {factor:.6g} times the target"
    wrong = np.abs(off) > _NEAR * np.abs(case.numeric).max(initial=0.0)
    if not (wrong & (picked == 0)).any():
        yield "is wrong where the target is, right elsewhere"
    elif not (wrong & (picked != 0)).any():
        yield "is right where the target is, wrong elsewhere"


def _decay(case: Case) -> Iterator[str]:
    """A parameter's: with a multiple of itself added."""
    if case.parameter is None:
        return
    off, parameter = case.picked(case.analytic) - case.numeric, case.picked(case.parameter)
    known = ~np.isnan(off)
    square = float((parameter[known] ** 2).sum())
    factor = float((off * parameter)[known].sum() / square) if square else 0.0
    if factor and case.is_near(off, factor * parameter):
        yield (
            f"has {factor:.6g} times the parameter added: weight decay that is in the gradient and "
            "not in the loss"
        )


def _two(case: Case) -> Iterator[str]:
    """One of the mistakes of a form, and a sign or the batch's size as well."""
    n = case.rows
    also = {-1.0: "the sign is wrong", float(n): f"the mean over the batch of {n} is taken twice"}
    also[1 / n] = f"the mean over the batch of {n} is not taken"
    for factor, text in also.items():
        other = replace(case, analytic=factor * case.analytic)
        for explain in (_transposed, _not_summed, _product, _mask):
            for form in explain(other):
                yield f"{form}; and {text}"


def _rows(case: Case) -> Iterator[str]:
    """Right in some rows of the batch, or of the array."""
    off = np.abs(case.picked(case.analytic) - case.numeric)
    wrong = off > _NEAR * np.nanmax(np.abs(case.numeric), initial=0.0)
    row_of = case.at // case.analytic.shape[1]
    bad, good = set(row_of[wrong].tolist()), set(row_of[~wrong].tolist())
    if not wrong.all() and not bad & good:
        rows = ", ".join(map(str, sorted(bad)[:5]))
        more = " and others" if len(bad) > 5 else ""
        yield f"is wrong in row {rows}{more}, right elsewhere"


def _another(case: Case) -> Iterator[str]:
    """Some elements, by another function."""
    off = np.abs(case.picked(case.analytic) - case.numeric)
    wrong = off > _NEAR * np.nanmax(np.abs(case.numeric), initial=0.0)
    where = f"in {int(wrong.sum())} of {len(wrong)} elements"
    x, dy = case.x, case.dy
    if x is not None and dy is not None and case.diagonal is not None and case.kind == "inputs":
        own = case.diagonal(x, case.at) * case.picked(dy)
        if case.is_near(own, case.numeric):
            yield (
                f"the derivative is another function's {where}: of x where the output y is meant, "
                "or the other way round?"
            )
    if not wrong.all():
        yield f"is wrong {where}, right in the others"


_EXPLANATIONS = (
    *(_nothing, _multiple, _transposed, _not_summed, _product, _mask, _slope),
    *(_target, _decay, _two, _rows, _another),
)
