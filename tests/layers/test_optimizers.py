"""Optimizers and schedules: PyTorch's formulas, both paths, files, and what is refused."""

import math
import pickle

import numpy as np
import pytest

import layers
from layers import runs, schedules
from layers.base import Array

X = np.random.default_rng(0).random((90, 20), np.float32)
Y = np.random.default_rng(1).integers(0, 5, 90)
STEPS = 200


# --- PyTorch's formulas, in float64 ---------------------------------------------------------------


def by_sgd(w, gradients, rate, momentum=0.0, nesterov=False, decay=0.0):
    buffer = None
    for t, gradient in enumerate(gradients):
        g = gradient + decay * w
        if momentum:
            buffer = g if buffer is None else momentum * buffer + g
            g = g + momentum * buffer if nesterov else buffer
        w = w - rate(t) * g
    return w


def by_adagrad(w, gradients, rate, epsilon=1e-10, decay=0.0):
    squares = np.zeros_like(w)
    for t, gradient in enumerate(gradients):
        g = gradient + decay * w
        squares = squares + g * g
        w = w - rate(t) * g / (np.sqrt(squares) + epsilon)
    return w


def by_rmsprop(w, gradients, rate, alpha=0.99, epsilon=1e-8, decay=0.0):
    squares = np.zeros_like(w)
    for t, gradient in enumerate(gradients):
        g = gradient + decay * w
        squares = alpha * squares + (1 - alpha) * g * g
        w = w - rate(t) * g / (np.sqrt(squares) + epsilon)
    return w


def by_adam(w, gradients, rate, betas=(0.9, 0.999), epsilon=1e-8, coupled=0.0, decoupled=0.0):
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, gradient in enumerate(gradients):
        w = w * (1 - rate(t) * decoupled)
        g = gradient + coupled * w
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        step = rate(t) / (1 - betas[0] ** (t + 1))
        w = w - step * m / (np.sqrt(v) / math.sqrt(1 - betas[1] ** (t + 1)) + epsilon)
    return w


def by_lion(w, gradients, rate, betas=(0.9, 0.99), decay=0.0):
    m = np.zeros_like(w)
    for t, g in enumerate(gradients):
        w = w * (1 - rate(t) * decay)
        w = w - rate(t) * np.sign(betas[0] * m + (1 - betas[0]) * g)
        m = betas[1] * m + (1 - betas[1]) * g
    return w


def always(rate):
    return lambda step: rate


FALLING = schedules.InverseTime(0.02, 0.1)
CASES = {
    "SGD": (layers.SGD(0.05), lambda w, g: by_sgd(w, g, always(0.05))),
    "SGD, decay": (
        layers.SGD(0.05, weight_decay=0.1),
        lambda w, g: by_sgd(w, g, always(0.05), decay=0.1),
    ),
    "momentum": (
        layers.SGD(0.01, 0.8, weight_decay=0.1),
        lambda w, g: by_sgd(w, g, always(0.01), 0.8, decay=0.1),
    ),
    "Nesterov": (
        layers.SGD(0.01, momentum=0.8, nesterov=True, weight_decay=0.1),
        lambda w, g: by_sgd(w, g, always(0.01), 0.8, True, 0.1),
    ),
    "Nesterov, falling": (
        layers.SGD(FALLING, 0.9, True),
        lambda w, g: by_sgd(w, g, FALLING, 0.9, True),
    ),
    "Adagrad": (
        layers.Adagrad(0.02, weight_decay=0.1),
        lambda w, g: by_adagrad(w, g, always(0.02), decay=0.1),
    ),
    "RMSprop": (
        layers.RMSprop(0.003, weight_decay=0.1),
        lambda w, g: by_rmsprop(w, g, always(0.003), decay=0.1),
    ),
    "Adam": (layers.Adam(), lambda w, g: by_adam(w, g, always(0.001))),
    "Adam, decay": (
        layers.Adam(0.01, weight_decay=0.1),
        lambda w, g: by_adam(w, g, always(0.01), coupled=0.1),
    ),
    "AdamW": (layers.AdamW(0.01), lambda w, g: by_adam(w, g, always(0.01), decoupled=0.01)),
    "AdamW, falling": (
        layers.AdamW(FALLING, weight_decay=0.1),
        lambda w, g: by_adam(w, g, FALLING, decoupled=0.1),
    ),
    "Lion": (
        layers.Lion(0.001, weight_decay=0.1),
        lambda w, g: by_lion(w, g, always(0.001), decay=0.1),
    ),
}
each_case = pytest.mark.parametrize("name", CASES)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def drawn(dtype):
    random = np.random.default_rng(3)
    w = random.standard_normal((1, 37)).astype(dtype)
    gradients = random.standard_normal((STEPS, 1, 37)).astype(dtype)
    gradients[:, :, ::5] *= 1e-4
    gradients[:, :, 1] = 0.0
    return w, gradients


