"""`model.gradients`, and what `check_gradients` says of mistakes that are planted."""

import re

import numpy as np
import pytest

import layers

pytestmark = pytest.mark.compiled

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((7, 5)), RNG.integers(0, 4, 7)


def make(layer=None, loss=None, first=None, width=6, **arguments):
    stack = [first or layers.Dense(5, width), layer or layers.ReLU(), layers.Dense(width, 4)]
    model = layers.Sequential(stack, loss, seed=0, **arguments)
    for number, array in enumerate(model.parameters().values()):  # biases too
        array += 0.3 * np.random.default_rng(number).standard_normal(array.shape)
    return model


# --- the model's gradients ------------------------------------------------------------------------


class OwnReLU(layers.ReLU):
    def forward(self, x, training=False):
        return super().forward(x, training)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [layers.ReLU, OwnReLU, lambda: layers.Dropout(0.5)])
def test_gradients_are_those_of_the_next_step(hidden, dtype):
    model = make(hidden(), dtype=dtype)
    model.optimizer = layers.SGD(0.5)
    model.fit(X, Y)
    before = {name: array.copy() for name, array in model.parameters().items()}
    gradients = model.gradients(X, Y)
    if hidden is not OwnReLU:
        assert model.layers[0].dweights is None
    assert list(gradients) == list(before)
    assert model.history.epochs == 1
    for name, array in model.parameters().items():
        assert (array == before[name]).all()
    model.train_step(X, Y)
    epsilon = np.finfo(dtype).eps
    for name, array in model.parameters().items():
        moved = before[name] - 0.5 * gradients[name]
        np.testing.assert_allclose(array, moved, rtol=4 * epsilon, atol=epsilon)
    again = model.gradients(X, Y)
    assert gradients["0.weights"] is not again["0.weights"]


def test_bad_input_of_gradients():
    with pytest.raises(ValueError, match=r"^Sequential.gradients: x has shape \(7, 4\), expected"):
        make().gradients(X[:, :4], Y)
    with pytest.raises(ValueError, match=r"^Sequential.gradients: y has shape \(3,\), expected"):
        make().gradients(X, Y[:3])


# --- the check: what is right ---------------------------------------------------------------------


class Tanh(layers.Layer):
    def forward(self, x, training=False):
        self.y = np.tanh(x)
        return self.y

    def backward(self, dy):
        return dy * (1 - self.y**2)


class Scale(layers.Layer):
    """A gain for each column."""

    def __init__(self, n):
        self.n_in = self.n_out = n

    def parameter_shapes(self):
        return {"gain": (1, self.n_in)}

    def bind(self, parameters, gradients, default, key, index):
        self.gain, self.dgain = parameters["gain"], gradients["gain"]
        self.gain[...] = 1

    def forward(self, x, training=False):
        self.x = x
        return x * self.gain

    def backward(self, dy):
        self.dgain[...] = (dy * self.x).sum(axis=0)
        return dy * self.gain


class Cubed(layers.MeanSquaredError):
    """The mean of |y - t|^3."""

    def rows(self, scores, targets, out_losses):
        out_losses[...] = (abs(scores - targets) ** 3).mean(axis=1, keepdims=True)
        return scores - targets

    def gradient(self, kept, targets, out):
        out[...] = 3 * kept * abs(kept) / kept.size


RIGHT = [
    make(),
    make(OwnReLU()),
    make(layers.GELU()),
    make(layers.LeakyReLU()),
    make(layers.Dropout(0.3)),
    make(Tanh()),
    make(Scale(6)),
    make(layers.Elementwise(lambda x: x * x, lambda x: 2 * x)),
]


@pytest.mark.parametrize("model", RIGHT, ids=lambda model: repr(model.layers[1]))
def test_what_is_right(model):
    before = model.fingerprint()
    for x in (X, np.concatenate([X, np.zeros((3, 5))])):
        y = Y if len(x) == len(Y) else np.arange(len(x)) % 4
        found = layers.check_gradients(model, x, y)
        assert found.right, found
        assert [row.name for row in found.rows][:3] == ["loss", "2.weights", "2.biases"]
        assert all(row.error < 1e-5 for row in found.rows), found
    assert model.fingerprint() == before


def test_other_losses_and_optimizers_are_right():
    softmax = layers.Sequential(
        [layers.Dense(5, 4), layers.Softmax()], layers.CategoricalCrossEntropy(), layers.Adam()
    )
    assert layers.check_gradients(softmax, X, np.eye(4)[Y]).right
    targets = RNG.standard_normal((7, 4))
    for loss in (layers.MeanSquaredError(), Cubed()):
        found = layers.check_gradients(make(loss=loss), X, targets)
        assert found.right, found

    class Own(layers.Optimizer):
        def update(self, parameters, gradients, states, step):
            parameters -= 0.1 * gradients

    model = make(Tanh())
    model.optimizer = Own()
    assert layers.check_gradients(model, X, Y).right


