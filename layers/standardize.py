"""A layer that scales the data by what it has seen of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels.runtime import checks
from kernels.standardize import STANDARDIZE_BACKWARD, STANDARDIZE_FORWARD
from layers import frames
from layers.backends import active
from layers.base import Array, DType, Layer


class Standardize(Layer):
    """Standardizes columns: y = (x - mean) / deviation, by data that `adapt` has seen.

    Mean and deviation are part of the model: saved with it, and used by `predict`. Training does
    not move them. A column that is constant has the deviation 1, so it becomes 0.

    Parameters
    ----------
    n : int
        Width.
    dtype : {"float32", "float64"}
        Of a layer that stands alone; in a model, the model's counts.

    Examples
    --------
    >>> model = layers.Sequential([layers.Standardize(13), layers.Dense(13, 1)], ...)
    >>> model.layers[0].adapt(x_train)
    >>> model.fit(x_train, y_train)
    """

    gives = "scores"

    def __init__(self, n: int, *, dtype: DType = "float32") -> None:
        self._n = checks.integer("Standardize", "n", n, 1)
        self.dtype = checks.real_dtype("Standardize", dtype)

    @property
    def n_in(self) -> int:
        """Width of input and output."""
        return self._n

    # --- statistics ---

    def statistic_shapes(self) -> dict[str, tuple[int, int]]:
        """Shapes of ``mean`` and ``deviation``."""
        return {"mean": (1, self._n), "deviation": (1, self._n)}

    @property
    def mean(self) -> Array:
        """Of each column, (1, n)."""
        return self.statistics()["mean"]

    @property
    def deviation(self) -> Array:
        """Of each column, (1, n); all 0 before `adapt`."""
        return self.statistics()["deviation"]

    @property
    def is_adapted(self) -> bool:
        """Whether it has seen data, or has been loaded with a model that has."""
        return bool(self.deviation.all())

    def adapt(self, x: Any) -> None:
        """Learn mean and deviation of each column, in float64; what was known is forgotten.

        Parameters
        ----------
        x : array_like, (rows, n)
            Finite numbers of at least two rows: those to train on, not those to test on.

        Raises
        ------
        TypeError, ValueError
            x is not as described; nothing has changed.
        """
        place = "Standardize.adapt"
        checked = frames.real(place, "x", x, np.dtype(np.float64), ("rows", self._n))
        if len(checked) < 2:
            raise ValueError(f"{place}: x has {len(checked)} row, expected at least 2")
        found = np.empty((2, self._n))
        with np.errstate(all="ignore"):  # what is not finite is named below
            active().standardize_statistics(checked, found)
            rounded = found.astype(self.dtype)
        wrong = ~(np.isfinite(rounded).all(axis=0) & (rounded[1] > 0))
        if wrong.any():
            column = int(wrong.argmax())
            raise ValueError(
                f"{place}: column {column} of x has mean {found[0, column]:g} and deviation "
                f"{found[1, column]:g}, expected finite numbers that {self.dtype} can hold"
            )
        self._own_statistics()[...] = rounded.reshape(1, -1)

    def _given(self) -> Array:
        """Means and deviations, (2, n)."""
        if not self.is_adapted:
            raise ValueError(
                f"Standardize.forward: {self!r} has seen no data, expected adapt(x) first"
            )
        return self._own_statistics().reshape(2, self._n)

    # --- passes ---

    def run_forward(self, run: Any, x: Any, training: bool) -> Any:
        """Columns without their mean, divided by their deviation."""
        return run.rowwise(STANDARDIZE_FORWARD, x, parameters=self._given())

    def run_backward(self, run: Any, x: Any, y: Any, dy: Any, needs_inputs: bool) -> Any:
        """The gradient, divided by the deviation."""
        if not needs_inputs:
            return None
        return run.rowwise(STANDARDIZE_BACKWARD, dy, parameters=self._given())

    def bind(
        self,
        parameters: Mapping[str, Array],
        gradients: Mapping[str, Array],
        default: str,
        key: int,
        index: int,
    ) -> None:
        """Nothing: it has no parameters."""

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, JSON-serialisable."""
        return {"n": self._n}

    def __repr__(self) -> str:
        return f"Standardize({self._n})"
