"""The base class of layers: forward, backward, parameters and their gradients."""

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from operator import is_not
from types import MethodType
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from kernels.runtime import checks
from layers import frames
from layers.keywords import Spelled
from layers.settings import flag

Array = NDArray[Any]
DType = Literal["float32", "float64"] | np.dtype[Any]
Initializer = Literal["glorot", "he", "zeros"]


class Part(Spelled):
    """A layer, loss or optimizer of a model, and whether it has user-defined code.

    Attributes
    ----------
    _PASSES : tuple of str
        The methods that compiled training does not call. A class that overrides one, or an object
        with such an attribute, is user-defined, and runs layer by layer.
    _RUNS : tuple of str
        The methods that a program is recorded from: a class may override them, an object may not.
    """

    _PASSES: ClassVar[tuple[str, ...]] = ()
    _RUNS: ClassVar[tuple[str, ...]] = ()
    _changes: ClassVar[int] = 0

    @staticmethod
    def changes() -> int:
        """How often a method of any object was replaced: models check again when it changes."""
        return Part._changes

    def has_own_methods(self) -> bool:
        """Whether the object itself, not its class, has such a method."""
        return any(name in vars(self) for name in self._PASSES + self._RUNS)

    def own_code(self) -> str | None:
        """The user-defined code, in words; None if there is none."""
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
    """One layer of a network: ``y = layer.forward(x)``, then ``dx = layer.backward(dy)``.

    A subclass says what it does in one of two ways:

    - `run_forward` and `run_backward`, by calls on a run (``layers/runs.py``), which serve both
      backends and compiled programs;
    - `forward` and `backward`. A model with such a layer runs layer by layer.

    A subclass with parameters also names them in `parameter_shapes`, so that a model can lay all
    parameters out in one buffer.

    `forward` and `backward` compute in local variables and assign attributes at the end, so that
    threads do not read each other's values. A model predicts and evaluates with copies of its
    layers that share the parameters (`for_inference`), so several threads may predict while one
    trains. A `forward` that changes an attribute therefore does so in training only.

    Attributes
    ----------
    gives : {"scores", "probabilities", "log-probabilities", "sigmoid"} or None
        What its output is to a loss behind it; None where that depends.
    output, dinputs : ndarray or None
        What the last `forward` and the last `backward` returned.
    least_rows : int
        Rows that a batch of training has at least.
    in_model : bool
        Whether a model has this layer. A second model would train the same weights, or overwrite
        what `backward` needs.
    """

    _PASSES = ("forward", "backward", "backward_parameters")
    _RUNS = ("run_forward", "run_backward")
    _WIDTH = "n"
    """The name, in errors, of an input width that may be any."""

    decayed: tuple[str, ...] = ("weights",)
    """The parameters that an optimizer's weight decay reaches."""
    gives: ClassVar[str | None] = None
    output: Array | None = None
    dinputs: Array | None = None
    in_model = False
    least_rows = 1
    takes_data = False
    """Whether it reads columns of the data, and so has to be a model's first layer."""
    _between: Any = None
    """What the last `run_forward` has kept for `run_backward`."""
    _statistics: Array | None = None
    """All statistics, (1, size), one directly behind the other."""
    _inputs: Array | None = None
    _dtype: Any = None
    _index = 0
    """The layer's index in its model."""
    _RANDOM: ClassVar[bool] = False
    """Whether it draws random numbers; a standalone layer has its own `_key` and step."""
    _key = 0
    _passes = 0
    _trainable = True
    _learning_rate_scale = 1.0

    @property
    def dtype(self) -> Any:
        """The model's dtype; None in a standalone layer, which takes any."""
        return self._dtype

    @dtype.setter
    def dtype(self, dtype: Any) -> None:
        if self.in_model:
            raise AttributeError(
                f"{type(self).__name__}: dtype is its model's, {self._dtype}, and cannot be "
                "changed; expected a new model for another"
            )
        self._dtype = dtype

    @property
    def trainable(self) -> bool:
        """Whether training moves the parameters; it may be changed, from the next step on.

        A frozen layer has no gradients of its parameters, and a backward pass ends at the first
        layer that is trained.
        """
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = flag(type(self).__name__, "trainable", value)
        Part._changes += 1

    @property
    def learning_rate_scale(self) -> float:
        """What the optimizer's learning rate is multiplied by here; it may be changed."""
        return self._learning_rate_scale

    @learning_rate_scale.setter
    def learning_rate_scale(self, value: float) -> None:
        name = type(self).__name__
        self._learning_rate_scale = checks.number(name, "learning_rate_scale", value, 0)
        Part._changes += 1

    def _training(self) -> dict[str, Any]:
        """Of how it is trained, what is no default."""
        given = {"trainable": self.trainable, "learning_rate_scale": self.learning_rate_scale}
        return {name: value for name, value in given.items() if value != 1}

    def rates(self) -> dict[str, float | None]:
        """By parameter what its learning rate is multiplied by; None where it is not trained."""
        scale = self.learning_rate_scale if self.trainable else None
        return dict.fromkeys(self.parameter_shapes(), scale)

    def penalties(self) -> dict[str, tuple[float, float]]:
        """l1 and l2 of parameters, by name, of which l1 sum |w| + l2 sum w^2 is to be small.

        A model adds l1 sign(w) + 2 l2 w to their gradients; `Sequential.penalty` is the sum.
        """
        return {}

    def own_code(self) -> str | None:
        """The user-defined code that cannot be recorded, in words; None if there is none."""
        if type(self).run_forward is Layer.run_forward:
            return f"is {checks.article(self)} of your own"
        return super().own_code()

    # --- what a subclass says ---

    def run_forward(self, run: Any, x: Any, training: bool) -> Any:
        """The output for x, by calls on ``run``."""
        raise NotImplementedError

    def run_backward(self, run: Any, x: Any, y: Any, dy: Any, needs_inputs: bool) -> Any:
        """Gradient with respect to x, given x, y and the gradient dy with respect to y.

        It also fills the parameters' gradients. Without ``needs_inputs`` the result is ignored.
        """
        raise NotImplementedError

    # --- eager passes ---

    def forward(self, x: Array, training: bool = False) -> Array:
        """Output of the layer for a batch of inputs, kept for `backward`.

        Parameters
        ----------
        x : array_like, (batch, n_in)
            Kept without a copy if it has the layer's dtype and C order.
        training : bool
            Whether the pass belongs to a training step.

        Returns
        -------
        ndarray, (batch, n_out)
        """
        checked = self._checked_input(x, getattr(self, "n_in", self._WIDTH))
        if training and len(checked) < self.least_rows:
            raise ValueError(
                f"{type(self).__name__}.forward: x has {len(checked)} row in training, expected at "
                f"least {self.least_rows}: {self.why_rows()}"
            )
        if training and self._RANDOM:
            self._passes += 1
        run = runs.Eager(self._place("forward"))
        with self._counted():
            output: Array = self.run_forward(run, checked, training)
        self._inputs, self.output = checked, output
        return output

    def _counted(self) -> AbstractContextManager[None]:
        """The position of random numbers, for a standalone layer that draws them."""
        if not self._RANDOM or runs.position() is not None:
            return nullcontext()
        return runs.at(self._key, self._passes)

    def backward(self, dy: Array) -> Array:
        """Gradient with respect to the inputs, given the gradient with respect to the output.

        It also fills the gradients of the parameters.

        Parameters
        ----------
        dy : array_like, (batch, n_out)
            Includes the mean over the batch.

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
        run = runs.Eager(self._place("backward"), frozen=not self.trainable)
        with self._counted():
            dx = self.run_backward(run, inputs, output, checked, needs_inputs)
        return checked, dx

    def _place(self, part: str) -> str:
        """A pass of the layer, for errors."""
        return f"layer {self._index}, {part}" if self.in_model else f"{type(self).__name__}.{part}"

    def parameter_shapes(self) -> dict[str, tuple[int, int]]:
        """Names and shapes of the parameters; none here."""
        return {}

    def parameters(self) -> dict[str, Array]:
        """The parameters by name: views of the arrays themselves, not copies."""
        return {}

    def statistic_shapes(self) -> dict[str, tuple[int, int]]:
        """Names and shapes of the statistics; none here.

        Statistics are numbers that a layer learns from data without a gradient, such as running
        means. A model saves and restores them with the parameters.
        """
        return {}

    def statistics(self) -> dict[str, Array]:
        """The statistics by name: views of the arrays themselves, not copies."""
        if not self.statistic_shapes():
            return {}
        return split_block(self._own_statistics(), self.statistic_shapes())

    def first_statistics(self, statistics: Mapping[str, Array]) -> None:
        """Set statistics, which are zeros, to what they start from."""

    def bind_statistics(self, block: Array) -> None:
        """Use a part of a model's buffer for the statistics; those that there were are kept."""
        if self._statistics is None:
            self.first_statistics(split_block(block, self.statistic_shapes()))
        else:
            block[...] = self._statistics
        self._statistics = block

    def _own_statistics(self) -> Array:
        """The statistics in one row; those of a standalone layer are made at their first use."""
        if self._statistics is None:
            size = sum(rows * columns for rows, columns in self.statistic_shapes().values())
            self._statistics = np.zeros((1, size), self.dtype)
            self.first_statistics(split_block(self._statistics, self.statistic_shapes()))
        return self._statistics

    def inside(self) -> "tuple[Layer, ...]":
        """The layers that it is made of; none here."""
        return ()

    def check_data(self, place: str, name: str, x: Array) -> None:
        """Raise ValueError for numbers in x that a first layer does not take, by their place."""

    def why_rows(self) -> str:
        """Why a batch of training needs more than one row, for errors."""
        return f"{self!r} needs them"

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor: what JSON can hold, other parts, and named functions."""
        return {}

    def bind(
        self,
        parameters: Mapping[str, Array],
        gradients: Mapping[str, Array],
        default: str,
        key: int,
        index: int,
    ) -> None:
        """Use the given arrays as parameters and gradients; see `Parametrized.bind`."""

    def reset(self) -> None:
        """Let go of the parameters and statistics, so that the next `bind` starts them anew.

        For `Sequential.reset`. A layer that keeps them elsewhere than in ``_parameters``, or learns
        more than these, overrides it.
        """
        if "_parameters" in vars(self):
            self._parameters: Mapping[str, Array] = {}
        if "_statistics" in vars(self):
            self._statistics = None

    def forget(self) -> None:
        """Drop the arrays of the last pass."""
        self.output = self.dinputs = self._inputs = self._between = None

    # --- for subclasses ---

    def _checked_input(self, x: Any, n_in: int | str) -> Array:
        """A batch of inputs (batch, n_in), in the layer's dtype and C order."""
        place = f"{type(self).__name__}.forward"
        return frames.real(place, "x", x, self.dtype, ("batch", n_in))

    def _checked_gradient(self, dy: Any, kept: Array | None, width: int | None = None) -> Array:
        """Gradient with respect to the output, in C order, with the kept array's dtype and rows.

        ``width`` overrides the number of columns. ``kept`` is passed, since another thread may
        replace the attribute.
        """
        place = f"{type(self).__name__}.backward"
        if kept is None:
            raise ValueError(f"{place}: called before forward, expected a forward pass first")
        return checks.real(place, "dy", dy, kept.dtype, (len(kept), width or kept.shape[1]))

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: without its model and the arrays of the last pass."""
        left_out = ("output", "dinputs", "_inputs", "_between", "in_model")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __copy__(self) -> Self:
        """A deep copy: a shallow one would share the original's arrays."""
        return copy.deepcopy(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def split_block(block: Array, shapes: Mapping[str, tuple[int, int]]) -> dict[str, Array]:
    """Views of a row of numbers, one directly behind the other, by name."""
    views, start = {}, 0
    for name, (rows, columns) in shapes.items():
        views[name] = block[0, start : start + rows * columns].reshape(rows, columns)
        start += rows * columns
    return views


def for_inference(part: Any) -> Any:
    """A copy of a layer that shares its parameters, but not what its `forward` keeps.

    Layers in its attributes, or in lists, tuples and dicts there, are copied too; everything else
    is shared.
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


from layers import runs  # noqa: E402 - runs needs the definitions of this file
