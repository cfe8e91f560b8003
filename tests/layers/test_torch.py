"""Models to and from PyTorch, and its tensors as data."""

import subprocess
import sys

import numpy as np
import pytest

import layers
from tests.layers.test_exchanged import WITHIN

torch = pytest.importorskip("torch")
nn = torch.nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 6)).astype(np.float32)
Y = np.arange(48) % 3


def model_with(layer, **arguments) -> layers.Sequential:
    stack = [layers.Dense(6, 5), layer, layers.Dense(5, 3)]
    return layers.Sequential(stack, **({"seed": 3} | arguments))


def logits(module, x=X):
    with torch.no_grad():
        return module.eval()(torch.tensor(x)).numpy()


@pytest.mark.parametrize("layer", WITHIN, ids=repr)
def test_each_layer_both_ways(layer):
    with layers.backend("numpy"):
        model = model_with(layers.base.copy.deepcopy(layer))
        model.fit(X, Y)
        module = model.to_torch()
        np.testing.assert_allclose(logits(module), model.forward(X), rtol=2e-5, atol=2e-6)
        back = layers.from_torch(module)
        assert repr(back.layers) == repr(model.layers)
        assert back.fingerprint() == model.fingerprint()
        fresh = model_with(layers.base.copy.deepcopy(layer), seed=4)
        fresh.load_parameters(module.state_dict())
        assert fresh.fingerprint() == model.fingerprint()


def test_softmax_and_float64():
    stack = [layers.Dense(6, 3), layers.Softmax()]
    model = layers.Sequential(stack, layers.CategoricalCrossEntropy(), seed=0, dtype="float64")
    module = model.to_torch()
    np.testing.assert_allclose(logits(module, X.astype(float)), model.predict_proba(X), rtol=1e-12)
    back = layers.from_torch(module)
    assert repr(back) == repr(model)
    assert back.fingerprint() == model.fingerprint()


