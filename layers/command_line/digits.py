"""The main job: ``python -m layers`` trains a classifier on real handwritten digits."""

import errno
import statistics
from pathlib import Path

import numpy as np

import layers
from layers import data, datasets
from layers.base import Array
from layers.command_line.tables import confusion_table
from layers.replacing import check_can_replace
from layers.timing import kernel_threads, one_blas_thread, timed
from layers.training.history import History

SEED = 0
EPOCHS = 30
BATCH_SIZE = 32
HIDDEN = 128
PICTURE = Path("digits.png")
ROUNDS, ROUND_EPOCHS = 7, 2  # of the comparison with NumPy

NO_MATPLOTLIB = "No picture, since matplotlib is not installed: pip install matplotlib"


def main() -> int:
    """Train, test, compare with NumPy, draw; the exit code."""
    _check_picture()
    x, labels = datasets.load_digits()
    x_train, y_train, x_test, y_test = data.split(x, labels, test_fraction=0.2, seed=SEED)
    print(
        f"UCI's handwritten digits, 8 x 8 pixels: {len(x_train)} images to train on, "
        f"{len(x_test)} to test on\n\n{new_model().summary()}\n"
    )
    # A second thread gains nothing at this size, and would need parallel kernels compiled.
    with kernel_threads(1):
        history, predicted = _train(x_train, y_train, x_test, y_test)
        print(f"\n{_beside_numpy(x_train, y_train, x_test, predicted)}")
    print(_picture(history, x_test, y_test, predicted))
    return 0


def new_model() -> "layers.Sequential":
    """The network of the main job, untrained: 64 pixels, one hidden layer, ten digits."""
    return layers.Sequential(
        [layers.Dense(64, HIDDEN), layers.ReLU(), layers.Dense(HIDDEN, 10)],
        loss=layers.SoftmaxCrossEntropy(),
        optimizer=layers.Adam(),
        seed=SEED,
    )


def _train(x: Array, labels: Array, x_test: Array, y_test: Array) -> tuple[History, Array]:
    """Train, test and print the results; return the history and the predictions."""
    with timed() as first:  # compiles each kernel, with models that are discarded
        few = x[:BATCH_SIZE].copy(), labels[:BATCH_SIZE].copy()  # no views, like the whole data
        new_model().fit(*few, validation_data=few)
        new_model().predict(x[:1])
    print(f"First step: {first.seconds:.1f} s ({first.kernels()})", flush=True)

    model = new_model()
    with timed() as training:
        history = model.fit(
            x, labels, EPOCHS, BATCH_SIZE, validation_data=(x_test, y_test), progress=True
        )
    print(
        f"Training: {training.seconds:.2f} s for {EPOCHS} epochs, each with a test, one thread: "
        f"{EPOCHS * len(x) / training.seconds:,.0f} images per second"
    )
    predicted = model.predict(x_test)
    wrong = np.count_nonzero(predicted != y_test)
    print(
        f"\nTest accuracy: {history.last()['val_accuracy']:.2%} ({wrong} of {len(x_test)} wrong)\n"
        f"\nRows: the digit; columns: what was predicted\n{confusion_table(y_test, predicted, 10)}"
    )
    return history, predicted


# --- beside NumPy ---------------------------------------------------------------------------------


def _beside_numpy(x: Array, labels: Array, x_test: Array, predicted: Array) -> str:
    """Time short fits on both backends alternately; compare the results of a whole fit."""
    ours, numpys = [], []
    with one_blas_thread() as limited:
        for _ in range(ROUNDS):
            ours.append(_seconds_of_an_epoch(x, labels))
            with layers.backend("numpy"):
                numpys.append(_seconds_of_an_epoch(x, labels))
        with layers.backend("numpy"):
            model = new_model()
            model.fit(x, labels, EPOCHS, BATCH_SIZE)
            same = int(np.count_nonzero(model.predict(x_test) == predicted))
    ratios = [theirs / own for own, theirs in zip(ours, numpys, strict=True)]
    own, theirs, ratio = (statistics.median(numbers) for numbers in (ours, numpys, ratios))
    blas = "one for BLAS" if limited else "BLAS on its own number (threadpoolctl is not installed)"
    return (
        f"Beside the same layers on NumPy: {1e3 * own:.1f} ms an epoch, NumPy {1e3 * theirs:.1f} "
        f"ms, {ratio:.1f} times as long\n"
        f"  (medians of {ROUNDS} rounds in turns, {min(ratios):.1f} to {max(ratios):.1f} times; "
        f"one process, this machine,\n  one thread for the kernels, {blas})\n"
        f"  Trained to the end, both predict the same for {same} of {len(x_test)} test images\n"
    )


def _seconds_of_an_epoch(x: Array, labels: Array) -> float:
    model = new_model()
    with timed() as fit:
        model.fit(x, labels, ROUND_EPOCHS, BATCH_SIZE)
    return fit.seconds / ROUND_EPOCHS


# --- the picture ----------------------------------------------------------------------------------


def _check_picture() -> None:
    """Refuse, before the work, to overwrite a picture that this command has not drawn."""
    try:
        from layers import plots
    except ImportError:
        return  # no picture without matplotlib
    if not PICTURE.is_file():
        return
    if not plots.is_own(PICTURE):
        reason = "this command did not draw it: move it, or run in another folder"
        raise FileExistsError(errno.EEXIST, reason, PICTURE)
    check_can_replace(PICTURE, "digits")


def _picture(history: History, x: Array, labels: Array, predicted: Array) -> str:
    try:
        from layers import plots
    except ImportError:
        return NO_MATPLOTLIB
    try:
        if PICTURE.is_dir():
            raise IsADirectoryError(errno.EISDIR, "Is a directory", PICTURE)
        _check_picture()
        plots.digits(history, x, labels, predicted, PICTURE)
    except OSError as error:
        return f"No picture: {PICTURE.resolve()}: {error.strerror or error}"
    return f"Picture: {PICTURE.resolve()}"
