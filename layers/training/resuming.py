"""Where a call of `Sequential.fit` stopped, so that another goes on from there."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kernels.runtime import checks
from layers.base import Array

State = dict[str, Any]
"""What a callback has seen: numbers, text and lists by name, as JSON has them, and arrays."""


@dataclass
class Stopped:
    """A call of `fit` after some of its epochs, as a checkpoint has it.

    Attributes
    ----------
    epoch : int
        How many epochs it had done.
    states : list of (str, dict)
        The class's name and the state of each callback that has one.
    given : dict
        What `fit` was called with: its rows, in short, and how it takes them. Empty where a file
        does not say.
    """

    epoch: int = 0
    states: list[tuple[str, State]] = field(default_factory=list)
    given: dict[str, Any] = field(default_factory=dict)

    def copy(self) -> "Stopped":
        """One whose states can be taken without a trace."""
        return Stopped(self.epoch, list(self.states), self.given)

    def check(self, place: str, given: dict[str, Any]) -> None:
        """The same rows and batches: with others, no training would be gone on with.

        How many epochs there are to be is free.
        """
        if not self.given:
            return
        for name in dict.fromkeys([*given, *self.given]):
            there, here = self.given.get(name), given.get(name)
            if name == "epochs" or there == here:
                continue
            if name in _FINGERPRINTS:
                told = f"{name} holds other numbers than in the checkpoint, expected the same rows"
            else:
                told = f"{name} is {checks.shown(here)}, expected {checks.shown(there)}, as in the"
                told += " checkpoint"
            raise ValueError(
                f"{place}: {told}: the model goes on with a training. Saved by model.save and "
                "loaded again, it begins another"
            )

    def take(self, callback: Any) -> State | None:
        """The state of a callback of this class, looking at the same metric; None without any."""
        name, monitor = type(callback).__name__, getattr(callback, "monitor", None)
        found = [n for n, (kind, _) in enumerate(self.states) if kind == name]
        found.sort(key=lambda n: self.states[n][1].get("monitor") != monitor)
        return self.states.pop(found[0])[1] if found else None

    def warn_of_the_rest(self, place: str) -> None:
        """Say whose states nobody has taken up, where it would have to do with the model."""
        names = [name for name, _ in self.states if name not in _OUTPUTS]
        if names:
            warnings.warn(
                f"{place}: the checkpoint has the state of {', '.join(names)}, and callbacks has "
                "no such one: it is let go",
                stacklevel=5,
            )


_FINGERPRINTS = ("x", "y", "sample_weight")
"""What is known of these is a hash."""

_OUTPUTS = ("Checkpoint", "CSVLog")
"""Callbacks that only write files."""


def states_of(callbacks: Sequence[Any]) -> list[tuple[str, State]]:
    """The states of those callbacks that have one."""
    found = []
    for callback in callbacks:
        state = callback.state() if hasattr(callback, "state") else None
        if state is not None:
            found.append((type(callback).__name__, state))
    return found


# Reading a state, which comes from a file.


def same(place: str, name: str, state: State, expected: Any) -> None:
    """The state belongs to a callback with the same argument."""
    if name not in state or state[name] != expected:
        raise ValueError(
            f"{place}: {name} is {checks.shown(expected)}, expected "
            f"{checks.shown(state.get(name))}, as in the checkpoint"
        )


def number(place: str, name: str, state: State) -> float:
    """A number; NaN and infinity too."""
    value = state.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{place}: {name} in the checkpoint is {checks.shown(value)}, no number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{place}: {name} in the checkpoint is beyond float64") from None


def integer(place: str, name: str, state: State) -> int:
    """An integer of at least 0."""
    return checks.integer(place, f"{name} in the checkpoint", state.get(name), 0, 2**62)


def arrays(
    place: str, prefix: str, state: State, shapes: dict[str, tuple[int, ...]], dtype: Any = None
) -> dict[str, Array] | None:
    """The arrays of names that begin so, of these shapes; None where there is none."""
    found = {
        name.removeprefix(prefix): array
        for name, array in state.items()
        if isinstance(array, np.ndarray) and name.startswith(prefix)
    }
    if not found:
        return None
    if {name: array.shape for name, array in found.items()} != shapes:
        raise ValueError(
            f"{place}: the checkpoint's arrays do not fit the model, expected {shapes}"
        )
    return {name: checks.floating(place, name, array, dtype) for name, array in found.items()}
