"""`BatchNorm` and `LayerNorm`: PyTorch's formulas, statistics that belong to the model, errors."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest

import layers
from layers import datasets
from layers.compiled import lowering, runner

pytestmark = pytest.mark.compiled

X, Y = datasets.load_digits()
X.flags.writeable = Y.flags.writeable = False
RNG = np.random.default_rng(0)


def stack(kind: int) -> list[layers.Layer]:
    return {
        0: lambda: [
            *(layers.Dense(64, 33), layers.BatchNorm(33), layers.ReLU(), layers.Dense(33, 20)),
            *(layers.LayerNorm(20), layers.ReLU(), layers.Dense(20, 10)),
        ],
        1: lambda: [layers.BatchNorm(64, 0.3, 1e-3), layers.Dense(64, 10), layers.LayerNorm(10)],
        2: lambda: [layers.LayerNorm(64), layers.Dense(64, 10), layers.BatchNorm(10)],
    }[kind]()


def make(kind: int = 0, dtype: str = "float32") -> layers.Sequential:
    return layers.Sequential(stack(kind), optimizer=layers.Adam(0.01), seed=3, dtype=dtype)


def batch_norm_in_numpy(x, w, b, dy, epsilon):
    """y, dx, dw, db, and the batch's mean and unbiased variance, in float64."""
    m, mean = len(x), x.mean(axis=0)
    deviation = np.sqrt(x.var(axis=0) + epsilon)
    hat = (x - mean) / deviation
    db, dw = dy.sum(axis=0), (dy * hat).sum(axis=0)
    dx = w / (m * deviation) * (m * dy - db - hat * dw)
    return w * hat + b, dx, dw, db, mean, x.var(axis=0, ddof=1)


def layer_norm_in_numpy(x, w, b, dy, epsilon):
    deviation = np.sqrt(x.var(axis=1, keepdims=True) + epsilon)
    hat = (x - x.mean(axis=1, keepdims=True)) / deviation
    g, n = dy * w, x.shape[1]
    sums = g.sum(axis=1, keepdims=True), (g * hat).sum(axis=1, keepdims=True)
    dx = (n * g - sums[0] - hat * sums[1]) / (n * deviation)
    return w * hat + b, dx, (dy * hat).sum(axis=0), dy.sum(axis=0)


