"""`Sequential`: what it trains, predicts, keeps, promises and refuses."""

import copy
import io
import json
import math
import pickle
import platform
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numba.core.codegen import get_host_cpu_features

import layers
from layers import backends, datasets
from layers.data.columns import NumberColumns
from layers.files.archive import checksum

pytestmark = pytest.mark.compiled

X, Y = datasets.load_digits()
X.flags.writeable = Y.flags.writeable = False  # for every test here: nothing may write to them
ROWS = np.eye(10, dtype=np.float32)[Y]
SMALL = slice(0, 250)  # 7 batches of 32 and one of 26

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def make(seed=0, dtype="float32", hidden=16, with_softmax=False, **changes) -> layers.Sequential:
    """A small model of the digits."""
    stack = [layers.Dense(64, hidden), layers.ReLU(), layers.Dense(hidden, 10)]
    arguments = {"optimizer": layers.SGD(0.1), "seed": seed, "dtype": dtype} | changes
    if with_softmax:
        stack.append(layers.Softmax())
        arguments["loss"] = layers.CategoricalCrossEntropy()
    return layers.Sequential(stack, **arguments)


def trained(**arguments) -> layers.Sequential:
    model = make(**arguments)
    model.fit(X, Y)
    return model


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


class Recorder(layers.Layer):
    """A user's own layer: it passes everything through and remembers what it trained on."""

    def __init__(self) -> None:
        self.batches: list[np.ndarray] = []

    def forward(self, x, training=False):
        if training:
            self.batches.append(x.copy())
        return x

    def backward(self, dy):
        return dy


# --- fit ------------------------------------------------------------------------------------------


@each_dtype
def test_fit_learns_the_digits(dtype: str):
    model = make(dtype=dtype, hidden=32)
    before = model.evaluate(X, Y)
    history = model.fit(X, Y, epochs=15)
    after = model.evaluate(X, Y)
    assert before["accuracy"] < 0.3
    assert after["accuracy"] > 0.95
    assert after["loss"] < 0.2 < before["loss"]
    assert history["loss"][-1] < history["loss"][0]
    assert list(history) == ["loss", "accuracy"]
    assert history.epochs == 15


def test_fit_on_held_out_digits():
    model = make(hidden=32)
    history = model.fit(X[:1400], Y[:1400], epochs=15, validation_data=(X[1400:], Y[1400:]))
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert history["val_accuracy"][-1] > 0.85
    assert model.evaluate(X[1400:], Y[1400:]) == {
        "loss": history["val_loss"][-1],
        "accuracy": history["val_accuracy"][-1],
    }


@pytest.mark.parametrize("with_softmax", [False, True], ids=["logits", "softmax"])
@pytest.mark.parametrize("y", [Y, ROWS], ids=["indices", "rows"])
def test_fit_without_shuffling_is_train_step_over_slices(with_softmax: bool, y: np.ndarray):
    fitted, stepped = make(with_softmax=with_softmax), make(with_softmax=with_softmax)
    history = fitted.fit(X[SMALL], y[SMALL], epochs=2, batch_size=32, shuffle=False)
    for epoch in range(2):
        starts = range(0, 250, 32)
        batches = [(X[s : min(s + 32, 250)], y[s : min(s + 32, 250)]) for s in starts]
        assert len(batches[-1][0]) == 26
        losses = [len(x) * stepped.train_step(x, y) for x, y in batches]
        assert history["loss"][epoch] == pytest.approx(sum(losses) / 250, rel=1e-12)
    assert fitted.fingerprint() == stepped.fingerprint()


@pytest.mark.parametrize("batch_size", [1, 7, 250, 251, 10_000])
def test_every_epoch_sees_every_row_once(batch_size: int):
    recorder = Recorder()
    model = layers.Sequential([recorder, layers.Dense(64, 10)], seed=0)
    numbered = np.arange(250.0)[:, None] * np.ones((1, 64))  # row i holds i
    model.fit(numbered / 250, Y[SMALL], epochs=2, batch_size=batch_size)
    sizes = [len(batch) for batch in recorder.batches]
    full, rest = divmod(250, batch_size)
    assert sizes == 2 * ([batch_size] * full + [rest] * (rest > 0))
    rows = np.rint(np.concatenate(recorder.batches)[:, 0] * 250).astype(int)
    assert sorted(rows[:250]) == sorted(rows[250:]) == list(range(250))
    assert list(rows[:250]) != list(range(250))
    assert list(rows[:250]) != list(rows[250:])


def test_labels_stay_with_their_rows():
    """Each row's label can be read from it, so that a shuffle of one alone could not be learnt."""
    x = np.eye(10)[Y[SMALL]]
    model = layers.Sequential([layers.Dense(10, 10)], optimizer=layers.SGD(1.0), seed=0)
    model.fit(x, Y[SMALL], epochs=5)
    assert model.evaluate(x, Y[SMALL])["accuracy"] == 1


def test_shuffle_off_keeps_the_order():
    recorder = Recorder()
    model = layers.Sequential([recorder, layers.Dense(64, 10)], seed=0)
    model.fit(X[SMALL], Y[SMALL], epochs=2, shuffle=False)
    assert same_bits(np.concatenate(recorder.batches), np.concatenate([X[SMALL], X[SMALL]]))


def test_a_second_fit_continues():
    at_once, in_parts = make(), make()
    at_once.fit(X[SMALL], Y[SMALL], epochs=5)
    first = in_parts.fit(X[SMALL], Y[SMALL], epochs=2)
    second = in_parts.fit(X[SMALL], Y[SMALL], epochs=3)
    assert in_parts.fingerprint() == at_once.fingerprint()
    assert in_parts.history == at_once.history
    assert (first.epochs, second.epochs, in_parts.history.epochs) == (2, 3, 5)
    assert first["loss"] + second["loss"] == in_parts.history["loss"]


def test_history_keeps_its_lists_in_step():
    model = make()
    model.fit(X[SMALL], Y[SMALL])
    model.fit(X[SMALL], Y[SMALL], epochs=2, validation_data=(X, Y))
    model.fit(X[SMALL], Y[SMALL])
    assert [len(numbers) for numbers in model.history.values()] == [4, 4, 4, 4]
    missing = [math.isnan(number) for number in model.history["val_loss"]]
    assert missing == [True, False, False, True]
    assert repr(model.history).startswith("History(4 epochs: loss ")


def test_progress_shows_loss_and_accuracy(capsys):
    shown, silent = make(), make()
    shown.fit(X[SMALL], Y[SMALL], epochs=2, progress=True)
    error = capsys.readouterr().err
    assert "epoch 2/2" in error
    assert "loss=" in error
    assert "accuracy=" in error
    silent.fit(X[SMALL], Y[SMALL], epochs=2)
    assert capsys.readouterr() == ("", "")
    assert shown.fingerprint() == silent.fingerprint()


