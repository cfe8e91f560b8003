"""Whole networks in one compiled call: bit-identical to the layer-by-layer path."""

import copy
import itertools
import json
import tracemalloc
import types

import numpy as np
import pytest

import kernels
import layers
from kernels.network import interpreter
from kernels.runtime import threads
from layers import datasets
from layers.compiled import lowering, runner, tuning

pytestmark = pytest.mark.compiled

X, Y = datasets.load_digits()
X.flags.writeable = Y.flags.writeable = False

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])

STACKS = {
    "one layer": [(64, 10)],
    "ReLU between": [(64, 33), "ReLU", (33, 10)],
    "no ReLU between": [(64, 7), (7, 10)],
    "two ReLUs": [(64, 20), "ReLU", "ReLU", (20, 10)],
    "three layers": [(64, 40), "ReLU", (40, 24), "ReLU", (24, 10)],
    "ReLU first": ["ReLU", (64, 12), "ReLU", (12, 10)],
    "ReLU last": [(64, 10), "ReLU"],
    "two ReLUs last": [(64, 10), "ReLU", "ReLU"],
    "Softmax between": [(64, 18), "Softmax", (18, 10)],
    "Softmax, ReLU": [(64, 18), "Softmax", "ReLU", (18, 10), "ReLU"],
    "ReLU, Softmax": [(64, 18), "ReLU", "Softmax", (18, 10)],
    "Softmax first": ["Softmax", "ReLU", (64, 10)],
    "Softmax last": [(64, 16), "ReLU", (16, 10), "Softmax"],
    "two Softmax last": [(64, 10), "Softmax", "Softmax"],
    "GELU, LeakyReLU": [(64, 33), "GELU", (33, 20), "LeakyReLU", (20, 10), "GELU"],
    "ELU, SELU": [(64, 33), "ELU", (33, 20), "SELU", (20, 10), "ELU"],
    "SiLU, Softplus": [(64, 33), "SiLU", (33, 20), "Softplus", (20, 10), "SiLU"],
    "Sigmoid, Tanh": [(64, 33), "Sigmoid", (33, 20), "Tanh", (20, 10), "Tanh"],
    "GELU by tanh, LogSoftmax": [(64, 33), layers.GELU("tanh"), (33, 10), "LogSoftmax"],
    "Dropout": ["Dropout", (64, 33), "Dropout", "ReLU", (33, 10), "Dropout"],
    "wide": [(64, 700), "ReLU", (700, 300), "ReLU", (300, 10)],
}
each_stack = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)


def make(stack, dtype="float32", rate=0.1) -> layers.Sequential:
    made = [
        layers.Dense(*part)
        if isinstance(part, tuple)
        else getattr(layers, part)()
        if isinstance(part, str)
        else copy.deepcopy(part)
        for part in stack
    ]
    loss = layers.SoftmaxCrossEntropy()
    if stack[-1] == "Softmax":
        loss = layers.CategoricalCrossEntropy()
    return layers.Sequential(made, loss, layers.SGD(rate), seed=3, dtype=dtype)


@pytest.fixture
def layer_by_layer(monkeypatch):
    """Make models run layer by layer from the call on."""

    def switch() -> None:
        monkeypatch.setattr(lowering, "obstacle", lambda model: "for a test")

    return switch


def everything(model: layers.Sequential, x, y, **arguments) -> list[object]:
    """What training changes and what the model then says, to the bit."""
    history = model.fit(x, y, **arguments)
    return [
        model.fingerprint(),
        dict(history),
        model.train_step(x[:19], y[:19]),
        model.fingerprint(),
        model.evaluate(x, y),
        model.predict(x).tolist(),
        model.predict_proba(x).tobytes(),
        model.predict_proba(x[7:8]).tobytes(),
    ]


# --- the same bits on both paths ------------------------------------------------------------------


@each_dtype
@each_stack
def test_both_paths_give_the_same_bits(stack, dtype, layer_by_layer):
    small = X[:250], Y[:250]  # the last batch has 26 rows
    model = make(stack, dtype)
    assert model.obstacle() is None
    together = everything(model, *small, epochs=2)
    layer_by_layer()
    model = make(stack, dtype)
    assert model.obstacle() == "for a test"
    assert everything(model, *small, epochs=2) == together


