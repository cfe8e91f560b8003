"""The product compared with a core's peak of multiply-adds."""

from functools import partial

from kernels.product.matmul import product
from kernels.product.peak import limit

from .common import Data
from .in_turns import Ratio


class TimeOverTheLimit(Ratio):
    """Our time over the time of the multiply-adds alone on this core, interleaved."""

    params = [[128, 512, 1024]]
    param_names = ["n"]
    pairs = 9

    def setup(self, n):
        data = Data()
        a, b, out = data.numbers(n, n), data.numbers(n, n), data.output(n, n)
        product.compile("float32", parallel=False)
        full, operations = limit("float32")
        self.share = operations / (2 * n**3)
        self.prepare(partial(product.serial, a, b, out, out, 0.0, 0, 0, 1), full)

    def track_time_over_limit(self, n):
        return round(self.ratio() * self.share, 3)
