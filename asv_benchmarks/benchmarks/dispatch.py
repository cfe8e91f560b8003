"""The overhead of a call: arrays so small that the arithmetic is negligible."""

import kernels

from .common import Data, Timed


class TinyCall(Timed):
    """A kernel through its public, checked door, and bare, as the layers call it."""

    params = [
        ["relu_forward", "softmax_forward", "softmax_minus_target", "sgd_update", "dense_forward"],
        ["public door", "bare"],
    ]
    param_names = ["kernel", "call"]

    def setup(self, kernel, call):
        data = Data()
        x, out, labels = data.numbers(1, 4), data.output(1, 4), data.labels(1, 4)
        args = {
            "relu_forward": (x, out),
            "softmax_forward": (x, out),
            "softmax_minus_target": (x, labels, out),
            "sgd_update": (out, x, 1e-6),
            "dense_forward": (x, data.numbers(4, 4), data.numbers(1, 4), out),
        }[kernel]
        door = getattr(kernels, kernel)
        self.prepare(door if call == "public door" else door.bare, *args)


class GetNumThreads(Timed):
    def setup(self):
        self.prepare(kernels.get_num_threads)


class SetNumThreads(Timed):
    def setup(self):
        self.prepare(kernels.set_num_threads, None)
