"""Losses, each as a user would train with it: numbers, gradients, both paths, what is taken."""

import copy
import math

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


def numbers(n: int, rows: int = 37) -> tuple[np.ndarray, np.ndarray]:
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
