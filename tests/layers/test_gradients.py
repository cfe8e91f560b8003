"""Every backward against central differences, in float64: dL/dw ~ (L(w + h) - L(w - h)) / 2h.

Error of the difference, relative to L's scale: h^2 = 1e-10 from the third derivative and
eps / h = 2e-11 from rounding; the bound of 1e-7 leaves room for a gradient smaller than the loss.
"""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import layers

pytestmark = pytest.mark.compiled

STEP = 1e-5
BOUND = 1e-7
KINK = 1e-3  # far more than a step of one parameter or input moves a pre-activation

examples = settings(max_examples=100, suppress_health_check=[HealthCheck.filter_too_much])
widths = st.integers(1, 9)
seeds = st.integers(0, 2**32 - 1)


def numeric_gradient(loss, array: np.ndarray) -> np.ndarray:
    """Central differences of ``loss()`` by each element of ``array``, which is changed in place."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        middle = array[index]
        array[index] = middle + STEP
        above = loss()
        array[index] = middle - STEP
        below = loss()
        array[index] = middle
        gradient[index] = (above - below) / (2 * STEP)
    return gradient


def assert_same_gradient(name: str, numeric: np.ndarray, analytic: np.ndarray) -> None:
    assert analytic.shape == numeric.shape, name
    assert analytic.dtype == np.float64, name
    scale = np.linalg.norm(numeric) + np.linalg.norm(analytic)
    # Where the gradient is next to nothing, the difference is all rounding.
    assert np.linalg.norm(numeric - analytic) <= BOUND * max(scale, 1e-3), name


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape)


def draw_labels(rng: np.random.Generator, batch: int, n_classes: int, rows: bool) -> np.ndarray:
    if not rows:
        return rng.integers(n_classes, size=batch)
    targets = rng.random((batch, n_classes))
    targets[0] = np.eye(n_classes)[0]  # a target of exactly 0 or 1 has branches of its own
    return targets / targets.sum(axis=1, keepdims=True)


# One layer, with L = the sum of a fixed random weight times each output, so that dL/dy is that
# weight.


@examples
@given(batch=widths, n_in=widths, n_out=st.integers(1, 40), seed=seeds)
def test_dense(batch: int, n_in: int, n_out: int, seed: int):
    rng = np.random.default_rng(seed)
    dense = layers.Dense(n_in, n_out, dtype="float64")
    dense.weights, dense.biases = normal(rng, n_in, n_out), normal(rng, 1, n_out)
    x, dy = normal(rng, batch, n_in), normal(rng, batch, n_out)

    def loss() -> float:
        return float((dense.forward(x) * dy).sum())

    loss()
    dx = dense.backward(dy)
    analytic = {"weights": dense.dweights.copy(), "biases": dense.dbiases.copy(), "x": dx}
    for name, array in {**dense.parameters(), "x": x}.items():
        assert_same_gradient(name, numeric_gradient(loss, array), analytic[name])


@examples
@given(batch=widths, n=st.integers(1, 40), seed=seeds)
def test_relu(batch: int, n: int, seed: int):
    rng = np.random.default_rng(seed)
    x, dy = normal(rng, batch, n), normal(rng, batch, n)
    assume(abs(x).min() > KINK)
    relu = layers.ReLU()
    relu.forward(x)
    dx = relu.backward(dy)
    assert_same_gradient("x", numeric_gradient(lambda: float((relu.forward(x) * dy).sum()), x), dx)


ACTIVATIONS = {
    "ELU": layers.ELU,
    "ELU(0.3)": lambda: layers.ELU(0.3),
    "GELU": layers.GELU,
    "GELU by tanh": lambda: layers.GELU("tanh"),
    "LeakyReLU": layers.LeakyReLU,
    "LogSoftmax": layers.LogSoftmax,
    "SELU": layers.SELU,
    "SiLU": layers.SiLU,
    "Sigmoid": layers.Sigmoid,
    "Softplus": layers.Softplus,
    "Tanh": layers.Tanh,
}


@pytest.mark.parametrize("make", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_activations(make):
    @settings(examples, max_examples=20)
    @given(batch=widths, n=st.integers(1, 40), seed=seeds)
    def check(batch: int, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        x, dy = 2 * normal(rng, batch, n), normal(rng, batch, n)
        assume(abs(x).min() > KINK)
        layer = make()
        layer.forward(x)
        dx = layer.backward(dy)
        numeric = numeric_gradient(lambda: float((layer.forward(x) * dy).sum()), x)
        assert_same_gradient("x", numeric, dx)

    check()


@examples
@given(batch=widths, n=st.integers(1, 40), seed=seeds)
def test_softmax(batch: int, n: int, seed: int):
    rng = np.random.default_rng(seed)
    x, dy = normal(rng, batch, n), normal(rng, batch, n)
    softmax = layers.Softmax()
    softmax.forward(x)
    dx = softmax.backward(dy)
    assert_same_gradient(
        "x", numeric_gradient(lambda: float((softmax.forward(x) * dy).sum()), x), dx
    )


@pytest.mark.parametrize("loss_class", [layers.SoftmaxCrossEntropy, layers.CategoricalCrossEntropy])
@pytest.mark.parametrize("rows", [False, True], ids=["indices", "rows"])
def test_losses(loss_class: type, rows: bool):
    @examples
    @given(batch=widths, n_classes=st.integers(1, 40), seed=seeds)
    def check(batch: int, n_classes: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        scores = normal(rng, batch, n_classes)
        if loss_class is layers.CategoricalCrossEntropy:
            # Any positive numbers: as a function of them, not only where they sum to 1. Not small
            # ones, where the third derivative of log is large.
            scores = rng.uniform(0.5, 1.0, scores.shape)
        labels = draw_labels(rng, batch, n_classes, rows)
        loss = loss_class()
        loss.forward(scores, labels)
        dscores = loss.backward()
        numeric = numeric_gradient(lambda: loss.forward(scores, labels), scores)
        assert_same_gradient("scores", numeric, dscores)

    check()


# Whole networks.


def make_network(hidden: list[int], n_in: int, n_classes: int, with_softmax: bool, seed: int):
    stack: list[layers.Layer] = []
    for width in hidden:
        stack += [layers.Dense(n_in, width), layers.ReLU()]
        n_in = width
    stack.append(layers.Dense(n_in, n_classes))
    loss: layers.SoftmaxCrossEntropy | layers.CategoricalCrossEntropy = layers.SoftmaxCrossEntropy()
    if with_softmax:
        stack.append(layers.Softmax())
        loss = layers.CategoricalCrossEntropy()
    return layers.Sequential(stack, loss=loss, seed=seed, dtype="float64")


def distance_from_kinks(model: layers.Sequential, x: np.ndarray) -> float:
    """How near to 0 an input of a ReLU comes."""
    nearest = math.inf
    for layer in model.layers:
        if isinstance(layer, layers.ReLU):
            nearest = min(nearest, float(abs(x).min()))
        x = layer.forward(x)
    return nearest


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("rows", [False, True], ids=["indices", "rows"])
@pytest.mark.parametrize("with_softmax", [False, True], ids=["logits", "softmax"])
def test_network(depth: int, rows: bool, with_softmax: bool):
    @settings(examples, max_examples=40)
    @given(
        batch=st.integers(1, 5),
        sizes=st.lists(st.integers(1, 6), min_size=depth, max_size=depth),
        n_classes=st.integers(2, 5),
        seed=seeds,
    )
    def check(batch: int, sizes: list[int], n_classes: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        n_in, *hidden = sizes
        model = make_network(hidden, n_in, n_classes, with_softmax, seed)
        for array in model.parameters().values():
            array[...] += 0.3 * normal(rng, *array.shape)  # biases too: not all at 0
        x = normal(rng, batch, n_in)
        labels = draw_labels(rng, batch, n_classes, rows)
        assume(distance_from_kinks(model, x) > KINK)

        def loss() -> float:
            return model.loss.forward(model.forward(x, training=True), labels)

        # The model's own backward, which spares itself dx, then layer by layer for dx.
        loss()
        model.backward(model.loss.backward())
        from_model = {
            f"{index}.{name}": getattr(layer, f"d{name}").copy()
            for index, layer in enumerate(model.layers)
            for name in layer.parameter_shapes()
        }
        loss()
        dy = model.loss.backward()
        for layer in reversed(model.layers):
            dy = layer.backward(dy)
        by_layer = {
            f"{index}.{name}": getattr(layer, f"d{name}").copy()
            for index, layer in enumerate(model.layers)
            for name in layer.parameter_shapes()
        }

        assert_same_gradient("x", numeric_gradient(loss, x), dy)
        assert set(from_model) == set(model.parameters())
        for name, array in model.parameters().items():
            numeric = numeric_gradient(loss, array)
            assert_same_gradient(name, numeric, from_model[name])
            assert_same_gradient(name, numeric, by_layer[name])

    check()