@each_dtype
@pytest.mark.parametrize("batch_size", [1, 5, 100, 250, 1000])
@pytest.mark.parametrize("shuffle", [False, True])
def test_any_batch_size(batch_size, shuffle, dtype, layer_by_layer):
    arguments = {"batch_size": batch_size, "shuffle": shuffle}
    stack = STACKS["ReLU between"]
    together = everything(make(stack, dtype), X[:250], Y[:250], **arguments)
    layer_by_layer()
    assert everything(make(stack, dtype), X[:250], Y[:250], **arguments) == together


@each_dtype
@pytest.mark.parametrize("name", ["three layers", "Softmax last"])
def test_target_rows(name, dtype, layer_by_layer):
    rows = np.full((250, 10), 0.02, dtype)
    rows[np.arange(250), Y[:250]] += 0.8
    together = everything(make(STACKS[name], dtype), X[:250], rows)
    layer_by_layer()
    assert everything(make(STACKS[name], dtype), X[:250], rows) == together


@each_dtype
@pytest.mark.parametrize("name", ["three layers", "ReLU last", "wide"])
def test_adam(name, dtype, layer_by_layer):
    def trained() -> list[object]:
        model = make(STACKS[name], dtype)
        model.optimizer = layers.Adam(0.01)
        return [*everything(model, X[:250], Y[:250]), model._buffers.states.tobytes()]

    together = trained()
    layer_by_layer()
    assert trained() == together


@each_dtype
@pytest.mark.parametrize("name", ["one layer", "ReLU between", "Dropout", "Softmax last"])
@pytest.mark.parametrize("optimizer", [layers.SGD, layers.Adam])
def test_steps_one_by_one(name, optimizer, dtype, layer_by_layer):
    """From the second on they go a shorter way, until something is not as it was."""

    def trained() -> list[object]:
        model, losses = make(STACKS[name], dtype), []
        model.optimizer = optimizer(0.05)

        def step(first: int, end: int, x=X) -> None:
            losses.append(repr(model.train_step(x[first:end], Y[first:end])))

        for first in range(0, 64, 16):
            step(first, first + 16)
        model.optimizer.learning_rate = 0.01
        step(0, 16)
        step(0, 11)  # fewer rows
        bad = np.array(X)
        bad[3, 5] = np.nan
        step(0, 11, bad)  # nothing moves
        step(11, 22)
        model.fit(X[:50], Y[:50])
        step(11, 22)
        model.predict(X)
        model.optimizer = optimizer(0.02)
        step(0, 11)
        step(11, 22)
        states = model._buffers.states.tobytes()
        return [losses, model.fingerprint(), states, model._step, model._first_step]

    together = trained()
    assert together[0][6] == "nan"
    layer_by_layer()
    assert trained() == together


def test_a_step_after_others_forgets_what_passes_left_behind():
    model = make(STACKS["ReLU between"])
    for _ in range(2):
        model.train_step(X[:8], Y[:8])
    model.loss.forward(model.forward(X[:8]), Y[:8])
    model.backward(model.loss.backward())
    model.train_step(X[:8], Y[:8])
    assert model.layers[0].dweights is None
    assert model.layers[1].output is None


@each_dtype
def test_numbers_as_targets(dtype, layer_by_layer):
    def trained() -> list[object]:
        stack = [layers.Dense(64, 20), layers.GELU(), layers.Dense(20, 3)]
        loss = layers.MeanSquaredError()
        model = layers.Sequential(stack, loss, layers.Adam(0.01), seed=3, dtype=dtype)
        history = model.fit(X[:250], X[:250, 20:23])
        step = model.train_step(X[:19], X[:19, 20:23])
        scores = model.predict(X).tobytes()
        return [dict(history), step, model.evaluate(X, X[:, 20:23]), scores, model.fingerprint()]

    together = trained()
    layer_by_layer()
    assert trained() == together


