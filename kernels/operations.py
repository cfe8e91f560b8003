"""Kernels that run an operation on arrays, and the loops that operations are made of.

An operation is a formula in a loop's text (``kernels/runtime/families.py``). The kernels here give
it blocks of arrays, on one thread or on several; a network's program gives it parts of a batch. It
is the same machine code.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from numba import prange

from kernels.intrinsics import (
    LANES,
    ahead,
    first_of,
    invoke,
    load,
    pointer,
    row_of,
    store,
)
from kernels.runtime.families import (
    ELEMENTWISE,
    LOSS,
    ROWWISE,
    UPDATE,
    Counter,
    Operation,
    numbers_array,
    specialised,
)
from kernels.runtime.jit import Array, Door, inner, kernel, registered

_BLOCK = 16_384
"""Elements that a thread takes at a time: 64 KB of float32, a few microseconds."""


# --- operations on arrays -------------------------------------------------------------------------


@kernel(
    "function int64, x (...), dy (...), numbers numbers -> out (...)",
    nanoseconds=lambda *_: 0.0,
    public=False,
)
def elementwise(function: int, x: Array, dy: Array, numbers: Array, out: Array) -> None:
    """An elementwise operation on all elements."""
    for block in prange((out.size + _BLOCK - 1) // _BLOCK):
        start = block * _BLOCK
        x_block, dy_block = ahead(pointer(x), start), ahead(pointer(dy), start)
        out_block, count = ahead(pointer(out), start), min(_BLOCK, out.size - start)
        invoke(
            ELEMENTWISE,
            function,
            (x_block, dy_block, out_block, 1, count, 0, pointer(numbers)),
        )


@kernel(
    "function int64, x (batch, n), dy (batch, n), parameters (1, p), numbers numbers, key uint64, "
    "stream uint64 -> out (batch, n_out)",
    nanoseconds=lambda *_: 0.0,
    public=False,
)
def rowwise(
    function: int,
    x: Array,
    dy: Array,
    parameters: Array,
    numbers: Array,
    key: int,
    stream: int,
    out: Array,
) -> None:
    """A rowwise operation on all rows."""
    batch, n = x.shape
    some = _rows_at_a_time(n)
    for block in prange((batch + some - 1) // some):
        first = block * some
        rows = min(some, batch - first)
        operands = row_of(x, first), row_of(dy, first), row_of(out, first)
        given = pointer(parameters), pointer(numbers), Counter(key, stream, first)
        invoke(ROWWISE, function, operands + (rows, n) + given)


@kernel(
    "function int64, scores (batch, n), targets (batch, t), numbers numbers -> out (batch, n), "
    "out_losses (batch, 1), out_measures (batch, 1)",
    nanoseconds=lambda *_: 0.0,
    public=False,
)
def loss(
    function: int,
    scores: Array,
    targets: Array,
    numbers: Array,
    out: Array,
    out_losses: Array,
    out_measures: Array,
) -> None:
    """The loss of each row, what is measured of it, and the gradient of the mean loss."""
    batch, n = scores.shape
    some = _rows_at_a_time(n)
    for block in prange((batch + some - 1) // some):
        first = block * some
        rows = min(some, batch - first)
        inputs = row_of(scores, first), row_of(targets, first)
        outputs = row_of(out, first), row_of(out_losses, first), row_of(out_measures, first)
        invoke(LOSS, function, inputs + outputs + (rows, n, batch, pointer(numbers)))


@kernel(
    "function int64, gradients (...), numbers numbers, states (s, q) -> parameters (...)",
    nanoseconds=lambda *_: 0.0,
    public=False,
)
def update(
    function: int, parameters: Array, gradients: Array, states: Array, numbers: Array
) -> None:
    """An optimizer's step; each row of ``states`` is one of its states."""
    size = parameters.size
    for block in prange((size + _BLOCK - 1) // _BLOCK):
        start = block * _BLOCK
        places = ahead(pointer(parameters), start), ahead(pointer(gradients), start)
        state, count = ahead(pointer(states), start), min(_BLOCK, size - start)
        invoke(UPDATE, function, (*places, state, size, 1, count, 0, 0, pointer(numbers)))


@inner
def _rows_at_a_time(n):
    """Rows of n elements that a thread takes at a time; whole groups of sixteen."""
    return max(1, _BLOCK // (16 * max(n, 1))) * 16


# --- loops: the texts of operations ---------------------------------------------------------------

# `formula` and `COUNT` stand for a function and how many numbers it takes; see `specialised`.
formula, COUNT = None, 0


def _value_loop(x, dy, out, rows, columns, stride, numbers):
    given = first_of(numbers, COUNT)
    for i in range(rows):
        for j in range(0, columns, LANES):
            place, left = i * stride + j, columns - j
            lanes = load(ahead(x, place), LANES, left, 0.0)
            store(formula(lanes, *given), ahead(out, place), left)


def _gradient_loop(x, dy, out, rows, columns, stride, numbers):
    given = first_of(numbers, COUNT)
    for i in range(rows):
        for j in range(0, columns, LANES):
            place, left = i * stride + j, columns - j
            lanes = load(ahead(x, place), LANES, left, 0.0)
            gradient = load(ahead(dy, place), LANES, left, 0.0)
            store(formula(lanes, gradient, *given), ahead(out, place), left)


def _update_loop_0(w, g, states, size, rows, columns, stride, g_stride, numbers):
    given = first_of(numbers, COUNT)
    for i in range(rows):
        for j in range(0, columns, LANES):
            place, left = i * stride + j, columns - j
            weights = load(ahead(w, place), LANES, left, 0.0)
            gradients = load(ahead(g, i * g_stride + j), LANES, left, 0.0)
            store(formula(weights, gradients, *given), ahead(w, place), left)


def _update_loop_1(w, g, states, size, rows, columns, stride, g_stride, numbers):
    given = first_of(numbers, COUNT)
    for i in range(rows):
        for j in range(0, columns, LANES):
            place, left = i * stride + j, columns - j
            weights = load(ahead(w, place), LANES, left, 0.0)
            gradients = load(ahead(g, i * g_stride + j), LANES, left, 0.0)
            m = load(ahead(states, place), LANES, left, 0.0)
            weights, m = formula(weights, gradients, m, *given)
            store(m, ahead(states, place), left)
            store(weights, ahead(w, place), left)


def _update_loop_2(w, g, states, size, rows, columns, stride, g_stride, numbers):
    given = first_of(numbers, COUNT)
    for i in range(rows):
        for j in range(0, columns, LANES):
            place, left = i * stride + j, columns - j
            weights = load(ahead(w, place), LANES, left, 0.0)
            gradients = load(ahead(g, i * g_stride + j), LANES, left, 0.0)
            m = load(ahead(states, place), LANES, left, 0.0)
            v = load(ahead(states, size + place), LANES, left, 0.0)
            weights, m, v = formula(weights, gradients, m, v, *given)
            store(m, ahead(states, place), left)
            store(v, ahead(states, size + place), left)
            store(weights, ahead(w, place), left)


UPDATE_LOOPS = (_update_loop_0, _update_loop_1, _update_loop_2)
"""By the number of states."""


# --- entries --------------------------------------------------------------------------------------


class Number:
    """One of an operation's numbers, as its public kernels take it.

    Parameters
    ----------
    name : str
    form : str
        As a contract has it: ``number``, ``>= 0``.
    meaning : str
    """

    def __init__(self, name: str, form: str, meaning: str) -> None:
        self.name, self.form, self.meaning = name, form, meaning


class Activation:
    """An elementwise activation: its two operations and its two public kernels.

    Parameters
    ----------
    value : callable
        The formula: of a vector of x, then of the numbers. Its first docstring line is the
        kernel's.
    gradient : callable
        Of what is kept, then of dy, then of the numbers: dL/dx.
    kept : {"x", "y"}
        What the gradient is computed from: the input or the output.
    kept_name : str, optional
        What the public kernel calls that, if not so.
    numbers : sequence of Number
    nanoseconds : tuple of float
        About what an element takes on one thread, forward and backward.
    """

    def __init__(
        self,
        value: Callable[..., Any],
        gradient: Callable[..., Any],
        *,
        kept: str,
        kept_name: str | None = None,
        numbers: Sequence[Number] = (),
        nanoseconds: tuple[float, float] = (0.1, 0.15),
    ) -> None:
        self.kept, self.numbers = kept, tuple(numbers)
        self.name: str = value.__name__
        texts = ((_value_loop, value, "forward"), (_gradient_loop, gradient, "backward"))
        self.forward, self.backward = (
            Operation(
                ELEMENTWISE,
                specialised(
                    text,
                    f"{self.name}_{way}",
                    value.__module__,
                    {"formula": formula, "COUNT": len(self.numbers)},
                ),
                cost,
            )
            for (text, formula, way), cost in zip(texts, nanoseconds, strict=True)
        )
        self.kernels = (
            elementwise_door(self.forward, ("x",), self.numbers, inspect.getdoc(value)),
            elementwise_door(
                self.backward, (kept_name or kept, "dy"), self.numbers, inspect.getdoc(gradient)
            ),
        )


def run_elementwise(operation: Operation, x: Array, dy: Array, numbers: Array, out: Array) -> None:
    """An elementwise operation on arrays of one size, on as many threads as it is worth."""
    elementwise.sized(
        operation.nanoseconds * out.size, operation.address(out.dtype), x, dy, numbers, out
    )


def elementwise_kernel(
    name: str, formula: Callable[..., Any], summary: str, *, nanoseconds: float
) -> Door[..., None]:
    """The public kernel of a formula of x alone."""
    names = {"formula": formula, "COUNT": 0}
    text = specialised(_value_loop, name, formula.__module__, names)
    return elementwise_door(Operation(ELEMENTWISE, text, nanoseconds), ("x",), (), summary)


def elementwise_door(
    operation: Operation, inputs: Sequence[str], numbers: Sequence[Number], summary: str | None
) -> Door[..., None]:
    """The public kernel of an elementwise operation: inputs, then numbers, then ``out``."""
    count = len(inputs)

    def bare(*given: Any) -> None:
        x, dy, out = given[0], given[count - 1], given[-1]
        run_elementwise(operation, x, dy, numbers_array(given[count:-1]), out)

    forms = [*(f"{name} (...)" for name in inputs), *(f"{n.name} {n.form}" for n in numbers)]
    meanings = {n.name: f"float\n    {n.meaning}" for n in numbers}
    meanings |= dict.fromkeys(inputs, "ndarray, float32 or float64")
    meanings |= {"out": "ndarray of the same shape and dtype"}
    names = [*inputs, *(n.name for n in numbers), "out"]
    parameters = "\n".join(f"{name} : {meanings[name]}" for name in names)
    bare.__doc__ = f"{summary}\n\nParameters\n----------\n{parameters}\n"
    bare.__name__ = bare.__qualname__ = operation.name
    bare.__module__ = operation.function.__module__
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    bare.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kind) for name in names]
    )
    return registered(Door(bare, f"{', '.join(forms)} -> out (...)"))  # type: ignore[no-any-return]


