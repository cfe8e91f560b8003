"""What is saved while training runs."""

import contextlib
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernels.runtime import checks
from layers import files
from layers.replacing import StrPath, checked_path
from layers.settings import flag
from layers.training import resuming
from layers.training.callbacks.monitor import Monitor
from layers.training.loop import Progress
from layers.training.resuming import State, Stopped

if TYPE_CHECKING:
    from layers.sequential import Sequential


_NUMBERED = re.compile(r"\{epoch(?::(0?[0-9]*d?))?\}")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")


class Checkpoint(Monitor):
    """Saves the model at the end of epochs, each time whole or not at all; `layers.load` reads it.

    Parameters
    ----------
    path : path
        One file, written anew each time. Or one each time, where ``{epoch}`` in it (or
        ``{epoch:04d}``) stands for the number of epochs in the model's history.
    monitor : str
    best : bool
        Whether to save only what is better than all epochs of this call of `fit` before, for use.
        Without it, whatever training needs to go on from there is saved, to the bit: the
        optimizer's states, and what the other callbacks have seen.
    epochs : int
        Without ``best``: save after so many epochs, and in the end.
    minutes : float, optional
        Without ``best``: save at the end of an epoch when so much time has passed since the last
        time, too.
    keep : int, optional
        With ``{epoch}``: how many of these files stay, the newest; older ones that this training
        has written are removed. By default all stay.

    Raises
    ------
    TypeError, OSError
        As training begins: the model cannot be saved, or not there.
    """

    saves = True
    _without_best = "no file was written"

    def __init__(
        self,
        path: StrPath,
        monitor: str = "val_loss",
        best: bool = True,
        *,
        epochs: int = 1,
        minutes: float | None = None,
        keep: int | None = None,
    ) -> None:
        super().__init__(monitor, 0.0)
        place = "Checkpoint"
        self.path = Path(checked_path(path, place))
        files.checked_ending(self.path, place)
        self.best_only = flag(place, "best", best)
        self.epochs = checks.integer(place, "epochs", epochs, 1)
        self.minutes = None if minutes is None else checks.number(place, "minutes", minutes, 0)
        self.keep = None if keep is None else checks.integer(place, "keep", keep, 1)
        self._is_numbered = _NUMBERED.search(self.path.name) is not None
        if _NUMBERED.search(str(self.path.parent)):
            raise ValueError(f"{place}: path is {path!r}, expected {{epoch}} in the file's name")
        unknown = _PLACEHOLDER.search(_NUMBERED.sub("", self.path.name))
        if unknown:
            raise ValueError(
                f"{place}: path is {str(self.path)!r}, where {unknown[0]} stands for nothing, "
                "expected {epoch} or {epoch:04d}"
            )
        if self.keep is not None and not self._is_numbered:
            raise ValueError(
                f"{place}: keep is {keep!r} and path {str(self.path)!r}, expected {{epoch}} in the "
                "file's name: there is one file otherwise"
            )
        if self.best_only and (self.epochs > 1 or self.minutes is not None):
            raise ValueError(f"{place}: epochs or minutes is given, expected best=False with it")
        if not self.best_only:
            self.monitor = None  # type: ignore[assignment]
            if self.path.suffix.lower() in (".safetensors", ".onnx"):
                raise ValueError(
                    f"{place}: path is {str(self.path)!r}, and a file of that kind holds no "
                    "training: expected another ending, such as .npz"
                )

    def begin(self, model: "Sequential") -> None:
        """Save the model aside, so that what cannot be saved is known before it is trained."""
        super().begin(model)
        self._written: list[int] = []
        self._unsaved: tuple[Progress, int] | None = None
        self._last = time.monotonic()
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"Checkpoint: {self.path.parent} is no folder")
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".checkpoint") as folder:
            model.save(Path(folder) / f"trial{self.path.suffix}")

    def __call__(self, progress: Progress) -> None:
        """Save the model, where it is time to."""
        if not progress.ended:
            return
        if self.best_only:
            if self._is_best(progress):
                self._save(progress)
            return
        self._unsaved = progress, progress.model._step
        passed = time.monotonic() - self._last
        is_time = self.minutes is not None and passed >= 60 * self.minutes
        if is_time or progress.epoch % self.epochs == 0 or progress.epoch == progress.epochs:
            self._save(progress)

    def _save(self, progress: Progress) -> None:
        from layers.files import model_file

        model, number = progress.model, progress.model.history.epochs
        self._written = [*(n for n in self._written if n != number), number]
        path = self._path_of(number)
        if self.best_only:
            model.save(path, optimizer_state=False)
        else:
            states = resuming.states_of(progress.callbacks)
            stopped = Stopped(progress.epoch, states, dict(progress.given))
            model_file.save(model, path, stopped=stopped)
        self._prune()
        self._last, self._unsaved = time.monotonic(), None

    def _prune(self) -> None:
        """Remove all but the newest; files name the older ones too, for whoever is killed here."""
        while self.keep is not None and len(self._written) > self.keep:
            with contextlib.suppress(FileNotFoundError):
                self._path_of(self._written[0]).unlink()
            del self._written[0]

    def _path_of(self, number: int) -> Path:
        if not self._is_numbered:
            return self.path
        name = _NUMBERED.sub(lambda found: format(number, found[1] or ""), self.path.name)
        return self.path.with_name(name)

    def latest(self) -> Path | None:
        """The newest file of this path that is there: that of the most epochs; None without any."""
        if not self._is_numbered:
            return self.path if self.path.exists() else None
        if not self.path.parent.is_dir():
            return None
        found = _NUMBERED.search(self.path.name)
        assert found is not None
        before, after = self.path.name[: found.start()], self.path.name[found.end() :]
        form = re.compile(f"{re.escape(before)}([0-9]+){re.escape(after)}")
        numbers = {
            int(match[1]): path
            for path in self.path.parent.iterdir()
            if (match := form.fullmatch(path.name)) and path == self._path_of(int(match[1]))
        }
        return numbers[max(numbers)] if numbers else None

    def state(self) -> State:
        """What has been counted, and which files have been written."""
        return super().state() | {"written": list(self._written)}

    def restore(self, model: "Sequential", state: State) -> None:
        """Go on where a checkpoint has stopped, if it was by the same metric."""
        if state.get("monitor") != self.monitor:
            return self.begin(model)
        super().restore(model, state)
        written = state.get("written")
        if not isinstance(written, list):
            raise ValueError(f"Checkpoint: written in the checkpoint is {checks.shown(written)}")
        self._written = [checks.integer("Checkpoint", "written", each, 0) for each in written]
        self._prune()
        return None

    def end(self, model: "Sequential") -> None:
        """Save the last epoch, where training has ended with it, between two times."""
        unsaved, self._unsaved = self._unsaved, None
        if unsaved is not None and unsaved[1] == model._step:
            self._save(unsaved[0])
        super().end(model)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: without the model."""
        return self.__dict__ | {"_unsaved": None}

    def __repr__(self) -> str:
        more = "".join(
            f", {name}={value!r}"
            for name, value, default in (
                ("epochs", self.epochs, 1),
                ("minutes", self.minutes, None),
                ("keep", self.keep, None),
            )
            if value != default
        )
        given = f"{str(self.path)!r}, monitor={self.monitor!r}, best={self.best_only}"
        return f"Checkpoint({given}{more})"
