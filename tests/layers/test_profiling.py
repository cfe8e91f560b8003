"""`layers.profile`: the passes of a step, their cost, and that the model is unchanged."""

import copy
import io
import re
import sys

import numpy as np
import pytest

import kernels
import layers
from kernels.runtime import threads
from kernels.softmax import SOFTMAX_BACKWARD, SOFTMAX_FORWARD
from layers import datasets
from layers.profiling.results import Row

pytestmark = pytest.mark.compiled

X, Y = (array[:250] for array in datasets.load_digits())
X.flags.writeable = Y.flags.writeable = False  # for every test here: nothing may write to them


class Same(layers.Layer):
    """A user's own layer, which changes nothing and counts the threads of the kernels."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def forward(self, x, training=False):
        self.threads.append(kernels.get_num_threads())
        self.output = x.copy()
        return self.output

    def backward(self, dy):
        return dy


class Busy(Same):
    """And one that takes its time, forward alone."""

    def forward(self, x, training=False):
        sum(range(500_000))
        return super().forward(x, training)


def make(*stack: layers.Layer, dtype: str = "float32") -> layers.Sequential:
    stack = stack or (layers.Dense(64, 16), layers.ReLU(), layers.Dense(16, 10))
    ends_in_softmax = isinstance(stack[-1], layers.Softmax)
    loss = layers.CategoricalCrossEntropy() if ends_in_softmax else layers.SoftmaxCrossEntropy()
    return layers.Sequential(stack, loss, layers.SGD(0.1), seed=0, dtype=dtype)


def quick(model, x=X, y=Y, batch_size=32, **arguments) -> layers.Profile:
    return layers.profile(model, x, y, batch_size, **({"repeats": 1, "show": False} | arguments))


def passes(profile: layers.Profile) -> list[tuple]:
    return [(row.part, *row.layers) for row in profile.rows]


# --- rows -----------------------------------------------------------------------------------------

STACKS = {
    "logits": (
        (layers.Dense(64, 16), layers.ReLU(), layers.Dense(16, 10)),
        [
            *(("gather",), ("forward", 0, 1), ("forward", 2), ("loss",)),
            *(("backward", 1, 2), ("update", 2), ("update", 0)),
        ],
    ),
    "probabilities": (
        (layers.Dense(64, 16), layers.ReLU(), layers.Dense(16, 10), layers.Softmax()),
        [
            *(("gather",), ("forward", 0, 1), ("forward", 2), ("forward", 3), ("loss",)),
            *(("backward", 3), ("backward", 1, 2), ("update", 2), ("update", 0)),
        ],
    ),
    "no ReLU, and a last one": (
        (layers.ReLU(), layers.Dense(64, 16), layers.Dense(16, 10), layers.ReLU()),
        [
            *(("gather",), ("forward", 0), ("forward", 1), ("forward", 2, 3), ("loss",)),
            *(("backward", 3), ("backward", 2), ("update", 2), ("update", 1)),
        ],
    ),
    "Softmax inside": (
        (layers.Dense(64, 10), layers.Softmax(), layers.ReLU(), layers.Dense(10, 10)),
        [
            *(("gather",), ("forward", 0), ("forward", 1), ("forward", 2), ("forward", 3)),
            *(("loss",), ("backward", 2, 3), ("backward", 1), ("update", 3), ("update", 0)),
        ],
    ),
    "layer by layer": (
        (layers.Dense(64, 16), Same(), layers.Dense(16, 10)),
        [
            *(("gather",), ("forward", 0), ("forward", 1), ("forward", 2), ("loss",)),
            *(("backward", 2), ("backward", 1), ("backward", 0), ("update",)),
        ],
    ),
}


@pytest.mark.parametrize("name", STACKS)
def test_rows_are_the_passes_of_a_step(name: str):
    stack, expected = STACKS[name]
    model = make(*copy.deepcopy(stack))
    profile = quick(model)
    assert passes(profile) == expected
    for row in profile.rows:
        assert row.seconds > 0
        if row.layers:
            assert row.name == ", ".join(f"{index} {stack[index]!r}" for index in row.layers)
    by_part = {row.part: row.name for row in profile.rows}
    assert by_part["gather"] == "rows of x and y"
    assert by_part["loss"] == repr(model.loss)
    assert profile.obstacle == model.obstacle()
    assert profile.seconds > 0
    times = sum(row.seconds for row in profile.rows)
    assert profile.outside == pytest.approx(profile.seconds - times)


# --- what a pass costs ----------------------------------------------------------------------------

# By hand, for batches of 4 in float64 through Dense(3, 5) and Dense(5, 2): operations, and numbers
# of 8 bytes. Each line's arrays once, parameters that move twice. A label is a number, and
# so is a row's place in the order; the sum of dz for the biases is a line of its own.
COSTS = {
    ("gather",): (0, 4 * 3 + 4 * 3 + 4 + 4 + 4 + 4),
    ("forward", 0, 1): (4 * 5 * (2 * 3 + 1), 4 * 3 + 3 * 5 + 5 + 4 * 5),
    ("forward", 2): (4 * 2 * (2 * 5 + 1), 4 * 5 + 5 * 2 + 2 + 4 * 2),
    ("forward", 3): (0, 4 * 2 + 4 * 2),
    ("loss",): (0, 4 * 2 + 4 * 2 + 4 + 4 + 4),  # scores, gradient, losses, whether right, labels
    ("backward", 3): (0, 4 * 2 + 4 * 2 + 4 * 2),
    ("backward", 1, 2): (2 * 4 * 2 * 5, 4 * 2 + 5 * 2 + 4 * 5 + 4 * 5),
    ("update", 2): (
        2 * 5 * 4 * 2 + 4 * 2 + 2 * (5 * 2 + 2),
        (4 * 5 + 4 * 2 + 2 * 5 * 2) + (4 * 2 + 2 * 2),
    ),
    ("update", 0): (
        2 * 3 * 4 * 5 + 4 * 5 + 2 * (3 * 5 + 5),
        (4 * 3 + 4 * 5 + 2 * 3 * 5) + (4 * 5 + 2 * 5),
    ),
}
# The same layer by layer, where a Dense stores its gradients and the optimizer reads them.
COSTS_BY_LAYERS = {
    ("gather",): COSTS["gather",],
    ("forward", 0): COSTS["forward", 0, 1],
    ("forward", 1): (0, 4 * 5 + 4 * 5),
    ("forward", 2): (0, 0),
    ("forward", 3): COSTS["forward", 2],
    ("forward", 4): COSTS["forward", 3],
    ("loss",): COSTS["loss",],
    ("backward", 4): COSTS["backward", 3],
    ("backward", 3): (
        2 * 5 * 4 * 2 + 4 * 2 + 2 * 4 * 2 * 5,
        (4 * 5 + 4 * 2 + 5 * 2) + (4 * 2 + 2) + (4 * 2 + 5 * 2 + 4 * 5),
    ),
    ("backward", 2): (0, 0),
    ("backward", 1): (0, 4 * 5 + 4 * 5 + 4 * 5),
    ("backward", 0): (2 * 3 * 4 * 5 + 4 * 5, (4 * 3 + 4 * 5 + 3 * 5) + (4 * 5 + 5)),
    ("update",): (2 * (3 * 5 + 5 + 5 * 2 + 2), 3 * (3 * 5 + 5 + 5 * 2 + 2)),
}


def costs(profile: layers.Profile) -> dict[tuple, tuple[int, float]]:
    return dict(
        zip(
            passes(profile),
            [(row.operations, row.bytes / 8) for row in profile.rows],
            strict=True,
        )
    )


@pytest.mark.parametrize("own", [False, True], ids=["compiled", "layer by layer"])
def test_operations_and_bytes_by_hand(own: bool):
    stack = [layers.Dense(3, 5), layers.ReLU(), layers.Dense(5, 2), layers.Softmax()]
    if own:
        stack.insert(2, Same())
    x, y = np.ones((11, 3)), np.arange(11) % 2
    model = make(*stack, dtype="float64")
    expected = COSTS_BY_LAYERS if own else COSTS
    assert costs(quick(model, x, y, 4)) == expected
    rows = costs(quick(model, x, np.eye(2)[y], 4))  # of targets: two numbers each
    assert rows["loss",] == (0, expected["loss",][1] + 4)
    assert rows["gather",] == (0, expected["gather",][1] + 8)
    apart = {("loss",): None, ("gather",): None}
    assert rows | apart == expected | apart


def test_a_number_of_float32_has_four_bytes():
    profile = quick(make(), batch_size=10)
    assert profile.rows[0].bytes == 4 * 2 * 10 * 64 + 8 * 4 * 10
    assert profile.rows[2].bytes == 4 * (10 * 16 + 16 * 10 + 10 + 10 * 10)


def own(base: type, *names: str) -> type:
    """A class of the user's own that does what its base does."""
    methods = {
        name: lambda self, *args, _name=name: getattr(base, _name)(self, *args) for name in names
    }
    for method in methods.values():
        method.__module__ = __name__
    return type(f"Own{base.__name__}", (base,), methods)


