"""An ONNX graph as a model: a chain of operators that layers stand for.

Nothing outside the file is read. A graph that is no chain, or has another operator, is refused by
the operator's name.
"""

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np

import layers
from kernels.runtime import checks
from layers.base import Array, Layer
from layers.exchange.default_loss import default_loss
from layers.exchange.onnx_library import METADATA, onnx
from layers.files import parts
from layers.files.archive import StrPath
from layers.losses import Loss, SoftmaxCrossEntropy
from layers.losses_of_labels import SigmoidCrossEntropy
from layers.sequential import Sequential

PLACE = "layers.from_onnx"
_HEADS = {"ArgMax", "Softmax", "Sigmoid", "Greater", "Cast", "Squeeze", "LabelEncoder", "Identity"}
"""Operators that make labels and probabilities of the scores."""


def from_onnx(path: StrPath, loss: Loss | None = None, seed: Any = None) -> Sequential:
    """Read a network that an ONNX file holds.

    Parameters
    ----------
    path : path
    loss : Loss, optional
        By default the one that our own files name, else what fits the end of the graph.
    seed : int, numpy.random.Generator or None
        Of shuffles and dropout.

    Returns
    -------
    Sequential
        In float64 where the graph has such constants, else in float32.

    Raises
    ------
    ImportError
        The package onnx is not there: ``pip install 'numba-layers[onnx]'``.
    ValueError
        The file is damaged, or has an operator or a form that no layer stands for.
    """
    library = onnx(PLACE)
    place = f"{PLACE}: {os.fsdecode(path)}"
    with open(path, "rb") as file:
        data = file.read()
    try:
        proto = library.ModelProto.FromString(data)
    except Exception as error:  # of google.protobuf, whose class depends on its build
        raise ValueError(f"{place}: not a whole .onnx file ({error})") from error
    del data
    try:
        return _model(_Reader(library, proto), loss, seed)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"{place}: {error}") from error


def _model(reader: "_Reader", loss: Loss | None, seed: Any) -> Sequential:
    head = reader.read_chain()
    made = [layer for layer, _ in reader.found]
    if not made:
        raise ValueError("the graph has no operator that is a layer, expected at least one Gemm")
    described = reader.described()
    if loss is None and described.get("loss") is not None:
        loss = parts.made(described["loss"], Loss, "loss", "its metadata", {})
    if loss is None:
        loss = head or default_loss(made)
    wide = any(each.dtype == np.float64 for _, arrays in reader.found for each in arrays.values())
    model = Sequential(made, loss, seed=seed, dtype="float64" if wide else "float32")
    model.classes = described.get("classes")
    own = model.parameters() | model.statistics()
    for index, (_, arrays) in enumerate(reader.found):
        for name, array in arrays.items():
            target = own[f"{index}.{name}"]
            target[...] = checks.real("a layer", name, array, model.dtype).reshape(target.shape)
    return model


