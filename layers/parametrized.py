"""What layers with parameters of their own have in common."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels.runtime import checks
from layers.base import Array, Layer


def parameter(name: str, doc: str, takes_row: bool = True) -> Any:
    """A property of a `Parametrized`: an array of its parameters, as a view.

    Assigning copies into the layer's array; where that has one row, (n,) is taken unless
    ``takes_row`` is False.
    """

    def get(self: "Parametrized") -> Array:
        return self.parameters()[name]

    def assign(self: "Parametrized", value: Any) -> None:
        checked = self._checked(name, value, self.parameter_shapes()[name], takes_row)
        self.parameters()[name][...] = checked

    return property(get, assign, doc=doc)


def gradient(name: str, doc: str) -> Any:
    """A property of a `Parametrized`: the gradient of a parameter, None while there is none.

    Assigning copies into it, so that ``layer.dweights *= 0.5`` scales it.
    """

    def get(self: "Parametrized") -> Array | None:
        there = self._has_gradients and name in self._gradients
        return self._gradients[name].view() if there else None

    def assign(self: "Parametrized", value: Any) -> None:
        if get(self) is None:
            place = f"{type(self).__name__}.d{name}"
            raise AttributeError(f"{place}: there is none before backward, expected it to be there")
        kept = self._gradients[name]
        kept[...] = self._checked(f"d{name}", value, (kept.shape[0], kept.shape[1]))

    return property(get, assign, doc=doc)


def statistic(name: str, doc: str) -> Any:
    """A property of a `Parametrized`: an array of its statistics, as a view; see `parameter`."""

    def get(self: "Parametrized") -> Array:
        return self.statistics()[name]

    def assign(self: "Parametrized", value: Any) -> None:
        checked = self._checked(name, value, self.statistic_shapes()[name])
        self.statistics()[name][...] = checked

    return property(get, assign, doc=doc)


class Parametrized(Layer):
    """A layer whose parameters are made at first use, or lie in its model's buffers.

    A subclass names them in `parameter_shapes`, and says in `start` what they start from.

    Parameters
    ----------
    dtype : {"float32", "float64"}
        Of a layer that stands alone; in a model, the model's counts.
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype = checks.real_dtype(type(self).__name__, dtype)
        self._parameters: Mapping[str, Array] = {}
        self._gradients: Mapping[str, Array] = {}
        self._has_gradients = False

    def start(self, parameters: Mapping[str, Array], default: str, key: int, index: int) -> None:
        """Set parameters, which are zeros, to their first values: by stream ``index`` of a key.

        ``default`` is the initializer that the layer behind asks for.
        """

    def parameters(self) -> dict[str, Array]:
        """The parameters by name, as views."""
        self._own_arrays()
        return {name: array.view() for name, array in self._parameters.items()}

    def _checked(
        self, name: str, value: Any, shape: tuple[int, int], takes_row: bool = True
    ) -> Array:
        """Numbers to be assigned, of the given shape; or of (n,), where that is taken for a row."""
        place = f"{type(self).__name__}.{name}"
        takes_row = takes_row and shape[0] == 1
        if isinstance(value, np.ndarray) and not (takes_row and value.ndim == 1):
            checks.shape(place, name, value, shape)  # before the conversion
        checked = checks.real(place, name, value, self.dtype)
        if takes_row and checked.ndim == 1:
            checked = checked[None, :]
        return checks.shape(place, name, checked, shape)

    def _own_arrays(self) -> None:
        """Make the arrays of a standalone layer at its first use."""
        if not self._parameters:
            made = self._zeros()
            self.start(made, "glorot", self._key, 0)
            self._parameters = made
        if not self._gradients:
            self._gradients = self._zeros()

    def _zeros(self) -> dict[str, Array]:
        shapes = self.parameter_shapes()
        try:
            return {name: np.zeros(shape, self.dtype) for name, shape in shapes.items()}
        except MemoryError as error:
            raise MemoryError(
                f"{type(self).__name__}: no memory for weights of shape {shapes['weights']} in "
                f"{self.dtype}: expected a narrower layer"
            ) from error

    def bind(
        self,
        parameters: Mapping[str, Array],
        gradients: Mapping[str, Array],
        default: str,
        key: int,
        index: int,
    ) -> None:
        """Use the given arrays, views into a model's buffers, as parameters.

        Existing parameters (which were set or used) are copied into the new arrays. Otherwise they
        start from stream ``index`` of ``key``.
        """
        if self._parameters:
            for name, array in self._parameters.items():
                parameters[name][...] = array
        else:
            self.start(parameters, default, key, index)
        self._parameters, self._gradients = parameters, gradients
        self.dtype = next(iter(parameters.values())).dtype
        self._has_gradients = False

    def _differentiate(self, dy: Array, needs_inputs: bool) -> tuple[Array, Any]:
        passed = super()._differentiate(dy, needs_inputs)
        self._has_gradients = self.trainable  # not in `run_backward`, which a recorder calls too
        return passed

    def forget(self) -> None:
        """Drop the arrays of the last pass, and the gradients."""
        super().forget()
        self._has_gradients = False

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: the parameters, without gradients; see `Layer.__getstate__`."""
        return super().__getstate__() | {"_gradients": {}, "_has_gradients": False}
