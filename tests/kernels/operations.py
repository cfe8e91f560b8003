"""Every operation, called by its address from Python."""

import ctypes
import functools
import gc
from typing import Any

import numpy as np
from numba import types

from kernels.entries import LossEntry, Step
from kernels.runtime import checks
from kernels.runtime.families import FAMILIES, OPERATIONS, Operation


def _all_of(kind: type) -> list[Any]:
    """All objects of a class; not by isinstance, which some objects answer with an error."""
    return [found for found in gc.get_objects() if type(found) is kind]


def every_operation() -> list[Operation]:
    """All operations of the package itself."""
    found = (each for each in OPERATIONS if each.function.__module__.startswith("kernels."))
    return sorted(found, key=lambda operation: (operation.family.name, operation.name))


@functools.cache
def loss_forms() -> dict[Operation, str]:
    """The form of targets that each loss operation takes."""
    entries = _all_of(LossEntry)
    return {its: form for entry in entries for form, its in entry.operations.items()}


@functools.cache
def states_of() -> dict[Operation, int]:
    """How many states each step has."""
    return {entry.operation: entry.states for entry in _all_of(Step)}


@functools.cache
def states_by_name() -> dict[str, int]:
    """How many states each public kernel of a step has."""
    return {entry.name: entry.states for entry in _all_of(Step)}


def numbers_of(operation: Operation) -> int:
    """How many numbers an operation reads; more than any has, where its text does not say."""
    return int(operation.function.__globals__.get("COUNT", 4))


_C_TYPES = {
    types.int64: ctypes.c_int64,
    types.uint64: ctypes.c_uint64,
    types.void: ctypes.c_void_p,
}


def call(operation: Operation, dtype: Any, *given: Any) -> int:
    """Call an operation as compiled code does: by Numba's convention, its address in hand.

    A status, a place for the result and one for an exception; then what the family takes, a tuple's
    items one after the other. Arrays are given for pointers.
    """
    family, real = operation.family, checks.FLOATS[np.dtype(dtype)]
    assert family in FAMILIES
    taken: list[Any] = []
    for value, kind in zip(given, family.arguments(real), strict=True):
        if isinstance(kind, types.CPointer):
            taken.append(ctypes.c_void_p(value.ctypes.data))
        elif isinstance(kind, types.BaseTuple):
            pairs = zip(value, kind.types, strict=True)
            taken += [_C_TYPES[item](int(number)) for number, item in pairs]
        else:
            taken.append(_C_TYPES[kind](int(value)))
    result, exception = ctypes.c_int64(0), ctypes.c_void_p(None)
    function = ctypes.CFUNCTYPE(ctypes.c_int32)(operation.address(np.dtype(dtype)))
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *map(type, taken)]
    status = function(ctypes.addressof(result), ctypes.addressof(exception), *taken)
    assert status in (0, -2), "it raised"  # done, or done with None
    return result.value
