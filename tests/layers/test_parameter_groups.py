"""Penalties, clipping, frozen layers and scaled learning rates: formulas, both paths, refusals."""

import math
import pickle

import numpy as np
import pytest

import kernels
import layers
from kernels import reference
from kernels.gradients import PENALTY
from kernels.network import program
from layers.base import Array
from layers.optimizers import _left
from tests.kernels.doors import each_dtype

pytestmark = pytest.mark.compiled

RANDOM = np.random.default_rng(5)
X, Y = RANDOM.standard_normal((72, 20)), RANDOM.integers(0, 5, 72)


class OwnReLU(layers.ReLU):
    """Runs layer by layer."""

    def forward(self, x: Array, training: bool = False) -> Array:
        return super().forward(x, training)


def make(optimizer, activation=layers.ReLU, dtype="float64", **first):
    stack = [layers.Dense(20, 13, **first), activation(), layers.Dense(13, 7, bias=False)]
    stack += [layers.Tanh(), layers.Dense(7, 5, l2=0.02, bias_l1=0.01)]
    return layers.Sequential(stack, optimizer=optimizer, seed=2, dtype=dtype)


def trained(model):
    """Two epochs and two single steps: the parameters, the losses, the states."""
    losses = model.fit(X, Y, epochs=2, batch_size=32)["loss"]
    for at in (0, 16):
        losses.append(model.train_step(X[at : at + 16].astype(model.dtype), Y[at : at + 16]))
    return model.fingerprint(), losses, model._buffers.states.tobytes()