class _Reader:
    """Walks a graph from its input, operator by operator."""

    def __init__(self, library: Any, proto: Any) -> None:
        self._onnx, self._proto = library, proto
        self.found: list[tuple[Layer, dict[str, Array]]] = []
        graph = proto.graph
        versions = [each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")]
        if not versions or min(versions) < 13:
            raise ValueError(f"its operators are of version {versions}, expected 13 or later")
        self._constants = {each.name: each for each in graph.initializer}
        self._users: dict[str, list[Any]] = {}
        for node in graph.node:
            if node.op_type == "Constant":
                self._constants[node.output[0]] = self._attribute(node, "value", None)
                continue
            for name in dict.fromkeys(node.input):
                self._users.setdefault(name, []).append(node)
        inputs = [each.name for each in graph.input if each.name not in self._constants]
        if len(inputs) != 1:
            raise ValueError(f"the graph has {len(inputs)} inputs, expected one")
        self._at = inputs[0]
        self._outputs = {each.name for each in graph.output}
        self._left = 2 * len(graph.node) + 2  # steps: a node is met twice at most in a chain

    def described(self) -> dict[str, Any]:
        """What our own files say besides the graph."""
        text = next((e.value for e in self._proto.metadata_props if e.key == METADATA), "{}")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ValueError(f"its metadata {METADATA!r} is {checks.shown(text)}, expected JSON")
        return found

    # --- the chain ---

    def read_chain(self) -> Loss | None:
        """Layers up to the scores; the loss that what follows them suggests."""
        while True:
            users = self._users.get(self._at, [])
            if not users and self._at in self._outputs:
                return None
            self._left -= 1
            if self._left < 0:
                raise ValueError("the graph is a circle, expected a chain")
            if len(users) == 1 and self._at not in self._outputs:
                if self._is_label(users[0]):
                    return None
                self._take(users[0])
            elif self._is_silu(users):
                self.found.append((layers.SiLU(), {}))
                self._at = next(node for node in users if node.op_type == "Mul").output[0]
            else:
                return self._head(users)

    def _is_label(self, node: Any) -> bool:
        return node.op_type in ("ArgMax", "Greater") or (
            node.op_type == "Identity" and node.output[0] in self._outputs
        )

    def _is_silu(self, users: list[Any]) -> bool:
        by_type = {node.op_type: node for node in users}
        if len(users) != 2 or set(by_type) != {"Mul", "Sigmoid"}:
            return False
        squashed = by_type["Sigmoid"].output[0]
        return sorted(by_type["Mul"].input) == sorted([self._at, squashed])

    def _head(self, users: list[Any]) -> Loss | None:
        """Check that nothing but labels and probabilities comes of the scores."""
        kinds, waiting = set(), list(users)
        while waiting:
            node = waiting.pop()
            kinds.add(node.op_type)
            if node.op_type not in _HEADS:
                raise _no_layer(node, "after the scores")
            self._left -= 1
            if self._left < 0:
                raise ValueError("the graph is a circle, expected a chain")
            waiting += self._users.get(node.output[0], [])
        if "Softmax" in kinds:
            return SoftmaxCrossEntropy()
        return SigmoidCrossEntropy() if "Sigmoid" in kinds else None

    def _take(self, node: Any) -> None:
        read = _READERS.get(node.op_type)
        if read is None or node.domain not in ("", "ai.onnx"):
            raise _no_layer(node, "")
        self._at = node.output[0]
        try:
            layer = read(self, node)
        except ValueError as error:
            raise ValueError(f"operator {node.op_type}: {error}") from error
        if layer is not None:
            self.found.append(layer)

    # --- for the readers of operators ---

    def following(self, operator: str) -> Any:
        """The only node that takes the present value, if it is of a kind; it is stepped over."""
        users = self._users.get(self._at, [])
        if len(users) != 1 or users[0].op_type != operator or self._at in self._outputs:
            return None
        self._at = users[0].output[0]
        self._left -= 1
        return users[0]

    def attribute(self, node: Any, name: str, default: Any) -> Any:
        """A number or a text of a node."""
        value = self._attribute(node, name, default)
        return value.decode() if isinstance(value, bytes) else value

    def _attribute(self, node: Any, name: str, default: Any) -> Any:
        for each in node.attribute:
            if each.name == name:
                return self._onnx.helper.get_attribute_value(each)
        return default

    def constant(self, node: Any, index: int, dimensions: int) -> Array | None:
        """An input that is a constant of the file; None where the node has none."""
        name = node.input[index] if index < len(node.input) else ""
        if not name:
            return None
        tensor = self._constants.get(name)
        if tensor is None or not hasattr(tensor, "data_type"):
            raise ValueError(f"input {index} is {name[:80]!r}, expected a constant of the file")
        if tensor.data_location == self._onnx.TensorProto.EXTERNAL:
            raise ValueError(f"{name[:80]!r} lies in another file, expected it in this one")
        size = 1
        for each in tensor.dims:
            size *= max(each, 0)
        if size > 8 * (tensor.ByteSize() + 1):
            raise ValueError(
                f"{name[:80]!r} has shape {list(tensor.dims)}, and not as many numbers"
            )
        array: Array = self._onnx.numpy_helper.to_array(tensor)
        if array.dtype.kind != "f" or array.ndim != dimensions:
            raise ValueError(
                f"{name[:80]!r} has shape {array.shape} and dtype {array.dtype}, expected "
                f"{dimensions} dimensions of floating-point numbers"
            )
        return array

    def needed(self, node: Any, index: int, dimensions: int) -> Array:
        """A constant that has to be there."""
        found = self.constant(node, index, dimensions)
        if found is None:
            raise ValueError(f"it has no input {index}, expected a constant")
        return found


def _no_layer(node: Any, where: str) -> ValueError:
    known = ", ".join(sorted(_READERS))
    return ValueError(
        f"operator {node.op_type[:80]!r} {where or 'in the chain'} has no layer here, expected one "
        f"of {known}"
    )


# Each operator: its layer and its arrays, or None where it changes nothing.

_Found = tuple[Layer, dict[str, Array]]


def _gemm(reader: _Reader, node: Any) -> _Found:
    weights, biases = reader.needed(node, 1, 2), None
    if len(node.input) > 2:
        biases = _row(reader, node, 2)
    if reader.attribute(node, "transA", 0):
        raise ValueError("transA is 1, expected 0")
    if reader.attribute(node, "transB", 0):
        weights = weights.T
    weights = _scaled(weights, reader.attribute(node, "alpha", 1.0))
    if biases is not None:
        biases = _scaled(biases, reader.attribute(node, "beta", 1.0))
    return _dense(weights, biases)


def _scaled(array: Array, factor: float) -> Array:
    return array if factor == 1 else array * array.dtype.type(factor)


def _row(reader: _Reader, node: Any, index: int) -> Array:
    """A constant (n,) or (1, n)."""
    try:
        return reader.needed(node, index, 1)
    except ValueError:
        rows = reader.needed(node, index, 2)
        if len(rows) != 1:
            raise
        row: Array = rows[0]
        return row


def _mat_mul(reader: _Reader, node: Any) -> _Found:
    weights = reader.needed(node, 1, 2)
    before = reader._at
    add = reader.following("Add")
    if add is None:
        return _dense(weights, None)
    return _dense(weights, _row(reader, add, 1 if add.input[0] == before else 0))


def _dense(weights: Array, biases: Array | None) -> _Found:
    n_in, n_out = weights.shape
    if biases is None:
        without: dict[str, Any] = {"bias": False}
        return layers.Dense(n_in, n_out, **without), {"weights": weights}
    if biases.shape != (n_out,):
        raise ValueError(f"its biases have shape {biases.shape}, expected ({n_out},)")
    return layers.Dense(n_in, n_out), {"weights": weights, "biases": biases}


def _plain(make: Callable[[], Layer]) -> "_Read":
    return lambda reader, node: (make(), {})


def _with(make: Callable[[Any], Layer], name: str, default: Any) -> "_Read":
    return lambda reader, node: (make(reader.attribute(node, name, default)), {})


def _selu(reader: _Reader, node: Any) -> _Found:
    alpha = reader.attribute(node, "alpha", 1.6732632)
    gamma = reader.attribute(node, "gamma", 1.0507010)
    if abs(alpha - 1.6732632) > 1e-6 or abs(gamma - 1.0507010) > 1e-6:
        raise ValueError(f"alpha is {alpha:g} and gamma {gamma:g}, expected 1.67326 and 1.0507")
    return layers.SELU(), {}


def _by_row(make: Callable[[], Layer]) -> "_Read":
    def read(reader: _Reader, node: Any) -> _Found:
        axis = reader.attribute(node, "axis", -1)
        if axis not in (1, -1):
            raise ValueError(f"axis is {axis}, expected 1: the softmax of each row")
        return make(), {}

    return read


def _dropout(reader: _Reader, node: Any) -> _Found:
    ratio = reader.constant(node, 1, 0)
    return layers.Dropout(0.5 if ratio is None else float(ratio)), {}


def _nothing(reader: _Reader, node: Any) -> None:
    if node.op_type == "Flatten" and reader.attribute(node, "axis", 1) != 1:
        raise ValueError(f"axis is {reader.attribute(node, 'axis', 1)}, expected 1")


def _batch_norm(reader: _Reader, node: Any) -> _Found:
    names = ("weights", "biases", "running_mean", "running_variance")
    arrays = {name: reader.needed(node, 1 + n, 1) for n, name in enumerate(names)}
    n = _one_width(arrays)
    if not (arrays["running_variance"] >= 0).all():
        raise ValueError("its variance holds numbers below 0, expected at least 0 each")
    momentum = 1 - reader.attribute(node, "momentum", 0.9)
    epsilon = reader.attribute(node, "epsilon", 1e-5)
    return layers.BatchNorm(n, float(np.float32(momentum)), float(epsilon)), arrays


def _layer_norm(reader: _Reader, node: Any) -> _Found:
    weights = reader.needed(node, 1, 1)
    biases = reader.constant(node, 2, 1)
    arrays = {"weights": weights, "biases": np.zeros_like(weights) if biases is None else biases}
    if reader.attribute(node, "axis", -1) not in (1, -1):
        raise ValueError(f"axis is {reader.attribute(node, 'axis', -1)}, expected -1")
    epsilon = reader.attribute(node, "epsilon", 1e-5)
    return layers.LayerNorm(_one_width(arrays), float(epsilon)), arrays


def _one_width(arrays: dict[str, Array]) -> int:
    widths = {len(array) for array in arrays.values()}
    if len(widths) != 1:
        raise ValueError(f"its constants have widths {sorted(widths)}, expected one")
    return widths.pop()


def _standardize(reader: _Reader, node: Any) -> _Found:
    mean = _row(reader, node, 1)
    div = reader.following("Div")
    if div is None:
        raise ValueError("no Div follows it, expected (x - mean) / deviation")
    arrays = {"mean": mean, "deviation": _row(reader, div, 1)}
    if not (arrays["deviation"] > 0).all():
        raise ValueError("its deviation holds numbers that are not above 0, expected such")
    return layers.Standardize(_one_width(arrays)), arrays


_Read = Callable[[_Reader, Any], _Found | None]

_READERS: dict[str, _Read] = {
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
}