@each_dtype
@pytest.mark.parametrize("classes", [2, 3, 7, 8, 9, 15, 16, 17])
def test_any_number_of_classes(classes, dtype, layer_by_layer):
    """Sixteen classes and fewer have a loss of their own; whole numbers bring ties of scores."""
    random = np.random.default_rng(classes)
    x, y = random.integers(-1, 2, (101, 4)).astype(dtype), random.integers(0, classes, 101)
    weights = random.integers(-1, 2, (4, classes))

    def trained(batch_size: int) -> list[object]:
        model = make([(4, classes)], dtype, rate=2.0**-3)
        model.layers[0].weights[...] = weights
        return everything(model, x, y, epochs=1, batch_size=batch_size, shuffle=False)

    batch_sizes = [1, 5, 16, 17, 31, 101]
    found = [trained(batch_size) for batch_size in batch_sizes]
    layer_by_layer()
    assert found == [trained(batch_size) for batch_size in batch_sizes]


@each_dtype
def test_a_batch_longer_than_a_chain(dtype, layer_by_layer):
    """Weights then move by sums of several chains, kept beside them until they are whole."""
    x = np.concatenate([X, X, X, X[::-1]])
    y = np.concatenate([Y, Y, Y, Y[::-1]])
    stack = STACKS["ReLU between"]
    together = everything(make(stack, dtype), x, y, batch_size=5000)
    layer_by_layer()
    assert everything(make(stack, dtype), x, y, batch_size=5000) == together


# --- on any number of threads, in calls of any length ---------------------------------------------


@pytest.fixture
def paced(monkeypatch):
    """Give every compiled call this many threads, and a random amount of work."""

    def switch(count: int) -> None:
        rng = np.random.default_rng(count)

        def run(self, most, call):
            return call(min(most, int(rng.integers(1, 5))), count)

        def on_so_many(wanted, arguments):
            return interpreter.execute.parallel(*arguments(count), count)

        monkeypatch.setattr(tuning.Pace, "run", run)
        monkeypatch.setattr(runner, "_DIRECT", 0)
        monkeypatch.setattr(interpreter.execute, "for_threads", on_so_many)

    return switch


