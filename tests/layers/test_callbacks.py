"""The callbacks of the package, rows set apart for validation, and a model that starts anew."""

import copy
import csv
import itertools
import pickle

import numpy as np
import pytest

import layers
from layers import datasets, schedules
from layers.training.held_out import held_out_rows

pytestmark = pytest.mark.compiled

X, Y = datasets.load_digits()
X, Y = X[:600], Y[:600]
VALIDATION = X[500:], Y[500:]
X.flags.writeable = Y.flags.writeable = False


class OwnReLU(layers.ReLU):
    """It makes a model run layer by layer."""

    def forward(self, x, training=False):
        return super().forward(x, training)


both_paths = pytest.mark.parametrize("relu", [layers.ReLU, OwnReLU], ids=["compiled", "by layers"])


def make(relu=layers.ReLU, seed=0, rate=0.1, **arguments) -> layers.Sequential:
    stack = [layers.Dense(64, 16), relu(), layers.Dense(16, 10)]
    return layers.Sequential(stack, optimizer=layers.SGD(rate), seed=seed, **arguments)


class Script(layers.Callback):
    """Puts prepared numbers in the place of a metric, and keeps each epoch's fingerprint."""

    def __init__(self, numbers, monitor="val_loss"):
        self.numbers, self.name, self.prints, self.told = iter(numbers), monitor, [], []

    def begin(self, model):
        self.told.append("begin")

    def __call__(self, progress):
        progress.metrics[self.name] = next(self.numbers)
        self.prints.append(progress.model.fingerprint())

    def end(self, model):
        self.told.append("end")


# --- progress -------------------------------------------------------------------------------------


@both_paths
def test_progress_has_the_model_the_rate_and_the_time(relu):
    model, seen = make(relu), []

    def note(progress):
        seen.append((progress.learning_rate, progress.seconds))
        assert progress.model is model
        model.optimizer.learning_rate *= 0.5

    model.fit(X, Y, 3, callbacks=note)
    assert [rate for rate, _ in seen] == [0.1, 0.05, 0.025]
    times = [0.0, *(seconds for _, seconds in seen)]
    assert all(a < b for a, b in itertools.pairwise(times))


def test_progress_of_an_optimizer_without_a_rate():
    class Still(layers.Optimizer):
        def update(self, parameters, gradients, states, step):
            pass

    model, seen = make(), []
    model.optimizer = Still()
    model.fit(X, Y, callbacks=seen.append)
    assert seen[0].learning_rate is None
    with pytest.raises(TypeError, match=r"^ReduceOnPlateau: the optimizer is Still\(\), expect"):
        model.fit(X, Y, callbacks=layers.ReduceOnPlateau(monitor="loss"))


