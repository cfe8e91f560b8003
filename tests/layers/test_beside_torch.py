"""Side by side with PyTorch in float64: forward, each gradient, 200 steps, of all that both have.

Bounds: both sum in float64, in other orders, so a forward pass and its gradients agree within some
hundred roundings (1e-12); 200 steps carry differences on, and stay within 1e-7.
"""

import copy

import numpy as np
import pytest

import layers
from layers.exchange.parameters import TORCH_NAMES, torch_form
from tests.layers.test_exchanged import WIDTH, WITHIN

torch = pytest.importorskip("torch")
F = torch.nn.functional

RNG = np.random.default_rng(1)
X = RNG.normal(size=(24, 6))
LABELS = np.arange(24) % 3
BITS = np.stack([LABELS == 1, LABELS > 0, LABELS < 2], axis=1).astype(float)
NUMBERS = RNG.normal(size=(24, 3))
COUNTS = RNG.poisson(2.0, size=(24, 3)).astype(float)
SHARES = RNG.dirichlet([1.0, 2.0, 3.0], size=24)
STEPS = 200

LOSSES = {
    "softmax": (layers.SoftmaxCrossEntropy(), LABELS, F.cross_entropy, None),
    "smoothed": (
        layers.SoftmaxCrossEntropy(label_smoothing=0.2),
        LABELS,
        lambda s, t: F.cross_entropy(s, t, label_smoothing=0.2),
        None,
    ),
    "left out": (
        layers.SoftmaxCrossEntropy(ignore_index=2),
        LABELS,
        lambda s, t: F.cross_entropy(s, t, ignore_index=2),
        None,
    ),
    "shares": (layers.SoftmaxCrossEntropy(), SHARES, F.cross_entropy, None),
    "probabilities": (
        layers.CategoricalCrossEntropy(),
        LABELS,
        lambda s, t: F.nll_loss(s.log(), t),
        layers.Softmax(),
    ),
    "bits": (
        layers.SigmoidCrossEntropy(),
        BITS,
        F.binary_cross_entropy_with_logits,
        None,
    ),
    "bits of probabilities": (
        layers.BinaryCrossEntropy(),
        BITS,
        F.binary_cross_entropy,
        layers.Sigmoid(),
    ),
    "squared": (layers.MeanSquaredError(), NUMBERS, F.mse_loss, None),
    "absolute": (layers.MeanAbsoluteError(), NUMBERS, F.l1_loss, None),
    "huber": (layers.Huber(0.5), NUMBERS, lambda s, t: F.huber_loss(s, t, delta=0.5), None),
    "poisson": (layers.Poisson(), COUNTS, F.poisson_nll_loss, None),
}
ALONE = {layers.Quantile, layers.ElementwiseLoss}
"""Losses that PyTorch has not."""


def test_each_public_loss_is_beside_pytorchs_or_alone():
    kinds = {each for each in vars(layers).values() if isinstance(each, type)}
    public = {each for each in kinds if issubclass(each, layers.Loss) and each is not layers.Loss}
    assert public == {type(loss) for loss, *_ in LOSSES.values()} | ALONE


def beside(model, y, loss, rtol=1e-12, steps=STEPS):
    """Forward and gradients once, then training steps of both, and all numbers in the end."""
    module, trained = model.to_torch(optimizer=True)
    x, t = torch.tensor(X), torch.tensor(y)
    train_both(model, module, trained, lambda: loss(module(x), t), y, rtol, steps)
    expected = module.eval()(x).detach().numpy()
    np.testing.assert_allclose(model.forward(X), expected, rtol=1e-6, atol=1e-7)
    state = module.state_dict()
    for name, array in (model.parameters() | model.statistics()).items():
        index, short = name.split(".")
        ours = torch_form(model.layers[int(index)], short, array)
        theirs = state[f"{index}.{TORCH_NAMES[short]}"].numpy()
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-7, err_msg=name)


def train_both(model, module, trained, loss, y, rtol, steps):
    given = model.gradients(X, y)
    found = loss()
    found.backward()
    by_name = dict(module.named_parameters())
    assert len(given) == len(by_name)
    # Some gradients are 0 but for rounding: those of biases before a batch norm.
    scale = max(float(each.grad.abs().max()) for each in by_name.values())
    for name, gradient in given.items():
        index, short = name.split(".")
        theirs = by_name[f"{index}.{TORCH_NAMES[short]}"].grad.numpy()
        ours = torch_form(model.layers[int(index)], short, gradient)
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * scale, err_msg=name)
    for step in range(steps):
        if step:
            trained.zero_grad()
            found = loss()
            found.backward()
        trained.step()
        ours = model.train_step(X, y)
        np.testing.assert_allclose(ours, found.item(), rtol=1e-7, err_msg=f"step {step}")