def test_a_loss_and_an_optimizer_of_ones_own_have_times_and_no_costs():
    model = make()
    model.loss = own(layers.SoftmaxCrossEntropy, "rows", "gradient")()
    profile = quick(model)
    assert profile.obstacle == "the loss is an OwnSoftmaxCrossEntropy of your own"
    rows = dict(zip(passes(profile), profile.rows, strict=True))
    assert (rows["loss",].operations, rows["loss",].bytes) == (0, 0)
    assert rows["loss",].seconds > 0
    assert rows["update",].operations > 0
    model = make()
    model.optimizer = own(layers.SGD, "update")(0.1)
    profile = quick(model)
    rows = dict(zip(passes(profile), profile.rows, strict=True))
    assert (rows["update",].operations, rows["update",].bytes) == (0, 0)
    assert rows["update",].seconds > 0
    assert rows["loss",].bytes > 0


class Doubled(layers.Layer):
    """A layer of one's own in the words of a run: two passes, neither of which follows on a sum."""

    def run_forward(self, run, x, training):
        return run.rowwise(SOFTMAX_FORWARD, run.rowwise(SOFTMAX_FORWARD, x))

    def run_backward(self, run, x, y, dy, needs_inputs):
        return run.rowwise(SOFTMAX_BACKWARD, y, dy)


