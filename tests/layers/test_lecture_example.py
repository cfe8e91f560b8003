"""The lecture's example, by hand: three inputs, three neurons, a batch of three.

z = x . W + b, a = ReLU(z), p = softmax(a), L = the mean over the batch of - log p of the right
class.
Every derivative is written out by the chain rule in plain Python numbers: no array, no loop over
indices, no matrix product, nothing of the package.
"""

from math import exp, log

import numpy as np
import pytest

import kernels
import layers

pytestmark = pytest.mark.compiled

# All of them are exact in float32, so that both dtypes start from the same numbers.
X = [[1.0, 2.0, -1.0], [0.5, -1.5, 2.0], [-0.75, 1.0, 0.25]]  # row: an example
W = [[0.5, -0.25, 1.0], [1.5, 0.75, -0.5], [-1.0, 0.5, 0.25]]  # column: a neuron
B = [[0.25, -0.5, 0.125]]
LABELS = [0, 2, 1]
TARGETS = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
LEARNING_RATE = 0.5


def by_hand() -> dict[str, list[list[float]]]:  # noqa: PLR0915 - written out is the point
    """Every number of the example; z23 is what neuron 3 gives for example 2."""
    (x11, x12, x13), (x21, x22, x23), (x31, x32, x33) = X
    (w11, w12, w13), (w21, w22, w23), (w31, w32, w33) = W
    ((b1, b2, b3),) = B
    (t11, t12, t13), (t21, t22, t23), (t31, t32, t33) = TARGETS

    # Forward: the dense layer,
    z11 = x11 * w11 + x12 * w21 + x13 * w31 + b1
    z12 = x11 * w12 + x12 * w22 + x13 * w32 + b2
    z13 = x11 * w13 + x12 * w23 + x13 * w33 + b3
    z21 = x21 * w11 + x22 * w21 + x23 * w31 + b1
    z22 = x21 * w12 + x22 * w22 + x23 * w32 + b2
    z23 = x21 * w13 + x22 * w23 + x23 * w33 + b3
    z31 = x31 * w11 + x32 * w21 + x33 * w31 + b1
    z32 = x31 * w12 + x32 * w22 + x33 * w32 + b2
    z33 = x31 * w13 + x32 * w23 + x33 * w33 + b3

    # ReLU,
    a11, a12, a13 = max(0.0, z11), max(0.0, z12), max(0.0, z13)
    a21, a22, a23 = max(0.0, z21), max(0.0, z22), max(0.0, z23)
    a31, a32, a33 = max(0.0, z31), max(0.0, z32), max(0.0, z33)

    # softmax,
    s1 = exp(a11) + exp(a12) + exp(a13)
    s2 = exp(a21) + exp(a22) + exp(a23)
    s3 = exp(a31) + exp(a32) + exp(a33)
    p11, p12, p13 = exp(a11) / s1, exp(a12) / s1, exp(a13) / s1
    p21, p22, p23 = exp(a21) / s2, exp(a22) / s2, exp(a23) / s2
    p31, p32, p33 = exp(a31) / s3, exp(a32) / s3, exp(a33) / s3

    # cross-entropy: of each example, and their mean.
    loss_1 = -(t11 * log(p11) + t12 * log(p12) + t13 * log(p13))
    loss_2 = -(t21 * log(p21) + t22 * log(p22) + t23 * log(p23))
    loss_3 = -(t31 * log(p31) + t32 * log(p32) + t33 * log(p33))
    loss = (loss_1 + loss_2 + loss_3) / 3

    # Backward. dL/dp = - t / p / 3: the mean over the batch is taken here, once.
    dp11, dp12, dp13 = -t11 / p11 / 3, -t12 / p12 / 3, -t13 / p13 / 3
    dp21, dp22, dp23 = -t21 / p21 / 3, -t22 / p22 / 3, -t23 / p23 / 3
    dp31, dp32, dp33 = -t31 / p31 / 3, -t32 / p32 / 3, -t33 / p33 / 3

    # dL/da = the sum over the row's p of dL/dp dp/da; dp_j/da_j = p_j (1 - p_j), else - p_j p_k.
    da11 = dp11 * p11 * (1 - p11) - dp12 * p12 * p11 - dp13 * p13 * p11
    da12 = -dp11 * p11 * p12 + dp12 * p12 * (1 - p12) - dp13 * p13 * p12
    da13 = -dp11 * p11 * p13 - dp12 * p12 * p13 + dp13 * p13 * (1 - p13)
    da21 = dp21 * p21 * (1 - p21) - dp22 * p22 * p21 - dp23 * p23 * p21
    da22 = -dp21 * p21 * p22 + dp22 * p22 * (1 - p22) - dp23 * p23 * p22
    da23 = -dp21 * p21 * p23 - dp22 * p22 * p23 + dp23 * p23 * (1 - p23)
    da31 = dp31 * p31 * (1 - p31) - dp32 * p32 * p31 - dp33 * p33 * p31
    da32 = -dp31 * p31 * p32 + dp32 * p32 * (1 - p32) - dp33 * p33 * p32
    da33 = -dp31 * p31 * p33 - dp32 * p32 * p33 + dp33 * p33 * (1 - p33)

    # dL/dz = dL/da da/dz, where da/dz is 1 for z > 0 and 0 otherwise.
    dz11, dz12, dz13 = da11 * (z11 > 0), da12 * (z12 > 0), da13 * (z13 > 0)
    dz21, dz22, dz23 = da21 * (z21 > 0), da22 * (z22 > 0), da23 * (z23 > 0)
    dz31, dz32, dz33 = da31 * (z31 > 0), da32 * (z32 > 0), da33 * (z33 > 0)

    # dL/dw = the sum over the batch of dL/dz dz/dw, where dz/dw is the input.
    dw11 = dz11 * x11 + dz21 * x21 + dz31 * x31
    dw12 = dz12 * x11 + dz22 * x21 + dz32 * x31
    dw13 = dz13 * x11 + dz23 * x21 + dz33 * x31
    dw21 = dz11 * x12 + dz21 * x22 + dz31 * x32
    dw22 = dz12 * x12 + dz22 * x22 + dz32 * x32
    dw23 = dz13 * x12 + dz23 * x22 + dz33 * x32
    dw31 = dz11 * x13 + dz21 * x23 + dz31 * x33
    dw32 = dz12 * x13 + dz22 * x23 + dz32 * x33
    dw33 = dz13 * x13 + dz23 * x23 + dz33 * x33

    # dL/db = the sum over the batch of dL/dz, since dz/db is 1.
    db1 = dz11 + dz21 + dz31
    db2 = dz12 + dz22 + dz32
    db3 = dz13 + dz23 + dz33

    # dL/dx = the sum over the neurons of dL/dz dz/dx, where dz/dx is the weight.
    dx11 = dz11 * w11 + dz12 * w12 + dz13 * w13
    dx12 = dz11 * w21 + dz12 * w22 + dz13 * w23
    dx13 = dz11 * w31 + dz12 * w32 + dz13 * w33
    dx21 = dz21 * w11 + dz22 * w12 + dz23 * w13
    dx22 = dz21 * w21 + dz22 * w22 + dz23 * w23
    dx23 = dz21 * w31 + dz22 * w32 + dz23 * w33
    dx31 = dz31 * w11 + dz32 * w12 + dz33 * w13
    dx32 = dz31 * w21 + dz32 * w22 + dz33 * w23
    dx33 = dz31 * w31 + dz32 * w32 + dz33 * w33

    # One step of gradient descent.
    r = LEARNING_RATE
    return {
        "z": [[z11, z12, z13], [z21, z22, z23], [z31, z32, z33]],
        "a": [[a11, a12, a13], [a21, a22, a23], [a31, a32, a33]],
        "p": [[p11, p12, p13], [p21, p22, p23], [p31, p32, p33]],
        "loss": [[loss]],
        "dp": [[dp11, dp12, dp13], [dp21, dp22, dp23], [dp31, dp32, dp33]],
        "da": [[da11, da12, da13], [da21, da22, da23], [da31, da32, da33]],
        "dz": [[dz11, dz12, dz13], [dz21, dz22, dz23], [dz31, dz32, dz33]],
        "dw": [[dw11, dw12, dw13], [dw21, dw22, dw23], [dw31, dw32, dw33]],
        "db": [[db1, db2, db3]],
        "dx": [[dx11, dx12, dx13], [dx21, dx22, dx23], [dx31, dx32, dx33]],
        "new w": [
            [w11 - r * dw11, w12 - r * dw12, w13 - r * dw13],
            [w21 - r * dw21, w22 - r * dw22, w23 - r * dw23],
            [w31 - r * dw31, w32 - r * dw32, w33 - r * dw33],
        ],
        "new b": [[b1 - r * db1, b2 - r * db2, b3 - r * db3]],
    }


