"""The commands ``train``, ``predict`` and ``evaluate`` on tables."""

import argparse
import csv
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import layers
from layers import data
from layers.command_line.outputs import Report, check_room, plot, write_answers
from layers.command_line.tables import confusion, confusion_table
from layers.command_line.training import begun, checkpoints, train_and_save
from layers.data.columns import nearest
from layers.tables.predictor import TabularPredictor
from layers.tables.table import Table, as_text

_CONFUSION_CLASSES = 20
_LINES = 60
"""So many columns are shown one by one; of more, the first ones."""


def train(arguments: argparse.Namespace, report: Report) -> None:
    """Decide on the columns, train with rows set apart, test, and write the requested files."""
    for option in ("labels", "test_labels"):
        if getattr(arguments, option) is not None:
            raise ValueError(
                f"--{option.replace('_', '-')} is for IDX, {arguments.data} is a table"
            )
    predictor = _new_predictor(arguments)
    table = layers.read_table(arguments.data, header=arguments.header)
    report.note(arguments.data, table.notes)
    predictor.columns.fit(table)  # what is wrong with the whole is said of the whole
    table, test = _parts(arguments, table, predictor, report)
    with warnings.catch_warnings():  # said already, of the whole
        warnings.filterwarnings("ignore", "Columns.fit: ", UserWarning)
        x, y = predictor.prepare(table)
    if arguments.test is not None:
        _check_test(arguments.test, test, predictor)
    _say_columns(predictor, report)
    set_apart = math.floor(len(x) * predictor.fraction_set_apart(len(x)) + 0.5)
    n_test = 0 if test is None else len(test)
    report.say(
        f"\n{len(x)} rows to train on, {set_apart or 'none'} of them set apart to end in time, "
        f"{n_test} to test on, {predictor.columns.n_in} inputs, "
        + (f"{len(predictor.classes)} classes" if predictor.classes else "a regression"),
        rows={"train": len(x) - set_apart, "validation": set_apart, "test": n_test},
    )
    model, predictor.epochs = begun(predictor.model, arguments, report, predictor.epochs)
    predictor.model = model
    report.say(f"\n{model.summary()}\n")
    check_room(model, arguments.save)

    def fit() -> layers.History:
        return predictor.train(x, y, not arguments.quiet, checkpoints(arguments))

    history = train_and_save(model, fit, arguments.save, report)
    if "val_loss" in history:
        best = history.best()
        report.say(
            f"Kept are the parameters after epoch {best['epoch']:g}: loss {best['val_loss']:.4f} "
            "on the rows set apart",
            best=best,
        )
    if test is not None:
        _say_quality(predictor, test, report, "Test")
    if arguments.plot is not None:
        plot(history, arguments.plot, report)


def predict(model: layers.Sequential, arguments: argparse.Namespace, report: Report) -> None:
    """Write a header and a line of CSV for each row: its id, where asked for, and the answer."""
    predictor = TabularPredictor.of(model)
    table = _read(predictor, arguments, () if arguments.id is None else (arguments.id,))
    columns = predictor.columns
    answers = predictor.predict_proba(table) if arguments.proba else predictor.predict(table)
    report.note(arguments.data, table.notes)
    header = [str(name) for name in columns.classes] if arguments.proba else [columns.target]
    ids: Any = None
    if arguments.id is not None:
        ids, header = as_text(table[arguments.id]), [arguments.id, *header]
    report.facts |= {"target": columns.target, "classes": columns.classes, "ids": ids}
    report.facts["probabilities" if arguments.proba else "predictions"] = answers
    if arguments.out is not None or not report.as_json:
        rows = answers.reshape(len(table), -1).tolist()
        cells = rows if ids is None else [[i, *row] for i, row in zip(ids, rows, strict=True)]
        write_answers(_lines([header, *cells]), arguments.out)


def evaluate(model: layers.Sequential, arguments: argparse.Namespace, report: Report) -> None:
    """Compare a model's predictions with the targets of a table."""
    predictor = TabularPredictor.of(model)
    table = _read(predictor, arguments, ())
    report.note(arguments.data, table.notes)
    _say_quality(predictor, table, report, "The file's")


