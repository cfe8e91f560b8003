"""Each operator of ONNX as the layer that it stands for, with its arrays."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

import layers
from layers.base import Array, Layer
from layers.exchange.onnx_graph import Graph, decimal

Found = tuple[Layer, dict[str, Array]]


class Walk(Protocol):
    """Where a chain is read: see `layers.exchange.onnx_chain`."""

    graph: Graph
    at: str
    found: list[Found]

    def following(self, operator: str) -> Any:
        """The only node that takes the present value, if it is of a kind; it is stepped over."""


def _gemm(walk: Walk, node: Any) -> Found:
    graph = walk.graph
    weights, biases = graph.needed(node, 1, 2), None
    if len(node.input) > 2:
        biases = graph.row(node, 2)
    if graph.attribute(node, "transA", 0):
        raise ValueError("transA is 1, expected 0")
    if graph.attribute(node, "transB", 0):
        weights = weights.T
    weights = _scaled(weights, graph.attribute(node, "alpha", 1.0))
    if biases is not None:
        biases = _scaled(biases, graph.attribute(node, "beta", 1.0))
    return _dense(weights, biases)


def _scaled(array: Array, factor: float) -> Array:
    return array if factor == 1 else array * array.dtype.type(factor)


def _mat_mul(walk: Walk, node: Any) -> Found:
    weights = walk.graph.needed(node, 1, 2)
    before = walk.at
    add = walk.following("Add")
    if add is None:
        return _dense(weights, None)
    return _dense(weights, walk.graph.row(add, 1 if add.input[0] == before else 0))


def _dense(weights: Array, biases: Array | None) -> Found:
    n_in, n_out = weights.shape
    if biases is None:
        without: dict[str, Any] = {"bias": False}
        return layers.Dense(n_in, n_out, **without), {"weights": weights}
    if biases.shape != (n_out,):
        raise ValueError(f"its biases have shape {biases.shape}, expected ({n_out},)")
    return layers.Dense(n_in, n_out), {"weights": weights, "biases": biases}


def _in_unit(walk: Walk, node: Any) -> None:
    """A factor of each column and perhaps a number added: the dense layer before it takes them."""
    factor = _row_of(walk, node)
    add = walk.following("Add")
    added = np.zeros_like(factor) if add is None else _row_of(walk, add)
    layer, arrays = walk.found[-1] if walk.found else (None, {})
    if isinstance(layer, layers.Dense):
        weights = arrays["weights"]
        biases = arrays.get("biases", np.zeros_like(weights[0]))
        walk.found.pop()
    elif len(factor) == 1:
        weights, biases = np.ones((1, 1), factor.dtype), np.zeros_like(factor)
    else:
        raise ValueError("it multiplies by constants, expected a Gemm before it")
    if not factor.shape == added.shape == biases.shape:
        raise ValueError(
            f"its constants have shapes {factor.shape} and {added.shape}, expected {biases.shape}"
        )
    # Wide between, so that each number is rounded once.
    wide, to = factor.astype(np.float64), weights.dtype
    with np.errstate(over="ignore", invalid="ignore"):
        weights, biases = (weights * wide).astype(to), (biases * wide + added).astype(to)
    walk.found.append(_dense(weights, biases))


def _row_of(walk: Walk, node: Any) -> Array:
    """The constant of an operator that takes its two inputs in any order."""
    return walk.graph.row(node, 0 if walk.graph.is_constant(node.input[0]) else 1)


def _plain(make: Callable[[], Layer]) -> "Read":
    return lambda walk, node: (make(), {})


def _with(make: Callable[[Any], Layer], name: str, default: Any) -> "Read":
    return lambda walk, node: (make(walk.graph.attribute(node, name, default)), {})


def _selu(walk: Walk, node: Any) -> Found:
    alpha = walk.graph.attribute(node, "alpha", 1.6732632)
    gamma = walk.graph.attribute(node, "gamma", 1.0507010)
    if abs(alpha - 1.6732632) > 1e-6 or abs(gamma - 1.0507010) > 1e-6:
        raise ValueError(f"alpha is {alpha:g} and gamma {gamma:g}, expected 1.67326 and 1.0507")
    return layers.SELU(), {}


def _by_row(make: Callable[[], Layer]) -> "Read":
    def read(walk: Walk, node: Any) -> Found:
        axis = walk.graph.attribute(node, "axis", -1)
        if axis not in (1, -1):
            raise ValueError(f"axis is {axis}, expected 1: the softmax of each row")
        return make(), {}

    return read


def _dropout(walk: Walk, node: Any) -> Found:
    ratio = walk.graph.constant(node, 1, 0)
    return layers.Dropout(0.5 if ratio is None else decimal(ratio)), {}


def _nothing(walk: Walk, node: Any) -> None:
    axis = walk.graph.attribute(node, "axis", 1)
    if node.op_type == "Flatten" and axis != 1:
        raise ValueError(f"axis is {axis}, expected 1")


def _batch_norm(walk: Walk, node: Any) -> Found:
    graph = walk.graph
    names = ("weights", "biases", "running_mean", "running_variance")
    arrays = {name: graph.needed(node, 1 + n, 1) for n, name in enumerate(names)}
    n = _one_width(arrays)
    if not (arrays["running_variance"] >= 0).all():
        raise ValueError("its variance holds numbers below 0, expected at least 0 each")
    momentum = decimal(1 - graph.attribute(node, "momentum", 0.9))
    return layers.BatchNorm(n, momentum, graph.attribute(node, "epsilon", 1e-5)), arrays


def _layer_norm(walk: Walk, node: Any) -> Found:
    graph = walk.graph
    weights = graph.needed(node, 1, 1)
    biases = graph.constant(node, 2, 1)
    arrays = {"weights": weights, "biases": np.zeros_like(weights) if biases is None else biases}
    axis = graph.attribute(node, "axis", -1)
    if axis not in (1, -1):
        raise ValueError(f"axis is {axis}, expected -1")
    return layers.LayerNorm(_one_width(arrays), graph.attribute(node, "epsilon", 1e-5)), arrays


def _one_width(arrays: dict[str, Array]) -> int:
    widths = {len(array) for array in arrays.values()}
    if len(widths) != 1:
        raise ValueError(f"its constants have widths {sorted(widths)}, expected one")
    return widths.pop()


def _standardize(walk: Walk, node: Any) -> Found:
    mean = walk.graph.row(node, 1)
    div = walk.following("Div")
    if div is None:
        raise ValueError("no Div follows it, expected (x - mean) / deviation")
    arrays = {"mean": mean, "deviation": walk.graph.row(div, 1)}
    if not (arrays["deviation"] > 0).all():
        raise ValueError("its deviation holds numbers that are not above 0, expected such")
    return layers.Standardize(_one_width(arrays)), arrays


Read = Callable[[Any, Any], Found | None]
"""The layer and its arrays; None where an operator changes nothing."""

READERS: dict[str, Read] = {
    "Gemm": _gemm,
    "MatMul": _mat_mul,
    "Relu": _plain(layers.ReLU),
    "LeakyRelu": _with(layers.LeakyReLU, "alpha", 0.01),
    "Elu": _with(layers.ELU, "alpha", 1.0),
    "Selu": _selu,
    "Gelu": _with(layers.GELU, "approximate", "none"),
    "Softplus": _plain(layers.Softplus),
    "Sigmoid": _plain(layers.Sigmoid),
    "Tanh": _plain(layers.Tanh),
    "Softmax": _by_row(layers.Softmax),
    "LogSoftmax": _by_row(layers.LogSoftmax),
    "Dropout": _dropout,
    "Flatten": _nothing,
    "Identity": _nothing,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Sub": _standardize,
    "Mul": _in_unit,
}


def embedding(graph: Graph, x: str, join: Any) -> Found | None:
    """Columns of numbers, then vectors of columns of categories, side by side; None if not."""
    ends = [graph.producer(each) for each in join.input]
    if not all(_is(each, "Gather", 2) for each in ends):
        return None
    passed: list[int] = []
    if ends[0].input[0] == x:
        passed = graph.needed(ends.pop(0), 1, 1, "i").tolist()
    columns, tables = [], []
    for end in ends:
        cast: Any = graph.producer(end.input[1])
        number: Any = graph.producer(cast.input[0]) if _is(cast, "Cast", 1) else None
        if not _is(number, "Gather", 2) or number.input[0] != x:
            return None
        if graph.attribute(end, "axis", 0) != 0 or graph.attribute(number, "axis", 0) != 1:
            return None
        columns.append(int(graph.needed(number, 1, 0, "i")))
        tables.append(graph.needed(end, 0, 2))
    widths = {table.shape[1] for table in tables}
    if passed != sorted(set(range(len(passed) + len(columns))) - set(columns)) or len(widths) != 1:
        return None
    sizes = [len(table) for table in tables]
    layer = layers.Embedding(len(passed) + len(columns), columns, sizes, widths.pop())
    return layer, {"weights": np.concatenate(tables)}


def _is(node: Any, operator: str, inputs: int) -> bool:
    return node is not None and node.op_type == operator and len(node.input) == inputs
