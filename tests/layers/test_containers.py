"""`Residual` and `Concatenate`: sums and columns of branches, on both paths, saved and loaded."""

import copy
import pickle

import numpy as np
import pytest

import layers
from layers import datasets
from layers.compiled import lowering, runner

pytestmark = pytest.mark.compiled

X, Y = datasets.load_digits()
X, Y = X[:150], Y[:150]
X.flags.writeable = Y.flags.writeable = False


def block(n: int) -> layers.Residual:
    return layers.Residual(
        [
            *(layers.LayerNorm(n), layers.Dense(n, 9), layers.GELU(), layers.Dropout(0.2)),
            *(layers.Dense(9, n), layers.BatchNorm(n)),
        ]
    )


STACKS = {
    "residual": lambda: [layers.Dense(64, 12), block(12), block(12), layers.Dense(12, 10)],
    "residual first": lambda: [block(64), layers.ReLU(), layers.Dense(64, 10)],
    "residual of an activation": lambda: [layers.Residual([layers.Tanh()]), layers.Dense(64, 10)],
    "concatenate first": lambda: [
        layers.Concatenate([[], [layers.Dense(64, 7), layers.ReLU()], layers.Dense(64, 3)]),
        layers.Dense(74, 10),
    ],
    "concatenate": lambda: [
        layers.Dense(64, 12),
        layers.Concatenate([layers.Tanh(), [block(12), layers.Dense(12, 5)], []]),
        layers.BatchNorm(29),
        layers.Dense(29, 10),
    ],
    "one in another": lambda: [
        layers.Residual([layers.Concatenate([layers.Dense(64, 40), layers.Dense(64, 24)])]),
        layers.Residual([layers.Residual([layers.Dense(64, 64)]), layers.Sigmoid()]),
        layers.Dense(64, 10),
    ],
}
each_stack = pytest.mark.parametrize("name", STACKS)


def make(name: str, dtype: str = "float32") -> layers.Sequential:
    return layers.Sequential(STACKS[name](), optimizer=layers.Adam(0.01), seed=3, dtype=dtype)


def everything(model: layers.Sequential) -> list[object]:
    history = model.fit(X, Y, epochs=2)
    return [
        *(model.fingerprint(), dict(history), model.train_step(X[:19], Y[:19])),
        *(model.evaluate(X, Y), model.predict_proba(X).tobytes(), model.fingerprint()),
    ]


@each_stack
def test_both_paths_and_any_number_of_threads_give_the_same_bits(name, monkeypatch):
    model = make(name)
    assert model.obstacle() is None
    together = everything(model)
    execute = runner.Compiled._execute
    with monkeypatch.context() as patch:
        patch.setattr(
            runner.Compiled,
            "_execute",
            lambda ours, made, count, *rest: execute(ours, made, 3, *rest),
        )
        assert everything(make(name)) == together
    monkeypatch.setattr(runner, "_LONG_SECONDS", -1)
    assert everything(make(name)) == together
    monkeypatch.setattr(lowering, "obstacle", lambda model: "for a test")
    assert everything(make(name)) == together


@each_stack
def test_the_gradients_are_right(name):
    checked = layers.check_gradients(make(name), X[:7], Y[:7], elements=20)
    assert checked.right, checked


def test_what_they_compute():
    x = np.arange(12.0).reshape(4, 3)
    dense, other = (layers.Dense(3, n, dtype="float64", seed=n) for n in (3, 2))
    f, g = dense.forward(x), other.forward(x)
    residual = layers.Residual([dense])
    assert np.array_equal(residual.forward(x), x + f)
    assert np.array_equal(residual.backward(x), x + dense.backward(x))
    beside = layers.Concatenate([other, [], layers.Tanh()])
    assert (beside.n_in, beside.n_out) == (3, 8)
    with layers.backend("numpy"):
        assert np.array_equal(beside.forward(x), np.hstack([other.forward(x), x, np.tanh(x)]))
    np.testing.assert_allclose(beside.forward(x), np.hstack([g, x, np.tanh(x)]), rtol=1e-12)
    dy = np.linspace(0, 1, 32).reshape(4, 8)
    expected = other.backward(dy[:, :2]) + dy[:, 2:5] + dy[:, 5:] * (1 - np.tanh(x) ** 2)
    np.testing.assert_allclose(beside.backward(dy), expected, rtol=1e-10)


