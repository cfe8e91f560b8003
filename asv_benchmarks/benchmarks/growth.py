"""How time grows with the size of the work: the fitted exponent, 1 for linear growth.

A change of the exponent is a change of the algorithm, however noisy the machine.
"""

import time
from functools import partial

import numpy as np

import kernels

from .common import NETWORKS, Data, Network
from .in_turns import Growth
from .layers_training import batch_of, fit_of, model_of

MEDIUM = NETWORKS["medium: 784-128-10, batch 128"]


class OfTrainStep(Growth):
    """A step of a network in which one size grows; on one thread.

    The exponent of the work is 1 for batch and depth, 2 for the width of two equal layers; the
    constant cost of a call lowers it.
    """

    params = [["batch: 32 to 512", "width: 64 to 512", "depth: 2 to 16"]]
    param_names = ["what grows"]

    def setup(self, grows):
        networks = {
            "batch": {n: Network((256, 128, 10), n) for n in (32, 64, 128, 256, 512)},
            "width": {n: Network((n, n, n), 64) for n in (64, 128, 256, 512)},
            "depth": {n: Network((64,) * (n + 1), 64) for n in (2, 4, 8, 16)},
        }[grows.partition(":")[0]]
        self.prepare({n: step_of(network) for n, network in networks.items()})


class OfPredict(Growth):
    """Predictions of 784-128-10 over their rows, 128 to 2,048; on one thread."""

    def setup(self):
        data, model = Data(), model_of(MEDIUM.widths)
        rows = (128, 512, 2048)
        self.prepare({n: partial(model.predict, data.numbers(n, MEDIUM.n_in)) for n in rows})


class OfKernel(Growth):
    """A kernel over its size; on one thread. The work of a product is its size to the third."""

    params = [["matmul: n of 64 to 512", "relu_forward: 2^14 to 2^20", "permutation: 2^12 to 2^16"]]
    param_names = ["kernel"]

    def setup(self, kernel):
        data, name = Data(), kernel.partition(":")[0]
        sizes, arguments = {
            "matmul": (
                (64, 128, 256, 512),
                lambda n: (*(data.numbers(n, n) for _ in "ab"), data.output(n, n), *(False,) * 3),
            ),
            "relu_forward": (
                (1 << 14, 1 << 16, 1 << 18, 1 << 20),
                lambda n: (data.numbers(n, 1), data.output(n, 1)),
            ),
            "permutation": (
                (1 << 12, 1 << 14, 1 << 16),
                lambda n: (np.uint64(1), np.uint64(2), np.arange(n)),
            ),
        }[name]
        self.prepare({n: partial(getattr(kernels, name).bare, *arguments(n)) for n in sizes})


class OfFitByThreads(Growth):
    """The total time of all threads in `fit` of 784-128-10, over their number.

    0 where twice the threads take half as long, 1 where they take as long as before.
    """

    clock = staticmethod(time.perf_counter)

    def setup(self):
        kernels.set_num_threads(None)
        counts = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= kernels.get_num_threads()]
        if len(counts) < 2:
            raise NotImplementedError("one core: there is nothing to share")
        self.prepare({n: fit_on(n, MEDIUM) for n in counts}, threads=None)

    def track_exponent(self):
        return round(1 + super().track_exponent(), 3)


def step_of(network):
    """A call that trains its own model on one batch."""
    return partial(model_of(network.widths).train_step, *batch_of(network))


def fit_on(threads, network):
    """A call that fits its own model to ten batches, on ``threads`` threads."""
    fit = fit_of(network)

    def call():
        kernels.set_num_threads(threads)
        fit()

    return call
