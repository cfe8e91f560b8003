"""What a layer is: forward, backward, parameters and their gradients."""

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from operator import is_not
from types import MethodType
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from kernels.runtime import checks

Array = NDArray[Any]


class Part:
    """Something that a model is made of, and whether its user has put code of its own into it.

    Attributes
    ----------
    _PASSES : tuple of str
        The methods that compiled training does not call. A class that overrides one, or an object
        with one of its own, is the user's, and is run as it is.
    _RUNS : tuple of str
        The methods that a program is recorded from: a class may override them, an object may not.
    """

    _PASSES: ClassVar[tuple[str, ...]] = ()
    _RUNS: ClassVar[tuple[str, ...]] = ()
    _changes: ClassVar[int] = 0

    @staticmethod
    def changes() -> int:
        """How often a pass of any object has been replaced: a model looks again when that moves."""
        return Part._changes

    def has_own_methods(self) -> bool:
        """Whether the object has a pass of its own, beside those of its class."""
        return any(name in vars(self) for name in self._PASSES + self._RUNS)

    def own_code(self) -> str | None:
        """What of it is the user's; None where nothing is."""
        if self.has_own_methods():
            return "has a method of its own"
        for name in self._PASSES:
            home = getattr(getattr(type(self), name), "__module__", "")
            if not home.startswith("layers."):
                return f"is {checks.article(self)} of your own"
        return None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._PASSES or name in self._RUNS:
            Part._changes += 1
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self._PASSES or name in self._RUNS:
            Part._changes += 1
        object.__delattr__(self, name)


class Layer(Part):
    """One step of a network: ``y = layer.forward(x)``, then ``dx = layer.backward(dy)``.

    A subclass says what it does in one of two ways:

    - `run_forward` and `run_backward`, in the words of a run (``layers/runs.py``): it computes at
      once, on either backend, and within a compiled program;
    - `forward` and `backward`, which are called as they are. A model with such a layer runs layer
      by layer.

    One with parameters also names them in `parameter_shapes`, so that a model can lay all
    parameters out in one buffer.

    `forward` and `backward` compute in local variables and keep them at the end, so that one thread
    never reads what another has just put there. A model predicts and evaluates with other layer
    objects of the same parameters (`for_inference`), so several threads may predict while one
    trains; a `forward` that counts or learns anything in an attribute does so in training alone.

    Attributes
    ----------
    gives : {"scores", "probabilities"} or None
        What its output is to a loss behind it; None where that depends.
    output, dinputs : ndarray or None
        What the last `forward` and the last `backward` returned.
    in_model : bool
        Whether a model has this layer. It takes no other: they would train the same weights, or
        overwrite what `backward` needs.
    """

    _PASSES = ("forward", "backward", "backward_parameters")
    _RUNS = ("run_forward", "run_backward")
    _WIDTH = "n"
    """What errors call the width of an input that may be any."""

    gives: ClassVar[str | None] = None
    output: Array | None = None
    dinputs: Array | None = None
    in_model = False
    _inputs: Array | None = None
    _dtype: Any = None
    _index = 0
    """Which layer of its model it is."""
    _RANDOM: ClassVar[bool] = False
    """Whether it draws random numbers: alone, by a `_key` and a step of its own."""
    _key = 0
    _passes = 0

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

    def own_code(self) -> str | None:
        """What of it is the user's and cannot be recorded; None where nothing is."""
        if type(self).run_forward is Layer.run_forward:
            return f"is {checks.article(self)} of your own"
        return super().own_code()

    # --- what a subclass says ---

    def run_forward(self, run: Any, x: Any, training: bool) -> Any:
        """The output for x, in the words of a run."""
        raise NotImplementedError

    def run_backward(self, run: Any, x: Any, y: Any, dy: Any, needs_inputs: bool) -> Any:
        """The gradient with respect to x, given x, y and that with respect to y.

        It also fills the parameters' gradients. Without ``needs_inputs`` nobody looks at what it
        returns.
        """
        raise NotImplementedError

    # --- a pass at once ---

    def forward(self, x: Array, training: bool = False) -> Array:
        """Output of the layer for a batch of inputs, kept for `backward`.

        Parameters
        ----------
        x : array_like, (batch, n_in)
            Kept, not copied, where it is in the layer's dtype and C order.
        training : bool
            Whether the pass belongs to a training step.

        Returns
        -------
        ndarray, (batch, n_out)
        """
        checked = self._checked_input(x, getattr(self, "n_in", self._WIDTH))
        if training and self._RANDOM:
            self._passes += 1
        with self._counted():
            output: Array = self.run_forward(runs.EAGER, checked, training)
        self._inputs, self.output = checked, output
        return output

    def _counted(self) -> AbstractContextManager[None]:
        """What random numbers are counted by, for a layer that draws them and stands alone."""
        if not self._RANDOM or runs.position() is not None:
            return nullcontext()
        return runs.at(self._key, self._passes)

    def backward(self, dy: Array) -> Array:
        """Gradient with respect to the inputs, given that with respect to the output.

        It also fills the gradients of the parameters, if there are any.

        Parameters
        ----------
        dy : array_like, (batch, n_out)
            With the mean over the batch in it.

        Returns
        -------
        ndarray, (batch, n_in)
        """
        dinputs: Array = self._differentiate(dy, True)[1]
        self.dinputs = dinputs
        return dinputs

    def backward_parameters(self, dy: Array) -> Array:
        """Gradients of the parameters alone: all that the first layer of a model needs.

        Returns
        -------
        ndarray, (batch, n_out)
            ``dy``, checked.
        """
        return self._differentiate(dy, False)[0]

    def _differentiate(self, dy: Array, needs_inputs: bool) -> tuple[Array, Any]:
        inputs, output = self._inputs, self.output
        checked = self._checked_gradient(dy, output)
        with self._counted():
            dx = self.run_backward(runs.EAGER, inputs, output, checked, needs_inputs)
        return checked, dx

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

    def reset(self) -> None:
        """Let go of the parameters, so that the next `bind` starts them anew.

        For `Sequential.reset`. A layer that keeps them elsewhere than in ``_parameters``, or learns
        more than these, overrides it.
        """
        if "_parameters" in vars(self):
            self._parameters: Mapping[str, Array] = {}

    def forget(self) -> None:
        """Let go of what the last pass left behind."""
        self.output = self.dinputs = self._inputs = None

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
        left_out = ("output", "dinputs", "_inputs", "in_model")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __copy__(self) -> Self:
        """A copy with arrays of its own: one that shared them would change the original's."""
        return copy.deepcopy(self)

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


from layers import runs  # noqa: E402 - a run's arrays are what this file defines