def test_large_arrays_are_looked_at_in_part():
    model = layers.Sequential([layers.Dense(64, 50), layers.ReLU(), layers.Dense(50, 4)], seed=0)
    x = RNG.standard_normal((9, 64))
    found = layers.check_gradients(model, x, np.arange(9) % 4, elements=40)
    assert found.right, found
    assert max(len(row.analytic) for row in found.rows) <= 40
    lines = str(found).splitlines()
    assert len(lines) == 1 + len(found.rows)
    assert lines[0].split() == ["elements", "gradient", "difference", "error", "verdict"]
    assert found.verdict("0.weights") == "right"


# --- the check: mistakes --------------------------------------------------------------------------


def activation(backward, forward=lambda x: np.maximum(x, 0)):
    class Own(layers.Layer):
        def forward(self, x, training=False):
            self.x, self.y = x, forward(x)
            return self.y

        def backward(self, dy):
            return backward(self, dy)

    return make(Own())


def dense(after, n=5, m=6):
    """A Dense in which something happens to the gradients behind the right ones."""

    class Own(layers.Dense):
        def backward(self, dy):
            before = {name: array.copy() for name, array in self._gradients.items()}
            dx = super().backward(dy)
            replaced = after(self, dy, before, dx)
            return dx if replaced is None else replaced

    stack = [layers.Dense(5, n), layers.ReLU(), Own(n, m), layers.ReLU(), layers.Dense(m, 4)]
    model = layers.Sequential(stack, seed=0)
    for array in model.parameters().values():
        array += 0.1
    return model


def loss(change, base=layers.SoftmaxCrossEntropy):
    class Own(base):
        def gradient(self, kept, targets, out):
            super().gradient(kept, targets, out)
            change(out, targets)

    return make(loss=Own())


def set_(name, value):
    def after(self, dy, before, dx):
        self._gradients[name][...] = value(self, dy, before)

    return after


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def add_targets(out, targets):
    out[np.arange(len(out)), targets] += 1 / len(out)


def in_place(self, dy):
    dy *= self.x > 0
    return dy


