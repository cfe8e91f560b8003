"""A model's flat buffers: all parameters in one array, all gradients in another, then states.

One buffer means one fused update, one hash, one file, one message. Each parameter starts at a
multiple of 64 bytes from an aligned base, so that vectors lie in whole cache lines; the gap between
two is zero and stays zero, since its gradient is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from layers.base import Array

_ALIGNMENT = 64


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> Array:
    """(1, size) zeros that begin at a multiple of 64 bytes."""
    raw = np.zeros(size * dtype.itemsize + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size * dtype.itemsize].view(dtype).reshape(1, size)


class FlatBuffers:
    """Parameters and gradients of the given shapes, each set in one buffer.

    Parameters
    ----------
    shapes : sequence of dict
        For each layer its parameters' names and shapes.
    dtype : numpy.dtype

    Attributes
    ----------
    parameters, gradients : ndarray, (1, size)
    states : ndarray, (states, size)
        Those of the optimizer, each laid out as the parameters.
    parameter_views, gradient_views : list of dict
        For each layer its arrays by name, views into the buffers.
    places : list of dict
        For each layer where its arrays begin in a buffer.
    """

    def __init__(self, shapes: Sequence[dict[str, tuple[int, int]]], dtype: np.dtype[Any]) -> None:
        step = _ALIGNMENT // dtype.itemsize
        size = 0
        places: list[dict[str, tuple[int, tuple[int, int]]]] = []
        for named in shapes:
            places.append({})
            for name, shape in named.items():
                places[-1][name] = (size, shape)
                size += -(-shape[0] * shape[1] // step) * step
        try:
            self.parameters = aligned_zeros(size, dtype)
            self.gradients = aligned_zeros(size, dtype)
        except (MemoryError, ValueError) as error:  # the latter beyond what an array can hold
            raise MemoryError(
                f"Sequential: no memory for {size:,} parameters in {dtype} and their gradients: "
                "expected fewer or narrower layers"
            ) from error
        self._shapes = places
        self.places = [{name: start for name, (start, _) in named.items()} for named in places]
        self.parameter_views = _views(self.parameters, places)
        self.gradient_views = _views(self.gradients, places)

    def make_states(self, count: int) -> None:
        """States of an optimizer that has taken no step: zeros."""
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
        """For each state, what `parameter_views` is for the parameters."""
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
