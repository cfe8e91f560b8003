"""Losses, each as a user would train with it: numbers, gradients, both paths, what is taken."""

import copy
import math
import pickle

import numpy as np
import pytest

import kernels
import layers
from tests.layers.test_gradients import assert_same_gradient, numeric_gradient

pytestmark = pytest.mark.compiled

# Each loss of numbers, and the loss of one number as PyTorch has it (the pinball loss as sklearn).
OF_NUMBERS = {
    "MeanSquaredError": (layers.MeanSquaredError(), lambda y, t: (y - t) ** 2),
    "MeanAbsoluteError": (layers.MeanAbsoluteError(), lambda y, t: abs(y - t)),
    "Huber": (
        layers.Huber(0.7),
        lambda y, t: (y - t) ** 2 / 2 if abs(y - t) <= 0.7 else 0.7 * (abs(y - t) - 0.35),
    ),
    "Poisson": (layers.Poisson(), lambda y, t: math.exp(y) - t * y),
    "Quantile": (layers.Quantile(0.3), lambda y, t: max(0.3 * (t - y), 0.7 * (y - t))),
}
each_of_numbers = pytest.mark.parametrize("name", OF_NUMBERS)


def numbers(n: int, rows: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets; none so close that a kink lies between them and a step."""
    rng = np.random.default_rng(n)
    y, targets = 2 * rng.standard_normal((rows, n)), rng.integers(0, 6, (rows, n)) / 2
    distance = abs(abs(y - targets)[..., None] - [0, 0.7]).min(axis=-1)
    return np.where(distance < 1e-3, y + 0.01, y), targets


def by_layers(loss: layers.Loss) -> layers.Loss:
    """The same loss as a part that a model calls, so that it runs layer by layer."""
    other = copy.deepcopy(loss)
    other.rows = other.rows  # an attribute of the object's own
    assert other.own_code()
    return other


def trained(loss: layers.Loss, targets: np.ndarray, n_out: int, dtype: str) -> list[object]:
    x = np.random.default_rng(0).standard_normal((len(targets), 9)).astype(dtype)
    stack = [layers.Dense(9, 17), layers.ReLU(), layers.Dense(17, n_out)]
    model = layers.Sequential(stack, loss, layers.SGD(0.01), seed=3, dtype=dtype)
    assert (model.obstacle() is None) == (loss.own_code() is None)
    history = model.fit(x, targets, epochs=3, batch_size=16)
    step, scores = model.train_step(x[:7], targets[:7]), model.predict(x)
    return [dict(history), step, model.evaluate(x, targets), scores.tobytes(), model.fingerprint()]


@each_of_numbers
@pytest.mark.parametrize("n", [1, 3, 16, 37])
def test_a_loss_of_numbers_is_the_mean_of_its_formula(name, n):
    loss, formula = OF_NUMBERS[name]
    y, targets = numbers(n)
    expected = np.vectorize(formula)(y, targets).mean()
    assert loss.forward(y, targets) == pytest.approx(expected, rel=1e-13)
    gradient = loss.backward()
    assert_same_gradient("y", numeric_gradient(lambda: loss.forward(y, targets), y), gradient)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("n", [1, 3])
def test_poisson_predicts_counts(own, n):
    rng = np.random.default_rng(n)
    x = rng.standard_normal((1300, 4))
    targets = rng.poisson(np.exp(x[:, :n])).astype(float)
    loss = by_layers(layers.Poisson()) if own else layers.Poisson()
    model = layers.Sequential([layers.Dense(4, n)], loss, layers.Adam(0.01), seed=0)
    model.fit(x, targets, epochs=20)
    scores, counts = model.forward(x), model.predict(x)
    expected = np.empty_like(scores)
    kernels.exp(scores, expected)
    assert counts.tobytes() == expected.tobytes()
    assert model.predict(x[7:8]).tobytes() == counts[7:8].tobytes()
    assert counts.mean() == pytest.approx(targets.mean(), rel=0.1)
    weights = rng.integers(0, 3, len(x)) / 1.0
    found = model.evaluate(x, targets, weights)
    errors = abs(counts - targets).mean(axis=1)
    assert found["mae"] == pytest.approx(np.average(errors, weights=weights), rel=1e-5)
    middle = np.average(targets, axis=0, weights=weights)
    of_mean = (weights[:, None] * (targets - middle) ** 2).sum(axis=0)
    left = (weights[:, None] * (targets - counts) ** 2).sum(axis=0)
    assert found["r2"] == pytest.approx((1 - left / of_mean).mean(), rel=1e-4)
    assert found["r2"] > 0.1
    x[5, 2] = np.nan
    assert np.argwhere(np.isnan(model.predict(x))).tolist() == [[5, j] for j in range(n)]
    with layers.backend("numpy"):
        np.testing.assert_allclose(model.predict(x), np.exp(model.forward(x)), rtol=1e-6)


@each_of_numbers
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 5])
def test_both_paths_of_a_loss_of_numbers_have_the_same_bits(name, dtype, n):
    loss, _ = OF_NUMBERS[name]
    _, targets = numbers(n, 101)
    assert trained(loss, targets, n, dtype) == trained(by_layers(loss), targets, n, dtype)


@each_of_numbers
def test_a_nan_stays_in_its_row(name):
    loss, _ = OF_NUMBERS[name]
    y, targets = numbers(20)
    y[3, 5] = np.nan
    assert math.isnan(loss.forward(y, targets))
    gradient = loss.backward()
    assert np.argwhere(np.isnan(gradient)).tolist() == [[3, 5]]


@pytest.mark.parametrize("name", ["MeanAbsoluteError", "Huber", "Quantile"])
@pytest.mark.parametrize("value", [1e4, -1e4, 1e30])
def test_an_outlier_has_a_slope_as_large_as_others(name, value):
    loss, _ = OF_NUMBERS[name]
    y = np.array([[value], [0.0]], np.float32)
    assert math.isfinite(loss.forward(y, np.zeros(2)))
    first, second = loss.backward().ravel()
    assert 0 < abs(first) <= 0.5
    assert second == 0


def test_quantiles_are_what_they_are_called():
    """A share of the targets lies below what a network without inputs predicts."""
    targets = np.random.default_rng(1).exponential(size=4000)
    for q in (0.1, 0.5, 0.9):
        model = layers.Sequential(
            [layers.Dense(1, 1)], layers.Quantile(q), layers.SGD(0.05), seed=0
        )
        model.fit(np.zeros((4000, 1)), targets, epochs=20)
        assert (targets < model.predict([[0.0]])[0, 0]).mean() == pytest.approx(q, abs=0.03)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: layers.Huber(0), ValueError, "Huber: delta is 0, expected a number above 0"),
        (lambda: layers.Huber(-1.0), ValueError, "Huber: delta is -1.0, expected"),
        (lambda: layers.Huber("1"), TypeError, "Huber: delta is '1', expected a finite number"),
        (lambda: layers.Huber(True), TypeError, "Huber: delta is True, expected a finite number"),
        (lambda: layers.Huber(math.nan), ValueError, "Huber: delta is nan, expected a finite"),
        (lambda: layers.Quantile(0), ValueError, "Quantile: q is 0, expected a number between"),
        (lambda: layers.Quantile(1.0), ValueError, "Quantile: q is 1.0, expected a number between"),
        (lambda: layers.Quantile(-0.5), ValueError, "Quantile: q is -0.5, expected"),
        (lambda: layers.Quantile(None), TypeError, "Quantile: q is None, expected a finite number"),
        (
            lambda: layers.Poisson().forward(np.zeros((2, 1)), [1.0, -2.0]),
            ValueError,
            r"Poisson.forward: row 1 of labels holds -2.0, expected counts, numbers of at least 0",
        ),
    ],
)
def test_what_is_no_loss_of_numbers(make, error, message):
    with pytest.raises(error, match=message):
        make()


@each_of_numbers
def test_a_loss_of_numbers_is_saved(name, tmp_path):
    loss, _ = OF_NUMBERS[name]
    model = layers.Sequential([layers.Dense(2, 1)], copy.deepcopy(loss), seed=0)
    model.save(tmp_path / "model.npz")
    again = layers.load(tmp_path / "model.npz")
    assert repr(again.loss) == repr(loss)
    assert type(again.loss) is type(loss)


# --- classes --------------------------------------------------------------------------------------


def smoothed(z, labels, smoothing):
    """PyTorch's formula: cross-entropy of targets that are a little less than certain."""
    t = labels if labels.ndim == 2 else np.eye(z.shape[1])[labels]
    t = t * (1 - smoothing) + smoothing / z.shape[1]
    shifted = z - z.max(axis=1, keepdims=True)
    return (t * (np.log(np.exp(shifted).sum(axis=1, keepdims=True)) - shifted)).sum(axis=1).mean()


@pytest.mark.parametrize("rows", [False, True], ids=["indices", "rows"])
@pytest.mark.parametrize("n", [2, 10, 16, 37])
def test_label_smoothing(n, rows):
    rng = np.random.default_rng(n)
    z, labels = 3 * rng.standard_normal((5, n)), rng.integers(0, n, 5)
    if rows:
        labels = rng.dirichlet(np.ones(n), 5)
    for smoothing in (0.1, 0.7):
        loss = layers.SoftmaxCrossEntropy(label_smoothing=smoothing)
        assert loss.forward(z, labels) == pytest.approx(smoothed(z, labels, smoothing), rel=1e-13)
        gradient = loss.backward()
        assert_same_gradient("z", numeric_gradient(lambda: loss.forward(z, labels), z), gradient)  # noqa: B023


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [2, 10, 37])
def test_both_paths_of_label_smoothing_have_the_same_bits(dtype, n):
    loss, labels = layers.SoftmaxCrossEntropy(0.1), np.arange(101) % n
    assert trained(loss, labels, n, dtype) == trained(by_layers(loss), labels, n, dtype)