MISTAKES = {
    "mean not taken": (
        lambda: loss(lambda out, t: out.__imul__(7)),
        "loss", "7 times too large: the mean over the batch of 7 is not taken"),
    "mean taken twice, in the loss": (
        lambda: loss(lambda out, t: out.__itruediv__(7)),
        "loss", "7 times too small: the mean over the batch of 7 is taken twice"),
    "mean taken twice, in a layer": (
        lambda: dense(set_("weights", lambda s, dy, b: s._gradients["weights"] / len(dy))),
        "2.weights", "the mean over the batch of 7 is taken twice"),
    "sign of the loss": (
        lambda: loss(lambda out, t: out.__imul__(-1)), "loss", "the sign is wrong"),
    "sign and batch": (
        lambda: loss(lambda out, t: out.__imul__(-7)),
        "loss", "the sign is wrong, and it is 7 times too large: the mean"),
    "sign of an activation": (
        lambda: activation(lambda s, dy: -dy * (s.x > 0)), "1.inputs", "the sign is wrong"),
    "the target left out": (lambda: loss(add_targets), "loss", "the target is not subtracted"),
    "the 2 of a square": (
        lambda: dense(set_("biases", lambda s, dy, b: s._gradients["biases"] / 2)),
        "2.biases", "2 times too small: the 2 of a square's derivative is missing"),
    "weights not transposed": (
        lambda: dense(lambda s, dy, b, dx: dy @ s.weights, 6, 6),
        "2.inputs", "is dy times the weights: they are not transposed"),
    "gradient transposed": (
        lambda: dense(set_("weights", lambda s, dy, b: s._gradients["weights"].T.copy()), 6, 6),
        "2.weights", "is transposed"),
    "gradient transposed, not square": (
        lambda: dense(set_("weights", lambda s, dy, b: (
            s._gradients["weights"].T.copy().reshape(s.weights.shape)))),
        "2.weights", "is transposed"),
    "biases of the first row": (
        lambda: dense(set_("biases", lambda s, dy, b: dy[0])),
        "2.biases", "is dy's first row alone: not summed over the batch"),
    "biases' mean": (
        lambda: dense(set_("biases", lambda s, dy, b: dy.mean(axis=0))),
        "2.biases", "the mean over the batch of 7 is taken twice"),
    "biases of all": (
        lambda: dense(set_("biases", lambda s, dy, b: dy.sum())),
        "2.biases", "is the sum of all of dy: summed over the wrong axis"),
    "added up": (
        lambda: dense(lambda s, dy, b, dx: [
            s._gradients[n].__iadd__(b[n]) for n in b] and None),
        "2.weights", r"is added to the one before \(\+=\)"),
    "never written": (
        lambda: dense(set_("weights", lambda s, dy, b: 0)),
        "2.weights", "is 0 throughout: `backward` does not write into the arrays that `bind`"),
    "weight decay": (
        lambda: dense(set_("weights", lambda s, dy, b: s._gradients["weights"] + .01 * s.weights)),
        "2.weights", "has 0.01 times the parameter added: weight decay"),
    "mask of the output": (
        lambda: activation(lambda s, dy: dy * (s.y >= 0)),
        "1.inputs", "is dy as it came: not multiplied|passes in .* the mask is missing, or at >="),
    "mask at 0": (
        lambda: activation(lambda s, dy: dy * (s.x >= 0)),
        "1.inputs", "passes where the input is exactly 0, .* a mask at >= instead of >"),
    "mask too wide": (
        lambda: activation(lambda s, dy: dy * (s.x > 0.5)),
        "1.inputs", "stops in .*, where the input is above 0 what should pass: the mask is too"),
    "mask the wrong way round": (
        lambda: activation(lambda s, dy: dy * (s.x < 0)),
        "1.inputs", "the mask is the wrong way round"),
    "slope of x": (
        lambda: activation(lambda s, dy: dy * (1 - s.x**2), np.tanh),
        "1.inputs", "the derivative is another function's .* of x where the output y is meant"),
    "without dy": (
        lambda: activation(lambda s, dy: 1 - s.y**2, np.tanh),
        "1.inputs", "is the derivative alone: not multiplied by dy"),
    "softmax without its sum": (
        lambda: activation(lambda s, dy: dy * s.y * (1 - s.y), softmax),
        "1.inputs", "has the diagonal alone: .*a sum over the row"),
    "dy changed in place": (lambda: activation(in_place), "1.inputs", "`backward` changes dy in"),
    "a shape": (
        lambda: activation(lambda s, dy: (dy * (s.x > 0)).T),
        "1.inputs", r"has shape \(6, 7\), expected \(7, 6\), that of the inputs: transposed"),
    "an error": (
        lambda: activation(lambda s, dy: dy @ s.x), "1.inputs", "`backward` fails: matmul"),
    "float32": (
        lambda: activation(lambda s, dy: dy * (s.x > 0), lambda x: np.maximum(x, 0).astype("f4")),
        "1.inputs", "`forward` gives float32 in a model of float64"),
    "x changed in place": (
        lambda: activation(lambda s, dy: dy * (s.x > 0), lambda x: np.maximum(x, 0, out=x)),
        "1.inputs", "`forward` changes its input"),
    "two at once": (
        lambda: activation(lambda s, dy: dy * (s.y >= 0) / len(dy)),
        "1.inputs", ".*; and the mean over the batch of 7 is taken twice"),
    "one row": (
        lambda: activation(lambda s, dy: dy * (s.x > 0) * (np.arange(7) != 3)[:, None]
                           + 9. * (np.arange(7) == 3)[:, None]),
        "1.inputs", "is wrong in row 3, right elsewhere"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name):
    model, where, verdict = MISTAKES[name][0](), *MISTAKES[name][1:]
    found = layers.check_gradients(model, X, Y)
    assert not found.right
    wrong = {row.name: row.verdict for row in found.rows if not row.right}
    assert where in wrong, found
    assert re.search(verdict, wrong[where]), found
    # What is behind it is right, and what is before it says where to look.
    for other, text in wrong.items():
        assert other == where or f"see {where}" in text or name in ("added up", "float32"), found


def test_an_uncertain_loss_is_refused():
    draws = np.random.default_rng(0)
    model = activation(lambda s, dy: dy, lambda x: x * draws.random(x.shape))
    with pytest.raises(
        ValueError, match=r"^check_gradients: the loss of the same batch is .*, then"
    ):
        layers.check_gradients(model, X, Y)
    with pytest.raises(TypeError, match=r"^check_gradients: model is 3, expected a Sequential"):
        layers.check_gradients(3, X, Y)
    with pytest.raises(ValueError, match=r"^check_gradients: x has shape \(7, 4\), expected"):
        layers.check_gradients(make(), X[:, :4], Y)
    with pytest.raises(ValueError, match=r"^check_gradients: elements is 0, expected an integer"):
        layers.check_gradients(make(), X, Y, elements=0)
