"""A model in one file: named arrays and the architecture as JSON, no pickle.

Format 2 also names code of the user's own and holds layers' running numbers and what callbacks have
seen; files of format 1 have none of these.
"""

import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.runtime import checks
from layers.base import Array, Layer
from layers.files import parts
from layers.files.archive import StrPath, load_arrays, save_arrays
from layers.losses import Loss
from layers.optimizers import Optimizer
from layers.sequential import Sequential
from layers.training.resuming import State, Stopped

if TYPE_CHECKING:
    from layers.data.columns import NumberColumns
    from layers.tables.columns import Columns

PLACE = "layers.load"
_FORMAT = 2
_READ = (1, 2)


def save(
    model: Sequential,
    path: StrPath,
    *,
    optimizer_state: bool = True,
    stopped: Stopped | None = None,
) -> None:
    """Write a model to one file, whole or not at all.

    Parameters
    ----------
    model : Sequential
    path : path
        Written to a temporary file, then renamed; no suffix is added.
    optimizer_state : bool
        Whether to also write the optimizer's state of each parameter.
    stopped : Stopped, optional
        Where a call of `fit` stands, for a checkpoint.

    Raises
    ------
    TypeError
        A part cannot be described: see `layers.files.parts`.
    """
    place, named = "Sequential.save", dict[str, Any]()
    architecture: dict[str, object] = {
        "format": _FORMAT,
        "dtype": model.dtype.name,
        "layers": [parts.described(layer, place, named) for layer in model.layers],
        "loss": parts.described(model.loss, place, named),
        "optimizer": parts.described(model.optimizer, place, named),
        "seed_key": model._key,
        "steps": [model._step, model._first_step],
        "history": {
            name: [_as_json(number) for number in numbers]
            for name, numbers in model.history.items()
        },
    }
    if model.columns is not None:
        architecture["columns"] = model.columns.config()
    if model.classes is not None:
        architecture["classes"] = list(model.classes)
    arrays = model.parameters() | model.statistics()
    if optimizer_state:
        architecture["optimizer_state"] = True
        arrays |= _states(model)
    if stopped is not None:
        architecture["stopped"], kept = _stopped_as_json(stopped)
        arrays |= kept
    save_arrays(path, arrays, architecture, place)


def _states(model: Sequential) -> dict[str, Any]:
    """The optimizer's state of each parameter, by name: views."""
    return {
        f"optimizer.{state}.{index}.{name}": array
        for state, views in enumerate(model._buffers.state_views())
        for index, named in enumerate(views)
        for name, array in named.items()
    }


def load(path: StrPath, *, custom: Iterable[Any] = ()) -> Sequential:
    """Read a file of ours; see `layers.load`."""
    place = f"{PLACE}: {os.fsdecode(path)}"
    given = parts.checked_custom(custom, PLACE)
    arrays, architecture = load_arrays(path, lambda found: _shapes(found, place, given), PLACE)
    try:
        model = _model(architecture, place, given)
        own = model.parameters() | model.statistics() | _states(model)
        for name, array in own.items():
            if name in arrays:
                array[...] = checks.floating(place, name, arrays[name], array.dtype)
        if architecture.get("stopped") is not None:
            model._stopped = _stopped(architecture["stopped"], arrays, place)
    except (TypeError, ValueError) as error:
        text = str(error)
        raise ValueError(text if text.startswith(place) else f"{place}: {text}") from error
    return model


def _model(architecture: Mapping[str, Any], place: str, custom: Mapping[str, Any]) -> Sequential:
    """The model that an architecture describes, before its arrays are filled."""
    model = Sequential(
        _layers(architecture, place, custom),
        loss=parts.made(architecture.get("loss"), Loss, "loss", place, custom),
        optimizer=_optimizer(architecture, place, custom),
        seed=0,
        dtype=_field(architecture, "dtype", str, place),
    )
    model._key = checks.integer(place, "seed_key", architecture.get("seed_key"), 0, 2**64 - 1)
    if architecture.get("columns") is not None:
        model.columns = _columns(architecture["columns"], model, place)
    model.classes = architecture.get("classes")
    model._step, model._first_step = _steps(architecture, place)
    if model.optimizer.states and architecture.get("optimizer_state") is not True:
        model._first_step = model._step  # its states start from zero, so its steps do too
    for name, numbers in _field(architecture, "history", dict, place).items():
        model.history[name] = _numbers(name, numbers, place)
    return model


