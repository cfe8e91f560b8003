"""A model as an ONNX graph: features in, labels and probabilities out.

Everything is in float32, as runtimes compute it. A layer becomes the operator that ONNX has for it,
or the two or three that make it up; the loss says what follows the scores, and the columns of a
table what comes before and after.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

import layers
from kernels.losses_of_numbers import EXPECTED_COUNTS
from kernels.runtime.families import Operation
from layers.base import Layer
from layers.exchange.onnx_columns import Around, around
from layers.exchange.onnx_library import PRODUCER, onnx, signed
from layers.exchange.onnx_writers import WRITERS, standardized
from layers.files import parts
from layers.losses_of_labels import LossOfLabels
from layers.replacing import StrPath, replace_file
from layers.sequential import Sequential

PLACE = "Sequential.save"
_OF_NUMBERS: dict[Operation | None, str | None] = {None: None, EXPECTED_COUNTS: "Exp"}
"""What makes numbers of scores, and its operator."""
OPSET, _LABELS, _IR = 21, 3, 10
"""Of 2024, which has every operator that is needed: runtimes older than that cannot read newer."""


def save(model: Sequential, path: StrPath) -> None:
    """Write the network to a file that onnx.checker accepts; see `Sequential.save`."""
    library, columns = onnx(PLACE), around(model, PLACE)
    made = _Graph(library, model, columns).model()
    data = signed(library, made, _described(model, columns))
    library.checker.check_model(data, full_check=True)
    replace_file(path, lambda file: file.write(data), PLACE)


def _described(model: Sequential, columns: Around) -> dict[str, Any]:
    """What a graph has no place for."""
    try:
        loss = parts.described(model.loss, PLACE, {})
    except TypeError:  # of the user's own
        loss = None
    names = columns.classes
    found = {"loss": loss, "classes": names and list(names), "columns": columns.names}
    return {name: value for name, value in found.items() if value is not None}


class _Graph:
    """Nodes and constants, as they are added one behind the other."""

    def __init__(self, library: Any, model: Sequential, columns: Around) -> None:
        self._onnx, self._model, self._columns = library, model, columns
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._at = ""
        """What the names of nodes and constants begin with: the place of a layer."""
        self.INT64: int = library.TensorProto.INT64

    def model(self) -> Any:
        """The whole: graph and versions."""
        helper, model = self._onnx.helper, self._model
        outputs = self._heads(self._chain(model.layers, self._scaled("x"), ""))
        rows = [None, model.n_in]
        x = helper.make_tensor_value_info("x", self._onnx.TensorProto.FLOAT, rows)
        graph = helper.make_graph(self._nodes, "network", [x], outputs, self._constants)
        return helper.make_model(
            graph,
            opset_imports=[
                helper.make_opsetid("", OPSET),
                helper.make_opsetid("ai.onnx.ml", _LABELS),
            ],
            producer_name=PRODUCER,
            producer_version=layers.__version__,
            ir_version=_IR,
        )

    def _scaled(self, x: str) -> str:
        """Inputs as the network takes them."""
        if self._columns.inputs is None:
            return x
        self._at = "columns"
        try:
            return standardized(self, *self._columns.inputs, x)
        except ValueError as error:
            raise ValueError(f"{PLACE}: columns: {error}") from None

    def _chain(self, chain: Iterable[Layer], x: str, start: str) -> str:
        """Layers one after another, whose places begin so; the name of the last output."""
        for index, layer in enumerate(chain):
            self._at = f"{start}{index}"
            write = WRITERS.get(type(layer))
            if write is None:
                raise ValueError(
                    f"{PLACE}: layer {self._at}, {layer!r}, has no counterpart in ONNX, "
                    f"expected one of {', '.join(kind.__name__ for kind in WRITERS)}"
                )
            try:
                x = write(self, layer, x)
            except ValueError as error:
                text = str(error)
                if text.startswith(PLACE):
                    raise
                raise ValueError(f"{PLACE}: layer {self._at}: {text}") from None
        return x

    # --- for the writers of layers ---

    def layers(self, chain: Iterable[Layer], x: str, branch: str = "") -> str:
        """Layers within the present one, one after another; the name of the last output."""
        at = self._at
        value = self._chain(chain, x, f"{at}.{branch}")
        self._at = at
        return value

    def constant(self, name: str, array: Any, dtype: Any = np.float32) -> str:
        """A constant of the present layer; its name."""
        called = f"{self._at}.{name}"
        with np.errstate(over="raise"):
            try:
                stored = np.asarray(array).astype(dtype)
            except FloatingPointError:
                raise ValueError(
                    f"{PLACE}: {called} holds numbers beyond float32, expected smaller ones"
                ) from None
        self._constants.append(
            self._onnx.numpy_helper.from_array(np.array(stored, order="C"), called)
        )
        return called

    def node(
        self, operator: str, *inputs: str, to: str = "", to_type: int | None = None, **given: Any
    ) -> str:
        """A node; the name of its output. A cast says ``to_type``."""
        name = to or f"{self._at}.{operator}.{len(self._nodes)}"
        attributes = given if to_type is None else {"to": to_type}
        self._nodes.append(
            self._onnx.helper.make_node(operator, list(inputs), [name], name, **attributes)
        )
        return name

    # --- what comes of the scores ---

    def _heads(self, scores: str) -> list[Any]:
        self._at = "end"
        loss, kinds = self._model.loss, self._onnx.TensorProto
        info, width = self._onnx.helper.make_tensor_value_info, self._model.n_out
        if loss.takes == "numbers":
            self.node("Identity", self._in_unit(self._numbers(scores)), to="predictions")
            return [info("predictions", kinds.FLOAT, [None, width])]
        many = isinstance(loss, LossOfLabels)
        if loss.takes == "logits":
            attributes = {} if many else {"axis": 1}
            self.node("Sigmoid" if many else "Softmax", scores, to="probabilities", **attributes)
        elif loss.takes in ("probabilities", "sigmoid"):
            self.node("Identity", scores, to="probabilities")
        else:
            raise ValueError(
                f"{PLACE}: the loss is {loss!r}, which takes {loss.takes}, expected one that takes "
                "logits, probabilities or numbers"
            )
        label = self._threshold(scores, width) if many else self._largest(scores)
        names = None if many and width > 1 else self._columns.classes
        kind = kinds.INT64 if names is None or isinstance(names[0], int) else kinds.STRING
        self.node("Identity", label if names is None else self._named(label, names), to="label")
        shape = [None, width] if many and width > 1 else [None]
        return [info("label", kind, shape), info("probabilities", kinds.FLOAT, [None, width])]

    def _numbers(self, scores: str) -> str:
        """What a loss of numbers predicts."""
        loss = self._model.loss
        if loss.prediction not in _OF_NUMBERS:
            raise ValueError(
                f"{PLACE}: the loss is {loss!r}, whose predictions have no counterpart in ONNX"
            )
        operator = _OF_NUMBERS[loss.prediction]
        return scores if operator is None else self.node(operator, scores)

    def _in_unit(self, scores: str) -> str:
        """A regression's predictions in the unit of the target."""
        if self._columns.target is None:
            return scores
        mean, deviation = self._columns.target
        spread = self.node("Mul", scores, self.constant("deviation", deviation))
        return self.node("Add", spread, self.constant("mean", mean))

    def _largest(self, scores: str) -> str:
        return self.node("ArgMax", scores, axis=1, keepdims=0)

    def _threshold(self, scores: str, width: int) -> str:
        threshold: Any = self._model.loss.threshold  # type: ignore[attr-defined]
        above = self.node("Greater", scores, self.constant("threshold", threshold))
        label = self.node("Cast", above, to_type=self.INT64)
        if width > 1:
            return label
        return self.node("Squeeze", label, self.constant("axes", [1], np.int64))

    def _named(self, label: str, names: tuple[Any, ...]) -> str:
        values = "values_int64s" if isinstance(names[0], int) else "values_strings"
        given: dict[str, Any] = {"keys_int64s": list(range(len(names))), values: list(names)}
        return self.node("LabelEncoder", label, domain="ai.onnx.ml", **given)
