"""Training that goes on from a file: the same bits as if it had never stopped."""

import csv
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import kernels
import layers
from layers.data.columns import NumberColumns
from layers.training import data_sources
from tests.conftest import SECONDS

ROOT = Path(__file__).parents[2]
FILES = Path(__file__).parent / "files"
RNG = np.random.default_rng(0)
X = RNG.integers(-8, 9, size=(40, 4)).astype(np.float32) / 4
Y = np.arange(40) % 3
EPOCHS = 6
COSINE = layers.schedules.Cosine(0.05, 12, 3)


def make(optimizer, **arguments) -> layers.Sequential:
    stack = [layers.Dense(4, 5), layers.ReLU(), layers.Dropout(0.25), layers.Dense(5, 3)]
    return layers.Sequential(stack, optimizer=optimizer, **({"seed": 7} | arguments))


# --- files of format 1, written before there was another ------------------------------------------


def test_a_file_of_format_1():
    model = layers.load(FILES / "format1.npz")
    expected = "1baae07d7c6e15332080cd73150c125c4c947f65f1c30238b44af0685e61db31"
    assert model.fingerprint() == expected
    assert model.columns == NumberColumns(("a", "b", "c", "d", "class"), (0, 1, 2, 3), 4)
    assert model.history.epochs == 3
    assert np.isnan(model.history["val_loss"][:2]).all()
    assert model.history["val_loss"][2] > 0


def test_a_file_of_format_1_goes_on_to_the_bits_of_its_time():
    model = layers.load(FILES / "format1_states.npz")
    expected = "2414310df2e37e830c12b8be6d079438b8c3d17ebaa750f32b275b7a504627c6"
    assert model.fingerprint() == expected
    model.fit(X, Y, 2, batch_size=16)
    expected = "91842389db1b923469b4995deb6073731d071a27e3e98b0184dd3293c23b981f"
    assert model.fingerprint() == expected


