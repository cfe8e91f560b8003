"""What a layer is: forward, backward, parameters and their gradients."""

from collections.abc import Mapping
from operator import is_not
from types import MethodType
from typing import Any

from numpy.typing import NDArray

from kernels.runtime import checks

Array = NDArray[Any]


class Layer:
    """One step of a network: ``y = layer.forward(x)``, then ``dx = layer.backward(dy)``.

    A subclass implements `forward` and `backward`. One with parameters also names them in
    `parameter_shapes` and takes its arrays in `bind`, so that a model can lay all parameters out in
    one buffer.

    `forward` and `backward` compute in local variables and keep them at the end, so that one thread
    never reads what another has just put there. A model predicts and evaluates with other layer
    objects of the same parameters (`for_inference`), so several threads may predict while one
    trains; a `forward` that counts or learns anything in an attribute does so in training alone.

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
    in_model = False
    _dtype: Any = None

    @property
    def dtype(self) -> Any:
        """The model's; None in a layer that stands alone and takes any."""
        return self._dtype

    @dtype.setter
    def dtype(self, dtype: Any) -> None:
        if self.in_model:
            raise AttributeError(
                f"{type(self).__name__}: dtype is its model's, {self._dtype}, and cannot be "
                "changed; expected a new model for another"
            )
        self._dtype = dtype

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
        """The parameters by name: views of the arrays themselves, not copies."""
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
        return checks.real(place, "x", x, self.dtype, ("batch", n_in))

    def _checked_gradient(self, dy: Any, kept: Array | None, width: int | None = None) -> Array:
        """The gradient by the output, in C order: as many rows as what `forward` kept, its dtype.

        It has the width of that too, where no other is given. The caller reads what is kept once.
        """
        place = f"{type(self).__name__}.backward"
        if kept is None:
            raise ValueError(f"{place}: called before forward, expected a forward pass first")
        return checks.real(place, "dy", dy, kept.dtype, (len(kept), width or kept.shape[1]))

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: free of its model, without what the last pass left behind."""
        left_out = ("output", "dinputs", "in_model")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def for_inference(part: Any) -> Any:
    """A layer once more, with the same parameters: what its `forward` keeps, it keeps to itself.

    Layers that it holds in attributes, or in lists, tuples and dicts there, are made anew too;
    everything else is shared.
    """
    if isinstance(part, Layer):
        state: Any = object.__getstate__(part)  # of any class, with slots or without
        attributes, slots = state if isinstance(state, tuple) else (state, {})
        other = object.__new__(type(part))
        for name, value in ((attributes or {}) | slots).items():
            if isinstance(value, MethodType) and value.__self__ is part:
                value = MethodType(value.__func__, other)  # a replaced `forward`
            object.__setattr__(other, name, for_inference(value))
        return other
    if type(part) is dict:
        made = {name: for_inference(value) for name, value in part.items()}
        return made if any(made[name] is not value for name, value in part.items()) else part
    if type(part) in (list, tuple):
        items = [for_inference(item) for item in part]
        return type(part)(items) if any(map(is_not, items, part)) else part
    return part
