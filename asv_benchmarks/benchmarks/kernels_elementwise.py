"""Elementwise kernels, at the shape of a network's first hidden layer."""

import numpy as np

import kernels

from .common import CASES, WITHOUT_SMALL, Data, Timed


class _Elementwise(Timed):
    params = [WITHOUT_SMALL]
    param_names = ["network"]


class ReLUForward(_Elementwise):
    def setup(self, network):
        case, data = CASES[network], Data()
        x, out = data.numbers(*case.hidden), data.output(*case.hidden)
        self.prepare(kernels.relu_forward.bare, x, out, threads=case.threads)


class ReLUBackward(_Elementwise):
    def setup(self, network):
        case, data = CASES[network], Data()
        x, dy = data.numbers(*case.hidden), data.numbers(*case.hidden)
        out = data.output(*case.hidden)
        self.prepare(kernels.relu_backward.bare, x, dy, out, threads=case.threads)


class Exp(_Elementwise):
    def setup(self, network):
        case, data = CASES[network], Data()
        x, out = data.numbers(*case.hidden), data.output(*case.hidden)
        self.prepare(kernels.exp.bare, x, out, threads=case.threads)


class Log(_Elementwise):
    def setup(self, network):
        case, data = CASES[network], Data()
        x, out = np.abs(data.numbers(*case.hidden)), data.output(*case.hidden)
        self.prepare(kernels.log.bare, x, out, threads=case.threads)
