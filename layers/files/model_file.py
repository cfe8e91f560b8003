"""A model in one file: named arrays and the architecture as JSON, no pickle.

Format 2 also names code of the user's own and holds layers' running numbers and what callbacks have
seen; files of format 1 have none of these.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from kernels.runtime import checks
from layers.files import network, numbers, parts, stopping
from layers.files.archive import load_arrays, save_arrays
from layers.optimizers import Optimizer
from layers.replacing import StrPath
from layers.sequential import Sequential
from layers.training.resuming import Stopped

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
        **network.described(model, place, named),
        "optimizer": parts.described(model.optimizer, place, named),
        "seed_key": model._key,
        "steps": [model._step, model._first_step],
        "history": {
            name: [numbers.as_json(number) for number in values]
            for name, values in model.history.items()
        },
    }
    arrays = model.parameters() | model.statistics()
    if optimizer_state:
        architecture["optimizer_state"] = True
        arrays |= _states(model)
    if stopped is not None:
        architecture["stopped"], kept = stopping.described(stopped)
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
            model._stopped = stopping.made(architecture["stopped"], arrays, place)
    except (TypeError, ValueError) as error:
        text = str(error)
        raise ValueError(text if text.startswith(place) else f"{place}: {text}") from error
    return model


def _model(architecture: Mapping[str, Any], place: str, custom: Mapping[str, Any]) -> Sequential:
    """The model that an architecture describes, before its arrays are filled."""
    optimizer = _optimizer(architecture, place, custom)
    model = network.made(architecture, place, custom, optimizer=optimizer)
    model._key = checks.integer(place, "seed_key", architecture.get("seed_key"), 0, 2**64 - 1)
    model._step, model._first_step = _steps(architecture, place)
    if model.optimizer.states and architecture.get("optimizer_state") is not True:
        model._first_step = model._step  # its states start from zero, so its steps do too
    for name, values in network.field(architecture, "history", dict, place).items():
        model.history[name] = numbers.checked_list(place, f"history {name!r}", values)
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
    parameters, statistics = network.shapes(network.layers(architecture, place, custom))
    shapes: dict[str, tuple[int, ...]] = {**parameters, **statistics}
    if architecture.get("optimizer_state") is True:
        shapes |= {
            f"optimizer.{state}.{name}": shape
            for state in range(_optimizer(architecture, place, custom).states)
            for name, shape in parameters.items()
        }
    if architecture.get("stopped") is not None:
        shapes |= stopping.shapes(architecture["stopped"], place)
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
