"""What a layer is: forward, backward, parameters and their gradients."""

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kernels import checks

Array = NDArray[Any]


class Layer:
    """One step of a network: ``y = layer.forward(x)``, then ``dx = layer.backward(dy)``.

    A subclass implements `forward` and `backward`. One with parameters also names them in
    `parameter_shapes` and takes its arrays in `bind`, so that a model can lay all parameters out in
    one buffer.

    `forward` and `backward` compute in local variables and keep them at the end, so that one thread
    never reads what another has just put there: several may predict with one model at once.

    Attributes
    ----------
    output, dinputs : ndarray or None
        What the last `forward` and the last `backward` returned.
    in_model : bool
        Whether a model has this layer. It takes no other: they would train the same weights, or
        overwrite what `backward` needs.
    """

    output: Array | None = None
    dinputs: Array | None = None
    dtype: np.dtype[Any] | None = None
    in_model = False

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

    def forget(self) -> None:
        """Let go of what the last pass left behind."""
        self.output = self.dinputs = None

    # --- for subclasses ---

    def _checked_input(self, x: Any, n_in: int | str) -> Array:
        """A batch of inputs (batch, n_in), in the layer's dtype and C order."""
        place = f"{type(self).__name__}.forward"
        checked = checks.real(place, "x", x, self.dtype)
        return checks.shape(place, "x", checked, ("batch", n_in))

    def _checked_gradient(self, dy: Any, kept: Array | None, width: int | None = None) -> Array:
        """The gradient by the output, in C order: as many rows as what `forward` kept, its dtype.

        It has the width of that too, where no other is given. The caller reads what is kept once.
        """
        place = f"{type(self).__name__}.backward"
        if kept is None:
            raise ValueError(f"{place}: called before forward, expected a forward pass first")
        checked = checks.real(place, "dy", dy, kept.dtype)
        return checks.shape(place, "dy", checked, (len(kept), width or kept.shape[1]))

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: free of its model, without what the last pass left behind."""
        left_out = ("output", "dinputs", "in_model")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __copy__(self) -> Self:
        """A copy with arrays of its own: one that shared them would change the original's."""
        return copy.deepcopy(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