# --- both paths -----------------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": lambda: layers.SGD(0.1),
    "SGD, norm": lambda: layers.SGD(0.1, clip_norm=0.2),
    "Adam, value": lambda: layers.Adam(0.01, clip_value=0.003),
    "AdamW, norm": lambda: layers.AdamW(0.01, weight_decay=0.1, clip_norm=0.2),
}
LAYERS = {
    "plain": {},
    "penalties": {"l1": 0.01, "l2": 0.1, "bias_l1": 0.02, "bias_l2": 0.3},
    "scaled": {"learning_rate_scale": 0.3, "l2": 0.1},
    "frozen": {"trainable": False},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("first", LAYERS)
def test_both_paths_have_the_same_bits(optimizer, first):
    for dtype in ("float32", "float64") if first == "penalties" else ("float32",):
        compiled = make(OPTIMIZERS[optimizer](), dtype=dtype, **LAYERS[first])
        by_layers = make(OPTIMIZERS[optimizer](), OwnReLU, dtype, **LAYERS[first])
        assert compiled.obstacle() is None
        assert by_layers.obstacle() is not None
        assert trained(compiled) == trained(by_layers)


@pytest.mark.parametrize("threads", [2, 3])
def test_any_number_of_threads_has_the_same_bits(threads, monkeypatch):
    """The norm of all gradients too: its order of summation is fixed."""
    if kernels.get_num_threads() < 2:
        pytest.skip("one thread")

    def run(count):
        first = layers.Dense(300, 257, l1=1e-4, l2=1e-3)
        stack = [first, layers.ReLU(), layers.Dense(257, 5, l2=0.1)]
        model = layers.Sequential(stack, optimizer=layers.SGD(0.1, clip_norm=0.1), seed=0)
        x = np.random.default_rng(0).standard_normal((96, 300)).astype(np.float32)
        compiled = model._compiled()
        assert compiled is not None
        execute = compiled._execute
        monkeypatch.setattr(compiled, "_execute", lambda made, _, call: execute(made, count, call))
        model.fit(x, np.arange(96) % 5, epochs=2)
        return model.fingerprint()

    assert run(1) == run(threads)


# --- penalties ------------------------------------------------------------------------------------


@each_dtype
def test_the_penalty_is_the_books(dtype):
    """Layer.regularization_loss of "Neural networks from scratch", and its gradients."""
    model = make(layers.SGD(0.1), dtype=np.dtype(dtype).name, **LAYERS["penalties"])
    model.layers[0].biases = RANDOM.standard_normal(13)
    model.layers[4].biases = [[0.5, -0.25, 0.0, 1.0, -2.0]]
    expected, plain = 0.0, make(layers.SGD(0.1), dtype=np.dtype(dtype).name)
    for name, array in model.parameters().items():
        plain.parameters()[name][...] = array
    plain.layers[4]._l2 = plain.layers[4]._bias_l1 = 0.0
    gradients, without = model.gradients(X, Y), plain.gradients(X, Y)
    for index, layer in enumerate(model.layers):
        for name, (l1, l2) in layer.penalties().items():
            w = layer.parameters()[name].astype(np.float64)
            expected += l1 * np.abs(w).sum() + l2 * (w * w).sum()
            added = gradients[f"{index}.{name}"] - without[f"{index}.{name}"]
            assert np.allclose(added, l1 * np.sign(w) + 2 * l2 * w, rtol=0, atol=1e-6)
    assert model.penalty() == pytest.approx(expected, rel=1e-6)
    assert plain.penalty() == 0.0
    # Reported losses have no penalty in them.
    assert model.evaluate(X, Y) == plain.evaluate(X, Y)
    assert model.train_step(X, Y) == plain.train_step(X, Y)


def test_the_gradient_of_the_penalty_against_differences():
    rows = np.empty((4, 1))
    w, out, h = RANDOM.standard_normal((4, 37)), np.empty((4, 37)), 1e-6
    kernels.penalty_gradient(w, np.zeros_like(w), 0.3, 0.7, out)
    for place in np.ndindex(w.shape):
        sides = []
        for step in (h, -h):
            moved = w.copy()
            moved[place] += step
            kernels.row_penalties(moved, 0.3, 0.7, rows)
            sides.append(rows.sum())
        assert out[place] == pytest.approx((sides[0] - sides[1]) / (2 * h), abs=1e-7)


def test_penalties_run_on_the_product_before_them():
    made = make(layers.SGD(0.1), l2=0.1)._compiled()._lowering.training("labels", 2)
    products = [line for line in made.lines if line.family == program.PRODUCT]
    assert sum(line.then is PENALTY for line in products) == 2


def test_l1_makes_weights_small():
    dense = {l1: make(layers.Adam(0.01), l1=l1) for l1 in (0.0, 0.1)}
    sizes = {}
    for l1, model in dense.items():
        model.fit(X, Y, epochs=20)
        sizes[l1] = np.abs(model.layers[0].weights).mean()
    assert sizes[0.1] < 0.3 * sizes[0.0]


# --- clipping -------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [layers.ReLU, OwnReLU])
@pytest.mark.parametrize("limit", [0.05, 1e6])
def test_clipping_is_pytorchs(activation, limit):
    model = make(layers.SGD(1.0, clip_norm=limit), activation, l2=0.1)
    before = {name: array.copy() for name, array in model.parameters().items()}
    gradients = {name: array.copy() for name, array in model.gradients(X, Y).items()}
    model.train_step(X, Y)
    norm = math.sqrt(sum((array**2).sum() for array in gradients.values()))
    scale = min(1.0, limit / (norm + 1e-6))
    assert (scale < 1) == (limit < 1)
    for name, array in model.parameters().items():
        assert np.allclose(array, before[name] - scale * gradients[name], rtol=0, atol=1e-14)
    model = make(layers.SGD(1.0, clip_value=0.01), activation, l2=0.1)
    model.train_step(X, Y)
    for name, array in model.parameters().items():
        moved = before[name] - np.clip(gradients[name], -0.01, 0.01)
        assert np.allclose(array, moved, rtol=0, atol=1e-14)


def test_torch_clips_so():
    torch = pytest.importorskip("torch")
    gradients = [RANDOM.standard_normal(shape) for shape in ((9, 37), (1, 37))]
    given = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in gradients]
    for parameter, gradient in zip(given, gradients, strict=True):
        parameter.grad = torch.tensor(gradient.copy())
    torch.nn.utils.clip_grad_norm_(given, 0.7)
    norms, norm = np.empty((10, 1)), np.empty((1, 1))
    kernels.row_norms(gradients[0], norms[:9])
    kernels.row_norms(gradients[1], norms[9:])
    kernels.row_norms(norms.reshape(1, -1), norm)
    for parameter, gradient in zip(given, gradients, strict=True):
        clipped = np.empty_like(gradient)
        kernels.clip_by_norm(gradient, norm, 0.7, clipped)
        assert np.allclose(clipped, parameter.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("activation", [layers.ReLU, OwnReLU])
def test_a_norm_that_is_not_finite_leaves_the_parameters_whole(activation):
    """The loss is finite, and the gradient of the first weights beyond float32."""
    x = np.full((8, 20), 1e30)
    model = make(layers.SGD(0.1, clip_norm=1.0), activation, "float32")
    model.layers[0].weights, model.layers[0].biases = np.zeros((20, 13)), np.ones((1, 13))
    model.layers[4].weights = np.linspace(-1e14, 1e14, 35).reshape(7, 5)
    before = model.fingerprint()
    with pytest.raises(layers.NonFiniteLoss, match=r"the loss, or the norm of its gradients, is"):
        model.fit(x, Y[:8])
    assert not math.isfinite(model.train_step(x.astype(np.float32), Y[:8]))
    assert model.fingerprint() == before
    assert model._step == 0


@each_dtype
def test_a_norm_of_large_numbers_is_finite(dtype):
    x, out = np.full((2, 50), 1e30, dtype), np.empty((2, 1), dtype)
    kernels.row_norms(x, out)
    assert np.allclose(out, 1e30 * math.sqrt(50))
    x[1, 3] = np.nan
    kernels.row_norms(x, out)
    assert np.isnan(out[1, 0])
    assert np.isfinite(out[0, 0])
    clipped = np.empty_like(x)
    kernels.clip_by_value(x, 0.5, clipped)
    expected = np.empty_like(x)
    reference.clip_by_value(x, 0.5, expected)
    assert np.array_equal(clipped, expected, equal_nan=True)


# --- frozen layers, scaled rates ------------------------------------------------------------------


@pytest.mark.parametrize("activation", [layers.ReLU, OwnReLU])
def test_a_frozen_layer_stays_and_comes_back(activation):
    model = make(layers.AdamW(0.01, weight_decay=0.1), activation)
    model.fit(X, Y)
    model.layers[0].trainable = False
    before = {name: array.copy() for name, array in model.parameters().items()}
    assert set(model.gradients(X, Y)) == {"2.weights", "4.weights", "4.biases"}
    model.fit(X, Y)
    moved = {n for n, array in model.parameters().items() if not np.array_equal(array, before[n])}
    assert moved == {"2.weights", "4.weights", "4.biases"}
    model.layers[0].trainable = True
    model.fit(X, Y)
    assert not np.array_equal(model.layers[0].weights, before["0.weights"])


def test_nobody_goes_back_through_frozen_layers():
    made = make(layers.SGD(0.1), trainable=False)._compiled()._lowering.training("labels", 2)
    passes = [(w.part, w.layers) for line in made.lines for w in line.writers]
    assert not {("backward", (2,)), ("backward", (1,)), ("update", (0,))} & set(passes)
    model = make(layers.SGD(0.1), trainable=False)
    with layers.backend("numpy"):
        model.train_step(X, Y)
    assert model.layers[2].dinputs is None
    assert model.layers[0].dweights is None
    dense = layers.Dense(3, 2, trainable=False, dtype="float64")
    dense.forward(np.ones((1, 3)))
    dense.backward(np.ones((1, 2)))
    assert dense.dweights is None
    assert dense.dinputs.shape == (1, 3)


def test_a_model_of_frozen_layers_is_not_trained():
    model = layers.Sequential([layers.Dense(20, 5, trainable=False)], seed=0)
    for train in (model.fit, model.train_step):
        with pytest.raises(ValueError, match=r"^Sequential: all layers with parameters are frozen"):
            train(X, Y)
    assert model.predict(X).shape == (72,)


@pytest.mark.parametrize("optimizer", [layers.SGD, layers.Adam, layers.Lion])
def test_a_scale_is_another_learning_rate(optimizer):
    scaled = make(optimizer(0.01), learning_rate_scale=0.5)
    scaled.layers[2].learning_rate_scale = scaled.layers[4].learning_rate_scale = 0.5
    halved = make(optimizer(0.005))
    schedule = make(optimizer(lambda step: 0.01), learning_rate_scale=0.5)
    schedule.layers[2].learning_rate_scale = schedule.layers[4].learning_rate_scale = 0.5
    assert trained(scaled) == trained(halved) == trained(schedule)


def test_a_formula_of_the_users_own_is_scaled_too():
    def step(w, g, learning_rate):
        return w - learning_rate * g

    def own(rate, **given):
        optimizer = layers.ElementwiseOptimizer(step, learning_rate=rate, **given)
        return layers.Sequential(
            [layers.Dense(20, 5, learning_rate_scale=0.5 if rate == 0.5 else 1.0)],
            optimizer=optimizer,
            seed=0,
        )

    assert trained(own(0.5)) == trained(own(0.25))
    assert trained(own(0.5, clip_norm=0.1)) != trained(own(0.5))
    assert own(0.5).optimizer.learning_rate == 0.5


def test_a_file_has_it_all(tmp_path):
    model = make(layers.Adam(0.01, clip_norm=0.2), **LAYERS["penalties"], learning_rate_scale=0.5)
    model.layers[2].trainable = False
    model.layers[3].trainable = False  # a layer whose constructor takes no such thing
    model.fit(X, Y)
    model.save(tmp_path / "model.npz", optimizer_state=True)
    loaded, copied = layers.load(tmp_path / "model.npz"), pickle.loads(pickle.dumps(model))
    assert repr(loaded) == repr(model)
    assert not loaded.layers[3].trainable
    for each in (model, loaded, copied):
        each.fit(X, Y)
    assert loaded.fingerprint() == copied.fingerprint() == model.fingerprint()


def test_a_layer_without_biases():
    dense = layers.Dense(3, 2, bias=False, dtype="float64")
    assert dense.biases is None
    assert set(dense.parameters()) == {"weights"}
    assert np.allclose(dense.forward(np.ones((4, 3))), dense.weights.sum(axis=0))
    dense.backward(np.ones((4, 2)))
    assert np.allclose(dense.dweights, 4)
    assert dense.dbiases is None
    with pytest.raises(AttributeError, match=r"^Dense\.biases: the layer has no biases, expected"):
        dense.biases = [0, 0]
    assert layers.check_gradients(make(layers.SGD(0.1), trainable=False), X[:6], Y[:6]).right


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: layers.Dense(2, 2, bias=1), r"^Dense: bias is 1, expected True or False"),
        (lambda: layers.Dense(2, 2, l1=-1), r"^Dense: l1 is -1, expected a finite number of at"),
        (lambda: layers.Dense(2, 2, l2="x"), r"^Dense: l2 is 'x', expected a finite number"),
        (lambda: layers.Dense(2, 2, bias_l1=math.nan), r"^Dense: bias_l1 is nan, expected"),
        (lambda: layers.Dense(2, 2, bias_l2=True), r"^Dense: bias_l2 is True, expected"),
        (lambda: layers.Dense(2, 2, bias=False, bias_l2=1), r"^Dense: bias is False, bias_l1 0 a"),
        (lambda: layers.Dense(2, 2, trainable=0), r"^Dense: trainable is 0, expected True or Fa"),
        (
            lambda: layers.Dense(2, 2, learning_rate_scale=-1),
            r"^Dense: learning_rate_scale is -1, expected a finite number of at least 0",
        ),
        (lambda: layers.SGD(clip_norm=0), r"^SGD: clip_norm is 0, expected a number above 0, or N"),
        (lambda: layers.Adam(clip_value="1"), r"^Adam: clip_value is '1', expected a finite"),
        (lambda: layers.Lion(clip_norm=math.inf), r"^Lion: clip_norm is inf, expected a finite"),
        (lambda: layers.Adam(clip_norm=True), r"^Adam: clip_norm is True, expected a finite"),
        (
            lambda: layers.AdamW(clip_norm=1, clip_value=2),
            r"^AdamW: clip_value is 2 and clip_norm 1, expected one of them",
        ),
    ],
)
def test_what_is_outside_its_domain_is_refused(made, message):
    with pytest.raises((TypeError, ValueError), match=message):
        made()