def test_without_smoothing_the_bits_are_those_of_ever():
    assert layers.SoftmaxCrossEntropy(label_smoothing=0.0).used_entry().name == (
        "softmax_cross_entropy_gradient"
    )
    assert layers.SoftmaxCrossEntropy().config() == {}
    assert repr(layers.SoftmaxCrossEntropy()) == "SoftmaxCrossEntropy()"


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_label_smoothing_of_large_logits(size):
    loss = layers.SoftmaxCrossEntropy(0.1)
    z = np.array([[size, -size], [-size, size]], np.float32)
    # Both rows: one right with 0.05 of doubt, one wrong with 0.95.
    assert loss.forward(z, [0, 0]) == pytest.approx(size, rel=1e-6)
    assert loss.backward() == pytest.approx(np.array([[0.025, -0.025], [-0.475, 0.475]]))


def test_label_smoothing_is_kept(tmp_path):
    model = layers.Sequential([layers.Dense(2, 3)], layers.SoftmaxCrossEntropy(0.1), seed=0)
    model.save(tmp_path / "model.npz")
    again = layers.load(tmp_path / "model.npz")
    assert repr(again.loss) == "SoftmaxCrossEntropy(label_smoothing=0.1)"
    assert copy.deepcopy(model).loss.numbers() == pickle.loads(pickle.dumps(model.loss)).numbers()


