"""A model's plan at work: whole mini-batches in each compiled call."""

import math
from typing import NamedTuple

import numpy as np

from kernels.network import interpreter
from kernels.runtime import checks
from layers.base import Array
from layers.compiled.buffers import aligned_zeros
from layers.compiled.lowering import Plan
from layers.compiled.tuning import Pace

_ROWS = 1024
"""Rows that go through the layers together in inference."""
_LONG_SECONDS = 0.1
"""A batch that takes longer is cut into a call for each layer, so that Ctrl-C need not wait."""
_DIRECT = 2**19
"""Multiply-adds of inference (10 us) up to which nobody asks how long it took."""


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
        self._no_targets = self._no_scores = np.empty((0, 1), parameters.dtype)
        self._no_classes = np.empty(0, np.int64)
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
        indices, targets = (
            (labels, self._no_targets) if labels.ndim == 1 else (self._no_classes, labels)
        )

        kind = batch_size.bit_length()  # not each of a loader's many sizes anew
        pace = self._pace(kind, 3 * self._plan.multiply_adds * batch_size)
        most = -(-len(order) // batch_size)
        programs: tuple[Array, ...] = (self._plan.training,)
        if pace.unit_seconds > _LONG_SECONDS:
            most, programs = 1, self._plan.apart

        def run(batches: int, count: int) -> tuple[float, float, float, float]:
            right = 0.0
            for program in programs:
                loss, losses, rows, counted = interpreter.train.on_threads(
                    count,
                    *(x, order[: batches * batch_size], indices, targets, program),
                    *(rate, batch_size, totals.loss, self._parameters, self._space),
                )
                right += counted
            return loss, losses, rows, right  # of the last, which moves the parameters

        loss, losses, rows, right = pace.run(most, run)
        if not math.isfinite(loss):
            self._paces.pop(kind, None)  # it counts batches that were not begun
        return loss, Totals(losses, totals.rows + int(rows), totals.right + int(right))

    def scores(self, x: Array, out: Array) -> None:
        """The last layer's scores for each row of x."""
        self._infer(self._plan.scoring, x, out, self._no_classes)

    def classes(self, x: Array, out: Array) -> int:
        """The class of each row of x; how many rows have none, and get -1, for a NaN."""
        return self._infer(self._plan.predicting, x, self._no_scores, out)

    def _infer(self, program: Array, x: Array, scores: Array, classes: Array) -> int:
        plan, rows = self._plan, len(x)
        if rows * plan.multiply_adds <= _DIRECT:
            return interpreter.infer.serial(  # type: ignore[no-any-return]
                x, program, self._parameters, _ROWS, scores, classes, 1
            )
        unit = min(rows, _ROWS)
        pace = self._pace(-unit.bit_length(), plan.multiply_adds * unit)
        at = without = 0
        while at < rows:
            checks.unshrunk("Sequential", "x", x)

            def run(units: int, count: int, at: int = at) -> tuple[int, int]:
                part = slice(at, at + units * unit)
                some = x[part], program, self._parameters, unit, scores[part], classes[part]
                return units * unit, interpreter.infer.on_threads(count, *some)

            done, missing = pace.run(-(-(rows - at) // unit), run)
            at, without = at + done, without + missing
        return without

    def _pace(self, kind: int, multiply_adds: int) -> Pace:
        if kind not in self._paces:
            self._paces[kind] = Pace(multiply_adds)
        return self._paces[kind]

    def _make_space(self, batch_size: int) -> None:
        size = self._plan.width * batch_size
        if self._space.size < size:
            try:
                self._space = aligned_zeros(size, self._space.dtype)
            except MemoryError as error:
                raise MemoryError(
                    f"Sequential.fit: no memory for a workspace of {size * self._space.itemsize:,} "
                    f"bytes, for what batches of {batch_size} rows become on their way: expected a "
                    "smaller batch_size"
                ) from error