@each_dtype
@pytest.mark.parametrize("count", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("name", ["wide", "ReLU between", "Softmax, ReLU", "Softmax last"])
def test_any_number_of_threads_and_any_calls(name, count, dtype, paced):
    """More threads than there are cores take turns, in whatever order the system runs them."""
    arguments = {"batch_size": 300, "epochs": 2}
    alone = everything(make(STACKS[name], dtype), X, Y, **arguments)
    paced(count)
    assert everything(make(STACKS[name], dtype), X, Y, **arguments) == alone


def test_many_small_steps_on_threads(paced):
    alone = everything(make(STACKS["ReLU between"]), X, Y, batch_size=16)
    paced(2)
    assert everything(make(STACKS["ReLU between"]), X, Y, batch_size=16) == alone


def test_a_last_batch_that_needs_more_memory_than_the_others(paced):
    """With less work there are fewer blocks, and each is larger; all are longer than a chain."""
    many = np.resize(np.arange(len(X)), 14_000)
    stack, arguments = [(64, 300), "ReLU", (300, 10)], {"batch_size": 9000, "shuffle": False}
    alone = make(stack)
    alone.fit(X[many], Y[many], **arguments)
    paced(2)
    together = make(stack)
    together.fit(X[many], Y[many], **arguments)
    assert together.fingerprint() == alone.fingerprint()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_loss_that_is_not_finite_stops_all_threads(count, paced, layer_by_layer):
    x = np.array(X)
    x[1200] = np.inf
    paced(count)
    model = make(STACKS["wide"])
    with pytest.raises(layers.NonFiniteLoss, match=r"epoch 1, batch 13; .* row \d+ of x holds"):
        model.fit(x, Y, batch_size=100, shuffle=False)
    other = make(STACKS["wide"])
    layer_by_layer()
    other.fit(x[:1200], Y[:1200], batch_size=100, shuffle=False)
    assert model.fingerprint() == other.fingerprint()


@pytest.mark.parametrize("count", [2, 16])
def test_whichever_thread_stops_the_loss_is_told(count, paced):
    """Once the one to stop was not the one to tell, in one step out of fifteen on two threads."""
    x = np.array(X[:128])
    x[40] = np.nan
    paced(count)
    model = make([(64, 300), "ReLU", (300, 10)])
    before = model.fingerprint()
    assert np.isnan([model.train_step(x, Y[:128]) for _ in range(300)]).all()
    assert model.fingerprint() == before


@pytest.mark.parametrize("count", [1, 2])
def test_an_infinite_loss_stops_too(count, paced):
    paced(count)
    model = make(STACKS["ReLU between"])
    model.layers[-1].biases[0, Y[70]] = -np.inf  # that class has no probability
    rows = np.flatnonzero(Y[:70] != Y[70])
    order = np.concatenate([rows, np.arange(70, 300)])
    x, y = X[order], Y[order]
    with pytest.raises(layers.NonFiniteLoss, match=r"loss is inf at epoch 1, batch 3; .*2.biases"):
        model.fit(x, y, shuffle=False)
    assert np.isfinite(model.layers[0].weights).all()


@each_dtype
@pytest.mark.parametrize("name", ["three layers", "Softmax, ReLU", "Softmax last"])
def test_a_long_batch_in_several_calls(name, dtype, monkeypatch):
    arguments = {"batch_size": 300, "epochs": 2}
    together = everything(make(STACKS[name], dtype), X, Y, **arguments)
    monkeypatch.setattr(runner, "_LONG_SECONDS", -1.0)
    assert everything(make(STACKS[name], dtype), X, Y, **arguments) == together


def training_program(model) -> lowering.Program:
    """The program of a step, for class indices."""
    return lowering.Lowering(model).training("labels", 8 // model.dtype.itemsize)


def test_ctrl_c_within_a_long_batch(monkeypatch):
    """Only the last call of a batch moves parameters."""
    model, calls = make(STACKS["three layers"]), []
    pieces = len(lowering.split(training_program(model)))
    execute = runner.Compiled._execute

    def interrupted(*args):
        if len(calls) == 2 * pieces - 1:
            raise KeyboardInterrupt
        calls.append(1)
        return execute(*args)

    monkeypatch.setattr(runner, "_LONG_SECONDS", -1.0)
    monkeypatch.setattr(runner.Compiled, "_execute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, shuffle=False)
    monkeypatch.undo()
    other = make(STACKS["three layers"])
    other.train_step(X[:32], Y[:32])
    assert pieces == 9  # two gather, 3 forward, loss, 2 backward, all that moves parameters
    assert model.fingerprint() == other.fingerprint()


# --- memory ---------------------------------------------------------------------------------------

ALLOCATIONS = """
import numpy as np
from numba.core.runtime import rtsys
import layers
from kernels.network import interpreter
from layers import datasets
from layers.compiled import tuning
from layers.compiled.runner import Totals

x, y = datasets.load_digits()
model = layers.Sequential([layers.Dense(64, 700), layers.ReLU(), layers.Dense(700, 10)], seed=0)
compiled, execute = model._compiled(), interpreter.execute
tuning.Pace.run = lambda self, most, call: call(most, threads)
execute.for_threads = lambda wanted, arguments: execute.parallel(*arguments(wanted), wanted)
counts = []
for threads in (1, 2):
    for batches in (1, 1, 50):
        order = np.arange(32 * batches)
        before = rtsys.get_allocation_stats()
        _, totals = compiled.train(x, y, order, 32, 0, Totals())
        after = rtsys.get_allocation_stats()
        assert totals.rows == len(order)
        counts.append([after.alloc - before.alloc, after.free - before.free])
print(counts)
"""


def test_no_batch_allocates(python):
    """As much for 50 batches as for one: arguments, and one piece of memory."""
    counts = json.loads(python(ALLOCATIONS, NUMBA_NRT_STATS="1").splitlines()[-1])
    for _, one, many in (counts[:3], counts[3:]):  # the first of each warms up
        assert one[0] > 0
        assert one == many
        assert one[0] == one[1]  # and all is given back


def test_peak_memory_is_the_parameters_and_one_workspace():
    model, other = (make([(64, 2000), "ReLU", (2000, 10)]) for _ in range(2))
    kernels.set_num_threads(1)  # to start and to try others takes memory of Numba's own
    try:
        other.fit(X, Y, batch_size=256)  # compiles
        tracemalloc.start()
        model.fit(X, Y, batch_size=256, epochs=2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        kernels.set_num_threads(None)
    space, orders = 4 * 256 * training_program(model).width, 3 * Y.nbytes
    assert space < peak < space + orders + 200_000


def test_no_memory_for_the_workspace(monkeypatch):
    def none(size, dtype):
        raise MemoryError

    model = make(STACKS["ReLU between"])
    before = model.fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr(runner, "aligned_zeros", none)
        with pytest.raises(
            MemoryError, match=r"workspace of .* batches of 32 .* smaller batch_siz"
        ):
            model.fit(X, Y)
    assert model.fingerprint() == before
    model.fit(X, Y)


# --- which path -----------------------------------------------------------------------------------


class OwnReLU(layers.ReLU):
    def forward(self, x, training=False):
        return super().forward(x, training)


class OwnLoss(layers.SoftmaxCrossEntropy):
    def rows(self, scores, targets, out_losses):
        return super().rows(scores, targets, out_losses)


class OwnSGD(layers.SGD):
    def update(self, parameters, gradients, states, step):
        super().update(parameters, gradients, states, step)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"layers": [layers.Dense(64, 10), OwnReLU()]}, "layer 1 is an OwnReLU of your own"),
        ({"loss": OwnLoss()}, "the loss is an OwnLoss of your own"),
        ({"optimizer": OwnSGD(0.1)}, "the optimizer is an OwnSGD of your own"),
    ],
)
def test_a_part_of_the_users_own_runs_layer_by_layer(changes, why):
    def made(changes):
        usual = {"layers": [layers.Dense(64, 10), layers.ReLU()], "optimizer": layers.SGD(0.1)}
        return layers.Sequential(**(usual | changes), seed=0)

    own = made(changes)
    assert own.obstacle() == why
    assert own.summary().endswith(f"\nruns layer by layer: {why}")
    assert everything(own, X[:250], Y[:250]) == everything(made({}), X[:250], Y[:250])


