"""Losses, each as a user would train with it: numbers, gradients, both paths, what is taken."""

import copy
import math
import pickle

import numpy as np
import pytest

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