@each_case
@each_dtype
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_two_hundred_steps_are_those_of_pytorchs_formulas(name, dtype, backend):
    optimizer, formula = CASES[name]
    w, gradients = drawn(dtype)
    expected = formula(w.astype(np.float64), gradients.astype(np.float64))
    states = np.zeros((optimizer.states, w.size), dtype)
    with layers.backend(backend):
        for step, gradient in enumerate(gradients):
            optimizer.update(w, gradient, states, step)
    assert np.max(np.abs(w - expected)) <= (1e-6 if dtype == "float64" else 4e-6) * np.max(
        np.abs(expected)
    )


@each_case
def test_two_hundred_steps_are_those_of_torch(name):
    torch = pytest.importorskip("torch")
    optimizer = CASES[name][0]
    kind = getattr(torch.optim, type(optimizer).__name__, None)
    if kind is None:
        pytest.skip("PyTorch has no such optimizer")
    given = {
        n: getattr(optimizer, n)
        for n in ("momentum", "nesterov", "alpha", "weight_decay")
        if hasattr(optimizer, n)
    }
    if hasattr(optimizer, "epsilon"):
        given["eps"] = optimizer.epsilon
    if hasattr(optimizer, "beta1"):
        given["betas"] = optimizer.beta1, optimizer.beta2
    w, gradients = drawn("float64")
    parameter = torch.nn.Parameter(torch.tensor(w.copy()))
    theirs, states = kind([parameter], lr=0.1, **given), np.zeros((optimizer.states, w.size))
    for step, gradient in enumerate(gradients):
        theirs.param_groups[0]["lr"] = float(optimizer.rates(step, 1, w.dtype)[0])
        parameter.grad = torch.tensor(gradient)
        theirs.step()
        optimizer.update(w, gradient, states, step)
    assert np.allclose(w, parameter.detach().numpy(), rtol=0, atol=1e-6 * np.abs(w).max())


@each_dtype
def test_a_parameter_without_a_gradient_stays(dtype):
    for optimizer in (layers.SGD(0.1, 0.9), layers.Adagrad(), layers.RMSprop(), layers.Lion()):
        w, states = np.ones((1, 3), dtype), np.zeros((optimizer.states, 3), dtype)
        optimizer.update(w, np.zeros_like(w), states, 0)
        assert w.tolist() == [[1, 1, 1]]


@each_dtype
@pytest.mark.parametrize("name", ["momentum", "RMSprop", "Adam", "AdamW", "Lion"])
def test_a_state_without_gradients_ends_at_zero(name, dtype):
    """And not at numbers below the normal ones, which are slow."""
    optimizer = CASES[name][0].without_decay()
    w, gradient = np.ones((1, 3), dtype), np.full((1, 3), np.finfo(dtype).tiny * 4, dtype)
    states = np.zeros((optimizer.states, 3), dtype)
    for step in range(100):
        optimizer.update(w, gradient, states, step)
        gradient[...] = 0
        assert not np.any((states != 0) & (np.abs(states) < np.finfo(dtype).tiny))


# --- both paths -----------------------------------------------------------------------------------


class OwnReLU(layers.ReLU):
    """Runs layer by layer."""

    def forward(self, x: Array, training: bool = False) -> Array:
        return super().forward(x, training)


def trained(optimizer, activation, dtype="float32"):
    stack = [layers.Dense(20, 13), activation, layers.Dense(13, 5)]
    model = layers.Sequential(stack, optimizer=optimizer, seed=2, dtype=dtype)
    model.layers[0].biases = np.full((1, 13), 0.3)
    losses = model.fit(X, Y, epochs=3, batch_size=16)["loss"]
    for first in (0, 16, 32):
        losses.append(model.train_step(X[first : first + 16].astype(dtype), Y[first : first + 16]))
    states = [
        array.tobytes()
        for views in model._buffers.state_views()
        for named in views
        for array in named.values()
    ]
    return model.fingerprint(), losses, states


