"""The product beside what a core's multiply-adds allow."""

import statistics
from functools import partial

import kernels
from kernels.limit import limit
from kernels.product import product

from .common import Data, calls_per_sample, seconds_of


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
