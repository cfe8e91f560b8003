"""Weights of rows and classes, and labels that are ignored: in training, evaluation, gradients."""

import copy
import math
import pickle

import numpy as np
import pytest

import kernels
import layers
from kernels.runtime import threads
from kernels.weights import batch_scales
from layers import datasets
from layers.compiled import runner
from tests.layers.test_gradients import assert_same_gradient, numeric_gradient

pytestmark = pytest.mark.compiled

X, Y = datasets.load_digits()
X, Y = X[:301], Y[:301]
WEIGHTS = np.random.default_rng(5).integers(0, 9, len(X)) / 4

# A loss of each kind, its targets, and the outputs of its network.
KINDS = {
    "classes": (layers.SoftmaxCrossEntropy(), Y, 10),
    "smoothed, rows": (layers.SoftmaxCrossEntropy(0.1), np.eye(10)[Y], 10),
    "one label": (layers.SigmoidCrossEntropy(), Y % 2, 1),
    "labels": (layers.SigmoidCrossEntropy(), np.stack([Y % 2, Y > 4, Y < 3], axis=1), 3),
    "numbers": (layers.MeanSquaredError(), np.stack([Y, -Y], axis=1) / 10, 2),
    "a formula": (
        layers.ElementwiseLoss(lambda y, t: (y - t) ** 2, lambda y, t: 2.0 * (y - t)),
        Y / 10,
        1,
    ),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def make(loss=None, n_out=10, dtype="float64", optimizer=None):
    stack = [layers.Dense(64, 17), layers.LeakyReLU(0.1), layers.Dense(17, n_out)]
    optimizer = layers.SGD(0.05) if optimizer is None else optimizer
    return layers.Sequential(stack, loss, optimizer, seed=1, dtype=dtype)


def by_layers(loss):
    other = copy.deepcopy(loss)
    other.rows = other.rows  # an attribute of the object's own
    return other


def everything(model, y, weights):
    """What weights change, to the bit."""
    history = model.fit(X, y, 2, 32, (X[:99], y[:99], weights[:99]), sample_weight=weights)
    return [
        dict(history),
        model.train_step(X[:7], y[:7], weights[:7] + 1),
        model.evaluate(X, y, weights),
        model.fingerprint(),
    ]


# --- what a weight means --------------------------------------------------------------------------


@each_kind
def test_a_weight_of_two_is_the_row_given_twice_and_one_of_zero_none(kind):
    loss, y, n_out = KINDS[kind]
    y = y[:40]
    counts = np.arange(40) % 4
    rows = np.repeat(np.arange(40), counts)
    one, other = make(loss, n_out), make(loss, n_out)
    gradients = one.gradients(X[:40], y, sample_weight=counts)
    for name, expected in other.gradients(X[rows], y[rows]).items():
        assert gradients[name] == pytest.approx(expected, rel=1e-12, abs=1e-14)
    assert one.train_step(X[:40], y, counts) == pytest.approx(
        other.train_step(X[rows], y[rows]), rel=1e-13
    )
    for name, expected in other.parameters().items():
        assert one.parameters()[name] == pytest.approx(expected, rel=1e-12, abs=1e-14)
    found, expected = one.evaluate(X[:40], y, counts), other.evaluate(X[rows], y[rows])
    assert found == pytest.approx(expected, rel=1e-11)
    assert loss.forward(one.forward(X[:40]), y, counts) == pytest.approx(found["loss"], rel=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_of_one_change_no_bit(dtype):
    first, second = make(dtype=dtype), make(dtype=dtype)
    assert dict(first.fit(X, Y, 2)) == dict(second.fit(X, Y, 2, sample_weight=np.ones(len(X))))
    assert first.fingerprint() == second.fingerprint()
    assert first.evaluate(X, Y) == second.evaluate(X, Y, np.ones((len(X), 1)))


def test_the_size_of_all_weights_is_nothing():
    """By a power of two, so not even a bit."""
    first, second = make(), make()
    first.fit(X, Y, 2, sample_weight=WEIGHTS)
    second.fit(X, Y, 2, sample_weight=WEIGHTS * 1024)
    assert first.fingerprint() == second.fingerprint()


@each_kind
def test_the_gradient_of_a_weighted_loss(kind):
    loss, y, n_out = KINDS[kind]
    loss = copy.deepcopy(loss)
    scores = np.random.default_rng(2).standard_normal((6, n_out))
    weights = [0.5, 2, 0, 1, 3, 1]
    loss.forward(scores, y[:6], weights)
    gradient = loss.backward()
    numeric = numeric_gradient(lambda: loss.forward(scores, y[:6], weights), scores)
    assert_same_gradient("scores", numeric, gradient)
    assert not gradient[2].any()


def test_a_history_is_the_mean_over_all_weights():
    """Without learning, an epoch of batches of any weight is an evaluation."""
    model = make(optimizer=layers.SGD(0.0))
    history = model.fit(X, Y, 1, 32, shuffle=False, sample_weight=WEIGHTS)
    assert history.last() == pytest.approx(model.evaluate(X, Y, WEIGHTS), rel=1e-12)


# --- both paths, threads, sources -----------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_paths_have_the_same_bits(kind, dtype):
    loss, y, n_out = KINDS[kind]
    model = make(loss, n_out, dtype, layers.Adam())
    assert model.obstacle() is None
    together = everything(model, y, WEIGHTS)
    model = make(by_layers(loss), n_out, dtype, layers.Adam())
    assert model.obstacle()
    assert everything(model, y, WEIGHTS) == together


def test_two_threads_have_the_bits_of_one():
    x = np.tile(X, (8, 1))
    y, weights = np.tile(Y, 8), np.tile(WEIGHTS, 8)
    found = []
    for count in (1, 2):
        with_threads = threads.get_num_threads()
        try:
            threads.set_num_threads(min(count, with_threads))
            model = layers.Sequential(
                [layers.Dense(64, 256), layers.ReLU(), layers.Dense(256, 10)], seed=0
            )
            history = model.fit(x, y, 3, 512, sample_weight=weights, class_weight={3: 5.0})
            found.append((model.fingerprint(), dict(history), model.evaluate(x, y, weights)))
        finally:
            threads.set_num_threads(with_threads)
    assert found[0] == found[1]


def test_a_batch_that_takes_long_has_the_same_bits(monkeypatch):
    """Its lines are calls of their own."""
    one, other = make(), make()
    one.fit(X, Y, 3, 32, sample_weight=WEIGHTS)
    monkeypatch.setattr(runner, "_LONG_SECONDS", -1)
    other.partial_fit(X, Y, 32, WEIGHTS)
    other.fit(X, Y, 2, 32, sample_weight=WEIGHTS)
    assert one.fingerprint() == other.fingerprint()
    assert one.history == other.history


def test_batches_bring_their_weights():
    parts = [slice(start, start + 32) for start in range(0, len(X), 32)]
    batches = [(X[part], Y[part], WEIGHTS[part]) for part in parts]
    one, other = make(), make()
    expected = one.fit(X, Y, 2, 32, (X, Y, WEIGHTS), shuffle=False, sample_weight=WEIGHTS)
    assert dict(other.fit(batches, epochs=2, validation_data=batches)) == dict(expected)
    assert one.fingerprint() == other.fingerprint()
    assert one.evaluate(batches) == one.evaluate(X, Y, WEIGHTS)
    mixed = [(X[:20], Y[:20]), (X[20:], Y[20:], np.full(len(X) - 20, 2.0))]
    weights = np.where(np.arange(len(X)) < 20, 1, 2)
    assert one.evaluate(mixed) == one.evaluate(X, Y, weights)
    history = make(optimizer=layers.SGD(0.0)).fit(mixed)
    assert history.last() == pytest.approx(make().evaluate(X, Y, weights), rel=1e-12)


def test_a_mapped_file_in_another_dtype_keeps_its_weights(tmp_path):
    np.save(tmp_path / "x.npy", X.astype(np.int16))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    one, other = make(), make()
    one.fit(mapped, Y, 2, sample_weight=WEIGHTS)
    other.fit(X.astype(np.int16), Y, 2, sample_weight=WEIGHTS)
    assert one.fingerprint() == other.fingerprint()


def test_rows_that_are_set_apart_keep_their_weights():
    y = Y % 2
    weights = np.where(y == 1, 3.0, 0.0)  # a row of class 0 counts nowhere
    model = make(layers.SigmoidCrossEntropy(), 1)
    model.fit(X, y, 5, validation_fraction=0.3, sample_weight=weights, class_weight={1: 7})
    assert model.predict(X).all()
    assert model.history["val_accuracy"][-1] == 1


def test_zeros_in_a_batch_move_nothing():
    model = make()
    before = model.fingerprint()
    batches = [(X[:9], Y[:9], np.zeros(9))]
    history = model.fit(batches, epochs=2)
    assert model.fingerprint() == before
    assert math.isnan(history["loss"][-1])  # a mean over nothing


def test_a_nan_shows_though_its_weight_is_zero():
    x = X.copy()
    x[3, 5] = np.nan
    weights = np.ones(len(X))
    weights[3] = 0
    model = make()
    with pytest.raises(layers.NonFiniteLoss):
        model.fit(x, Y, sample_weight=weights)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_weighted_mean_of_ones_is_the_mean(dtype):
    values = np.random.default_rng(0).standard_normal((1003, 1)).astype(dtype)
    assert kernels.weighted_mean(values, np.ones_like(values)) == kernels.mean_loss(values)
    assert math.isnan(kernels.weighted_mean(values, np.zeros_like(values)))
    scales = np.empty(3)
    weights = np.array([[1], [3], [0], [0], [0.5]], dtype)
    batch_scales.bare(weights, 2, scales)
    assert scales.tolist() == [0.5, 0.0, 2.0]


# --- classes --------------------------------------------------------------------------------------


def test_class_weights_are_those_of_their_rows():
    rare = np.where(Y == 3, 10.0, np.where(Y == 5, 0.5, 1.0))
    one, other, third = make(), make(), make()
    one.fit(X, Y, 2, class_weight={3: 10, np.int64(5): 0.5})
    other.fit(X, Y, 2, sample_weight=rare)
    third.fit(X, np.eye(10)[Y], 2, class_weight={3: 10, 5: 0.5})
    assert one.fingerprint() == other.fingerprint()
    for name, array in third.parameters().items():  # rows of targets have sums of their own
        assert array == pytest.approx(one.parameters()[name], rel=1e-9, abs=1e-12)
    both = make()
    both.fit(X, Y, 2, sample_weight=WEIGHTS, class_weight={3: 10, 5: 0.5})
    other = make()
    other.fit(X, Y, 2, sample_weight=WEIGHTS * rare)
    assert both.fingerprint() == other.fingerprint()


def test_balanced_is_rows_over_classes_times_rows_of_the_class():
    y = (Y == 0).astype(int)
    balanced = len(y) / (2 * np.bincount(y))
    one, other = (make(layers.SigmoidCrossEntropy(), 1) for _ in range(2))
    one.fit(X, y, 2, class_weight="balanced", validation_data=(X, y))
    other.fit(X, y, 2, sample_weight=balanced[y], validation_data=(X, y))
    assert one.fingerprint() == other.fingerprint()
    assert one.history == other.history  # validation has no weights of classes


# --- an ignored label -----------------------------------------------------------------------------


@pytest.mark.parametrize("ignore_index", [-100, 3])
def test_an_ignored_label_is_a_row_that_is_not_there(ignore_index):
    y = Y.copy()
    y[::3] = ignore_index
    rest = y != ignore_index
    loss = layers.SoftmaxCrossEntropy(ignore_index=ignore_index)
    one, other = make(loss), make()
    assert one.train_step(X, y) == pytest.approx(other.train_step(X[rest], y[rest]), rel=1e-13)
    assert one.train_step(X, y) == pytest.approx(other.train_step(X[rest], y[rest]), rel=1e-12)
    assert one.evaluate(X, y) == pytest.approx(other.evaluate(X[rest], y[rest]), rel=1e-12)
    assert one.evaluate(X, y[:, None].astype(float)) == one.evaluate(X, y)
    assert loss.forward(one.forward(X), y) == pytest.approx(one.evaluate(X, y)["loss"], rel=1e-12)
    assert not loss.backward()[~rest].any()
    history = one.fit(X, y, validation_data=(X, y))
    assert history["val_accuracy"][-1] == np.mean(one.predict(X[rest]) == y[rest])
    assert pickle.loads(pickle.dumps(loss)).ignore_index == ignore_index
    assert repr(loss) == f"SoftmaxCrossEntropy(ignore_index={ignore_index})"


def test_an_ignored_label_is_saved(tmp_path):
    model = make(layers.SoftmaxCrossEntropy(0.1, ignore_index=-1))
    model.save(tmp_path / "m.npz")
    loaded = layers.load(tmp_path / "m.npz")
    assert loaded.loss.config() == {"label_smoothing": 0.1, "ignore_index": -1}


# --- what is refused ------------------------------------------------------------------------------

ONES = np.ones(len(X))


def changed(row, value):
    weights = ONES.copy()
    weights[row] = value
    return weights


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sample_weight": changed(4, -1)}, ValueError, "row 4 of sample_weight is -1.0, expected"),
        ({"sample_weight": changed(4, np.nan)}, ValueError, "row 4 of sample_weight is nan, expec"),
        ({"sample_weight": changed(4, np.inf)}, ValueError, "row 4 of sample_weight is inf, expec"),
        ({"sample_weight": ONES * 0}, ValueError, "sample_weight is 0 for each row, expected a we"),
        ({"sample_weight": ONES[:9]}, ValueError, r"sample_weight has shape \(9,\), expected \(30"),
        ({"sample_weight": X}, ValueError, r"sample_weight has shape \(301, 64\), expected \(30"),
        ({"sample_weight": "balanced"}, TypeError, "sample_weight"),
        ({"class_weight": {12: 1}}, ValueError, "class_weight names 12, expected classes 0 to 9"),
        ({"class_weight": {"a": 1}}, ValueError, "class_weight names 'a', expected classes 0 to 9"),
        ({"class_weight": {True: 1}}, ValueError, "class_weight names True, expected classes 0"),
        ({"class_weight": {1: -2}}, ValueError, r"class_weight\[1\] is -2, expected"),
        ({"class_weight": {1: np.nan}}, ValueError, r"class_weight\[1\] is nan, expected"),
        ({"class_weight": {1: "2"}}, TypeError, r"class_weight\[1\] is '2', expected"),
        ({"class_weight": dict.fromkeys(range(10), 0)}, ValueError, "class_weight is 0 for each"),
        (
            {"class_weight": {3: 0}, "sample_weight": Y == 3},
            ValueError,
            "sample_weight times class_weight runs up to 0.0, expected finite",
        ),
        (
            {"class_weight": {3: 1e200}, "sample_weight": ONES * 1e200},
            ValueError,
            "sample_weight times class_weight runs up to inf, expected finite",
        ),
        ({"class_weight": "even"}, TypeError, "class_weight is 'even', expected a dict from a cla"),
        ({"class_weight": [1] * 10}, TypeError, "class_weight is .*, expected a dict from a class"),
        (
            {"y": np.where(Y == 7, 6, Y), "class_weight": "balanced"},
            ValueError,
            "class_weight is 'balanced' and class 7 has no row, expected at least one of each of",
        ),
        ({"validation_data": (X, Y, -ONES)}, ValueError, r"row 0 of validation_data\[2\] is -1.0,"),
        ({"validation_data": (X, Y, ONES * 0)}, ValueError, r"validation_data\[2\] is 0 for each"),
        (
            {"sample_weight": changed(slice(1, None), 0), "validation_fraction": 0.5},
            ValueError,
            "validation_fraction leaves only weights of 0 to",
        ),
    ],
)  # fmt: skip
def test_bad_weights(arguments, error, message):
    model = make()
    before = model.fingerprint()
    with pytest.raises(error, match=f"^Sequential.fit: {message}"):
        model.fit(**({"x": X, "y": Y} | arguments))
    assert model.fingerprint() == before


