"""A model in one file: named arrays and the architecture as JSON, no pickle."""

import inspect
import math
import os
from collections.abc import Mapping
from typing import Any

from kernels import checks
from layers.activations import ReLU, Softmax
from layers.base import Layer
from layers.dense import Dense
from layers.files import StrPath, load_arrays, save_arrays
from layers.losses import CategoricalCrossEntropy, SoftmaxCrossEntropy
from layers.optimizers import SGD
from layers.sequential import Sequential

PLACE = "layers.load"
_FORMAT = 1
# What a file may name. A user's own layer is not here: its code is not in the file.
_LAYERS: dict[str, Any] = {"Dense": Dense, "ReLU": ReLU, "Softmax": Softmax}
_LOSSES: dict[str, Any] = {
    "SoftmaxCrossEntropy": SoftmaxCrossEntropy,
    "CategoricalCrossEntropy": CategoricalCrossEntropy,
}
_OPTIMIZERS: dict[str, Any] = {"SGD": SGD}


def save(model: Sequential, path: StrPath) -> None:
    """Write a model to one file, whole or not at all.

    Parameters
    ----------
    model : Sequential
    path : path
        Written aside, then renamed; the name is taken as it is.

    Raises
    ------
    TypeError
        A layer, the loss or the optimizer is not one of this package's.
    """
    architecture: dict[str, object] = {
        "format": _FORMAT,
        "dtype": model.dtype.name,
        "layers": [_described(layer, _LAYERS) for layer in model.layers],
        "loss": _described(model.loss, _LOSSES),
        "optimizer": _described(model.optimizer, _OPTIMIZERS),
        "seed_key": model._key,
        "history": {
            name: [_as_json(number) for number in numbers]
            for name, numbers in model.history.items()
        },
    }
    save_arrays(path, model.parameters(), architecture, "Sequential.save")


def load(path: StrPath) -> Sequential:
    """Read a model that `Sequential.save` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    Sequential
        With the same parameters to the bit, the same history and the same shuffles to come.

    Raises
    ------
    ValueError
        The file is not such a file, is damaged, or its arrays do not fit its architecture.
    """
    arrays, architecture = load_arrays(path, lambda described: _shapes(described, path), PLACE)
    place = f"{PLACE}: {os.fsdecode(path)}"
    try:
        model = Sequential(
            _layers(architecture, place),
            loss=_made(architecture.get("loss"), _LOSSES, "loss", place),
            optimizer=_made(architecture.get("optimizer"), _OPTIMIZERS, "optimizer", place),
            seed=0,
            dtype=_field(architecture, "dtype", str, place),
        )
        model._key = checks.integer(place, "seed_key", architecture.get("seed_key"), 0, 2**64 - 1)
        for name, array in model.parameters().items():
            array[...] = checks.floating(place, name, arrays[name], model.dtype)
    except (TypeError, ValueError) as error:
        text = str(error)
        raise ValueError(text if text.startswith(place) else f"{place}: {text}") from error
    for name, numbers in _field(architecture, "history", dict, place).items():
        model.history[name] = _numbers(name, numbers, place)
    return model


def _shapes(architecture: Mapping[str, Any], path: StrPath) -> dict[str, tuple[int, ...]]:
    """The arrays' shapes, before a model allocates what the architecture claims."""
    place = f"{PLACE}: {os.fsdecode(path)}"
    version = architecture.get("format")
    if version != _FORMAT:
        raise ValueError(f"{place} has format {checks.shown(version)}, expected {_FORMAT}")
    return {
        f"{index}.{name}": shape
        for index, layer in enumerate(_layers(architecture, place))
        for name, shape in layer.parameter_shapes().items()
    }


def _layers(architecture: Mapping[str, Any], place: str) -> list[Layer]:
    described = _field(architecture, "layers", list, place)
    return [_made(part, _LAYERS, f"layer {index}", place) for index, part in enumerate(described)]


def _field(architecture: Mapping[str, Any], name: str, kind: type, place: str) -> Any:
    value = architecture.get(name)
    if not isinstance(value, kind):
        raise ValueError(
            f"{place}: {name} in its architecture is {checks.shown(value)}, "
            f"expected a {kind.__name__}"
        )
    return value


def _numbers(name: str, numbers: Any, place: str) -> list[float]:
    """A list of the history; `_as_json` made words of what JSON has no number for."""
    if not isinstance(numbers, list) or not all(
        isinstance(number, (int, float)) or number in ("nan", "inf", "-inf") for number in numbers
    ):
        raise ValueError(
            f"{place}: history {name!r} in its architecture is {checks.shown(numbers)}, "
            "expected a list of numbers"
        )
    try:
        return [float(number) for number in numbers]
    except OverflowError:
        raise ValueError(f"{place}: history {name!r} has an integer beyond float64") from None


def _as_json(number: float) -> float | str:
    """JSON has no NaN and no infinity; `load` takes "nan" and "inf" for numbers too."""
    return number if math.isfinite(number) else str(number)


def _described(part: Any, known: dict[str, Any]) -> dict[str, Any]:
    name = type(part).__name__
    if known.get(name) is not type(part):
        raise TypeError(f"Sequential.save: cannot save {part!r}, expected one of {sorted(known)}")
    return {"type": name, **part.config()}


def _made(described: Any, known: dict[str, Any], what: str, place: str) -> Any:
    """A layer, loss or optimizer as the file describes it."""
    place = f"{place}: {what} in its architecture"
    if not isinstance(described, dict) or not isinstance(described.get("type"), str):
        raise ValueError(
            f"{place} is {checks.shown(described)}, expected its type and arguments by name"
        )
    name, given = described["type"], {k: v for k, v in described.items() if k != "type"}
    if name not in known:
        raise ValueError(f"{place}: {name!r} is unknown, expected one of {sorted(known)}")
    parameters = inspect.signature(known[name]).parameters
    needed = {key for key, parameter in parameters.items() if parameter.default is parameter.empty}
    if not needed <= set(given) <= set(parameters):
        raise ValueError(
            f"{place}: {name} has the arguments {sorted(given)}, expected {sorted(needed)}"
            f" and perhaps {sorted(set(parameters) - needed)}"
        )
    try:
        return known[name](**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from error