def _new_predictor(arguments: argparse.Namespace) -> TabularPredictor:
    given = {
        "epochs": arguments.epochs,
        "patience": arguments.patience,
        "learning_rate": arguments.learning_rate,
        "validation_fraction": arguments.validation_fraction,
    }
    return TabularPredictor(
        arguments.target,
        arguments.hidden,
        task=arguments.task,
        seed=arguments.seed,
        keep=arguments.keep,
        drop=arguments.drop or (),
        batch_size=arguments.batch_size,
        dtype=arguments.dtype,
        **{name: value for name, value in given.items() if value is not None},
    )


def _read(predictor: TabularPredictor, arguments: argparse.Namespace, text: Sequence[str]) -> Table:
    table = predictor.columns.read(arguments.data, arguments.header, text)
    for name in text:
        if name not in table:
            raise ValueError(
                f"{arguments.data} has no column {name!r}, expected one of {', '.join(table.names)}"
                f"{nearest(name, table.names)}"
            )
    return table


def _parts(
    arguments: argparse.Namespace, table: Table, predictor: TabularPredictor, report: Report
) -> tuple[Table, Table | None]:
    """Rows to train on and rows to test on: of two files, or of one that is split."""
    if arguments.test is not None:
        test = predictor.columns.read(arguments.test, arguments.header)
        report.note(arguments.test, test.notes)
        return table, test
    fraction = 0.2 if arguments.test_fraction is None else arguments.test_fraction
    if fraction == 0:
        return table, None
    rows = np.arange(len(table))
    train, _, test_rows, _ = data.split(rows, rows, fraction, arguments.seed)
    target = table[predictor.columns.target]
    if predictor.classes:  # a class of one row cannot be learnt and tested
        is_known = np.isin(target[test_rows].astype(str), target[train].astype(str))
        train = np.concatenate([train, test_rows[~is_known]])
        test_rows = test_rows[is_known]
    return table.rows(train), table.rows(test_rows)


def _check_test(path: Path, test: Table | None, predictor: TabularPredictor) -> None:
    """Refuse before training what could not be tested on after it."""
    columns = predictor.columns
    if test is None or columns.target not in test:
        hint = nearest(columns.target, () if test is None else test.names)
        raise ValueError(
            f"--test {path} has no column {columns.target!r}, expected the target to compare "
            f"with{hint}"
        )
    with warnings.catch_warnings():  # said after training, with the result
        warnings.simplefilter("ignore", UserWarning)
        try:
            _, y = columns.transform(test, predictor.dtype)
        except ValueError as error:
            raise ValueError(f"--test {path}: {error}") from error
    if y is None:
        raise ValueError(
            f"--test {path}: column {columns.target!r} has no values, expected the target's"
        )


def _say_columns(predictor: TabularPredictor, report: Report) -> None:
    columns = predictor.columns
    lines = str(columns).splitlines()
    more = f"... and {len(lines) - _LINES} columns more; --json has all of them"
    shown = lines if len(lines) <= _LINES else [*lines[:_LINES], more]
    report.say(
        "\n" + "\n".join(shown),
        target=columns.target,
        task=columns.task,
        classes=columns.classes,
        columns=dict(columns.lines()),
    )


def _say_quality(predictor: TabularPredictor, table: Table, report: Report, of: str) -> None:
    """Say how good the predictions are, and which class is taken for which."""
    quality: dict[str, Any] = {**predictor.evaluate(table)}
    if predictor.task == "regression":
        text = (
            f"{of} error: {quality['mae']:.4g} on average, in the unit of "
            f"{predictor.columns.target!r} (root of the mean square {quality['rmse']:.4g}); "
            f"R2 {quality['r2']:.4f}"
        )
        report.say(text, quality=quality)
        return
    x, y = predictor.columns.transform(table, predictor.dtype)
    assert y is not None
    predicted, n = predictor.model.predict(x), len(predictor.classes)
    wrong = np.count_nonzero(predicted != y)
    quality["confusion"] = confusion(y, predicted, n)
    text = f"{of} accuracy: {quality['accuracy']:.2%} ({wrong} of {len(y)} wrong)"
    report.say(text, quality=quality)
    if n <= _CONFUSION_CLASSES:
        shown = confusion_table(y, predicted, n, list(map(str, predictor.classes)))
        report.say(f"\nRows: the class; columns: what was predicted\n{shown}")


def _lines(rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Lines of CSV; a number with the fewest digits that give it again."""
    for row in rows:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(row)
        yield line.getvalue()
