"""From an ONNX graph to layers one after another, and side by side where it branches and meets."""

from typing import Any

import layers
from layers.base import Array
from layers.exchange.onnx_graph import Graph
from layers.exchange.onnx_operators import READERS, Found, embedding
from layers.losses import Loss, SoftmaxCrossEntropy
from layers.losses_of_labels import SigmoidCrossEntropy
from layers.losses_of_numbers import Poisson

_HEADS = {"ArgMax", "Softmax", "Sigmoid", "Greater", "Cast", "Squeeze", "LabelEncoder", "Identity"}
_HEADS |= {"Exp"}
"""Operators that make labels, probabilities and expected counts of the scores."""
_DEEPEST = 20
"""So many branches within branches."""


class Chain:
    """Walks from one value to another, operator by operator.

    Parameters
    ----------
    graph : Graph
    at : str
        The value it begins with.
    end : str, optional
        The one it ends with; by default the scores.
    inside : dict, optional
        The nodes of a branch by id, where it is one.

    Attributes
    ----------
    found : list of (Layer, dict)
        The layers that it has passed, with their arrays.
    """

    def __init__(
        self,
        graph: Graph,
        at: str,
        end: str | None = None,
        inside: dict[int, Any] | None = None,
        depth: int = 0,
    ) -> None:
        self.graph, self.at = graph, at
        self.found: list[Found] = []
        self._end, self._inside, self._depth = end, inside, depth
        self._passed: set[str] = set()

    def _users(self) -> list[Any]:
        users = self.graph.users(self.at)
        return [n for n in users if self._inside is None or id(n) in self._inside]

    def read(self) -> Loss | None:
        """Read to the end; the loss that what follows the scores suggests."""
        while self.at != self._end:
            self.graph.step()
            if self.at in self._passed:
                raise ValueError("the graph is a circle, expected a chain")
            self._passed.add(self.at)
            users = self._users()
            if self._end is None and self._ends(users):
                return self._head(users)
            if self._is_silu(users):
                self._see(*users)
                self.found.append((layers.SiLU(), {}))
                self.at = next(node for node in users if node.op_type == "Mul").output[0]
            elif (join := self._join(users)) is not None:
                self._take_branches(join)
            elif len(users) == 1 and self.at not in self.graph.outputs:
                self._take(users[0])
            elif self._end is None:
                return self._head(users)
            else:
                raise ValueError(f"{self.at[:80]!r} goes several ways that do not meet again")
        return None

    def _join(self, users: list[Any]) -> Any:
        """The node in which the ways from here meet, where there are several."""
        if not users or self.at in self.graph.outputs:
            return None
        several = len(users) > 1 or users[0].op_type == "Gather"
        return self.graph.join(self.at, users, self._inside) if several else None

    def _see(self, *nodes: Any) -> None:
        self.graph.seen.update(map(id, nodes))

    def _ends(self, users: list[Any]) -> bool:
        """Whether these are the scores, of which at most labels come."""
        if self.at in self.graph.outputs:
            return not users
        node = users[0] if len(users) == 1 else None
        return node is not None and (
            node.op_type in ("ArgMax", "Greater", "Exp")
            or (node.op_type == "Identity" and node.output[0] in self.graph.outputs)
        )

    def _is_silu(self, users: list[Any]) -> bool:
        by_type = {node.op_type: node for node in users}
        if len(users) != 2 or set(by_type) != {"Mul", "Sigmoid"}:
            return False
        squashed = by_type["Sigmoid"].output[0]
        return sorted(by_type["Mul"].input) == sorted([self.at, squashed])

    def _take(self, node: Any) -> None:
        read = READERS.get(node.op_type)
        if read is None or node.domain not in ("", "ai.onnx"):
            raise _no_layer(node, "in the chain")
        self.at = node.output[0]
        self._see(node)
        try:
            layer = read(self, node)
        except ValueError as error:
            raise ValueError(f"operator {node.op_type}: {error}") from error
        if layer is not None:
            self.found.append(layer)

    def following(self, operator: str) -> Any:
        """The only node that takes the present value and a constant; it is stepped over."""
        users = self._users()
        if self.at == self._end or self.at in self.graph.outputs or len(users) != 1:
            return None
        node = users[0]
        others = [each for each in node.input if each != self.at]
        if node.op_type != operator or not all(map(self.graph.is_constant, others)):
            return None
        self.at = node.output[0]
        self._see(node)
        return node

    # --- where it branches ---

    def _take_branches(self, join: Any) -> None:
        start, self.at = self.at, join.output[0]
        self._see(join)
        if self._depth == _DEEPEST:
            raise ValueError(f"the graph has more than {_DEEPEST} branches within each other")
        try:
            self.found.append(self._container(join, start))
        except ValueError as error:
            raise ValueError(f"operator {join.op_type}: {error}") from error

    def _container(self, join: Any, start: str) -> Found:
        if join.op_type == "Add":
            ends = [each for each in join.input if each != start]
            if len(join.input) != 2 or len(ends) != 1:
                raise ValueError("it adds two branches, expected one of them to be its input")
            found = self._branch(start, ends[0])
            return layers.Residual([layer for layer, _ in found]), _named(found, "")
        axis = self.graph.attribute(join, "axis", None)
        if axis not in (1, -1):
            raise ValueError(f"axis is {axis}, expected 1: branches side by side")
        vectors = embedding(self.graph, start, join)
        if vectors is not None:
            self._see(*(self.graph.between(start, join.output[0]) or {}).values())
            return vectors
        branches = [self._branch(start, end) for end in join.input]
        arrays: dict[str, Array] = {}
        for number, found in enumerate(branches):
            arrays |= _named(found, f"{number}.")
        made = layers.Concatenate([[layer for layer, _ in found] for found in branches])
        return made, arrays

    def _branch(self, start: str, end: str) -> list[Found]:
        inside = self.graph.between(start, end)
        branch = Chain(self.graph, start, end, inside, self._depth + 1)
        branch.read()
        return branch.found

    # --- what follows the scores ---

    def _head(self, users: list[Any]) -> Loss | None:
        """Check that nothing but labels and probabilities comes of the scores."""
        kinds, waiting = set(), list(users)
        while waiting:
            node = waiting.pop()
            kinds.add(node.op_type)
            self._see(node)
            if node.op_type not in _HEADS:
                raise _no_layer(node, "after the scores")
            self.graph.step()
            for name in node.output:
                waiting += self.graph.users(name)
        if "Softmax" in kinds:
            return SoftmaxCrossEntropy()
        if "Exp" in kinds:
            return Poisson()
        return SigmoidCrossEntropy() if "Sigmoid" in kinds else None


def _named(found: list[Found], prefix: str) -> dict[str, Array]:
    """The arrays of layers by the names that a container gives them."""
    return {
        f"{prefix}{index}.{name}": array
        for index, (_, arrays) in enumerate(found)
        for name, array in arrays.items()
    }


def check_whole(graph: Graph) -> None:
    """All that the outputs come from has been read."""
    for node in graph.behind_outputs():
        if id(node) not in graph.seen:
            raise _no_layer(node, "beside the chain")


def _no_layer(node: Any, where: str) -> ValueError:
    """The error of an operator that no layer stands for."""
    known = ", ".join(sorted([*READERS, "Add", "Concat"]))
    return ValueError(
        f"operator {node.op_type[:80]!r} {where} has no layer here, expected one of {known}"
    )