# --- a step ---------------------------------------------------------------------------------------


def test_train_step_returns_the_loss_before_the_update():
    model = make()
    expected = model.evaluate(X[:32], Y[:32])["loss"]
    losses = [model.train_step(X[:32], Y[:32]) for _ in range(50)]
    assert losses[0] == expected
    assert isinstance(losses[0], float)
    assert losses[-1] < losses[0] / 2


@each_dtype
def test_train_step_is_the_steps_by_hand(dtype: str):
    """forward, loss, backward layer by layer, and w <- w - learning_rate dw with one rounding."""
    x = X[:32].astype(dtype)
    model, by_hand = make(dtype=dtype), make(dtype=dtype)
    expected = model.train_step(x, Y[:32])
    assert by_hand.loss.forward(by_hand.forward(x, training=True), Y[:32]) == expected
    dy = by_hand.loss.backward()
    for layer in reversed(by_hand.layers):
        dy = layer.backward(dy)
    for index, layer in enumerate(by_hand.layers):
        for name, array in layer.parameters().items():
            step = array.astype(np.longdouble)
            step -= np.array(0.1, dtype) * getattr(layer, f"d{name}").astype(np.longdouble)
            updated = model.parameters()[f"{index}.{name}"]
            # 64 bits hold float32's product and most of float64's: the last bit may differ there.
            np.testing.assert_array_max_ulp(updated, step.astype(dtype), dtype == "float64")


def test_gradients_are_overwritten_not_accumulated():
    model = make()
    dense = model.layers[2]
    for _ in range(2):
        model.loss.forward(model.forward(X[:32]), Y[:32])
        model.backward(model.loss.backward())
    twice = dense.dweights.copy(), dense.dbiases.copy()
    once = make()
    once.loss.forward(once.forward(X[:32]), Y[:32])
    once.backward(once.loss.backward())
    assert same_bits(twice[0], once.layers[2].dweights)
    assert same_bits(twice[1], once.layers[2].dbiases)


def test_gradients_are_none_before_the_first_backward():
    model = make()
    model.forward(X[:32])
    for dense in (layers.Dense(3, 2), model.layers[0]):
        assert dense.dweights is None
        assert dense.dbiases is None


# --- evaluate, predict ----------------------------------------------------------------------------


@pytest.mark.parametrize("with_softmax", [False, True], ids=["logits", "softmax"])
def test_evaluate_is_mean_loss_and_accuracy(with_softmax: bool):
    model = trained(dtype="float64", with_softmax=with_softmax)
    probabilities = model.predict_proba(X)
    scored = model.evaluate(X, Y)
    assert list(scored) == ["loss", "accuracy"]
    assert all(type(number) is float for number in scored.values())
    assert scored["accuracy"] == np.mean(model.predict(X) == Y)
    expected = -np.log(probabilities[np.arange(len(Y)), Y]).mean()
    assert scored["loss"] == pytest.approx(expected, rel=1e-12)
    assert model.evaluate(X, ROWS) == scored
    # Soft targets: the loss is linear in them, and the largest is the label.
    soft = model.evaluate(X, 0.9 * ROWS + 0.01)
    expected = -(np.log(probabilities) * (0.9 * ROWS + 0.01)).sum(axis=1).mean()
    assert soft["loss"] == pytest.approx(expected, rel=1e-7)  # 0.9 and 0.01 in float32
    assert soft["accuracy"] == scored["accuracy"]


@pytest.mark.parametrize("with_softmax", [False, True], ids=["logits", "softmax"])
def test_predict_proba_are_probabilities_and_predict_their_largest(with_softmax: bool):
    model = trained(with_softmax=with_softmax)
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (1797, 10)
    assert probabilities.dtype == np.float32
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=0, atol=10 * 2.0**-24)
    predicted = model.predict(X)
    assert predicted.dtype == np.int64
    np.testing.assert_array_equal(predicted, probabilities.argmax(axis=1))


def test_predict_gives_the_first_of_equals():
    model = layers.Sequential([layers.Dense(2, 3, initializer="zeros")])
    np.testing.assert_array_equal(model.predict(np.ones((4, 2))), np.zeros(4))


@each_dtype
@pytest.mark.parametrize(
    "widths", [(64, 16, 10), (64, 300, 10), (4500, 3, 17)], ids=["small", "wide", "long sum"]
)
def test_a_row_has_the_same_bits_alone_and_in_any_batch(dtype: str, widths: tuple[int, ...]):
    n_in, hidden, n_out = widths
    model = layers.Sequential(
        [layers.Dense(n_in, hidden), layers.ReLU(), layers.Dense(hidden, n_out)],
        seed=3,
        dtype=dtype,
    )
    x = np.resize(X, (1100, n_in)).astype(dtype)  # more rows than one pass of predict
    whole = model.predict_proba(x)
    classes = model.predict(x)
    for start, stop in [(0, 1), (1, 2), (1099, 1100), (3, 10), (60, 129), (1000, 1100), (5, 1100)]:
        assert same_bits(model.predict_proba(x[start:stop]), whole[start:stop])
        assert same_bits(model.predict(x[start:stop]), classes[start:stop])
    assert same_bits(model.predict_proba(x[::-1]), whole[::-1])


def test_a_row_of_nan_stays_in_its_row():
    model = trained()
    clean = model.predict_proba(X)
    x = X.copy()
    x[1030, 3] = np.nan
    with pytest.raises(ValueError, match=r"^Sequential\.predict: the scores of row 1030 of x hold"):
        model.predict(x)
    probabilities = model.predict_proba(x)
    assert np.isnan(probabilities[1030]).all()
    others = np.arange(1797) != 1030
    assert same_bits(probabilities[others], clean[others])
    assert math.isnan(model.evaluate(x, Y)["loss"])


# --- losses that are not finite -------------------------------------------------------------------


def test_fit_stops_at_nan_data_with_the_parameters_before_that_batch():
    x = X[SMALL].copy()
    x[70, 5] = np.nan  # batch 3 of 32 rows
    model, expected = make(), make()
    with pytest.raises(
        layers.NonFiniteLoss,
        match=r"^Sequential\.fit: the loss is nan at epoch 1, batch 3; .*\. In it, row 70 of x ",
    ):
        model.fit(x, Y[SMALL], shuffle=False)
    for start in (0, 32):
        expected.train_step(x[start : start + 32], Y[start : start + 32])
    assert model.fingerprint() == expected.fingerprint()
    # And it goes on as if nothing had been.
    model.fit(X[SMALL], Y[SMALL], shuffle=False)
    expected.fit(X[SMALL], Y[SMALL], shuffle=False)
    assert model.fingerprint() == expected.fingerprint()
    assert model.history.epochs == 1


