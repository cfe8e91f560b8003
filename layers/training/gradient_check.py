"""Gradients beside central differences of the loss, in float64, and what is wrong with them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.runtime import checks
from layers import frames, runs
from layers.base import Array, Layer
from layers.notebook import html_table
from layers.optimizers import SGD
from layers.training.mistakes import Case, likely_mistake
from layers.weighting import weighted

if TYPE_CHECKING:
    from layers.sequential import Sequential

_PLACE = "check_gradients"
_STEPS = 1e-5, 1e-7
"""Of the differences: the smaller, which jumps over fewer kinks, where the larger disagrees."""
_BOUND = 1e-6
"""What differences are off by, beside the largest gradient of an array: h^2, and eps / h."""
_FLOOR = 1e-9
"""And beside the loss itself, whose rounding error eps / h times that is."""
_KINK = 1e-3
"""How far the slopes to both sides differ where a function has a kink."""
_PROBED = 24


@dataclass(frozen=True)
class GradientRow:
    """One array's gradient beside differences.

    Attributes
    ----------
    name : str
        ``"0.weights"``, ...: of the mean loss by a parameter; ``"loss"``: by the scores;
        ``"1.inputs"``: of a layer's output, times random numbers, by its inputs.
    analytic, numeric : ndarray
        Both at the elements that were looked at.
    error : float
        The largest difference of the two, as part of the largest gradient.
    right : bool
    verdict : str
        ``"right"``, or what is likely wrong.
    """

    name: str
    analytic: Array
    numeric: Array
    error: float
    right: bool
    verdict: str


class GradientCheck:
    """What `check_gradients` has found: printed, a table with a verdict for each array.

    Attributes
    ----------
    rows : list of GradientRow
        From the loss back to the first layer.
    right : bool
        Whether all are.
    """

    def __init__(self, rows: list[GradientRow]) -> None:
        self.rows = rows
        self.right = all(row.right for row in rows)

    def verdict(self, name: str) -> str:
        """What was found of one array, by its name."""
        return next(row.verdict for row in self.rows if row.name == name)

    def __repr__(self) -> str:
        lines = self._lines()
        widths = [max(len(line[column]) for line in lines) for column in range(5)]
        return "\n".join(
            "  ".join(
                f"{text:<{width}}" if column == 0 else f"{text:>{width}}"
                for column, (text, width) in enumerate(zip(line, [*widths, 0], strict=True))
            )
            for line in lines
        )

    def _repr_html_(self) -> str:
        return html_table(self._lines())

    def _lines(self) -> list[tuple[str, ...]]:
        lines: list[tuple[str, ...]] = [
            ("", "elements", "gradient", "difference", "error", "verdict")
        ]
        for row in self.rows:
            worst = int(np.abs(row.analytic - row.numeric).argmax()) if row.analytic.size else None
            gradient, difference = (
                "" if worst is None else f"{array[worst]:.6g}"
                for array in (row.analytic, row.numeric)
            )
            size, error = f"{row.analytic.size:,}", f"{row.error:.1e}"
            lines.append((row.name, size, gradient, difference, error, row.verdict))
        return lines


def check_gradients(
    model: "Sequential",
    x: Any,
    y: Any,
    *,
    elements: int = 200,
    sample_weight: Any = None,
    class_weight: Any = None,
) -> GradientCheck:
    """Compare a model's gradients with central differences, and say what is likely wrong.

    It works on a copy in float64, so it takes any model: layers, losses and optimizers of your own
    too. Each layer is looked at by itself as well, so a mistake is found where it is.

    Parameters
    ----------
    model : Sequential
        It stays as it is.
    x, y : array_like
        What `fit` takes; some ten rows do. With one row alone a wrong mean does not show.
    elements : int
        How many of an array's elements are looked at.
    sample_weight, class_weight
        What rows and classes count for, as `fit` takes them.

    Returns
    -------
    GradientCheck
        Printed, a table: of each array how many elements were looked at, the gradient and the
        difference at the worst of them, the error as part of the largest gradient, and the verdict.

    Raises
    ------
    ValueError
        The loss of the same batch is another one each time, so nothing can be said; or a shape does
        not fit.

    Examples
    --------
    >>> layers.check_gradients(model, x[:10], y[:10]).right
    True
    """
    elements = checks.integer(_PLACE, "elements", elements, 1)
    twin = _in_float64(model)
    x = frames.real(_PLACE, "x", x, twin.dtype, ("batch", twin.n_in)).copy()
    targets = twin.loss.targets(_PLACE, "y", y, len(x), twin.n_out, twin.dtype)
    weights = twin._weights(_PLACE, y, targets, sample_weight, class_weight)
    with runs.at(twin._key, twin._step):
        return GradientCheck(_Check(twin, x, targets, weights, elements).rows())


def _in_float64(model: "Sequential") -> "Sequential":
    """A model of the same layers and parameters, in float64."""
    from layers.sequential import Sequential

    if not isinstance(model, Sequential):
        raise TypeError(f"{_PLACE}: model is {checks.shown(model)}, expected a Sequential")
    parts: list[Layer] = [copy.deepcopy(layer) for layer in model.layers]
    twin = Sequential(parts, copy.deepcopy(model.loss), SGD(), seed=0, dtype="float64")
    for name, array in twin.parameters().items():
        array[...] = model.parameters()[name]
    twin._key, twin._step = model._key, model._step
    return twin


class _Check:
    """One call of `check_gradients`."""

    def __init__(
        self,
        model: "Sequential",
        x: Array,
        targets: Array,
        weights: Array | None,
        elements: int,
    ) -> None:
        self.model, self.targets, self.weights = model, targets, weights
        self.elements = elements
        self.inputs = [x]
        self.notes: dict[int, str] = {}
        for index, layer in enumerate(model.layers):
            self.inputs.append(self._output(index, layer, self.inputs[-1]))
        self.scores = checks.shape(
            *(_PLACE, "output", self.inputs[-1], (len(x), model.n_out)),
        )
        self.loss = self._loss(self.scores)
        again = self._loss_from(0)
        if not np.isfinite(self.loss):
            raise ValueError(f"{_PLACE}: the loss is {self.loss}, expected a finite one")
        if again != self.loss:
            raise ValueError(
                f"{_PLACE}: the loss of the same batch is {self.loss!r}, then {again!r}: expected "
                "layers that give the same each time (random numbers from a seed set in forward)"
            )

    def _output(self, index: int, layer: Layer, x: Array) -> Array:
        """A layer's output; what it does beside that is noted."""
        before = x.copy()
        output = layer.forward(x, training=True)
        copied = np.array(output, np.float64)  # it may be x itself, changed
        if not np.array_equal(before, x, equal_nan=True):
            self.notes[index] = "`forward` changes its input, expected a new array"
            x[...] = before
        if getattr(output, "dtype", None) != np.float64:
            self.notes[index] = (
                f"`forward` gives {getattr(output, 'dtype', type(output).__name__)} in a model of "
                "float64, whose differences have too few digits: expected x's dtype"
            )
        return copied

    def _loss(self, scores: Array) -> float:
        return float(self._run(scores)[0].mean())

    def _run(self, scores: Array) -> tuple[Array, Callable[[], Array]]:
        """Each row's loss, times its weight, and what gives the gradient of their mean."""
        losses, measures, gradient = self.model.loss.run(scores, self.targets)
        if self.weights is not None:
            losses, _, gradient = weighted(losses, measures, gradient, self.weights)
        return losses, gradient

    def _loss_from(self, index: int) -> float:
        """The mean loss, from a layer on."""
        scores = self.inputs[index]
        for layer in self.model.layers[index:]:
            scores = layer.forward(scores.copy(), training=True)
        return self._loss(np.ascontiguousarray(scores, np.float64))

    def rows(self) -> list[GradientRow]:
        model = self.model
        gradients, dscores = self._analytic()
        rows = [self._loss_row(dscores)]
        for index in reversed(range(len(model.layers))):
            alone = self._alone(index)
            wrong = next((row.name for row in rows if not row.right), None)
            found = []
            for name in model.layers[index].parameter_shapes():
                if not model.layers[index].trainable:
                    continue  # it has no gradient
                found.append(self._parameter_row(index, name, gradients, alone, wrong))
            if index > 0 or index in self.notes or alone.note is not None:
                found.append(self._inputs_row(index, alone))
            rows += found
        return rows

    def _analytic(self) -> tuple[dict[str, Array], Array]:
        """The gradients by all parameters, as the model has them, and those by the scores."""
        model = self.model
        model._buffers.gradients[...] = 0
        self._loss_from(0)
        dscores = np.array(self._run(self.scores)[1]())
        named = model._buffers.named_gradients()
        self._backward(dscores)
        once = {name: array.copy() for name, array in named.items()}
        self._loss_from(0)
        self._backward(dscores)
        self.added = {
            name
            for name, array in named.items()
            if once[name].any() and np.allclose(array, 2 * once[name], atol=0)
        }
        return once, dscores

    def _backward(self, dy: Array) -> None:
        """The model's own backward; NaN from the layer on that refuses what it is handed."""
        model, dy = self.model, dy.copy()
        for index in reversed(range(len(model.layers))):
            try:
                dy = getattr(model.layers[index], model._backward_of(index))(dy)
            except (ValueError, TypeError, IndexError):
                for views in model._buffers.gradient_views[: index + 1]:
                    for array in views.values():
                        array[...] = np.nan
                return

    def _loss_row(self, gradient: Array) -> GradientRow:
        scores = self.scores.copy()
        at = _chosen(gradient, self.elements)
        numeric = _differences(lambda: self._loss(scores), scores, at, gradient, self.loss)
        case = Case("loss", gradient, numeric, at, rows=len(scores), width=scores.shape[1])
        case.targets = self.targets
        return _row("loss", case, self.loss)

    def _parameter_row(
        self,
        index: int,
        name: str,
        gradients: dict[str, Array],
        alone: "_Alone",
        wrong: str | None,
    ) -> GradientRow:
        full = f"{index}.{name}"
        parameter = self.model._buffers.parameter_views[index][name]
        gradient = gradients[full]
        at = _chosen(gradient, self.elements)
        numeric = _differences(lambda: self._loss_from(index), parameter, at, gradient, self.loss)
        case = Case("parameter", gradient, numeric, at, rows=len(alone.x), width=alone.width)
        row = _row(full, case, self.loss, verdict="")
        if full in self.added:
            return replace(
                row,
                right=False,
                verdict="is added to the one before (+=), expected to be written over it",
            )
        if row.right:
            return row
        if alone.note is None:
            found = _row(full, alone.parameter(name, self.elements), alone.size)
            verdict = found.verdict
            if found.right:
                verdict = f"wrong by what is handed back to it: see {wrong}"
                if wrong is None:
                    verdict = "wrong in the model, right by itself"
        else:
            verdict = f"wrong: see {index}.inputs"
        return replace(row, verdict=verdict)

    def _inputs_row(self, index: int, alone: "_Alone") -> GradientRow:
        name = f"{index}.inputs"
        note = self.notes.get(index) or alone.note
        if note is not None:
            return GradientRow(name, np.empty(0), np.empty(0), np.nan, False, note)
        row = _row(name, alone.inputs(self.elements), alone.size)
        at_zero = alone.at_zero() if row.right else None
        if at_zero is not None:
            return replace(row, right=False, verdict=at_zero)
        return row

    def _alone(self, index: int) -> "_Alone":
        return _Alone(self.model, index, self.inputs[index])


