"""The commands ``train``, ``predict``, ``evaluate`` and ``export``: on tables, or on arrays."""

import argparse
import contextlib
from pathlib import Path

import layers
from layers.command_line import on_arrays, on_tables
from layers.command_line.outputs import Report, check_answers, check_export, check_outputs
from layers.tables.columns import Columns
from layers.tables.reading import kind_of
from layers.timing import kernel_threads


def train(arguments: argparse.Namespace, report: Report) -> None:
    """Train on a file or folder, test, and write the requested files."""
    check_outputs(arguments)
    limit = arguments.threads
    with contextlib.nullcontext() if limit is None else kernel_threads(limit):
        _train = on_tables.train if _is_table(arguments.data) else on_arrays.train
        _train(arguments, report)


def predict(arguments: argparse.Namespace, report: Report) -> None:
    """Apply a saved model to a file: one line of CSV per row."""
    check_answers(arguments)
    model = layers.load(arguments.model)
    of = on_tables if isinstance(model.columns, Columns) else on_arrays
    of.predict(model, arguments, report)


def evaluate(arguments: argparse.Namespace, report: Report) -> None:
    """Compare a saved model's predictions with what a file has."""
    model = layers.load(arguments.model)
    of = on_tables if isinstance(model.columns, Columns) else on_arrays
    of.evaluate(model, arguments, report)


def export(arguments: argparse.Namespace, report: Report) -> None:
    """Write a saved model in the format of another program."""
    check_export(arguments)
    model = layers.load(arguments.model)
    if arguments.without_columns:
        model.columns = None
    model.save(arguments.out)
    path = str(arguments.out.resolve())
    report.say(f"Written to {path}", written=path)


def _is_table(path: Path) -> bool:
    """Whether a file has columns, by name or not, and no arrays."""
    return not path.is_dir() and kind_of(path) not in ("npz", "idx")
