"""Where a call of `fit` stands, as JSON and arrays: its epochs, and what callbacks have seen."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels.runtime import checks
from layers.base import Array
from layers.files.numbers import as_json, from_json
from layers.training.resuming import State, Stopped


def described(stopped: Stopped) -> tuple[dict[str, Any], dict[str, Array]]:
    """What JSON can hold, and the arrays of callbacks by name."""
    callbacks, arrays = [], dict[str, Array]()
    for index, (name, state) in enumerate(stopped.states):
        kept = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
        plain = {key: as_json(v) if isinstance(v, float) else v for key, v in state.items()}
        callbacks.append(
            {
                "type": name,
                "state": {key: plain[key] for key in state if key not in kept},
                "arrays": {key: list(array.shape) for key, array in kept.items()},
            }
        )
        arrays |= {f"callback.{index}.{key}": array for key, array in kept.items()}
    return {"epoch": stopped.epoch, "callbacks": callbacks, "given": stopped.given}, arrays


def shapes(description: Any, place: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the callbacks' arrays, of a description that is checked as a whole."""
    match description:
        case {"epoch": int(), "callbacks": [*callbacks]} if all(
            map(_is_state, callbacks)
        ) and isinstance(description.get("given", {}), dict):
            return {
                f"callback.{index}.{name}": tuple(shape)
                for index, callback in enumerate(callbacks)
                for name, shape in callback["arrays"].items()
            }
    raise ValueError(
        f"{place}: stopped in its architecture is {checks.shown(description)}, expected the epoch "
        "and the states of callbacks"
    )


def _is_state(description: Any) -> bool:
    match description:
        case {"type": str(), "state": dict(), "arrays": dict(arrays)}:
            return all(
                isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
                for shape in arrays.values()
            )
    return False


def made(description: Any, arrays: Mapping[str, Array], place: str) -> Stopped:
    """What `described` was given."""

    def state(index: int, callback: Mapping[str, Any]) -> State:
        kept = {name: arrays[f"callback.{index}.{name}"] for name in callback["arrays"]}
        return {name: from_json(v) for name, v in callback["state"].items()} | kept

    epoch = checks.integer(place, "epoch", description["epoch"], 0)
    states = enumerate(description["callbacks"])
    kept = [(each["type"], state(index, each)) for index, each in states]
    return Stopped(epoch, kept, description.get("given", {}))  # older files have none