@each_case
@each_dtype
def test_both_paths_have_the_same_bits(name, dtype):
    optimizer = CASES[name][0]
    assert layers.Sequential([layers.Dense(2, 2)], optimizer=optimizer).obstacle() is None
    compiled = trained(optimizer, layers.ReLU(), dtype)
    assert trained(optimizer, OwnReLU(), dtype) == compiled


def test_an_update_of_the_users_own_has_weight_decay_too():
    class Own(layers.SGD):
        def update(self, parameters, gradients, states, step):
            super().update(parameters, gradients, states, step)

    given = {"learning_rate": 0.1, "momentum": 0.5, "weight_decay": 0.2}
    assert trained(Own(**given), layers.ReLU()) == trained(layers.SGD(**given), layers.ReLU())


@pytest.mark.parametrize(
    "optimizer",
    [layers.SGD(0.1, weight_decay=0.5), layers.SGD(0.1, 0.9, weight_decay=0.5)]
    + [kind(0.1, weight_decay=0.5) for kind in (layers.AdamW, layers.Adam, layers.Lion)],
)
@pytest.mark.parametrize("activation", [layers.ReLU, OwnReLU])
def test_weight_decay_reaches_weights_and_not_biases(optimizer, activation):
    """Without data and with no unit on, all gradients of the first layer are 0."""
    stack = [layers.Dense(20, 13), activation(), layers.Dense(13, 5)]
    model = layers.Sequential(stack, optimizer=optimizer, seed=2)
    model.layers[0].biases = np.full((1, 13), -1.0)  # no unit is on
    before = {name: array.copy() for name, array in model.parameters().items()}
    model.train_step(np.zeros((4, 20), np.float32), np.arange(4))
    after = model.parameters()
    assert np.abs(after["0.weights"]).sum() < np.abs(before["0.weights"]).sum()
    assert np.array_equal(after["0.biases"], before["0.biases"])


def test_a_layer_says_what_weight_decay_reaches():
    class All(layers.Dense):
        decayed = ("weights", "biases")

    def biases(kind):
        model = layers.Sequential([kind(20, 5)], optimizer=layers.SGD(0.1, weight_decay=0.5))
        model.layers[0].biases = np.full((1, 5), 8.0)
        model.train_step(np.zeros((5, 20), np.float32), np.arange(5))
        return model.layers[0].biases.copy()

    assert np.allclose(biases(layers.Dense), 8)
    assert np.allclose(biases(All), 8 * 0.95)


# --- schedules ------------------------------------------------------------------------------------


def test_schedules_are_what_they_say():
    step = schedules.Step(1.0, 10, 0.5)
    assert [step(i) for i in (0, 9, 10, 25)] == [1, 1, 0.5, 0.25]
    assert schedules.InverseTime(1.0, 0.1)(10) == 0.5
    assert schedules.Exponential(1.0, 0.25, 10)(5) == 0.5
    cosine = schedules.Cosine(1.0, 110, warmup=10, end=0.2)
    assert [cosine(i) for i in (0, 9, 10)] == [0.1, 1, 1]
    assert cosine(60) == pytest.approx(0.6)
    assert cosine(110) == cosine(10_000) == pytest.approx(0.2)
    cycle = schedules.OneCycle(1.0, 100)
    # What torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=100) gives.
    assert cycle(0) == pytest.approx(0.04)
    assert cycle(29) == pytest.approx(1.0)
    assert cycle(99) == cycle(1000) == pytest.approx(4e-6)
    assert max(map(cycle, range(100))) == cycle(29)


@pytest.mark.parametrize("steps", [2, 3, 4, 7])
def test_a_short_cycle_ends_at_its_end(steps):
    rates = [*map(schedules.OneCycle(1.0, steps), range(steps + 1))]
    assert rates[-1] == rates[-2] == pytest.approx(4e-6)


@pytest.mark.parametrize("activation", [layers.ReLU, OwnReLU])
def test_any_function_of_the_step_is_a_learning_rate(activation):
    """Of the optimizer's own steps, each asked once: those of one call together."""
    asked = []

    def rate(step):
        asked.append(step)
        return 0.1 / (1 + step)

    found = trained(layers.SGD(rate), activation())
    assert sorted(set(asked)) == list(range(21))
    assert found == trained(layers.SGD(schedules.InverseTime(0.1, 1.0)), activation())
    assert found[0] != trained(layers.SGD(0.1), activation())[0]


