"""Models in files, and arrays in .npz archives."""

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from layers.replacing import checked_path
from layers.settings import flag

if TYPE_CHECKING:
    from layers.replacing import StrPath
    from layers.sequential import Sequential

_OURS, _SAFETENSORS, _ONNX = ".npz", ".safetensors", ".onnx"


def ending(path: "StrPath") -> str:
    """What the file's name ends with, in small letters."""
    return os.path.splitext(os.fsdecode(path))[1].lower()


def checked_ending(path: "StrPath", place: str) -> str:
    """The ending of a file to write; one that promises another format than ours is refused."""
    kind = ending(checked_path(path, place))
    if kind not in (_OURS, _SAFETENSORS, _ONNX) and re.match(r"\.[a-z]", kind):
        raise ValueError(
            f"{place}: {os.fsdecode(path)!r} ends in {kind}, which is no format of ours: expected "
            f"{_OURS} or no ending, for all of the model, {_SAFETENSORS}, for its parameters, or "
            f"{_ONNX}, for other programs"
        )
    return kind


def save(model: "Sequential", path: "StrPath", *, optimizer_state: bool) -> None:
    """Write a model in the format of the file's ending; see `Sequential.save`."""
    optimizer_state = flag("Sequential.save", "optimizer_state", optimizer_state)
    kind = checked_ending(path, "Sequential.save")
    if kind == _SAFETENSORS:
        from layers.exchange import safetensors_file

        safetensors_file.save(model, path)
    elif kind == _ONNX:
        from layers.exchange import onnx_export

        onnx_export.save(model, path)
    else:
        from layers.files import model_file

        model_file.save(model, path, optimizer_state=optimizer_state)


def load(path: "StrPath", *, custom: Iterable[Any] = ()) -> "Sequential":
    """Read a model that `Sequential.save` or a `Checkpoint` wrote.

    Training goes on as if it had never stopped, to the bit, on any number of threads:
    ``model.fit(x, y, epochs=planned - model.history.epochs)``, where the file has the optimizer's
    state. After a checkpoint, callbacks of that call take up what those of the same class had seen.

    Parameters
    ----------
    path : path
        By its ending, ``.safetensors`` and ``.onnx`` are read too; see ``docs/exchange.md``.
    custom : list of classes and functions
        Code of your own that the file names: layers, losses, optimizers, schedules, and functions
        that they were given.

    Returns
    -------
    Sequential
        With bit-identical parameters, the same history and the same future shuffles. Of a file of
        a `TabularPredictor` too: its network, with ``columns``; `TabularPredictor.load` reads it as
        a predictor, which takes tables.

    Raises
    ------
    ValueError
        The file is no saved model, is damaged, or its arrays do not fit its architecture. Or it
        names code that is not in ``custom``.
    """
    kind = ending(checked_path(path, "layers.load"))
    try:
        return _loaded(kind, path, custom)
    except RecursionError as error:
        raise ValueError(
            f"layers.load: {os.fsdecode(path)}: what it holds is nested too deeply"
        ) from error


def _loaded(kind: str, path: "StrPath", custom: Iterable[Any]) -> "Sequential":
    if kind == _SAFETENSORS:
        from layers.exchange import safetensors_file

        return safetensors_file.load(path, custom=custom)
    if kind == _ONNX:
        from layers.exchange import onnx_import

        return onnx_import.from_onnx(path)
    from layers.files import model_file

    return model_file.load(path, custom=custom)
