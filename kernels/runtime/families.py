"""Operations: functions that compiled code calls by their address, each of one family.

A family says how threads may share a function's work, and so what the function takes; its signature
is written here, once. The product, the interpreter and ``kernels/operation_loops.py`` know
families, not operations.

==============  ==================  ===============================================================
family          shared by           members
==============  ==================  ===============================================================
`ELEMENTWISE`   runs of elements    activations and their gradients, exp, log
`ROWWISE`       rows                softmax and its gradient, dropout, the class of a row
`LOSS`          rows                the loss of each row and its gradient
`COLUMNWISE`    columns, all rows   the gradient of biases, mean and variance of a batch
`UPDATE`        runs of parameters  the steps of optimizers
`GATHER`        rows                rows of the data in the order of an epoch
==============  ==================  ===============================================================

An operation is compiled for a dtype at its first use, separately from all others, and then loaded
from the cache. It takes pointers and numbers, never raises, and writes only its outputs. Its
address is valid in this process only and is never stored.
"""

import types as python_types
from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numba import types

from kernels.intrinsics.calls import FunctionShape
from kernels.runtime import cache, checks, jit

_SIZE = types.int64
_NUMBERS = types.CPointer(types.float64)
"""An operation's numbers, such as a slope or a learning rate: float64 for both dtypes."""


Counter = namedtuple("Counter", ["key", "stream", "first"])
"""The key and stream of random numbers, and an operation's first row within the batch."""


def _elementwise(real):
    at = types.CPointer(real)
    # x, dy, out; rows and columns of a block, and the row stride of all three.
    return (at, at, at, _SIZE, _SIZE, _SIZE, _NUMBERS)


def _rowwise(real):
    at = types.CPointer(real)
    counter = types.NamedTuple((types.uint64, types.uint64, _SIZE), Counter)
    # x, dy, out; rows of n; the layer's parameters.
    return (at, at, at, _SIZE, _SIZE, at, _NUMBERS, counter)


def _loss(real):
    at = types.CPointer(real)
    # scores, targets, gradient (rows of n), losses and measures (one per row); rows, n, rows of the
    # whole batch.
    return (at, at, at, at, at, _SIZE, _SIZE, _SIZE, _NUMBERS)


def _columnwise(real):
    at = types.CPointer(real)
    # x, dy, out; all rows, columns of a block, row stride.
    return (at, at, at, _SIZE, _SIZE, _SIZE, _NUMBERS)


def _update(real):
    at = types.CPointer(real)
    # parameters, gradients, states, elements from one state to the next; rows and columns of a
    # block; row stride of parameters and states, row stride of gradients.
    return (at, at, at, _SIZE, _SIZE, _SIZE, _SIZE, _SIZE, _NUMBERS)


def _gather(real):
    at = types.CPointer(real)
    # x, the order from the first row of the batch on, rows that remain in it; out, rows, n.
    return (at, types.CPointer(_SIZE), _SIZE, at, _SIZE, _SIZE)


ELEMENTWISE = FunctionShape("elementwise", types.void, _elementwise)
ROWWISE = FunctionShape("rowwise", types.int64, _rowwise)
LOSS = FunctionShape("loss", types.void, _loss)
COLUMNWISE = FunctionShape("columnwise", types.void, _columnwise)
UPDATE = FunctionShape("update", types.void, _update)
GATHER = FunctionShape("gather", types.void, _gather)

FAMILIES = (ELEMENTWISE, ROWWISE, LOSS, COLUMNWISE, UPDATE, GATHER)

OPERATIONS: list["Operation"] = []
"""All operations of this process."""


class Operation:
    """A function of a family, compiled separately and called by its address.

    Parameters
    ----------
    family : FunctionShape
    function : callable
        The Python function.
    nanoseconds : float
        Approximate time for an element, on one thread.
    in_registers : int
        The product's flag for the same operation, where the micro-kernel has it.

    Attributes
    ----------
    name : str
        The function's name without a leading underscore; the public kernel and the NumPy twin, if
        any, have the same name.
    twin : callable or None
        The same in NumPy, where it is not in ``kernels/reference.py``.
    """

    twin: Callable[..., None] | None = None

    def __init__(
        self,
        family: FunctionShape,
        function: Callable[..., Any],
        nanoseconds: float = 1.0,
        in_registers: int = 0,
    ) -> None:
        self.in_registers = in_registers
        self.family, self.function, self.nanoseconds = family, function, nanoseconds
        self.name: str = function.__name__.lstrip("_")
        self._addresses: dict[Any, int] = {}
        self._code: jit.Apart | None = None
        OPERATIONS.append(self)

    def compile(self, dtype: Any) -> None:
        """Compile it for one dtype or load it from the cache, except with NUMBA_DISABLE_JIT=1."""
        if not numba.config.DISABLE_JIT:
            self.address(dtype)

    def address(self, dtype: Any) -> int:
        """The address of its machine code for one dtype, compiled or loaded if needed.

        Raises
        ------
        NotImplementedError
            NUMBA_DISABLE_JIT=1 is set.
        """
        address = self._addresses.get(dtype)
        return self._ready(np.dtype(dtype)) if address is None else address

    def _ready(self, dtype: np.dtype[Any]) -> int:
        if numba.config.DISABLE_JIT:
            raise NotImplementedError(
                f"kernels: the operation {self.name} is called by its address, which Python cannot "
                "do: unset NUMBA_DISABLE_JIT, or take the NumPy twins in kernels.reference"
            )
        signature = self.family.result(*self.family.arguments(checks.FLOATS[dtype]))
        with cache.filling():  # so that one thread compiles it
            if self._code is None:
                self._code = jit.Apart(self.function)
            address = self._addresses[dtype] = self._code.address(signature)
        return address

    def __deepcopy__(self, memo: Any) -> "Operation":
        return self

    def __repr__(self) -> str:
        return f"<{self.family.name} operation {self.name}>"


def specialised(
    loop: Callable[..., Any], name: str, module: str, functions: dict[str, Any]
) -> Callable[..., Any]:
    """A copy of a loop in which some names are bound to other functions.

    It is no closure, since another process cannot find a factory's closure in the cache.

    Parameters
    ----------
    loop : callable
    name, module : str
        Of the copy, by which the cache identifies functions.
    functions : dict
        The functions by name.
    """
    made = python_types.FunctionType(loop.__code__, loop.__globals__ | functions, name)
    made.__qualname__, made.__module__ = name, module
    return made


def numbers_array(numbers: Sequence[float]) -> np.ndarray:
    """An operation's numbers as an array; at least one, so that there is an address."""
    return np.array(numbers or (0.0,), np.float64)