@both_paths
def test_a_schedule_goes_on_under_a_plateau(relu):
    """Multiplied by all factors so far, and no smaller than ``lowest`` when it is reduced."""
    model, seen = make(relu), []
    model.optimizer = layers.SGD(schedules.InverseTime(1e-6, 0.001))  # nothing gets better by 1
    plateau = layers.ReduceOnPlateau(0.5, 1, "loss", min_delta=1.0, lowest=2e-7)
    model.fit(X, Y, 4, callbacks=[lambda progress: seen.append(progress.learning_rate), plateau])
    plain = [schedules.InverseTime(1e-6, 0.001)(model._step * (i + 1) // 4) for i in range(4)]
    assert seen == pytest.approx([plain[0], plain[1], plain[2] / 2, plain[3] / 4])
    assert model.optimizer.learning_rate(model._step) == pytest.approx(2e-7)
    assert isinstance(model.optimizer.learning_rate, schedules.Scaled)
    assert isinstance(model.optimizer.learning_rate.schedule, schedules.InverseTime)


@both_paths
def test_a_callback_has_an_interval_of_its_own(relu):
    seen = []

    class Every(layers.Callback):
        def __init__(self, every):
            self.every = every

        def __call__(self, progress):
            if not progress.ended:
                seen.append((self.every, progress.batch))

    model = make(relu)
    model.fit(X, Y, callbacks=[Every(4), Every(6), Every(None)], callback_batches=9)
    expected = [(4, 4), (6, 6), (4, 8), (None, 9), (4, 12), (6, 12), (4, 16), (6, 18), (None, 18)]
    assert seen == expected
    plain = make(relu)
    plain.fit(X, Y)
    assert plain.fingerprint() == model.fingerprint()


# --- early stopping -------------------------------------------------------------------------------


@both_paths
def test_early_stopping_gives_the_best_back(relu):
    model, script = make(relu), Script([3, 2, np.nan, 2, 1.9, 5, 5, 5, 5])
    stopping = layers.EarlyStopping(patience=3)
    history = model.fit(X, Y, 9, validation_data=VALIDATION, callbacks=[script, stopping])
    assert history.epochs == 8
    assert (stopping.best_epoch, stopping.best) == (5, 1.9)
    assert model.fingerprint() == script.prints[4]
    model.fit(X, Y)  # and training goes on from there


def test_early_stopping_by_an_accuracy_and_a_least_gain():
    model, script = make(), Script([0.5, 0.55, 0.59, 0.8], "val_accuracy")
    stopping = layers.EarlyStopping("val_accuracy", patience=2, min_delta=0.1)
    model.fit(X, Y, 9, validation_data=VALIDATION, callbacks=[script, stopping])
    assert (stopping.best_epoch, len(script.prints)) == (1, 3)
    assert model.fingerprint() == script.prints[0]


@both_paths
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_the_best_comes_back_after_an_error_too(relu, error):
    model, script = make(relu), Script([3, 1, 2, 4])

    def fail(progress):
        if progress.epoch == 4:
            raise error

    callbacks = [script, layers.EarlyStopping(), fail]
    with pytest.raises(error):
        model.fit(X, Y, 9, validation_data=VALIDATION, callbacks=callbacks)
    assert script.told == ["begin", "end"]
    assert model.fingerprint() == script.prints[1]


def test_the_best_comes_back_after_a_loss_that_is_not_finite():
    model, prints = make(), []

    def burst(progress):
        prints.append(model.fingerprint())
        model.optimizer.learning_rate = 1e30

    with pytest.raises(layers.NonFiniteLoss):
        model.fit(X, Y, 9, validation_data=VALIDATION, callbacks=burst, patience=2)
    assert model.fingerprint() == prints[0]


def test_nothing_comes_back_where_no_epoch_has_ended():
    model = make()

    def fail(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, callbacks=fail, callback_batches=5, patience=1, validation_fraction=0.2)
    other = make()
    with pytest.raises(KeyboardInterrupt):
        other.fit(X, Y, callbacks=fail, callback_batches=5, validation_fraction=0.2)
    assert model.fingerprint() == other.fingerprint() != make().fingerprint()


def test_patience_in_short():
    short, long = make(rate=0.5), make(rate=0.5)
    history = short.fit(X, Y, 200, validation_fraction=0.2, patience=2)
    long.fit(X, Y, 200, validation_fraction=0.2, callbacks=layers.EarlyStopping(patience=2))
    assert short.fingerprint() == long.fingerprint()
    assert history.epochs == history.best()["epoch"] + 2 < 200
    rows = held_out_rows("", short._key, Y, 0.2, by_class=True)
    assert short.evaluate(X[rows], Y[rows])["loss"] == min(history["val_loss"])


# --- the others -----------------------------------------------------------------------------------


def test_checkpoints(tmp_path):
    best, each = tmp_path / "best.npz", tmp_path / "each.npz"
    script = Script([3, 1, 2, 4])
    model = make()
    callbacks = [script, layers.Checkpoint(best), layers.Checkpoint(each, best=False)]
    model.fit(X, Y, 4, validation_data=VALIDATION, callbacks=callbacks)
    assert layers.load(best).fingerprint() == script.prints[1]
    assert layers.load(each).fingerprint() == script.prints[3] == model.fingerprint()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.npz", "each.npz"]
    going_on = layers.load(each)
    for one in (model, going_on):
        one.fit(X, Y)
    assert going_on.fingerprint() == model.fingerprint()


def test_a_checkpoint_that_cannot_be_written_is_known_before_training(tmp_path):
    model = make()
    with pytest.raises(FileNotFoundError, match=r"^Checkpoint: .*none is no folder"):
        model.fit(X, Y, callbacks=layers.Checkpoint(tmp_path / "none" / "a.npz", "loss"))
    assert model.fingerprint() == make().fingerprint()
    own = make(rate=lambda step: 0.1)
    with pytest.raises(TypeError, match=r"^Sequential.save: .*a function made by def"):
        own.fit(X, Y, callbacks=layers.Checkpoint(tmp_path / "a.npz", "loss"))
    assert own.fingerprint() == make().fingerprint()
    assert list(tmp_path.iterdir()) == []


def test_the_rate_is_reduced_on_a_plateau():
    model, rates = make(rate=0.4), []
    plateau = layers.ReduceOnPlateau(0.5, 2, "loss", lowest=0.15)
    script = Script([3, 2, 2, 2, 2, 2, 2, 2], "loss")
    model.fit(X, Y, 8, callbacks=[script, plateau, lambda p: rates.append(p.learning_rate)])
    # As the callbacks of an epoch found it.
    assert rates == [0.4, 0.4, 0.4, 0.4, 0.2, 0.2, 0.15, 0.15]


def test_a_log(tmp_path):
    path = tmp_path / "log.csv"
    model, log = make(), layers.CSVLog(path)
    history = model.fit(X, Y, 3, validation_fraction=0.1, callbacks=log)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "seconds", "learning_rate", *history]
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    for name in history:
        assert [float(row[name]) for row in rows] == history[name]
    assert {row["learning_rate"] for row in rows} == {"0.1"}

    def fail(progress):
        if progress.epoch == 2:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        model.fit(X, Y, 3, callbacks=[log, fail])
    assert len(path.read_text().splitlines()) == 3  # the names, and two epochs
    pickle.loads(pickle.dumps(log))


@both_paths
def test_a_moving_average(relu):
    model, seen = make(relu), []

    def note(progress):
        if not progress.ended:
            seen.append(model._buffers.parameters.copy())

    average = layers.MovingAverage(0.9, every=4)
    model.fit(X, Y, callbacks=[note, average], callback_batches=1)
    other = make(relu)
    other.fit(X, Y)
    looked_at = [*range(4, 19, 4), 19]
    total = weight = 0.0
    for before, batch in itertools.pairwise([0, *looked_at]):
        stays = 0.9 ** (batch - before)
        total = stays * total + (1 - stays) * seen[batch - 1].astype("f8")
        weight = stays * weight + 1 - stays
    np.testing.assert_allclose(model._buffers.parameters, total / weight, rtol=1e-7, atol=1e-12)
    assert (seen[-1] == other._buffers.parameters).all()  # training went by the parameters


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: layers.EarlyStopping(3), "EarlyStopping: monitor is 3, expected the name of a"),
        (lambda: layers.EarlyStopping(patience=0), "EarlyStopping: patience is 0, expected an int"),
        (lambda: layers.EarlyStopping(patience=True), "EarlyStopping: patience is True, expected"),
        (
            lambda: layers.EarlyStopping(min_delta=-1),
            "EarlyStopping: min_delta is -1, expected a f",
        ),
        (
            lambda: layers.EarlyStopping(min_delta=np.nan),
            "EarlyStopping: min_delta is nan, expecte",
        ),
        (lambda: layers.ReduceOnPlateau(1), "ReduceOnPlateau: factor is 1, expected a number abov"),
        (lambda: layers.ReduceOnPlateau("half"), "ReduceOnPlateau: factor is 'half', expected a f"),
        (lambda: layers.Checkpoint(3), "Checkpoint: path is 3, expected a str or"),
        (lambda: layers.Checkpoint("a", best="yes"), "Checkpoint: best is 'yes', expected True or"),
        (lambda: layers.CSVLog(None), "CSVLog: path is None, expected a str or a path"),
        (lambda: layers.CSVLog(""), "CSVLog: path is '', expected the name of a file"),
        (lambda: layers.MovingAverage(1), "MovingAverage: decay is 1, expected a number above 0"),
        (lambda: layers.MovingAverage(every=0), "MovingAverage: every is 0, expected an integer"),
    ],
)
def test_bad_numbers_of_callbacks(make_it, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        make_it()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patience": 3}, "EarlyStopping looks at 'val_loss', expected validation_data or"),
        ({"patience": 0, "validation_fraction": 0.1}, "patience is 0, expected an integer of at"),
        ({"callbacks": layers.EarlyStopping("f1")}, r"EarlyStopping looks at 'f1', expected one"),
        ({"callbacks": [layers.EarlyStopping]}, r"callbacks is .*, expected a function or a list"),
        ({"validation_fraction": 1}, "validation_fraction is 1, expected a number from 0 to below"),
        ({"validation_fraction": -0.1}, "validation_fraction is -0.1, expected a finite number"),
        ({"validation_fraction": True}, "validation_fraction is True, expected a finite number"),
        ({"validation_fraction": 1e-9}, "validation_fraction 1e-09 of 600 rows leaves 600 to tr"),
        ({"validation_fraction": 0.1, "validation_data": VALIDATION}, "validation_data and valid"),
        ({"validation_data": 3}, r"validation_data is int, expected a pair \(x, y\), or an iter"),
        ({"validation_data": X}, r"validation_data is .*, expected a pair \(x, y\), or an"),
        ({"validation_data": iter([])}, "validation_data ended after 0 batches, expected at least"),
        ({"validation_data": [VALIDATION, X[:0]]}, r"validation_data"),
        ({"validation_data": [(X, Y), (X, np.eye(10)[Y])]}, "y in batch 2 of validation_data has"),
    ],
)  # fmt: skip
def test_bad_arguments_of_fit(arguments, message):
    model = make()
    with pytest.raises((TypeError, ValueError), match=f"^Sequential.fit: {message}"):
        model.fit(X, Y, **arguments)
    assert model.fingerprint() == make().fingerprint()
    assert model.history.epochs == 0