@pytest.mark.parametrize("activation", [layers.ReLU, OwnReLU])
@pytest.mark.parametrize("optimizer", [layers.SGD, layers.AdamW, layers.Lion, layers.Adagrad])
@pytest.mark.parametrize(
    ("bad", "came"),
    [(math.nan, "nan"), (-1.0, "-1.0"), (1e39, "1e+39"), (None, "None"), (True, "True")],
)
def test_a_schedule_that_gives_no_rate_is_refused(optimizer, activation, bad, came):
    model = layers.Sequential(
        [layers.Dense(20, 13), activation(), layers.Dense(13, 5)],
        optimizer=optimizer(lambda step: 0.1 if step < 4 else bad),
        seed=0,
    )
    with pytest.raises((TypeError, ValueError)) as caught:
        model.fit(X, Y, batch_size=16, epochs=3)
    assert f"{optimizer.__name__}: learning_rate(4) is {came}, expected a finite" in str(
        caught.value
    )
    assert np.all(np.isfinite(model.parameters()["0.weights"]))
    assert model._step <= 4


def test_a_rate_is_asked_for_at_once():
    with pytest.raises(ValueError, match=r"^Adam: learning_rate\(0\) is nan"):
        layers.Adam(lambda step: math.nan)
    with pytest.raises(TypeError, match=r"^SGD: learning_rate is "):
        layers.SGD(schedules.Cosine)  # the class
    with pytest.raises(ZeroDivisionError):
        layers.SGD(lambda step: 1 / step)


def test_numbers_beyond_the_dtype_are_refused():
    model = layers.Sequential([layers.Dense(20, 5)], optimizer=layers.AdamW(1e30), seed=0)
    model.optimizer._weight_decay = 1e30
    with pytest.raises(ValueError, match=r"^AdamW\(.*beyond float32"):
        model.fit(X, Y)
    model.optimizer = layers.Adam(epsilon=1e-40)
    with pytest.raises(ValueError, match=r"^Adam: epsilon is 1e-40, which is too small in float32"):
        model.fit(X, Y)


# --- files, copies, texts -------------------------------------------------------------------------

SCHEDULES = [
    schedules.InverseTime(0.1, 0.01),
    schedules.Step(0.1, 10),
    schedules.Exponential(0.1, 0.5, 20),
    schedules.Cosine(0.1, 30, 5, 0.01),
    schedules.OneCycle(0.1, 30),
    schedules.Scaled(schedules.Step(0.1, 10), 0.5),
]
OPTIMIZERS = [case[0] for case in CASES.values()] + [layers.Adam(each) for each in SCHEDULES]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_a_saved_model_goes_on_where_it_was(optimizer, tmp_path):
    model = layers.Sequential([layers.Dense(20, 5)], optimizer=optimizer, seed=0)
    model.fit(X, Y, batch_size=16)
    model.save(tmp_path / "model.npz", optimizer_state=True)
    loaded = layers.load(tmp_path / "model.npz")
    assert repr(loaded.optimizer) == repr(optimizer)
    copied = pickle.loads(pickle.dumps(model)) if "function" not in repr(optimizer) else loaded
    for each in (model, loaded, copied):
        each.fit(X, Y, batch_size=16)
    assert loaded.fingerprint() == copied.fingerprint() == model.fingerprint()


def test_a_rate_of_the_users_own_is_not_saved(tmp_path):
    model = layers.Sequential([layers.Dense(20, 5)], optimizer=layers.SGD(lambda step: 0.1))
    with pytest.raises(TypeError, match=r"^Sequential\.save: SGD: learning_rate is .* by def"):
        model.save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"schedule": "Other"},
        {"schedule": "Step", "rate": 1},
        {"schedule": ["Step"]},
        {"schedule": "Scaled", "of": {"schedule": "Other"}, "factor": 1},
        {"schedule": "Scaled", "of": 0.1, "factor": 1},
        {"schedule": "Scaled", "schedule_": 0.1, "factor": 1},
        {"schedule": "Cosine", "rate": "x", "steps": 3, "warmup": 0, "end": 0},
    ],
)
def test_a_file_with_no_such_schedule_is_refused(bad, tmp_path, monkeypatch):
    monkeypatch.setattr(schedules, "described", lambda rate: bad)
    path = tmp_path / "model.npz"
    layers.Sequential([layers.Dense(20, 5)], optimizer=layers.Adam(SCHEDULES[0])).save(path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"^layers\.load: .*model\.npz: optimizer in its arch"):
        layers.load(path)