# --- a plain save ---------------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": lambda: layers.SGD(0.1),
    "momentum": lambda: layers.SGD(COSINE, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adagrad": lambda: layers.Adagrad(0.05),
    "RMSprop": lambda: layers.RMSprop(layers.schedules.Step(0.01, 5)),
    "Adam": lambda: layers.Adam(layers.schedules.OneCycle(0.05, 18)),
    "AdamW": lambda: layers.AdamW(layers.schedules.InverseTime(0.05, 0.1)),
    "Lion": lambda: layers.Lion(layers.schedules.Exponential(0.01, 0.9)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_saved_model_goes_on_as_if_it_had_never_stopped(tmp_path, name):
    path = tmp_path / "model.npz"
    whole, model = make(OPTIMIZERS[name]()), make(OPTIMIZERS[name]())
    whole.fit(X, Y, EPOCHS, batch_size=16)
    threads = kernels.get_num_threads()
    try:
        for count in (1, threads, 1):
            model.fit(X, Y, 2, batch_size=16)
            model.save(path)
            model = layers.load(path)
            kernels.set_num_threads(count)
    finally:
        kernels.set_num_threads(threads)
    assert model.history.epochs == EPOCHS
    assert model.fingerprint() == whole.fingerprint()
    assert model.history == whole.history
    np.testing.assert_array_equal(model._buffers.states, whole._buffers.states)


def test_names_of_classes_are_saved(tmp_path):
    model = make(layers.SGD())
    model.classes = ["setosa", "versicolor", "virginica"]
    model.save(tmp_path / "model.npz")
    assert layers.load(tmp_path / "model.npz").classes == ("setosa", "versicolor", "virginica")
    for names in (["a", "b"], ["a", "b", "b"], "abc", [1, 2, 3]):
        with pytest.raises(ValueError, match=r"^Sequential: classes is .*, expected "):
            model.classes = names


# --- checkpoints ----------------------------------------------------------------------------------


def callbacks(folder, path="{epoch}.npz", **arguments):
    return [
        layers.Checkpoint(folder / path, best=False, **arguments),
        layers.EarlyStopping(patience=2),
        layers.ReduceOnPlateau(patience=1),
        layers.MovingAverage(0.9, every=2),
        layers.CSVLog(folder / "log.csv"),
    ]


def log(folder) -> list[list[str]]:
    with (folder / "log.csv").open(newline="") as file:
        return [[*line[:1], *line[2:]] for line in csv.reader(file)]


def train(model, folder, epochs=EPOCHS, **arguments):
    given = callbacks(folder, **arguments)
    model.fit(X, Y, epochs, 16, (X[:9], Y[:9]), callbacks=given)
    return given


@pytest.mark.parametrize("seed", [7, 11])  # patience is over before the end, and is not
def test_callbacks_go_on_from_a_checkpoint(tmp_path, seed):
    folder = tmp_path / "whole"
    folder.mkdir()
    whole = make(layers.Adam(0.1), seed=seed)
    stopping = train(whole, folder)[1]
    assert (whole.history.epochs < EPOCHS) == (seed == 7)
    for done in range(1, whole.history.epochs + 1):
        again = tmp_path / str(done)
        again.mkdir()
        (again / "log.csv").write_bytes((folder / "log.csv").read_bytes())  # later lines too
        model = layers.load(folder / f"{done}.npz")
        assert model.history.epochs == done
        given = train(model, again, EPOCHS - done)
        assert model.fingerprint() == whole.fingerprint(), done
        assert model.history == whole.history
        assert model.optimizer.learning_rate == whole.optimizer.learning_rate
        assert (given[1].best_epoch, given[1].best) == (stopping.best_epoch, stopping.best)
        assert log(again) == log(folder)


def test_a_second_call_does_not_go_on(tmp_path):
    model = make(layers.Adam(0.1))
    train(model, tmp_path, 2)
    model = layers.load(tmp_path / "2.npz")
    seen = []
    train(model, tmp_path, 1)
    model.fit(X, Y, callbacks=lambda progress: seen.append(progress.epoch))
    assert seen == [1]
    with pytest.raises(ValueError, match="epochs is 0, expected an integer"):
        model.fit(X, Y, epochs=0)


def test_progress_counts_on(tmp_path):
    model, seen = make(layers.Adam(0.1)), []
    train(model, tmp_path, 2)
    model = layers.load(tmp_path / "2.npz")
    for callback in callbacks(tmp_path):
        model._stopped.take(callback)

    def at(progress):
        seen.append((progress.epoch, progress.epochs))

    model.fit(X, Y, 2, 16, callbacks=at)
    assert seen == [(3, 4), (4, 4)]


def test_a_state_that_nobody_takes_up_is_named(tmp_path):
    train(make(layers.Adam(0.1)), tmp_path, 2)
    model = layers.load(tmp_path / "2.npz")
    with pytest.warns(UserWarning, match="state of EarlyStopping, ReduceOnPlateau, Mov"):
        model.fit(X, Y, 1, 16)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (layers.EarlyStopping("val_accuracy"), "EarlyStopping: monitor is 'val_accuracy', expect"),
        (layers.MovingAverage(0.8, every=2), r"MovingAverage: decay is 0.8, expected 0.9"),
    ],
)
def test_a_callback_of_another_kind_moves_nothing(tmp_path, changed, message):
    train(make(layers.Adam(0.1)), tmp_path, 3)
    model = layers.load(tmp_path / "3.npz")
    before = model.fingerprint()
    given = [changed if type(changed) is type(each) else each for each in callbacks(tmp_path)]
    for _ in range(2):  # and what the checkpoint held is still there
        with pytest.raises(ValueError, match=message):
            model.fit(X, Y, 2, 16, (X[:9], Y[:9]), callbacks=given)
        assert model.fingerprint() == before


def test_a_callback_of_your_own_goes_on(tmp_path):
    class Count(layers.Callback):
        def begin(self, model):
            self.epochs = np.zeros(1)

        def __call__(self, progress):
            self.epochs += progress.ended

        def state(self):
            return {"epochs": self.epochs, "nan": float("nan")}

        def restore(self, model, state):
            assert np.isnan(state["nan"])
            self.epochs = state["epochs"]

    path, count = tmp_path / "model.npz", Count()
    make(layers.SGD()).fit(X, Y, 2, callbacks=[layers.Checkpoint(path, best=False), count])
    again = Count()
    layers.load(path).fit(X, Y, 3, callbacks=[layers.Checkpoint(path, best=False), again])
    assert (count.epochs[0], again.epochs[0]) == (2, 5)


def test_every_so_many_epochs_and_the_last(tmp_path):
    model = make(layers.SGD())
    model.fit(X, Y, 5, callbacks=layers.Checkpoint(tmp_path / "{epoch}.npz", best=False, epochs=2))
    assert sorted(os.listdir(tmp_path)) == ["2.npz", "4.npz", "5.npz"]