class BreaksAt(layers.Layer):
    """A user's own layer that gives infinity in its n-th training pass."""

    def __init__(self, n: int) -> None:
        self.left = n

    def forward(self, x, training=False):
        self.left -= training
        return np.full_like(x, np.inf) if training and self.left == 0 else x

    def backward(self, dy):
        return dy


def test_fit_stops_in_a_later_epoch():
    model = layers.Sequential([layers.Dense(64, 10), BreaksAt(8 + 3)], seed=0)
    expected = layers.Sequential([layers.Dense(64, 10), BreaksAt(-1)], seed=0)
    with pytest.raises(layers.NonFiniteLoss, match=r"epoch 2, batch 3; .*smaller learning rate"):
        model.fit(X[SMALL], Y[SMALL], epochs=3, shuffle=False)
    expected.fit(X[SMALL], Y[SMALL], shuffle=False)
    for start in (0, 32):
        expected.train_step(X[start : start + 32], Y[start : start + 32])
    assert model.fingerprint() == expected.fingerprint()
    assert model.history == expected.history


def test_fit_names_a_parameter_that_is_not_finite():
    model = make()
    model.layers[2].biases[0, 4] = np.nan
    before = model.fingerprint()
    with pytest.raises(
        layers.NonFiniteLoss, match=r"batch 1; .*and 2\.biases is not finite itself"
    ):
        model.fit(X, Y)
    assert model.fingerprint() == before