def test_texts():
    assert repr(layers.SGD(0.1)) == "SGD(learning_rate=0.1)"
    assert (
        repr(layers.SGD(schedules.Step(0.1, 10), 0.9)) == "SGD(learning_rate=Step(rate=0.1, "
        "every=10, factor=0.1), momentum=0.9, nesterov=False, weight_decay=0)"
    )
    assert (
        repr(layers.Lion()) == "Lion(learning_rate=0.0001, beta1=0.9, beta2=0.99, weight_decay=0)"
    )
    assert schedules.Step(0.1, 10) == schedules.Step(0.1, 10) != schedules.Step(0.1, 11)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "least", "below"),
    [
        (layers.SGD, "learning_rate", 0, None),
        (layers.SGD, "momentum", 0, 1),
        (layers.SGD, "weight_decay", 0, None),
        (layers.Adagrad, "epsilon", None, None),
        (layers.Adagrad, "weight_decay", 0, None),
        (layers.RMSprop, "alpha", 0, 1),
        (layers.RMSprop, "epsilon", None, None),
        (layers.Adam, "beta1", 0, 1),
        (layers.Adam, "weight_decay", 0, None),
        (layers.AdamW, "beta2", 0, 1),
        (layers.AdamW, "weight_decay", 0, None),
        (layers.Lion, "learning_rate", 0, None),
        (layers.Lion, "beta1", 0, 1),
        (layers.Lion, "weight_decay", 0, None),
    ],
)
def test_numbers_outside_their_domain_are_refused(kind, name, least, below):
    bad = ["0.1", None, True, [0.1], math.nan, math.inf, -0.1]
    bad += [] if below is None else [below, 2.0]
    bad += [0] if least is None else []
    for value in bad:
        with pytest.raises((TypeError, ValueError), match=rf"^{kind.__name__}: {name} is "):
            kind(**{name: value})
    kind(**{name: 0.5})


def test_nesterov_takes_momentum():
    with pytest.raises(ValueError, match=r"^SGD: nesterov is True and momentum is 0, expected"):
        layers.SGD(nesterov=True)
    with pytest.raises(TypeError, match=r"^SGD: nesterov is 1, expected True or False"):
        layers.SGD(momentum=0.9, nesterov=1)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: schedules.Step("0.1", 3), r"^Step: rate is '0\.1', expected a finite number"),
        (lambda: schedules.Step(0.1, 0), r"^Step: every is 0, expected an integer of at least 1"),
        (lambda: schedules.Step(0.1, 2.5), r"^Step: every is 2\.5, expected an integer"),
        (lambda: schedules.InverseTime(0.1, -1), r"^InverseTime: decay is -1, expected"),
        (lambda: schedules.Exponential(math.nan, 1), r"^Exponential: rate is nan, expected"),
        (lambda: schedules.Cosine(0.1, 10, 10), r"^Cosine: warmup is 10, expected fewer than"),
        (lambda: schedules.OneCycle(True, 10), r"^OneCycle: peak is True, expected"),
        (lambda: schedules.OneCycle(0.1, 1), r"^OneCycle: steps is 1, expected"),
        (lambda: schedules.Scaled(0.1, 1), r"^Scaled: schedule is 0\.1, expected a function of"),
        (lambda: schedules.Scaled(schedules.Step(1, 1), -1), r"^Scaled: factor is -1, expected"),
    ],
)
def test_arguments_of_schedules_are_checked(made, message):
    with pytest.raises((TypeError, ValueError), match=message):
        made()


def test_a_rate_that_rises_without_end_is_refused_when_it_does():
    model = layers.Sequential(
        [layers.Dense(20, 5)], optimizer=layers.SGD(schedules.Exponential(1e-200, 1e150)), seed=0
    )
    with pytest.raises(ValueError, match=r"^SGD: learning_rate\(2\) is .*e\+99, expected"):
        model.fit(X, Y, batch_size=16)
    assert runs.position() is None