EXPECTED = by_hand()

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
each_labels = pytest.mark.parametrize("labels", [LABELS, TARGETS], ids=["indices", "rows"])


def assert_by_hand(name: str, actual: object, dtype: str) -> None:
    """Equal but for rounding: about 30 roundings lie between the inputs and any of the numbers."""
    expected = np.array(EXPECTED[name])
    actual = np.atleast_2d(np.asarray(actual, np.float64))
    assert actual.shape == expected.shape, name
    bound = 30 * np.finfo(dtype).eps * abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=bound, err_msg=name)


def arrays(dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.array(X, dtype), np.array(W, dtype), np.array(B, dtype)


def as_labels(labels: list, dtype: str) -> np.ndarray:
    return np.array(labels) if labels is LABELS else np.array(labels, dtype)


def test_the_example_has_all_cases():
    """Some neurons are cut off by ReLU in some examples, and no derivative is 0 by accident."""
    z = np.array(EXPECTED["z"])
    assert 0 < (z < 0).sum() < z.size
    assert abs(z).min() > 0.1
    for name in ("dw", "db", "dx"):
        assert np.count_nonzero(EXPECTED[name]) == np.size(EXPECTED[name]), name


@each_dtype
@each_labels
def test_layers(dtype: str, labels: list):
    x, w, b = arrays(dtype)
    dense = layers.Dense(3, 3, dtype=dtype)
    dense.weights, dense.biases = w, b
    relu, loss = layers.ReLU(), layers.SoftmaxCrossEntropy()

    z = dense.forward(x)
    assert_by_hand("z", z, dtype)
    a = relu.forward(z)
    assert_by_hand("a", a, dtype)
    assert_by_hand("loss", loss.forward(a, as_labels(labels, dtype)), dtype)

    da = loss.backward()
    assert_by_hand("da", da, dtype)
    dz = relu.backward(da)
    assert_by_hand("dz", dz, dtype)
    dx = dense.backward(dz)
    assert_by_hand("dw", dense.dweights, dtype)
    assert_by_hand("db", dense.dbiases, dtype)
    assert_by_hand("dx", dx, dtype)
    assert {array.dtype.name for array in (z, a, da, dz, dx, dense.dweights)} == {dtype}


@each_dtype
@each_labels
def test_layers_with_softmax_apart(dtype: str, labels: list):
    x, w, b = arrays(dtype)
    dense = layers.Dense(3, 3, dtype=dtype)
    dense.weights, dense.biases = w, b
    relu, softmax, loss = layers.ReLU(), layers.Softmax(), layers.CategoricalCrossEntropy()

    p = softmax.forward(relu.forward(dense.forward(x)))
    assert_by_hand("p", p, dtype)
    assert_by_hand("loss", loss.forward(p, as_labels(labels, dtype)), dtype)
    dp = loss.backward()
    assert_by_hand("dp", dp, dtype)
    da = softmax.backward(dp)
    assert_by_hand("da", da, dtype)
    assert_by_hand("dx", dense.backward(relu.backward(da)), dtype)
    assert_by_hand("dw", dense.dweights, dtype)
    assert_by_hand("db", dense.dbiases, dtype)


@each_dtype
@each_labels
def test_a_step_of_the_model(dtype: str, labels: list):
    x, w, b = arrays(dtype)
    dense = layers.Dense(3, 3)
    dense.weights, dense.biases = w, b
    model = layers.Sequential(
        [dense, layers.ReLU()], optimizer=layers.SGD(LEARNING_RATE), dtype=dtype
    )
    assert_by_hand("loss", model.train_step(x, as_labels(labels, dtype)), dtype)
    assert_by_hand("new w", dense.weights, dtype)
    assert_by_hand("new b", dense.biases, dtype)


@each_dtype
@each_labels
def test_kernels(dtype: str, labels: list):
    x, w, b = arrays(dtype)
    targets = as_labels(labels, dtype)
    z, a, p, fused_p, dp, da, direct_da, dz, dw, dx = np.full((10, 3, 3), np.nan, dtype)
    losses, db = np.full((3, 1), np.nan, dtype), np.full((1, 3), np.nan, dtype)

    kernels.dense_forward(x, w, b, z)
    assert_by_hand("z", z, dtype)
    kernels.relu_forward(z, a)
    assert_by_hand("a", a, dtype)
    kernels.softmax_forward(a, p)
    assert_by_hand("p", p, dtype)
    assert_by_hand("loss", kernels.cross_entropy(p, targets), dtype)
    kernels.softmax_cross_entropy(a, targets, fused_p, losses)
    assert_by_hand("p", fused_p, dtype)
    assert_by_hand("loss", kernels.mean_loss(losses), dtype)

    kernels.cross_entropy_backward(p, targets, dp)
    assert_by_hand("dp", dp, dtype)
    kernels.softmax_backward(p, dp, da)
    assert_by_hand("da", da, dtype)
    kernels.softmax_minus_target(p, targets, direct_da)
    assert_by_hand("da", direct_da, dtype)
    kernels.relu_backward(z, da, dz)
    assert_by_hand("dz", dz, dtype)
    kernels.dense_backward_weights(x, dz, dw)
    assert_by_hand("dw", dw, dtype)
    kernels.column_sum(dz, db)
    assert_by_hand("db", db, dtype)
    kernels.dense_backward_inputs(dz, w, dx)
    assert_by_hand("dx", dx, dtype)

    kernels.sgd_update(w, dw, LEARNING_RATE)
    assert_by_hand("new w", w, dtype)
    kernels.sgd_update(b, db, LEARNING_RATE)
    assert_by_hand("new b", b, dtype)
