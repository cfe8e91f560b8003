"""The fully connected layer."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels.runtime import checks
from layers import initializers, seeds
from layers.base import Array, DType, Initializer, Layer
from layers.settings import Setting

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
    bias : bool
        Whether there are biases.
    l1, l2, bias_l1, bias_l2 : float
        Regularization in a model, of weights and of biases: training makes the loss plus
        l1 sum |w| + l2 sum w^2 small. Losses are reported without it; `Sequential.penalty` is
        the sum. At least 0.
    trainable : bool
        Whether training moves the parameters.
    learning_rate_scale : float
        What the optimizer's learning rate is multiplied by here. At least 0.
    seed : int, numpy.random.Generator or None
        Of the initial weights of a standalone layer; in a model, the model's seed counts.
    dtype : {"float32", "float64"}
        Of a standalone layer; in a model, the model's dtype counts.

    Attributes
    ----------
    weights : ndarray, (n_in, n_out)
        One column per neuron; a view. Assigning copies into the layer's array.
    biases : ndarray, (1, n_out), or None
    dweights, dbiases : ndarray or None
        Gradients, overwritten by each `backward`, not accumulated; None before the first.
    output, dinputs : ndarray or None
        What the last `forward` and `backward` returned.
    """

    gives = "scores"
    l1 = Setting(">= 0", "The penalty of the weights' magnitudes.")
    l2 = Setting(">= 0", "The penalty of the weights' squares.")
    bias_l1 = Setting(">= 0", "The penalty of the biases' magnitudes.")
    bias_l2 = Setting(">= 0", "The penalty of the biases' squares.")

    def __init__(  # noqa: PLR0913 - each of them has a name
        self,
        n_in: int,
        n_out: int,
        *,
        initializer: Initializer | None = None,
        bias: bool = True,
        l1: float = 0.0,
        l2: float = 0.0,
        bias_l1: float = 0.0,
        bias_l2: float = 0.0,
        trainable: bool = True,
        learning_rate_scale: float = 1.0,
        seed: Any = None,
        dtype: DType = "float32",
    ) -> None:
        self._n_in = checks.integer("Dense", "n_in", n_in, 1)
        self._n_out = checks.integer("Dense", "n_out", n_out, 1)
        if self._n_in * self._n_out > _MOST_WEIGHTS:
            raise ValueError(
                f"Dense: n_in * n_out is {self._n_in * self._n_out}, expected at most "
                f"{_MOST_WEIGHTS}: an array holds no more"
            )
        if not isinstance(bias, (bool, np.bool_)):
            raise TypeError(f"Dense: bias is {checks.shown(bias)}, expected True or False")
        self._has_biases = bool(bias)
        self.l1, self.l2, self.bias_l1, self.bias_l2 = l1, l2, bias_l1, bias_l2
        if not bias and (self.bias_l1 or self.bias_l2):
            raise ValueError(
                f"Dense: bias is False, bias_l1 {self.bias_l1:g} and bias_l2 {self.bias_l2:g}, "
                "expected penalties of biases only where there are biases"
            )
        self.trainable, self.learning_rate_scale = trainable, learning_rate_scale
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
        """Output x . weights + biases, or without biases."""
        self._own_arrays()
        return run.dense_forward(x, self._parameters["weights"], self._parameters.get("biases"))

    def run_backward(self, run: Any, x: Any, y: Any, dy: Any, needs_inputs: bool) -> Any:
        """Gradients of the weights and biases, then dy . weightsT."""
        self._own_arrays()
        dweights, dbiases = self._gradients["weights"], self._gradients.get("biases")
        run.dense_backward_parameters(x, dy, dweights, dbiases)
        if not needs_inputs:
            return None
        return run.dense_backward_inputs(dy, self._parameters["weights"])

    def _differentiate(self, dy: Array, needs_inputs: bool) -> tuple[Array, Any]:
        passed = super()._differentiate(dy, needs_inputs)
        self._has_gradients = self.trainable  # not in `run_backward`, which a recorder calls too
        return passed

    # --- parameters ---

    def parameter_shapes(self) -> dict[str, tuple[int, int]]:
        """Shapes of ``weights`` and ``biases``, if there are any."""
        biases = {"biases": (1, self.n_out)} if self._has_biases else {}
        return {"weights": (self.n_in, self.n_out)} | biases

    def parameters(self) -> dict[str, Array]:
        """The arrays ``weights`` and ``biases`` by name, as views."""
        self._own_arrays()
        return {name: array.view() for name, array in self._parameters.items()}

    def penalties(self) -> dict[str, tuple[float, float]]:
        """l1 and l2 of the weights and of the biases, where they are not 0."""
        both = {"weights": (self.l1, self.l2), "biases": (self.bias_l1, self.bias_l2)}
        return {name: penalty for name, penalty in both.items() if any(penalty)}

    @property
    def weights(self) -> Array:
        """One column per neuron, (n_in, n_out)."""
        self._own_arrays()
        return self._parameters["weights"].view()

    @weights.setter
    def weights(self, value: Array) -> None:
        self._assign("weights", value)

    @property
    def biases(self) -> Array | None:
        """One per neuron, (1, n_out); None without biases."""
        self._own_arrays()
        return self._parameters["biases"].view() if self._has_biases else None

    @biases.setter
    def biases(self, value: Array) -> None:
        self._assign("biases", value)

    @property
    def dweights(self) -> Array | None:
        """Gradient of the weights, None before the first backward."""
        return self._gradients["weights"].view() if self._has_gradients else None

    @property
    def dbiases(self) -> Array | None:
        """Gradient of the biases, None before the first backward or without biases."""
        has = self._has_gradients and self._has_biases
        return self._gradients["biases"].view() if has else None

    def _assign(self, name: str, value: Any) -> None:
        place = f"Dense.{name}"
        shape = self.parameter_shapes().get(name)
        if shape is None:
            raise AttributeError(f"{place}: the layer has no biases, expected one with bias=True")
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
        return {"n_in": self.n_in, "n_out": self.n_out} | self._options()

    def _options(self) -> dict[str, Any]:
        """The further arguments that are no defaults."""
        given = {"initializer": self.initializer, "bias": self._has_biases}
        given |= {name: getattr(self, name) for name in ("l1", "l2", "bias_l1", "bias_l2")}
        defaults = {"initializer": None, "bias": True}
        return {name: value for name, value in given.items() if value != defaults.get(name, 0.0)}

    def __repr__(self) -> str:
        given = self._options() | self._training()
        extra = "".join(f", {name}={value!r}" for name, value in given.items())
        return f"Dense({self.n_in}, {self.n_out}{extra})"