def test_bad_weights_elsewhere():
    model = make()
    batches = [(X[:9], Y[:9], ONES[:9])]
    numbers = make(layers.MeanSquaredError(), 1)
    ignoring = make(layers.SoftmaxCrossEntropy(ignore_index=-1))
    with pytest.raises(ValueError, match=r"^Sequential.train_step: row 0 of sample_weight is -1.0"):
        model.train_step(X, Y, -ONES)
    with pytest.raises(ValueError, match=r"^Sequential.evaluate: sample_weight has shape \(9,\)"):
        model.evaluate(X, Y, ONES[:9])
    with pytest.raises(ValueError, match=r"^Sequential.gradients: sample_weight is 0 for each row"):
        model.gradients(X, Y, ONES * 0)
    with pytest.raises(ValueError, match=r"^Sequential.fit: sample_weight is given and x an iter"):
        model.fit(batches, sample_weight=ONES)
    with pytest.raises(ValueError, match=r"^Sequential.evaluate: sample_weight is given and x an "):
        model.evaluate(batches, sample_weight=ONES)
    with pytest.raises(
        ValueError, match=r"^Sequential.fit: class_weight is 'balanced' and x an it"
    ):
        model.fit(batches, class_weight="balanced")
    with pytest.raises(
        ValueError, match=r"^Sequential.fit: row 2 of sample_weight in batch 1 of x"
    ):
        model.fit([(X[:3], Y[:3], [1, 1, -1])])
    with pytest.raises(
        TypeError, match=r"^Sequential.fit: batch 1 of x is .*, expected a pair \(x"
    ):
        model.fit([(X, Y, ONES, ONES)])
    with pytest.raises(
        ValueError, match=r"^Sequential.fit: class_weight is given and the loss is M"
    ):
        numbers.fit(X, Y, class_weight={0: 1})
    with pytest.raises(
        ValueError, match=r"^Sequential.fit: y has no row that counts, expected a la"
    ):
        ignoring.fit(X, np.full(len(X), -1))
    with pytest.raises(ValueError, match=r"^Sequential.fit: label -2 at row 0 of y|y"):
        ignoring.fit(X, np.full(len(X), -2))
    for value in ("1", 1.5, True):
        with pytest.raises(TypeError, match="SoftmaxCrossEntropy: ignore_index is"):
            layers.SoftmaxCrossEntropy(ignore_index=value)


