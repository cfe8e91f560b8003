"""JAX: a compiled step called from Python, and a whole pass in one compiled call."""

import importlib
from typing import Any

import numpy as np

from layers.bench.cases import LEARNING_RATE
from layers.bench.libraries.base import Looping

jax: Any = importlib.import_module("jax")
jnp: Any = importlib.import_module("jax.numpy")


def _scores(parameters: Any, x: Any) -> Any:
    *hidden, last = parameters
    for w, b in hidden:
        x = jax.nn.relu(jnp.matmul(x, w) + b)
    return jnp.matmul(x, last[0]) + last[1]


def _loss(parameters: Any, x: Any, y: Any) -> Any:
    logs = jax.nn.log_softmax(_scores(parameters, x))
    return -jnp.take_along_axis(logs, y[:, None], axis=1).mean()


def _step(parameters: Any, x: Any, y: Any) -> Any:
    loss, gradients = jax.value_and_grad(_loss)(parameters, x, y)
    return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, parameters, gradients), loss


def _gathered_step(parameters: Any, x: Any, y: Any, rows: Any) -> Any:
    return _step(parameters, x[rows], y[rows])


def _scanned(parameters: Any, x: Any, y: Any) -> Any:
    parameters, losses = jax.lax.scan(lambda p, batch: _step(p, *batch), parameters, (x, y))
    return parameters, losses[-1]


def _scanned_epoch(parameters: Any, x: Any, y: Any, order: Any) -> Any:
    def step(parameters: Any, rows: Any) -> Any:
        return _gathered_step(parameters, x, y, rows)

    parameters, losses = jax.lax.scan(step, parameters, order)
    return parameters, losses[-1]


class Jax(Looping):
    """``jax.jit`` of a step, which donates the old parameters' memory."""

    @classmethod
    def start(cls, threads: int) -> dict[str, str]:
        """JAX uses as many threads as it has CPUs."""
        return {"jax": jax.__version__, "jaxlib": jax.lib.__version__}

    def build(self) -> None:
        """Make batches as JAX arrays, so that a step copies nothing."""
        self.random = np.random.default_rng(0)
        self.inputs, self.labels = jnp.asarray(self.x), jnp.asarray(self.y.astype(np.int32))
        self._compiled = jax.jit(_step, donate_argnums=0)
        self._compiled_gathered = jax.jit(_gathered_step, donate_argnums=0)
        self._compiled_predict = jax.jit(lambda p, x: _scores(p, x).argmax(axis=1))
        if self.case.kind == "step":
            self.batches = self.sliced(self.inputs, self.labels)
        else:  # slices are copies here
            few = slice(0, self.case.batch)
            self.batches = [(self.inputs[few], self.labels[few])]

    def reset(self) -> None:
        """Copy the initial weights."""
        self.parameters = jax.tree.map(jnp.array, self.weights)

    def step(self, x: Any, y: Any) -> Any:
        """Forward, loss, backward, SGD."""
        self.parameters, loss = self._compiled(self.parameters, x, y)
        return loss

    def order(self) -> Any:
        """The shuffled rows, (batches, batch)."""
        order = self.random.permutation(self.case.rows).astype(np.int32)
        return order.reshape(-1, self.case.batch)

    def shuffled(self) -> Any:
        """Not used: batches are gathered in the compiled step."""
        raise NotImplementedError

    def epoch(self) -> float:
        """Make a permutation, then take a gathering step for each batch."""
        parameters, step = self.parameters, self._compiled_gathered
        for rows in self.order():
            parameters, loss = step(parameters, self.inputs, self.labels, rows)
        self.parameters = parameters
        return self.finished(loss)

    def finished(self, loss: Any) -> float:
        """Wait for the parameters: calls return before they are computed."""
        jax.block_until_ready(self.parameters)
        return float(loss)

    def predict(self, times: int) -> float:
        """Forward and argmax, from and to NumPy."""
        x, parameters, predict = self.x[:1], self.parameters, self._compiled_predict
        for _ in range(times):
            classes = np.asarray(predict(parameters, x))
        return float(classes[0])


class JaxScan(Jax):
    """``jax.lax.scan`` over the batches: a whole pass without returning to Python."""

    def build(self) -> None:
        """Compile for all batches at once."""
        super().build()
        case = self.case
        if case.kind == "step":
            self._stacked = (
                self.inputs.reshape(case.batches, case.batch, -1),
                self.labels.reshape(case.batches, case.batch),
            )
        self._compiled_scan = jax.jit(_scanned, donate_argnums=0)
        self._compiled_epoch = jax.jit(_scanned_epoch, donate_argnums=0)

    def steps(self, passes: int) -> float:
        """Make one compiled call per pass."""
        for _ in range(passes):
            self.parameters, loss = self._compiled_scan(self.parameters, *self._stacked)
        return self.finished(loss)

    def epoch(self) -> float:
        """Make a permutation, then one compiled call."""
        self.parameters, loss = self._compiled_epoch(
            self.parameters, self.inputs, self.labels, self.order()
        )
        return self.finished(loss)