@pytest.fixture(autouse=True)
def without_compiling(request):
    if "compiled" in request.keywords:
        yield
        return
    with layers.backend("numpy"):
        yield


def stacked(*within, loss=None, optimizer=None, seed=3):
    optimizer = optimizer or layers.SGD(0.05, momentum=0.9)
    stack = [layers.Dense(6, WIDTH), *copy.deepcopy(within)]
    return layers.Sequential(stack, loss, optimizer, seed=seed, dtype="float64")


@pytest.mark.parametrize("layer", WITHIN, ids=repr)
def test_layers(layer):
    if isinstance(layer, layers.Dropout):  # what it leaves out is drawn; of 0 nothing
        layer = layers.Dropout(0.0)
    beside(stacked(layer, layers.Dense(WIDTH, 3)), LABELS, F.cross_entropy)


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    loss, y, theirs, last = LOSSES[name]
    stack = [layers.Tanh(), layers.Dense(WIDTH, 3), *([] if last is None else [last])]
    model = stacked(*stack, loss=copy.deepcopy(loss), optimizer=layers.SGD(0.05))
    beside(model, y, theirs)


@pytest.mark.parametrize(
    "optimizer",
    [
        layers.SGD(0.05),
        layers.SGD(0.02, momentum=0.9, nesterov=True, weight_decay=0.01),
        layers.Adam(0.01, weight_decay=0.01),
        layers.AdamW(0.01),
    ],
    ids=repr,
)
@pytest.mark.parametrize("norm", [layers.BatchNorm(WIDTH), layers.LayerNorm(WIDTH)], ids=repr)
def test_optimizers_with_norms(optimizer, norm):
    model = stacked(norm, layers.Tanh(), layers.Dense(WIDTH, 3), optimizer=optimizer)
    # Adam divides rounding by rounding where gradients are 0: those of biases before a batch norm.
    model.layers[0].trainable = not isinstance(optimizer, (layers.Adam, layers.AdamW))
    module, trained = model.to_torch(optimizer=True)
    x, t = torch.tensor(X), torch.tensor(LABELS)
    for step in range(STEPS):
        trained.zero_grad()
        found = F.cross_entropy(module(x), t)
        found.backward()
        trained.step()
        ours = model.train_step(X, LABELS)
        np.testing.assert_allclose(ours, found.item(), rtol=1e-7, err_msg=f"step {step}")
    expected = module.eval()(x).detach().numpy()
    np.testing.assert_allclose(model.forward(X), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.compiled
def test_a_compiled_network_of_them_all():
    left_out = (layers.Dropout, layers.LogSoftmax)
    within = [layer for layer in WITHIN if not isinstance(layer, left_out)]
    model = stacked(*within, layers.Dense(WIDTH, 3), optimizer=layers.SGD(0.02))
    assert "one compiled program" in model.summary()
    beside(model, LABELS, F.cross_entropy, rtol=1e-10)


def test_vectors_of_categories():
    x = X.copy()
    x[:, 2] = np.arange(24) % 4
    stack = [layers.Embedding(6, [2], [4], 2), layers.Dense(7, 3)]
    model = layers.Sequential(stack, optimizer=layers.SGD(0.1), seed=0, dtype="float64")
    vectors = torch.tensor(model.layers[0].vectors(2).copy(), requires_grad=True)
    weights = torch.tensor(model.layers[1].weights.copy(), requires_grad=True)
    biases = torch.tensor(model.layers[1].biases.copy(), requires_grad=True)
    trained = torch.optim.SGD([vectors, weights, biases], lr=0.1)
    others, which = torch.tensor(np.delete(x, 2, axis=1)), torch.tensor(x[:, 2].astype(int))
    for step in range(STEPS):
        trained.zero_grad()
        joined = torch.cat([others, F.embedding(which, vectors)], dim=1)
        found = F.cross_entropy(joined @ weights + biases, torch.tensor(LABELS))
        found.backward()
        trained.step()
        ours = model.train_step(x, LABELS)
        np.testing.assert_allclose(ours, found.item(), rtol=1e-9, err_msg=f"step {step}")
    for array, theirs in (
        (model.layers[0].vectors(2), vectors),
        (model.layers[1].weights, weights),
        (model.layers[1].biases, biases),
    ):
        np.testing.assert_allclose(array, theirs.detach().numpy(), rtol=1e-9, atol=1e-12)
