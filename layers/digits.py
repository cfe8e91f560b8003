"""The main job: ``python -m layers`` trains a classifier on real handwritten digits."""

import contextlib
import importlib.util
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import layers
from layers import data, datasets
from layers.base import Array
from layers.tables import confusion_table

SEED = 0
EPOCHS = 30
BATCH_SIZE = 32
LEARNING_RATE = 0.2
HIDDEN = 128
PICTURE = Path("digits.png")
_ROUNDS = 5


def new_model() -> "layers.Sequential":
    """The network of the main job, untrained: 64 pixels, one hidden layer, ten digits."""
    return layers.Sequential(
        [layers.Dense(64, HIDDEN), layers.ReLU(), layers.Dense(HIDDEN, 10)],
        loss=layers.SoftmaxCrossEntropy(),
        optimizer=layers.SGD(learning_rate=LEARNING_RATE),
        seed=SEED,
    )


def run() -> int:
    """Train, test, compare with NumPy, draw; the exit code."""
    x, labels = datasets.load_digits()
    x_train, y_train, x_test, y_test = data.split(x, labels, test_fraction=0.2, seed=SEED)
    print(f"UCI's handwritten digits: {len(x_train)} images to train on, {len(x_test)} to test on")

    model = new_model()
    print(f"\n{model.summary()}\n")
    _first_step(x_train, y_train)
    began = time.perf_counter()
    history = model.fit(
        x_train, y_train, EPOCHS, BATCH_SIZE, validation_data=(x_test, y_test), progress=True
    )
    seconds = time.perf_counter() - began
    print(
        f"{EPOCHS} epochs in {seconds:.2f} s, "
        f"{EPOCHS * len(x_train) / seconds:,.0f} images per second"
    )

    predicted = model.predict(x_test)
    accuracy = model.evaluate(x_test, y_test)["accuracy"]
    print(f"\nTest accuracy: {accuracy:.2%}")
    print(
        f"\nRows: the digit; columns: what was predicted\n{confusion_table(y_test, predicted, 10)}"
    )
    print(f"\n{_beside_numpy(x_train, y_train, x_test, predicted)}")
    print(_picture(history, x_test, y_test, predicted))
    return 0


def _first_step(x: Array, labels: Array) -> None:
    """Run each kernel once, on a model that is thrown away: this compiles or loads it."""
    from kernels import cache

    began = time.perf_counter()
    model, few = new_model(), (x[:BATCH_SIZE], labels[:BATCH_SIZE])
    model.fit(*few, validation_data=few)
    model.predict(x[:1])
    seconds, counts = time.perf_counter() - began, cache.counts()
    print(
        f"Kernels ready after {seconds:.1f} s: {counts.compiled} compiled, "
        f"{counts.loaded} loaded from the cache"
    )


def _beside_numpy(x: Array, labels: Array, x_test: Array, predicted: Array) -> str:
    """The same training on both backends in turns, and whether they end alike."""
    ratios, agree = [], True
    with one_blas_thread() as limited:
        for _ in range(_ROUNDS):
            ours = _seconds_of_an_epoch(x, labels)
            with layers.backend("numpy"):
                ratios.append(_seconds_of_an_epoch(x, labels) / ours)
        with layers.backend("numpy"):
            model = new_model()
            model.fit(x, labels, EPOCHS, BATCH_SIZE)
            agree = bool((model.predict(x_test) == predicted).all())
    blas = "one BLAS thread" if limited else "BLAS on its own threads"
    alike = "the same predictions" if agree else "not all the same predictions"
    return (
        f"Beside the NumPy reference ({blas}, one process, {_ROUNDS} epochs in turns): "
        f"{statistics.median(ratios):.1f} times as fast; both end with {alike}"
    )


def _seconds_of_an_epoch(x: Array, labels: Array) -> float:
    model = new_model()
    began = time.perf_counter()
    model.fit(x, labels, 1, BATCH_SIZE)
    return time.perf_counter() - began


@contextlib.contextmanager
def one_blas_thread() -> Iterator[bool]:
    """Limit NumPy's BLAS to one thread where threadpoolctl is installed; whether it is.

    Its waiting threads would otherwise spin on the core that our kernels run on.
    """
    if importlib.util.find_spec("threadpoolctl") is None:
        yield False
        return
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # ships no types

    with threadpool_limits(1, user_api="blas"):
        yield True


def _picture(history: Any, x: Array, labels: Array, predicted: Array) -> str:
    if importlib.util.find_spec("matplotlib") is None:
        return "No picture, since matplotlib is not installed: pip install 'numba-layers[plot]'"
    from layers import plots

    plots.digits(history, x, labels, predicted, PICTURE)
    wrong = int(np.count_nonzero(predicted != labels))
    return f"The picture of it, with the {wrong} wrong ones marked: {PICTURE.resolve()}"


def main() -> int:
    """Entry for ``python -m layers`` without arguments."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return run()
