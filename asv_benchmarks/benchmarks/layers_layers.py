"""Forward and backward of each layer and loss: the checks, the result's allocation, the kernels."""

import layers

from .common import NETWORKS, Data, Timed


class _Passes(Timed):
    params = [["forward", "backward"], list(NETWORKS)]
    param_names = ["pass", "network"]

    def prepare_layer(self, direction, layer, x):
        """Time one pass of a layer; a backward needs a forward before it."""
        y = layer.forward(x)
        if direction == "forward":
            self.prepare(layer.forward, x)
        else:
            self.prepare(layer.backward, Data().numbers(*y.shape))

    def prepare_loss(self, direction, loss, scores):
        """Time one pass of a loss on class indices."""
        labels = Data().labels(*scores.shape)
        loss.forward(scores, labels)
        if direction == "forward":
            self.prepare(loss.forward, scores, labels)
        else:
            self.prepare(loss.backward)


class Dense(_Passes):
    def setup(self, direction, network):
        network = NETWORKS[network]
        layer = layers.Dense(network.n_in, network.n_out, seed=0)
        self.prepare_layer(direction, layer, Data().numbers(network.batch, network.n_in))


class ReLU(_Passes):
    def setup(self, direction, network):
        x = Data().numbers(*NETWORKS[network].hidden)
        self.prepare_layer(direction, layers.ReLU(), x)


class Softmax(_Passes):
    def setup(self, direction, network):
        x = Data().numbers(*NETWORKS[network].scores)
        self.prepare_layer(direction, layers.Softmax(), x)


class SoftmaxCrossEntropy(_Passes):
    def setup(self, direction, network):
        logits = Data().numbers(*NETWORKS[network].scores)
        self.prepare_loss(direction, layers.SoftmaxCrossEntropy(), logits)


class CategoricalCrossEntropy(_Passes):
    def setup(self, direction, network):
        probabilities = Data().probabilities(*NETWORKS[network].scores)
        self.prepare_loss(direction, layers.CategoricalCrossEntropy(), probabilities)


class SGD(Timed):
    params = [list(NETWORKS)]
    param_names = ["network"]

    def setup(self, network):
        data, shape = Data(), (NETWORKS[network].n_in, NETWORKS[network].n_out)
        arrays = data.numbers(*shape), data.numbers(*shape)
        self.prepare(layers.SGD(1e-6).update, *arrays, arrays[0][:0], 0)