OPTIMIZERS = [
    layers.SGD(0.1, momentum=0.9),
    layers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    layers.Adam(0.01, weight_decay=0.1),
    layers.AdamW(0.01, 0.8, 0.99, 1e-6),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_training_goes_on_there_and_back_here(optimizer):
    """Three steps here, three there, three here: within rounding those of nine here."""

    with layers.backend("numpy"):
        whole = model_with(layers.Tanh(), optimizer=optimizer, dtype="float64")
        model = model_with(layers.Tanh(), optimizer=optimizer, dtype="float64")
        for _ in range(3):
            model.train_step(X, Y)
        module, trained = model.to_torch(optimizer=True)
        module_x = torch.tensor(X, dtype=torch.float64)
        for _ in range(3):
            trained.zero_grad()
            nn.functional.cross_entropy(module(module_x), torch.tensor(Y)).backward()
            trained.step()
        back = layers.from_torch(module, optimizer=trained)
        assert repr(back.optimizer) == repr(optimizer)
        for _ in range(3):
            back.train_step(X, Y)
        for _ in range(9):
            whole.train_step(X, Y)
        for name, array in back.parameters().items():
            np.testing.assert_allclose(array, whole.parameters()[name], rtol=1e-9, atol=1e-12)


def test_rates_of_layers_and_frozen_layers_come_along():
    with layers.backend("numpy"):
        model = layers.Sequential(
            [
                layers.Dense(6, 5, bias=False, trainable=False),
                layers.Tanh(),
                layers.Dense(5, 4, bias=False, learning_rate_scale=0.25),
                layers.Dense(4, 3),
            ],
            optimizer=layers.Adam(0.01, weight_decay=0.1),
            seed=0,
            dtype="float64",
        )
        whole = layers.base.copy.deepcopy(model)
        for each, steps in ((model, 2), (whole, 6)):
            for _ in range(steps):
                each.train_step(X, Y)
        module, trained = model.to_torch(optimizer=True)
        assert [p.requires_grad for p in module.parameters()] == [False, True, True, True]
        for _ in range(2):
            trained.zero_grad()
            scores = module(torch.tensor(X, dtype=torch.float64))
            nn.functional.cross_entropy(scores, torch.tensor(Y)).backward()
            trained.step()
        back = layers.from_torch(module, optimizer=trained)
        assert repr(back) == repr(model)
        for _ in range(2):
            back.train_step(X, Y)
        for name, array in back.parameters().items():
            np.testing.assert_allclose(array, whole.parameters()[name], rtol=1e-9, atol=1e-12)


def test_a_module_that_is_frozen_in_part():
    module = nn.Linear(6, 3)
    module.bias.requires_grad_(False)
    with pytest.raises(ValueError, match=r"module, Linear: some of its parameters require grad"):
        layers.from_torch(module)


def test_sequences_within_sequences_and_modules_that_change_nothing():
    inner = nn.Sequential(nn.Linear(6, 5), nn.ReLU())
    module = nn.Sequential(nn.Flatten(), inner, nn.Identity(), nn.Sequential(nn.Linear(5, 3)))
    model = layers.from_torch(module)
    assert repr(model.layers) == "(Dense(6, 5), ReLU(), Dense(5, 3))"
    np.testing.assert_allclose(logits(module), model.forward(X), rtol=2e-5, atol=2e-6)


class Own(nn.Module):
    pass


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Linear(6, 5), nn.Sequential(nn.Conv1d(1, 2, 3))), "1.0 is Conv1d, which"),
        (Own(), "module is an Own, expected a torch.nn.Sequential"),
        (nn.Sequential(nn.Linear(6, 5), nn.Softmax(dim=0)), r"1, Softmax: dim is 0, expected 1"),
        (nn.Sequential(nn.Linear(6, 3), nn.Softplus(2.0)), "1, Softplus: beta is 2.0, expected 1"),
        (nn.Sequential(nn.BatchNorm1d(6, affine=False)), "0, BatchNorm1d: it has no weights"),
        (nn.Sequential(nn.LayerNorm((2, 3))), r"0, LayerNorm: normalized_shape is \(2, 3\)"),
        (nn.Sequential(), "the module has no layer"),
        ("a text", "module is a str, expected"),
    ],
)
def test_modules_without_a_counterpart(module, message):
    with pytest.raises((TypeError, ValueError), match=rf"^layers.from_torch: {message}"):
        layers.from_torch(module)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda p: torch.optim.Adam(p, amsgrad=True), "has amsgrad"),
        (lambda p: torch.optim.SGD(p, momentum=0.9, dampening=0.5), "has dampening"),
        (lambda p: torch.optim.Adam(p, weight_decay=0.1), "of biases too"),
        (lambda p: torch.optim.Adagrad(p), "optimizer is an Adagrad, expected"),
        (lambda p: torch.optim.SGD(p[:1]), "does not move 0.biases"),
        (
            lambda p: torch.optim.SGD([{"params": p[:1]}, {"params": p[1:], "lr": 1.0}]),
            "groups have lr",
        ),
    ],
)
def test_optimizers_without_a_counterpart(made, message):
    module = nn.Sequential(nn.Linear(6, 3))
    with pytest.raises(ValueError, match=rf"^layers.from_torch: .*{message}"):
        layers.from_torch(module, optimizer=made(list(module.parameters())))


