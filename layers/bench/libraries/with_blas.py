"""Numba and a BLAS: a whole pass in one compiled call, with every product by ``cblas_sgemm``."""

import importlib
import importlib.metadata
from typing import Any

from layers.bench.cases import LEARNING_RATE, Case
from layers.bench.libraries import blas
from layers.bench.libraries.base import Side
from layers.bench.libraries.blas_passes import compiled
from layers.compiled.buffers import aligned_zeros

# As for the other libraries; the package itself computes no product with NumPy.
np: Any = importlib.import_module("numpy")

_LINE = 16
"""Numbers in a cache line: where an array starts."""


class _WithBlas(Side):
    """One flat array of parameters and one workspace; nothing is allocated while it trains."""

    train: Any
    classify: Any
    """Made by `start`, so that one compilation serves all cases."""

    def build(self) -> None:
        """Lay the arrays out, from cache line to cache line."""
        self.plan, parameters, outputs = planned(self.case)
        self.parameters = aligned(parameters)
        self.outputs, self.slopes = aligned(outputs), aligned(outputs)
        gathered = aligned(self.case.batch * self.case.widths[0])
        self.batch = gathered.reshape(self.case.batch, -1), np.empty(self.case.batch, np.int64)
        self.of_rows = np.empty((2, self.case.batch), np.float32)
        self.order, self.in_order = np.arange(self.case.rows), np.empty(0, np.int64)
        inputs = aligned(self.x.size).reshape(self.x.shape)
        inputs[...] = self.x
        self.x = inputs

    def reset(self) -> None:
        """Copy the initial weights, the last layer's as (n_out, n_in)."""
        for index, (place, (w, b)) in enumerate(zip(self.plan, self.weights, strict=True)):
            last = index == len(self.plan) - 1
            self.parameters[place["weights"] :][: w.size] = (w.T if last else w).ravel()
            self.parameters[place["biases"] :][: b.size] = b

    def first_batch(self) -> float:
        """A pass over the first batch."""
        rows = slice(0, self.case.batch)
        return self._pass(self.x[rows], self.y[rows], self.in_order)

    def steps(self, passes: int) -> float:
        """One compiled call per pass; batches are read where they lie."""
        for _ in range(passes):
            loss = self._pass(self.x, self.y, self.in_order)
        return loss

    def epoch(self) -> float:
        """One compiled call, in which rows are shuffled and gathered."""
        return self._pass(self.x, self.y, self.order)

    def _pass(self, x: Any, y: Any, order: Any) -> float:
        arrays = (self.plan, self.parameters, self.outputs, self.slopes, self.batch, self.of_rows)
        return float(self.train(x, y, order, *arrays))

    def predict(self, times: int) -> float:
        """One compiled call per row."""
        x, classify = self.x[:1], self.classify
        plan, parameters, outputs = self.plan, self.parameters, self.outputs
        for _ in range(times):
            class_ = classify(x, plan, parameters, outputs)
        return float(class_)


class Mkl(_WithBlas):
    """MKL."""

    @classmethod
    def start(cls, threads: int) -> dict[str, str]:
        """MKL and its OpenMP read the number of threads from the environment."""
        cls.train, cls.classify = map(staticmethod, compiled(blas.mkl(), LEARNING_RATE))
        return {"mkl": importlib.metadata.version("mkl")}


class OpenBlas(_WithBlas):
    """OpenBLAS, as SciPy builds it."""

    @classmethod
    def start(cls, threads: int) -> dict[str, str]:
        """OpenBLAS reads the number of threads from the environment."""
        cls.train, cls.classify = map(staticmethod, compiled(blas.openblas(), LEARNING_RATE))
        return {"scipy-openblas32": importlib.metadata.version("scipy-openblas32")}


def planned(case: Case) -> tuple[Any, int, int]:
    """Each layer's widths and the places of its arrays; how long all are together."""
    names = ("n_in", "n_out", "weights", "biases", "outputs")
    places = []
    parameters = outputs = 0
    for n_in, n_out in zip(case.widths, case.widths[1:], strict=False):
        biases = parameters + whole_lines(n_in * n_out)
        places.append((n_in, n_out, parameters, biases, outputs))
        parameters = biases + whole_lines(n_out)
        outputs += whole_lines(case.batch * n_out)
    return np.array(places, [(name, np.int64) for name in names]), parameters, outputs


def whole_lines(size: int) -> int:
    """The next multiple of a cache line's numbers."""
    return -(-size // _LINE) * _LINE


def aligned(size: int) -> Any:
    """Zeros, (size,), float32, from the start of a cache line."""
    return aligned_zeros(size, np.dtype(np.float32))[0]