class SameReLU(layers.ReLU):
    """Nothing of its own but its name."""


class SameLoss(layers.SoftmaxCrossEntropy):
    """The same."""


class SameSGD(layers.SGD):
    """The same."""


def test_a_subclass_that_overrides_nothing_is_compiled():
    stack = [layers.Dense(64, 10), SameReLU()]
    same = layers.Sequential(stack, SameLoss(), SameSGD(0.1), seed=0)
    usual = layers.Sequential([layers.Dense(64, 10), layers.ReLU()], None, layers.SGD(0.1), seed=0)
    assert same.obstacle() is None
    assert everything(same, X[:250], Y[:250]) == everything(usual, X[:250], Y[:250])


def test_a_replaced_method_is_called():
    model = make(STACKS["ReLU between"])
    model.fit(X[:64], Y[:64])
    called = []
    relu = model.layers[1]

    def forward(self, x, training=False):
        called.append(len(x))
        return layers.ReLU.forward(self, x, training)

    relu.forward = types.MethodType(forward, relu)
    assert model.obstacle() == "layer 1 has a method of its own"
    model.fit(X[:64], Y[:64])
    model.predict(X[:3])
    assert called == [32, 32, 3]
    del relu.forward
    model.fit(X[:64], Y[:64])
    assert called == [32, 32, 3]
    assert model.obstacle() is None


class Frozen(layers.Dense):
    def backward(self, dy):
        dinputs = super().backward(dy)
        self.dweights[...] = 0
        return dinputs