class _Alone:
    """A layer by itself: its outputs times random numbers, which are then the gradient by them."""

    def __init__(self, model: "Sequential", index: int, x: Array) -> None:
        self.layer, self.x = model.layers[index], x.copy()
        self.gradients = model._buffers.gradient_views[index]
        self.parameters = model._buffers.parameter_views[index]
        output = np.asarray(self.layer.forward(self.x.copy(), training=True))
        self.width = output.shape[1]
        self.dy = _spread(output.shape)
        self.size = float(np.abs(output * self.dy).sum())
        self.note: str | None = None
        self.dx, self.first = self._backward(self.x, self.dy)

    def _value(self) -> float:
        return float((self.layer.forward(self.x.copy(), training=True) * self.dy).sum())

    def _backward(self, x: Array, dy: Array) -> tuple[Array, dict[str, Array]]:
        """The gradients by the inputs and by the parameters."""
        for array in self.gradients.values():
            array[...] = 0
        self.layer.forward(x.copy(), training=True)
        given = dy.copy()
        try:
            dx = np.asarray(self.layer.backward(given))
        except (ValueError, TypeError, IndexError) as error:
            self.note = f"`backward` fails: {error}"
            return np.full_like(x, np.nan), {n: a.copy() for n, a in self.gradients.items()}
        if not np.array_equal(given, dy):
            self.note = "`backward` changes dy in place, expected a new array"
        if dx.shape != x.shape:
            why = ": transposed" if dx.shape == x.shape[::-1] else ""
            self.note = f"has shape {dx.shape}, expected {x.shape}, that of the inputs{why}"
            dx = np.full_like(x, np.nan)
        return np.array(dx), {name: array.copy() for name, array in self.gradients.items()}

    def inputs(self, elements: int) -> Case:
        """The gradient by the inputs."""
        at = _chosen(self.dx, elements)
        numeric = _differences(self._value, self.x, at, self.dx, self.size)
        case = Case("inputs", self.dx, numeric, at, rows=len(self.x), width=self.width)
        self._explain(case)
        return case

    def parameter(self, name: str, elements: int) -> Case:
        """The gradient by a parameter."""
        gradient, parameter = self.first[name], self.parameters[name]
        at = _chosen(gradient, elements)
        numeric = _differences(self._value, parameter, at, gradient, self.size)
        case = Case("parameter", gradient, numeric, at, rows=len(self.x), width=self.width)
        case.parameter = parameter
        self._explain(case)
        return case

    def _explain(self, case: Case) -> None:
        case.x, case.dy = self.x, self.dy
        case.weights = [array for array in self.parameters.values() if len(array) > 1]
        case.diagonal = self._diagonal if self.x.shape == self.dy.shape else None

    def _diagonal(self, x: Array, at: Array) -> Array:
        """How each output changes with the input at its own place."""
        slopes, h = np.empty(len(at)), _STEPS[0]
        for number, index in enumerate(at):
            sides = []
            for step in (h, -h):
                moved = x.copy()
                moved.flat[index] += step
                sides.append(np.asarray(self.layer.forward(moved, training=True)).flat[index])
            slopes[number] = (sides[0] - sides[1]) / (2 * h)
        return slopes

    def at_zero(self) -> str | None:
        """What is wrong where inputs are exactly 0, as many are behind a ReLU."""
        x = self.x.copy()
        x.flat[::3] = 0
        at = np.arange(0, x.size, 3)[:_PROBED]
        dx, _ = self._backward(x, self.dy)
        value = float((self.layer.forward(x.copy(), training=True) * self.dy).sum())
        h, passed = _STEPS[0], 0
        for index in at:
            sides = []
            for step in (h, -h):
                moved = x.copy()
                moved.flat[index] = step
                output = self.layer.forward(moved, training=True)
                sides.append((float((output * self.dy).sum()) - value) / step)
            above, below = sides
            bound = _KINK * abs(above)
            passed += abs(below) <= bound < abs(above) and abs(dx.flat[index] - above) <= bound
        if not passed:
            return None
        return (
            "passes where the input is exactly 0, though it is flat below: a mask at >= instead of "
            "> (or at < instead of <=)"
        )


