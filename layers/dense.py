"""The fully connected layer."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels.runtime import checks
from layers import initializers, seeds
from layers.base import Array, Layer

_MOST_WEIGHTS = sys.maxsize // 8
"""The largest array of float64."""


class Dense(Layer):
    """Fully connected layer: y = x . weights + biases.

    Parameters
    ----------
    n_in, n_out : int
        Width of the input and of the output. A layer's own input is x, (batch, n_in); the lecture
        that this project follows calls it the input of the next layer.
    initializer : {"he", "glorot", "zeros"}, optional
        Of the weights; biases start at 0. By default "he" before a `ReLU`, else "glorot".
    seed : int, numpy.random.Generator or None
        Of the initial weights of a standalone layer; in a model, the model's seed counts.
    dtype : {"float32", "float64"}
        Of a standalone layer; in a model, the model's dtype counts.

    Attributes
    ----------
    weights : ndarray, (n_in, n_out)
        One column per neuron; a view. Assigning copies into the layer's array.
    biases : ndarray, (1, n_out)
    dweights, dbiases : ndarray or None
        Gradients, overwritten by each `backward`, not accumulated; None before the first.
    output, dinputs : ndarray or None
        What the last `forward` and `backward` returned.
    """

    gives = "scores"

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        initializer: str | None = None,
        seed: Any = None,
        dtype: str = "float32",
    ) -> None:
        self._n_in = checks.integer("Dense", "n_in", n_in, 1)
        self._n_out = checks.integer("Dense", "n_out", n_out, 1)
        if self._n_in * self._n_out > _MOST_WEIGHTS:
            raise ValueError(
                f"Dense: n_in * n_out is {self._n_in * self._n_out}, expected at most "
                f"{_MOST_WEIGHTS}: an array holds no more"
            )
        self.initializer = None if initializer is None else initializers.check("Dense", initializer)
        self.dtype = checks.real_dtype("Dense", dtype)
        self._key = seeds.key_of("Dense", seed)
        self._parameters: Mapping[str, Array] = {}
        self._gradients: Mapping[str, Array] = {}
        self._has_gradients = False

    @property
    def n_in(self) -> int:
        """Width of the input."""
        return self._n_in

    @property
    def n_out(self) -> int:
        """Width of the output."""
        return self._n_out

    def run_forward(self, run: Any, x: Any, training: bool) -> Any:
        """Output x . weights + biases."""
        self._own_arrays()
        return run.dense_forward(x, self._parameters["weights"], self._parameters["biases"])

    def run_backward(self, run: Any, x: Any, y: Any, dy: Any, needs_inputs: bool) -> Any:
        """Gradients of the weights and biases, then dy . weightsT."""
        self._own_arrays()
        dweights, dbiases = self._gradients["weights"], self._gradients["biases"]
        run.dense_backward_parameters(x, dy, dweights, dbiases)
        if not needs_inputs:
            return None
        return run.dense_backward_inputs(dy, self._parameters["weights"])

    def _differentiate(self, dy: Array, needs_inputs: bool) -> tuple[Array, Any]:
        passed = super()._differentiate(dy, needs_inputs)
        self._has_gradients = True  # not in `run_backward`, which a recorder calls too
        return passed

    # --- parameters ---

    def parameter_shapes(self) -> dict[str, tuple[int, int]]:
        """Shapes of ``weights`` and ``biases``."""
        return {"weights": (self.n_in, self.n_out), "biases": (1, self.n_out)}

    def parameters(self) -> dict[str, Array]:
        """The arrays ``weights`` and ``biases`` by name, as views."""
        return {"weights": self.weights, "biases": self.biases}

    @property
    def weights(self) -> Array:
        """One column per neuron, (n_in, n_out)."""
        self._own_arrays()
        return self._parameters["weights"].view()

    @weights.setter
    def weights(self, value: Array) -> None:
        self._assign("weights", value)

    @property
    def biases(self) -> Array:
        """One per neuron, (1, n_out)."""
        self._own_arrays()
        return self._parameters["biases"].view()

    @biases.setter
    def biases(self, value: Array) -> None:
        self._assign("biases", value)

    @property
    def dweights(self) -> Array | None:
        """Gradient of the weights, None before the first backward."""
        return self._gradients["weights"].view() if self._has_gradients else None

    @property
    def dbiases(self) -> Array | None:
        """Gradient of the biases, None before the first backward."""
        return self._gradients["biases"].view() if self._has_gradients else None

    def _assign(self, name: str, value: Any) -> None:
        place = f"Dense.{name}"
        shape = self.parameter_shapes()[name]
        if isinstance(value, np.ndarray) and (name, value.ndim) != ("biases", 1):
            checks.shape(place, name, value, shape)  # before the conversion
        checked = checks.real(place, name, value, self.dtype)
        if name == "biases" and checked.ndim == 1:
            checked = checked[None, :]
        self._own_arrays()
        self._parameters[name][...] = checks.shape(place, name, checked, shape)

    def _own_arrays(self) -> None:
        """Make the arrays of a standalone layer at its first use."""
        if not self._parameters:
            self._parameters = self._zeros()
            name = self.initializer or "glorot"
            initializers.initialize(self._parameters["weights"], name, self._key, 0)
        if not self._gradients:
            self._gradients = self._zeros()

    def _zeros(self) -> dict[str, Array]:
        shapes = self.parameter_shapes()
        try:
            return {name: np.zeros(shape, self.dtype) for name, shape in shapes.items()}
        except MemoryError as error:
            raise MemoryError(
                f"Dense: no memory for weights of shape {shapes['weights']} in {self.dtype}: "
                "expected a narrower layer"
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

        Existing weights (which were set or used) are copied into the new arrays. Otherwise weights
        are initialised from stream ``index`` of ``key``.
        """
        if self._parameters:
            for name, array in self._parameters.items():
                parameters[name][...] = array
        else:
            name = self.initializer or default
            initializers.initialize(parameters["weights"], name, key, index)
        self._parameters, self._gradients = parameters, gradients
        self.dtype = parameters["weights"].dtype
        self._has_gradients = False

    def forget(self) -> None:
        """Drop the arrays of the last pass, and the gradients."""
        super().forget()
        self._has_gradients = False

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: the parameters, without gradients; see `Layer.__getstate__`."""
        return super().__getstate__() | {"_gradients": {}, "_has_gradients": False}

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, JSON-serialisable."""
        given = {"n_in": self.n_in, "n_out": self.n_out}
        return given if self.initializer is None else {**given, "initializer": self.initializer}

    def __repr__(self) -> str:
        extra = f", initializer={self.initializer!r}" if self.initializer else ""
        return f"Dense({self.n_in}, {self.n_out}{extra})"
