"""The four products of a dense layer, at the shapes of a network's first layer."""

from functools import partial

import kernels

from .common import CASES, NETWORKS, Data, Timed
from .in_turns import BesideNumPy


class _Product(Timed):
    params = [list(CASES)]
    param_names = ["network"]


class DenseForward(_Product):
    def setup(self, network):
        case = CASES[network]
        args = arguments("dense_forward", case)
        self.prepare(kernels.dense_forward.bare, *args, threads=case.threads)


class DenseBackwardWeights(_Product):
    def setup(self, network):
        case = CASES[network]
        args = arguments("dense_backward_weights", case)
        self.prepare(kernels.dense_backward_weights.bare, *args, threads=case.threads)


class DenseBackwardInputs(_Product):
    def setup(self, network):
        case = CASES[network]
        args = arguments("dense_backward_inputs", case)
        self.prepare(kernels.dense_backward_inputs.bare, *args, threads=case.threads)


class Fused(Timed):
    """Two kernels fused into one pass."""

    params = [
        [
            "dense_relu_forward",
            "dense_backward_parameters",
            "dense_relu_backward_inputs",
            "dense_sgd_update",
        ],
        list(CASES),
    ]
    param_names = ["kernel", "network"]

    def setup(self, kernel, network):
        case = CASES[network]
        self.prepare(getattr(kernels, kernel).bare, *arguments(kernel, case), threads=case.threads)


class ColumnSum(_Product):
    def setup(self, network):
        case = CASES[network]
        args = arguments("column_sum", case)
        self.prepare(kernels.column_sum.bare, *args, threads=case.threads)


class ProductsBesideNumPy(BesideNumPy):
    params = [
        [
            "dense_forward",
            "dense_relu_forward",
            "dense_backward_parameters",
            "dense_sgd_update",
            "dense_relu_backward_inputs",
            "column_sum",
        ],
        list(NETWORKS),
    ]
    param_names = ["kernel", "network"]

    def setup(self, kernel, network):
        args = arguments(kernel, NETWORKS[network])
        self.prepare(
            partial(getattr(kernels, kernel).bare, *args),
            partial(getattr(kernels.reference, kernel), *args),
        )


def arguments(kernel, network):
    """The arguments of a product of the first layer, by the kernel's name."""
    data, n_in, n_out = Data(), network.n_in, network.n_out
    x, dz = data.numbers(network.batch, n_in), data.numbers(*network.hidden)
    weights, biases = data.numbers(n_in, n_out), data.numbers(1, n_out)
    return {
        "dense_forward": (x, weights, biases, data.output(*network.hidden)),
        "dense_backward_weights": (x, dz, data.output(n_in, n_out)),
        "dense_backward_inputs": (dz, weights, data.output(network.batch, n_in)),
        "dense_relu_forward": (x, weights, biases, data.output(*network.hidden)),
        "dense_backward_parameters": (x, dz, data.output(n_in, n_out), data.output(1, n_out)),
        "dense_relu_backward_inputs": (dz, weights, x, data.output(network.batch, n_in)),
        "dense_sgd_update": (x, dz, 1e-9, weights),
        "column_sum": (dz, data.output(1, n_out)),
    }[kernel]