def test_a_setting_stays():
    for thing, name in ((layers.Dense(2, 2), "l2"), (layers.Adam(), "beta1")):
        kind = type(thing).__name__
        with pytest.raises(AttributeError, match=rf"^{kind}: {name} cannot be changed, expected a"):
            setattr(thing, name, 0.5)
    with pytest.raises(AttributeError, match=r"^SGD: clip_norm cannot be changed"):
        layers.SGD().clip_norm = 1.0


@pytest.mark.parametrize("activation", [layers.ReLU, OwnReLU])
def test_a_scale_takes_a_learning_rate(activation):
    def step(w, g, rate):
        return w - rate * g

    model = make(layers.ElementwiseOptimizer(step, rate=0.1), activation, learning_rate_scale=0.5)
    with pytest.raises(
        TypeError, match=r"^Sequential: learning_rate_scale of layer 0 is 0\.5, and"
    ):
        model.fit(X, Y)


class Twice(layers.Dense):
    """States its gradients twice."""

    def run_backward(self, run, x, y, dy, needs_inputs):
        super().run_backward(run, x, y, dy, needs_inputs)
        return super().run_backward(run, x, y, dy, needs_inputs)


class Narrow(layers.Layer):
    """Hands on another width than it says."""

    gives = "scores"

    def run_forward(self, run, x, training):
        return run.dense_forward(x, np.zeros((3, 4), x.dtype if training else "float64"), None)

    def run_backward(self, run, x, y, dy, needs_inputs):
        return dy


