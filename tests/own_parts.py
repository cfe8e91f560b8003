"""Parts of a user's own, in the words of this package: an optimizer with a state, two layers."""

import numpy as np
import pytest

import layers
from kernels.activations import RELU
from kernels.intrinsics import fma
from kernels.operations import Number, Step
from kernels.runtime.jit import PUBLIC, inner
from kernels.softmax import SOFTMAX_BACKWARD, SOFTMAX_FORWARD
from layers import backends
from layers.optimizers import Optimizer


@inner
def momentum(w, dw, velocity, rate, share):
    """Gradient descent with momentum: velocity <- share velocity + dw, w <- w - rate velocity."""
    moved = fma(share, velocity, dw)
    return fma(-rate, moved, w), moved


MOMENTUM = Step(
    momentum,
    states=1,
    numbers=[Number("rate", ">= 0", "Of a step."), Number("share", ">= 0", "Of what was before.")],
)
del PUBLIC[MOMENTUM.name]  # it is no kernel of the package, which others count


class Momentum(Optimizer):
    """Its rate falls with the steps, so that it shows where they are counted from."""

    entry = MOMENTUM

    def numbers(self, first, steps, dtype):
        rates = 0.1 / (1 + np.arange(first, first + steps))
        return np.stack([rates, np.full(steps, 0.5)], axis=1)


@pytest.fixture
def known_momentum(monkeypatch):
    """The package exports it, and runs it layer by layer too."""
    monkeypatch.setattr(layers, "Momentum", Momentum, raising=False)
    monkeypatch.setattr(backends.active(), MOMENTUM.name, MOMENTUM.run, raising=False)
    return Momentum


class SoftmaxOfReLU(layers.Layer):
    """Two operations forward, three backward: it computes the ReLU once more."""

    gives = "probabilities"

    def run_forward(self, run, x, training):
        return run.rowwise(SOFTMAX_FORWARD, run.elementwise(RELU.forward, x))

    def run_backward(self, run, x, y, dy, needs_inputs):
        kept = run.elementwise(RELU.forward, x)
        return run.elementwise(RELU.backward, kept, run.rowwise(SOFTMAX_BACKWARD, y, dy))


class Bottleneck(layers.Layer):
    """Through a few numbers and back: four parameters, two products forward, five backward."""

    gives = "scores"

    def __init__(self, n_in, n_out, width=5):
        self.n_in, self.n_out, self.width = n_in, n_out, width

    def parameter_shapes(self):
        return {
            "into": (self.n_in, self.width),
            "in_biases": (1, self.width),
            "out_of": (self.width, self.n_out),
            "out_biases": (1, self.n_out),
        }

    def parameters(self):
        return self._parameters

    def bind(self, parameters, gradients, default, key, index):
        self._parameters, self._gradients = parameters, gradients
        for number, array in enumerate(parameters.values()):
            array[...] = np.sin(np.arange(array.size) + number).reshape(array.shape)

    def run_forward(self, run, x, training):
        own = self._parameters
        inside = run.dense_forward(x, own["into"], own["in_biases"])
        return run.dense_forward(inside, own["out_of"], own["out_biases"])

    def run_backward(self, run, x, y, dy, needs_inputs):
        own, found = self._parameters, self._gradients
        inside = run.dense_forward(x, own["into"], own["in_biases"])
        run.dense_backward_parameters(inside, dy, found["out_of"], found["out_biases"])
        back = run.dense_backward_inputs(dy, own["out_of"])
        run.dense_backward_parameters(x, back, found["into"], found["in_biases"])
        return run.dense_backward_inputs(back, own["into"]) if needs_inputs else None