def _row(name: str, case: Case, size: float, verdict: str | None = None) -> GradientRow:
    """One row; its verdict is looked for where none is given."""
    analytic = case.analytic.ravel()[case.at]
    known = ~np.isnan(case.numeric)  # kinks have no difference
    largest = np.abs(case.numeric[known]).max(initial=0.0)
    error = np.abs(analytic - case.numeric)[known].max(initial=0.0)
    right = bool(error <= _BOUND * largest + _FLOOR * max(size, 1e-3))
    relative = float(error / largest) if largest > 0 else float(error)
    if right:
        verdict = "right"
        if not known.any():
            verdict = "right, as far as can be told: each element is at a kink"
    elif verdict is None:
        verdict = likely_mistake(case)
    numbers = analytic[known], case.numeric[known]
    return GradientRow(name, *numbers, relative, right, verdict)


def _differences(
    value: Callable[[], float], array: Array, at: Array, analytic: Array, size: float
) -> Array:
    """Central differences of a value by some elements of an array; NaN at a kink.

    Where one disagrees with the analytic gradient, it is taken with a smaller step as well.
    """
    given = analytic.ravel()[at]
    base = value()
    numeric, _ = _stepped(value, array, at, base, _STEPS[0])
    bound = _BOUND * np.abs(numeric).max(initial=0.0) + _FLOOR * max(size, 1e-3)
    doubtful = np.flatnonzero(~(np.abs(numeric - given) <= bound))
    finer, apart = _stepped(value, array, at[doubtful], base, _STEPS[1])
    has_kink = apart > _KINK * np.maximum(np.abs(numeric).max(initial=0.0), 1e-6)
    agrees = np.abs(finer - given[doubtful]) <= bound * 10
    numeric[doubtful] = np.where(has_kink, np.nan, np.where(agrees, given[doubtful], finer))
    return numeric


