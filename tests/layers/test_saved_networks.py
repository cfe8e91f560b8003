"""What files say of a network: metrics, containers, how layers are trained; and going on."""

import json

import numpy as np
import pytest

import layers
from layers.files import archive

RNG = np.random.default_rng(0)
X = RNG.integers(-8, 9, size=(40, 4)).astype(np.float32) / 4
Y = np.arange(40) % 3


class Share(layers.Metric):
    """Of rows that are predicted to be of a class."""

    def __init__(self, of: int = 0) -> None:
        self.which, self.name = of, f"share_of_{of}"

    def of(self, loss, scores, targets, weights) -> float:
        return float(np.mean(scores.argmax(axis=1) == self.which))

    def config(self):
        return {"of": self.which}


class Silent(Share):
    """Its config does not say what the constructor takes."""

    config = layers.Metric.config


def saved(model, path, **given):
    model.save(path)
    return layers.load(path, **given)


@pytest.fixture(autouse=True)
def without_compiling(request):
    if "compiled" in request.keywords:
        yield
        return
    with layers.backend("numpy"):
        yield


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_metrics_are_saved(tmp_path, ending):
    if ending == "safetensors":
        pytest.importorskip("safetensors")
    metrics = [layers.TopK(2), Share(1)]
    model = layers.Sequential([layers.Dense(4, 3)], seed=0, metrics=metrics)
    path = tmp_path / f"net.{ending}"
    back = saved(model, path, custom=[Share])
    assert repr(back) == repr(model)
    assert back.evaluate(X, Y) == model.evaluate(X, Y)
    assert {"top_2_accuracy", "share_of_1"} <= set(back.evaluate(X, Y))
    with pytest.raises(ValueError, match=r"metric 1 in its architecture: 'Share' is a class of yo"):
        layers.load(path)


def test_metrics_that_a_loss_has_by_itself_stay_its_own(tmp_path):
    model = layers.Sequential([layers.Dense(4, 3)], layers.MeanSquaredError(), seed=0)
    back = saved(model, tmp_path / "net.npz")
    assert back._metrics is None
    back.loss = layers.SoftmaxCrossEntropy()  # which MAE() would not suit
    none = layers.Sequential([layers.Dense(4, 3)], layers.MeanSquaredError(), metrics=[])
    assert saved(none, tmp_path / "net.npz").metrics == ()


def test_a_metric_that_no_file_can_describe(tmp_path):
    model = layers.Sequential([layers.Dense(4, 3)], metrics=[Silent(2)])
    with pytest.raises(TypeError, match=r"^Sequential.save: Silent: config\(\) gives the argum"):
        model.save(tmp_path / "net.npz")
    metric = Share()
    metric.of = lambda *given: 0.0
    model.metrics = [metric]
    with pytest.raises(TypeError, match="Share: the object has a method of its own"):
        model.save(tmp_path / "net.npz")


def nested(**arguments) -> layers.Sequential:
    """Every layer with parameters, within containers and outside of them."""
    inner = layers.Residual(
        [
            layers.Dense(6, 6, bias=False, l2=0.25),
            layers.BatchNorm(6, momentum=0.5),
            layers.ReLU(),
            layers.Residual([layers.LayerNorm(6), layers.Dense(6, 6, l1=0.125)]),
        ]
    )
    side = [layers.Dense(4, 2), layers.Dropout(0.25)]
    stack = [layers.Concatenate([[], side]), inner, layers.Dense(6, 3)]
    model = layers.Sequential(stack, **({"seed": 5} | arguments))
    side[0].trainable = False
    inner.branches[0][0].learning_rate_scale = 0.5
    inner.learning_rate_scale = 0.25
    return model


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_how_layers_within_containers_are_trained(tmp_path, ending):
    if ending == "safetensors":
        pytest.importorskip("safetensors")
    model = nested()
    model.fit(X, Y, 2)
    back = saved(model, tmp_path / f"net.{ending}")
    assert repr(back.layers) == repr(model.layers)
    for layer, other in zip(back.layers, model.layers, strict=True):
        assert layer.rates() == other.rates()
        assert layer.penalties() == other.penalties()
    assert back.layers[0].rates()["1.0.weights"] is None
    assert back.layers[1].rates()["0.weights"] == 0.125
    assert back.layers[1].penalties()["0.weights"] == (0, 0.25)
    assert back.fingerprint() == model.fingerprint()
    assert back.penalty() == model.penalty() > 0


OPTIMIZERS = {
    "AdamW": lambda: layers.AdamW(layers.schedules.Cosine(0.05, 12, 3), clip_norm=0.5),
    "momentum": lambda: layers.SGD(0.1, momentum=0.9, clip_value=0.01, weight_decay=0.01),
}


def goes_on(tmp_path, optimizer, x=X, y=Y) -> None:
    whole, model = nested(optimizer=optimizer()), nested(optimizer=optimizer())
    whole.fit(x, y, 4, 16)
    before = whole.statistics()["1.1.running_mean"]
    for _ in range(4):
        model.fit(x, y, 1, 16)
        model = saved(model, tmp_path / "net.npz")
    assert model.fingerprint() == whole.fingerprint()
    assert model.history == whole.history
    assert before.any()
    np.testing.assert_array_equal(model._buffers.states, whole._buffers.states)
    assert model._buffers.states.any()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_statistics_and_states_go_on(tmp_path, name):
    goes_on(tmp_path, OPTIMIZERS[name])


@pytest.mark.compiled
def test_statistics_and_states_go_on_in_compiled_training(tmp_path):
    goes_on(tmp_path, OPTIMIZERS["AdamW"])


def test_what_is_nested_too_deeply_is_refused(tmp_path):
    path = tmp_path / "net.npz"
    layers.Sequential([layers.Dense(4, 3)], seed=0).save(path)
    arrays, architecture = archive.load_arrays(path)
    architecture["layers"][0]["n_out"] = json.loads("[" * 450 + "]" * 450)
    archive.save_arrays(path, arrays, architecture)
    with pytest.raises(ValueError, match=r"net\.npz: .*(nested too deeply|n_out is a list)"):
        layers.load(path)
