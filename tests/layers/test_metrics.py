"""Metrics: beside own NumPy, by weight, on both backends, in histories, bars and errors."""

import copy
import math

import numpy as np
import pytest

import kernels
import layers
from layers import datasets
from layers.training.loop import _shown

pytestmark = pytest.mark.compiled

X, Y = datasets.load_digits()
X, Y = X[:301], Y[:301]
WEIGHTS = np.random.default_rng(5).integers(0, 9, len(X)) / 4
PLAIN = {"loss", "accuracy"}


def make(n_out, loss=None, metrics=None, dtype="float64"):
    stack = [layers.Dense(64, n_out)]
    return layers.Sequential(stack, loss, layers.SGD(0.05), 1, dtype, metrics=metrics)


def of_classes(scores, y, k):
    better = (scores > scores[np.arange(len(y)), y][:, None]).sum(axis=1)
    return better < k


def f1(predicted, wanted, weights):
    tp, fp, fn = (
        (weights * each).sum()
        for each in (predicted & wanted, predicted & ~wanted, ~predicted & wanted)
    )
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    return 2 * precision * recall / (precision + recall)


def r2(y, targets, weights):
    scores = []
    for column, t in zip(y.T, targets.T, strict=True):
        mean = np.average(t, weights=weights)
        left, spread = (np.average((t - each) ** 2, weights=weights) for each in (column, mean))
        scores.append(1 - left / spread)
    return np.mean(scores)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_metrics_are_their_formulas(weights, backend):
    w = np.ones(len(X)) if weights is None else weights
    with layers.backend(backend):
        model = make(10, metrics=[layers.TopK(3), layers.TopK(1)], dtype="float64")
        found, scores = model.evaluate(X, Y, weights), model.forward(X)
        for k in (1, 3):
            expected = np.average(of_classes(scores, Y, k), weights=w)
            assert found[f"top_{k}_accuracy"] == pytest.approx(expected, rel=1e-12)
        assert found["top_1_accuracy"] == found["accuracy"]
        rows = model.evaluate(X, np.eye(10)[Y], weights)
        assert rows["top_3_accuracy"] == found["top_3_accuracy"]

        labels = np.stack([Y % 2, Y > 4, Y < 3], axis=1).astype(bool)
        model = make(3, layers.SigmoidCrossEntropy(), [layers.F1()])
        expected = f1(model.forward(X) > 0, labels, w[:, None])
        assert model.evaluate(X, labels, weights)["f1"] == pytest.approx(expected, rel=1e-12)
        model = make(2, metrics=[layers.F1()])
        y = Y > 4
        expected = f1(model.predict(X) == 1, y, w)
        assert model.evaluate(X, y, weights)["f1"] == pytest.approx(expected, rel=1e-12)
        as_rows = np.stack([~y, y], axis=1)
        assert model.evaluate(X, as_rows, weights)["f1"] == pytest.approx(expected, rel=1e-12)

        targets = np.stack([Y, 1e6 - Y**2], axis=1).astype(float)
        model = make(2, layers.MeanSquaredError())
        found, scores = model.evaluate(X, targets, weights), model.predict(X)
        assert found["mae"] == pytest.approx(
            np.average(abs(scores - targets).mean(axis=1), weights=w), rel=1e-12
        )
        assert found["r2"] == pytest.approx(r2(scores, targets, w), rel=1e-9)


def test_r2_is_one_for_what_is_right_and_zero_for_the_mean():
    targets = np.arange(7.0)[:, None]
    weights = np.array([[1.0], [2], [0], [1], [5], [1], [1]])
    mean = np.full_like(targets, np.average(targets, weights=weights))
    assert kernels.r2_score(targets, targets, weights) == 1
    assert kernels.r2_score(mean, targets, weights) == pytest.approx(0, abs=1e-15)
    alike = np.full_like(targets, 0.1)
    assert kernels.r2_score(alike, alike, weights) == 1
    assert kernels.r2_score(targets, alike, weights) == 0
    assert math.isnan(kernels.r2_score(targets * np.nan, alike, weights))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 3, 16, 21])
def test_the_k_largest_are_the_first_of_a_stable_sort(dtype, n):
    rng = np.random.default_rng(n)
    scores, labels = rng.integers(0, 5, (40, n)).astype(dtype), rng.integers(0, n, 40)
    scores[3, rng.integers(0, n)] = np.nan
    out = np.empty((40, 1), dtype)
    for k in (1, 2, 5, n, n + 3):
        kernels.top_k_rows(scores, labels, k, out)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        expected = (order == labels[:, None]).any(axis=1)
        expected[3] = False
        assert (out[:, 0] == expected).all()
    kernels.top_k_rows(scores, labels, 1, out)
    assert out.mean(dtype=np.float64) == kernels.accuracy(scores, labels)