def drawn(n: int, rows: int = 9):
    x = RNG.normal(3.0, 2.0, (rows, n))
    return x, RNG.normal(1, 1, (1, n)), RNG.normal(0, 1, (1, n)), RNG.normal(0, 1, (rows, n))


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_batch_norm_is_its_formula(backend):
    x, w, b, dy = drawn(5)
    layer = layers.BatchNorm(5, momentum=0.3, epsilon=1e-3, dtype="float64")
    layer.weights, layer.biases = w, b
    with layers.backend(backend):
        y = layer.forward(x, training=True)
        dx = layer.backward(dy)
    expected = batch_norm_in_numpy(x, w, b, dy, 1e-3)
    found = y, dx, layer.dweights[0], layer.dbiases[0]
    for ours, right in zip(found, expected, strict=False):
        np.testing.assert_allclose(ours, right, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(layer.running_mean[0], 0.3 * expected[4], rtol=1e-12)
    np.testing.assert_allclose(layer.running_variance[0], 0.7 + 0.3 * expected[5], rtol=1e-12)
    # Outside training the running statistics are constants.
    with layers.backend(backend):
        scale = w / np.sqrt(layer.running_variance + 1e-3)
        np.testing.assert_allclose(layer.forward(x), (x - layer.running_mean) * scale + b)
        np.testing.assert_allclose(layer.backward(dy), dy * scale)
        assert layer.backward(dy).tobytes() == layer.backward(dy).tobytes()


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_layer_norm_is_its_formula(backend):
    x, w, b, dy = drawn(37)
    layer = layers.LayerNorm(37, epsilon=1e-3, dtype="float64")
    layer.weights, layer.biases = w, b[0]
    with layers.backend(backend):
        found = layer.forward(x), layer.backward(dy), layer.dweights[0], layer.dbiases[0]
    for ours, right in zip(found, layer_norm_in_numpy(x, w, b, dy, 1e-3), strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("kind", "name"), [("BatchNorm", "BatchNorm1d"), ("LayerNorm",) * 2])
def test_beside_pytorch(kind, name):
    torch = pytest.importorskip("torch")
    x, w, b, dy = drawn(7)
    ours = getattr(layers, kind)(7, dtype="float64")
    theirs = getattr(torch.nn, name)(7, dtype=torch.float64)
    ours.weights, ours.biases = w, b
    state = theirs.state_dict()
    state |= {"weight": torch.tensor(w[0]), "bias": torch.tensor(b[0])}
    theirs.load_state_dict(state)
    for _ in range(3):  # the running statistics move each time
        y, dx = ours.forward(x, training=True), ours.backward(dy)
        given = torch.tensor(x, requires_grad=True)
        theirs.zero_grad()
        right = theirs(given)
        right.backward(torch.tensor(dy))
        pairs = [(y, right.detach()), (dx, given.grad)]
        pairs += [(ours.dweights[0], theirs.weight.grad), (ours.dbiases[0], theirs.bias.grad)]
        if kind == "BatchNorm":
            pairs += [(ours.running_mean[0], theirs.running_mean)]
            pairs += [(ours.running_variance[0], theirs.running_var)]
        for found, expected in pairs:
            np.testing.assert_allclose(found, expected.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours.forward(x), theirs.eval()(torch.tensor(x)).detach().numpy())


def test_a_variance_keeps_its_digits_far_from_zero():
    """The mean of squares minus the square of the mean would have none left."""
    x = (1e4 + RNG.normal(0, 1, (500, 3))).astype(np.float32)
    layer = layers.BatchNorm(3, momentum=1.0)
    layer.forward(x, training=True)
    np.testing.assert_allclose(
        layer.running_variance[0], x.astype(np.float64).var(axis=0, ddof=1), rtol=1e-5
    )


# --- within a model -------------------------------------------------------------------------------


def everything(model: layers.Sequential) -> list[object]:
    history = model.fit(X[:150], Y[:150], epochs=2)
    statistics = [array.tobytes() for array in model.statistics().values()]
    return [
        *(model.fingerprint(), dict(history), statistics, model.train_step(X[:19], Y[:19])),
        *(model.evaluate(X, Y), model.predict_proba(X).tobytes(), model.fingerprint()),
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_both_paths_and_any_number_of_threads_give_the_same_bits(kind, dtype, monkeypatch):
    model = make(kind, dtype)
    assert model.obstacle() is None
    together = everything(model)
    execute = runner.Compiled._execute
    with monkeypatch.context() as patch:  # on several threads, however little work it is
        patch.setattr(
            runner.Compiled,
            "_execute",
            lambda ours, made, count, *rest: execute(ours, made, 3, *rest),
        )
        assert everything(make(kind, dtype)) == together
    monkeypatch.setattr(runner, "_LONG_SECONDS", -1)  # a call for each line
    assert everything(make(kind, dtype)) == together
    monkeypatch.setattr(lowering, "obstacle", lambda model: "for a test")
    assert everything(make(kind, dtype)) == together


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_the_gradients_are_right(kind):
    checked = layers.check_gradients(make(kind), X[:7], Y[:7], elements=20)
    assert checked.right, checked


def test_the_prediction_of_a_row_does_not_depend_on_its_batch():
    model = make()
    model.fit(X[:150], Y[:150])
    scores = model.predict_proba(X)
    assert model.predict_proba(X[5:6]).tobytes() == scores[5:6].tobytes()
    assert model.predict_proba(X[3:40]).tobytes() == scores[3:40].tobytes()


def test_statistics_belong_to_the_model(tmp_path):
    model = make()
    fresh = model.fingerprint()
    assert list(model.statistics()) == ["1.running_mean", "1.running_variance"]
    model.fit(X[:150], Y[:150])
    trained = model.fingerprint()
    model.statistics()["1.running_mean"][0, 0] += 1
    assert model.fingerprint() != trained
    model.layers[1].running_mean = model.layers[1].running_mean - np.eye(1, 33)
    model.save(tmp_path / "model")
    model.save(tmp_path / "with state", optimizer_state=True)
    loaded = [layers.load(tmp_path / name) for name in ("model", "with state")]
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), *loaded):
        assert other.fingerprint() == model.fingerprint()
        assert other.predict_proba(X).tobytes() == model.predict_proba(X).tobytes()
        assert not np.shares_memory(
            other.statistics()["1.running_mean"], model.statistics()["1.running_mean"]
        )
    assert "66 statistics" in model.summary()
    model.reset()
    assert model.fingerprint() == fresh


