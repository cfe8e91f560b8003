"""Operations from a user's own formulas: plain Python functions of single numbers.

A formula is compiled with Numba into a loop of a family, as this package's own are, so it runs in
the same places: layer by layer, in a network's program, on any number of threads with the same
bits. It has ``math``'s functions and branches; it sees one element at a time. What it takes from
the C library (``math.exp``) may differ from machine to machine in the last bit.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numba import types

from kernels.intrinsics import ahead, as_item, first_of
from kernels.runtime import checks
from kernels.runtime.families import ELEMENTWISE, LOSS, UPDATE, Operation, specialised
from kernels.runtime.jit import inner

# These stand for functions, and for how many numbers they take; see `families.specialised`.
formula, slope, COUNT = None, None, 0


def _value(x, dy, out, rows, columns, stride, numbers):
    for i in range(rows):
        for j in range(i * stride, i * stride + columns):
            out[j] = as_item(formula(x[j]), out)


def _gradient(x, dy, out, rows, columns, stride, numbers):
    for i in range(rows):
        for j in range(i * stride, i * stride + columns):
            out[j] = dy[j] * as_item(formula(x[j]), out)


def _loss(y, targets, out, losses, measures, rows, n, batch, numbers):
    count, width = as_item(batch * n, y), as_item(n, y)
    for i in range(rows):
        total = as_item(0.0, y)
        for j in range(i * n, (i + 1) * n):
            total += as_item(formula(y[j], targets[j]), y)
            out[j] = as_item(slope(y[j], targets[j]), y) / count
        losses[i] = total / width


def _update_0(w, g, states, size, rows, columns, stride, g_stride, numbers):
    given = first_of(numbers, COUNT)
    for i in range(rows):
        for j in range(columns):
            place = i * stride + j
            w[place] = as_item(formula(w[place], g[i * g_stride + j], *given), w)


def _update_1(w, g, states, size, rows, columns, stride, g_stride, numbers):
    given = first_of(numbers, COUNT)
    for i in range(rows):
        for j in range(columns):
            place = i * stride + j
            weight, m = formula(w[place], g[i * g_stride + j], states[place], *given)
            w[place], states[place] = as_item(weight, w), as_item(m, w)


def _update_2(w, g, states, size, rows, columns, stride, g_stride, numbers):
    given, second = first_of(numbers, COUNT), ahead(states, size)
    for i in range(rows):
        for j in range(columns):
            place = i * stride + j
            before = states[place], second[place]
            weight, m, v = formula(w[place], g[i * g_stride + j], *before, *given)
            w[place] = as_item(weight, w)
            states[place], second[place] = as_item(m, w), as_item(v, w)


_UPDATES = (_update_0, _update_1, _update_2)


def elementwise_operations(
    place: str, value: Callable[..., Any], derivative: Callable[..., Any]
) -> tuple[Operation, Operation]:
    """Forward and backward of an activation: y = value(x), dx = dy derivative(x).

    Parameters
    ----------
    place : str
        Who asks, for the error.
    value, derivative : callable
        Of one number.

    Raises
    ------
    TypeError
        One is no function of one number, does not compile, or returns something else than a float.
    """
    made = []
    for name, function, text in (("value", value, _value), ("derivative", derivative, _gradient)):
        compiled = _compiled(place, name, function, 1)
        operation = _operation(ELEMENTWISE, text, function, {"formula": compiled})
        made.append(operation)
    forward, backward = made
    forward.twin = lambda x, out: _filled(out, value, x)
    backward.twin = lambda x, dy, out: np.multiply(dy, _filled(out, derivative, x), out=out)
    return forward, backward


def loss_operation(
    place: str, value: Callable[..., Any], derivative: Callable[..., Any]
) -> Operation:
    """A loss that is the mean over all numbers of value(y, t); see `elementwise_operations`."""
    names = {
        "formula": _compiled(place, "value", value, 2),
        "slope": _compiled(place, "derivative", derivative, 2),
    }

    def twin(y: Any, targets: Any, out: Any, losses: Any) -> None:
        each = _filled(np.empty_like(y), value, y, targets)
        losses[...] = each.mean(axis=1, keepdims=True, dtype=y.dtype)
        out[...] = _filled(np.empty_like(y), derivative, y, targets) / y.dtype.type(y.size)

    operation = _operation(LOSS, _loss, value, names)
    operation.twin = twin
    return operation


def update_operation(
    place: str, update: Callable[..., Any], states: int, numbers: Sequence[str]
) -> Operation:
    """An optimizer's step of one element, from w, g, states and numbers to the new w and states.

    Parameters
    ----------
    place : str
    update : callable
    states : int
        Up to 2.
    numbers : sequence of str
        What the arguments behind the states are called.
    """
    compiled = _compiled(place, "update", update, 2 + states + len(numbers), 1 + states)

    def twin(weights: Any, gradients: Any, *given: Any) -> None:
        kept, rest = (given[0], given[1:]) if states else (weights[:0], given)
        operands = weights.ravel(), gradients.ravel(), *kept
        for j, element in enumerate(zip(*operands, strict=True)):
            made = update(*element, *rest)
            weight, *after = made if states else (made,)
            weights.flat[j] = weight
            for row, number in zip(kept, after, strict=True):
                row[j] = number

    names = {"formula": compiled, "COUNT": len(numbers)}
    operation = _operation(UPDATE, _UPDATES[states], update, names)
    operation.twin = twin
    return operation


def _operation(family: Any, text: Any, function: Any, names: dict[str, Any]) -> Operation:
    name = getattr(function, "__name__", "formula").strip("<>")
    module = getattr(function, "__module__", "") or ""
    return Operation(family, specialised(text, f"{name}{text.__name__}", module, names), 5.0)


def _filled(out: Any, function: Callable[..., Any], *arrays: Any) -> Any:
    out[...] = np.vectorize(function, otypes=[np.float64])(*arrays)
    return out


def _compiled(
    place: str, name: str, function: Callable[..., Any], takes: int, returns: int = 1
) -> Any:
    """A formula for compiled code, tried in both dtypes."""
    if not callable(function):
        raise TypeError(f"{place}: {name} is {checks.shown(function)}, expected a function")
    try:
        inspect.signature(function).bind(*range(takes))
    except (TypeError, ValueError):
        raise TypeError(
            f"{place}: {name} is {checks.shown(function)}, expected a function of {takes} "
            f"number{'s' if takes > 1 else ''}"
        ) from None
    if numba.config.DISABLE_JIT:
        return function
    compiled = function if hasattr(function, "py_func") else inner(function)
    for real in (types.float32, types.float64):
        arguments = (real,) * 2 + (real,) * (takes - 2)
        try:
            returned = _returned(function, arguments[:takes])
        except Exception as error:  # Numba's own, or what its typing meets in a name
            raise TypeError(f"{place}: {name} does not compile: {_reason(error)}") from None
        parts = tuple(returned) if returns > 1 and isinstance(returned, types.BaseTuple) else None
        fits = (
            isinstance(returned, types.Float)
            if returns == 1
            else parts is not None
            and len(parts) == returns
            and all(isinstance(part, types.Float) for part in parts)
        )
        if not fits:
            expected = "a float" if returns == 1 else f"{returns} floats"
            raise TypeError(f"{place}: {name} returns {returned}, expected {expected}")
    return compiled


def _returned(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """What a formula returns for these types, as Numba finds it."""
    fresh: Any = inner(getattr(function, "py_func", function))
    fresh.compile(arguments)
    return types.unliteral(fresh.overloads[arguments].signature.return_type)


def _reason(error: Exception) -> str:
    """The line of Numba's message that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    headings = ("Failed in", "During", "File ", "- Resolution", "There are", "<source elided>")
    told = [line for line in lines if not line.startswith(headings)]
    reason = " ".join((told or lines or [type(error).__name__])[:2])
    return re.sub(r"Function\(<(?:built-in )?function (\w+)[^>]*>\)", r"\1", reason)[:200]
