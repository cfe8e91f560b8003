"""The commands ``train``, ``predict`` and ``evaluate`` on arrays: .npz and IDX."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import layers
from layers import data
from layers.base import Array
from layers.command_line.outputs import Report, check_room, plot, write_answers
from layers.command_line.tables import confusion, confusion_table
from layers.command_line.training import begun, checkpoints, train_and_save
from layers.data.columns import NumberColumns

_EPOCHS = 10
_MOST_CLASSES = 100_000
_CONFUSION_CLASSES = 20
_TEST_FRACTION = 0.2
_TRAIN_IMAGES = "train-images-idx3-ubyte"
_LARGE = 30.0
"""From here on inputs are large enough for training to suffer."""


def train(arguments: argparse.Namespace, report: Report) -> None:
    """Train on a file or folder, test, and write the requested files."""
    for option in ("target", "keep", "drop", "task", "patience", "validation_fraction"):
        if getattr(arguments, option) is not None:
            raise ValueError(
                f"--{option.replace('_', '-')} is for tables, {arguments.data} is none"
            )
    table, x_test, y_test = _parts(arguments, report)
    x, y = table.x, table.labels
    n_classes = _class_count(arguments.data, np.concatenate([y, y_test]))
    report.say(
        f"{len(x)} rows to train on, {len(x_test)} to test on, {x.shape[1]} features, "
        f"{n_classes} classes",
        rows={"train": len(x), "test": len(x_test)},
        features=x.shape[1],
        classes=n_classes,
    )
    if (largest := float(np.abs(x).max())) > _LARGE:
        report.say(f"The inputs run up to {largest:.3g}, expected about -1 ... 1: scale them")
    model = _new_model(arguments, x.shape[1], n_classes)
    model.columns = table.columns
    model, planned = begun(model, arguments, report, _EPOCHS)
    report.say(f"\n{model.summary()}\n")
    check_room(model, arguments.save)
    test = (x_test, y_test) if len(x_test) else None

    def fit() -> layers.History:
        return model.fit(
            x,
            y,
            planned - model.history.epochs,
            arguments.batch_size,
            validation_data=test,
            progress=not arguments.quiet,
            callbacks=checkpoints(arguments),
        )

    history = train_and_save(model, fit, arguments.save, report)
    if test is not None:
        say_quality(model, *test, report, "Test")
    if arguments.plot is not None:
        plot(history, arguments.plot, report)


def predict(model: layers.Sequential, arguments: argparse.Namespace, report: Report) -> None:
    """Apply a model of arrays to a file: one line of CSV per row."""
    if arguments.id is not None:
        raise ValueError(f"--id is for models of tables, {arguments.model} is none")
    table = _inputs(model, arguments)
    answers = model.predict_proba(table.x) if arguments.proba else model.predict(table.x)
    report.note(arguments.data, table.notes)
    report.facts["probabilities" if arguments.proba else "predictions"] = answers
    if arguments.out is not None or not report.as_json:
        write_answers(_lines(answers), arguments.out)


def evaluate(model: layers.Sequential, arguments: argparse.Namespace, report: Report) -> None:
    """Compare a model's predictions with the labels of a file."""
    table = data.read_table(
        arguments.data,
        labels=arguments.labels,
        header=arguments.header,
        dtype=model.dtype,
        model=_columns(model),
        n_features=model.n_in,
    )
    report.note(arguments.data, table.notes)
    say_quality(model, table.x, table.labels, report, "The file's")


def say_quality(model: layers.Sequential, x: Array, y: Array, report: Report, of: str) -> None:
    """Say how many predictions are right, and which are taken for which."""
    measured = model.evaluate(x, y)
    predicted = model.predict(x)
    wrong = np.count_nonzero(predicted != y)
    report.say(
        f"{of} accuracy: {measured['accuracy']:.2%} ({wrong} of {len(x)} wrong)",
        quality={**measured, "confusion": confusion(y, predicted, model.n_out)},
    )
    if model.n_out <= _CONFUSION_CLASSES:
        table = confusion_table(y, predicted, model.n_out)
        report.say(f"\nRows: the label; columns: what was predicted\n{table}")


def _new_model(arguments: argparse.Namespace, n_in: int, n_classes: int) -> layers.Sequential:
    stack: list[layers.Layer] = []
    for width in arguments.hidden:
        stack += [layers.Dense(n_in, width), layers.ReLU()]
        n_in = width
    return layers.Sequential(
        [*stack, layers.Dense(n_in, n_classes)],
        loss=layers.SoftmaxCrossEntropy(),
        optimizer=layers.Adam(arguments.learning_rate),
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


def _parts(arguments: argparse.Namespace, report: Report) -> tuple[data.Table, Array, Array]:
    """Training data and test data: two files, the two parts of an IDX set, or one file split."""
    train_path, test_path = arguments.data, arguments.test
    if train_path.is_dir():
        train_path = _train_images(train_path)
    if test_path is None and arguments.test_fraction is None:
        test_path = _test_images_beside(train_path)
    table = _read(train_path, arguments.labels, arguments, report)
    if test_path is not None:
        test = _read(test_path, arguments.test_labels, arguments, report, table)
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
    report: Report,
    training: data.Table | None = None,
) -> data.Table:
    """Read a file with labels; test data are read with the training data's columns."""
    columns = None if training is None else training.columns
    table = data.read_table(
        path,
        labels=labels,
        header=arguments.header,
        dtype=arguments.dtype,
        model=columns,
        n_features=None if training is None else training.x.shape[1],
    )
    report.note(path, table.notes)
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


def _columns(model: layers.Sequential) -> NumberColumns | None:
    return model.columns if isinstance(model.columns, NumberColumns) else None


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
        model=_columns(model),
        n_features=model.n_in,
    )
