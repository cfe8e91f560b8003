"""Whole models: a training step, an epoch, predictions."""

import functools
import itertools

import layers
from layers.datasets import load_digits

from .common import CASES, NETWORKS, Data, Timed
from .in_turns import BesideNumPy

LEARNING_RATE = 1e-3
"""Small, so that the weights hardly change during the timing."""


class TrainStep(Timed):
    params = [list(CASES)]
    param_names = ["network"]

    def setup(self, network):
        case = CASES[network]
        self.prepare(model_of(case.widths).train_step, *batch_of(case), threads=case.threads)


class TrainStepBesideNumPy(BesideNumPy):
    """The same layers on both sides, over the kernels and over their NumPy twins."""

    params = [list(NETWORKS)]
    param_names = ["network"]

    def setup(self, network):
        case = NETWORKS[network]
        x, y = batch_of(case)
        ours, theirs = model_of(case.widths), model_of(case.widths)

        def numpy():
            with layers.backend("numpy"):
                theirs.train_step(x, y)

        self.prepare(functools.partial(ours.train_step, x, y), numpy)


class FitSteps(Timed):
    """Ten steps in one call of `fit`, shuffled: the whole network as one compiled program."""

    params = [list(CASES)]
    param_names = ["network"]

    def setup(self, network):
        case = CASES[network]
        self.prepare(fit_of(case), threads=case.threads)


class FitStepsBesideNumPy(BesideNumPy):
    """The same, compared with layer-by-layer training over NumPy."""

    pairs = 7
    params = [list(NETWORKS)]
    param_names = ["network"]

    def setup(self, network):
        ours, theirs = fit_of(NETWORKS[network]), fit_of(NETWORKS[network])

        def numpy():
            with layers.backend("numpy"):
                theirs()

        self.prepare(ours, numpy)


class FitDigits(Timed):
    """One epoch of the 1,797 digits on 64-32-10, shuffled."""

    params = [[32, 256]]
    param_names = ["batch size"]

    def setup(self, batch_size):
        x, y = digits()
        self.prepare(model_of((64, 32, 10)).fit, x, y, 1, batch_size)


class UseDigits(Timed):
    """Inference with a trained 64-32-10: one digit, or all of them."""

    params = [["predict", "predict_proba", "evaluate"], [1, 1_797]]
    param_names = ["method", "rows"]

    def setup(self, method, rows):
        x, y = (array[:rows] for array in digits())
        model = model_of((64, 32, 10))
        args = (x, y) if method == "evaluate" else (x,)
        self.prepare(getattr(model, method), *args)


def model_of(widths):
    """Dense layers of these widths with ReLU in between."""
    stack = []
    for n_in, n_out in itertools.pairwise(widths):
        stack += [layers.Dense(n_in, n_out), layers.ReLU()]
    return layers.Sequential(stack[:-1], optimizer=layers.SGD(LEARNING_RATE), seed=0)


def fit_of(network):
    """A call that fits a model to ten batches."""
    data, rows = Data(), 10 * network.batch
    x, y = data.numbers(rows, network.n_in), data.labels(rows, network.n_classes)
    return functools.partial(model_of(network.widths).fit, x, y, batch_size=network.batch)


def batch_of(network):
    """Inputs and class indices of one batch."""
    data = Data()
    return data.numbers(network.batch, network.n_in), data.labels(*network.scores)


digits = functools.cache(load_digits)