def test_no_fraction_of_an_iterable():
    with pytest.raises(ValueError, match=r"validation_fraction is 0.1 and x an iterable of batch"):
        make().fit([(X, Y)], validation_fraction=0.1)


# --- rows set apart, batches as validation data ---------------------------------------------------


def test_a_fraction_takes_as_much_of_each_class():
    labels = np.repeat([0, 1, 2, 3], [500, 300, 30, 5])
    labels = labels[np.random.default_rng(0).permutation(len(labels))]
    rows = held_out_rows("", 1, labels, 0.2, by_class=True)
    assert np.bincount(labels[rows]).tolist() == [100, 60, 6, 1]
    assert (np.diff(rows) > 0).all()
    assert (rows == held_out_rows("", 1, labels, 0.2, by_class=True)).all()
    assert (rows != held_out_rows("", 2, labels, 0.2, by_class=True)).any()
    one_hot = held_out_rows("", 1, np.eye(4)[labels], 0.2, by_class=True)
    assert (rows == one_hot).all()
    column = held_out_rows("", 1, (labels == 2)[:, None].astype("f4"), 0.2, by_class=True)
    assert (labels[column] == 2).sum() == 6
    numbers = held_out_rows("", 1, labels[:, None].astype("f4"), 0.2, by_class=False)
    assert len(numbers) == len(np.unique(numbers)) == 167
    for n in range(2, 40):  # the number of rows is that of the fraction, whatever the classes
        assert len(held_out_rows("", n, np.arange(n) % 5, 0.5, by_class=True)) == (n + 1) // 2


