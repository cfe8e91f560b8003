"""Activation layers."""

from typing import Any, ClassVar

from kernels.activations import GELU as GELU_ENTRY
from kernels.activations import LEAKY_RELU, RELU
from kernels.operations import Activation as Entry
from kernels.runtime import checks
from kernels.softmax import SOFTMAX_BACKWARD, SOFTMAX_FORWARD
from layers.base import Layer


class Activation(Layer):
    """A layer that changes each number by itself; a subclass names the kernel's entry.

    Attributes
    ----------
    entry : kernels.operations.Activation
        The formula and its gradient.
    default_initializer : str
        How the weights of a `Dense` in front of it start.
    """

    gives = "scores"
    entry: ClassVar[Entry]
    default_initializer = "glorot"

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

    entry = RELU
    default_initializer = "he"


class LeakyReLU(Activation):
    """Leaky rectified linear unit: y = x where x > 0, else slope x.

    Parameters
    ----------
    slope : float
        At least 0.
    """

    entry = LEAKY_RELU
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


class GELU(Activation):
    """Gaussian error linear unit, exact: y = x P(x), P(x) = (1 + erf(x / sqrt(2))) / 2."""

    entry = GELU_ENTRY
    default_initializer = "he"


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
