"""Layers that normalize: each column by its batch, or each row by itself."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels import norms
from kernels.product.column_sum import COLUMN_SUM
from kernels.runtime import checks
from layers.base import Array, DType
from layers.parametrized import Parametrized, gradient, parameter, statistic


class Normalization(Parametrized):
    """What `BatchNorm` and `LayerNorm` have in common: a gain and a shift of each column.

    Parameters
    ----------
    n : int
        Width.
    epsilon : float
        Added to the variance, at least 0.
    dtype : {"float32", "float64"}
        Of a layer that stands alone; in a model, the model's counts.
    """

    gives = "scores"
    decayed: tuple[str, ...] = ()

    def __init__(self, n: int, epsilon: float, dtype: Any) -> None:
        super().__init__(dtype)
        place = type(self).__name__
        self._n = checks.integer(place, "n", n, 1)
        self._epsilon = checks.number(place, "epsilon", epsilon, 0)

    @property
    def n_in(self) -> int:
        """Width of input and output."""
        return self._n

    @property
    def epsilon(self) -> float:
        """What is added to the variance."""
        return self._epsilon

    # --- parameters ---

    def parameter_shapes(self) -> dict[str, tuple[int, int]]:
        """Shapes of ``weights`` and ``biases``."""
        return {"weights": (1, self._n), "biases": (1, self._n)}

    def start(self, parameters: Mapping[str, Array], default: str, key: int, index: int) -> None:
        """A gain of 1, a shift of 0."""
        parameters["weights"][...] = 1

    weights: Array = parameter("weights", "The gain of each column, (1, n): ones at first.")
    biases: Array = parameter("biases", "The shift of each column, (1, n): zeros at first.")
    dweights: Array | None = gradient(
        "weights", "Gradient of the weights, None before the first backward."
    )
    dbiases: Array | None = gradient(
        "biases", "Gradient of the biases, None before the first backward."
    )


class BatchNorm(Normalization):
    """Batch normalization: y = weights (x - mean) / sqrt(variance + epsilon) + biases, by columns.

    In training mean and variance are those of the batch, and the gradient goes through both; then
    the running ones move: running <- (1 - momentum) running + momentum batch, where the variance of
    the batch is the unbiased one. Otherwise they are the running ones, so that what is predicted
    for a row does not depend on other rows. It is PyTorch's ``BatchNorm1d``, whose ``weight``,
    ``bias``, ``running_mean`` and ``running_var`` are ``weights``, ``biases``, ``running_mean`` and
    ``running_variance``.

    Weight decay reaches neither weights nor biases. A batch of training has at least two rows.

    Parameters
    ----------
    n : int
        Width.
    momentum : float
        How much of a batch's statistics is taken, from 0 to 1.
    epsilon : float
        Added to the variance, at least 0.
    dtype : {"float32", "float64"}
        Of a layer that stands alone; in a model, the model's counts.

    Notes
    -----
    S. Ioffe and C. Szegedy, "Batch Normalization", 2015.
    """

    least_rows = 2

    def __init__(
        self, n: int, momentum: float = 0.1, epsilon: float = 1e-5, *, dtype: DType = "float32"
    ) -> None:
        super().__init__(n, epsilon, dtype)
        self._momentum = checks.number("BatchNorm", "momentum", momentum, 0)
        if self._momentum > 1:
            raise ValueError(f"BatchNorm: momentum is {momentum!r}, expected a number from 0 to 1")

    @property
    def momentum(self) -> float:
        """How much of a batch's statistics is taken."""
        return self._momentum

    def run_forward(self, run: Any, x: Any, training: bool) -> Any:
        """Columns normalized by the batch's statistics in training, else by the running ones."""
        self._own_arrays()
        table = self._batch_table(run, x) if training else self._running_table(run)
        run.keep(self, (table, training))
        return run.rowwise(
            norms.BATCH_NORM_FORWARD, x, self._parameters["biases"], parameters=table
        )

    def run_backward(self, run: Any, x: Any, y: Any, dy: Any, needs_inputs: bool) -> Any:
        """Gradients of weights and biases, then of x, through mean and variance."""
        self._own_arrays()
        table, training = run.kept(self)
        dx = None
        if not training:
            table = self._running_table(run)
            if needs_inputs:  # while the table has no sums: mean and variance are constants
                dx = run.rowwise(norms.BATCH_NORM_BACKWARD, x, dy, parameters=table)
        run.columnwise(norms.BATCH_NORM_SUMS, x, dy, rows=norms.ROWS, out=table)
        run.gradient(norms.BATCH_NORM_DWEIGHTS, table, out=self._gradients["weights"])
        run.gradient(norms.BATCH_NORM_DBIASES, table, out=self._gradients["biases"])
        if training and needs_inputs:
            dx = run.rowwise(norms.BATCH_NORM_BACKWARD, x, dy, parameters=table)
        return dx

    def _batch_table(self, run: Any, x: Any) -> Any:
        weights, numbers = self._parameters["weights"], (self._epsilon,)
        table = run.columnwise(
            norms.BATCH_NORM_STATISTICS, x, weights, rows=norms.ROWS, numbers=numbers
        )
        moves = norms.RUNNING_STATISTICS.operation
        run.statistics(moves, table, self._own_statistics(), (self._momentum,))
        return table

    def _running_table(self, run: Any) -> Any:
        weights, numbers = self._parameters["weights"], (self._epsilon,)
        running = self._own_statistics().reshape(2, self._n)
        return run.columnwise(
            norms.BATCH_NORM_RUNNING, running, weights, rows=norms.ROWS, numbers=numbers
        )

    def why_rows(self) -> str:
        """One row has no variance."""
        return "in training it divides by the batch's deviation, and one row has none"

    # --- statistics ---

    def statistic_shapes(self) -> dict[str, tuple[int, int]]:
        """Shapes of ``running_mean`` and ``running_variance``."""
        return {"running_mean": (1, self._n), "running_variance": (1, self._n)}

    def first_statistics(self, statistics: Mapping[str, Array]) -> None:
        """Means of 0, variances of 1."""
        statistics["running_variance"][...] = 1

    running_mean: Array = statistic("running_mean", "Of each column, (1, n).")

    @property
    def running_variance(self) -> Array:
        """Of each column, unbiased, (1, n)."""
        return self.statistics()["running_variance"]

    @running_variance.setter
    def running_variance(self, value: Array) -> None:
        place = "BatchNorm.running_variance"
        if not np.all(checks.real(place, "running_variance", value, self.dtype) >= 0):
            raise ValueError(
                f"{place}: running_variance is {checks.shown(value)}, expected at least 0 each"
            )
        checked = self._checked("running_variance", value, (1, self._n))
        self.running_variance[...] = checked

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, JSON-serialisable."""
        return {"n": self._n, "momentum": self._momentum, "epsilon": self._epsilon}

    def __repr__(self) -> str:
        momentum = "" if self._momentum == 0.1 else f", momentum={self._momentum:g}"
        epsilon = "" if self._epsilon == 1e-5 else f", epsilon={self._epsilon:g}"
        return f"BatchNorm({self._n}{momentum}{epsilon})"


class LayerNorm(Normalization):
    """Layer normalization: y = weights (x - mean) / sqrt(variance + epsilon) + biases, by rows.

    Mean and biased variance are those of the row itself, so training and prediction are the same.
    It is PyTorch's ``LayerNorm(n)``. Weight decay reaches neither weights nor biases.

    Parameters
    ----------
    n : int
        Width.
    epsilon : float
        Added to the variance, at least 0.
    dtype : {"float32", "float64"}
        Of a layer that stands alone; in a model, the model's counts.

    Notes
    -----
    J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer Normalization", 2016.
    """

    def __init__(self, n: int, epsilon: float = 1e-5, *, dtype: DType = "float32") -> None:
        super().__init__(n, epsilon, dtype)

    def run_forward(self, run: Any, x: Any, training: bool) -> Any:
        """Each row normalized."""
        self._own_arrays()
        weights, biases = self._parameters["weights"], self._parameters["biases"]
        numbers = (self._epsilon,)
        return run.rowwise(norms.LAYER_NORM_FORWARD, x, weights, parameters=biases, numbers=numbers)

    def run_backward(self, run: Any, x: Any, y: Any, dy: Any, needs_inputs: bool) -> Any:
        """Gradients of weights and biases, then of x, through mean and variance."""
        self._own_arrays()
        numbers = (self._epsilon,)
        normalized = run.rowwise(norms.LAYER_NORM_NORMALIZED, x, numbers=numbers)
        run.gradient(norms.COLUMN_PRODUCTS, normalized, dy, out=self._gradients["weights"])
        run.gradient(COLUMN_SUM, dy, out=self._gradients["biases"])
        if not needs_inputs:
            return None
        weights = self._parameters["weights"]
        return run.rowwise(norms.LAYER_NORM_BACKWARD, x, dy, parameters=weights, numbers=numbers)

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, JSON-serialisable."""
        return {"n": self._n, "epsilon": self._epsilon}

    def __repr__(self) -> str:
        epsilon = "" if self._epsilon == 1e-5 else f", epsilon={self._epsilon:g}"
        return f"LayerNorm({self._n}{epsilon})"
