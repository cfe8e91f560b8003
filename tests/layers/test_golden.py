"""The committed fingerprints of four trained models, equal on every machine and thread count.

They change only when the contract on bits does, which is a decision and not a repair: see "When a
fingerprint changes" in CONTRIBUTING.md. This prints the current ones::

    python -m tests.layers.test_golden

No number here comes from NumPy's distributions, whose streams may change, or from a function that
differs between machines: the data are the digits and the kernels' own counted random numbers.
"""

import numpy as np
import pytest

import kernels
import layers
from layers import datasets

pytestmark = pytest.mark.compiled

# Of each model: its fingerprint, and the loss of an evaluation after training.
GOLDEN = {
    "digits": (
        "248b09c8e2abbf8f9f52bb5468a49c9f1ba5bc0d5aa708dd887c146e3a3b8c44",
        "0x1.2dbb2874e87e8p-2",
    ),
    "long_sums_over_inputs": (
        "64e46c274954e83c2bcc1f680d3bfbd43f2962cd5be81f5fbd12cacc98ebed94",
        "0x1.cc25006e147aep+0",
    ),
    "long_sums_over_the_batch": (
        "75db545e87f12d6c05f7bf3139d109776133e79aed2c0ab59decd6526bc11ae0",
        "0x1.805c22f779a6bp+1",
    ),
    "softmax_apart": (
        "4c3fcfec63d75cf532369d7ea8d88294e6479377434aca00deea9e1e5de8352a",
        "0x1.6661b14a74b48p+0",
    ),
}


def digits() -> tuple[str, str]:
    """The small network of the digits, in float32."""
    x, y = datasets.load_digits()
    model = layers.Sequential(
        [layers.Dense(64, 32), layers.ReLU(), layers.Dense(32, 10)],
        optimizer=layers.SGD(learning_rate=0.1),
        seed=0,
    )
    return fitted(model, x, y, epochs=5)


def long_sums_over_inputs() -> tuple[str, str]:
    """4,500 inputs: each product of the first layer is cut into two chains."""
    x, y = counted(300, 4500, 7, "float32")
    model = layers.Sequential(
        [layers.Dense(4500, 33), layers.ReLU(), layers.Dense(33, 7)],
        optimizer=layers.SGD(learning_rate=0.01),
        seed=1,
    )
    return fitted(model, x, y, epochs=2, batch_size=70)


def long_sums_over_the_batch() -> tuple[str, str]:
    """Batches of 9,000 rows: the gradients of weights and biases are cut into three chains."""
    x, y = counted(10_000, 30, 19, "float32")
    model = layers.Sequential(
        [
            *(layers.Dense(30, 100), layers.ReLU()),
            *(layers.Dense(100, 50), layers.ReLU()),
            layers.Dense(50, 19),
        ],
        optimizer=layers.SGD(learning_rate=0.5),
        seed=2**70,
    )
    return fitted(model, x, y, epochs=3, batch_size=9000)


def softmax_apart() -> tuple[str, str]:
    """Softmax and CategoricalCrossEntropy on soft target rows, in float64."""
    x, y = datasets.load_digits()
    targets = np.full((len(y), 10), 0.0125)
    targets[np.arange(len(y)), y] = 0.8875
    model = layers.Sequential(
        [layers.Dense(64, 20), layers.ReLU(), layers.Dense(20, 10), layers.Softmax()],
        loss=layers.CategoricalCrossEntropy(),
        optimizer=layers.SGD(learning_rate=0.1),
        seed=3,
        dtype="float64",
    )
    return fitted(model, x, targets, epochs=3, batch_size=50)


MODELS = (digits, long_sums_over_inputs, long_sums_over_the_batch, softmax_apart)


def counted(rows: int, n_in: int, n_classes: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Uniform inputs in [-1, 1) and labels in random order, from counted random numbers."""
    x, order = np.empty((rows, n_in), dtype), np.empty(rows, np.int64)
    kernels.uniform(2026, 0, -1.0, 1.0, x)
    kernels.permutation(2026, 1, order)
    return x, order % n_classes


def fitted(model: layers.Sequential, x, y, **arguments) -> tuple[str, str]:
    before = model.evaluate(x, y)["loss"]
    model.fit(x, y, **arguments)
    after = model.evaluate(x, y)["loss"]
    assert after < before  # it has learnt something
    return model.fingerprint(), after.hex()


@pytest.mark.parametrize("train", MODELS, ids=lambda train: train.__name__)
def test_golden(train):
    assert train() == GOLDEN[train.__name__]


if __name__ == "__main__":
    for train in MODELS:
        fingerprint, loss = train()
        print(f'    "{train.__name__}": (\n        "{fingerprint}",\n        "{loss}",\n    ),')
