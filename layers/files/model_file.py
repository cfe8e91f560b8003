"""A model in one file: named arrays and the architecture as JSON, no pickle."""

import inspect
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kernels.runtime import checks
from layers import schedules
from layers.base import Layer
from layers.files.archive import StrPath, load_arrays, save_arrays
from layers.losses import Loss
from layers.optimizers import Optimizer
from layers.sequential import Sequential

if TYPE_CHECKING:
    from layers.data.columns import NumberColumns
    from layers.tables.columns import Columns

PLACE = "layers.load"
_FORMAT = 1


def _known(kind: type) -> dict[str, Any]:
    """The classes of a kind that a file may name: those that the package exports.

    User-defined classes, and parts made of a user's formulas, are excluded: their code is not in
    the file.
    """
    import layers
    from layers import formulas

    return {
        name: part
        for name, part in vars(layers).items()
        if isinstance(part, type)
        and issubclass(part, kind)
        and part is not kind
        and part.__module__ != formulas.__name__
    }


def save(model: Sequential, path: StrPath, *, optimizer_state: bool = False) -> None:
    """Write a model to one file, whole or not at all.

    Parameters
    ----------
    model : Sequential
    path : path
        Written to a temporary file, then renamed; no suffix is added.
    optimizer_state : bool
        Whether to also write the optimizer's state of each parameter.

    Raises
    ------
    TypeError
        A layer, the loss or the optimizer is not one of this package's.
    """
    architecture: dict[str, object] = {
        "format": _FORMAT,
        "dtype": model.dtype.name,
        "layers": [_described(layer, Layer) for layer in model.layers],
        "loss": _described(model.loss, Loss),
        "optimizer": _described(model.optimizer, Optimizer),
        "seed_key": model._key,
        "steps": [model._step, model._first_step],
        "history": {
            name: [_as_json(number) for number in numbers]
            for name, numbers in model.history.items()
        },
    }
    if model.columns is not None:
        architecture["columns"] = model.columns.config()
    arrays = model.parameters()
    if optimizer_state:
        architecture["optimizer_state"] = True
        arrays |= _states(model)
    save_arrays(path, arrays, architecture, "Sequential.save")


def _states(model: Sequential) -> dict[str, Any]:
    """The optimizer's state of each parameter, by name: views."""
    return {
        f"optimizer.{state}.{index}.{name}": array
        for state, views in enumerate(model._buffers.state_views())
        for index, named in enumerate(views)
        for name, array in named.items()
    }


def load(path: StrPath) -> Sequential:
    """Read a model that `Sequential.save` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    Sequential
        With bit-identical parameters, the same history and the same future shuffles.

    Raises
    ------
    ValueError
        The file is no saved model, is damaged, or its arrays do not fit its architecture.
    """
    arrays, architecture = load_arrays(path, lambda described: _shapes(described, path), PLACE)
    place = f"{PLACE}: {os.fsdecode(path)}"
    try:
        model = Sequential(
            _layers(architecture, place),
            loss=_made(architecture.get("loss"), Loss, "loss", place),
            optimizer=_made(architecture.get("optimizer"), Optimizer, "optimizer", place),
            seed=0,
            dtype=_field(architecture, "dtype", str, place),
        )
        model._key = checks.integer(place, "seed_key", architecture.get("seed_key"), 0, 2**64 - 1)
        if architecture.get("columns") is not None:
            model.columns = _columns(architecture["columns"], model, place)
        model._step, model._first_step = _steps(architecture, place)
        if model.optimizer.states and architecture.get("optimizer_state") is not True:
            model._first_step = model._step  # its states start from zero, so its steps do too
        for name, array in [*model.parameters().items(), *_states(model).items()]:
            if name in arrays:
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
    shapes: dict[str, tuple[int, ...]] = {
        f"{index}.{name}": shape
        for index, layer in enumerate(_layers(architecture, place))
        for name, shape in layer.parameter_shapes().items()
    }
    if architecture.get("optimizer_state") is not True:
        return shapes
    optimizer = _made(architecture.get("optimizer"), Optimizer, "optimizer", place)
    return shapes | {
        f"optimizer.{state}.{name}": shape
        for state in range(optimizer.states)
        for name, shape in shapes.items()
    }


def _steps(architecture: Mapping[str, Any], place: str) -> tuple[int, int]:
    """The number of steps taken, and the number before the optimizer's first."""
    steps = architecture.get("steps", [0, 0])  # older files have none
    if not isinstance(steps, list) or len(steps) != 2:
        raise ValueError(
            f"{place}: steps in its architecture is {checks.shown(steps)}, expected two integers"
        )
    taken = checks.integer(place, "steps", steps[0], 0, 2**62)
    return taken, checks.integer(place, "steps", steps[1], 0, taken)


def _layers(architecture: Mapping[str, Any], place: str) -> list[Layer]:
    described = _field(architecture, "layers", list, place)
    return [_made(part, Layer, f"layer {index}", place) for index, part in enumerate(described)]


def _field(architecture: Mapping[str, Any], name: str, kind: type, place: str) -> Any:
    value = architecture.get(name)
    if not isinstance(value, kind):
        raise ValueError(
            f"{place}: {name} in its architecture is {checks.shown(value)}, "
            f"expected a {kind.__name__}"
        )
    return value


def _numbers(name: str, numbers: Any, place: str) -> list[float]:
    """A list of the history, in which `_as_json` replaced NaN and infinity by strings."""
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


def _columns(config: Any, model: Sequential, place: str) -> "Columns | NumberColumns":
    """Columns of the training data, as many inputs and outputs as the model has."""
    # Imported only here: few models have them.
    kind: type[Columns] | type[NumberColumns]
    if isinstance(config, dict) and "columns" in config:
        from layers.tables.columns import Columns as kind

        expected = "columns and has_names"
    else:
        from layers.data.columns import NumberColumns as kind

        expected = "names, features and label"
    try:
        columns = kind.from_config(config)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    except (KeyError, TypeError) as error:  # missing or wrong fields
        raise ValueError(
            f"{place}: columns in its architecture is {checks.shown(config)}, expected a dict of "
            f"{expected}"
        ) from error
    if columns.n_in != model.n_in:
        raise ValueError(f"{place} has {columns.n_in} columns of features, expected {model.n_in}")
    if columns.n_out not in (None, model.n_out):
        raise ValueError(f"{place} has {columns.n_out} classes, expected {model.n_out}")
    return columns


def _as_json(number: float) -> float | str:
    """A number, or the string "nan", "inf" or "-inf", which JSON has no numbers for."""
    return number if math.isfinite(number) else str(number)


def _described(part: Any, kind: type) -> dict[str, Any]:
    name, known = type(part).__name__, _known(kind)
    if known.get(name) is not type(part):
        raise TypeError(f"Sequential.save: cannot save {part!r}, expected one of {sorted(known)}")
    try:
        return {"type": name, **part.config()}
    except TypeError as error:  # a learning rate by code of the user's own
        raise TypeError(f"Sequential.save: {name}: {error}") from error


def _made(described: Any, kind: type, what: str, place: str) -> Any:
    """A layer, loss or optimizer as the file describes it."""
    known = _known(kind)
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
        if isinstance(given.get("learning_rate"), dict):
            given["learning_rate"] = schedules.made(given["learning_rate"])
        return known[name](**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from error
