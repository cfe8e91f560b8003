"""What a layer is: forward, backward, parameters and their gradients."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import checks

Array = NDArray[Any]


class Layer:
    """One step of a network: ``y = layer.forward(x)``, then ``dx = layer.backward(dy)``.

    A subclass implements `forward` and `backward`. One with parameters also names them in
    `parameter_shapes` and reads them from `parameter`; it holds no arrays of its own, so that a
    model can lay all parameters out in one buffer.

    Attributes
    ----------
    output, dinputs : ndarray or None
        What the last `forward` and the last `backward` returned.
    """

    output: Array | None = None
    dinputs: Array | None = None
    dtype: np.dtype[Any] | None = None

    def forward(self, x: Array, training: bool = False) -> Array:
        """Output of the layer for a batch of inputs, kept for `backward`."""
        raise NotImplementedError

    def backward(self, dy: Array) -> Array:
        """Gradient by the inputs from that by the output; fills the parameters' gradients."""
        raise NotImplementedError

    def parameter_shapes(self) -> dict[str, tuple[int, int]]:
        """Names and shapes of the parameters; none here."""
        return {}

    def parameters(self) -> dict[str, Array]:
        """The parameters by name: the arrays themselves, not copies."""
        return {}

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {}

    def bind(
        self,
        parameters: Mapping[str, Array],
        gradients: Mapping[str, Array],
        default: str,
        key: int,
        index: int,
    ) -> None:
        """Take the given arrays as parameters and gradients from now on; see `Dense.bind`."""

    # --- for subclasses ---

    def _checked_input(self, x: Any, n_in: int | str) -> Array:
        """A batch of inputs (batch, n_in), in the layer's dtype and C order."""
        place = f"{type(self).__name__}.forward"
        checked = checks.real(place, "x", x, self.dtype)
        return checks.shape(place, "x", checked, ("batch", n_in))

    def _checked_gradient(self, dy: Any) -> Array:
        """The gradient by the output: of its shape, in its dtype and C order."""
        place = f"{type(self).__name__}.backward"
        if self.output is None:
            raise ValueError(f"{place}: called before forward, expected a forward pass first")
        checked = checks.real(place, "dy", dy, self.output.dtype)
        return checks.shape(place, "dy", checked, self.output.shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
