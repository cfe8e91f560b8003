"""Every public kernel with valid arguments, and the same arrays in unusual layouts."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernels.runtime import jit, threads
from tests.kernels.operations import states_by_name

SIZES = {"batch": 6, "n_in": 5, "n_out": 4, "n_classes": 3, "m": 6, "k": 5, "n": 4, "q": 30}
FLOATING = ("matrix", "any_shape")
ARRAYS = (*FLOATING, "labels", "indices")

each_door = pytest.mark.parametrize("door", jit.PUBLIC.values(), ids=lambda door: door.__name__)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def good(door: jit.Door, dtype: Any = np.float32) -> dict[str, Any]:
    """Arguments that a door takes, by name."""
    rng = np.random.default_rng(0)
    made: dict[str, Any] = {}
    size_of = SIZES | {"s": states_by_name().get(door.__name__, 0)}
    for position, argument in enumerate(door.contract.arguments):
        sizes = tuple(size_of.get(size, size) for size in argument.sizes)
        if argument.kind in FLOATING:
            value = rng.random(sizes or (6, 5)).astype(dtype)
        elif argument.kind in ("labels", "indices"):
            value = np.arange(sizes[0]) % SIZES.get(argument.below, 1)
        else:
            number = 0.25 if argument.name == "rate" else 0.25 + position  # dropout's is below 1
            value = {"number": number, "uint64": 11, "flag": False}[argument.kind]
        made[argument.name] = value
    return made


def target_rows(dtype: Any = np.float32) -> np.ndarray:
    return np.full((SIZES["batch"], SIZES["n_classes"]), 1 / 3, dtype)


def described(door: jit.Door, name: str):
    """What the door's contract says about one argument."""
    return next(argument for argument in door.contract.arguments if argument.name == name)


def arguments(*kinds: str, output: bool | None = None, only=lambda door, argument: True):
    """Parametrize by (door, name): every argument of every door that is of these kinds."""
    found = [
        (door, argument.name)
        for door in jit.PUBLIC.values()
        for argument in door.contract.arguments
        if argument.kind in kinds and output in (None, argument.is_output) and only(door, argument)
    ]
    ids = [f"{door.__name__}.{name}" for door, name in found]
    return pytest.mark.parametrize(("door", "name"), found, ids=ids)


# On one thread, and on all that there are


def path_of(door: Any, path: str) -> Callable[..., Any] | None:
    """A door without its checks, ``"serial"`` or ``"parallel"``; None where it has no such form."""
    if isinstance(door, jit.Kernel):
        return getattr(door, path)
    if type(door) is jit.Door:
        return functools.partial(_forced, door, path == "parallel")
    return None  # a product's, whose kernel has its own twins


def _forced(door: jit.Door, parallel: bool, *args: Any) -> Any:
    """Run what calls kernels, with each of them on several threads, or none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "worthwhile", lambda nanoseconds: parallel)
        return door.bare(*args)


# Layouts


def strided(array: np.ndarray) -> np.ndarray:
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def backwards(array: np.ndarray) -> np.ndarray:
    return array[..., ::-1].copy()[..., ::-1]


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array: np.ndarray) -> np.ndarray:
    moved = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    moved[...] = array
    assert not moved.flags.aligned
    return moved


def byte_swapped(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder())


def lying(array: np.ndarray) -> np.ndarray:
    return array.view(_Lying)


class _Lying(np.ndarray):
    """Says other things about itself than it holds, where Python code asks it."""

    @property
    def shape(self):
        return (1000, 1000)

    @property
    def dtype(self):
        return np.dtype(np.float64)

    def view(self, *args):
        return self


def matrix_class(array: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # NumPy's, of its own class
        return array.view(np.matrix) if array.ndim == 2 else array


def with_metadata(array: np.ndarray) -> np.ndarray:
    return array.astype(np.dtype(array.dtype, metadata={"unit": "m"}))


def on_disk(array: np.ndarray, path) -> np.ndarray:
    array.tofile(path / "array")
    mode = "r+" if array.flags.writeable else "r"
    return np.memmap(path / "array", array.dtype, mode, shape=array.shape)
