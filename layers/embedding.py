"""Columns of categories as vectors that are learnt."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels.embedding import EMBEDDING_FORWARD, EMBEDDING_INPUTS, EMBEDDING_WEIGHTS
from kernels.runtime import checks
from layers import initializers, seeds
from layers.base import Array, DType
from layers.parametrized import Parametrized, gradient, parameter

_MOST_CATEGORIES = 2**24
"""Whole numbers up to here are exact in float32."""
_LIMIT = 0.05
"""First numbers of vectors are uniform in [-0.05, 0.05), as in Keras."""


class Embedding(Parametrized):
    """Replaces columns of category numbers by vectors, one for each category, that are learnt.

    The columns of the output are those of x that are passed on, in their order, then the vectors
    of ``columns``, in theirs. The gradient of a category's vector is the sum over the rows of the
    batch that have it, in ascending order, so it is the same on any number of threads.

    It reads the data, so it is the first layer of a model. Category numbers are checked before
    anything is computed: in `fit`, `predict`, `evaluate`, and in validation data.

    Parameters
    ----------
    n_in : int
        Columns of the data.
    columns : sequence of int
        Which of them hold category numbers, from 0.
    sizes : sequence of int
        How many categories each of these has; its numbers are whole, from 0 to below that.
    width : int
        Length of a vector.
    seed : int, numpy.random.Generator or None
        Of the first vectors, where the layer stands alone; in a model, the model's seed counts.
    dtype : {"float32", "float64"}
        Of a layer that stands alone; in a model, the model's counts.

    Examples
    --------
    Of six columns the fourth has 10 categories and the sixth 4; the output has 4 + 2 * 8 columns:

    >>> layers.Embedding(6, columns=[3, 5], sizes=[10, 4], width=8).n_out
    20
    """

    gives = "scores"
    takes_data = True

    def __init__(
        self,
        n_in: int,
        columns: Any,
        sizes: Any,
        width: int,
        *,
        seed: Any = None,
        dtype: DType = "float32",
    ) -> None:
        super().__init__(dtype)
        self._n_in = checks.integer("Embedding", "n_in", n_in, 1)
        self._columns = _whole("columns", columns, 0, self._n_in - 1)
        self._sizes = _whole("sizes", sizes, 1, _MOST_CATEGORIES)
        self._width = checks.integer("Embedding", "width", width, 1)
        if len(self._sizes) != len(self._columns):
            raise ValueError(
                f"Embedding: sizes has {len(self._sizes)} numbers, expected {len(self._columns)}, "
                "one for each of columns"
            )
        if len(set(self._columns)) < len(self._columns):
            raise ValueError(f"Embedding: columns is {columns!r}, expected each column once")
        self._key = seeds.key_of("Embedding", seed)

    @property
    def n_in(self) -> int:
        """Columns of the data."""
        return self._n_in

    @property
    def n_out(self) -> int:
        """Columns of the output."""
        return self._n_in + len(self._columns) * (self._width - 1)

    @property
    def columns(self) -> tuple[int, ...]:
        """Which columns hold category numbers."""
        return self._columns

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many categories each of them has."""
        return self._sizes

    @property
    def width(self) -> int:
        """Length of a vector."""
        return self._width

    # --- parameters ---

    def parameter_shapes(self) -> dict[str, tuple[int, int]]:
        """Shape of ``weights``: a row for each category, the columns' one below the other."""
        return {"weights": (sum(self._sizes), self._width)}

    def start(self, parameters: Mapping[str, Array], default: str, key: int, index: int) -> None:
        """Small random numbers."""
        initializers.spread(parameters["weights"], _LIMIT, key, index)

    weights: Array = parameter("weights", "The vectors, (categories of all columns, width).")
    dweights: Array | None = gradient(
        "weights", "Gradient of the weights, None before the first backward."
    )

    def vectors(self, column: int) -> Array:
        """The vectors of one column's categories, (categories, width): a view of the weights."""
        if column not in self._columns:
            raise ValueError(
                f"Embedding.vectors: column is {column!r}, expected one of {list(self._columns)}"
            )
        at = self._columns.index(column)
        first = sum(self._sizes[:at])
        return self.weights[first : first + self._sizes[at]]

    # --- passes ---

    def _numbers(self) -> tuple[float, ...]:
        """What becomes of each column; see ``kernels/embedding.py``."""
        place = first = 0
        of_column: dict[int, tuple[int, int, int]] = {}
        for column in range(self._n_in):
            if column not in self._columns:
                of_column[column] = 0, 0, place
                place += 1
        for column, size in zip(self._columns, self._sizes, strict=True):
            of_column[column] = size, first, place
            place, first = place + self._width, first + size
        each = [number for column in range(self._n_in) for number in of_column[column]]
        return tuple(map(float, [self._width, place, self._n_in, first, *each]))

    def run_forward(self, run: Any, x: Any, training: bool) -> Any:
        """Each row's columns, or the vectors of its categories."""
        self._own_arrays()
        weights, numbers = self._parameters["weights"], self._numbers()
        return run.rowwise(
            EMBEDDING_FORWARD, x, parameters=weights, numbers=numbers, n_out=self.n_out
        )

    def run_backward(self, run: Any, x: Any, y: Any, dy: Any, needs_inputs: bool) -> Any:
        """The gradient of the vectors, then of x: 0 for categories."""
        self._own_arrays()
        numbers = self._numbers()
        run.gradient(EMBEDDING_WEIGHTS, x, dy, out=self._gradients["weights"], numbers=numbers)
        if not needs_inputs:
            return None
        return run.rowwise(EMBEDDING_INPUTS, dy, numbers=numbers, n_out=self._n_in)

    def check_data(self, place: str, name: str, x: Array) -> None:
        """Raise ValueError for the first number of x that is no category of its column."""
        for column, size in zip(self._columns, self._sizes, strict=True):
            given = x[:, column]
            wrong = ~((given >= 0) & (given < size) & (given == np.floor(given)))
            if wrong.any():
                row = int(wrong.argmax())
                raise ValueError(
                    f"{place}: {name}[{row}, {column}] is {given[row]:g}, expected a whole number "
                    f"from 0 to {size - 1}, as {self!r} takes in column {column}"
                )

    def _checked_input(self, x: Any, n_in: int | str) -> Array:
        checked = super()._checked_input(x, n_in)
        self.check_data("Embedding.forward", "x", checked)
        return checked

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, JSON-serialisable."""
        return {
            "n_in": self._n_in,
            "columns": list(self._columns),
            "sizes": list(self._sizes),
            "width": self._width,
        }

    def __repr__(self) -> str:
        return (
            f"Embedding({self._n_in}, columns={list(self._columns)}, sizes={list(self._sizes)}, "
            f"width={self._width})"
        )


def _whole(name: str, given: Any, least: int, most: int) -> tuple[int, ...]:
    """A list of at least one integer."""
    if not isinstance(given, (list, tuple, range, np.ndarray)) or len(given) == 0:
        raise TypeError(f"Embedding: {name} is {checks.shown(given)}, expected a list of integers")
    return tuple(
        checks.integer("Embedding", f"{name}[{at}]", each, least, most)
        for at, each in enumerate(given)
    )
