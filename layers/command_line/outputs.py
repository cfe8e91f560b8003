"""What a command writes: checked before the work; and what it says, as text or as JSON."""

import argparse
import contextlib
import json
import math
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import layers
from layers import files, streams
from layers.command_line import digits
from layers.replacing import check_can_replace, replace_file

_MAY_BE_IDX = re.compile(r"(idx|ubyte|images|labels)(?!.*\.(npz|csv|txt|png|svg|pdf)$)")
_ROOM_BESIDE = 1 << 16
"""Approximate bytes of a model's file besides its parameters: names, headers, a history."""


class Report:
    """What a command has found: said line by line, or given as one JSON object in the end.

    Parameters
    ----------
    as_json : bool
    notes : bool
        Whether standard output is for answers, so that lines go to standard error.
    """

    def __init__(self, as_json: bool, notes: bool = False) -> None:
        self.facts: dict[str, Any] = {}
        self.as_json, self._notes = as_json, notes

    def say(self, text: str = "", **facts: Any) -> None:
        """Print a line, unless it is JSON that is asked for, which has the facts."""
        self.facts |= facts
        if not self.as_json:
            print(text, file=sys.stderr if self._notes else sys.stdout, flush=True)

    def note(self, path: Path, notes: Iterable[str]) -> None:
        """Say how a file was understood."""
        for note in notes:
            self.facts.setdefault("notes", []).append(f"{path}: {note}")
            self.say(f"{path}: {note}")

    def end(self) -> None:
        """Print the facts, where JSON is asked for."""
        if self.as_json:
            text = json.dumps(_plain(self.facts), ensure_ascii=False, indent=1, allow_nan=False)
            print(text)


def _plain(value: Any) -> Any:
    """What JSON can hold; a number that is not finite is null."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int)) else str(value)


def check_outputs(arguments: argparse.Namespace) -> None:
    """Check before training that the output files can be written."""
    given = (arguments.data, arguments.labels, arguments.test, arguments.test_labels)
    inputs = [path for path in given if path is not None]
    goes_on = arguments.resume is not None and arguments.checkpoint is None
    if arguments.resume is not None and not goes_on:
        inputs.append(arguments.resume)
    checkpoint = "--resume", arguments.resume
    if not goes_on:
        checkpoint = "--checkpoint", arguments.checkpoint
    outputs = checkpoint, ("--save", arguments.save), ("--plot", arguments.plot)
    for option, path in outputs:
        if path is not None:
            _check_output(path, option, inputs)
            check_can_replace(path, option)
            inputs.append(path)
    for option, path in outputs:
        if path is not None and option != "--plot":
            files.checked_ending(path, option)
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


def check_room(model: layers.Sequential, path: Path | None) -> None:
    """Check that there is disk space for the model, once its size is known."""
    if path is not None:
        parameters = sum(array.nbytes for array in model.parameters().values())
        check_can_replace(path, "--save", parameters + _ROOM_BESIDE)


def plot(history: layers.History, path: Path, report: Report) -> None:
    """Draw loss and accuracy by epoch, where matplotlib is installed."""
    try:
        from layers import plots
    except ImportError:
        report.say(digits.NO_MATPLOTLIB)
        return
    plots.curves(history, path)
    report.say(f"Loss and accuracy by epoch: {path.resolve()}", picture=str(path.resolve()))


def check_answers(arguments: argparse.Namespace) -> None:
    """Check before the work that the answers can be written."""
    if arguments.out is None:
        if isinstance(sys.stdout, streams.Nowhere):
            raise ValueError("standard output is closed, expected --out FILE")
    elif not _is_stream(arguments.out):
        _check_output(arguments.out, "--out", [arguments.model, arguments.data])
        check_can_replace(arguments.out, "--out")


def check_export(arguments: argparse.Namespace) -> None:
    """Check before the work that the file has a known format, and can be written."""
    if arguments.out.suffix.lower() not in (".onnx", ".safetensors"):
        raise ValueError(f"{arguments.out}: expected a file that ends in .onnx or .safetensors")
    _check_output(arguments.out, "OUT", [arguments.model])
    check_can_replace(arguments.out, "OUT")


def _is_stream(path: Path) -> bool:
    """Whether a path is /dev/stdout, a named pipe or similar, which is written to directly."""
    return path.exists() and not path.is_file() and not path.is_dir()


def write_answers(lines: Iterable[str], path: Path | None) -> None:
    """Write lines to standard output, to a stream as it is, or to a file aside."""
    if path is None:
        sys.stdout.writelines(lines)
    elif _is_stream(path):
        with path.open("w", encoding="utf-8") as stream:
            stream.writelines(lines)
    else:
        encoded = (line.encode() for line in lines)
        replace_file(path, lambda file: file.writelines(encoded), "--out")