# --- what looks at training takes what `fit` takes ------------------------------------------------

CLASSES = {0: 3.0, 1: 0.5}


def in_one(y, weights, class_weight):
    """Weights of rows and of classes as weights of rows alone."""
    return weights * np.array([class_weight.get(int(label), 1.0) for label in y])


@pytest.mark.parametrize("own", [False, True])
def test_a_step_and_gradients_by_weights_of_classes(own):
    loss = layers.SoftmaxCrossEntropy()
    loss = by_layers(loss) if own else loss
    together = in_one(Y[:40], WEIGHTS[:40], CLASSES)
    one, other = make(loss), make(loss)
    given = X[:40], Y[:40], WEIGHTS[:40], CLASSES
    found = one.gradients(*given)
    for name, gradient in other.gradients(X[:40], Y[:40], together).items():
        assert (found[name] == gradient).all()
    assert one.train_step(*given) == other.train_step(X[:40], Y[:40], together)
    assert one.fingerprint() == other.fingerprint()
    one.partial_fit(X, Y, 32, WEIGHTS, CLASSES)
    other.fit(X, Y, 1, 32, sample_weight=WEIGHTS, class_weight=CLASSES)
    assert one.fingerprint() == other.fingerprint()
    assert one.train_step(X[:40], Y[:40], class_weight=CLASSES) == pytest.approx(
        other.train_step(X[:40], Y[:40], in_one(Y[:40], 1.0, CLASSES))
    )


