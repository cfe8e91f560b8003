"""The graph of an ONNX file: which node makes a value, which take it, and its constants."""

from typing import Any

import numpy as np

from layers.base import Array


class Graph:
    """A graph with one input that is no constant.

    Parameters
    ----------
    library : module
        The package onnx.
    proto : onnx.ModelProto

    Attributes
    ----------
    input : str
        The name of its input.
    outputs : set of str
    seen : set of int
        The ids of the nodes that have been read.
    """

    def __init__(self, library: Any, proto: Any) -> None:
        self._onnx, graph = library, proto.graph
        versions = [each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")]
        if not versions or min(versions) < 13:
            raise ValueError(f"its operators are of version {versions}, expected 13 or later")
        self._constants = {each.name: each for each in graph.initializer}
        self.nodes: list[Any] = []
        for node in graph.node:
            if not node.output:
                raise ValueError(
                    f"operator {node.op_type[:80]!r} gives nothing, expected an output"
                )
            if node.op_type == "Constant":
                self._constants[node.output[0]] = self._attribute(node, "value", None)
            else:
                self.nodes.append(node)
        self._users: dict[str, list[Any]] = {}
        self._made_by: dict[str, Any] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self._users.setdefault(name, []).append(node)
            for name in node.output:
                self._made_by.setdefault(name, node)
        inputs = [each.name for each in graph.input if each.name not in self._constants]
        if len(inputs) != 1:
            raise ValueError(f"the graph has {len(inputs)} inputs, expected one")
        self.input = inputs[0]
        self.outputs = {each.name for each in graph.output}
        self.seen: set[int] = set()
        self._left = 64 * len(self.nodes) + 4096

    def step(self) -> None:
        """Count what is looked at: a graph in which this does not end is no chain."""
        self._left -= 1
        if self._left < 0:
            raise ValueError("the graph is a circle or too entangled, expected a chain")

    def users(self, value: str) -> list[Any]:
        """The nodes that take a value."""
        return self._users.get(value, [])

    def producer(self, value: str) -> Any:
        """The node that makes a value; None of an input or a constant."""
        return self._made_by.get(value)

    def is_constant(self, value: str) -> bool:
        """Whether a value lies in the file."""
        return value in self._constants

    # --- parts of it ---

    def between(self, start: str, end: str) -> dict[int, Any] | None:
        """The nodes from a value to another, by id; None if ``end`` depends on anything else."""
        found: dict[int, Any] = {}
        waiting = [end]
        while waiting:
            value = waiting.pop()
            self.step()
            if value == start or not value or self.is_constant(value):
                continue
            node = self.producer(value)
            if node is None:
                return None
            if id(node) not in found:
                found[id(node)] = node
                waiting += node.input
        return found

    def join(self, start: str, users: list[Any], inside: dict[int, Any] | None) -> Any:
        """The first Add or Concat in which all ways from a value meet; None without one.

        Parameters
        ----------
        start : str
        users : list of nodes
            With which the ways begin.
        inside : dict, optional
            The nodes of the branch that ``start`` is in, by id.
        """
        wanted = {id(each) for each in users}
        for node in self._behind(users):
            if node.op_type not in ("Add", "Concat") or any(map(self.is_constant, node.input)):
                continue
            if inside is not None and id(node) not in inside:
                continue
            parts = [self.between(start, each) for each in node.input]
            if None in parts:
                continue
            reached = {id(node)}.union(*parts)  # type: ignore[arg-type]
            if wanted <= reached:
                return node
        return None

    def behind_outputs(self) -> list[Any]:
        """The nodes that an output depends on."""
        found: dict[int, Any] = {}
        waiting = [*self.outputs]
        while waiting:
            node = self.producer(waiting.pop())
            if node is not None and id(node) not in found:
                found[id(node)] = node
                waiting += node.input
        return [*found.values()]

    def _behind(self, users: list[Any]) -> list[Any]:
        """The nodes from the first of some on, which stand in the order of their computation."""
        of = {id(each) for each in users}
        first = next(index for index, node in enumerate(self.nodes) if id(node) in of)
        return self.nodes[first:]

    # --- what nodes hold ---

    def attribute(self, node: Any, name: str, default: Any) -> Any:
        """A number or a text of a node."""
        value = self._attribute(node, name, default)
        if isinstance(value, float):
            return decimal(value)
        return value.decode() if isinstance(value, bytes) else value

    def _attribute(self, node: Any, name: str, default: Any) -> Any:
        for each in node.attribute:
            if each.name == name:
                return self._onnx.helper.get_attribute_value(each)
        return default

    def constant(self, node: Any, index: int, dimensions: int, kinds: str = "f") -> Array | None:
        """An input that is a constant of the file; None where the node has none."""
        name = node.input[index] if index < len(node.input) else ""
        if not name:
            return None
        tensor = self._constants.get(name)
        if tensor is None or not hasattr(tensor, "data_type"):
            raise ValueError(f"input {index} is {name[:80]!r}, expected a constant of the file")
        if tensor.data_location == self._onnx.TensorProto.EXTERNAL:
            raise ValueError(f"{name[:80]!r} lies in another file, expected it in this one")
        types = self._onnx.TensorProto
        if tensor.data_type not in (types.FLOAT, types.DOUBLE, types.FLOAT16, types.INT64):
            raise ValueError(
                f"{name[:80]!r} has the data type {tensor.data_type}, expected floating-point "
                "numbers or 64-bit integers"
            )
        size = 1
        for each in tensor.dims:
            size *= max(each, 0)
        if size > 8 * (tensor.ByteSize() + 1):
            raise ValueError(
                f"{name[:80]!r} has shape {list(tensor.dims)}, and not as many numbers"
            )
        array: Array = self._onnx.numpy_helper.to_array(tensor)
        if array.dtype.kind not in kinds or array.ndim != dimensions:
            wanted = "floating-point numbers" if kinds == "f" else "integers"
            raise ValueError(
                f"{name[:80]!r} has shape {array.shape} and dtype {array.dtype}, expected "
                f"{dimensions} dimensions of {wanted}"
            )
        return array

    def needed(self, node: Any, index: int, dimensions: int, kinds: str = "f") -> Array:
        """A constant that has to be there."""
        found = self.constant(node, index, dimensions, kinds)
        if found is None:
            raise ValueError(f"it has no input {index}, expected a constant")
        return found

    def row(self, node: Any, index: int) -> Array:
        """A constant (n,) or (1, n)."""
        try:
            return self.needed(node, index, 1)
        except ValueError:
            rows = self.needed(node, index, 2)
            if len(rows) != 1:
                raise
            row: Array = rows[0]
            return row


def decimal(value: Any) -> float:
    """A float32 as the number of fewest digits that it may have been: 0.1, not 0.10000000149."""
    return float(str(np.float32(value)))
