"""A model as an ONNX graph: features in, labels and probabilities out.

Everything is in float32, as runtimes compute it. A layer becomes the operator that ONNX has for it,
or the two or three that make it up; the loss says what follows the scores.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

import layers
from layers.base import Layer
from layers.exchange.onnx_library import METADATA, onnx
from layers.files import parts
from layers.files.archive import StrPath
from layers.losses_of_labels import LossOfLabels
from layers.replacing import replace_file
from layers.sequential import Sequential

PLACE = "Sequential.save"
OPSET, _LABELS, _IR = 21, 3, 10
"""Of 2024, which has every operator that is needed: runtimes older than that cannot read newer."""


def save(model: Sequential, path: StrPath) -> None:
    """Write the network to a file that onnx.checker accepts; see `Sequential.save`."""
    library = onnx(PLACE)
    made = _Graph(library, model).model()
    library.checker.check_model(made, full_check=True)
    data = made.SerializeToString(deterministic=True)
    replace_file(path, lambda file: file.write(data), PLACE)


class _Graph:
    """Nodes and constants, as they are added one behind the other."""

    def __init__(self, library: Any, model: Sequential) -> None:
        self._onnx, self._model = library, model
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._index = 0
        self.INT64 = library.TensorProto.INT64

    def model(self) -> Any:
        """The whole: graph, versions, metadata."""
        helper, model = self._onnx.helper, self._model
        value = "x"
        for self._index, layer in enumerate(model.layers):
            write = _WRITERS.get(type(layer))
            if write is None:
                raise ValueError(
                    f"{PLACE}: layer {self._index}, {layer!r}, has no counterpart in ONNX, "
                    f"expected one of {', '.join(kind.__name__ for kind in _WRITERS)}"
                )
            value = write(self, layer, value)
        outputs = self._heads(value)
        rows = [None, model.n_in]
        x = helper.make_tensor_value_info("x", self._onnx.TensorProto.FLOAT, rows)
        graph = helper.make_graph(self._nodes, "network", [x], outputs, self._constants)
        made = helper.make_model(
            graph,
            opset_imports=[
                helper.make_opsetid("", OPSET),
                helper.make_opsetid("ai.onnx.ml", _LABELS),
            ],
            producer_name="numba-layers",
            producer_version=layers.__version__,
            ir_version=_IR,
        )
        helper.set_model_props(made, {METADATA: json.dumps(self._described())})
        return made

    def _described(self) -> dict[str, Any]:
        """What a graph has no place for."""
        try:
            loss = parts.described(self._model.loss, PLACE, {})
        except TypeError:  # of the user's own
            loss = None
        names = self._model.classes
        return {"loss": loss, "classes": None if names is None else list(names)}

    def constant(self, name: str, array: Any, dtype: Any = np.float32) -> str:
        """A constant of the present layer."""
        called = f"{self._index}.{name}"
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
        name = to or f"{self._index}.{operator}.{len(self._nodes)}"
        attributes = given if to_type is None else {"to": to_type}
        self._nodes.append(
            self._onnx.helper.make_node(operator, list(inputs), [name], name, **attributes)
        )
        return name

    # --- what comes of the scores ---

    def _heads(self, scores: str) -> list[Any]:
        self._index = len(self._model.layers)
        loss, kinds = self._model.loss, self._onnx.TensorProto
        info = self._onnx.helper.make_tensor_value_info
        width = self._model.n_out
        if loss.prediction is None:
            self.node("Identity", scores, to="predictions")
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
        kind = kinds.INT64
        if many:
            threshold: Any = loss.threshold  # type: ignore[attr-defined]
            above = self.node("Greater", scores, self.constant("threshold", threshold))
            label = self.node("Cast", above, to_type=kind)
            if width == 1:
                label = self.node("Squeeze", label, self.constant("axes", [1], np.int64))
        else:
            label = self.node("ArgMax", scores, axis=1, keepdims=0)
        names = None if many and width > 1 else self._model.classes
        if names is not None:
            kind = kinds.STRING
            label = self._named(label, names)
        self.node("Identity", label, to="label")
        shape = [None, width] if many and width > 1 else [None]
        return [info("label", kind, shape), info("probabilities", kinds.FLOAT, [None, width])]

    def _named(self, label: str, names: tuple[str, ...]) -> str:
        return self.node(
            "LabelEncoder",
            label,
            domain="ai.onnx.ml",
            keys_int64s=list(range(len(names))),
            values_strings=list(names),
        )


# Each layer by its operators.


def _dense(graph: _Graph, layer: Any, x: str) -> str:
    parameters = layer.parameters()
    weights = graph.constant("weights", parameters["weights"])
    if "biases" not in parameters:
        return graph.node("MatMul", x, weights)
    return graph.node("Gemm", x, weights, graph.constant("biases", parameters["biases"][0]))


def _silu(graph: _Graph, layer: Any, x: str) -> str:
    return graph.node("Mul", x, graph.node("Sigmoid", x))


def _dropout(graph: _Graph, layer: Any, x: str) -> str:
    return graph.node("Dropout", x, graph.constant("ratio", layer.rate))


def _batch_norm(graph: _Graph, layer: Any, x: str) -> str:
    arrays = layer.parameters() | layer.statistics()
    order = ("weights", "biases", "running_mean", "running_variance")
    constants = [graph.constant(name, arrays[name][0]) for name in order]
    # What is kept of the running statistics, where ours says what is taken.
    kept = {"epsilon": layer.epsilon, "momentum": 1 - layer.momentum}
    return graph.node("BatchNormalization", x, *constants, **kept)


def _layer_norm(graph: _Graph, layer: Any, x: str) -> str:
    constants = [graph.constant(name, array[0]) for name, array in layer.parameters().items()]
    return graph.node("LayerNormalization", x, *constants, axis=-1, epsilon=layer.epsilon)


def _standardize(graph: _Graph, layer: Any, x: str) -> str:
    if not layer.is_adapted:
        raise ValueError(f"{PLACE}: {layer!r} has seen no data, expected adapt(x) first")
    centred = graph.node("Sub", x, graph.constant("mean", layer.mean[0]))
    return graph.node("Div", centred, graph.constant("deviation", layer.deviation[0]))


def _embedding(graph: _Graph, layer: Any, x: str) -> str:
    """The columns that are passed on, then the vectors of each column of categories."""
    passed = [column for column in range(layer.n_in) if column not in layer.columns]
    given = []
    if passed:
        kept = graph.constant("passed", passed, np.int64)
        given.append(graph.node("Gather", x, kept, axis=1))
    start = 0
    for column, size in zip(layer.columns, layer.sizes, strict=True):
        place = graph.constant(f"column.{column}", column, np.int64)
        vectors = graph.constant(f"vectors.{column}", layer.weights[start : start + size])
        number = graph.node("Gather", x, place, axis=1)
        whole = graph.node("Cast", number, to_type=graph.INT64)
        given.append(graph.node("Gather", vectors, whole, axis=0))
        start += size
    return graph.node("Concat", *given, axis=1)


def _operator(name: str, **attributes: str) -> "_Writer":
    """One operator without constants, whose attributes are the layer's."""

    def write(graph: _Graph, layer: Any, x: str) -> str:
        return graph.node(name, x, **{key: getattr(layer, own) for key, own in attributes.items()})

    return write


def _by_row(name: str) -> "_Writer":
    return lambda graph, layer, x: graph.node(name, x, axis=1)


_Writer = Callable[[_Graph, Any, str], str]

_WRITERS: dict[type[Layer], _Writer] = {
    layers.Dense: _dense,
    layers.ReLU: _operator("Relu"),
    layers.LeakyReLU: _operator("LeakyRelu", alpha="slope"),
    layers.ELU: _operator("Elu", alpha="alpha"),
    layers.SELU: _operator("Selu"),
    layers.GELU: _operator("Gelu", approximate="approximate"),
    layers.SiLU: _silu,
    layers.Softplus: _operator("Softplus"),
    layers.Sigmoid: _operator("Sigmoid"),
    layers.Tanh: _operator("Tanh"),
    layers.Softmax: _by_row("Softmax"),
    layers.LogSoftmax: _by_row("LogSoftmax"),
    layers.Dropout: _dropout,
    layers.BatchNorm: _batch_norm,
    layers.LayerNorm: _layer_norm,
    layers.Standardize: _standardize,
    layers.Embedding: _embedding,
}