@pytest.mark.parametrize("activation", [layers.ReLU, OwnReLU])
def test_a_gradient_is_stated_once(activation):
    stack = [Twice(20, 5), activation()]
    model = layers.Sequential(stack, seed=0, dtype="float64")
    with pytest.raises(
        ValueError,
        match=r"^layer 0, backward: run\.dense_backward_parameters: dweights is stated twice",
    ):
        model.fit(X, Y)


def test_sizes_of_the_users_own_layers_are_checked_layer_by_layer():
    with pytest.raises(
        ValueError,
        match=r"^Narrow\.forward: run\.dense_forward: x has 20 numbers a row, expected 3",
    ):
        Narrow().forward(X)


# --- numbers ahead --------------------------------------------------------------------------------


def groups(optimizer):
    return make(optimizer, learning_rate_scale=0.5)._groups()


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "Lion", "RMSprop"])
@pytest.mark.parametrize(
    "rate",
    [
        0.01,
        layers.schedules.Cosine(0.1, 2000, 10),
        layers.schedules.Scaled(lambda step: 1 / (step + 1), 0.1),
    ],
)
def test_numbers_ahead_are_those_of_each_step(kind, rate):
    known, dtype = groups(getattr(layers, kind)(rate, weight_decay=0.1)), np.dtype("float64")
    for first, steps in [(0, 1), (1, 3), (1020, 9), (4, 5), (60, 4), (64, 3), (0, 1025)]:
        expected = [known._asked(first + n, 1, dtype) for n in range(steps)]
        found = np.broadcast_to(known.rows(first, steps, dtype), (steps, known.width))
        assert found.tobytes() == np.concatenate(expected).tobytes()


