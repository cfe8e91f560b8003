"""Entries: from a formula to an operation, and to the public kernel of that operation.

An operation is a formula in the text of its family's loop (``kernels/runtime/families.py``).
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kernels.intrinsics import (
    LANES,
)
from kernels.operation_loops import MOVES, gradient_loop, loss_loop, update_loop, value_loop
from kernels.operations import as_words, run_elementwise, run_loss, run_update
from kernels.runtime import checks
from kernels.runtime.families import (
    ELEMENTWISE,
    LOSS,
    UPDATE,
    Operation,
    numbers_array,
    specialised,
)
from kernels.runtime.jit import Array, Door, inner, registered


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
        texts = ((value_loop, value, "forward"), (gradient_loop, gradient, "backward"))
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


def elementwise_kernel(
    name: str, formula: Callable[..., Any], summary: str, *, nanoseconds: float
) -> Door[..., None]:
    """The public kernel of a formula of x alone."""
    names = {"formula": formula, "COUNT": 0}
    text = specialised(value_loop, name, formula.__module__, names)
    return elementwise_door(Operation(ELEMENTWISE, text, nanoseconds), ("x",), (), summary)


def elementwise_entry(
    name: str,
    formula: Callable[..., Any],
    inputs: Sequence[str],
    numbers: Sequence[Number],
    *,
    nanoseconds: float,
) -> tuple[Operation, Door[..., None]]:
    """The operation and the public kernel of a formula of one or two inputs, then of numbers."""
    loop = value_loop if len(inputs) == 1 else gradient_loop
    names = {"formula": formula, "COUNT": len(numbers)}
    text = specialised(loop, name, formula.__module__, names)
    operation = Operation(ELEMENTWISE, text, nanoseconds)
    return operation, elementwise_door(operation, inputs, numbers, inspect.getdoc(formula))


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
        move = specialised(MOVES[states], f"{self.name}_vector", module, {"formula": formula})
        names = {"move": inner(move), "COUNT": self.count}
        text = specialised(update_loop, self.name, module, names)
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


class LossEntry:
    """A loss of rows: an operation for each form of targets, and its public kernel.

    Parameters
    ----------
    name : str
        Of the public kernel and its twin.
    operations : dict
        By the form of the targets: ``"labels"``, class indices (batch,); ``"rows"``, target rows
        (batch, n); ``"few labels"``, ``"few rows"``, those of at most sixteen classes;
        ``"numbers"``, target rows where there are no labels.
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
        few = f"few {form}"
        return self.operations[few if n <= LANES and few in self.operations else form]

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
    text = specialised(loss_loop, formula.__name__, formula.__module__, names)
    operations = {"numbers": Operation(LOSS, text, nanoseconds)}
    summary = inspect.getdoc(formula) or ""
    name = f"{formula.__name__}_gradient"
    return LossEntry(
        *(name, operations, summary), scores="y", targets="targets", measures={}, numbers=numbers
    )