@both_paths
def test_a_fraction_is_the_same_as_the_rows_by_hand(relu):
    model, by_hand = make(relu), make(relu)
    history = model.fit(X, Y, 2, validation_fraction=0.25)
    rows = held_out_rows("", model._key, Y, 0.25, by_class=True)
    others = np.delete(np.arange(len(X)), rows)
    by_hand.fit(X[others], Y[others], 2, validation_data=(X[rows], Y[rows]))
    assert model.fingerprint() == by_hand.fingerprint()
    assert history == by_hand.history
    with layers.backend("numpy"):
        again = make(relu)
        again.fit(X, Y, 1, validation_fraction=0.25)
    assert (again.history["val_accuracy"][0]) == pytest.approx(history["val_accuracy"][0], abs=0.05)


@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_a_fraction_of_a_mapped_file(kind, tmp_path):
    x = (X * 16).astype(kind)
    x.tofile(tmp_path / "x.bin")
    mapped = np.memmap(tmp_path / "x.bin", kind, "r", shape=x.shape)
    one, other = make(rate=0.01), make(rate=0.01)
    one.fit(x, Y, 2, validation_fraction=0.2)
    other.fit(mapped, Y, 2, validation_fraction=0.2)
    assert one.fingerprint() == other.fingerprint()
    assert one.history == other.history


