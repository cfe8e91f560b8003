"""`Embedding`: vectors for columns of categories, what is refused, the same bits on both paths."""

from functools import partial

import numpy as np
import pytest

import layers
from layers.compiled import lowering, runner

pytestmark = pytest.mark.compiled

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 6))
X[:, 3], X[:, 5] = RNG.integers(0, 10, 200), RNG.integers(0, 4, 200)
Y = (X[:, 3] % 3 + X[:, 5] > 2).astype(int)
X.flags.writeable = False


def make(dtype: str = "float32", optimizer: layers.Optimizer | None = None) -> layers.Sequential:
    return layers.Sequential(
        [layers.Embedding(6, [5, 3], [4, 10], 8), layers.Dense(20, 9), layers.Dense(9, 2)],
        optimizer=optimizer or layers.Adam(0.01),
        seed=0,
        dtype=dtype,
    )


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_categories_become_vectors_and_other_columns_are_passed_on(backend):
    layer = layers.Embedding(4, columns=[2, 0], sizes=[3, 2], width=2, dtype="float64")
    x = np.array([[1, 0.5, 2, -0.5], [0, 1.5, 2, 7.0], [1, 2.5, 0, 0.0]])
    dy = np.arange(18.0).reshape(3, 6)
    with layers.backend(backend):
        y, dx = layer.forward(x), layer.backward(dy)
    of_2, of_0 = layer.vectors(2), layer.vectors(0)
    assert (of_2.shape, of_0.shape, layer.n_out) == ((3, 2), (2, 2), 6)
    assert np.array_equal(y[:, :2], x[:, [1, 3]])
    assert np.array_equal(y[:, 2:4], of_2[[2, 2, 0]])
    assert np.array_equal(y[:, 4:], of_0[[1, 0, 1]])
    assert np.array_equal(dx, [[0, 0, 0, 1], [0, 6, 0, 7], [0, 12, 0, 13]])
    expected = np.zeros((5, 2))
    np.add.at(expected, [2, 2, 0], dy[:, 2:4])
    np.add.at(expected, [4, 3, 4], dy[:, 4:])
    assert np.array_equal(layer.dweights, expected)
    assert abs(layer.weights).max() <= 0.05
    assert len(np.unique(layer.weights)) == 10


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_paths_and_any_number_of_threads_give_the_same_bits(dtype, monkeypatch):
    def everything() -> list[object]:
        model = make(dtype)
        history = model.fit(X, Y, epochs=2)
        scores = model.predict_proba(X).tobytes()
        return [dict(history), model.evaluate(X, Y), scores, model.fingerprint()]

    assert make().obstacle() is None
    together = everything()
    execute = runner.Compiled._execute
    with monkeypatch.context() as patch:
        patch.setattr(
            runner.Compiled,
            "_execute",
            lambda ours, made, count, *rest: execute(ours, made, 3, *rest),
        )
        assert everything() == together
    monkeypatch.setattr(runner, "_LONG_SECONDS", -1)
    assert everything() == together
    monkeypatch.setattr(lowering, "obstacle", lambda model: "for a test")
    assert everything() == together


def test_the_gradients_are_right():
    checked = layers.check_gradients(make(), X[:9], Y[:9])
    assert checked.right, checked


def test_it_is_learnt_and_saved(tmp_path):
    model = make()
    assert model.fit(X, Y, epochs=15)["accuracy"][-1] > 0.95
    model.save(tmp_path / "model")
    loaded = layers.load(tmp_path / "model")
    assert loaded.fingerprint() == model.fingerprint()
    assert repr(loaded.layers[0]) == "Embedding(6, columns=[5, 3], sizes=[4, 10], width=8)"


@pytest.mark.parametrize("wrong", [10, -1, 2.5, np.nan, np.inf])
def test_what_is_no_category_is_refused_before_anything_moves(wrong):
    model, x = make(), X.copy()
    x[7, 3] = wrong
    model.train_step(X, Y)
    before = model.fingerprint()
    for place, refused in {
        r"fit: x\[7, 3\]": partial(model.fit, x, Y),
        r"predict: x\[7, 3\]": partial(model.predict, x),
        r"predict_proba: x\[7, 3\]": partial(model.predict_proba, x),
        r"evaluate: x\[7, 3\]": partial(model.evaluate, x, Y),
        r"train_step: x\[7, 3\]": partial(model.train_step, x, Y),
        r"fit: validation_data\[0\]\[7, 3\]": partial(model.fit, X, Y, validation_data=(x, Y)),
        r"fit: batch 1: x\[7, 3\]": partial(model.fit, [(x, Y)]),
        r"evaluate: batch 1 of x: x\[7, 3\]": partial(model.evaluate, [(x, Y)]),
        r"Embedding.forward: x\[7, 3\]": partial(model.layers[0].forward, x),
    }.items():
        with pytest.raises(ValueError, match=f"{place} is .*from 0 to 9, as Embedding.*column 3"):
            refused()
        assert model.fingerprint() == before


def test_a_category_that_changes_after_the_check_reads_no_other_memory():
    """It becomes NaN: here in the compiled call itself, behind all checks."""
    model, x = make(), X.astype(np.float32)
    scores = np.empty((len(x), 2), np.float32)
    for wrong in (10, 1e30, -1, 0.5, np.nan, -np.inf):
        x[7, 3] = wrong
        model._compiled().scores(x, scores)
        assert np.array_equal(np.isnan(scores).any(axis=1), np.arange(len(x)) == 7)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: layers.Embedding(6, [3, 6], [4, 4], 8), r"columns\[1\] is 6"),
        (lambda: layers.Embedding(6, [3, 3], [4, 4], 8), "each column once"),
        (lambda: layers.Embedding(6, [3], [4, 4], 8), "sizes has 2 numbers, expected 1"),
        (lambda: layers.Embedding(6, [], [], 8), "expected a list of integers"),
        (lambda: layers.Embedding(6, "3", [4], 8), "columns is '3'"),
        (lambda: layers.Embedding(6, [3], [0], 8), r"sizes\[0\] is 0"),
        (lambda: layers.Embedding(6, [True], [4], 8), r"columns\[0\] is True"),
        (lambda: layers.Embedding(6, [3], [4], 0), "width is 0"),
        (lambda: layers.Embedding(6, [3], [4], 2).vectors(1), "column is 1"),
        (
            lambda: layers.Sequential([layers.Dense(3, 3), layers.Embedding(3, [0], [2], 2)]),
            "layer 1 is Embedding.*first layer",
        ),
    ],
)
def test_what_is_refused(made, words):
    with pytest.raises((ValueError, TypeError), match=words):
        made()
