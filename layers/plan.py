"""Lowering: a stack of layers as the program that ``kernels/network.py`` runs.

A program is data, so a new network compiles nothing. It is for layers, losses and optimizers of
this package alone; a model with any other runs layer by layer, with the same bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kernels import microkernel
from kernels.microkernel import ADD_BIASES, MASK, TRANSPOSE_B
from kernels.program import (
    ARGMAX,
    CROSS_ENTROPY,
    GATHER,
    OUT,
    PRODUCT,
    RELU,
    RELU_BACKWARD,
    SOFTMAX,
    SOFTMAX_BACKWARD,
    SOFTMAX_CROSS_ENTROPY,
    Header,
    Instruction,
    X,
)
from layers.activations import ReLU, Softmax
from layers.base import Array, Layer
from layers.dense import Dense
from layers.losses import CategoricalCrossEntropy, SoftmaxCrossEntropy
from layers.optimizers import SGD

if TYPE_CHECKING:
    from layers.sequential import Sequential

_LOSSES = {
    SoftmaxCrossEntropy: SOFTMAX_CROSS_ENTROPY,
    CategoricalCrossEntropy: CROSS_ENTROPY,
}


@dataclass(frozen=True)
class Plan:
    """A model's programs, and how much workspace they need.

    Attributes
    ----------
    training, scoring, predicting : ndarray of int64
        What `kernels.network.train` runs, and `kernels.network.infer` for scores and for classes.
    apart : tuple of ndarray
        Training again, a program for each instruction on rows and the last for all on parameters:
        where a batch takes so long that Python should have its turn within it.
    width : int
        Elements of workspace that training needs for each row of a batch.
    multiply_adds : int
        Of a row's forward pass.
    """

    training: Array
    scoring: Array
    predicting: Array
    apart: tuple[Array, ...]
    width: int
    multiply_adds: int


_Attributes = Sequence[Mapping[str, object]]
_METHODS = frozenset({"rows", "gradient", "rate_in", "update"})
"""What a loss and an optimizer are called by in training."""


def have_own_methods(layer_dicts: _Attributes, other_dicts: _Attributes = ()) -> bool:
    """Whether a method of a layer, or of a loss or optimizer, is replaced in that object alone."""
    for attributes in layer_dicts:  # any() takes twice as long
        if (
            "forward" in attributes
            or "backward" in attributes
            or "backward_parameters" in attributes
        ):
            return True
    for attributes in other_dicts:  # noqa: SIM110
        if not _METHODS.isdisjoint(attributes):
            return True
    return False


def obstacle(model: "Sequential") -> str | None:
    """Why a model has to run layer by layer; None where it has a plan."""
    for index, layer in enumerate(model.layers):
        if type(layer) not in (Dense, ReLU, Softmax):
            return f"layer {index} is a {type(layer).__name__} of your own"
        if have_own_methods([vars(layer)]):
            return f"layer {index} has a method of its own"
    if not any(isinstance(layer, Dense) for layer in model.layers):
        return "no layer has parameters"
    for name, part, known in (
        ("loss", model.loss, _LOSSES),
        ("optimizer", model.optimizer, (SGD,)),
    ):
        if type(part) not in known:
            return f"the {name} is a {type(part).__name__} of your own"
        if not _METHODS.isdisjoint(vars(part)):
            return f"the {name} has a method of its own"
    return None


def lower(model: "Sequential", places: Sequence[Mapping[str, int]]) -> Plan:
    """The programs of a model without an `obstacle`.

    Parameters
    ----------
    model : Sequential
    places : sequence of dict
        For each layer where its parameters begin in the flat buffer, by name.
    """
    unit = 64 // model.dtype.itemsize
    training = _training(model, places, unit)
    dense = [layer for layer in model.layers if isinstance(layer, Dense)]
    return Plan(
        training,
        _scoring(model, places, unit),
        _predicting(model, places, unit),
        _apart(training),
        width=int(Header(*training[: len(Header._fields)]).width),
        multiply_adds=sum(layer.n_in * layer.n_out for layer in dense),
    )


@dataclass(frozen=True)
class _Pass:
    """A layer in the forward pass; a Dense takes the ReLU behind it along."""

    layer: Layer
    with_relu: bool
    n_in: int
    n_out: int
    source: int
    target: int
    places: Mapping[str, int]

    @property
    def ends_in_relu(self) -> bool:
        return self.with_relu or isinstance(self.layer, ReLU)

    def forward(self) -> Instruction:
        if isinstance(self.layer, Dense):
            flags = ADD_BIASES | (microkernel.RELU if self.with_relu else 0)
            return self._with_weights(self.source, self.target, self.places["biases"], flags)
        kind = RELU if isinstance(self.layer, ReLU) else SOFTMAX
        return _through(kind, self.n_out, self.source, self.target)

    def _with_weights(self, source: int, target: int, extra: int, flags: int) -> Instruction:
        sizes = (self.n_out, self.n_in) if flags & TRANSPOSE_B else (self.n_in, self.n_out)
        weights = self.places["weights"]
        return Instruction(PRODUCT, *sizes, source, target, extra, weights, flags)

    def backward(self, gradient: int, target: int, mask: int | None) -> Instruction:
        if isinstance(self.layer, Dense):
            flags = TRANSPOSE_B | (0 if mask is None else MASK)
            return self._with_weights(gradient, target, mask or 0, flags)
        return _through(SOFTMAX_BACKWARD, self.n_out, gradient, target, self.target)

    def update(self, gradient: int) -> Instruction:
        """The step of the weights and biases."""
        places = self.places
        return Instruction(
            PRODUCT,
            self.n_in,
            self.n_out,
            self.source,
            places["biases"],
            gradient,
            places["weights"],
            0,
        )


def _through(kind: int, n: int, source: int, target: int, extra: int = 0) -> Instruction:
    """An instruction that leaves rows as wide as they were."""
    return Instruction(kind, n, n, source, target, extra, 0, 0)


class _Buffers:
    """Places in the workspace: each buffer begins at a whole cache line, for any batch."""

    def __init__(self, unit: int) -> None:
        self._unit = unit
        self.width = 0

    def add(self, n: int) -> int:
        start = self.width
        self.width += -(-n // self._unit) * self._unit
        return start


def _passes(
    model: "Sequential", places: Sequence[Mapping[str, int]], buffers: _Buffers, x: int
) -> list[_Pass]:
    passes: list[_Pass] = []
    source, n_in = x, model.n_in
    layers = list(enumerate(model.layers))
    while layers:
        index, layer = layers.pop(0)
        with_relu = isinstance(layer, Dense) and bool(layers) and isinstance(layers[0][1], ReLU)
        if with_relu:
            layers.pop(0)
        n_out = getattr(layer, "n_out", n_in)
        target = buffers.add(n_out)
        passes.append(_Pass(layer, with_relu, n_in, n_out, source, target, places[index]))
        source, n_in = target, n_out
    return passes


def _training(model: "Sequential", places: Sequence[Mapping[str, int]], unit: int) -> Array:
    buffers = _Buffers(unit)
    x, losses = buffers.add(model.n_in), buffers.add(1)
    passes = _passes(model, places, buffers, x)
    last = passes[-1]
    gradient = buffers.add(last.n_out)
    rows = [
        _through(GATHER, model.n_in, X, x),
        *(each.forward() for each in passes),
        _through(_LOSSES[type(model.loss)], last.n_out, last.target, gradient),
    ]

    def through_relu(after: _Pass, gradient: int) -> int:
        target = buffers.add(after.n_out)
        rows.append(_through(RELU_BACKWARD, after.n_out, gradient, target, after.target))
        return target

    parameters = []
    if last.ends_in_relu:
        gradient = through_relu(last, gradient)
    # Nothing needs the gradient by what the first Dense gets.
    first = next(i for i, each in enumerate(passes) if isinstance(each.layer, Dense))
    for index in reversed(range(first, len(passes))):
        # `gradient` is the one before this pass's own ReLU, if it ends in one.
        here = passes[index]
        if isinstance(here.layer, Dense):
            parameters.append(here.update(gradient))
        if index == first:
            break
        before = passes[index - 1]
        masks = before.ends_in_relu
        if isinstance(here.layer, Dense):
            target = buffers.add(here.n_in)
            rows.append(here.backward(gradient, target, before.target if masks else None))
            gradient = target
            continue
        if isinstance(here.layer, Softmax):
            target = buffers.add(here.n_in)
            rows.append(here.backward(gradient, target, None))
            gradient = target
        if masks:
            gradient = through_relu(before, gradient)
    return _program(rows, parameters, losses, buffers.width)


def _scoring(model: "Sequential", places: Sequence[Mapping[str, int]], unit: int) -> Array:
    buffers = _Buffers(unit)
    passes = _passes(model, places, buffers, X)
    passes[-1] = replace(passes[-1], target=OUT)
    return _program([each.forward() for each in passes], [], 0, buffers.width)


def _predicting(model: "Sequential", places: Sequence[Mapping[str, int]], unit: int) -> Array:
    buffers = _Buffers(unit)
    passes = _passes(model, places, buffers, X)
    last = passes[-1]
    classes = _through(ARGMAX, last.n_out, last.target, last.target)
    return _program([*(each.forward() for each in passes), classes], [], 0, buffers.width)


def _apart(training: Array) -> tuple[Array, ...]:
    header, *steps = (Instruction(*line) for line in training.reshape(-1, len(Header._fields)))
    rows, losses, width = header[0], header[2], header[3]
    return (
        *(_program([step], [], losses, width) for step in steps[:rows]),
        _program([], steps[rows:], losses, width),
    )


def _program(
    rows: Sequence[Instruction], parameters: Sequence[Instruction], losses: int, width: int
) -> Array:
    header = Header(len(rows), len(parameters), losses, width, 0, 0, 0, 0)
    return np.array([header, *rows, *parameters], np.int64).ravel()
