"""Layers made of layers: beside a shortcut, or side by side."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kernels.columns import ADD, PUT_COLUMNS, TAKE_COLUMNS
from kernels.runtime import checks
from layers.base import Array, Layer
from layers.validation import check_first, check_free, widths


class Container(Layer):
    """A layer of branches, each a list of layers; a subclass says how they are joined.

    Attributes
    ----------
    branches : tuple of tuple of Layer
    """

    gives = "scores"

    def __init__(self, branches: Sequence[Any]) -> None:
        place = type(self).__name__
        self._branches = tuple(_checked(place, branch) for branch in branches)
        check_free(self.inside(), place)
        for branch in self._branches:
            check_first(branch, place)
        named = list(self._named())
        self.decayed = tuple(f"{at}.{name}" for at, layer in named for name in layer.decayed)
        self.least_rows = max((layer.least_rows for layer in self.inside()), default=1)
        self.takes_data = any(branch[0].takes_data for branch in self._branches if branch)

    @property
    def branches(self) -> tuple[tuple[Layer, ...], ...]:
        """The layers of each branch, first to last."""
        return self._branches

    def inside(self) -> tuple[Layer, ...]:
        """All layers of all branches."""
        return tuple(layer for branch in self._branches for layer in branch)

    def _named(self) -> Iterator[tuple[str, Layer]]:
        """Each layer with what its parameters' names begin with."""
        for number, branch in enumerate(self._branches):
            for index, layer in enumerate(branch):
                yield self._prefix(number, index), layer

    def _prefix(self, branch: int, index: int) -> str:
        return f"{branch}.{index}"

    def own_code(self) -> str | None:
        """The user-defined code within, in words; None if there is none."""
        why = super().own_code()
        for layer in self.inside():
            inner = layer.own_code()
            if why is None and inner is not None:
                why = f"holds {layer!r}, which {inner}"
        return why

    def check_data(self, place: str, name: str, x: Array) -> None:
        """What the first layers of the branches check."""
        for branch in self._branches:
            if branch:
                branch[0].check_data(place, name, x)

    def why_rows(self) -> str:
        """Of the layer that needs most."""
        return max(self.inside(), key=lambda layer: layer.least_rows).why_rows()

    # --- passes ---

    def _forward(self, run: Any, x: Any, training: bool) -> list[Any]:
        """What each branch gives; x itself of an empty one."""
        values = []
        for branch in self._branches:
            values.append([x])
            for layer in branch:
                values[-1].append(run.layer_forward(layer, values[-1][-1], training))
        run.keep(self, values)
        return [each[-1] for each in values]

    def _backward(self, run: Any, number: int, dy: Any, needs_inputs: bool) -> Any:
        """The gradient with respect to x through one branch."""
        branch, values = self._branches[number], run.kept(self)[number]
        for index in reversed(range(len(branch))):
            needed = needs_inputs or any(each.parameter_shapes() for each in branch[:index])
            if not needed and not branch[index].parameter_shapes():
                return None
            x, y = values[index], values[index + 1]
            dy = run.layer_backward(branch[index], x, y, dy, needed)
        return dy

    # --- parameters and statistics ---

    def parameter_shapes(self) -> dict[str, tuple[int, int]]:
        """Those of all layers, by names such as ``0.weights``."""
        return {
            f"{at}.{name}": shape
            for at, layer in self._named()
            for name, shape in layer.parameter_shapes().items()
        }

    def rates(self) -> dict[str, float | None]:
        """Those of all layers, times this layer's; a frozen container freezes what it holds."""
        scale = self.learning_rate_scale if self.trainable else None
        return {
            f"{at}.{name}": None if scale is None or rate is None else scale * rate
            for at, layer in self._named()
            for name, rate in layer.rates().items()
        }

    def penalties(self) -> dict[str, tuple[float, float]]:
        """Those of all layers."""
        return {
            f"{at}.{name}": penalty
            for at, layer in self._named()
            for name, penalty in layer.penalties().items()
        }

    def parameters(self) -> dict[str, Array]:
        """Those of all layers, as views."""
        return {
            f"{at}.{name}": array
            for at, layer in self._named()
            for name, array in layer.parameters().items()
        }

    def statistic_shapes(self) -> dict[str, tuple[int, int]]:
        """Those of all layers."""
        return {
            f"{at}.{name}": shape
            for at, layer in self._named()
            for name, shape in layer.statistic_shapes().items()
        }

    def statistics(self) -> dict[str, Array]:
        """Those of all layers, as views."""
        return {
            f"{at}.{name}": array
            for at, layer in self._named()
            for name, array in layer.statistics().items()
        }

    def bind(
        self,
        parameters: Mapping[str, Array],
        gradients: Mapping[str, Array],
        default: str,
        key: int,
        index: int,
    ) -> None:
        """Give each layer its own of the arrays; see `Parametrized.bind`."""
        for number, branch in enumerate(self._branches):
            for place, layer in enumerate(branch):
                follower = branch[place + 1] if place + 1 < len(branch) else None
                start = f"{self._prefix(number, place)}."
                own, found = (
                    {
                        name.removeprefix(start): array
                        for name, array in arrays.items()
                        if name.startswith(start)
                    }
                    for arrays in (parameters, gradients)
                )
                begins = getattr(follower, "default_initializer", "glorot")
                layer.bind(own, found, begins, key, layer._index)

    def bind_statistics(self, block: Array) -> None:
        """Give each layer its own part of the block."""
        start = 0
        for layer in self.inside():
            size = sum(rows * columns for rows, columns in layer.statistic_shapes().values())
            layer.bind_statistics(block[:, start : start + size])
            start += size

    # --- what a model sets, and takes back ---

    @property
    def dtype(self) -> Any:
        """The model's dtype; None in a standalone layer."""
        return self._dtype

    @dtype.setter
    def dtype(self, dtype: Any) -> None:
        self._dtype = dtype
        for layer in self.inside():
            layer.dtype = dtype

    @property
    def in_model(self) -> bool:
        """Whether a model has this layer, or one of those within."""
        return any(layer.in_model for layer in self.inside())

    @in_model.setter
    def in_model(self, value: bool) -> None:
        for layer in self.inside():
            layer.in_model = value

    def reset(self) -> None:
        """Let go of the parameters and statistics of all layers."""
        for layer in self.inside():
            layer.reset()

    def forget(self) -> None:
        """Drop the arrays of the last pass, of all layers."""
        super().forget()
        for layer in self.inside():
            layer.forget()


