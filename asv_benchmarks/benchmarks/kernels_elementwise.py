"""Elementwise kernels, at the shape of a network's first hidden layer."""

import numpy as np

import kernels

from .common import CASES, WITHOUT_SMALL, Data, Timed

NUMBERS = {
    "relu_forward": (),
    "relu_backward": (),
    "leaky_relu_forward": (0.1,),
    "leaky_relu_backward": (0.1,),
    "gelu_forward": (),
    "gelu_backward": (),
    "gelu_tanh_forward": (),
    "gelu_tanh_backward": (),
    "silu_forward": (),
    "silu_backward": (),
    "sigmoid_forward": (),
    "sigmoid_backward": (),
    "tanh_forward": (),
    "tanh_backward": (),
    "softplus_forward": (),
    "softplus_backward": (),
    "elu_forward": (1.0,),
    "elu_backward": (1.0,),
    "selu_forward": (),
    "selu_backward": (),
}
"""The activations with their numbers."""


class Elementwise(Timed):
    params = [[*NUMBERS, "add", "erf", "exp", "expm1", "log", "tanh"], WITHOUT_SMALL]
    param_names = ["kernel", "network"]

    def setup(self, kernel, network):
        case, data = CASES[network], Data()
        x, dy = (data.numbers(*case.hidden) for _ in range(2))
        has_two = kernel == "add" or kernel.endswith("_backward")
        inputs = (x, dy) if has_two else (np.abs(x) if kernel == "log" else x,)
        out = data.output(*case.hidden)
        self.prepare(
            getattr(kernels, kernel).bare,
            *inputs,
            *NUMBERS.get(kernel, ()),
            out,
            threads=case.threads,
        )
