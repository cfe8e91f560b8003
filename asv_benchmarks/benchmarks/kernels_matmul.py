"""The matrix product, square: out = op(a) . op(b)."""

from functools import partial

import kernels

from .common import Data, Timed
from .in_turns import BesideNumPy

SIZES = [8, 32, 128, 512, 1024]
TRANSPOSES = {
    "aT . b": (True, False),
    "a . bT": (False, True),
    "aT . bT": (True, True),
}


class Square(Timed):
    params = [SIZES]
    param_names = ["n"]

    def setup(self, n):
        data = Data()
        a, b, out = data.numbers(n, n), data.numbers(n, n), data.output(n, n)
        self.prepare(kernels.matmul.bare, a, b, out, False, False, False)


class SquareFloat64(Timed):
    params = [[8, 64, 512]]
    param_names = ["n"]

    def setup(self, n):
        data = Data("float64")
        a, b, out = data.numbers(n, n), data.numbers(n, n), data.output(n, n)
        self.prepare(kernels.matmul.bare, a, b, out, False, False, False)


class Transposed(Timed):
    params = [[64, 512], list(TRANSPOSES)]
    param_names = ["n", "product"]

    def setup(self, n, product):
        data = Data()
        a, b, out = data.numbers(n, n), data.numbers(n, n), data.output(n, n)
        self.prepare(kernels.matmul.bare, a, b, out, *TRANSPOSES[product], False)


class SingleRow(Timed):
    """A vector times a square matrix, plain and transposed: bound by reading the matrix."""

    params = [[128, 512], ["a . b", "a . bT"]]
    param_names = ["n", "product"]

    def setup(self, n, product):
        data = Data()
        a, b, out = data.numbers(1, n), data.numbers(n, n), data.output(1, n)
        self.prepare(kernels.matmul.bare, a, b, out, False, product == "a . bT", False)


class TenColumns(Timed):
    """The last layer of a classifier: less than a strip of columns; also with A transposed."""

    params = [[32, 2048], ["a . b", "aT . b"]]
    param_names = ["batch", "product"]

    def setup(self, batch, product):
        data, is_transposed = Data(), product == "aT . b"
        m, k = (512, batch) if is_transposed else (batch, 512)
        a, b, out = data.numbers(batch, 512), data.numbers(k, 10), data.output(m, 10)
        self.prepare(kernels.matmul.bare, a, b, out, is_transposed, False, False)


class Accumulated(Timed):
    params = [[64, 512]]
    param_names = ["n"]

    def setup(self, n):
        data = Data()
        a, b, out = data.numbers(n, n), data.numbers(n, n), data.output(n, n)
        self.prepare(kernels.matmul.bare, a, b, out, False, False, True)


class SquareBesideNumPy(BesideNumPy):
    params = [SIZES]
    param_names = ["n"]

    def setup(self, n):
        data = Data()
        a, b, out = data.numbers(n, n), data.numbers(n, n), data.output(n, n)
        self.prepare(
            partial(kernels.matmul.bare, a, b, out, False, False, False),
            partial(kernels.reference.matmul, a, b, out),
        )