@pytest.mark.parametrize("value", [-0.1, 1, 1.5, math.nan, "0.1", True, None])
def test_what_is_no_label_smoothing(value):
    with pytest.raises((TypeError, ValueError), match="SoftmaxCrossEntropy: label_smoothing is"):
        layers.SoftmaxCrossEntropy(label_smoothing=value)


LABELS = np.array([0, 2, 1, 1])
TAKEN = {
    "a column": LABELS[:, None],
    "floats": LABELS.astype(np.float32),
    "a column of floats": LABELS[:, None].astype(float),
    "objects": LABELS.astype(object),
    "bytes": LABELS.astype(np.uint8),
    "a list": LABELS.tolist(),
    "one-hot booleans": np.eye(3, dtype=bool)[LABELS],
}


@pytest.mark.parametrize("form", TAKEN)
def test_labels_in_many_forms(form):
    model = layers.Sequential([layers.Dense(2, 3)], seed=0)
    x = np.random.default_rng(0).standard_normal((4, 2))
    assert model.evaluate(x, TAKEN[form]) == model.evaluate(x, LABELS)


def test_booleans_are_two_classes():
    model = layers.Sequential([layers.Dense(2, 2)], seed=0)
    x = np.random.default_rng(0).standard_normal((4, 2))
    assert model.evaluate(x, LABELS == 1) == model.evaluate(x, [0, 0, 1, 1])


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (
            ["setosa", "virginica"],
            TypeError,
            r"y holds text \('setosa'\), expected class indices: np.unique\(y, ret",
        ),
        (
            np.array([["a"], ["b"]]),
            TypeError,
            r"y holds text \('a'\), expected class indices: np.unique",
        ),
        (
            np.array([1, "b"], object),
            TypeError,
            r"y holds text \('b'\), expected class indices: np.unique",
        ),
        (
            [46764.0, 1.0],
            ValueError,
            r"y holds numbers \(46764.0 ...\), expected class indices 0 to 2: for a regression use "
            r"MeanSquaredError\(\)",
        ),
        ([0.0, 0.5], ValueError, r"y holds numbers \(0.5 ...\), expected class indices"),
        ([0.0, np.nan], ValueError, r"y holds numbers \(nan ...\)"),
        ([[0.5], [1.0]], ValueError, r"y holds numbers \(0.5 ...\)"),
        ([0, 3], ValueError, r"y\[1\] is 3, expected 0 to 2"),
        ([0, None], TypeError, "y has dtype object, expected integers"),
        ([0, 10**30], TypeError, "y has dtype object, expected integers"),
    ],
)
def test_labels_that_do_not_fit(y, error, message):
    model = layers.Sequential([layers.Dense(2, 3)], seed=0)
    with pytest.raises(error, match=message):
        model.fit(np.zeros((2, 2)), y)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (["low", "high"], TypeError, r"y holds text \('low'\), expected numbers"),
        ([0, 2], ValueError, r"y has shape \(2,\), expected \(2, 3\) \(of class indices, Soft"),
    ],
)
def test_numbers_that_do_not_fit(y, error, message):
    model = layers.Sequential([layers.Dense(2, 3)], layers.MeanSquaredError(), seed=0)
    with pytest.raises(error, match=message):
        model.fit(np.zeros((2, 2)), y)


