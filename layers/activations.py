"""Activation layers."""

from typing import Any

from kernels import activations as entries
from kernels.entries import Activation as Entry
from kernels.runtime import checks
from kernels.softmax import (
    LOG_SOFTMAX_BACKWARD,
    LOG_SOFTMAX_FORWARD,
    SOFTMAX_BACKWARD,
    SOFTMAX_FORWARD,
)
from layers.base import Layer


class Activation(Layer):
    """A layer that changes each number by itself; a subclass names the kernel's entry.

    Attributes
    ----------
    entry : kernels.entries.Activation
        The formula and its gradient.
    default_initializer : str
        How the weights of a `Dense` in front of it start.
    """

    gives = "scores"
    default_initializer = "glorot"

    @property
    def entry(self) -> Entry:
        """The formula and its gradient; a subclass names it."""
        raise NotImplementedError

    def numbers(self) -> tuple[float, ...]:
        """The entry's numbers, such as a slope."""
        return ()

    def run_forward(self, run: Any, x: Any, training: bool) -> Any:
        """The formula of each number."""
        return run.elementwise(self.entry.forward, x, numbers=self.numbers())

    def run_backward(self, run: Any, x: Any, y: Any, dy: Any, needs_inputs: bool) -> Any:
        """Its gradient, from the input or the output."""
        kept = y if self.entry.kept == "y" else x
        return run.elementwise(self.entry.backward, kept, dy, numbers=self.numbers())


class ReLU(Activation):
    """Rectified linear unit: y = 0 where x <= 0, else x; its gradient passes where x > 0."""

    entry = entries.RELU
    default_initializer = "he"


class LeakyReLU(Activation):
    """Leaky rectified linear unit: y = x where x > 0, else slope x.

    Parameters
    ----------
    slope : float
        At least 0.
    """

    entry = entries.LEAKY_RELU
    default_initializer = "he"

    def __init__(self, slope: float = 0.01) -> None:
        self._slope = checks.number("LeakyReLU", "slope", slope, 0)

    @property
    def slope(self) -> float:
        """The factor for x <= 0."""
        return self._slope

    def numbers(self) -> tuple[float, ...]:
        """The slope."""
        return (self.slope,)

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {"slope": self.slope}

    def __repr__(self) -> str:
        return f"LeakyReLU({self.slope:g})"


class ELU(Activation):
    """Exponential linear unit: y = x where x > 0, else alpha (e^x - 1).

    Parameters
    ----------
    alpha : float
        At least 0.
    """

    entry = entries.ELU
    default_initializer = "he"

    def __init__(self, alpha: float = 1.0) -> None:
        self._alpha = checks.number("ELU", "alpha", alpha, 0)

    @property
    def alpha(self) -> float:
        """Minus the limit of y for x to -Inf."""
        return self._alpha

    def numbers(self) -> tuple[float, ...]:
        """Alpha."""
        return (self.alpha,)

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {"alpha": self.alpha}

    def __repr__(self) -> str:
        return f"ELU({self.alpha:g})"


class SELU(Activation):
    """Self-normalizing exponential linear unit: y = 1.0507 x where x > 0, else 1.7581 (e^x - 1)."""

    entry = entries.SELU


class GELU(Activation):
    """Gaussian error linear unit: y = x P(x), P(x) = (1 + erf(x / sqrt(2))) / 2.

    Parameters
    ----------
    approximate : {"none", "tanh"}
        With ``"tanh"``, P(x) = (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
    """

    default_initializer = "he"

    def __init__(self, approximate: str = "none") -> None:
        try:
            _GELUS[approximate]  # a list cannot even be looked up
        except (KeyError, TypeError):
            raise ValueError(
                f"GELU: approximate is {checks.shown(approximate)}, expected one of {[*_GELUS]}"
            ) from None
        self._approximate = approximate

    @property
    def approximate(self) -> str:
        """What stands for P(x): itself, or an approximation."""
        return self._approximate

    @property
    def entry(self) -> Entry:
        """The formula and its gradient."""
        return _GELUS[self._approximate]

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {"approximate": self.approximate}

    def __repr__(self) -> str:
        return "GELU()" if self.approximate == "none" else f"GELU({self.approximate!r})"


_GELUS = {"none": entries.GELU, "tanh": entries.GELU_TANH}


class SiLU(Activation):
    """Sigmoid linear unit, or swish: y = x / (1 + e^-x)."""

    entry = entries.SILU
    default_initializer = "he"


class Softplus(Activation):
    """Softplus: y = ln(1 + e^x), without overflow for any x.

    PyTorch gives x itself beyond a threshold of 20, which is 2.1e-9 less there.
    """

    entry = entries.SOFTPLUS
    default_initializer = "he"


class Sigmoid(Activation):
    """Sigmoid: y = 1 / (1 + e^-x), from 0 to 1, without overflow for any x."""

    gives = "sigmoid"
    entry = entries.SIGMOID


class Tanh(Activation):
    """Hyperbolic tangent, from -1 to 1."""

    entry = entries.TANH


class Softmax(Layer):
    """Softmax of each row: probabilities that sum to 1.

    Forward, exp(x - max x) / sum of exp(x - max x); backward, p_k (dy_k - sum_j p_j dy_j). For
    training, `SoftmaxCrossEntropy` on the logits is faster and keeps more digits.
    """

    gives = "probabilities"
    _WIDTH = "n_classes"

    def run_forward(self, run: Any, x: Any, training: bool) -> Any:
        """Probabilities, row by row."""
        return run.rowwise(SOFTMAX_FORWARD, x)

    def run_backward(self, run: Any, x: Any, y: Any, dy: Any, needs_inputs: bool) -> Any:
        """Its gradient, from the probabilities."""
        return run.rowwise(SOFTMAX_BACKWARD, y, dy)


class LogSoftmax(Layer):
    """Logarithm of the softmax of each row, finite where a probability would be 0.

    Forward, x - max x - log of the sum of exp(x - max x); backward, dy_k - p_k sum_j dy_j.
    """

    gives = "log-probabilities"
    _WIDTH = "n_classes"

    def run_forward(self, run: Any, x: Any, training: bool) -> Any:
        """Logarithms of probabilities, row by row."""
        return run.rowwise(LOG_SOFTMAX_FORWARD, x)

    def run_backward(self, run: Any, x: Any, y: Any, dy: Any, needs_inputs: bool) -> Any:
        """Its gradient, from the logarithms."""
        return run.rowwise(LOG_SOFTMAX_BACKWARD, y, dy)