class Step:
    """An optimizer's step: its operation, and how many states and numbers that takes.

    Parameters
    ----------
    formula : callable
        Of vectors of parameters, gradients and each state, then of the numbers: the new
        parameters and states.
    states : int
        Up to 2.
    count : int
        Numbers.
    nanoseconds : float
        About what an element takes on one thread.
    """

    def __init__(
        self, formula: Callable[..., Any], *, states: int, count: int, nanoseconds: float
    ) -> None:
        self.states = states
        names = {"formula": formula, "COUNT": count}
        text = specialised(
            UPDATE_LOOPS[states], f"{formula.__name__}_step", formula.__module__, names
        )
        self.operation = Operation(UPDATE, text, nanoseconds)

    def run(
        self, parameters: Array, gradients: Array, states: Array, numbers: Sequence[float]
    ) -> None:
        """Move parameters, on as many threads as it is worth; each row of ``states`` is one."""
        operation = self.operation
        cost, address = operation.nanoseconds * parameters.size, operation.address(parameters.dtype)
        states = states if self.states else gradients  # any array: it is not read
        update.sized(cost, address, parameters, gradients, states, numbers_array(numbers))


def run_rowwise(
    operation: Operation,
    x: Array,
    dy: Array,
    out: Array,
    numbers: Sequence[float] = (),
    parameters: Array | None = None,
    key: int = 0,
    stream: int = 0,
) -> None:
    """A rowwise operation on all rows, on as many threads as it is worth."""
    address, given = operation.address(x.dtype), x if parameters is None else parameters
    rowwise.sized(
        operation.nanoseconds * x.size,
        *(address, x, dy, given, numbers_array(numbers), key, stream, out),
    )


def run_loss(
    operation: Operation,
    scores: Array,
    targets: Array,
    numbers: Sequence[float],
    out: Array,
    out_losses: Array,
    out_measures: Array,
) -> None:
    """A loss operation on all rows, on as many threads as it is worth."""
    loss.sized(
        operation.nanoseconds * scores.size,
        *(operation.address(scores.dtype), scores, targets, numbers_array(numbers)),
        *(out, out_losses, out_measures),
    )
