"""`Standardize`: what `adapt` learns, that it belongs to the model, what is refused."""

import copy

import numpy as np
import pytest

import layers
from layers.compiled import lowering

pytestmark = pytest.mark.compiled

RNG = np.random.default_rng(0)
X = RNG.normal(1000.0, [1.0, 30.0, 0.01], (90, 3))
X[:, 1] = 0.1  # its mean, by a plain sum, is not 0.1
Y = X[:, 2:] - 1000
X.flags.writeable = False


def make(dtype: str = "float32") -> layers.Sequential:
    stack = [layers.Standardize(3), layers.Dense(3, 4), layers.Standardize(4), layers.Dense(4, 1)]
    model = layers.Sequential(stack, layers.MeanSquaredError(), seed=0, dtype=dtype)
    model.layers[2].adapt(RNG.normal(size=(50, 4)))
    return model


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_mean_and_deviation_are_those_of_the_data(backend):
    layer = layers.Standardize(3, dtype="float64")
    with layers.backend(backend):
        layer.adapt(X)
        y = layer.forward(X)
        dx = layer.backward(np.ones_like(X))
    np.testing.assert_allclose(layer.mean[0], X.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(layer.deviation[0], [X[:, 0].std(), 1, X[:, 2].std()], rtol=1e-9)
    assert not y[:, 1].any()
    np.testing.assert_allclose(y[:, [0, 2]].std(axis=0), 1, rtol=1e-9)
    np.testing.assert_allclose(dx, 1 / np.broadcast_to(layer.deviation, X.shape))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_part_of_the_model(dtype, tmp_path, monkeypatch):
    def trained() -> layers.Sequential:
        model = make(dtype)
        model.layers[0].adapt(X)
        model.layers[2].adapt(np.eye(4))
        model.fit(X, Y, epochs=2)
        return model

    model = trained()
    assert model.obstacle() is None
    np.testing.assert_allclose(model.statistics()["0.mean"][0], X.mean(axis=0), rtol=1e-6)
    model.save(tmp_path / "model")
    for other in (layers.load(tmp_path / "model"), copy.deepcopy(model)):
        assert other.layers[0].is_adapted
        assert other.predict(X).tobytes() == model.predict(X).tobytes()
        assert other.fingerprint() == model.fingerprint()
    assert layers.check_gradients(model, X[:9], Y[:9]).right
    monkeypatch.setattr(lowering, "obstacle", lambda model: "for a test")
    eager = trained()
    assert eager.fingerprint() == model.fingerprint()
    assert eager.predict(X).tobytes() == model.predict(X).tobytes()


def test_other_data_may_be_adapted_to_within_the_model():
    model = make()
    model.layers[0].adapt(X)
    before = model.predict(X)
    model.layers[0].adapt(X + 1)
    np.testing.assert_allclose(model.predict(X + 1), before, rtol=0.05, atol=0.05)
    model.reset()
    assert not model.layers[0].is_adapted


def test_without_data_nothing_is_computed():
    model = make()
    before = model.fingerprint()
    for refused in (model.predict, lambda x: model.fit(x, Y), lambda x: model.evaluate(x, Y)):
        with pytest.raises(ValueError, match=r"Standardize\(3\) has seen no data.*adapt\(x\)"):
            refused(X)
    assert model.fingerprint() == before
    assert "Standardize(3)" in model.summary()


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.where(np.arange(3) == 1, np.nan, np.ones((5, 3))), "column 1 of x has mean nan"),
        (np.array([[1, 1, 1], [1, 1, np.inf]]), "column 2"),
        (np.array([[1, 1, 1], [1, 1, 1 + 1e300]]), "column 2 .*float32"),
        (np.array([[0, 0, 0], [0, 1e-60, 0]]), "column 1 .*float32"),
        (np.ones((1, 3)), "x has 1 row, expected at least 2"),
        (np.ones((5, 2)), r"shape \(5, 2\), expected \(rows, 3\)"),
    ],
)
def test_what_adapt_refuses(x, words):
    layer = layers.Standardize(3)
    layer.adapt(X)
    before = layer.mean.copy(), layer.deviation.copy()
    with pytest.raises((ValueError, TypeError), match=words):
        layer.adapt(x)
    assert np.array_equal(before, (layer.mean, layer.deviation))
    with pytest.raises((ValueError, TypeError), match="n is 0"):
        layers.Standardize(0)
