"""The layers that other programs have too: one list for ONNX, PyTorch and what is beside them."""

import layers
from layers.base import Layer

WIDTH = 5
WITHIN = [
    layers.ReLU(),
    layers.LeakyReLU(0.25),
    layers.ELU(0.75),
    layers.SELU(),
    layers.GELU(),
    layers.GELU("tanh"),
    layers.SiLU(),
    layers.Softplus(),
    layers.Sigmoid(),
    layers.Tanh(),
    layers.LogSoftmax(),
    layers.Dropout(0.25),
    layers.BatchNorm(WIDTH, momentum=0.25, epsilon=1e-3),
    layers.LayerNorm(WIDTH, epsilon=1e-4),
]
"""Between two dense layers, `WIDTH` wide; copy one before a model takes it."""

ELSEWHERE = {
    layers.Dense: "around each of those",
    layers.Softmax: "the last layer, under a loss of probabilities",
    layers.Standardize: "the first layer; PyTorch has none",
    layers.Embedding: "the first layer; a module of PyTorch holds one column",
    layers.Residual: "made of layers; PyTorch has none",
    layers.Concatenate: "made of layers; PyTorch has none",
    layers.Elementwise: "code of the user's own, which no graph has",
}
"""Layers that the list has no place for: tests of their own, or none, and why."""


def test_each_public_layer_is_in_the_list_or_an_exception():
    public = {
        each
        for each in vars(layers).values()
        if isinstance(each, type) and issubclass(each, Layer) and each is not Layer
    }
    assert public == {type(layer) for layer in WITHIN} | set(ELSEWHERE)
