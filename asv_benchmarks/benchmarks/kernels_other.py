"""Optimizers, gradients, metrics, mini-batches and random numbers."""

import numpy as np

import kernels

from .common import CASES, NETWORKS, WITHOUT_SMALL, Data, Timed

KEY, STREAM = np.uint64(1), np.uint64(2)
EXAMPLES = 4096
"""Rows of the data that a mini-batch is gathered from."""


class _TwoForms(Timed):
    params = [WITHOUT_SMALL]
    param_names = ["network"]


class _SerialOnly(Timed):
    params = [list(NETWORKS)]
    param_names = ["network"]


class SGDUpdate(_TwoForms):
    def setup(self, network):
        case, data = CASES[network], Data()
        weights, dweights = (data.numbers(case.n_in, case.n_out) for _ in range(2))
        # A step so short that the weights stay of one size, however often it is taken.
        self.prepare(kernels.sgd_update.bare, weights, dweights, 1e-6, threads=case.threads)


class AdamUpdate(_TwoForms):
    def setup(self, network):
        case, data = CASES[network], Data()
        weights, dweights = (data.numbers(case.n_in, case.n_out) for _ in range(2))
        states, numbers = np.abs(data.numbers(2, weights.size)), (1e-6, 0.9, 0.999, 1e-8)
        function = kernels.adam_update.bare
        self.prepare(function, weights, dweights, states, *numbers, threads=case.threads)


class OtherUpdates(Timed):
    """The steps of the other optimizers."""

    NUMBERS = {
        "sgd_decay_update": (0, (1e-6, 1e-3)),
        "momentum_update": (1, (1e-6, 1e-6, 0.9, 1e-3)),
        "adagrad_update": (1, (1e-6, 1e-8, 1e-3)),
        "rmsprop_update": (1, (1e-6, 0.99, 1e-8, 1e-3)),
        "adam_decay_update": (2, (1e-6, 0.9, 0.999, 1e-8, 1e-3, 0.0)),
        "lion_update": (1, (1e-6, 0.9, 0.99, 1e-9)),
    }
    params = [list(NUMBERS)]
    param_names = ["kernel"]

    def setup(self, kernel):
        data, (count, numbers) = Data(), self.NUMBERS[kernel]
        weights, dweights = (data.numbers(784, 128) for _ in range(2))
        states = [np.abs(data.numbers(count, weights.size))] if count else []
        self.prepare(getattr(kernels, kernel).bare, weights, dweights, *states, *numbers)


class Gradients(Timed):
    """What is done to gradients between backward and update."""

    NUMBERS = {
        "penalty_gradient": (1e-3, 1e-3),
        "clip_by_value": (0.5,),
        "clip_by_norm": (0.5,),
        "row_norms": (),
        "row_penalties": (1e-3, 1e-3),
    }
    params = [list(NUMBERS)]
    param_names = ["kernel"]

    def setup(self, kernel):
        data, inputs = Data(), []
        if kernel == "penalty_gradient":
            inputs = [data.numbers(784, 128)]
        if kernel == "clip_by_norm":
            inputs = [np.abs(data.numbers(1, 1))]
        out = data.output(784, 1 if kernel.startswith("row") else 128)
        numbers = self.NUMBERS[kernel]
        self.prepare(getattr(kernels, kernel).bare, data.numbers(784, 128), *inputs, *numbers, out)


class Dropout(_TwoForms):
    def setup(self, network):
        case, data = CASES[network], Data()
        x, out = data.numbers(*case.hidden), data.output(*case.hidden)
        self.prepare(kernels.dropout.bare, x, 0.5, KEY, STREAM, out, threads=case.threads)


class Uniform(_TwoForms):
    def setup(self, network):
        case = CASES[network]
        args = KEY, STREAM, -1.0, 1.0, Data().output(case.n_in, case.n_out)
        self.prepare(kernels.uniform.bare, *args, threads=case.threads)


class GatherRows(_TwoForms):
    def setup(self, network):
        case, data = CASES[network], Data()
        x, out = data.numbers(EXAMPLES, case.n_in), data.output(case.batch, case.n_in)
        rows = data.random.integers(0, EXAMPLES, case.batch)
        self.prepare(kernels.gather_rows.bare, x, rows, out, threads=case.threads)


class ArgmaxRows(_TwoForms):
    def setup(self, network):
        case = CASES[network]
        scores, out = Data().numbers(*case.scores), np.full(case.batch, -1)
        self.prepare(kernels.argmax_rows.bare, scores, out, threads=case.threads)


class CountCorrect(_SerialOnly):
    def setup(self, network):
        data, shape = Data(), NETWORKS[network].scores
        self.prepare(kernels.count_correct.bare, data.numbers(*shape), data.labels(*shape))


class Accuracy(_SerialOnly):
    def setup(self, network):
        data, shape = Data(), NETWORKS[network].scores
        self.prepare(kernels.accuracy.bare, data.numbers(*shape), data.labels(*shape))


class Metrics(Timed):
    """Metrics of 4,096 rows, each with a weight."""

    params = [["top_k_rows", "f1_score", "r2_score", "weighted_mean"]]
    param_names = ["kernel"]

    def setup(self, kernel):
        data = Data()
        scores, column = data.numbers(EXAMPLES, 10), data.numbers(EXAMPLES, 1)
        weights = np.abs(data.numbers(EXAMPLES, 1))
        given = {
            "top_k_rows": (scores, data.labels(EXAMPLES, 10), 3.0, data.output(EXAMPLES, 1)),
            "f1_score": (column, np.abs(column), weights, 0.5),
            "r2_score": (column, data.numbers(EXAMPLES, 1), weights),
            "weighted_mean": (column, weights),
        }
        self.prepare(getattr(kernels, kernel).bare, *given[kernel])


class WeightedRows(_TwoForms):
    def setup(self, network):
        case, data = CASES[network], Data()
        scores, out = data.numbers(*case.scores), data.output(*case.scores)
        weights = np.abs(data.numbers(case.batch, 1))
        self.prepare(kernels.weighted_rows.bare, scores, weights, 0.7, out, threads=case.threads)


class Permutation(Timed):
    params = [[1_797, 60_000]]
    param_names = ["rows"]

    def setup(self, rows):
        self.prepare(kernels.permutation.bare, KEY, STREAM, np.arange(rows))