def test_a_recorded_layer_of_ones_own_is_a_row_whatever_its_lines():
    stack = layers.Dense(64, 16), Doubled(), layers.Dense(16, 10)
    profile = quick(make(*stack))
    assert profile.obstacle is None
    rows = dict(zip(passes(profile), profile.rows, strict=True))
    assert rows["forward", 1].bytes == 4 * 4 * 32 * 16
    assert rows["backward", 1].bytes == 4 * 3 * 32 * 16
    by_layers = quick(make(*copy.deepcopy(stack[:1]), Same(), *copy.deepcopy(stack[1:])))
    rows = dict(zip(passes(by_layers), by_layers.rows, strict=True))
    assert rows["forward", 2].bytes == 4 * 4 * 32 * 16
    assert rows["backward", 2].bytes == 4 * 3 * 32 * 16


class Shifted(layers.Layer):
    """A layer that a program has no words for, though it only overrides `run_forward`."""

    def run_forward(self, run, x, training):
        return np.maximum(x, 0) + np.float32(1)

    def run_backward(self, run, x, y, dy, needs_inputs):
        return dy


def test_a_layer_that_cannot_be_recorded_has_no_costs():
    model = make(layers.Dense(64, 16), Same(), Shifted(), layers.Dense(16, 10))
    rows = {(row.part, *row.layers): row for row in quick(model).rows}
    assert (rows["forward", 2].operations, rows["forward", 2].bytes) == (0, 0)
    assert (rows["backward", 2].operations, rows["backward", 2].bytes) == (0, 0)
    assert rows["forward", 3].operations == 32 * 10 * (2 * 16 + 1)


@pytest.mark.parametrize("by_layers", [False, True], ids=["compiled", "layer by layer"])
def test_states_are_read_and_written_and_only_what_is_measured(by_layers: bool):
    stack = [layers.Dense(3, 5), *([Same()] if by_layers else []), layers.Dense(5, 2)]
    loss, optimizer = layers.MeanSquaredError(), layers.Adam()
    model = layers.Sequential(stack, loss, optimizer, seed=0, dtype="float64")
    rows = costs(quick(model, np.ones((11, 3)), np.ones((11, 2)), 4))
    assert rows["loss",] == (0, 4 * 2 + 4 * 2 + 4 * 2 + 4)  # scores, targets, gradient, losses
    if by_layers:
        assert rows["update",] == (2 * (3 * 5 + 5 + 5 * 2 + 2), 7 * (3 * 5 + 5 + 5 * 2 + 2))
    else:
        operations, numbers = COSTS["update", 0]
        assert rows["update", 0] == (operations, numbers + 4 * (3 * 5 + 5))


