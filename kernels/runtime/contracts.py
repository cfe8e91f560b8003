"""A kernel's contract: one line that determines its checks and Numba signatures.

``x (batch, n_in), weights (n_in, n_out) -> out (batch, n_out)`` says what a door accepts, which
errors it raises, and what is compiled. The checks are in ``kernels/runtime/checks.py``.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import types

from kernels.intrinsics.numpy_arrays import Matrix
from kernels.runtime import checks


@dataclass(frozen=True)
class _Argument:
    """One argument of a contract."""

    name: str
    kind: str  # a name in _PATTERNS
    sizes: tuple[int | str, ...] = ()
    below: str = ""  # labels and indices: the size that bounds them
    swap: str = ""  # matrix: the flag that swaps its two sizes
    minimum: float | None = None
    is_output: bool = False


_PATTERNS = (
    ("any_shape", r"\(\.\.\.\)"),
    ("matrix", r"\((?P<sizes>\w+, \w+)(; (?P<swap>\w+))?\)"),
    ("labels", r"\[(?P<sizes>\w+) < (?P<below>\w+)\]"),
    ("indices", r"<(?P<sizes>\w+)( < (?P<below>\w+))?>"),
    ("number", r">= (?P<minimum>[\d.]+)"),
    ("uint64", r"uint64"),
    ("int64", r"int64"),
    ("threads", r"threads"),
    ("flag", r"flag"),
    ("numbers", r"numbers"),
    ("number", r"number"),
)

# The order of checks: flags decide how a matrix is read, arrays in which dtype a number must be
# finite. Labels are copied, so all shapes are compared first.
_ORDER = {"flag": 0, "labels": 2, "number": 2}

# Always copied, so that they cannot change after the check.
_COPIED = ("labels", "indices")


class Contract:
    """What a kernel takes, in one line, and the checks and signatures that follow from it.

    ``x (batch, n_in), weights (n_in, n_out) -> out (batch, n_out)`` reads as in NumPy's generalised
    ufuncs: a size named twice is one size. All arrays have one dtype, float32 or float64, unless
    marked otherwise; arguments after the arrow are outputs. The forms of an argument:

    ======================  ==================================================================
    ``x (batch, n)``        two dimensions; ``(1, n)`` also takes ``(n,)``
    ``a (m, k; flag)``      the same, its sizes swapped where the argument ``flag`` is true
    ``x (...)``             any shape, the same for all such arguments
    ``labels [batch < c]``  class indices (batch,) below c, or target rows (batch, c)
    ``rows <batch < n>``    int64 (batch,), each in [0, n)
    ``rate >= 0``           a finite number
    ``key uint64``          an unsigned 64-bit integer
    ``transpose flag``      true or false
    ``flags int64``         an integer (not for public kernels)
    ``slopes numbers``      float64, one dimension, whatever the dtype (not for public kernels)
    ``count threads``       the number of threads: last, and passed by `jit.Kernel` itself
    ======================  ==================================================================

    An output whose name starts with ``out`` and whose shape the inputs give may be left out: a new
    array is made and returned. Lists of numbers are taken for inputs, in the dtype of the arrays
    beside them, or in float64.

    With ``as_matrices`` the compiled function takes its matrices as `numpy_arrays.Matrix`.
    """

    def __init__(
        self, function: Callable[..., Any], text: str, *, as_matrices: bool = False
    ) -> None:
        self.text = text
        self._array = Matrix if as_matrices else _array
        self.place = f"kernels.{function.__name__}"
        python = inspect.signature(function)
        inputs, _, outputs = text.partition(" -> ")
        parsed = [_parse(part, False) for part in _split(inputs)]
        parsed += [_parse(part, True) for part in _split(outputs)]
        by_name = {argument.name: argument for argument in parsed}
        if sorted(argument.name for argument in parsed) != sorted(python.parameters):
            raise ValueError(f"{self.place}: contract and parameters differ: {text}")
        self.arguments = [by_name[name] for name in python.parameters]
        self._in_order = sorted(self.arguments, key=lambda argument: _ORDER.get(argument.kind, 1))
        self._refuse_nonsense()
        self.optional = self._left_out(python)
        # Without annotations, whose text NumPy makes long: the docstring says what is meant.
        empty = inspect.Parameter.empty
        self.python = inspect.Signature(
            [
                each.replace(
                    default=None if name in self.optional else each.default, annotation=empty
                )
                for name, each in python.parameters.items()
            ]
        )

    def _refuse_nonsense(self) -> None:
        """The sizes that an argument is checked against must be known before it."""
        flags = {argument.name for argument in self.arguments if argument.kind == "flag"}
        known: set[int | str] = set()
        for argument in self._in_order:
            needed = {argument.below} - {""}
            if argument.kind == "labels":
                needed |= set(argument.sizes)
            if not needed <= known or argument.swap not in flags | {""}:
                raise ValueError(f"{self.place}: nothing to check {argument.name} by: {self.text}")
            if argument.is_output and argument.kind not in (
                "matrix",
                "any_shape",
                "indices",
                "numbers",
            ):
                raise ValueError(f"{self.place}: {argument.name} cannot be written to: {self.text}")
            if argument.kind == "matrix":
                known |= set(argument.sizes)

    def _left_out(self, python: inspect.Signature) -> list[str]:
        """Outputs that may be left out; what stands behind one in a call has a default too."""
        optional: list[str] = []
        for argument in reversed(self.arguments):
            if self._follows(argument):
                optional.append(argument.name)
            elif python.parameters[argument.name].default is inspect.Parameter.empty:
                break
        return optional

    def _follows(self, argument: _Argument) -> bool:
        """Whether an output is only written, and its shape follows from the inputs."""
        if not argument.is_output or not argument.name.startswith("out"):
            return False
        inputs = [other for other in self.arguments if not other.is_output]
        if argument.kind == "any_shape":
            return any(other.kind == "any_shape" for other in inputs)
        named = {size for other in inputs for size in other.sizes}
        return all(isinstance(size, int) or size in named for size in argument.sizes)

    def check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Every argument checked, in the form that the compiled function takes."""
        return self.prepare(args, kwargs)[0]

    def prepare(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], list[np.ndarray]]:
        """Every argument checked, and the outputs among them that were made for this call."""
        try:
            bound = self.python.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.place}: {error}") from None
        bound.apply_defaults()
        given = bound.arguments
        state = _Call(self.place, [v for v in given.values() if isinstance(v, np.ndarray)])
        missing = [name for name in self.optional if given[name] is None]
        for argument in self._in_order:
            if argument.name not in missing:
                state.take(argument, given[argument.name])
        made = [state.make(argument) for argument in self.arguments if argument.name in missing]
        state.lay_out(self.arguments)
        checks.apart(self.place, state.arrays, state.outputs)
        return tuple(state.taken[argument.name] for argument in self.arguments), made

    def signatures(self, dtype: np.dtype) -> list[tuple[types.Type, ...]]:
        """The Numba signatures for one dtype: one, or two where labels come in two forms."""
        forms = (1, 2) if any(argument.kind == "labels" for argument in self.arguments) else (1,)
        return [self._signature(dtype, labels_ndim) for labels_ndim in forms]

    def signature_of(self, args: tuple[Any, ...]) -> tuple[types.Type, ...]:
        """The signature of these arguments, which have been checked."""
        dtypes, labels_ndim = set(), 1
        try:
            for argument, value in zip(self.arguments, args, strict=True):
                if argument.kind in ("matrix", "any_shape"):
                    dtypes.add(value.dtype)
                elif argument.kind == "labels":
                    labels_ndim = value.ndim
            (dtype,) = dtypes or {np.dtype(np.float32)}
            return self._signature(dtype, labels_ndim)
        except (AttributeError, KeyError, ValueError):
            came = ", ".join(str(getattr(value, "dtype", checks.article(value))) for value in args)
            raise TypeError(
                f"{self.place}.bare: no compiled form takes ({came}); it checks nothing, and "
                f"expects what {self.place} passes on: {self.text}"
            ) from None

    def real_of(self, signature: tuple[types.Type, ...]) -> types.Type:
        """The dtype, as Numba calls it, that a signature is for."""
        for argument, numba_type in zip(self.arguments, signature, strict=True):
            if argument.kind in ("matrix", "any_shape"):
                return numba_type.dtype
        raise ValueError(f"{self.place}: no argument has the dtype: {self.text}")

    def _signature(self, dtype: np.dtype, labels_ndim: int) -> tuple[types.Type, ...]:
        real = checks.FLOATS[dtype]

        def numba_type(argument: _Argument) -> types.Type:
            # A read-only array type takes writable arrays too; the other way round is refused.
            readonly = not argument.is_output
            if argument.kind == "labels" and labels_ndim == 2:
                return _array(real, readonly=True)
            return {
                "matrix": self._array(real, readonly),
                "any_shape": self._array(real, readonly),
                "labels": types.Array(types.int64, 1, "C", readonly=True),
                "indices": types.Array(types.int64, 1, "C", readonly=readonly),
                "number": types.float64,
                "uint64": types.uint64,
                "int64": types.int64,
                "threads": types.int64,
                "flag": types.boolean,
                "numbers": types.Array(types.float64, 1, "C", readonly=readonly),
            }[argument.kind]

        return tuple(numba_type(argument) for argument in self.arguments)