@pytest.mark.parametrize("index", [0, 2])
def test_a_backward_of_the_users_own_is_called_wherever_its_layer_stands(index):
    made = [layers.Dense(64, 20), layers.ReLU(), layers.Dense(20, 10)]
    made[index] = Frozen(*((64, 20) if index == 0 else (20, 10)))
    model = layers.Sequential(made, seed=0)
    before = [np.array(layer.weights) for layer in (model.layers[0], model.layers[2])]
    model.fit(X[:64], Y[:64])
    after = [layer.weights for layer in (model.layers[0], model.layers[2])]
    moved = [not np.array_equal(*pair) for pair in zip(before, after, strict=True)]
    assert moved == [index != 0, index != 2]


@pytest.mark.parametrize("method", ["backward", "backward_parameters"])
def test_a_replaced_backward_of_the_first_layer_is_called(method):
    model, called = make(STACKS["one layer"]), []
    usual = getattr(model.layers[0], method)
    setattr(model.layers[0], method, lambda dy: called.append(1) or usual(dy))
    model.fit(X[:64], Y[:64])
    assert len(called) == 2


@pytest.mark.parametrize(("part", "method"), [("loss", "gradient"), ("optimizer", "update")])
def test_a_replaced_method_of_the_loss_or_optimizer_is_called(part, method):
    model, called = make(STACKS["one layer"]), []
    model.fit(X[:64], Y[:64])
    usual = getattr(getattr(model, part), method)

    def own(*args):
        called.append(len(args))
        return usual(*args)

    setattr(getattr(model, part), method, own)
    assert model.obstacle() == f"the {part} has a method of its own"
    model.fit(X[:64], Y[:64])
    assert len(called) == 2


def test_another_loss_or_optimizer_is_heeded():
    model = make(STACKS["one layer"])
    model.fit(X[:64], Y[:64])
    model.optimizer = layers.SGD(0.0)
    before = model.fingerprint()
    model.fit(X[:64], Y[:64])
    assert model.fingerprint() == before
    model.loss = OwnLoss()
    assert model.obstacle() == "the loss is an OwnLoss of your own"


def test_the_numpy_backend_runs_layer_by_layer():
    model = make(STACKS["one layer"])
    with layers.backend("numpy"):
        assert model.obstacle() == "the backend is NumPy"
        assert model._compiled() is None
    assert model._compiled() is not None


def test_a_compiled_step_leaves_no_stale_gradients():
    model = make(STACKS["ReLU between"])
    for train in (lambda: model.fit(X[:64], Y[:64]), lambda: model.train_step(X[:9], Y[:9])):
        model.loss.forward(model.forward(X[:8]), Y[:8])
        model.backward(model.loss.backward())
        assert model.layers[0].dweights is not None
        train()
        assert [getattr(model.layers[0], n) for n in ("dweights", "dbiases", "output")] == [
            None
        ] * 3
        assert model.layers[1].output is None
        with pytest.raises(ValueError, match="called before forward"):
            model.layers[1].backward(np.zeros((8, 33), np.float32))


# --- the pace -------------------------------------------------------------------------------------


class Clock:
    """Time passes only while work is done: so many seconds a unit, by the number of threads."""

    def __init__(self, monkeypatch, seconds, allowed):
        self.now, self.seconds, self.calls = 0.0, seconds, []
        monkeypatch.setattr(tuning.time, "perf_counter", lambda: self.now)
        self.allowed = allowed
        monkeypatch.setattr(tuning.threads, "get_num_threads", lambda: self.allowed)

    def work(self, units, count):
        self.calls.append((units, count))
        self.now += units * self.seconds[count]


def test_a_run_that_stopped_early_says_nothing_about_the_pace():
    x = np.array(X)
    x[200] = np.nan
    model = make(STACKS["one layer"])
    with pytest.raises(layers.NonFiniteLoss):
        model.fit(x, Y, batch_size=32, shuffle=False)
    assert all(each.unit_seconds == 0 for each in model._compiled()._paces.values())


def test_batches_of_about_one_size_have_one_pace():
    model = make(STACKS["one layer"])
    model.fit([(X[:rows], Y[:rows]) for rows in range(64, 128)])
    assert len(model._compiled()._paces) == 1