def test_powers_are_the_same_in_any_block():
    adam = layers.Adam()
    for first, steps in [(1000, 100), (0, 3000)]:
        expected = np.array([1 - 0.9**n for n in range(first + 1, first + steps + 1)])
        np.testing.assert_allclose(_left(0.9, first, steps), expected, rtol=1e-12)
    whole = adam.numbers(0, 3000, np.dtype("float64"))
    parts = [adam.numbers(first, 300, np.dtype("float64")) for first in range(0, 3000, 300)]
    assert whole.tobytes() == np.concatenate(parts).tobytes()


def test_a_changed_rate_counts_from_the_next_call_on():
    schedule = layers.schedules.InverseTime(0.5, 0.1)
    for optimizer in (layers.Adam(0.5), layers.Adam(schedule)):
        known, dtype = groups(optimizer), np.dtype("float32")
        before = known.rows(5, 1, dtype).copy()
        if callable(optimizer.learning_rate):
            schedule.rate = 1.0
        else:
            optimizer.learning_rate = 1.0
        np.testing.assert_array_equal(known.rows(5, 1, dtype)[:, [0, 4]], 2 * before[:, [0, 4]])


def test_a_step_that_is_not_taken_is_not_refused():
    known = groups(layers.SGD(layers.schedules.Exponential(1.0, 10.0)))
    for step in range(39):
        assert known.rows(step, 1, np.dtype("float32"))[0, 0] == pytest.approx(10.0**step / 2)
    with pytest.raises(ValueError, match=r"^SGD: learning_rate\(39\) is "):
        known.rows(39, 1, np.dtype("float32"))


class OwnRate(layers.SGD):
    """Its numbers change from call to call."""

    calls = 0

    def numbers(self, first, steps, dtype):
        type(self).calls += 1
        return super().numbers(first, steps, dtype) * OwnRate.calls


def test_an_optimizer_of_the_users_own_is_asked_each_time():
    known, dtype = make(OwnRate(0.1))._groups(), np.dtype("float64")
    assert [known.rows(0, 1, dtype)[0, 0] for _ in range(3)] == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    "layer", [layers.Dense(4, 4), layers.BatchNorm(4), layers.LayerNorm(4)], ids=repr
)
def test_a_frozen_layer_shows_no_gradients(layer):
    x = np.arange(20.0, dtype=np.float32).reshape(5, 4)
    for trainable in (True, False):
        layer.trainable = trainable
        layer.forget()
        layer.backward(layer.forward(x, training=True))
        assert (layer.dweights is None, layer.dbiases is None) == (not trainable, not trainable)