def test_a_regression_has_a_fraction_too():
    stack = [layers.Dense(64, 16), layers.ReLU(), layers.Dense(16, 1)]
    model = layers.Sequential(stack, loss=layers.MeanSquaredError(), seed=0)
    history = model.fit(X, Y.astype("f4"), 30, validation_fraction=0.2, patience=5)
    assert min(history["val_loss"]) < history["val_loss"][0]


def test_validation_and_evaluation_take_batches():
    x, y = VALIDATION
    halves = [(x[:40], y[:40]), (x[40:], y[40:])]
    pair, batches, once = make(), make(), make()
    pair.fit(X, Y, 2, validation_data=VALIDATION)
    batches.fit(X, Y, 2, validation_data=halves)
    once.fit(X, Y, 2, validation_data=iter(halves))
    assert pair.history == batches.history == once.history
    assert pair.evaluate(x, y) == pair.evaluate(halves) == pair.evaluate(iter(halves))
    make().fit(X, Y, validation_data=[x.tolist(), y.tolist()])  # a list is a pair, too
    make().fit(X, Y, validation_data=[x[:2].tolist(), y[:2].tolist()])
    with pytest.raises(ValueError, match=r"^Sequential.evaluate: y in batch 2 of x has shape"):
        pair.evaluate([(x, y), (x, y[:3])])
    with pytest.raises(TypeError, match=r"^Sequential.evaluate: y is None, expected class indices"):
        pair.evaluate(x)


# --- partial_fit, reset, history ------------------------------------------------------------------


def test_partial_fit_is_one_more_epoch():
    one, other = make(), make()
    one.fit(X, Y, 3, batch_size=50)
    for _ in range(3):
        history = other.partial_fit(X, Y, batch_size=50)
    assert history.epochs == 1
    assert one.fingerprint() == other.fingerprint()
    assert one.history == other.history
    other.partial_fit([(X, Y)])


@both_paths
@pytest.mark.parametrize("optimizer", [layers.SGD, layers.Adam])
def test_reset_is_a_new_model(relu, optimizer):
    model, new = make(relu), make(relu)
    model.optimizer, new.optimizer = optimizer(0.01), optimizer(0.01)
    weights = model.layers[0].weights
    model.train_step(X[:8], Y[:8])
    model.fit(X, Y, 2)
    model.reset()
    assert model.fingerprint() == new.fingerprint()
    assert (weights == new.layers[0].weights).all()  # the same memory
    assert model.history.epochs == 0
    assert model.layers[0].dweights is None
    for one in (model, new):
        one.train_step(X[:8], Y[:8])
        one.fit(X, Y, 2)
    assert model.fingerprint() == new.fingerprint()
    assert model.history == new.history
    model.reset(7)
    other = make(relu, seed=7)
    assert model.fingerprint() == other.fingerprint()
    with pytest.raises(TypeError, match=r"^Sequential.reset: seed is 'x', expected an integer"):
        model.reset("x")
    assert model.fingerprint() == other.fingerprint()
    copy.deepcopy(model)