def test_one_output_has_no_softmax():
    dense = layers.Dense(4, 1)
    with pytest.raises(
        ValueError,
        match=r"the network has 1 output and SoftmaxCrossEntropy: use SigmoidCrossEntropy\(\)",
    ):
        layers.Sequential([dense])
    with pytest.raises(ValueError, match="1 output and CategoricalCrossEntropy: use Sigmoid"):
        layers.Sequential([dense, layers.Softmax()], layers.CategoricalCrossEntropy())
    model = layers.Sequential([dense], layers.MeanSquaredError())
    with pytest.raises(ValueError, match="1 output and SoftmaxCrossEntropy"):
        model.loss = layers.SoftmaxCrossEntropy()
    assert isinstance(model.loss, layers.MeanSquaredError)


# --- labels that are 0 or 1 each ------------------------------------------------------------------


def binary(n: int, rows: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Logits and targets: 0, 1 and numbers between."""
    rng = np.random.default_rng(n)
    return 3 * rng.standard_normal((rows, n)), np.clip(rng.uniform(-1, 2, (rows, n)), 0, 1)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("n", [1, 3, 16, 37])
@pytest.mark.parametrize("rows", [3, 37])
def test_cross_entropy_of_labels(n, rows):
    z, t = binary(n, rows)
    expected = -(t * np.log(sigmoid(z)) + (1 - t) * np.log(sigmoid(-z))).mean()
    for loss, scores in (
        (layers.SigmoidCrossEntropy(), z),
        (layers.BinaryCrossEntropy(), np.clip(sigmoid(z), 0.05, 0.95)),
    ):
        if scores is z:
            assert loss.forward(z, t) == pytest.approx(expected, rel=1e-13)
        loss.forward(scores, t)
        gradient = loss.backward()
        some = scores[:3]
        numeric = numeric_gradient(lambda: loss.forward(scores, t), some)  # noqa: B023
        assert_same_gradient("scores", numeric, gradient[:3])


def of_labels(loss, n, dtype):
    """What training does, with a `Sigmoid` where the loss takes one."""
    x = np.random.default_rng(0).standard_normal((101, 9)).astype(dtype)
    _, y = binary(n, 101)
    y = y[:, 0] if n == 1 else y
    stack = [layers.Dense(9, 17), layers.ReLU(), layers.Dense(17, n)]
    stack += [layers.Sigmoid()] if loss.takes == "sigmoid" else []
    model = layers.Sequential(stack, loss, layers.SGD(0.1), seed=3, dtype=dtype)
    assert (model.obstacle() is None) == (loss.own_code() is None)
    history = model.fit(x, y, epochs=3, batch_size=16, validation_data=(x, y))
    given = model.train_step(x[:7], y[:7]), model.evaluate(x, y), model.fingerprint()
    predicted, likely = model.predict(x), model.predict_proba(x)
    return [dict(history), given, predicted.tolist(), likely.tobytes()], (y, predicted, likely)


@pytest.mark.parametrize("loss", [layers.SigmoidCrossEntropy(), layers.BinaryCrossEntropy()])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 5])
def test_both_paths_of_labels_have_the_same_bits(loss, dtype, n):
    together, (y, predicted, likely) = of_labels(copy.deepcopy(loss), n, dtype)
    alone, _ = of_labels(by_layers(loss), n, dtype)
    assert together == alone
    assert predicted.shape == y.shape
    assert predicted.dtype == np.int64
    assert likely.shape == (101, n)
    assert ((likely > 0.5).reshape(y.shape) == predicted).all()
    accuracy = ((y > 0.5) == predicted).mean()
    assert together[1][1]["accuracy"] == pytest.approx(accuracy, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2])
def test_logits_of_any_size(dtype, n):
    loss = layers.SigmoidCrossEntropy()
    for size in (1e4, 1e30):
        z = np.full((4, n), size, dtype)
        z[2:] *= -1
        t = np.repeat([[0.0], [1.0], [0.0], [1.0]], n, axis=1)
        assert loss.forward(z, t) == pytest.approx(size / 2)
        assert (loss.backward() * 4 * n == np.repeat([[1.0], [0], [0], [-1]], n, axis=1)).all()
    z = np.full((1, n), 20.0, dtype)  # its probability is 1 in float32, and its loss not 0
    assert loss.forward(z, np.ones((1, n))) == pytest.approx(math.log1p(math.exp(-20.0)), rel=1e-5)
    assert loss.backward() * n == pytest.approx(-sigmoid(-20.0), rel=1e-5)


def test_certain_and_wrong_probabilities():
    loss = layers.BinaryCrossEntropy()
    p = np.array([[1.0], [0.0]], np.float32)
    assert loss.forward(p, [0, 1]) == pytest.approx(87.3, abs=0.1)
    assert np.isfinite(loss.backward()).all()
    assert loss.forward(p, [1, 0]) == 0


@pytest.mark.parametrize("n", [1, 3])
def test_a_nan_among_logits(n):
    model = layers.Sequential([layers.Dense(2, n)], layers.SigmoidCrossEntropy(), seed=0)
    x = np.ones((20, 2), np.float32)
    x[17] = np.nan
    for each in (model, layers.Sequential([layers.Dense(2, n)], by_layers(model.loss), seed=0)):
        with pytest.raises(ValueError, match="the scores of row 17 of x hold NaN"):
            each.predict(x)
        assert np.isnan(each.predict_proba(x)[17]).all()
        scored = each.evaluate(x, np.zeros((20, n)))
        assert math.isnan(scored["loss"])
        assert scored["accuracy"] <= 0.951


@pytest.mark.parametrize("form", [bool, np.uint8, np.int64, np.float64])
def test_labels_of_two_kinds(form):
    """The breast-cancer way: one output, y as it comes; a column as well."""
    x = np.random.default_rng(0).standard_normal((300, 4))
    y = x[:, 0] > 0.1
    model = layers.Sequential(
        [layers.Dense(4, 1)], layers.SigmoidCrossEntropy(), layers.SGD(0.5), seed=0
    )
    model.fit(x, y.astype(form), epochs=30)
    assert model.evaluate(x, y.astype(form)[:, None])["accuracy"] > 0.97
    assert (model.predict(x) == y).mean() > 0.97


@pytest.mark.parametrize(
    ("n", "y", "error", "message"),
    [
        (1, [0, 2], ValueError, r"row 1 of y holds 2.0, expected 0, 1 or a prob.* SoftmaxCrossEnt"),
        (1, [-1, 1], ValueError, "row 0 of y holds -1.0, expected 0, 1 or"),
        (1, [0, np.nan], ValueError, "row 1 of y holds nan, expected 0, 1 or"),
        (1, ["no", "yes"], TypeError, r"y holds text \('no'\), expected 0 and 1: y == 'no' gives"),
        (3, [0, 1], ValueError, r"y has shape \(2,\), expected \(2, 3\), 0 or 1 of each label"),
        (3, [[0, 1], [1, 0]], ValueError, r"y has shape \(2, 2\), expected \(2, 3\)"),
        (1, None, TypeError, "y is None, expected real numbers"),
    ],
)
def test_labels_that_are_not_0_or_1(n, y, error, message):
    model = layers.Sequential([layers.Dense(2, n)], layers.SigmoidCrossEntropy(), seed=0)
    with pytest.raises(error, match=message):
        model.fit(np.zeros((2, 2)), y)


@pytest.mark.parametrize(
    ("last", "loss", "message"),
    [
        ("Sigmoid", layers.SigmoidCrossEntropy(), "takes logits, but .* or use BinaryCrossEntropy"),
        ("Sigmoid", layers.SoftmaxCrossEntropy(), "takes logits, but .* or use BinaryCrossEntropy"),
        ("Sigmoid", layers.CategoricalCrossEntropy(), "takes probabilities, but the last layer is"),
        ("Softmax", layers.BinaryCrossEntropy(), r"end with Sigmoid\(\), or use SigmoidCrossEnt"),
        ("ReLU", layers.BinaryCrossEntropy(), r"end with Sigmoid\(\), or use SigmoidCrossEntropy"),
    ],
)
def test_a_loss_that_does_not_fit_the_last_layer(last, loss, message):
    with pytest.raises(ValueError, match=f"Sequential: {type(loss).__name__} .*{message}"):
        layers.Sequential([layers.Dense(2, 3), getattr(layers, last)()], loss)
