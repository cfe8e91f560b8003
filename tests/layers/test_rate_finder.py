"""The search for a learning rate."""

import numpy as np
import pytest

import layers
from layers import datasets, schedules

pytestmark = pytest.mark.compiled

X, Y = datasets.load_digits()
X, Y = X[:800], Y[:800]


def make(optimizer=None) -> layers.Sequential:
    stack = [layers.Dense(64, 16), layers.ReLU(), layers.Dense(16, 10)]
    return layers.Sequential(stack, optimizer=optimizer or layers.SGD(0.1), seed=0)


@pytest.mark.parametrize("optimizer", [layers.SGD, layers.Adam])
def test_a_rate_that_learns(optimizer):
    model = make(optimizer())
    before, rate = model.fingerprint(), model.optimizer.learning_rate
    found = layers.find_learning_rate(model, X, Y)
    assert (model.fingerprint(), model.optimizer.learning_rate) == (before, rate)
    assert model.history.epochs == 0
    assert len(found.rates) == len(found.losses) <= 200
    assert found.rates[0] == 1e-5
    assert found.rates[0] < found.suggestion < found.rates[-1]
    model.optimizer.learning_rate = found.suggestion
    model.fit(X, Y, 8)
    assert model.evaluate(X, Y)["accuracy"] > 0.93
    assert found == layers.find_learning_rate(make(optimizer()), X, Y)
    assert repr(found).startswith("LearningRates(suggestion 0.")


def test_a_schedule_is_set_aside():
    rate = schedules.Cosine(0.1, 100)
    model = make(layers.SGD(rate))
    assert layers.find_learning_rate(model, X, Y) == layers.find_learning_rate(make(), X, Y)
    assert model.optimizer.learning_rate is rate


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("optimizer", [layers.SGD, layers.Adam])
def test_a_model_that_has_learnt_has_no_slope(optimizer, seed, recwarn):
    model = make(optimizer())
    model.reset(seed)
    layers.find_learning_rate(model, X, Y)
    assert not recwarn.list
    model.fit(X, Y, 30, batch_size=8)
    with pytest.warns(UserWarning, match=r"^find_learning_rate: the mean loss, .* no further than"):
        found = layers.find_learning_rate(model, X, Y)
    assert found.rates[0] <= found.suggestion <= found.rates[-1]


def test_batches():
    batches = [(X[i : i + 32], Y[i : i + 32]) for i in range(0, 800, 32)]
    found = layers.find_learning_rate(make(), batches, steps=60)
    assert len(found.rates) > 30
    with pytest.warns(UserWarning, match="over more steps"):  # the iterator ends at a small rate
        assert len(layers.find_learning_rate(make(), iter(batches)).rates) == 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, "model is 3, expected a Sequential"),
        ({"steps": 9}, "steps is 9, expected an integer of at least 10"),
        ({"lowest": 0}, "lowest is 0 and highest 10, expected numbers above 0, the second the lar"),
        ({"lowest": 20.0}, "lowest is 20 and highest 10, expected"),
        ({"highest": "much"}, "highest is 'much', expected a finite number of at least 0"),
        ({"batch_size": 0}, "batch_size is 0, expected an integer of at least 1"),
        ({"x": X * 1e30}, "the loss grew or was not finite after 1 batches, expected a smaller"),
    ],
)
def test_bad_arguments(arguments, message):
    given = {"model": make(), "x": X, "y": Y} | arguments
    with pytest.raises((TypeError, ValueError), match=f"^find_learning_rate: {message}"):
        layers.find_learning_rate(given.pop("model"), given.pop("x"), given.pop("y"), **given)


def test_an_optimizer_without_a_rate():
    class Still(layers.Optimizer):
        def update(self, parameters, gradients, states, step):
            parameters -= np.float32(0.1) * gradients

    with pytest.raises(TypeError, match=r"^find_learning_rate: the optimizer is Still\(\), expect"):
        layers.find_learning_rate(make(Still()), X, Y)