def test_reset_after_a_loss_that_is_not_finite():
    model = make()
    with pytest.raises(layers.NonFiniteLoss, match=r"x runs up to 1e\+30: scale it to about 1$"):
        model.fit(X * 1e30, Y)
    with pytest.raises(layers.NonFiniteLoss, match=r"runs up to .*e\+28: model.reset\(\) starts"):
        model.fit(X, Y)
    model.reset()
    model.fit(X, Y)
    plain = make()
    plain.fit(X, Y)
    assert model.fingerprint() == plain.fingerprint()


def test_targets_that_are_too_large_are_named():
    stack = [layers.Dense(64, 1)]
    model = layers.Sequential(stack, layers.MeanSquaredError(), layers.SGD(0.1), seed=0)
    with pytest.raises(layers.NonFiniteLoss, match=r"y runs up to 9e\+29: scale it to about 1$"):
        model.fit(X, 1e29 * Y.astype("f8"))


def test_the_best_epoch():
    history = layers.History()
    history.add(loss=3.0, val_loss=2.0, val_accuracy=0.5)
    history.add(loss=2.0, val_loss=np.nan, val_accuracy=0.9)
    history.add(loss=1.0, val_loss=2.0, val_accuracy=0.9)
    assert history.best() == {"epoch": 1, "loss": 3.0, "val_loss": 2.0, "val_accuracy": 0.5}
    assert history.best("val_accuracy")["epoch"] == 2
    assert history.best("loss")["epoch"] == 3
    with pytest.raises(ValueError, match=r"^History.best: monitor is 'f1', expected one of \['l"):
        history.best("f1")
    only = layers.History(loss=[np.nan])
    with pytest.raises(ValueError, match=r"^History.best: loss is NaN in each epoch"):
        only.best("loss")


def test_what_a_history_does_not_have():
    history = make().fit(X, Y, validation_data=VALIDATION)
    with pytest.raises(KeyError, match=r"no 'val_acc', expected one of \['loss', 'accuracy', "):
        history["val_acc"]
    assert "val_acc" not in history
    assert history.get("val_acc") is None


def test_a_log_that_cannot_be_written_says_which(tmp_path):
    model = make()
    before = model.fingerprint()
    with pytest.raises(FileNotFoundError, match=r"^CSVLog: .*x\.csv cannot be written: "):
        model.fit(X, Y, callbacks=layers.CSVLog(tmp_path / "nope" / "x.csv"))
    assert model.fingerprint() == before


@pytest.mark.parametrize(
    "name", ["x-{eppoch}.npz", "x-{epoch}-{val_loss:.2f}.npz", "{epoch:x}.npz"]
)
@pytest.mark.parametrize("best", [True, False])
def test_a_checkpoint_knows_its_placeholder(name, best):
    with pytest.raises(ValueError, match=r"^Checkpoint: path is .* stands for nothing, expected"):
        layers.Checkpoint(name, best=best)


@pytest.mark.parametrize(
    "call",
    [
        lambda: make().save("x.npz", optimizer_state="no"),
        lambda: make().to_torch(optimizer="no"),
        lambda: layers.compare(timed="no"),
        lambda: layers.profile(make(), X, Y, show="no"),
        lambda: layers.SGD(0.1, momentum=0.9, nesterov="no"),
        lambda: layers.Checkpoint("x.npz", best="no"),
        lambda: layers.Dense(3, 2, bias="no"),
    ],
)
def test_flags_are_true_or_false(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError, match="is 'no', expected True or False"):
        call()