def test_calls_last_about_as_long_as_they_should(monkeypatch):
    clock = Clock(monkeypatch, {1: 1e-4}, 1)
    steady = tuning.Pace(10**9)
    for _ in range(50):
        steady.run(10**6, clock.work)
    assert clock.calls[:2] == [(1, 1), (1, 1)]  # nobody knows yet: the first loads machine code
    units = round(tuning.CALL_SECONDS / 1e-4)
    assert set(clock.calls[2:]) <= {(units - 1, 1), (units, 1)}
    steady.run(7, clock.work)
    assert clock.calls[-1] == (7, 1)


@pytest.mark.parametrize(
    ("seconds", "best"),
    [({1: 1e-3, 2: 6e-4}, 2), ({1: 1e-3, 2: 2e-3}, 1), ({1: 8e-3, 2: 4e-3, 4: 2e-3, 8: 3e-3}, 4)],
)
def test_the_fastest_number_of_threads_is_found(monkeypatch, seconds, best):
    clock = Clock(monkeypatch, seconds, max(seconds))
    chosen = tuning.Pace(10**9)
    for _ in range(200):
        chosen.run(10**6, clock.work)
    time_at_best = sum(units * seconds[n] for units, n in clock.calls if n == best)
    assert time_at_best > 0.95 * clock.now
    # The machine changes: what was best no longer is, and that is noticed.
    before, worse = len(clock.calls), dict.fromkeys(seconds, 5e-3) | {1: 1e-3}
    clock.seconds = worse
    for _ in range(400):
        chosen.run(10**6, clock.work)
    late = clock.calls[before + 200 :]
    assert sum(units * worse[n] for units, n in late if n == 1) > 0.9 * sum(
        units * worse[n] for units, n in late
    )


def test_a_slow_first_call_says_nothing_of_the_threads_that_it_ran_on(monkeypatch):
    clock = Clock(monkeypatch, {1: 0.5, 2: 1e-3}, 2)
    chosen = tuning.Pace(10**9)
    chosen.run(10**6, clock.work)
    clock.seconds = {1: 6e-4, 2: 1e-3}
    for _ in range(20):
        chosen.run(10**6, clock.work)
    late = [count for _, count in clock.calls[5:]]
    assert late.count(1) > 0.9 * len(late)


def test_what_was_slower_is_tried_less_and_less_often(monkeypatch):
    clock = Clock(monkeypatch, {1: 1e-3, 2: 2e-3}, 2)
    chosen = tuning.Pace(10**9)
    for _ in range(100):
        chosen.run(10**6, clock.work)
    trials = [index for index, (_, count) in enumerate(clock.calls) if count == 2][1:]
    between = [after - before for before, after in itertools.pairwise(trials)]
    assert len(between) >= 5
    assert 1.5 * between[0] < min(between[1:])
    clock.seconds = {1: 1e-3, 2: 5e-4}
    for _ in range(2 * between[-1]):
        chosen.run(10**6, clock.work)
    assert [count for _, count in clock.calls[-10:]].count(2) >= 8


def test_a_limit_that_is_set_later_is_kept(monkeypatch):
    clock = Clock(monkeypatch, {1: 1e-3, 2: 5e-4}, 2)
    chosen = tuning.Pace(10**9)
    for _ in range(20):
        chosen.run(10**6, clock.work)
    assert clock.calls[-1][1] == 2
    clock.allowed, before = 1, len(clock.calls)
    for _ in range(40):
        chosen.run(10**6, clock.work)
    assert {count for _, count in clock.calls[before:]} == {1}


def test_small_work_stays_on_one_thread(monkeypatch):
    clock = Clock(monkeypatch, {1: 1e-5}, 8)
    small = tuning.Pace(1000)
    for _ in range(100):
        small.run(10**6, clock.work)
    assert {count for _, count in clock.calls} == {1}


def test_one_thread_is_one_thread(monkeypatch):
    kernels.set_num_threads(1)
    try:
        asked = []
        monkeypatch.setattr(threads.Region, "enter", lambda region: asked.append(region) or False)
        make(STACKS["wide"]).fit(X, Y, batch_size=300, epochs=3)
    finally:
        kernels.set_num_threads(None)
    assert asked == []