def test_the_last_epoch_is_saved_when_another_callback_ends_training(tmp_path):
    checkpoint = layers.Checkpoint(tmp_path / "{epoch}.npz", best=False, epochs=4)
    model = make(layers.SGD())
    model.fit(X, Y, 9, callbacks=[checkpoint, lambda progress: progress.epoch == 6])
    assert sorted(os.listdir(tmp_path)) == ["4.npz", "6.npz"]
    assert layers.load(tmp_path / "6.npz").fingerprint() == model.fingerprint()


def test_nothing_is_saved_amid_an_epoch(tmp_path):
    def fail(progress):
        if progress.epoch == 2 and not progress.ended:
            raise RuntimeError

    checkpoint = layers.Checkpoint(tmp_path / "{epoch}.npz", best=False, epochs=4)
    with pytest.raises(RuntimeError):
        make(layers.SGD()).fit(X, Y, 9, 16, callbacks=[checkpoint, fail], callback_batches=1)
    assert os.listdir(tmp_path) == []


def test_every_so_many_minutes(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def pass_time(progress):
        now[0] += 25

    path = tmp_path / "{epoch:02d}.npz"
    checkpoint = layers.Checkpoint(path, best=False, epochs=100, minutes=1)
    make(layers.SGD()).fit(X, Y, 7, callbacks=[checkpoint, pass_time])
    assert sorted(os.listdir(tmp_path)) == ["03.npz", "06.npz", "07.npz"]


def test_the_last_few_are_kept_and_others_left_alone(tmp_path):
    (tmp_path / "run-1.npz").write_bytes(b"an older run's")
    (tmp_path / "run-x.npz").write_bytes(b"")

    def checkpoint():
        return layers.Checkpoint(tmp_path / "run-{epoch}.npz", best=False, keep=2)

    assert checkpoint().latest() == tmp_path / "run-1.npz"
    model = make(layers.SGD())
    model.fit(X, Y, 1)
    model.fit(X, Y, 4, callbacks=checkpoint())
    assert sorted(os.listdir(tmp_path)) == [f"run-{n}.npz" for n in (1, 4, 5, "x")]
    assert checkpoint().latest() == tmp_path / "run-5.npz"
    layers.load(checkpoint().latest()).fit(X, Y, 1, callbacks=checkpoint())
    assert sorted(os.listdir(tmp_path)) == [f"run-{n}.npz" for n in (1, 5, 6, "x")]


def test_the_best_few_are_kept(tmp_path):
    checkpoint = layers.Checkpoint(tmp_path / "{epoch}", "loss", keep=1)
    model = make(layers.Adam(0.1))
    history = model.fit(X, Y, 4, callbacks=checkpoint)
    assert os.listdir(tmp_path) == [str(history.best("loss")["epoch"])]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "a.npz", "keep": 2}, r"keep is 2 and path 'a\.npz', expected \{epoch\} in"),
        ({"path": "{epoch}/a.npz"}, r"expected \{epoch\} in the file's name"),
        ({"path": "a", "epochs": 2}, "epochs or minutes is given, expected best=False"),
        ({"path": "a", "minutes": 2}, "epochs or minutes is given, expected best=False"),
        ({"path": "a.onnx", "best": False}, "a file of that kind holds no training"),
        ({"path": "{epoch}", "keep": 0}, "keep is 0, expected an integer"),
        ({"path": "a", "epochs": 0, "best": False}, "epochs is 0, expected an integer"),
        ({"path": "a", "minutes": -1, "best": False}, "minutes is -1"),
    ],
)
def test_arguments_of_a_checkpoint(arguments, message):
    with pytest.raises(ValueError, match=rf"^Checkpoint: .*{message}"):
        layers.Checkpoint(**arguments)


# --- kill -9 --------------------------------------------------------------------------------------


def test_a_run_that_is_killed_again_and_again_ends_as_the_one_that_was_not(tmp_path):
    script = [sys.executable, "-m", "tests.killed", "--kills", "8", "--folder", str(tmp_path)]
    printed = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert printed.returncode == 0, printed.stdout + printed.stderr
    line = r"killed 8 times in \d+ epochs, (\d+) times after a new checkpoint: the same bits\n"
    found = re.fullmatch(line, printed.stdout)
    assert found
    assert int(found[1]) >= 4


