"""What layers with parameters of their own have in common, besides `Dense`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels.runtime import checks
from layers.base import Array, Layer


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

    def start(self, parameters: Mapping[str, Array], key: int, index: int) -> None:
        """Set parameters, which are zeros, to what they start from, by a stream of the key."""

    def parameters(self) -> dict[str, Array]:
        """The parameters by name, as views."""
        self._own_arrays()
        return {name: array.view() for name, array in self._parameters.items()}

    def _gradient(self, name: str) -> Array | None:
        """The gradient of a parameter, None before the first backward."""
        return self._gradients[name].view() if self._has_gradients else None

    def _assign(self, name: str, value: Any, target: Array) -> None:
        """Write numbers of the target's shape; of one row also (n,)."""
        place = f"{type(self).__name__}.{name}"
        checked = checks.real(place, name, value, self.dtype)
        if checked.ndim == 1 and target.shape[0] == 1:
            checked = checked[None, :]
        target[...] = checks.shape(place, name, checked, target.shape)

    def _own_arrays(self) -> None:
        """Make the arrays of a standalone layer at its first use."""
        if not self._parameters:
            made = self._zeros()
            self.start(made, self._key, 0)
            self._parameters = made
        if not self._gradients:
            self._gradients = self._zeros()

    def _zeros(self) -> dict[str, Array]:
        shapes = self.parameter_shapes()
        return {name: np.zeros(shape, self.dtype) for name, shape in shapes.items()}

    def bind(
        self,
        parameters: Mapping[str, Array],
        gradients: Mapping[str, Array],
        default: str,
        key: int,
        index: int,
    ) -> None:
        """Use the given arrays as parameters; see `Dense.bind`."""
        if self._parameters:
            for name, array in self._parameters.items():
                parameters[name][...] = array
        else:
            self.start(parameters, key, index)
        self._parameters, self._gradients = parameters, gradients
        self.dtype = next(iter(parameters.values())).dtype
        self._has_gradients = False

    def _differentiate(self, dy: Array, needs_inputs: bool) -> tuple[Array, Any]:
        passed = super()._differentiate(dy, needs_inputs)
        self._has_gradients = True  # not in `run_backward`, which a recorder calls too
        return passed

    def forget(self) -> None:
        """Drop the arrays of the last pass, and the gradients."""
        super().forget()
        self._has_gradients = False

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: the parameters, without gradients; see `Layer.__getstate__`."""
        return super().__getstate__() | {"_gradients": {}, "_has_gradients": False}