class Residual(Container):
    """Layers beside a shortcut: y = x + f(x), where f is the layers one after another.

    Its parameters are called ``0.weights``, ... by the place of their layer; those of the third
    layer of a model, ``2.0.weights``.

    Parameters
    ----------
    layers : sequence of Layer
        They give as many columns as they take. They belong to this layer from now on.

    Examples
    --------
    >>> layers.Residual([layers.Dense(64, 64), layers.ReLU(), layers.Dense(64, 64)])
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__([layers])
        if not self._branches[0]:
            raise ValueError("Residual: layers is empty, expected at least one layer")
        n_in, n_out = widths(self._branches[0], "Residual")
        if n_in != n_out:
            raise ValueError(
                f"Residual: layers take {n_in} columns and give {n_out}, expected as many, to be "
                "added to x"
            )
        if n_in is not None:
            self.n_in = n_in

    def _prefix(self, branch: int, index: int) -> str:
        return str(index)

    def run_forward(self, run: Any, x: Any, training: bool) -> Any:
        """The sum of x and what the layers make of it."""
        (y,) = self._forward(run, x, training)
        return run.elementwise(ADD, x, y)

    def run_backward(self, run: Any, x: Any, y: Any, dy: Any, needs_inputs: bool) -> Any:
        """The sum of dy and what comes back through the layers."""
        dx = self._backward(run, 0, dy, needs_inputs)
        return run.elementwise(ADD, dy, dx) if needs_inputs else None

    def config(self) -> dict[str, Any]:
        """The layers."""
        return {"layers": list(self._branches[0])}

    def __repr__(self) -> str:
        return f"Residual([{', '.join(map(repr, self._branches[0]))}])"


class Concatenate(Container):
    """Branches side by side: the columns of the output are those of each branch, in order.

    Each branch takes the same x. The parameters are called ``0.1.weights``, ... by the number of
    the branch and the place of the layer within it.

    Parameters
    ----------
    branches : sequence of (Layer or sequence of Layer)
        An empty list passes x on. The layers belong to this layer from now on.

    Examples
    --------
    A linear part beside a deep one:

    >>> deep = [layers.Dense(20, 64), layers.ReLU(), layers.Dense(64, 8)]
    >>> layers.Concatenate([[], deep]).n_out
    28
    """

    def __init__(self, branches: Sequence[Layer | Sequence[Layer]]) -> None:
        if not isinstance(branches, (list, tuple)) or not branches:
            raise TypeError(
                f"Concatenate: branches is {checks.shown(branches)}, expected a list of branches"
            )
        super().__init__(branches)
        found = [widths(branch, "Concatenate") for branch in self._branches]
        wanted = next((first for first, _ in found if first is not None), None)
        if wanted is None:
            raise ValueError("Concatenate: no layer says its width, expected at least one Dense")
        for number, (first, _) in enumerate(found):
            if first not in (None, wanted):
                raise ValueError(
                    f"Concatenate: branch {number} takes {first} columns, expected {wanted}, as "
                    "the branches before it"
                )
        self.n_in = wanted
        self._widths = tuple(wanted if last is None else last for _, last in found)
        self.n_out = sum(self._widths)

    def run_forward(self, run: Any, x: Any, training: bool) -> Any:
        """The outputs of all branches, side by side."""
        out, place = None, 0
        for y, width in zip(self._forward(run, x, training), self._widths, strict=True):
            numbers = float(place), float(self.n_out)
            out = run.rowwise(PUT_COLUMNS, y, numbers=numbers, n_out=self.n_out, out=out)
            place += width
        return out

    def run_backward(self, run: Any, x: Any, y: Any, dy: Any, needs_inputs: bool) -> Any:
        """The sum of what comes back through each branch."""
        dx, place = None, 0
        for number, width in enumerate(self._widths):
            part = None
            if needs_inputs or any(each.parameter_shapes() for each in self._branches[number]):
                numbers = float(place), float(width)
                part = run.rowwise(TAKE_COLUMNS, dy, numbers=numbers, n_out=width)
                part = self._backward(run, number, part, needs_inputs)
            dx = part if dx is None or not needs_inputs else run.elementwise(ADD, dx, part)
            place += width
        return dx if needs_inputs else None

    def config(self) -> dict[str, Any]:
        """The branches."""
        return {"branches": [list(branch) for branch in self._branches]}

    def __repr__(self) -> str:
        inside = ", ".join(f"[{', '.join(map(repr, branch))}]" for branch in self._branches)
        return f"Concatenate([{inside}])"


def _checked(place: str, branch: Any) -> tuple[Layer, ...]:
    """The layers of a branch."""
    if isinstance(branch, Layer):
        return (branch,)
    if not isinstance(branch, (list, tuple)) or not all(isinstance(e, Layer) for e in branch):
        raise TypeError(f"{place}: {checks.shown(branch)} is no layer or list of layers")
    return tuple(branch)