def test_fit_stops_when_the_learning_rate_is_too_large():
    model = make(optimizer=layers.SGD(1e30))
    with pytest.raises(layers.NonFiniteLoss, match="the parameters are those before that batch"):
        model.fit(X, Y, epochs=3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_step_on_bad_data_returns_nan_and_changes_nothing(bad: float):
    model = make()
    before = model.fingerprint()
    x = X[:32].copy()
    x[4, 10] = bad
    assert math.isnan(model.train_step(x, Y[:32]))
    assert model.fingerprint() == before
    assert math.isfinite(model.train_step(X[:32], Y[:32]))
    assert model.fingerprint() != before


# --- parameters -----------------------------------------------------------------------------------


def owner(array: np.ndarray) -> object:
    """The object that holds an array's memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


@each_dtype
def test_parameters_are_views_of_one_aligned_buffer(dtype: str):
    model = make(dtype=dtype)
    parameters = model.parameters()
    assert {name: array.shape for name, array in parameters.items()} == {
        "0.weights": (64, 16),
        "0.biases": (1, 16),
        "2.weights": (16, 10),
        "2.biases": (1, 10),
    }
    arrays = list(parameters.values())
    assert all(owner(array) is owner(arrays[0]) for array in arrays)
    assert all(array.flags.c_contiguous and array.dtype == dtype for array in arrays)
    assert all(array.ctypes.data % 64 == 0 for array in arrays)
    assert not any(np.shares_memory(a, b) for a in arrays for b in arrays if a is not b)
    assert np.shares_memory(model.layers[2].biases, parameters["2.biases"])


def test_writing_to_parameters_changes_the_model():
    model = make()
    for array in model.parameters().values():
        array[...] = 0
    model.parameters()["2.biases"][0, 7] = 1
    np.testing.assert_array_equal(model.predict(X[:5]), np.full(5, 7))


def test_assigning_weights_copies():
    model = make()
    dense, view = model.layers[2], model.parameters()["2.weights"]
    for layer in (dense, layers.Dense(16, 10)):
        value = np.ones((16, 10))
        layer.weights = value
        value[...] = 5
        layer.biases = value = np.arange(10)  # (n_out,) and integers too
        np.testing.assert_array_equal(layer.weights, 1)
        np.testing.assert_array_equal(layer.biases, [range(10)])
        assert layer.weights.dtype == layer.biases.dtype == np.float32
        for bad in (np.ones((10, 16)), np.ones((16, 1)), 1.0):
            with pytest.raises(ValueError, match=r"Dense\.weights: weights has shape .*\(16, 10\)"):
                layer.weights = bad
        np.testing.assert_array_equal(layer.weights, 1)
    np.testing.assert_array_equal(view, 1)
    dense.weights += 1
    np.testing.assert_array_equal(view, 2)


def test_weights_that_were_set_or_used_before_are_kept():
    set_before, used_before, fresh = (
        layers.Dense(64, 16),
        layers.Dense(16, 16),
        layers.Dense(16, 10),
    )
    weights = np.linspace(-1, 1, 64 * 16).reshape(64, 16).astype(np.float32)
    set_before.weights, set_before.biases = weights, np.ones((1, 16))
    used_before.forward(np.ones((1, 16)))
    used = used_before.weights.copy()
    model = layers.Sequential([set_before, used_before, fresh], seed=0)
    parameters = model.parameters()
    assert same_bits(parameters["0.weights"], weights)
    np.testing.assert_array_equal(parameters["0.biases"], 1)
    assert same_bits(parameters["1.weights"], used)
    assert np.shares_memory(set_before.weights, parameters["0.weights"])
    assert abs(parameters["2.weights"]).max() > 0
    np.testing.assert_array_equal(parameters["2.biases"], 0)


def test_first_weights_follow_what_comes_next():
    stack = [layers.Dense(64, 500), layers.ReLU(), layers.Dense(500, 100, initializer="zeros")]
    model = layers.Sequential([*stack, layers.Dense(100, 10)], seed=0)
    he, zeros, glorot = (model.layers[index].weights for index in (0, 2, 3))
    for weights, limit in ((he, math.sqrt(6 / 64)), (glorot, math.sqrt(6 / 110))):
        assert 0.99 * limit < abs(weights).max() <= limit
        assert abs(weights.mean()) < limit / 10
        assert len(np.unique(weights)) > 0.99 * weights.size
    assert not zeros.any()


def test_fingerprint_is_of_every_bit():
    model = make()
    seen = {model.fingerprint(), make(dtype="float64").fingerprint(), make(seed=1).fingerprint()}
    assert len(seen) == 3
    assert make().fingerprint() == model.fingerprint()
    assert len(model.fingerprint()) == 64
    for array in model.parameters().values():
        first = array[0, 0]
        array[0, 0] = np.nextafter(first, np.float32(9))
        seen.add(model.fingerprint())
        array[0, 0] = first
    assert len(seen) == 3 + 4
    biases = model.layers[2].biases
    biases[0, 0] = -0.0
    assert model.fingerprint() not in seen
    biases[0, 0] = 0.0
    assert model.fingerprint() in seen


# --- seeds ----------------------------------------------------------------------------------------


def rng(n: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(n))


def test_the_same_seed_gives_the_same_bits():
    for seed in (lambda: 0, lambda: 2**80, lambda: rng(7)):
        assert trained(seed=seed()).fingerprint() == trained(seed=seed()).fingerprint()
    assert make(seed=np.int64(3)).fingerprint() == make(seed=3).fingerprint()


def test_different_seeds_give_different_weights_and_shuffles():
    seeds = (0, 1, 2**64, 2**80, rng(7), rng(8), None, None)
    models = [make(seed=seed) for seed in seeds]
    assert len({model.fingerprint() for model in models}) == len(seeds)
    for model in models:  # from the same weights they still part, by the shuffles alone
        for name, array in model.parameters().items():
            array[...] = models[0].parameters()[name]
        model.fit(X[SMALL], Y[SMALL])
    assert len({model.fingerprint() for model in models}) == len(seeds)


def test_a_generator_moves_on():
    generator = rng(7)
    first, second = make(seed=generator), make(seed=generator)
    assert first.fingerprint() != second.fingerprint()
    dense = [layers.Dense(64, 16, seed=generator) for _ in range(2)]
    assert not same_bits(dense[0].weights, dense[1].weights)


def test_no_global_state_is_read_or_written():
    np.random.seed(0)  # noqa: NPY002 - the state that we must not touch
    state = pickle.dumps(np.random.get_state())  # noqa: NPY002
    first = trained()
    assert pickle.dumps(np.random.get_state()) == state  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert trained().fingerprint() == first.fingerprint()


# --- the same bits on any number of threads and on any CPU ----------------------------------------

# Large enough for the parallel twins of most kernels. The data are the kernels' own random numbers,
# which are the same everywhere.
EVERYWHERE = """
import json, os
import numpy as np
import kernels, layers
from kernels.runtime import threads
from kernels.runtime.jit import COMPILED

dtype = os.environ["DTYPE"]
results = []
x, order = np.empty((2048, 256), dtype), np.empty(2048, np.int64)
kernels.uniform(1, 1, -1.0, 1.0, x)
kernels.permutation(1, 0, order)
class OwnReLU(layers.ReLU):  # whose forward runs as it is, so layer by layer
    def forward(self, x, training=False):
        return super().forward(x, training)

for with_softmax, relu in ((False, layers.ReLU), (False, OwnReLU), (True, layers.ReLU)):
    stack = [layers.Dense(256, 800), relu(), layers.Dense(800, 400), relu(),
             layers.Dense(400, 40)]
    y, loss = order % 40, layers.SoftmaxCrossEntropy()
    if with_softmax:
        stack.append(layers.Softmax())
        y, loss = np.eye(40)[y], layers.CategoricalCrossEntropy()
    model = layers.Sequential(stack, loss=loss, optimizer=layers.SGD(0.1), seed=5, dtype=dtype)
    model.fit(x, y, batch_size=1000)
    results += [model.fingerprint(), model.history, model.evaluate(x, y), model.predict(x).tolist()]
print(json.dumps({
    "results": results,
    "threads": kernels.get_num_threads(),
    "layer": threads.layer(),
    "parallel": [
        kernel.__name__ for kernel in COMPILED
        if kernel.parallel is not None and kernel.parallel.dispatcher.overloads
    ],
}))
"""


@each_dtype
def test_two_threads_give_the_bits_of_one(python: Callable, dtype: str):
    one, two = (
        json.loads(python(EVERYWHERE, DTYPE=dtype, NUMBA_NUM_THREADS=n)) for n in ("1", "2")
    )
    if two["threads"] == 1:
        pytest.skip("this machine's quota allows one CPU only")
    assert (one["threads"], one["layer"], one["parallel"]) == (1, None, [])
    assert two["layer"] is not None
    kernels_used = {"product", "elementwise", "update", "execute"}
    assert kernels_used <= set(two["parallel"])
    assert two["results"] == one["results"]
    assert one["results"][:4] == one["results"][4:8]  # the compiled executor, and layer by layer


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or "+avx2" not in get_host_cpu_features(),
    reason="Haswell's instructions need an x86-64 with AVX2",
)
@pytest.mark.long
@each_dtype
def test_another_cpu_gives_the_same_bits(python: Callable, dtype: str):
    # The name alone would keep the host's features.
    haswell = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
    here, there = (
        json.loads(python(EVERYWHERE, DTYPE=dtype, NUMBA_NUM_THREADS="1", **cpu))
        for cpu in ({}, haswell)
    )
    assert here["results"] == there["results"]


# --- the NumPy backend ----------------------------------------------------------------------------


def test_numpy_backend_is_close_in_one_product():
    """Two sums of 64 products in any order, each off by at most 64 u sum |x w|, then the bias."""
    model = layers.Sequential([layers.Dense(64, 50)], seed=0)
    model.layers[0].biases = np.linspace(-1, 1, 50)
    ours = model.forward(X)
    with layers.backend("numpy"):
        theirs = model.forward(X)
    unit = 2.0**-24
    size = abs(X).astype(np.float64) @ abs(model.layers[0].weights) + abs(model.layers[0].biases)
    bound = 2 * (64 + 2) * unit * size
    assert (abs(ours - theirs) <= bound).all()


@pytest.mark.parametrize("with_softmax", [False, True], ids=["logits", "softmax"])
def test_numpy_backend_is_close_after_training(with_softmax: bool):
    """In float64 a step's rounding is some 100 u of numbers around 1, and 8 gentle steps at most
    double a difference each: 2^8 * 100 * 2^-53 < 3e-12."""
    ours, theirs = (make(dtype="float64", with_softmax=with_softmax) for _ in range(2))
    ours.fit(X[SMALL], Y[SMALL])
    with layers.backend("numpy"):
        theirs.fit(X[SMALL], Y[SMALL])
    for name, array in ours.parameters().items():
        np.testing.assert_allclose(theirs.parameters()[name], array, rtol=0, atol=3e-12)
    assert theirs.history["loss"] == pytest.approx(ours.history["loss"], rel=1e-11)
    assert theirs.history["accuracy"] == ours.history["accuracy"]
    assert ours.fingerprint() != theirs.fingerprint()


def test_backends_start_from_the_same_weights_and_shuffles():
    ours = make()
    with layers.backend("numpy"):
        theirs = make()
        recorder = Recorder()
        layers.Sequential([recorder, layers.Dense(64, 10)], seed=0).fit(X[SMALL], Y[SMALL])
    for name, array in ours.parameters().items():  # one rounding or two
        np.testing.assert_allclose(theirs.parameters()[name], array, rtol=0, atol=2.0**-24)
    ours_recorder = Recorder()
    layers.Sequential([ours_recorder, layers.Dense(64, 10)], seed=0).fit(X[SMALL], Y[SMALL])
    assert same_bits(np.concatenate(recorder.batches), np.concatenate(ours_recorder.batches))


def test_backend_is_restored():
    numba_backend = backends.active()
    with layers.backend("numpy"):
        inside = backends.active()
        with layers.backend("numba"):
            assert backends.active() is numba_backend
        assert backends.active() is inside
        with pytest.raises(ValueError, match="name is 'cupy', expected one of"):
            layers.backend("cupy").__enter__()
        assert backends.active() is inside
    assert backends.active() is numba_backend
    assert inside is not numba_backend
    before = trained().fingerprint()
    with pytest.raises(ValueError, match=r"^Sequential\.fit: x has"), layers.backend("numpy"):
        make().fit(X[:, :5], Y)
    with pytest.raises(KeyboardInterrupt), layers.backend("numpy"):
        raise KeyboardInterrupt
    assert backends.active() is numba_backend
    assert trained().fingerprint() == before


# --- a user's own layer ---------------------------------------------------------------------------


class Tanh(layers.Layer):
    def forward(self, x, training=False):
        self.output = np.tanh(x)
        return self.output

    def backward(self, dy):
        return dy * (1 - self.output**2)


def with_own(own: layers.Layer) -> layers.Sequential:
    stack = [layers.Dense(64, 16), own, layers.Dense(16, 10)]
    return layers.Sequential(stack, optimizer=layers.SGD(0.1), seed=0)


def test_a_layer_of_the_users_own(tmp_path):
    model = with_own(Tanh())
    model.fit(X, Y, epochs=10)
    assert model.evaluate(X, Y)["accuracy"] > 0.9
    assert repr(model.layers[1]) == "Tanh()"
    assert re.search(r"\n1  Tanh\(\) +\(batch, 16\) +0\n", model.summary())
    model.save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match=r"'Tanh' is a class of your own, expected it in custom"):
        layers.load(tmp_path / "model.npz")
    loaded = layers.load(tmp_path / "model.npz", custom=[Tanh])
    assert loaded.predict(X).tolist() == model.predict(X).tolist()


@pytest.mark.parametrize(
    "disguise",
    [
        lambda a: np.asfortranarray(a),
        lambda a: a.astype(np.float64),
        lambda a: a.astype(a.dtype.newbyteorder()),
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: a.tolist(),
    ],
    ids=["fortran", "float64", "swapped", "strided", "list"],
)
@pytest.mark.parametrize("last", [False, True], ids=["inside", "last"])
def test_what_an_own_layer_returns_is_converted(disguise: Callable, last: bool):
    class Disguised(Recorder):
        def forward(self, x, training=False):
            return disguise(x)

        def backward(self, dy):
            return disguise(dy)

    reference, model = with_own(Recorder()), with_own(Disguised())
    if last:
        reference = layers.Sequential([layers.Dense(64, 10), Recorder()], seed=0)
        model = layers.Sequential([layers.Dense(64, 10), Disguised()], seed=0)
    for each in (reference, model):
        each.fit(X[SMALL], Y[SMALL])
    assert model.fingerprint() == reference.fingerprint()
    assert model.evaluate(X, Y) == reference.evaluate(X, Y)
    assert same_bits(model.predict_proba(X), reference.predict_proba(X))


def test_an_own_layer_that_returns_the_wrong_shape_is_refused():
    class Narrow(Recorder):
        def forward(self, x, training=False):
            return x[:, :9]

    model = layers.Sequential([layers.Dense(64, 10), Narrow()], seed=0)
    before = model.fingerprint()
    for use in (
        lambda: model.fit(X, Y),
        lambda: model.train_step(X, Y),
        lambda: model.evaluate(X, Y),
        lambda: model.predict(X),
        lambda: model.predict_proba(X),
        lambda: model.forward(X),
    ):
        with pytest.raises(ValueError, match=r"output has shape \(\d+, 9\), expected \(\d+, 10\)"):
            use()
    assert model.fingerprint() == before

    class NarrowGradient(Recorder):
        def backward(self, dy):
            return dy[:, :9]

    model = layers.Sequential([layers.Dense(64, 10), NarrowGradient()], seed=0)
    with pytest.raises(ValueError, match=r"^Dense\.backward: dy has shape \(32, 9\)"):
        model.fit(X, Y)


# --- what a model refuses to be made of -----------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"layers": [layers.Dense(64, 16), layers.ReLU(), layers.Dense(15, 10)]},
            ValueError,
            r"layer 2, Dense\(15, 10\), takes 15 inputs, expected 16",
        ),
        ({"layers": []}, ValueError, "no layer says its width"),
        ({"layers": [layers.ReLU()]}, ValueError, "no layer says its width"),
        ({"layers": layers.Dense(3, 2)}, TypeError, r"layers is Dense\(3, 2\), expected a list"),
        ({"layers": None}, TypeError, "layers is None, expected a list"),
        (
            {"layers": [layers.Dense(3, 2), layers.ReLU]},
            TypeError,
            "layer 1 is <class .*ReLU'>, expected a Layer",
        ),
        ({"layers": [layers.Dense(3, 2), np.tanh]}, TypeError, "layer 1 is <ufunc"),
        ({"layers": [layers.Dense(3, 2), "relu"]}, TypeError, "layer 1 is 'relu'"),
        (
            {"layers": [layers.Dense(3, 2), layers.Softmax()]},
            ValueError,
            "SoftmaxCrossEntropy takes logits, but the last layer is Softmax",
        ),
        (
            {"layers": [layers.Dense(3, 2)], "loss": layers.CategoricalCrossEntropy()},
            ValueError,
            r"CategoricalCrossEntropy takes probabilities, but the last layer is Dense\(3, 2\)",
        ),
        ({"loss": "mse"}, TypeError, "loss is 'mse', expected an object of class Loss"),
        ({"loss": layers.SoftmaxCrossEntropy}, TypeError, "loss is <class .*of class Loss"),
        (
            {"optimizer": "adam"},
            TypeError,
            "optimizer is 'adam', expected an object of class Optimizer",
        ),
        ({"optimizer": 0.1}, TypeError, "optimizer is 0.1, expected an object of class Optimizer"),
    ],
)
def test_refused(arguments: dict, error: type[Exception], message: str):
    arguments = {"layers": [layers.Dense(64, 10)], **arguments}
    with pytest.raises(error, match=f"^Sequential: {message}"):
        layers.Sequential(**arguments)


def test_a_layer_belongs_to_one_model():
    for taken in (layers.Dense(64, 10), layers.ReLU(), Tanh()):
        stack = [layers.Dense(64, 10), taken] if not isinstance(taken, layers.Dense) else [taken]
        model = layers.Sequential(stack, seed=0)
        before = model.fingerprint()
        first = layers.Dense(8, 64)
        with pytest.raises(ValueError, match=r"layer 1, .*\(.*\), belongs to a model already"):
            layers.Sequential([first, taken])
        # Neither is spoilt: the model trains on, the other layer is free for another one.
        assert model.fingerprint() == before
        model.fit(X[SMALL], Y[SMALL])
        layers.Sequential([first, layers.Dense(64, 10)])


def test_a_layer_stands_in_a_model_once():
    """Used twice, its second pass would overwrite what the backward of the first one needs."""
    relu = layers.ReLU()
    stack = [layers.Dense(64, 16), relu, layers.Dense(16, 16), relu, layers.Dense(16, 10)]
    with pytest.raises(ValueError, match=r"layer 3, ReLU\(\), is in the list twice"):
        layers.Sequential(stack)
    stack[3] = layers.ReLU()
    layers.Sequential(stack)


# --- one call does not disturb another ------------------------------------------------------------


def test_results_are_never_overwritten_by_a_later_call():
    a, b = X[:32], X[32:64]
    dense, relu, softmax, loss = (
        *(layers.Dense(64, 10, seed=0), layers.ReLU(), layers.Softmax()),
        layers.SoftmaxCrossEntropy(),
    )
    model = trained()
    dense.forward(a)
    relu.forward(dense.output)
    softmax.forward(dense.output)

    def loss_gradient(x: np.ndarray) -> np.ndarray:
        loss.forward(x[:, :10], Y[:32])
        return loss.backward()

    for call in (
        dense.forward,
        lambda x: dense.backward(x[:, :10]),
        relu.forward,
        lambda x: relu.backward(x[:, : relu.output.shape[1]]),
        softmax.forward,
        lambda x: softmax.backward(x[:, : softmax.output.shape[1]]),
        loss_gradient,
        model.forward,
        model.predict,
        model.predict_proba,
    ):
        first = call(a)
        kept = first.copy()
        second = call(b)
        assert not np.shares_memory(first, second)
        assert same_bits(first, kept)
        assert not same_bits(second, kept)


def test_inputs_are_never_modified():
    x, dy = X[SMALL] - np.float32(0.5), X[SMALL, :10] - np.float32(0.5)
    y, rows = Y[SMALL].copy(), ROWS[SMALL].copy()
    arrays = (x, dy, y, rows)
    before = [array.copy() for array in arrays]
    for with_softmax in (False, True):
        model = make(with_softmax=with_softmax)
        model.fit(x, y, validation_data=(x, rows))
        model.fit(x, rows, shuffle=False)
        model.train_step(x, y)
        model.train_step(x, rows)
        model.evaluate(x, y)
        model.predict(x)
        model.predict_proba(x)
        model.forward(x)
        model.backward(dy)
        model.loss.forward(abs(dy), rows)
    for layer in (layers.ReLU(), layers.Softmax(), layers.Dense(64, 64)):
        layer.forward(x)
        layer.backward(x)
    assert all(same_bits(*pair) for pair in zip(arrays, before, strict=True))


def test_two_models_do_not_disturb_each_other():
    alone = {}
    for seed in (0, 1):
        alone[seed] = make(seed=seed)
        for start in range(0, 320, 32):
            alone[seed].train_step(X[start : start + 32], Y[start : start + 32])
    loss, optimizer = layers.SoftmaxCrossEntropy(), layers.SGD(0.1)  # these may be shared
    both = [make(seed=seed, loss=loss, optimizer=optimizer) for seed in (0, 1)]
    for start in range(0, 320, 32):
        for model in both:
            model.train_step(X[start : start + 32], Y[start : start + 32])
            model.predict(X[:3])
    assert [model.fingerprint() for model in both] == [
        alone[0].fingerprint(),
        alone[1].fingerprint(),
    ]


# --- copies and files -----------------------------------------------------------------------------


def through_a_file(model: layers.Sequential, folder: Path) -> layers.Sequential:
    model.save(folder / "model.npz")
    return layers.load(folder / "model.npz")


COPIES = {
    "pickle": lambda model, folder: pickle.loads(pickle.dumps(model)),
    "deepcopy": lambda model, folder: copy.deepcopy(model),
    "file": through_a_file,
}
each_copy = pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES.keys())


@each_copy
@each_dtype
@pytest.mark.parametrize("with_softmax", [False, True], ids=["logits", "softmax"])
def test_a_copy_trains_on_by_itself(make_copy, dtype: str, with_softmax: bool, tmp_path: Path):
    def fresh() -> layers.Sequential:
        model = make(dtype=dtype, with_softmax=with_softmax, seed=rng(1))
        model.fit(X[SMALL], Y[SMALL], epochs=2, validation_data=(X, Y))
        return model

    model, expected = fresh(), fresh()
    before = model.fingerprint()
    copied = make_copy(model, tmp_path)
    assert copied.fingerprint() == before
    assert copied.history == model.history
    assert type(copied.history) is layers.History
    assert repr(copied) == repr(model)
    assert same_bits(copied.predict_proba(X), model.predict_proba(X))

    copied.fit(X[SMALL], Y[SMALL], epochs=2)
    assert model.fingerprint() == before
    assert model.history.epochs == 2
    expected.fit(X[SMALL], Y[SMALL], epochs=2)
    assert copied.fingerprint() == expected.fingerprint() != before
    assert copied.history["loss"] == expected.history["loss"]

    copied.optimizer.learning_rate = 0.5
    assert model.optimizer.learning_rate == 0.1
    model.fit(X[SMALL], Y[SMALL], epochs=2)
    assert model.fingerprint() == expected.fingerprint()


@each_copy
def test_a_copy_has_buffers_of_its_own(make_copy, tmp_path: Path):
    model = trained()
    copied = make_copy(model, tmp_path)
    arrays = list(copied.parameters().values())
    assert all(owner(array) is owner(arrays[0]) for array in arrays)
    assert all(array.ctypes.data % 64 == 0 for array in arrays)
    assert owner(arrays[0]) is not owner(model.parameters()["0.weights"])
    for index, layer in enumerate(copied.layers):
        for name, array in layer.parameters().items():
            assert np.shares_memory(array, copied.parameters()[f"{index}.{name}"])
    # Nothing of the last pass comes along: not its arrays, and no gradient of other weights.
    assert copied.layers[0].dweights is None
    assert copied.layers[1].output is None
    with pytest.raises(ValueError, match="called before forward"):
        copied.layers[2].backward(np.ones((32, 10)))
    with pytest.raises(ValueError, match="belongs to a model already"):
        layers.Sequential(copied.layers)


def test_a_pickle_is_as_large_as_the_parameters():
    model = make(hidden=300)
    before = len(pickle.dumps(model))
    model.fit(X, Y)
    model.loss.forward(model.forward(X), Y)
    size = sum(array.nbytes for array in model.parameters().values())
    assert size < len(pickle.dumps(model)) < size + 4000
    assert len(pickle.dumps(model)) < before + 1000


def test_a_copied_layer_is_free():
    model = trained()
    original = model.layers[2]
    for layer in (
        copy.copy(original),
        copy.deepcopy(original),
        pickle.loads(pickle.dumps(original)),
    ):
        assert same_bits(layer.weights, model.layers[2].weights)
        assert not np.shares_memory(layer.weights, model.layers[2].weights)
        alone = layer.forward(np.ones((3, 16)))
        layer.backward(np.ones((3, 10)))
        assert same_bits(layer.dbiases, np.full((1, 10), 3, np.float32))
        other = layers.Sequential([layer])
        assert same_bits(other.forward(np.ones((3, 16))), alone)
        before = model.fingerprint()
        layer.weights = np.zeros((16, 10))
        layer.biases[...] = 1
        assert model.fingerprint() == before
    with pytest.raises(ValueError, match="belongs to a model already"):
        copy.copy(model)  # it would share layers with the original


def test_a_copied_layer_of_the_user_s_own_shares_nothing():
    class Scale(layers.Layer):
        def __init__(self):
            self.factor = np.ones(3)

    layer = Scale()
    copied = copy.copy(layer)
    assert isinstance(copied, Scale)
    copied.factor[:] = 2
    assert layer.factor.tolist() == [1, 1, 1]


def test_an_own_layer_is_copied_too():
    model = with_own(Tanh())
    model.fit(X[SMALL], Y[SMALL])
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert isinstance(copied.layers[1], Tanh)
        assert copied.fingerprint() == model.fingerprint()
        copied.train_step(X[:32], Y[:32])
        assert copied.fingerprint() != model.fingerprint()


def test_a_file_takes_any_number_in_the_history(tmp_path: Path):
    """JSON knows no NaN, and an epoch's validation may well give one."""
    model = make()
    model.fit(X[SMALL], Y[SMALL])
    model.fit(X[SMALL], Y[SMALL])
    model.history["val_loss"] = [math.nan, math.nan]
    model.history["loss"][0] = math.inf
    loaded = through_a_file(model, tmp_path)
    assert loaded.history["loss"] == model.history["loss"]
    assert [str(number) for number in loaded.history["val_loss"]] == ["nan", "nan"]


def test_a_file_has_equal_bytes_for_equal_models(tmp_path: Path):
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for path in paths:
        trained().save(str(path))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    trained(seed=1).save(paths[1])
    assert paths[0].read_bytes() != paths[1].read_bytes()


def test_a_damaged_file_is_refused(tmp_path: Path):
    path = tmp_path / "model.npz"
    trained().save(path)
    whole = path.read_bytes()
    step = len(whole) // 40
    for cut in range(0, len(whole), step):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"model\.npz"):
            layers.load(path)
    # A changed byte is refused, or in a place that means nothing: then the model is the same.
    expected = trained()
    refused = 0
    for place in range(0, len(whole), step):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            assert layers.load(path).fingerprint() == expected.fingerprint()
        except ValueError:
            refused += 1
    assert refused > 30
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.npz"):
        layers.load(path)
    with pytest.raises(FileNotFoundError):
        layers.load(tmp_path / "nothing.npz")


