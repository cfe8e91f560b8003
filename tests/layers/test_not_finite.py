"""NaN and Inf in the data: which row holds them is said, before training where it can be."""

import numpy as np
import pytest

import layers

pytestmark = pytest.mark.compiled

X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
Y = (X[:, 0] > 0).astype("int64")
BAD = X.copy()
BAD[7, 2] = np.nan


def make() -> layers.Sequential:
    stack = [layers.Dense(4, 6), layers.ReLU(), layers.Dense(6, 2)]
    return layers.Sequential(stack, seed=0)


class Filled(layers.Layer):
    """A user's layer that knows what to do with gaps."""

    def forward(self, x, training=False):
        return np.nan_to_num(x)

    def backward(self, dy):
        return dy


@pytest.mark.parametrize(
    ("validation", "name"),
    [
        ((BAD, Y), r"validation_data\[0\]"),
        ((BAD.astype(">f8"), Y), r"validation_data\[0\]"),
        ([(X, Y), (BAD, Y)], "x in batch 2 of validation_data"),
    ],
)
def test_validation_data_are_refused_before_training(validation, name):
    model = make()
    before = model.fingerprint()
    message = f"^Sequential.fit: row 7 of {name} holds nan in column 2, expected finite numbers"
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, 10, validation_data=validation, patience=3)
    assert model.fingerprint() == before
    assert model.history.epochs == 0


def test_a_row_that_is_set_apart_is_named_by_its_place_in_x():
    x = X.copy()
    x[:, 3] = -np.inf
    with pytest.raises(ValueError, match=r"^Sequential.fit: row \d+ of x holds -inf in column 3"):
        make().fit(x, Y, validation_fraction=0.2)


def test_rows_that_a_layer_fills_are_taken():
    stack = [Filled(), layers.Dense(4, 6), layers.ReLU(), layers.Dense(6, 2)]
    model = layers.Sequential(stack, seed=0)
    history = model.fit(BAD, Y, validation_data=(BAD, Y))
    assert np.isfinite(history["val_loss"]).all()


@pytest.mark.parametrize("kind", ["arrays", "batches", "mapped"])
def test_a_row_of_training_data_is_named(kind, tmp_path):
    name = "x in batch 2" if kind == "batches" else "x"
    row = 7
    if kind == "batches":
        given = ([(X, Y), (BAD, Y)],)
    elif kind == "mapped":
        np.save(tmp_path / "x.npy", BAD.astype("float64"))
        given = np.load(tmp_path / "x.npy", mmap_mode="r"), Y
    else:
        given = BAD, Y
    message = f"batch .* In it, row {row} of {name} holds nan in column 2"
    with pytest.raises(layers.NonFiniteLoss, match=message):
        make().fit(*given)


class Overflow(layers.Callback):
    """The metric is NaN in each epoch, as where weights overflow."""

    def __call__(self, progress):
        progress.metrics["val_loss"] = np.nan


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (layers.EarlyStopping, "EarlyStopping: val_loss .*: the parameters are those of the last"),
        (lambda: layers.Checkpoint("best.npz"), "Checkpoint: val_loss .*: no file was written"),
        (layers.ReduceOnPlateau, "ReduceOnPlateau: val_loss .* NaN in each epoch"),
    ],
)
def test_a_monitor_that_never_saw_a_number_says_so(make_it, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match=message):
        make().fit(X, Y, 2, validation_data=(X, Y), callbacks=[Overflow(), make_it()])
