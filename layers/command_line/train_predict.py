"""The commands ``train`` and ``predict``, on data files."""

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import layers
from layers import data, streams
from layers.base import Array
from layers.command_line import digits
from layers.command_line.tables import confusion_table
from layers.replacing import check_can_replace, replace_file
from layers.timing import kernel_threads, timed

_MOST_CLASSES = 100_000
_CONFUSION_CLASSES = 20
_TEST_FRACTION = 0.2
_TRAIN_IMAGES = "train-images-idx3-ubyte"
_MAY_BE_IDX = re.compile(r"(idx|ubyte|images|labels)(?!.*\.(npz|csv|txt|png|svg|pdf)$)")
_ROOM_BESIDE = 1 << 16
"""Approximate bytes of a model's file besides its parameters: names, headers, a history."""


# --- train ----------------------------------------------------------------------------------------


def train(arguments: argparse.Namespace) -> None:
    """Train on a file or folder, test, and write the requested files."""
    _check_outputs(arguments)
    limit = arguments.threads
    with contextlib.nullcontext() if limit is None else kernel_threads(limit):
        table, x_test, y_test = _parts(arguments)
        x, y = table.x, table.labels
        n_classes = _class_count(arguments.data, np.concatenate([y, y_test]))
        print(
            f"{len(x)} rows to train on, {len(x_test)} to test on, {x.shape[1]} features, "
            f"{n_classes} classes"
        )
        model = _new_model(arguments, x.shape[1], n_classes)
        model.columns = table.columns
        print(f"\n{model.summary()}\n", flush=True)
        _check_room(model, arguments.save)
        test = (x_test, y_test) if len(x_test) else None
        history = _fit(model, x, y, test, arguments)
        if arguments.save is not None:
            print(f"Saved to {arguments.save.resolve()}")
        if test is not None:
            _report_test(model, history, *test)
    if arguments.plot is not None:
        _plot(history, arguments.plot)


def _fit(
    model: layers.Sequential,
    x: Array,
    y: Array,
    test: tuple[Array, Array] | None,
    arguments: argparse.Namespace,
) -> layers.History:
    """Train, then save before anything else can fail; also save if training is stopped."""
    path = arguments.save
    untrained = None if path is None else model.fingerprint()
    try:
        with timed() as training:
            history = model.fit(
                x,
                y,
                arguments.epochs,
                arguments.batch_size,
                validation_data=test,
                progress=not arguments.quiet,
            )
        if path is not None:
            model.save(path)
    except (KeyboardInterrupt, layers.NonFiniteLoss):
        if path is not None:
            print(_save_learnt(model, path, untrained))
        raise
    epochs = f"{history.epochs} epoch{'s' if history.epochs > 1 else ''}"
    print(
        f"Training: {training.seconds:.2f} s for {epochs} ({training.kernels()}), "
        f"last loss {history.last()['loss']:.4f}"
    )
    return history


def _save_learnt(model: layers.Sequential, path: Path, untrained: str | None) -> str:
    """Save what was learnt until training stopped; return a message."""
    if model.fingerprint() == untrained:
        return f"Not saved to {path.resolve()}: nothing was learnt yet"
    model.save(path)
    epochs = f"{model.history.epochs} whole epoch{'s' if model.history.epochs != 1 else ''}"
    return f"Saved to {path.resolve()}: what was learnt until training stopped, after {epochs}"


def _report_test(
    model: layers.Sequential, history: layers.History, x_test: Array, y_test: Array
) -> None:
    predicted = model.predict(x_test)
    wrong = np.count_nonzero(predicted != y_test)
    accuracy = history.last()["val_accuracy"]
    print(f"Test accuracy: {accuracy:.2%} ({wrong} of {len(x_test)} wrong)")
    if model.n_out <= _CONFUSION_CLASSES:
        table = confusion_table(y_test, predicted, model.n_out)
        print(f"\nRows: the label; columns: what was predicted\n{table}")


def _new_model(arguments: argparse.Namespace, n_in: int, n_classes: int) -> layers.Sequential:
    stack: list[layers.Layer] = []
    for width in arguments.hidden:
        stack += [layers.Dense(n_in, width), layers.ReLU()]
        n_in = width
    return layers.Sequential(
        [*stack, layers.Dense(n_in, n_classes)],
        loss=layers.SoftmaxCrossEntropy(),
        optimizer=layers.Adam(learning_rate=arguments.learning_rate),
        seed=arguments.seed,
        dtype=arguments.dtype,
    )


def _class_count(path: Path, labels: Array) -> int:
    """One more than the largest label."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or not 0 < high < _MOST_CLASSES:
        raise ValueError(
            f"{path}: labels run from {low} to {high}, expected class indices that start at 0 and "
            f"end between 1 and {_MOST_CLASSES - 1}"
        )
    return high + 1


# --- the files to train and test on ---------------------------------------------------------------


def _parts(arguments: argparse.Namespace) -> tuple[data.Table, Array, Array]:
    """Training data and test data: two files, the two parts of an IDX set, or one file split."""
    train_path, test_path = arguments.data, arguments.test
    if train_path.is_dir():
        train_path = _train_images(train_path)
    if test_path is None and arguments.test_fraction is None:
        test_path = _test_images_beside(train_path)
    table = _read(train_path, arguments.labels, arguments)
    if test_path is not None:
        test = _read(test_path, arguments.test_labels, arguments, table)
        return table, test.x, test.labels
    fraction = _TEST_FRACTION if arguments.test_fraction is None else arguments.test_fraction
    if fraction == 0:
        return table, table.x[:0], table.labels[:0]
    x, y, x_test, y_test = data.split(table.x, table.labels, fraction, arguments.seed)
    return replace(table, x=x, labels=y), x_test, y_test


def _read(
    path: Path,
    labels: Path | None,
    arguments: argparse.Namespace,
    training: data.Table | None = None,
) -> data.Table:
    """Read a file with labels; test data are read with the training data's columns."""
    columns = None if training is None else training.columns
    table = data.read_table(
        path,
        labels=labels,
        label_column=arguments.label_column if columns is None else None,
        header=arguments.header,
        dtype=arguments.dtype,
        model=columns,
        n_features=None if training is None else training.x.shape[1],
    )
    for note in table.notes:
        print(f"{path}: {note}")
    return table