@each_stack
def test_they_are_saved_copied_and_reset(name, tmp_path):
    model = make(name)
    fresh = model.fingerprint()
    model.fit(X, Y)
    model.save(tmp_path / "model", optimizer_state=True)
    loaded = layers.load(tmp_path / "model")
    for other in (loaded, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.fingerprint() == model.fingerprint()
        assert other.predict_proba(X).tobytes() == model.predict_proba(X).tobytes()
        other.fit(X, Y)
    assert [repr(layer) for layer in loaded.layers] == [repr(layer) for layer in model.layers]
    model.reset()
    assert model.fingerprint() == fresh


def test_names_say_where_a_parameter_is():
    names = list(make("concatenate").parameters())
    assert "1.1.0.0.weights" in names  # LayerNorm, in a block, in the second branch
    assert "1.1.1.biases" in names
    assert "1.1.0.5.running_mean" in make("concatenate").statistics()
    assert list(make("one in another").parameters())[:2] == ["0.0.0.0.weights", "0.0.0.0.biases"]
    # Weights of all layers begin differently.
    first = make("one in another").parameters()
    assert len({array.tobytes() for name, array in first.items() if "weights" in name}) == 4


def test_weight_decay_reaches_the_weights_within():
    model = layers.Sequential(
        [layers.Residual([layers.Dense(64, 64), layers.LayerNorm(64)]), layers.Dense(64, 10)],
        optimizer=layers.SGD(0.0, weight_decay=0.5),
        seed=0,
    )
    assert model.layers[0].decayed == ("0.weights",)


def test_an_embedding_may_begin_a_branch():
    x = X[:, :3].copy()
    x[:, 2] = np.arange(len(x)) % 4
    wide = layers.Embedding(3, [2], [4], 5)
    model = layers.Sequential([layers.Concatenate([[], wide]), layers.Dense(10, 10)], seed=0)
    model.fit(x, Y)
    x[7, 2] = 4
    with pytest.raises(ValueError, match=r"Sequential.predict: x\[7, 2\] is 4"):
        model.predict(x)
    with pytest.raises(ValueError, match=r"Residual: layer 1 is Embedding.*expected it first"):
        layers.Residual([layers.ReLU(), layers.Embedding(3, [2], [4], 1)])


class Own(layers.Layer):
    """Twice x, by code of the user's own."""

    def forward(self, x, training=False):
        self.output = 2 * x
        return self.output

    def backward(self, dy):
        return 2 * dy


def test_code_of_your_own_within_runs_layer_by_layer():
    model = layers.Sequential([layers.Dense(64, 10), layers.Residual([Own()])], seed=0)
    assert model.obstacle() == "layer 1 holds Own(), which is an Own of your own"
    model.fit(X, Y)
    assert layers.check_gradients(model, X[:5], Y[:5]).right
    dense = layers.Dense(10, 10)
    model = layers.Sequential([layers.Dense(64, 10), layers.Residual([dense])], seed=0)
    assert model.obstacle() is None
    dense.forward = lambda x, training=False: x
    assert "has a method of its own" in model.obstacle()


def test_a_batch_of_one_row_is_refused_within_too():
    model = make("residual")
    with pytest.raises(ValueError, match=r"last batch of 33 rows .*layer 1, Residual.*deviation"):
        model.fit(X[:33], Y[:33])


SHARED = layers.Dense(3, 3)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: layers.Residual([]), "layers is empty"),
        (lambda: layers.Residual([layers.Dense(3, 4)]), "take 3 columns and give 4"),
        (lambda: layers.Residual([layers.Dense(3, 4), layers.Dense(3, 3)]), "takes 3 inputs"),
        (lambda: layers.Residual([SHARED, SHARED]), "in the list twice"),
        (lambda: layers.Residual([3]), r"\[3\] is no layer"),
        (lambda: layers.Residual(layers.Dense), "is no layer"),
        (lambda: layers.Concatenate([]), "branches is"),
        (lambda: layers.Concatenate([[], layers.ReLU()]), "no layer says its width"),
        (lambda: layers.Concatenate([layers.Dense(3, 4), layers.Dense(4, 4)]), "branch 1 takes 4"),
        (lambda: layers.Concatenate([[SHARED], [SHARED]]), "in the list twice"),
        (
            lambda: layers.Sequential([layers.Residual([SHARED]), SHARED]),
            "layer 1, .* is in the list twice",
        ),
        (
            lambda: [
                layers.Sequential([layers.Residual([dense])])
                for dense in [layers.Dense(3, 3)]
                for _ in range(2)
            ],
            "belongs to a model already",
        ),
    ],
)
def test_what_is_refused(made, words):
    with pytest.raises((ValueError, TypeError), match=words):
        made()
