"""Activation layers: what they refuse, keep, give to a loss, and write into a program."""

import re

import numpy as np
import pytest

import layers
from kernels.network import program
from layers import datasets
from layers.compiled.fusing import fused
from layers.compiled.lines import Value
from layers.compiled.recorder import Recorder

pytestmark = pytest.mark.compiled

X, Y = (array[:250] for array in datasets.load_digits())

MADE = [
    *(layers.ELU(), layers.ELU(0.5), layers.SELU(), layers.GELU(), layers.GELU("tanh")),
    *(layers.SiLU(), layers.Softplus(), layers.Sigmoid(), layers.Tanh(), layers.LeakyReLU(0.2)),
]
FROM_OUTPUT = (
    *(layers.ELU, layers.SELU, layers.Sigmoid, layers.Tanh, layers.Softplus),
    layers.LeakyReLU,
)
each = pytest.mark.parametrize("layer", MADE, ids=repr)


@pytest.mark.parametrize("alpha", ["1", None, True, np.nan, np.inf, -0.5, [1.0]])
def test_an_alpha_that_is_no_number_of_at_least_0_is_refused(alpha):
    with pytest.raises((TypeError, ValueError), match=r"^ELU: alpha is .*, expected a finite numb"):
        layers.ELU(alpha)


@pytest.mark.parametrize("approximate", ["Tanh", None, True, 1, np.nan, ["tanh"]])
def test_another_approximation_is_refused(approximate):
    expected = r"^GELU: approximate is .*, expected one of \['none', 'tanh'\]$"
    with pytest.raises(ValueError, match=expected):
        layers.GELU(approximate)


@each
def test_what_is_shown_makes_the_same_layer(layer):
    again = eval(repr(layer), vars(layers))
    assert (type(again), again.config()) == (type(layer), layer.config())
    assert type(layer)(**layer.config()).config() == layer.config()


def test_a_saved_model_has_the_same_activations(tmp_path):
    stack = [layers.Dense(64, 4), *(type(layer)(**layer.config()) for layer in MADE)]
    model = layers.Sequential([*stack, layers.LogSoftmax()], layers.MeanSquaredError(), seed=0)
    model.save(tmp_path / "model.npz")
    loaded = layers.load(tmp_path / "model.npz")
    assert list(map(repr, loaded.layers)) == list(map(repr, model.layers))
    assert loaded.predict(X).tobytes() == model.predict(X).tobytes()


@each
def test_a_gradient_from_the_output_follows_on_the_products(layer):
    parameters, gradients = (np.zeros((1, 8), np.float32) for _ in range(2))
    run = Recorder(parameters, gradients)
    weights, biases = parameters[0, :6].reshape(3, 2), parameters[:, 6:]
    x = run.dense_forward(Value(3), weights, biases)
    y = layer.run_forward(run, x, training=True)
    layer.run_backward(run, x, y, Value(2), needs_inputs=True)
    lines = fused(run.lines)
    is_from_output = isinstance(layer, FROM_OUTPUT)
    assert (lines[0].then is layer.entry.forward) == is_from_output
    expected = [program.PRODUCT, program.ELEMENTWISE, program.ELEMENTWISE]
    assert [line.family for line in lines] == expected[: 3 - is_from_output]


@each
def test_both_backends_learn_the_same(layer):
    def losses():
        made = type(layer)(**layer.config())
        stack = [layers.Dense(64, 12), made, layers.Dense(12, 10)]
        model = layers.Sequential(stack, optimizer=layers.Adam(0.01), seed=0, dtype="float64")
        return model.fit(X, Y, epochs=2)["loss"]

    with layers.backend("numpy"):
        found = losses()
    np.testing.assert_allclose(found, losses(), rtol=1e-9)
    assert found[1] < found[0]


@pytest.mark.parametrize("last", [layers.Sigmoid, layers.LogSoftmax, layers.Tanh])
def test_a_loss_of_probabilities_takes_nothing_else(last):
    stack = [layers.Dense(64, 10), last()]
    message = f"CategoricalCrossEntropy takes probabilities, but the last layer is {last()!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        layers.Sequential(stack, layers.CategoricalCrossEntropy())


def test_a_loss_of_logits_takes_no_sigmoid():
    message = "SoftmaxCrossEntropy takes logits, but the last layer is Sigmoid(): leave that layer"
    with pytest.raises(ValueError, match=re.escape(message)):
        layers.Sequential([layers.Dense(64, 10), layers.Sigmoid()])
    # The softmax of logarithms of probabilities is those probabilities.
    model = layers.Sequential([layers.Dense(64, 10), layers.LogSoftmax()], seed=0)
    logits = layers.Sequential([layers.Dense(64, 10)], seed=0)
    np.testing.assert_allclose(model.predict_proba(X), logits.predict_proba(X), rtol=1e-5)
