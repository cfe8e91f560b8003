"""The epochs as lines of a file."""

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layers.replacing import StrPath, checked_path
from layers.training import resuming
from layers.training.loop import Callback, Progress
from layers.training.resuming import State

if TYPE_CHECKING:
    from layers.sequential import Sequential


class CSVLog(Callback):
    """Writes a line for each epoch into a file: epoch, seconds, learning_rate, loss, ...

    Parameters
    ----------
    path : path
        Written anew by each call of `fit`, unless it goes on from a checkpoint: lines that came
        after that are written over. Each line is in the file once its epoch has ended.
    """

    def __init__(self, path: StrPath) -> None:
        self.path = Path(checked_path(path, "CSVLog"))
        self._file: Any = None

    def begin(self, model: "Sequential") -> None:
        """Open the file."""
        self._file = self._open("w")
        self._has_header = False

    def _open(self, mode: str) -> Any:
        try:
            return self.path.open(mode, encoding="utf-8", newline="")
        except OSError as error:
            raise type(error)(f"CSVLog: {self.path} cannot be written: {error.strerror}") from error

    def state(self) -> State:
        """How far the file is written."""
        return {"bytes": self._file.tell()}

    def restore(self, model: "Sequential", state: State) -> None:
        """Open the file, and go on where a checkpoint has stopped."""
        size = resuming.integer("CSVLog", "bytes", state)
        file = self._open("r+")
        there = os.fstat(file.fileno()).st_size
        if there < size:
            file.close()
            raise ValueError(
                f"CSVLog: {self.path} has {there} bytes, expected at least {size}, the log of the "
                "training that was stopped"
            )
        file.seek(size)
        file.truncate()
        self._file, self._has_header = file, size > 0

    def __call__(self, progress: Progress) -> None:
        """Write a line."""
        if not progress.ended:
            return
        rate = progress.learning_rate
        numbers = {
            "epoch": progress.epoch,
            "seconds": round(progress.seconds, 3),
            "learning_rate": "" if rate is None else rate,
            **progress.metrics,
        }
        writer = csv.writer(self._file, lineterminator="\n")
        if not self._has_header:
            writer.writerow(numbers)
            self._has_header = True
        writer.writerow(numbers.values())
        self._file.flush()

    def end(self, model: "Sequential") -> None:
        """Close the file."""
        self._file.close()
        self._file = None

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: without the open file."""
        return self.__dict__ | {"_file": None}

    def __repr__(self) -> str:
        return f"CSVLog({str(self.path)!r})"
