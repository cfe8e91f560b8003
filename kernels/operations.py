"""Kernels that run an operation on arrays, and the loops that operations are made of.

An operation is a formula in a loop's text (``kernels/runtime/families.py``). The kernels here give
it blocks of arrays, on one thread or on several; a network's program gives it parts of a batch. It
is the same machine code.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numba import prange

from kernels.intrinsics import (
    LANES,
    ahead,
    as_item,
    first_of,
    invoke,
    lane_numbers,
    load,
    pointer,
    row_of,
    select,
    splat,
    store,
    sum_of_lanes,
)
from kernels.runtime import checks
from kernels.runtime.families import (
    COLUMNWISE,
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

_COLUMNS = 64
"""Columns that a thread takes at a time."""


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
    "function int64, x (batch, n), dy (d, m), parameters (r, p), numbers numbers, key uint64, "
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
    """A rowwise operation on all rows; a ``dy`` of one row is that of all of them."""
    batch, n = x.shape
    some = _rows_at_a_time(n)
    for block in prange((batch + some - 1) // some):
        first = block * some
        rows = min(some, batch - first)
        of_dy = first if dy.shape[0] == batch else 0
        operands = row_of(x, first), row_of(dy, of_dy), row_of(out, first)
        given = pointer(parameters), pointer(numbers), Counter(key, stream, first)
        invoke(ROWWISE, function, operands + (rows, n) + given)


@kernel(
    "function int64, x (batch, n), dy (d, m), numbers numbers, width int64 -> out (r, w)",
    nanoseconds=lambda *_: 0.0,
    public=False,
)
def columnwise(function: int, x: Array, dy: Array, numbers: Array, width: int, out: Array) -> None:
    """A columnwise operation on all columns, ``width`` of them at a time."""
    batch, n = x.shape
    for block in prange((n + width - 1) // width):
        first = block * width
        operands = ahead(pointer(x), first), ahead(pointer(dy), first), ahead(pointer(out), first)
        columns = min(width, n - first)
        invoke(COLUMNWISE, function, operands + (batch, columns, n, pointer(numbers)))


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

# These stand for functions, and for how many numbers they take; see `specialised`.
formula, move, COUNT = None, None, 0


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


def _move_0(w, g, states, size, left, given):
    weights = formula(load(w, LANES, left, 0.0), load(g, LANES, left, 0.0), *given)
    store(weights, w, left)


def _move_1(w, g, states, size, left, given):
    before, gradients = load(w, LANES, left, 0.0), load(g, LANES, left, 0.0)
    weights, m = formula(before, gradients, load(states, LANES, left, 0.0), *given)
    store(m, states, left)
    store(weights, w, left)


def _move_2(w, g, states, size, left, given):
    before, gradients = load(w, LANES, left, 0.0), load(g, LANES, left, 0.0)
    second = ahead(states, size)
    m, v = load(states, LANES, left, 0.0), load(second, LANES, left, 0.0)
    weights, m, v = formula(before, gradients, m, v, *given)
    store(m, states, left)
    store(v, second, left)
    store(weights, w, left)


def _update_loop(w, g, states, size, rows, columns, stride, g_stride, numbers):
    given, whole = first_of(numbers, COUNT), columns // LANES * LANES
    for i in range(rows):
        w_i, g_i, s_i = ahead(w, i * stride), ahead(g, i * g_stride), ahead(states, i * stride)
        for j in range(0, whole, LANES):
            move(ahead(w_i, j), ahead(g_i, j), ahead(s_i, j), size, LANES, given)
        if whole < columns:
            left = columns - whole
            move(ahead(w_i, whole), ahead(g_i, whole), ahead(s_i, whole), size, left, given)


def _loss_loop(y, targets, out, losses, measures, rows, n, batch, numbers):
    given, count = first_of(numbers, COUNT), as_item(batch * n, y)
    for i in range(rows):
        partial = splat(y, LANES, 0.0)
        for j in range(0, n, LANES):
            place, left = i * n + j, n - j
            lanes, t = (
                load(ahead(y, place), LANES, left, 0.0),
                load(ahead(targets, place), LANES, left, 0.0),
            )
            value, gradient = formula(lanes, t, *given)
            partial = partial + select(lane_numbers(partial) < left, value, 0.0)
            store(gradient / count, ahead(out, place), left)
        losses[i] = sum_of_lanes(partial) / as_item(n, y)


_MOVES = (_move_0, _move_1, _move_2)
"""The step of a vector, by the number of states."""


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
    in_registers : tuple of int
        The product's flags for the two, where the micro-kernel has them.
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
        in_registers: tuple[int, int] = (0, 0),
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
                flag,
            )
            for (text, formula, way), cost, flag in zip(
                texts, nanoseconds, in_registers, strict=True
            )
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
    meanings = dict.fromkeys(inputs, "ndarray, float32 or float64")
    meanings |= {n.name: f"float\n    {n.meaning}" for n in numbers}
    meanings |= {"out": "ndarray of the same shape and dtype"}
    return made_door(bare, operation, meanings, f"{', '.join(forms)} -> out (...)", summary)


class Step:
    """An optimizer's step: its operation and its public kernel.

    Parameters
    ----------
    formula : callable
        Of vectors of parameters, gradients and each state, then of the numbers: the new
        parameters, then the new states. Its docstring is the kernel's.
    states : int
        Up to 2.
    numbers : sequence of Number
    nanoseconds : float
        About what an element takes on one thread.
    """

    def __init__(
        self,
        formula: Callable[..., Any],
        *,
        states: int = 0,
        numbers: Sequence[Number],
        nanoseconds: float = 0.15,
        in_registers: int = 0,
    ) -> None:
        self.states, self.numbers, self.count = states, tuple(numbers), len(numbers)
        self.name = f"{formula.__name__}_update"
        module = formula.__module__
        move = specialised(_MOVES[states], f"{self.name}_vector", module, {"formula": formula})
        names = {"move": inner(move), "COUNT": self.count}
        text = specialised(_update_loop, self.name, module, names)
        self.operation = Operation(UPDATE, text, nanoseconds, in_registers)
        self.kernel = self._door(inspect.getdoc(formula))

    def run(self, parameters: Array, gradients: Array, *given: Any) -> None:
        """Move parameters, on as many threads as it is worth: states, if any, then the numbers."""
        states, numbers = (given[0], given[1:]) if self.states else (gradients, given)
        run_update(self.operation, parameters, gradients, states, numbers)

    def _door(self, summary: str | None) -> Door[..., None]:
        has_states = self.states > 0

        def bare(*given: Any) -> None:
            if has_states:
                expected = (self.states, given[0].size)
                checks.shape(f"kernels.{self.name}", "states", given[2], expected)
            self.run(*given)

        meanings = {
            "weights": "ndarray, float32 or float64\n    Any shape; overwritten.",
            "dweights": "ndarray of the same shape and dtype",
        }
        states = "states (s, q), " if has_states else ""
        if has_states:
            meanings["states"] = (
                f"ndarray, ({self.states}, number of weights)\n    Zeros before the first step; "
                "overwritten."
            )
        meanings |= {n.name: f"float\n    {n.meaning}" for n in self.numbers}
        forms = ", ".join(["dweights (...)", *(f"{n.name} {n.form}" for n in self.numbers)])
        return made_door(
            bare, self.operation, meanings, f"{forms} -> {states}weights (...)", summary
        )


def made_door(
    bare: Callable[..., None],
    operation: Operation,
    meanings: Mapping[str, str],
    contract: str,
    summary: str | None,
    name: str | None = None,
) -> Door[..., None]:
    """The public kernel of an operation: its parameters, in order, and what they mean."""

    def public(*given: Any) -> None:
        bare(*given)

    parameters = "\n".join(f"{name} : {meaning}" for name, meaning in meanings.items())
    public.__doc__ = f"{summary}\n\nParameters\n----------\n{parameters}\n"
    public.__name__ = public.__qualname__ = name or operation.name
    public.__module__ = operation.function.__module__
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    public.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kind) for name in meanings]
    )
    return registered(Door(public, contract))  # type: ignore[no-any-return]


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


def run_columnwise(
    operation: Operation,
    x: Array,
    dy: Array,
    out: Array,
    numbers: Sequence[float] = (),
    width: int = _COLUMNS,
) -> None:
    """A columnwise operation on all columns, on as many threads as it is worth.

    ``width`` is how many columns are taken at a time: all of them, where they belong together.
    """
    columnwise.sized(
        operation.nanoseconds * x.size,
        *(operation.address(x.dtype), x, dy, numbers_array(numbers), width, out),
    )


def run_update(
    operation: Operation,
    parameters: Array,
    gradients: Array,
    states: Array,
    numbers: Sequence[float],
) -> None:
    """An optimizer's step, on as many threads as it is worth; each row of ``states`` is one."""
    states = states if states.size else gradients  # any array: it is not read
    update.sized(
        operation.nanoseconds * parameters.size,
        *(operation.address(parameters.dtype), parameters, gradients, states),
        numbers_array(numbers),
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


class LossEntry:
    """A loss of rows: an operation for each form of targets, and its public kernel.

    Parameters
    ----------
    name : str
        Of the public kernel and its twin.
    operations : dict
        By the form of the targets: ``"labels"``, class indices (batch,); ``"few labels"``, those of
        at most sixteen classes; ``"rows"``, target rows (batch, n); ``"numbers"``, the same, where
        there are no labels.
    summary : str
        The kernel's first docstring line.
    scores, targets : str
        What the kernel calls its inputs.
    measures : dict
        What is measured of each row: the kernel's outputs, and what they mean.
    numbers : sequence of Number
    """

    def __init__(
        self,
        name: str,
        operations: Mapping[str, Operation],
        summary: str,
        *,
        scores: str = "scores",
        targets: str = "labels",
        measures: Mapping[str, str],
        numbers: Sequence[Number] = (),
    ) -> None:
        self.name, self.operations, self.numbers = name, dict(operations), tuple(numbers)
        takes_labels = "labels" in self.operations
        n = "n_classes" if takes_labels else "n"
        form = "[batch < n_classes]" if takes_labels else f"(batch, {n})"
        inputs = f"{scores} (batch, {n}), {targets} {form}"
        given = "".join(f", {each.name} {each.form}" for each in self.numbers)
        outputs = "".join(f", {each} (batch, 1)" for each in measures)
        meanings = {
            scores: f"ndarray, (batch, {n})\n    float32 or float64, as all arrays here.",
            targets: "ndarray\n    Class indices (batch,), or target rows (batch, n_classes)."
            if takes_labels
            else f"ndarray, (batch, {n})",
            **{each.name: f"float\n    {each.meaning}" for each in self.numbers},
            "out": f"ndarray, (batch, {n})\n    The gradient of the mean loss over the batch.",
            "out_losses": "ndarray, (batch, 1)",
            **{each: f"ndarray, (batch, 1)\n    {meaning}" for each, meaning in measures.items()},
        }
        contract = f"{inputs}{given} -> out (batch, {n}), out_losses (batch, 1){outputs}"
        named = self.operations[min(self.operations)]
        self.kernel = made_door(self.run, named, meanings, contract, summary, name)

    def run(self, scores: Array, targets: Array, *given: Any) -> None:
        """Losses and gradient, on as many threads as it is worth: numbers, then outputs."""
        count = len(self.numbers)
        numbers, (out, losses, *measures) = given[:count], given[count:]
        operation = self.operation(self.form(targets), out.shape[1])
        measured = measures[0] if measures else losses  # any array: it is not written to
        outputs = out, losses, measured
        run_loss(operation, scores, as_words(targets, scores.dtype), numbers, *outputs)

    def operation(self, form: str, n: int) -> Operation:
        """The operation for a form of targets, and rows of n scores."""
        if form == "labels" and n <= LANES and "few labels" in self.operations:
            form = "few labels"
        return self.operations[form]

    def form(self, targets: Array) -> str:
        """The form of checked targets."""
        if targets.ndim == 1:
            return "labels"
        return "rows" if "rows" in self.operations else "numbers"


def elementwise_loss(
    formula: Callable[..., Any],
    *,
    numbers: Sequence[Number] = (),
    nanoseconds: float = 0.3,
) -> LossEntry:
    """A loss that is a mean over all numbers: each number's loss and its slope by a formula.

    Parameters
    ----------
    formula : callable
        Of vectors of predictions and targets, then of the numbers: the loss and its derivative
        with respect to the prediction. Its docstring is the kernel's.
    numbers : sequence of Number
    nanoseconds : float
        About what a number takes on one thread.
    """
    names = {"formula": formula, "COUNT": len(numbers)}
    text = specialised(_loss_loop, formula.__name__, formula.__module__, names)
    operations = {"numbers": Operation(LOSS, text, nanoseconds)}
    summary = inspect.getdoc(formula) or ""
    name = f"{formula.__name__}_gradient"
    return LossEntry(
        *(name, operations, summary), scores="y", targets="targets", measures={}, numbers=numbers
    )


def as_words(targets: Array, dtype: Any) -> Array:
    """Targets as rows of numbers of a dtype: int64 labels are read as such, bit by bit."""
    return targets if targets.ndim == 2 else targets.view(dtype).reshape(len(targets), -1)