@pytest.mark.parametrize("batch_size", [250, 10_000])
def test_a_batch_is_all_rows_at_most(batch_size: int):
    profile = quick(make(), batch_size=batch_size)
    assert profile.batch_size == 250
    assert profile.rows[0].bytes == 4 * 2 * 250 * 64 + 8 * 4 * 250


# --- times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_row_has_its_own_time(dtype: str):
    """One layer has nearly all of the work, so its passes must have nearly all of the time."""
    model = make(layers.Dense(64, 8), layers.Dense(8, 800), layers.Dense(800, 400), dtype=dtype)
    profile = quick(model, repeats=3)
    rows = dict(zip(passes(profile), profile.rows, strict=True))
    large = [rows[part, 2] for part in ("forward", "backward", "update")]
    small = [row for row in profile.rows if row.operations and row not in large]
    for row in large:
        assert row.seconds > 5 * max(other.seconds for other in small)
        # A pass that were cut short would beat the machine. One may be slow on a busy machine.
        assert row.operations / row.seconds < 1.3 * profile.limit
    assert 0.5 < sum(row.seconds for row in profile.rows) / profile.seconds < 1.5


def test_each_watched_row_has_its_own_time():
    profile = quick(make(layers.Dense(64, 8), Busy(), layers.Dense(8, 10)), repeats=3)
    busy = next(row for row in profile.rows if (row.part, *row.layers) == ("forward", 1))
    assert busy.seconds > 2 * sum(row.seconds for row in profile.rows if row is not busy)
    assert busy.seconds < profile.seconds < 2 * busy.seconds


# --- what it leaves alone -------------------------------------------------------------------------


@pytest.mark.parametrize("own", [False, True], ids=["compiled", "layer by layer"])
def test_the_model_stays_as_it_is(own: bool):
    stack = [layers.Dense(64, 16), layers.ReLU(), layers.Dense(16, 10)]
    if own:
        stack.insert(1, Same())
    model = make(*stack)
    model.fit(X, Y)
    model.loss.forward(model.forward(X[:32]), Y[:32])
    model.backward(model.loss.backward())
    expected = copy.deepcopy(model)
    dense = model.layers[0]
    kept = [layer.output for layer in model.layers] + [dense.dweights, dense.dbiases]
    bits = [array.tobytes() for array in (*model.parameters().values(), *kept)]

    quick(model)

    again = [layer.output for layer in model.layers] + [dense.dweights, dense.dbiases]
    assert [array.tobytes() for array in (*model.parameters().values(), *again)] == bits
    assert model.history == expected.history
    assert model.optimizer.learning_rate == 0.1
    # And it goes on as if nothing had been.
    model.fit(X, Y)
    expected.fit(X, Y)
    assert model.fingerprint() == expected.fingerprint()
    assert model.history == expected.history


def test_adam_and_dropout_go_on_as_if_nothing_had_been():
    stack = layers.Dense(64, 16), layers.GELU(), layers.Dropout(0.5), layers.Dense(16, 10)
    model = layers.Sequential(stack, optimizer=layers.Adam(), seed=0)
    model.fit(X, Y)
    expected = copy.deepcopy(model)
    profile = quick(model)
    assert profile.obstacle is None
    model.fit(X, Y)
    expected.fit(X, Y)
    assert model.fingerprint() == expected.fingerprint()
    assert model.optimizer.learning_rate == expected.optimizer.learning_rate > 0


def step_of_ones_own(w, g, rate):
    return w - rate * g


def test_an_update_over_and_over_does_not_ruin_what_comes_after_it():
    """An optimizer without a learning rate: one gradient so often leads far from any minimum."""
    x, y = X[:32], np.random.default_rng(0).normal(size=(32, 10)) * 10
    optimizer = layers.ElementwiseOptimizer(step_of_ones_own, rate=0.01)
    stack = [layers.Dense(64, 16), layers.Dense(16, 10)]
    model = layers.Sequential(stack, layers.MeanSquaredError(), optimizer, seed=0)
    before = model.fingerprint()
    for row in quick(model, x, y, batch_size=8, repeats=3).rows:
        assert row.seconds > 0
    assert model.fingerprint() == before