def test_bad_weights_of_classes_in_a_step():
    model = make()
    model.train_step(X[:8], Y[:8])  # from here on there is a short way, which must not be taken
    before = model.fingerprint()
    for method in ("train_step", "gradients"):
        with pytest.raises(ValueError, match=rf"^Sequential.{method}: class_weight names 10, "):
            getattr(model, method)(X[:8], Y[:8], class_weight={10: 1.0})
        with pytest.raises(TypeError, match=rf"^Sequential.{method}: class_weight is 'even', "):
            getattr(model, method)(X[:8], Y[:8], class_weight="even")
        with pytest.raises(ValueError, match=rf"^Sequential.{method}: class_weight is given and"):
            getattr(make(layers.Huber()), method)(X[:8], X[:8, :10], class_weight={0: 1.0})
    assert model.fingerprint() == before


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
def test_gradients_are_checked_with_weights(kind):
    loss, y, n_out = KINDS[kind]
    classes = {"class_weight": {0: 2.0}} if kind == "classes" else {}
    model = make(loss, n_out)
    found = layers.check_gradients(
        model, X[:9], y[:9], sample_weight=WEIGHTS[:9], elements=20, **classes
    )
    assert found.right, found
    alone = layers.check_gradients(model, X[:9], y[:9], elements=20)
    assert (found.rows[0].analytic != alone.rows[0].analytic).any()