def _train_images(folder: Path) -> Path:
    """The training images in a folder of MNIST's four files."""
    for name in (folder.resolve().name, _TRAIN_IMAGES):
        if "idx3" in name and (usual := data.idx_file(folder, name)) is not None:
            return Path(usual)
    found = sorted(path for path in folder.glob("train-images*idx3*") if path.is_file())
    if not found:
        raise ValueError(
            f"{folder} is a folder without {_TRAIN_IMAGES} or .gz, as MNIST names it: name a file"
        )
    return found[0]


def _test_images_beside(train: Path) -> Path | None:
    """The test images in the training images' folder, by MNIST's names, packed or not."""
    if not train.name.startswith("train-images"):
        return None
    found = data.beside(train, train.name.replace("train", "t10k", 1))
    return None if found is None else Path(found)


# --- what is written ------------------------------------------------------------------------------


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Check before training that the output files can be written."""
    given = (arguments.data, arguments.labels, arguments.test, arguments.test_labels)
    inputs = [path for path in given if path is not None]
    for option, path in (("--save", arguments.save), ("--plot", arguments.plot)):
        if path is not None:
            _check_output(path, option, inputs)
            check_can_replace(path, option)
            inputs.append(path)
    if arguments.plot is None:
        return
    with contextlib.suppress(ImportError):  # `_plot` reports it
        from layers import plots

        ending = arguments.plot.suffix[1:].lower()
        if ending not in plots.formats():
            raise ValueError(
                f"{arguments.plot}: cannot write a picture as {ending or 'a file without ending'}, "
                f"expected one of {', '.join(sorted(plots.formats()))}"
            )


def _check_output(path: Path, option: str, inputs: list[Path]) -> None:
    """Refuse to overwrite an input or another output."""
    for read in inputs:
        same = os.path.realpath(path) == os.path.realpath(read)
        with contextlib.suppress(OSError):
            same = same or path.samefile(read)  # the same file by another name
        if same or _is_of_set(path, read):
            raise ValueError(
                f"{option} {path} would be written over {read}, expected the name of another file"
            )


def _is_of_set(path: Path, read: Path) -> bool:
    """Whether a file may belong to the IDX set that is read, by its name."""
    if not path.exists() or not _MAY_BE_IDX.search(path.name):
        return False
    folder = read if read.is_dir() else read.parent
    is_set = read.is_dir() or _MAY_BE_IDX.search(read.name) is not None
    return is_set and folder.resolve() in path.resolve().parents


def _check_room(model: layers.Sequential, path: Path | None) -> None:
    """Check that there is disk space for the model, once its size is known."""
    if path is not None:
        parameters = sum(array.nbytes for array in model.parameters().values())
        check_can_replace(path, "--save", parameters + _ROOM_BESIDE)


def _plot(history: layers.History, path: Path) -> None:
    try:
        from layers import plots
    except ImportError:
        print(digits.NO_MATPLOTLIB)
        return
    plots.curves(history, path)
    print(f"Loss and accuracy by epoch: {path.resolve()}")


# --- predict --------------------------------------------------------------------------------------


def predict(arguments: argparse.Namespace) -> None:
    """Apply a saved model to a file: one line of CSV per row."""
    _check_answers(arguments)
    model = layers.load(arguments.model)
    table = _inputs(model, arguments)
    answers = model.predict_proba(table.x) if arguments.proba else model.predict(table.x)
    for note in table.notes:
        print(f"{arguments.data}: {note}", file=sys.stderr)
    if arguments.out is None:
        sys.stdout.writelines(_lines(answers))
    elif _is_stream(arguments.out):
        with arguments.out.open("w", encoding="ascii") as stream:
            stream.writelines(_lines(answers))
    else:
        lines = (line.encode("ascii") for line in _lines(answers))
        replace_file(arguments.out, lambda file: file.writelines(lines), "--out")


def _check_answers(arguments: argparse.Namespace) -> None:
    """Check before the work that the answers can be written."""
    if arguments.out is None:
        if isinstance(sys.stdout, streams.Nowhere):
            raise ValueError("standard output is closed, expected --out FILE")
    elif not _is_stream(arguments.out):
        _check_output(arguments.out, "--out", [arguments.model, arguments.data])
        check_can_replace(arguments.out, "--out")


def _is_stream(path: Path) -> bool:
    """Whether a path is /dev/stdout, a named pipe or similar, which is written to directly."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _lines(answers: Array) -> Iterator[str]:
    """Lines of CSV; each number with the fewest digits that reproduce it."""
    for row in answers.reshape(len(answers), -1):
        yield ",".join(map(str, row)) + "\n"


def _inputs(model: layers.Sequential, arguments: argparse.Namespace) -> data.Table:
    """Inputs for prediction: the model's columns."""
    return data.read_table(
        arguments.data,
        labels=False,
        label_column=arguments.label_column,
        header=arguments.header,
        dtype=model.dtype,
        model=model.columns,
        n_features=model.n_in,
    )