def rewrite(path: Path, change: Callable[[dict, dict], None]) -> None:
    """Change a file's architecture or arrays as a stranger might, all checksums in order."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(members["architecture.json"])
    change(document["architecture"], members)
    arrays = {name: np.load(io.BytesIO(members[f"{name}.npy"])) for name in document["arrays"]}
    document["sha256"] = checksum(document["architecture"], arrays, "")
    members["architecture.json"] = json.dumps(document).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def swap_arrays(architecture: dict, members: dict) -> None:
    first, second = "0.biases.npy", "2.biases.npy"
    members[first], members[second] = members[second], members[first]


NO_MODELS = [
    (lambda model, _: model.clear(), "has format None, expected 1 or 2"),
    (lambda model, _: model.update(format=3), "has format 3, expected 1 or 2"),
    (lambda model, _: model.update(format=True), "has format True, expected 1 or 2"),
    (lambda model, _: model.update(classes=["a"]), "classes is ['a'], expected 10 names"),
    (lambda model, _: model.update(stopped=[1]), "stopped in its architecture is [1], expected"),
    (
        lambda model, _: model.update(stopped={"epoch": -1, "callbacks": []}),
        "epoch is -1, expected an integer",
    ),
    (
        lambda model, _: model.update(
            stopped={"epoch": 1, "callbacks": [{"type": "A", "state": {}, "arrays": {"a": [-1]}}]}
        ),
        "stopped in its architecture is",
    ),
    (lambda model, _: model.update(dtype="float16"), "dtype is 'float16', expected 'float32' or"),
    (lambda model, _: model.update(dtype=5), "dtype in its architecture is 5, expected a str"),
    # The arrays are float32.
    (lambda model, _: model.update(dtype="float64"), "0.weights has dtype float32, expected float"),
    (lambda model, _: model.update(layers=5), "layers in its architecture is 5, expected a list"),
    (lambda model, _: model.update(layers=[]), "holds the arrays "),
    (
        lambda model, _: model.update(layers=["Dense"]),
        "layer 0 in its architecture is 'Dense', exp",
    ),
    (lambda model, _: model["layers"].pop(), "holds the arrays "),
    (
        lambda model, _: model["layers"].append({"type": "Softmax"}),
        "Sequential: SoftmaxCrossEntropy",
    ),
    (
        lambda model, _: model["layers"][0].update(type="os.system"),
        "layer 0 in its architecture: 'os.system' is unknown, expected one of",
    ),
    (
        lambda model, _: model["layers"][0].update(type=["Dense"]),
        "layer 0 in its architecture is {",
    ),
    (
        lambda model, _: model["layers"][0].update(n_in=65),
        "array '0.weights' has shape (64, 16), e",
    ),
    (
        lambda model, _: model["layers"][0].update(n_in=-64),
        "layer 0 in its architecture: Dense: n_in is -64, expected",
    ),
    # 4 exabytes.
    (lambda model, _: model["layers"][0].update(n_in=10**9, n_out=10**9), ""),
    (
        lambda model, _: model["layers"][0].update(n_in="64"),
        "layer 0 in its architecture: Dense: n_in is '64', expected",
    ),
    (
        lambda model, _: model["layers"][0].update(surprise=1),
        "layer 0 in its architecture: Dense has the arguments ['n_in', 'n_out', 'surprise'], exp",
    ),
    (
        lambda model, _: model["layers"][0].pop("n_out"),
        "layer 0 in its architecture: Dense has the arguments ['n_in'], expected ['n_in', 'n_out']",
    ),
    (
        lambda model, _: model.update(loss={"type": "HingeLoss"}),
        "loss in its architecture: 'HingeLoss' is unknown",
    ),
    (lambda model, _: model.update(loss=None), "loss in its architecture is None, expected its"),
    (
        lambda model, _: model["optimizer"].update(learning_rate=-1),
        "optimizer in its architecture: SGD: learning_rate is -1",
    ),
    (
        lambda model, _: model["optimizer"].update(learning_rate="fast"),
        "optimizer in its architecture: SGD: learning_rate is 'fast'",
    ),
    (lambda model, _: model.update(seed_key=2**64), "seed_key is 18446744073709551616, expected"),
    (lambda model, _: model.update(seed_key=1.5), "seed_key is 1.5, expected an integer"),
    (lambda model, _: model.pop("seed_key"), "seed_key is None, expected an integer"),
    (
        lambda model, _: model.update(history=[1]),
        "history in its architecture is [1], expected a d",
    ),
    (lambda model, _: model.update(history={"loss": 1}), "history 'loss' in its architecture is 1"),
    (
        lambda model, _: model.update(history={"loss": ["low"]}),
        "history 'loss' in its architecture is ['low'], expected a list of numbers",
    ),
    (
        lambda model, _: model.update(history={"loss": [[]]}),
        "history 'loss' in its architecture is",
    ),
    (lambda model, _: model.update(history={"loss": [10**400]}), "history 'loss' has an integer"),
    (swap_arrays, "array '0.biases' has shape "),
]


@pytest.mark.parametrize(("change", "message"), NO_MODELS)
def test_a_file_that_describes_no_model_is_refused(change, message: str, tmp_path: Path):
    path = tmp_path / "model.npz"
    trained().save(path)
    rewrite(path, lambda architecture, members: None)
    layers.load(path)
    rewrite(path, change)
    with pytest.raises(ValueError, match=f"^layers.load: {re.escape(str(path))}") as caught:
        layers.load(path)
    assert message in str(caught.value)
    assert "__init__" not in str(caught.value)  # our words, not Python's


def test_a_path_names_a_file():
    for path, error in ((None, TypeError), ("", ValueError)):
        with pytest.raises(error, match=r"^Sequential.save: path is .*, expected "):
            trained().save(path)
        with pytest.raises(error, match=r"^layers.load: path is .*, expected "):
            layers.load(path)


def test_the_columns_that_it_was_trained_on_are_saved(tmp_path):
    model = layers.Sequential([layers.Dense(2, 3)], seed=0)
    path = tmp_path / "model.npz"
    model.save(path)
    assert layers.load(path).columns is None
    model.columns = NumberColumns(("a", "kind", "b\n"), (2, 0), 1)
    model.save(path)
    assert layers.load(path).columns == model.columns
    for columns, message in (
        ({"names": ["a"], "features": [0, 1], "label": None}, "column 1, expected one of 1"),
        ({"names": [], "features": [0], "label": 1}, "1 columns of features, expected 2"),
        ({"names": [], "features": [0, -1], "label": 1}, "column -1, expected a position"),
        ({"names": [], "features": [0, 1], "label": True}, "column True, expected a position"),
        ({"names": [], "features": [0, 0.5], "label": 1}, "column 0.5, expected a position"),
        ({"names": [0, 1], "features": [0, 1], "label": None}, "names of columns hold something"),
        ({"names": [], "features": [0, 1]}, "expected a dict of names, features and label"),
        ({"names": 3, "features": [0, 1], "label": None}, "expected a dict of names"),
        ([], "expected a dict of names"),
    ):

        def change(architecture, members, columns=columns):
            architecture["columns"] = columns

        model.save(path)
        rewrite(path, change)
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            layers.load(path)
        assert str(path) in str(caught.value)


# --- words ----------------------------------------------------------------------------------------


def test_summary():
    model = layers.Sequential(
        [layers.Dense(784, 128), layers.ReLU(), layers.Dense(128, 10)],
        optimizer=layers.SGD(0.1),
        seed=0,
    )
    assert model.summary().splitlines() == [
        "   layer            output        parameters",
        "--------------------------------------------",
        "0  Dense(784, 128)  (batch, 128)     100,480",
        "1  ReLU()           (batch, 128)           0",
        "2  Dense(128, 10)   (batch, 10)        1,290",
        "--------------------------------------------",
        "101,770 parameters, float32, 0.41 MB",
        "loss SoftmaxCrossEntropy(), optimizer SGD(learning_rate=0.1)",
        "runs as one compiled program",
    ]


def test_repr_is_the_constructor():
    for model in (make(), make(with_softmax=True, dtype="float64")):
        again = eval(repr(model), vars(layers))
        assert repr(again) == repr(model)
        assert again.summary() == model.summary()


def test_nothing_asks_the_first_layer_for_the_gradient_by_the_data():
    """It may be a whole product; a layer of one's own that is recorded is no exception."""
    asked = []

    class Watching(layers.Dense):
        def run_backward(self, run, x, y, dy, needs_inputs):
            asked.append((self.n_in, needs_inputs))
            return super().run_backward(run, x, y, dy, needs_inputs)

    class Apart(layers.Layer):
        """In the words of a run, and of no class that has a method for it."""

        def run_forward(self, run, x, training):
            return x

        def run_backward(self, run, x, y, dy, needs_inputs):
            asked.append((0, needs_inputs))
            return dy

    with layers.backend("numpy"):
        for stack in ([Watching(6, 5), Watching(5, 3)], [Apart(), Watching(6, 3)]):
            model = layers.Sequential(stack, seed=0)
            model.train_step(np.ones((4, 6)), [0, 1, 2, 0])
    assert asked == [(5, True), (6, False), (6, True), (0, False)]
