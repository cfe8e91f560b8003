"""Groups of parameters: what training moves, and by which of the optimizer's numbers.

Weight decay is of some parameters only, and a layer may have a learning rate of its own or none at
all (`Layer.trainable`). Parameters that have both in common are a group: an optimizer has a row of
numbers for each.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from layers.backends import active
from layers.base import Array, Layer
from layers.compiled.buffers import FlatBuffers
from layers.optimizer import Optimizer

_AHEAD, _AHEAD_OF_SCHEDULES = 1024, 64
"""Steps whose numbers are computed at once; those of a schedule take a call in Python each."""


class Moved(NamedTuple):
    """A parameter that training moves.

    Attributes
    ----------
    layer : int
    name : str
    start : int
        Where it begins in the model's buffers.
    shape : tuple of int
    group : int
    penalty : tuple of float
        l1 and l2.
    row : int
        How many rows the parameters before it have.
    """

    layer: int
    name: str
    start: int
    shape: tuple[int, int]
    group: int
    penalty: tuple[float, float]
    row: int

    @property
    def place(self) -> slice:
        """Where it lies in the buffers."""
        return slice(self.start, self.start + self.shape[0] * self.shape[1])


class ParameterGroups:
    """The parameters of a model that training moves, in groups.

    Parameters
    ----------
    layers : sequence of Layer
    buffers : FlatBuffers
    optimizer : Optimizer

    Attributes
    ----------
    moved : list of Moved
    rows_of_all : int
        How many rows they have together.

    Raises
    ------
    TypeError
        A layer scales the learning rate of an optimizer that has none.
    """

    def __init__(self, layers: Sequence[Layer], buffers: FlatBuffers, optimizer: Optimizer) -> None:
        self._optimizer, self._buffers = optimizer, buffers
        self.moved: list[Moved] = []
        self.rows_of_all = 0
        kinds: dict[tuple[bool, float], int] = {}
        for index, (layer, starts) in enumerate(zip(layers, buffers.places, strict=True)):
            rates, penalties = layer.rates(), layer.penalties()
            for name, shape in layer.parameter_shapes().items():
                scale = rates[name]
                if scale is None:
                    continue
                if scale != 1 and not hasattr(optimizer, "learning_rate"):
                    raise TypeError(
                        f"Sequential: learning_rate_scale of layer {index} is {scale:g}, and the "
                        f"optimizer is {optimizer!r}, expected one with a learning_rate"
                    )
                kind = not optimizer.has_decay or name in layer.decayed, scale
                group, penalty = kinds.setdefault(kind, len(kinds)), penalties.get(name, (0.0, 0.0))
                self.moved.append(
                    Moved(index, name, starts[name], shape, group, penalty, self.rows_of_all)
                )
                self.rows_of_all += shape[0]
        self._kinds = tuple(kinds) or ((True, 1.0),)
        self._ahead: tuple[Any, int, int, Array] = None, 0, 0, np.empty((0, 0))
        self._count = sum(map(len, buffers.places))

    def names(self) -> list[str]:
        """The names of the parameters, as `Sequential.parameters` has them."""
        return [f"{each.layer}.{each.name}" for each in self.moved]

    def check(self) -> None:
        """Refuse to train where every layer with parameters is frozen."""
        if self._count and not self.moved:
            raise ValueError(
                "Sequential: all layers with parameters are frozen, expected trainable = True of "
                "one at least"
            )

    # --- numbers ---

    @property
    def width(self) -> int:
        """How many numbers a step has: those of each group, one after the other."""
        entry = getattr(self._optimizer, "entry", None)
        return 0 if entry is None else entry.count * len(self._kinds)

    def first_number(self, group: int) -> int:
        """Where those of a group begin."""
        return self._optimizer.entry.count * group

    def rows(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """The numbers of some steps, a row for each; one where all have the same.

        They are computed ahead where it is known what they follow from, since a call of a small
        network takes less time than its optimizer's numbers.
        """
        follow = self._optimizer.numbers_follow()
        if follow is None:
            return self._asked(first, steps, dtype)
        known, start, end, rows = self._ahead
        if known != (follow, dtype) or not start <= first <= first + steps <= end:
            start, end = first, first + max(steps, self._most_ahead())
            try:
                rows = self._asked(start, end - start, dtype)
            except ValueError:  # perhaps of a step that is never taken
                end = first + steps
                rows = self._asked(start, steps, dtype)
            self._ahead = (follow, dtype), start, end, rows
        return rows if len(rows) == 1 else rows[first - start : first - start + steps]

    def _most_ahead(self) -> int:
        is_schedule = callable(getattr(self._optimizer, "learning_rate", None))
        return _AHEAD_OF_SCHEDULES if is_schedule else _AHEAD

    def _asked(self, first: int, steps: int, dtype: np.dtype[Any]) -> Array:
        """What the optimizer says."""
        parts = [each.numbers(first, steps, dtype) for each in self._variants()]
        if len(parts) == 1:
            return parts[0]
        most = max(map(len, parts))
        return np.concatenate([np.broadcast_to(p, (most, p.shape[1])) for p in parts], axis=1)

    def _variants(self) -> list[Optimizer]:
        """The optimizer of each group."""
        return [
            self._optimizer.variant(decays=decays, scale=scale) for decays, scale in self._kinds
        ]

    # --- layer by layer ---

    def penalise(self) -> None:
        """Add the gradients of the penalties to the gradients."""
        parameters, gradients = self._buffers.parameters, self._buffers.gradients
        for each in self.moved:
            if any(each.penalty):
                dw = gradients[:, each.place]
                active().penalty_gradient(parameters[:, each.place], dw, *each.penalty, dw)

    def clip(self) -> float:
        """Clip the gradients as the optimizer says; their norm, or 0 where that is not taken."""
        optimizer, gradients = self._optimizer, self._buffers.gradients
        places = [gradients[:, each.place] for each in self.moved]
        if optimizer.clip_value is not None:
            for dw in places:
                active().clip_by_value(dw, optimizer.clip_value, dw)
        if optimizer.clip_norm is None:
            return 0.0
        norms, norm = self._buffers.norms[: self.rows_of_all], self._buffers.norm
        for each, dw in zip(self.moved, places, strict=True):
            rows = norms[each.row : each.row + each.shape[0]]
            active().row_norms(dw.reshape(each.shape), rows)
        active().row_norms(norms.reshape(1, -1), norm)
        found = float(norm[0, 0])
        if math.isfinite(found):
            for dw in places:
                active().clip_by_norm(dw, norm, optimizer.clip_norm, dw)
        return found

    def update(self, step: int) -> None:
        """Move the parameters: at once where all are in one group."""
        buffers, variants = self._buffers, self._variants()
        parameters, gradients, states = buffers.parameters, buffers.gradients, buffers.states
        if len(self.moved) == self._count and len(variants) == 1:
            return variants[0].update(parameters, gradients, states, step)
        for each in self.moved:
            at = each.place
            way = variants[each.group]
            way.update(parameters[:, at], gradients[:, at], states[:, at], step)
