"""A model's plan at work: whole mini-batches in each compiled call."""

from typing import Any, NamedTuple

import numpy as np

from kernels import network
from layers.base import Array
from layers.buffers import aligned_zeros
from layers.pace import Pace
from layers.plan import Plan

_ROWS = 1024
"""Rows that go through the layers together in inference."""
_DIRECT = 2**19
"""Multiply-adds of inference (10 us) up to which nobody asks how long it took."""

_NO_LABELS = np.empty(0, np.int64)


class Totals(NamedTuple):
    """What has been trained on: sum over rows of their batch's loss, rows, right predictions."""

    loss: float = 0.0
    rows: int = 0
    right: int = 0


class Compiled:
    """Runs a model's plan on its parameters.

    Parameters
    ----------
    plan : Plan
    parameters : ndarray, (1, size)
        The model's flat buffer.
    """

    def __init__(self, plan: Plan, parameters: Array) -> None:
        self._plan = plan
        self._parameters = parameters
        self._no_targets = np.empty((0, 1), parameters.dtype)
        self._space = np.empty((1, 0), parameters.dtype)
        self._paces: dict[int, Pace] = {}

    def train(
        self, x: Array, labels: Array, order: Array, batch_size: int, rate: float, totals: Totals
    ) -> tuple[float, Totals]:
        """Train on the rows in ``order``, as many as one call is to last.

        The last batch's loss, and the totals. Where it is not finite, training has stopped before
        that batch's update.
        """
        batch_size = min(batch_size, len(order))
        self._make_space(batch_size)
        indices, targets = (labels, self._no_targets) if labels.ndim == 1 else (_NO_LABELS, labels)

        def run(batches: int, count: int) -> Any:
            return network.train.on_threads(
                count,
                *(x, order[: batches * batch_size], indices, targets, self._plan.training),
                *(rate, batch_size, totals.loss, self._parameters, self._space),
            )

        pace = self._pace(batch_size, 3 * self._plan.multiply_adds * batch_size)
        loss, losses, rows, right = pace.run(-(-len(order) // batch_size), run)
        return loss, Totals(losses, totals.rows + int(rows), totals.right + int(right))

    def scores(self, x: Array, out: Array) -> None:
        """The last layer's scores for each row of x."""
        plan, rows = self._plan, len(x)
        if rows * plan.multiply_adds <= _DIRECT:
            network.infer.serial(x, plan.inference, self._parameters, rows, out, 1)
            return
        unit = min(rows, _ROWS)
        pace = self._pace(-unit, plan.multiply_adds * unit)
        at = 0
        while at < rows:

            def run(units: int, count: int, at: int = at) -> int:
                part = slice(at, at + units * unit)
                network.infer.on_threads(
                    count, x[part], plan.inference, self._parameters, unit, out[part]
                )
                return units * unit

            at += pace.run(-(-(rows - at) // unit), run)

    def _pace(self, kind: int, multiply_adds: int) -> Pace:
        if kind not in self._paces:
            self._paces[kind] = Pace(multiply_adds)
        return self._paces[kind]

    def _make_space(self, batch_size: int) -> None:
        size = self._plan.width * batch_size
        if self._space.size < size:
            self._space = aligned_zeros(size, self._space.dtype)