# --- code of your own -----------------------------------------------------------------------------


class Scaled(layers.Layer):
    """Layer by layer, with a number of its own and one that it learns outside the parameters."""

    gives = "scores"

    def __init__(self, factor):
        self.factor, self.dtype = factor, "float32"

    def forward(self, x, training=False):
        if training:
            largest = self.statistics()["largest"]
            largest[...] = max(largest[0, 0], x.max())
        return x * self.factor

    def backward(self, dy):
        return dy * self.factor

    def config(self):
        return {"factor": self.factor}

    def statistic_shapes(self):
        return {"largest": (1, 1)}


class Halving(layers.schedules.Schedule):
    _names = ("rate",)

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, step):
        return self.rate / (1 + step)


class OwnLoss(layers.SoftmaxCrossEntropy):
    pass


def softsign(x):
    return x / (1.0 + abs(x))


def dsoftsign(x):
    return 1.0 / (1.0 + abs(x)) ** 2


def rate_of(step):
    return 0.1 / (1.0 + step)


def square(y, t):
    return (y - t) * (y - t)


def dsquare(y, t):
    return 2.0 * (y - t)


def step_of(w, g, v, rate, beta):
    v = beta * v + g
    return w - rate * v, v


def own_model() -> layers.Sequential:
    stack = [layers.Dense(4, 5), Scaled(0.5), layers.Dense(5, 3)]
    return layers.Sequential(stack, OwnLoss(), layers.SGD(Halving(0.5)), seed=0)


def formula_model() -> layers.Sequential:
    return layers.Sequential(
        [layers.Dense(4, 5), layers.Elementwise(softsign, dsoftsign), layers.Dense(5, 3)],
        layers.ElementwiseLoss(square, dsquare),
        layers.ElementwiseOptimizer(step_of, states=1, rate=0.1, beta=0.9),
        seed=0,
    )


def test_classes_of_your_own(tmp_path):
    path, custom = tmp_path / "model.npz", [Scaled, OwnLoss, Halving]
    model = own_model()
    model.fit(X, Y, 2)
    model.save(path)
    loaded = layers.load(path, custom=custom)
    largest = model.statistics()["1.largest"]
    assert loaded.statistics()["1.largest"] == largest > 0
    for each in (model, loaded):
        each.fit(X, Y, 1)
    assert loaded.fingerprint() == model.fingerprint()
    for left_out in custom:
        with pytest.raises(ValueError, match=rf"{left_out.__name__}'.* of your own.* in custom"):
            layers.load(path, custom=[each for each in custom if each is not left_out])


@pytest.mark.compiled
def test_functions_of_your_own(tmp_path):
    path, custom = tmp_path / "model.npz", [softsign, dsoftsign, square, dsquare, step_of]
    model, targets = formula_model(), X[:, :3]
    model.fit(X, targets, 2)
    model.save(path)
    loaded = layers.load(path, custom=custom)
    for each in (model, loaded):
        each.fit(X, targets, 1)
    assert loaded.fingerprint() == model.fingerprint()
    for left_out in custom:
        with pytest.raises(ValueError, match=rf"'{left_out.__name__}' is a function of your own"):
            layers.load(path, custom=[each for each in custom if each is not left_out])


def test_a_function_of_your_own_as_learning_rate(tmp_path):
    path, model = tmp_path / "model.npz", make(layers.SGD(rate_of))
    model.save(path)
    assert layers.load(path, custom=[rate_of]).optimizer.learning_rate is rate_of
    with pytest.raises(ValueError, match="'rate_of' is a function of your own"):
        layers.load(path)


def refused() -> list:
    class Bare(layers.ReLU):
        def __init__(self, slope=0.1):
            self.slope = slope

    class Wrong(layers.ReLU):
        def config(self):
            return {"slope": 0.1}

    def square(step):
        return 0.0

    replaced = make(layers.SGD())
    replaced.layers[1].forward = lambda x, training=False: x

    def around(layer):
        return layers.Sequential([layers.Dense(4, 3), layer], seed=0)

    twice = make(layers.SGD(square))
    twice._loss = layers.Quantile(0.5)
    twice._loss.config = lambda: {"q": OTHER_SQUARE}
    return [
        (around(Bare()), r"Bare: config\(\) gives the arguments \[\], expected .*\['slope'\]"),
        (around(Wrong()), r"Wrong: config\(\) gives the arguments \['slope'\], expected .*\[\]"),
        (replaced, "ReLU: the object has a method of its own"),
        (make(layers.SGD(lambda step: 0.1)), "expected a function made by def"),
        (twice, "two things of your own are called 'square'"),
    ]


