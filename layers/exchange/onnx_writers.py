"""Each layer by the operators of ONNX that make it up."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

import layers
from layers.base import Array, Layer


class Nodes(Protocol):
    """What a layer is written to: see `layers.exchange.onnx_export`."""

    INT64: int

    def constant(self, name: str, array: Any, dtype: Any = np.float32) -> str:
        """A constant of the present layer; its name."""

    def node(self, operator: str, *inputs: str, to_type: int | None = None, **given: Any) -> str:
        """A node; the name of its output."""

    def layers(self, chain: Any, x: str, branch: str = "") -> str:
        """Layers within the present one, one after another; the name of the last output."""


def standardized(graph: Nodes, mean: Array, deviation: Array, x: str) -> str:
    """(x - mean) / deviation, by column."""
    if not (deviation.astype(np.float32) > 0).all():
        raise ValueError("a column has a standard deviation that float32 takes for 0")
    centred = graph.node("Sub", x, graph.constant("mean", mean))
    return graph.node("Div", centred, graph.constant("deviation", deviation))


def _dense(graph: Nodes, layer: Any, x: str) -> str:
    parameters = layer.parameters()
    weights = graph.constant("weights", parameters["weights"])
    if "biases" not in parameters:
        return graph.node("MatMul", x, weights)
    return graph.node("Gemm", x, weights, graph.constant("biases", parameters["biases"][0]))


def _silu(graph: Nodes, layer: Any, x: str) -> str:
    return graph.node("Mul", x, graph.node("Sigmoid", x))


def _dropout(graph: Nodes, layer: Any, x: str) -> str:
    return graph.node("Dropout", x, graph.constant("ratio", layer.rate))


def _batch_norm(graph: Nodes, layer: Any, x: str) -> str:
    arrays = layer.parameters() | layer.statistics()
    order = ("weights", "biases", "running_mean", "running_variance")
    constants = [graph.constant(name, arrays[name][0]) for name in order]
    # What is kept of the running statistics, where ours says what is taken.
    kept = {"epsilon": layer.epsilon, "momentum": 1 - layer.momentum}
    return graph.node("BatchNormalization", x, *constants, **kept)


def _layer_norm(graph: Nodes, layer: Any, x: str) -> str:
    constants = [graph.constant(name, array[0]) for name, array in layer.parameters().items()]
    return graph.node("LayerNormalization", x, *constants, axis=-1, epsilon=layer.epsilon)


def _standardize(graph: Nodes, layer: Any, x: str) -> str:
    if not layer.is_adapted:
        raise ValueError(f"{layer!r} has seen no data, expected adapt(x) first")
    return standardized(graph, layer.mean[0], layer.deviation[0], x)


def _embedding(graph: Nodes, layer: Any, x: str) -> str:
    """The columns that are passed on, then the vectors of each column of categories."""
    passed = [column for column in range(layer.n_in) if column not in layer.columns]
    given = []
    if passed:
        kept = graph.constant("passed", passed, np.int64)
        given.append(graph.node("Gather", x, kept, axis=1))
    for column in layer.columns:
        place = graph.constant(f"column.{column}", column, np.int64)
        vectors = graph.constant(f"vectors.{column}", layer.vectors(column))
        number = graph.node("Gather", x, place, axis=1)
        whole = graph.node("Cast", number, to_type=graph.INT64)
        given.append(graph.node("Gather", vectors, whole, axis=0))
    return graph.node("Concat", *given, axis=1)


def _residual(graph: Nodes, layer: Any, x: str) -> str:
    return graph.node("Add", x, graph.layers(layer.branches[0], x))


def _concatenate(graph: Nodes, layer: Any, x: str) -> str:
    ends = [graph.layers(each, x, f"{n}.") for n, each in enumerate(layer.branches)]
    return graph.node("Concat", *ends, axis=1)


def _operator(name: str, **attributes: str) -> "Writer":
    """One operator without constants, whose attributes are the layer's."""

    def write(graph: Nodes, layer: Any, x: str) -> str:
        return graph.node(name, x, **{key: getattr(layer, own) for key, own in attributes.items()})

    return write


def _by_row(name: str) -> "Writer":
    return lambda graph, layer, x: graph.node(name, x, axis=1)


Writer = Callable[[Any, Any, str], str]

WRITERS: dict[type[Layer], Writer] = {
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
    layers.Residual: _residual,
    layers.Concatenate: _concatenate,
}