def _shapes(
    architecture: Mapping[str, Any], place: str, custom: Mapping[str, Any]
) -> dict[str, tuple[int, ...]]:
    """The arrays' shapes, before a model allocates what the architecture claims."""
    version = architecture.get("format")
    if version not in _READ or isinstance(version, bool):
        raise ValueError(
            f"{place} has format {checks.shown(version)}, expected {_READ[0]} or {_READ[1]}"
        )
    made = _layers(architecture, place, custom)
    parameters: dict[str, tuple[int, ...]] = {
        f"{index}.{name}": shape
        for index, layer in enumerate(made)
        for name, shape in layer.parameter_shapes().items()
    }
    shapes = parameters | {
        f"{index}.{name}": shape
        for index, layer in enumerate(made)
        for name, shape in layer.statistic_shapes().items()
    }
    if architecture.get("optimizer_state") is True:
        shapes |= {
            f"optimizer.{state}.{name}": shape
            for state in range(_optimizer(architecture, place, custom).states)
            for name, shape in parameters.items()
        }
    if architecture.get("stopped") is not None:
        shapes |= _stopped_shapes(architecture["stopped"], place)
    return shapes


def _optimizer(architecture: Mapping[str, Any], place: str, custom: Mapping[str, Any]) -> Any:
    return parts.made(architecture.get("optimizer"), Optimizer, "optimizer", place, custom)


def _steps(architecture: Mapping[str, Any], place: str) -> tuple[int, int]:
    """The number of steps taken, and the number before the optimizer's first."""
    steps = architecture.get("steps", [0, 0])  # older files have none
    if not isinstance(steps, list) or len(steps) != 2:
        raise ValueError(
            f"{place}: steps in its architecture is {checks.shown(steps)}, expected two integers"
        )
    taken = checks.integer(place, "steps", steps[0], 0, 2**62)
    return taken, checks.integer(place, "steps", steps[1], 0, taken)


def _layers(architecture: Mapping[str, Any], place: str, custom: Mapping[str, Any]) -> list[Layer]:
    described = _field(architecture, "layers", list, place)
    return [
        parts.made(part, Layer, f"layer {index}", place, custom)
        for index, part in enumerate(described)
    ]


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


# Where a call of `fit` stands: the epochs that it has done, and what its callbacks have seen.


def _stopped_as_json(stopped: Stopped) -> tuple[dict[str, Any], dict[str, Array]]:
    described, arrays = [], dict[str, Array]()
    for index, (name, state) in enumerate(stopped.states):
        kept = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
        plain = {key: _as_json(v) if isinstance(v, float) else v for key, v in state.items()}
        described.append(
            {
                "type": name,
                "state": {key: plain[key] for key in state if key not in kept},
                "arrays": {key: list(array.shape) for key, array in kept.items()},
            }
        )
        arrays |= {f"callback.{index}.{key}": array for key, array in kept.items()}
    return {"epoch": stopped.epoch, "callbacks": described}, arrays


def _stopped_shapes(described: Any, place: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the callbacks' arrays; the whole is checked."""
    match described:
        case {"epoch": int(), "callbacks": [*callbacks]} if all(map(_is_state, callbacks)):
            return {
                f"callback.{index}.{name}": tuple(shape)
                for index, callback in enumerate(callbacks)
                for name, shape in callback["arrays"].items()
            }
    raise ValueError(
        f"{place}: stopped in its architecture is {checks.shown(described)}, expected the epoch "
        "and the states of callbacks"
    )


def _is_state(described: Any) -> bool:
    match described:
        case {"type": str(), "state": dict(), "arrays": dict(arrays)}:
            return all(
                isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
                for shape in arrays.values()
            )
    return False


def _stopped(described: Any, arrays: Mapping[str, Array], place: str) -> Stopped:
    def state(index: int, callback: Mapping[str, Any]) -> State:
        kept = {name: arrays[f"callback.{index}.{name}"] for name in callback["arrays"]}
        return {name: _number_of(v) for name, v in callback["state"].items()} | kept

    epoch = checks.integer(place, "epoch", described["epoch"], 0)
    states = enumerate(described["callbacks"])
    return Stopped(epoch, [(each["type"], state(index, each)) for index, each in states])


def _number_of(value: Any) -> Any:
    """What `_as_json` made a string of, as a number again."""
    return float(value) if value in ("nan", "inf", "-inf") else value