OTHER_SQUARE = square


@pytest.mark.parametrize("case", range(5))
def test_what_no_file_can_name(tmp_path, case):
    model, message = refused()[case]
    with pytest.raises(TypeError, match=rf"^Sequential.save: .*{message}"):
        model.save(tmp_path / "model.npz")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("custom", "error", "message"),
    [
        ("Scaled", TypeError, "custom is 'Scaled', expected a list"),
        (None, TypeError, "custom is None, expected a list"),
        ([Scaled(1)], TypeError, "custom holds Scaled"),
        (
            [softsign, type("softsign", (layers.ReLU,), {})],
            ValueError,
            "custom has two things called 'softs",
        ),
    ],
)
def test_bad_custom(custom, error, message):
    with pytest.raises(error, match=rf"^layers.load: {message}"):
        layers.load(FILES / "format1.npz", custom=custom)


# --- what a training was begun with ---------------------------------------------------------------


@pytest.fixture
def stopped(tmp_path):
    """A checkpoint of two epochs of five, by NumPy: nothing is compiled."""
    path = tmp_path / "run.npz"
    with layers.backend("numpy"):
        make(layers.SGD(0.1)).fit(X, Y, 2, 16, callbacks=layers.Checkpoint(path, best=False))
        yield path


CHANGED = X.copy()
CHANGED[17, 2] += 1


@pytest.mark.parametrize(
    ("x", "y", "arguments", "message"),
    [
        (X, Y, {"batch_size": 8}, "batch_size is 8, expected 16, as in the checkpoint"),
        (X, Y, {"shuffle": False}, "shuffle is False, expected True"),
        (X[1:], Y[1:], {}, "rows is 39, expected 40"),
        (X, Y, {"validation_fraction": 0.25}, "rows is 30, expected 40"),
        (CHANGED, Y, {}, "x holds other numbers than in the checkpoint, expected the same rows"),
        (X[::-1], Y, {}, "x holds other numbers"),
        (X, Y[::-1], {}, "y holds other numbers"),
        (X, Y, {"sample_weight": 1 + Y}, "sample_weight holds other numbers"),
        (X, Y, {"class_weight": {1: 2}}, "sample_weight holds other numbers"),
        ([(X, Y)], None, {}, "steps_per_epoch|rows is None"),
    ],
)
def test_other_rows_or_batches_are_refused(stopped, x, y, arguments, message):
    model = layers.load(stopped)
    before = model.fingerprint()
    with pytest.raises(ValueError, match=rf"^Sequential.fit: .*({message}).*begins another"):
        model.fit(x, y, 3, **({"batch_size": 16} | arguments))
    assert model.fingerprint() == before
    model.fit(X, Y, 3, 16)  # as if nothing had been asked for
    whole = make(layers.SGD(0.1))
    whole.fit(X, Y, 5, 16)
    assert model.fingerprint() == whole.fingerprint()


def test_what_goes_on_all_the_same(stopped):
    for x, y, epochs in ((X.astype(float), Y.astype("u1"), 1), (np.asfortranarray(X), Y, 9)):
        layers.load(stopped).fit(x, y, epochs, 16)
    mapped = np.memmap(stopped.with_name("x"), np.float64, "w+", shape=X.shape)
    mapped[...] = X
    layers.load(stopped).fit(mapped, Y, 1, 16)
    layers.load(stopped).partial_fit(X[:7], Y[:7])  # other rows, on purpose
    saved = layers.load(stopped)
    saved.save(stopped)
    layers.load(stopped).fit(X[:9], Y[:9], 1)
    older = layers.load(FILES / "format1.npz")
    older.fit(X[:9], Y[:9], 1)


def test_of_many_rows_some_are_looked_at(monkeypatch):
    monkeypatch.setattr(data_sources, "_HASHED_BYTES", 64)
    found = data_sources._fingerprint(X, X.dtype)
    other = X.copy()
    other[1:10] = 0  # every tenth row is looked at
    assert data_sources._fingerprint(other, X.dtype) == found
    other[10] += 1
    assert data_sources._fingerprint(other, X.dtype) != found
