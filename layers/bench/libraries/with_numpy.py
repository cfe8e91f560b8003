"""NumPy: a step written by hand."""

import importlib
from collections.abc import Iterator
from typing import Any

from layers.bench.cases import LEARNING_RATE
from layers.bench.libraries.base import Looping

# As for the other libraries; the package itself computes no product with NumPy.
np: Any = importlib.import_module("numpy")


class Numpy(Looping):
    """Products by NumPy's BLAS."""

    def build(self) -> None:
        """Batches are views."""
        self.random = np.random.default_rng(0)
        self.batches = self.sliced(self.x, self.y)

    def reset(self) -> None:
        """Copy the initial weights."""
        self.parameters = [(w.copy(), b.copy()) for w, b in self.weights]

    def step(self, x: Any, y: Any) -> Any:
        """Forward, loss, backward, SGD."""
        parameters, rows = self.parameters, np.arange(len(y))
        outputs = self.forward(x)
        z = outputs.pop()
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        loss = -np.log(p[rows, y]).mean()
        p[rows, y] -= 1
        dz = p / len(y)
        for index in reversed(range(len(parameters))):
            w, b = parameters[index]
            h = outputs[index]
            dw, db = np.matmul(h.T, dz), dz.sum(axis=0)
            if index:
                dz = np.matmul(dz, w.T)
                dz[h <= 0] = 0
            w -= LEARNING_RATE * dw
            b -= LEARNING_RATE * db
        return loss

    def forward(self, x: Any) -> list[Any]:
        """Each layer's input, and the logits."""
        outputs, last = [x], len(self.parameters) - 1
        for index, (w, b) in enumerate(self.parameters):
            z = np.matmul(outputs[-1], w)
            z += b
            outputs.append(np.maximum(z, 0) if index < last else z)
        return outputs

    def shuffled(self) -> Iterator[tuple[Any, Any]]:
        """A permutation, and ``x[rows]``."""
        order = self.random.permutation(self.case.rows)
        for rows in order.reshape(-1, self.case.batch):
            yield self.x[rows], self.y[rows]

    def predict(self, times: int) -> float:
        """Forward and argmax."""
        x = self.x[:1]
        for _ in range(times):
            classes = self.forward(x)[-1].argmax(axis=1)
        return float(classes[0])