def test_one_thread_and_then_as_before(monkeypatch):
    seen = []
    monkeypatch.setattr(
        Same, "forward", lambda self, x, training: seen.append(threads.limit()) or x
    )
    before = threads.limit()
    kernels.set_num_threads(2)
    try:
        quick(make(layers.Dense(64, 10), Same()))
        assert set(seen) == {1}
        assert threads.limit() == 2
    finally:
        kernels.set_num_threads(before)


# --- bad input ------------------------------------------------------------------------------------


BAD = {
    "model": ({"model": "model.npz"}, TypeError, r"model is 'model\.npz', expected a layers\.Seq"),
    "x, width": ({"x": X[:, 1:]}, ValueError, r"x has shape \(250, 63\), expected \(batch, 64\)"),
    "x, empty": ({"x": X[:0], "y": Y[:0]}, ValueError, r"x has shape \(0, 64\), expected"),
    "x, dtype": ({"x": X.astype("M8[s]")}, TypeError, "x has dtype datetime64"),
    "y, range": ({"y": np.full(250, 10)}, ValueError, r"y\[0\] is 10, expected 0 to 9"),
    "y, length": ({"y": Y[1:]}, ValueError, r"y has shape \(249,\), expected \(250,\)"),
    "y, sum": ({"y": np.ones((250, 10))}, ValueError, r"row 0 of y is "),
    "batch_size": ({"batch_size": 0}, ValueError, "batch_size is 0, expected"),
    "batch_size, type": ({"batch_size": 32.0}, TypeError, r"batch_size is 32\.0, expected"),
    "repeats": ({"repeats": 0}, ValueError, "repeats is 0, expected"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(name: str, capsys):
    changed, kind, message = BAD[name]
    arguments = {"model": make(), "x": X, "y": Y} | changed
    with pytest.raises(kind, match=f"^profile: {message}"):
        layers.profile(**arguments)
    assert capsys.readouterr().out == ""


def test_a_layer_with_a_method_of_its_own_is_refused():
    """A copy of the model would call it on the model's own layer."""
    model = make()
    model.layers[1].forward = model.layers[1].forward
    with pytest.raises(ValueError, match=r"^profile: layer 1 of model, ReLU\(\), has a method of"):
        quick(model)
    assert model.layers[1].output is None


def test_a_loss_that_is_not_finite_is_an_error():
    x = X.copy()
    x[70] = np.nan
    with pytest.raises(layers.NonFiniteLoss, match="the loss is nan"):
        quick(make(), x)


# --- the table ------------------------------------------------------------------------------------

TABLE = """\
pass                                  microseconds  of step  GFLOP/s  of limit     kB
gather   rows of x                            1.00     2.5%        -         -    2.0
forward  0 Dense(30, 1000), 1 ReLU()         31.00    77.5%     58.1       48%  123.5
outside                                       8.00    20.0%        -         -      -
step                                         40.00   100.0%     45.0       38%      -
batch of 8, float32, one thread, compiled
limit 120.0 GFLOP/s: multiply-adds with everything in registers"""


def test_the_table_says_it_all():
    rows = (
        Row("gather", (), "rows of x", 0, 1984, 1e-6),
        Row("forward", (0, 1), "0 Dense(30, 1000), 1 ReLU()", 1_800_000, 123_456, 31e-6),
    )
    assert str(layers.Profile(rows, 40e-6, 120e9, 8, "float32", None)) == TABLE
    by_layers = layers.Profile(rows, 40e-6, 120e9, 8, "float32", "layer 1 is a Same of your own")
    assert str(by_layers) == TABLE.replace(
        "compiled", "layer by layer: layer 1 is a Same of your own"
    )


def test_the_table_is_printed_where_it_is_asked_for(capsys, monkeypatch):
    model = make()
    shown = quick(model, show=True)
    assert capsys.readouterr() == (f"{shown}\n", "")
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
        sys.stdout.close()
        assert quick(model, show=True).batch_size == shown.batch_size
    assert len(re.findall(r"^(gather|forward|loss|backward|update) ", str(shown), re.M)) == 7
    quick(model)
    assert capsys.readouterr() == ("", "")


def test_on_numpy_it_says_so():
    with layers.backend("numpy"):
        profile = quick(make())
    assert profile.obstacle == "the backend is NumPy"
    assert passes(profile)[-1] == ("update",)