class _Call:
    """The dtype, sizes and arrays of a call's arguments, as checked so far."""

    def __init__(self, place: str, arrays: Sequence[np.ndarray]) -> None:
        self.place = place
        # What lists of numbers become: what the arrays are, which are then checked.
        self.dtype_of_lists = next(
            (checks.native(each.dtype) for each in arrays if each.dtype.kind == "f"),
            np.dtype(np.float64),
        )
        self.taken: dict[str, Any] = {}
        self.arrays: dict[str, np.ndarray] = {}
        self.outputs: dict[str, np.ndarray] = {}
        self.sizes: dict[str, int] = {}
        self.any_shape: tuple[int, ...] | None = None
        self.dtype: np.dtype | None = None
        self.dtype_from = ""

    def take(self, argument: _Argument, value: Any) -> None:
        """Check one argument, and store the form that the compiled function takes."""
        if isinstance(value, (list, tuple)) and not argument.is_output:
            value = self._array_of(argument, value)
        taken = getattr(self, f"_{argument.kind}")(argument, value)
        self.taken[argument.name] = taken
        if isinstance(taken, np.ndarray):
            self.arrays[argument.name] = taken
            if argument.kind in _COPIED and not argument.is_output:
                # The copy shares no memory; the caller's array must not overlap an output either.
                self.arrays[argument.name] = checks.array(self.place, argument.name, value)
            if argument.is_output:
                self.outputs[argument.name] = taken

    def _array_of(self, argument: _Argument, value: Any) -> Any:
        """A list of numbers as an array; a list of class indices as one of integers."""
        if argument.kind in ("matrix", "any_shape"):
            dtype = self.dtype_of_lists
            if dtype not in checks.FLOATS:
                return value
            return checks.real(self.place, argument.name, value, dtype)
        if argument.kind not in _COPIED:
            return value
        array = checks.made(self.place, argument.name, value)
        if argument.kind == "labels" and array.ndim == 2 and array.dtype.kind in "iuf":
            return array.astype(self.dtype)
        return array

    def make(self, argument: _Argument) -> np.ndarray:
        """An output of zeros, of the shape that the inputs give."""
        if argument.kind == "any_shape":
            assert self.any_shape is not None
            shape: tuple[Any, ...] = self.any_shape
        else:
            shape = self._known(argument.sizes)
        made = np.zeros(shape, np.int64 if argument.kind == "indices" else self.dtype)
        self.take(argument, made)
        return made

    def _floating(self, argument: _Argument, value: Any) -> np.ndarray:
        value = checks.floating(self.place, argument.name, value, self.dtype, self.dtype_from)
        if self.dtype is None:
            self.dtype, self.dtype_from = checks.native(value.dtype), argument.name
        return value

    def lay_out(self, arguments: Sequence[_Argument]) -> None:
        """Copy what is not contiguous; last, since a copy may be large and a check may fail."""
        for argument in arguments:
            name = argument.name
            if name not in self.arrays or argument.kind in _COPIED:
                continue
            value = self.arrays[name]
            if not argument.is_output:
                value = checks.contiguous(value)
            if argument.kind == "any_shape" and value.ndim != 2:
                value = value.reshape(1, value.size)
            self.taken[name] = self.arrays[name] = value

    def _writable(self, argument: _Argument, value: np.ndarray) -> np.ndarray:
        return checks.output(self.place, argument.name, value) if argument.is_output else value

    def _known(self, sizes: tuple[int | str, ...]) -> tuple[int | str, ...]:
        return tuple(
            size if isinstance(size, int) else self.sizes.get(size, size) for size in sizes
        )

    def _matrix(self, argument: _Argument, value: Any) -> np.ndarray:
        value = self._floating(argument, value)
        sizes = argument.sizes
        if argument.swap and self.taken[argument.swap]:
            sizes = sizes[::-1]
        if sizes[0] == 1 and value.ndim == 1:
            checks.shape(self.place, argument.name, value, self._known(sizes[1:]))
            value = value[None, :]
        checks.shape(self.place, argument.name, value, self._known(sizes))
        for size, name in zip(value.shape, sizes, strict=True):
            # A size named twice in one argument was not known a line above.
            if isinstance(name, str) and self.sizes.setdefault(name, size) != size:
                checks.shape(self.place, argument.name, value, self._known(sizes))
        return self._writable(argument, value)

    def _any_shape(self, argument: _Argument, value: Any) -> np.ndarray:
        value = self._floating(argument, value)
        if self.any_shape is None:
            self.any_shape = value.shape
        checks.shape(self.place, argument.name, value, self.any_shape)
        return self._writable(argument, value)

    def _labels(self, argument: _Argument, value: Any) -> np.ndarray:
        assert self.dtype is not None, "a contract names its scores before its labels"
        batch, n_classes = self._known((*argument.sizes, argument.below))
        assert isinstance(n_classes, int)
        return checks.labels(self.place, argument.name, value, batch, n_classes, self.dtype)

    def _indices(self, argument: _Argument, value: Any) -> np.ndarray:
        (size,) = self._known(argument.sizes)
        if argument.is_output:
            value = checks.array(self.place, argument.name, value)
            if value.dtype != np.int64:
                raise TypeError(
                    f"{self.place}: {argument.name} has dtype {value.dtype}, expected int64"
                )
            checks.shape(self.place, argument.name, value, (size,))
            checked = checks.output(self.place, argument.name, value)
        else:
            below = self.sizes[argument.below] if argument.below else None
            checked = checks.indices(self.place, argument.name, value, size, below, argument.below)
        self.sizes.setdefault(str(argument.sizes[0]), checked.shape[0])
        return checked

    def _number(self, argument: _Argument, value: Any) -> float:
        return checks.number(self.place, argument.name, value, argument.minimum, self.dtype)

    def _uint64(self, argument: _Argument, value: Any) -> np.uint64:
        return np.uint64(checks.integer(self.place, argument.name, value, 0, 2**64 - 1))

    def _flag(self, argument: _Argument, value: Any) -> bool:
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(
                f"{self.place}: {argument.name} is {checks.shown(value)}, expected True or False"
            )
        return bool(value)


def _array(dtype: types.Type, readonly: bool) -> types.Type:
    return types.Array(dtype, 2, "C", readonly=readonly)


def _split(text: str) -> list[str]:
    """Split at commas outside brackets."""
    return [part.strip() for part in re.split(r",(?![^(\[]*[)\]])", text) if part.strip()]


def _parse(text: str, is_output: bool) -> _Argument:
    name, _, form = text.partition(" ")
    for kind, pattern in _PATTERNS:
        match = re.fullmatch(pattern, form)
        if match:
            found = match.groupdict()
            sizes = tuple(
                int(size) if size.isdigit() else size
                for size in (found.get("sizes") or "").split(", ")
                if size
            )
            minimum = found.get("minimum")
            return _Argument(
                name,
                kind,
                sizes,
                found.get("below") or "",
                found.get("swap") or "",
                None if minimum is None else float(minimum),
                is_output,
            )
    raise ValueError(f"contract: cannot read {text!r}")
