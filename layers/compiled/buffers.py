"""A model's flat buffers: all parameters in one array, all gradients in another, then states.

Behind the parameters, in the same memory, lie the statistics of layers: what they have learnt from
data without a gradient, such as running means. No optimizer reaches those.

One buffer means one fused update, one hash, one file, one message. Each parameter is aligned to 64
bytes, so that vectors do not cross cache lines; the gaps between parameters are zero and stay zero,
since their gradients are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from layers.base import Array

_ALIGNMENT = 64


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> Array:
    """(1, size) zeros, aligned to 64 bytes."""
    raw = np.zeros(size * dtype.itemsize + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size * dtype.itemsize].view(dtype).reshape(1, size)


class FlatBuffers:
    """Parameters and gradients of the given shapes, each in one buffer.

    Parameters
    ----------
    shapes : sequence of dict
        For each layer its parameters' names and shapes.
    dtype : numpy.dtype
    statistics : sequence of dict
        For each layer its statistics' names and shapes.

    Attributes
    ----------
    learnt : ndarray, (1, size of both)
        Parameters and statistics.
    parameters, gradients : ndarray, (1, size)
    statistics : ndarray, (1, size of statistics)
    states : ndarray, (states, size)
        The optimizer's, each laid out like the parameters.
    parameter_views, gradient_views : list of dict
        For each layer its arrays by name, views into the buffers.
    blocks : list of ndarray, (1, size)
        For each layer its statistics, one directly behind the other.
    places : list of dict
        For each layer the start of its arrays in a buffer.
    """

    def __init__(
        self,
        shapes: Sequence[dict[str, tuple[int, int]]],
        dtype: np.dtype[Any],
        statistics: Sequence[dict[str, tuple[int, int]]] = (),
    ) -> None:
        unit = _ALIGNMENT // dtype.itemsize
        size = 0
        places: list[dict[str, tuple[int, tuple[int, int]]]] = []
        for named in shapes:
            places.append({})
            for name, shape in named.items():
                places[-1][name] = (size, shape)
                size += -(-shape[0] * shape[1] // unit) * unit
        sizes = [sum(a * b for a, b in named.values()) for named in statistics]
        starts = [0]
        for each in sizes:
            starts.append(starts[-1] + -(-each // unit) * unit)
        try:
            self.learnt = aligned_zeros(size + starts[-1], dtype)
            self.gradients = aligned_zeros(size, dtype)
        except (MemoryError, ValueError) as error:  # ValueError: beyond an array's largest size
            raise MemoryError(
                f"Sequential: no memory for {size:,} parameters in {dtype} and their gradients: "
                "expected fewer or narrower layers"
            ) from error
        self.parameters, self.statistics = self.learnt[:, :size], self.learnt[:, size:]
        self.blocks = [
            self.statistics[:, start : start + each]
            for start, each in zip(starts, sizes, strict=False)
        ]
        self._shapes = places
        self.places = [{name: start for name, (start, _) in named.items()} for named in places]
        self.parameter_views = _views(self.parameters, places)
        self.gradient_views = _views(self.gradients, places)

    def make_states(self, count: int) -> None:
        """Set the optimizer's states to zero, as before its first step."""
        size = self.parameters.size
        self.states = aligned_zeros(count * size, self.parameters.dtype).reshape(count, size)

    def named_gradients(self) -> dict[str, Array]:
        """The gradients by name, ``{"0.weights": array, ...}``: views."""
        return {
            f"{index}.{name}": array
            for index, views in enumerate(self.gradient_views)
            for name, array in views.items()
        }

    def state_views(self) -> list[list[dict[str, Array]]]:
        """For each state its arrays, as in `parameter_views`."""
        return [_views(row[None, :], self._shapes) for row in self.states]


def _views(
    buffer: Array, places: list[dict[str, tuple[int, tuple[int, int]]]]
) -> list[dict[str, Array]]:
    return [
        {
            name: buffer[0, start : start + shape[0] * shape[1]].reshape(shape)
            for name, (start, shape) in named.items()
        }
        for named in places
    ]