def _stepped(
    value: Callable[[], float], array: Array, at: Array, base: float, step: float
) -> tuple[Array, Array]:
    """Central differences, and how far the slopes to both sides are apart."""
    numeric, apart = np.empty(len(at)), np.empty(len(at))
    for number, index in enumerate(at.tolist()):
        middle = array.flat[index]
        h = step * max(1.0, abs(middle))
        array.flat[index] = middle + h
        above = value()
        array.flat[index] = middle - h
        below = value()
        array.flat[index] = middle
        numeric[number] = (above - below) / (2 * h)
        apart[number] = abs(above - 2 * base + below) / h
    return numeric, apart


def _chosen(gradient: Array, elements: int) -> Array:
    """Which elements are looked at: half the largest gradients, half drawn; all if they are few."""
    size = gradient.size
    if size <= elements:
        return np.arange(size)
    largest = np.argsort(-np.abs(np.nan_to_num(gradient)), axis=None, kind="stable")[
        : elements // 2
    ]
    drawn = np.argsort(np.random.PCG64(0).random_raw(size), kind="stable")
    others = drawn[~np.isin(drawn, largest)][: elements - len(largest)]
    return np.sort(np.concatenate([largest, others]))


def _spread(shape: tuple[int, ...]) -> Array:
    """Numbers from 0.5 to 1.5 in size, of both signs: the same each time."""
    size = int(np.prod(shape))
    draws = np.random.PCG64(1).random_raw(size)
    sizes = 0.5 + (draws >> np.uint64(11)) / 2.0**53
    return np.where(draws & np.uint64(1), sizes, -sizes).reshape(shape)
