"""The fully connected layer."""

import sys
from collections.abc import Mapping
from typing import Any

from kernels.runtime import checks
from layers import initializers, seeds
from layers.base import Array, DType, Initializer
from layers.parametrized import Parametrized, gradient, parameter
from layers.settings import Setting, flag

_MOST_WEIGHTS = sys.maxsize // 8
"""The largest array of float64."""


class Dense(Parametrized):
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
        super().__init__(dtype)
        self._n_in = checks.integer("Dense", "n_in", n_in, 1)
        self._n_out = checks.integer("Dense", "n_out", n_out, 1)
        if self._n_in * self._n_out > _MOST_WEIGHTS:
            raise ValueError(
                f"Dense: n_in * n_out is {self._n_in * self._n_out}, expected at most "
                f"{_MOST_WEIGHTS}: an array holds no more"
            )
        self._has_biases = flag("Dense", "bias", bias)
        self.l1, self.l2, self.bias_l1, self.bias_l2 = l1, l2, bias_l1, bias_l2
        if not bias and (self.bias_l1 or self.bias_l2):
            raise ValueError(
                f"Dense: bias is False, bias_l1 {self.bias_l1:g} and bias_l2 {self.bias_l2:g}, "
                "expected penalties of biases only where there are biases"
            )
        self.trainable, self.learning_rate_scale = trainable, learning_rate_scale
        self.initializer = None if initializer is None else initializers.check("Dense", initializer)
        self._key = seeds.key_of("Dense", seed)

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

    # --- parameters ---

    def parameter_shapes(self) -> dict[str, tuple[int, int]]:
        """Shapes of ``weights`` and ``biases``, if there are any."""
        biases = {"biases": (1, self.n_out)} if self._has_biases else {}
        return {"weights": (self.n_in, self.n_out)} | biases

    def start(self, parameters: Mapping[str, Array], default: str, key: int, index: int) -> None:
        """Weights by the layer's own initializer, or by the default; biases of 0."""
        initializers.initialize(parameters["weights"], self.initializer or default, key, index)

    def penalties(self) -> dict[str, tuple[float, float]]:
        """l1 and l2 of the weights and of the biases, where they are not 0."""
        both = {"weights": (self.l1, self.l2), "biases": (self.bias_l1, self.bias_l2)}
        return {name: penalty for name, penalty in both.items() if any(penalty)}

    weights: Array = parameter("weights", "One column per neuron, (n_in, n_out).", takes_row=False)

    @property
    def biases(self) -> Array | None:
        """One per neuron, (1, n_out); None without biases."""
        return self.parameters().get("biases")

    @biases.setter
    def biases(self, value: Array) -> None:
        if not self._has_biases:
            raise AttributeError(
                "Dense.biases: the layer has no biases, expected one with bias=True"
            )
        checked = self._checked("biases", value, (1, self.n_out))
        self.parameters()["biases"][...] = checked

    dweights: Array | None = gradient(
        "weights", "Gradient of the weights, None before the first backward."
    )
    dbiases: Array | None = gradient(
        "biases", "Gradient of the biases, None before the first backward or without biases."
    )

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