def test_nan_is_wrong_for_f1_either_way():
    ones, nan = np.ones((4, 1)), np.full((4, 1), np.nan)
    assert kernels.f1_score(nan, ones, ones, 0.5) == 0
    assert kernels.f1_score(nan, ones * 0, ones, 0.5) == 0
    assert kernels.f1_score(ones, ones, ones, 0.5) == 1
    assert kernels.f1_score(ones * 0, ones * 0, ones, 0.5) == 0
    half = np.array([[1.0], [np.nan], [0], [0]])
    assert kernels.f1_score(half, ones * [[1], [0], [0], [0]], ones, 0.5) == pytest.approx(2 / 3)


def test_metrics_are_in_histories_callbacks_and_the_bar(capsys):
    model = make(1, layers.MeanSquaredError())
    history = model.fit(
        *(X, Y, 4, 32, (X[:99], Y[:99], WEIGHTS[:99])),
        callbacks=layers.EarlyStopping("val_r2", patience=2),
        progress=True,
    )
    assert list(history) == ["loss", "val_loss", "val_mae", "val_r2"]
    best = history.best("val_r2")
    assert best["val_r2"] == max(history["val_r2"])
    assert model.evaluate(X[:99], Y[:99], WEIGHTS[:99])["r2"] == best["val_r2"]
    assert "mae=" in capsys.readouterr().err
    shown = _shown({"loss": 1.0, "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 0.25})
    assert shown == "loss=1 accuracy=0.500 (val: 2 0.250)"
    with pytest.raises(ValueError, match="EarlyStopping looks at 'val_f1', expected one of"):
        model.fit(X, Y, validation_data=(X, Y), callbacks=layers.EarlyStopping("val_f1"))


def test_a_loss_has_metrics_of_its_own_and_a_model_others():
    assert set(make(10).evaluate(X, Y)) == PLAIN
    assert set(make(1, layers.Poisson()).evaluate(X, Y)) == {"loss", "mae", "r2"}
    model = make(1, layers.Huber(), [])
    assert set(model.evaluate(X, Y)) == {"loss"}
    model.metrics = [layers.R2()]
    assert set(copy.deepcopy(model).evaluate(X, Y)) == {"loss", "r2"}
    with pytest.raises(ValueError, match=r"R2\(\) is of numbers, and the loss is SigmoidCross"):
        model.loss = layers.SigmoidCrossEntropy()
    model.metrics = None
    model.loss = layers.SigmoidCrossEntropy()
    assert set(model.evaluate(X, Y > 4)) == PLAIN


def test_a_metric_of_your_own():
    class Worst(layers.Metric):
        name = "worst"

        def of(self, loss, scores, targets, weights):
            return float(abs(scores - targets).max())

    model = make(1, layers.MeanSquaredError(), [Worst()])
    history = model.fit(X, Y, validation_fraction=0.2)
    assert list(history) == ["loss", "val_loss", "val_worst"]
    assert model.evaluate(X, Y)["worst"] == abs(model.predict(X)[:, 0] - Y).max()


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        (["accuracy"], TypeError, r"metrics\[0\] is 'accuracy', expected TopK\(5\), F1\(\), MAE"),
        ([layers.F1], TypeError, r"metrics\[0\] is .*, expected TopK"),
        ("f1", TypeError, r"metrics is 'f1', expected a list, such as \[TopK\(5\)\]"),
        (layers.F1(), TypeError, r"metrics is F1\(\), expected a list"),
        ([layers.F1()], ValueError, r"F1\(\) is of two classes or of labels 0 and 1, and the"),
        ([layers.TopK(10)], ValueError, r"TopK\(10\) of 10 classes is always 1, expected k below"),
        ([layers.MAE()], ValueError, r"MAE\(\) is of numbers, and the loss is SoftmaxCrossEnt"),
        ([layers.TopK(2)] * 2, ValueError, "metrics has 'top_2_accuracy' twice, expected names"),
    ],
)
def test_bad_metrics(metrics, error, message):
    with pytest.raises(error, match=f"^Sequential: {message}"):
        make(10, metrics=metrics)


def test_bad_numbers_of_metrics():
    with pytest.raises(
        ValueError, match=r"^Sequential: TopK\(2\) is of classes, and the loss is S"
    ):
        make(3, layers.SigmoidCrossEntropy(), [layers.TopK(2)])
    for k in ("3", 2.0, True):
        with pytest.raises(TypeError, match=r"^TopK: k is"):
            layers.TopK(k)
    with pytest.raises(ValueError, match=r"^TopK: k is 0, expected an integer of at least 1"):
        layers.TopK(0)