def test_a_check_with_weights_finds_the_loss_at_fault():
    class TwiceTooLarge(layers.MeanSquaredError):
        def gradient(self, kept, targets, out):
            super().gradient(kept, targets, out)
            out *= 2

    model = make(TwiceTooLarge(), 2)
    found = layers.check_gradients(model, X[:9], X[:9, 3:5], sample_weight=WEIGHTS[:9])
    assert "2 times too large" in found.verdict("loss")


def test_a_check_leaves_ignored_rows_out():
    model = make(layers.SoftmaxCrossEntropy(ignore_index=-1))
    y = Y[:9].copy()
    y[4] = -1
    found = layers.check_gradients(model, X[:9], y, elements=100)
    assert found.right
    assert (found.rows[0].analytic.reshape(9, 10)[4] == 0).all()


def test_a_rate_is_looked_for_with_weights():
    twice = WEIGHTS * 2
    found = layers.find_learning_rate(make(), X, Y, steps=20, sample_weight=WEIGHTS)
    assert found == layers.find_learning_rate(make(), X, Y, steps=20, sample_weight=twice)
    assert found.losses != layers.find_learning_rate(make(), X, Y, steps=20).losses
    of_classes = layers.find_learning_rate(make(), X, Y, steps=20, class_weight={3: 40.0})
    assert of_classes.losses != found.losses
    # Batches in which no row counts are left out, and do not bring it to an end or go on for ever.
    batches = [(X[i : i + 32], Y[i : i + 32], np.full(32, i % 64 > 0)) for i in range(0, 288, 32)]
    without = layers.find_learning_rate(make(), batches, steps=20)
    with_some = [batch for batch in batches if batch[2].any()]
    assert without == layers.find_learning_rate(make(), with_some, steps=20)
    empty = [(x, y, np.zeros(32)) for x, y, _ in batches]
    with pytest.raises(ValueError, match="after 0 batches"):
        layers.find_learning_rate(make(), empty)
    with pytest.raises(ValueError, match=r"^find_learning_rate: row 3 of sample_weight is -1"):
        layers.find_learning_rate(make(), X, Y, sample_weight=np.where(np.arange(301) == 3, -1, 1))
    with pytest.raises(ValueError, match=r"^find_learning_rate: x has shape \(301, 63\)"):
        layers.find_learning_rate(make(), X[:, 1:], Y)


@pytest.mark.parametrize("own", [False, True])
def test_a_profile_with_weights(own):
    model = make(layers.SoftmaxCrossEntropy())
    if own:
        model.loss = by_layers(model.loss)
    before = model.fingerprint()
    arguments = {"sample_weight": WEIGHTS, "class_weight": CLASSES, "repeats": 1}
    weighted = layers.profile(model, X, Y, 32, **arguments)
    alone = layers.profile(model, X, Y, 32, repeats=1)
    assert model.fingerprint() == before
    assert [row.part for row in weighted.rows] == [row.part for row in alone.rows]
    assert weighted.rows[0].name == "rows of x, y and weights"
    assert weighted.rows[0].bytes - alone.rows[0].bytes >= 32 * 8
    with pytest.raises(ValueError, match=r"^profile: the first 32 rows of x have weights of 0"):
        layers.profile(model, X, Y, 32, sample_weight=np.arange(301) > 31)
