"""The matrix product, square: out = op(a) . op(b)."""

import statistics
from functools import partial

import kernels
from kernels.limit import limit
from kernels.product import product

from .common import BesideNumPy, Data, Timed, calls_per_sample, seconds_of

SIZES = [8, 16, 32, 64, 128, 256, 512, 1024]
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


class TimeOverTheLimit:
    """Our time over what the multiply-adds alone would take on this core, measured in turn."""

    params = [[128, 512, 1024]]
    param_names = ["n"]
    unit = "x"
    timeout = 120.0

    def setup(self, n):
        kernels.set_num_threads(1)
        data = Data()
        a, b, out = data.numbers(n, n), data.numbers(n, n), data.output(n, n)
        product.compile("float32", parallel=False)
        full, self.operations = limit("float32")
        ours = partial(product.serial, a, b, out, out, 0.0, 0, 1)
        self.sides = [(calls_per_sample(side), side) for side in (ours, full)]

    def track_time_over_limit(self, n):
        ratios = []
        for _ in range(9):
            ours, full = (seconds_of(calls, side) / calls for calls, side in self.sides)
            ratios.append(ours / (full * 2 * n**3 / self.operations))
        return round(statistics.median(ratios), 3)