def test_a_layer_brings_its_statistics_into_a_model():
    layer = layers.BatchNorm(64)
    layer.forward(X[:50], training=True)
    kept = {name: array.copy() for name, array in layer.statistics().items()}
    model = layers.Sequential([layer, layers.Dense(64, 10)], seed=0)
    for name, array in kept.items():
        assert model.statistics()[f"0.{name}"].tobytes() == array.tobytes()


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("callback", ["EarlyStopping", "MovingAverage"])
def test_callbacks_give_statistics_back(callback, eager, monkeypatch):
    if eager:
        monkeypatch.setattr(lowering, "obstacle", lambda model: "for a test")
    model, kept = make(1), []
    if callback == "EarlyStopping":
        # The learning rate ruins the second epoch.
        def ruin(progress):
            kept.append(model.fingerprint())
            model.optimizer.learning_rate = 10.0

        given = [layers.EarlyStopping("loss", patience=1), ruin]
        model.fit(X[:150], Y[:150], epochs=3, callbacks=given)
        assert model.fingerprint() == kept[0] != kept[1]
    else:
        given = [layers.MovingAverage(0.5, every=1)]

        def look(progress):
            kept.append(model.statistics()["0.running_mean"].astype(np.float64))

        model.fit(X[:96], Y[:96], callbacks=[*given, look], callback_batches=1)
        first, second, third = kept[:3]
        mean = (0.125 * first + 0.25 * second + 0.5 * third) / 0.875
        np.testing.assert_allclose(model.statistics()["0.running_mean"], mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("eager", [False, True])
def test_a_batch_without_a_finite_loss_moves_no_statistics(eager, monkeypatch):
    if eager:
        monkeypatch.setattr(lowering, "obstacle", lambda model: "for a test")
    model, x = make(1), X[:64].copy()
    x[40, 3] = np.nan
    with pytest.raises(layers.NonFiniteLoss):
        model.fit(x, Y[:64], shuffle=False)
    assert model._step == 1
    other = make(1)
    other.fit(x[:32], Y[:32], shuffle=False)
    assert model.fingerprint() == other.fingerprint()


def test_an_interrupted_pass_moves_no_statistics(monkeypatch):
    monkeypatch.setattr(lowering, "obstacle", lambda model: "for a test")
    model = make(1)
    before = model.fingerprint()
    monkeypatch.setattr(model.loss, "run", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X[:64], Y[:64])
    assert model.fingerprint() == before


def test_gradients_and_checks_leave_the_model_as_it_is():
    model = make()
    before = model.fingerprint()
    model.gradients(X[:9], Y[:9])
    layers.check_gradients(model, X[:9], Y[:9], elements=2)
    assert model.fingerprint() == before


# --- what is refused ------------------------------------------------------------------------------


def test_a_batch_of_one_row_is_refused_before_the_first_step():
    model = make()
    before, one = model.fingerprint(), slice(0, 1)
    for refused, words in {
        partial(model.fit, X[:97], Y[:97]): r"the last batch of 97 rows of x .* 32 has 1 row.*=33",
        partial(model.fit, X[:99], Y[:99], batch_size=49): r"has 1 row.*batch_size=50",
        partial(model.fit, X[one], Y[one]): r"fit: x has 1 row",
        partial(model.fit, X, Y, batch_size=1): r"batch_size is 1, .* choose 3",
        partial(model.fit, X[:98], Y[:98], validation_fraction=0.01): r"97 rows",
        partial(model.train_step, X[one], Y[one]): r"train_step: x has 1 row",
        partial(model.gradients, X[one], Y[one]): r"BatchNorm.forward: x has 1 row in training",
        partial(model.fit, [(X[one], Y[one])]): r"batch 1: x has 1 row",
    }.items():
        with pytest.raises(ValueError, match=words):
            refused()
        assert model.fingerprint() == before
    assert model.fit(X[:98], Y[:98]).epochs == 1
    assert model.predict(X[one]).shape == (1,)
    assert layers.Sequential([layers.LayerNorm(64), layers.Dense(64, 10)]).fit(X[one], Y[one])


@pytest.mark.parametrize(
    ("make_layer", "words"),
    [
        (lambda: layers.BatchNorm(0), "n is 0"),
        (lambda: layers.BatchNorm("3"), "n is '3'"),
        (lambda: layers.BatchNorm(3, momentum=1.5), "momentum is 1.5"),
        (lambda: layers.BatchNorm(3, momentum=True), "momentum is True"),
        (lambda: layers.BatchNorm(3, epsilon=-1e-5), "epsilon is -1e-05"),
        (lambda: layers.LayerNorm(3, epsilon=np.nan), "epsilon is nan"),
        (lambda: layers.LayerNorm(3, dtype="int8"), "dtype is 'int8'"),
        (lambda: setattr(layers.LayerNorm(3), "weights", [1, 2]), r"LayerNorm.weights"),
        (lambda: setattr(layers.BatchNorm(2), "running_variance", [1, -1]), "at least 0"),
        (lambda: layers.BatchNorm(3).forward(np.ones((4, 2))), r"\(batch, 3\)"),
        (lambda: layers.BatchNorm(3).backward(np.ones((4, 3))), "before forward"),
    ],
)
def test_what_is_refused(make_layer, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make_layer()