def test_what_has_no_counterpart_there():
    with pytest.raises(
        ValueError, match=r"^Sequential.to_torch: layer 0, Standardize\(6\), has no"
    ):
        layers.Sequential([layers.Standardize(6), layers.Dense(6, 3)]).to_torch()
    for optimizer in (
        layers.Lion(),
        layers.SGD(layers.schedules.Step(0.1, 5)),
        layers.Adam(clip_norm=1.0),
        layers.SGD(clip_value=0.5),
    ):
        model = layers.Sequential([layers.Dense(6, 3)], optimizer=optimizer)
        model.to_torch()
        with pytest.raises(ValueError, match=r"^Sequential.to_torch: the optimizer is "):
            model.to_torch(optimizer=True)
    for stack, message in (
        ([layers.Dense(6, 3, l2=0.1)], "layer 0 is .*, whose penalty"),
        ([layers.Dense(6, 3, trainable=False)], "every layer is frozen"),
        ([layers.Residual([layers.Dense(6, 6)])], r"layer 0, Residual\(.*\), has no counterpart"),
        ([layers.Concatenate([[], layers.Dense(6, 3)])], "layer 0, Concatenate.* has no"),
        ([layers.Embedding(6, [0], [2], 2)], "layer 0, Embedding.* has no counterpart"),
    ):
        with pytest.raises(ValueError, match=rf"^Sequential.to_torch: {message}"):
            layers.Sequential(stack).to_torch(optimizer=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("0.bias"), "the names are"),
        (lambda state: state.update(more=torch.ones(1)), "the names are"),
        (lambda state: state.update({"0.weight": state["0.weight"].T}), "has shape"),
        (lambda state: state.update({"1.running_var": -torch.ones(3)}), "numbers below 0"),
    ],
)
def test_a_state_dict_that_does_not_fit_changes_nothing(change, message):
    model = layers.Sequential([layers.Dense(6, 3), layers.BatchNorm(3)], seed=0)
    state, before = model.to_torch().state_dict(), model.fingerprint()
    state["0.weight"] = state["0.weight"] + 1
    change(state)
    with pytest.raises(ValueError, match=rf"^Sequential.load_parameters: .*{message}"):
        model.load_parameters(state)
    assert model.fingerprint() == before


# --- tensors as data ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("grad", [False, True])
def test_tensors_are_taken(dtype, grad):
    x = torch.tensor(X, dtype=getattr(torch, dtype), requires_grad=grad)
    y = torch.tensor(Y)
    plain = x.detach().float().numpy()
    with layers.backend("numpy"):
        one, other = model_with(layers.ReLU()), model_with(layers.ReLU())
        one.fit(x, y, validation_data=(x, y))
        other.fit(plain, Y, validation_data=(plain, Y))
        assert one.fingerprint() == other.fingerprint()
        assert one.evaluate(x, y) == other.evaluate(plain, Y)
        np.testing.assert_array_equal(one.predict(x), other.predict(plain))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("grad", [False, True])
def test_a_data_loader_is_taken(dtype, grad):
    x = torch.tensor(X.round(), dtype=getattr(torch, dtype), requires_grad=grad)
    data = torch.utils.data.TensorDataset(x, torch.tensor(Y))
    loader = torch.utils.data.DataLoader(data, batch_size=16)
    with layers.backend("numpy"):
        one, other = model_with(layers.ReLU()), model_with(layers.ReLU())
        one.fit(loader, epochs=2, validation_data=loader)
        plain = X.round()
        other.fit(plain, Y, 2, 16, (plain, Y), shuffle=False)
        assert one.fingerprint() == other.fingerprint()
        assert one.history == other.history
        assert one.evaluate(loader) == other.evaluate(plain, Y)


class ByDLPack:
    """An array of a library that has no other way."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack__(self, **arguments):
        return self.tensor.__dlpack__(**arguments)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()


def test_arrays_are_read_where_they_lie():
    tensor = torch.tensor(X)
    model = model_with(layers.ReLU())
    for given in (tensor, tensor.requires_grad_(), ByDLPack(torch.tensor(X))):
        checked = model._checked_data("fit", "x", given)
        kept = given.tensor if isinstance(given, ByDLPack) else given
        assert checked.ctypes.data == kept.data_ptr()
    with layers.backend("numpy"):
        model.fit(ByDLPack(torch.tensor(X)), ByDLPack(torch.tensor(Y)))


def test_torch_is_imported_by_nobody_but_the_user():
    script = (
        "import sys, layers; model = layers.Sequential([layers.Dense(3, 2)]); "
        "model.load_parameters(model.parameters()); "
        "print([n for n in ('torch', 'onnx', 'onnxruntime', 'safetensors') if n in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert printed.stdout == "[]\n", printed.stderr
