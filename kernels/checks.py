"""The gate: the only author of errors about type, dtype, layout, overlap, shape and labels.

A compiled kernel indexes memory without looking: a wrong shape reads past the end, a label out of
range writes over a neighbour. So every array passes here once, on its way in. Nothing below this
file checks anything.

The small functions (`array`, `real`, `labels`, ...) each check one thing and name the place, the
argument, what came and what was expected. `Contract` reads a kernel's one-line contract and applies
them to all its arguments.
"""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import types

# Sizes that may not be zero: the mean over an empty batch, or the largest of no classes, is no
# number. A product over an empty inner dimension is zero, and welcome.
_NEVER_EMPTY = {"batch", "n_in", "n_out", "n_classes"}
_FLOATS = {np.dtype(np.float32): types.float32, np.dtype(np.float64): types.float64}
_LARGEST = {dtype: float(np.finfo(dtype).max) for dtype in _FLOATS}
# Rows of targets are probabilities: their sum may be off by as much as float16 storage makes it.
_TARGET_SUM_TOLERANCE = 1e-3


# --- one check each -------------------------------------------------------------------------------


def array(place: str, name: str, value: Any) -> np.ndarray:
    """A plain array: not a list, not a masked array."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{place}: {name} is a masked array, whose mask would be ignored; "
            f"expected a plain numpy array (fill it first, with {name}.filled(...))"
        )
    if not issubclass(type(value), np.ndarray):
        raise TypeError(f"{place}: {name} is {_article(value)}, expected a numpy array")
    # The view of a subclass by NumPy's own method: what compiled code will see of it.
    return value if type(value) is np.ndarray else np.ndarray.view(value, np.ndarray)


def floating(
    place: str, name: str, value: Any, dtype: np.dtype | None = None, like: str = ""
) -> np.ndarray:
    """A float32 or float64 array, of the given dtype where one is given."""
    value = array(place, name, value)
    native = _native(value.dtype)
    if native not in _FLOATS:
        raise TypeError(f"{place}: {name} has dtype {value.dtype}, expected float32 or float64")
    if dtype is not None and native != dtype:
        reason = f" like {like}" if like else ""
        raise TypeError(f"{place}: {name} has dtype {value.dtype}, expected {dtype}{reason}")
    return value


def real(place: str, name: str, value: Any, dtype: np.dtype | None) -> np.ndarray:
    """Anything that holds real numbers, as an array of ``dtype`` in C order (converted once).

    With no dtype, float64 stays and everything else becomes float32.
    """
    if not isinstance(value, np.ndarray):
        value = _made(value)
    value = array(place, name, value)
    if value.dtype.kind not in "biuf":
        raise TypeError(f"{place}: {name} has dtype {value.dtype}, expected real numbers")
    if dtype is None:
        native = _native(value.dtype)
        dtype = native if native in _FLOATS else np.dtype(np.float32)
    return contiguous(value, dtype)


def real_dtype(place: str, dtype: Any) -> np.dtype:
    """One of the two dtypes, from its name."""
    try:
        known = np.dtype(dtype)
    except TypeError:
        known = None
    if dtype is None or known not in _FLOATS:
        raise ValueError(f"{place}: dtype is {dtype!r}, expected 'float32' or 'float64'")
    return known


def _made(value: Any) -> Any:
    """An array of a list, a frame or whatever NumPy can read; the value itself where it cannot."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError):
        return value


def shape(place: str, name: str, value: np.ndarray, expected: tuple[int | str, ...]) -> np.ndarray:
    """The expected shape; a size given by name may be any, but not 0 where that has no meaning."""
    fits = len(value.shape) == len(expected) and all(
        isinstance(want, str) or size == want
        for size, want in zip(value.shape, expected, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{place}: {name} has shape {value.shape}, expected {shape_text(expected)}"
        )
    for size, want in zip(value.shape, expected, strict=True):
        if size == 0 and want in _NEVER_EMPTY:
            raise ValueError(
                f"{place}: {name} has shape {value.shape}, "
                f"expected {shape_text(expected)} with {want} at least 1"
            )
    return value


def contiguous(value: np.ndarray, dtype: np.dtype | None = None) -> np.ndarray:
    """The array itself where it is C-contiguous, aligned and native, else one copy that is."""
    dtype = _native(value.dtype) if dtype is None else dtype
    if value.dtype == dtype and value.flags.c_contiguous and value.flags.aligned:
        return value
    return np.array(value, dtype=dtype, order="C", copy=True)


def output(place: str, name: str, value: np.ndarray) -> np.ndarray:
    """An array that a kernel can write into as it lies: a copy would lose the result."""
    flags = value.flags
    for fine, fault in (
        (flags.c_contiguous, "is not C-contiguous"),
        (flags.aligned, "is not aligned"),
        (value.dtype.isnative, f"has the byte-swapped dtype {value.dtype!r}"),
        (flags.writeable, "is read-only"),
    ):
        if not fine:
            raise ValueError(
                f"{place}: {name} {fault}, "
                "expected a C-contiguous, aligned, writable array in native byte order"
            )
    return value


def apart(place: str, arrays: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
    """No output shares memory with another argument."""
    for out_name, out in outputs.items():
        for name, other in arrays.items():
            if name != out_name and np.may_share_memory(out, other):
                raise ValueError(
                    f"{place}: {out_name} shares memory with {name}, "
                    "expected an array apart from it"
                )


def indices(
    place: str, name: str, value: Any, size: int | str, below: int | None, limit: str = ""
) -> np.ndarray:
    """Integers in [0, below), as a contiguous int64 array of one dimension."""
    value = array(place, name, value)
    if value.dtype.kind not in "iu":
        raise TypeError(f"{place}: {name} has dtype {value.dtype}, expected integers")
    shape(place, name, value, (size,))
    if below is not None and value.size and not (value.min() >= 0 and value.max() < below):
        at = int(np.flatnonzero((value < 0) | (value >= below))[0])
        raise ValueError(
            f"{place}: {name}[{at}] is {value[at]}, expected 0 to {below - 1}"
            + (f" ({limit} is {below})" if limit else "")
        )
    return contiguous(value, np.dtype(np.int64))


def labels(
    place: str, name: str, value: Any, batch: int | str, n_classes: int, dtype: np.dtype
) -> np.ndarray:
    """Class indices (batch,), or target rows (batch, n_classes) of probabilities in ``dtype``."""
    value = array(place, name, value)
    if value.ndim != 2:
        if value.ndim == 1:
            return indices(place, name, value, batch, n_classes, "n_classes")
        raise ValueError(
            f"{place}: {name} has shape {value.shape}, expected class indices "
            f"{shape_text((batch,))} or target rows {shape_text((batch, n_classes))}"
        )
    if _native(value.dtype) != dtype:
        raise TypeError(
            f"{place}: {name} has dtype {value.dtype}, expected target rows of {dtype} "
            "(or class indices: integers of one dimension)"
        )
    return targets(place, name, value, batch, n_classes)


def targets(
    place: str, name: str, value: np.ndarray, batch: int | str, n_classes: int
) -> np.ndarray:
    """Rows of probabilities: none negative or NaN, each row summing to 1."""
    shape(place, name, value, (batch, n_classes))
    value = contiguous(value)
    with np.errstate(all="ignore"):
        bad = ~(value >= 0).all(axis=1) | ~(abs(value.sum(axis=1) - 1) <= _TARGET_SUM_TOLERANCE)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        came = np.array2string(value[row], threshold=10, separator=", ")
        raise ValueError(
            f"{place}: row {row} of {name} is {came}, expected probabilities that sum to 1"
        )
    return value


def number(
    place: str,
    name: str,
    value: Any,
    minimum: float | None = None,
    dtype: np.dtype | None = None,
) -> float:
    """A finite real number, not below ``minimum``, that is finite in ``dtype`` too."""
    expected = "a finite number" + (f" of at least {minimum:g}" if minimum is not None else "")
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{place}: {name} is {_shown(value)}, expected {expected}")
    try:
        taken = float(value)
    except OverflowError:
        taken = math.inf
    if not math.isfinite(taken) or (minimum is not None and taken < minimum):
        raise ValueError(f"{place}: {name} is {_shown(value)}, expected {expected}")
    if dtype is not None and abs(taken) > _LARGEST[dtype]:
        raise ValueError(f"{place}: {name} is {_shown(value)}, expected {expected} in {dtype}")
    return taken


def integer(place: str, name: str, value: Any, minimum: int, maximum: int | None = None) -> int:
    """An integer from ``minimum`` up to ``maximum``."""
    expected = f"an integer of at least {minimum}"
    if maximum is not None:
        expected = f"an integer from {minimum} to {maximum}"
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{place}: {name} is {_shown(value)}, expected {expected}")
    if value < minimum or (maximum is not None and value > maximum):
        raise ValueError(f"{place}: {name} is {_shown(value)}, expected {expected}")
    return int(value)


def shape_text(expected: tuple[int | str, ...]) -> str:
    """A shape as Python writes it, with names for the sizes that may be any."""
    inside = ", ".join(map(str, expected))
    return f"({inside},)" if len(expected) == 1 else f"({inside})"


def _native(dtype: np.dtype) -> np.dtype:
    """The dtype in the machine's byte order; itself where that means nothing."""
    try:
        return dtype.newbyteorder("=")
    except TypeError:  # NumPy's variable-length strings
        return dtype


def _article(value: Any) -> str:
    name = type(value).__name__
    if value is None:
        return name
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _shown(value: Any) -> str:
    """The value as Python writes it, where that is short; else its type."""
    try:
        text = repr(value)
    except Exception:  # such as an integer of more digits than Python prints
        text = ""
    return text if 0 < len(text) <= 100 else _article(value)


# --- a kernel's contract --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Argument:
    """One argument of a contract."""

    name: str
    kind: str  # matrix, any_shape, labels, indices, number, uint64, flag
    sizes: tuple[int | str, ...] = ()
    below: str = ""  # labels and indices: the size that they must stay under
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
    ("flag", r"flag"),
    ("number", r"number"),
)

# Flags decide how a matrix is read, and arrays in which dtype a number must be finite.
_TURN = {"flag": 0, "number": 2}


class Contract:
    """What a kernel takes, in one line, and the checks and signatures that follow from it.

    ``x (batch, n_in), weights (n_in, n_out) -> out (batch, n_out)`` reads as in NumPy's generalised
    ufuncs: a size named twice is one size. All arrays are of one dtype, float32 or float64, unless
    marked otherwise; what stands after the arrow is written to. The forms of an argument:

    ======================  ==================================================================
    ``x (batch, n)``        two dimensions; ``(1, n)`` also takes ``(n,)``
    ``a (m, k; flag)``      the same, its sizes swapped where the argument ``flag`` is true
    ``x (...)``             any shape, the same for all such arguments
    ``labels [batch < c]``  class indices (batch,) below c, or target rows (batch, c)
    ``rows <batch < n>``    int64 (batch,), each in [0, n)
    ``rate >= 0``           a finite number
    ``key uint64``          an integer of 64 bits without sign
    ``transpose flag``      true or false
    ======================  ==================================================================
    """

    def __init__(self, function: Callable[..., Any], text: str) -> None:
        self.text = text
        self.place = f"kernels.{function.__name__}"
        self.python = inspect.signature(function)
        inputs, _, outputs = text.partition(" -> ")
        parsed = [_parse(part, False) for part in _split(inputs)]
        parsed += [_parse(part, True) for part in _split(outputs)]
        by_name = {argument.name: argument for argument in parsed}
        if sorted(argument.name for argument in parsed) != sorted(self.python.parameters):
            raise ValueError(f"{self.place}: contract and parameters differ: {text}")
        self.arguments = [by_name[name] for name in self.python.parameters]
        self._in_order = sorted(self.arguments, key=lambda argument: _TURN.get(argument.kind, 1))
        self._refuse_nonsense()

    def _refuse_nonsense(self) -> None:
        """What an argument is measured against must be known when its turn comes."""
        flags = {argument.name for argument in self.arguments if argument.kind == "flag"}
        known: set[int | str] = set()
        for argument in self._in_order:
            needed = {argument.below} - {""}
            if argument.kind == "labels":
                needed |= set(argument.sizes)
            if not needed <= known or argument.swap not in flags | {""}:
                raise ValueError(f"{self.place}: nothing to check {argument.name} by: {self.text}")
            if argument.is_output and argument.kind not in ("matrix", "any_shape", "indices"):
                raise ValueError(f"{self.place}: {argument.name} cannot be written to: {self.text}")
            if argument.kind == "matrix":
                known |= set(argument.sizes)

    def check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Every argument checked, in the form that the compiled function takes."""
        try:
            bound = self.python.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.place}: {error}") from None
        bound.apply_defaults()
        state = _Call(self.place)
        for argument in self._in_order:
            state.take(argument, bound.arguments[argument.name])
        apart(self.place, state.arrays, state.outputs)
        return tuple(state.taken[argument.name] for argument in self.arguments)

    def signatures(self, dtype: np.dtype) -> list[tuple[types.Type, ...]]:
        """The Numba signatures for one dtype: one, or two where labels come in two forms."""
        forms = (1, 2) if any(argument.kind == "labels" for argument in self.arguments) else (1,)
        return [self._signature(dtype, labels_ndim) for labels_ndim in forms]

    def signature_of(self, args: tuple[Any, ...]) -> tuple[types.Type, ...]:
        """The signature that these arguments, already checked, belong to."""
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
            came = ", ".join(str(getattr(value, "dtype", _article(value))) for value in args)
            raise TypeError(
                f"{self.place}.bare: no compiled form takes ({came}); it checks nothing, and "
                f"expects what {self.place} passes on: {self.text}"
            ) from None

    def _signature(self, dtype: np.dtype, labels_ndim: int) -> tuple[types.Type, ...]:
        real = _FLOATS[dtype]

        def numba_type(argument: _Argument) -> types.Type:
            # A read-only array type takes writable arrays too; the other way round is refused.
            readonly = not argument.is_output
            if argument.kind == "labels" and labels_ndim == 2:
                return types.Array(real, 2, "C", readonly=True)
            return {
                "matrix": types.Array(real, 2, "C", readonly=readonly),
                "any_shape": types.Array(real, 2, "C", readonly=readonly),
                "labels": types.Array(types.int64, 1, "C", readonly=True),
                "indices": types.Array(types.int64, 1, "C", readonly=readonly),
                "number": types.float64,
                "uint64": types.uint64,
                "flag": types.boolean,
            }[argument.kind]

        return tuple(numba_type(argument) for argument in self.arguments)


class _Call:
    """What one call's arguments have shown so far: the dtype, the sizes, the arrays."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.taken: dict[str, Any] = {}
        self.arrays: dict[str, np.ndarray] = {}
        self.outputs: dict[str, np.ndarray] = {}
        self.sizes: dict[str, int] = {}
        self.any_shape: tuple[int, ...] | None = None
        self.dtype: np.dtype | None = None
        self.dtype_from = ""

    def take(self, argument: _Argument, value: Any) -> None:
        """Check one argument and keep the form that the compiled function takes."""
        taken = getattr(self, f"_{argument.kind}")(argument, value)
        self.taken[argument.name] = taken
        if isinstance(taken, np.ndarray):
            self.arrays[argument.name] = taken
            if argument.is_output:
                self.outputs[argument.name] = taken

    def _floating(self, argument: _Argument, value: Any) -> np.ndarray:
        value = floating(self.place, argument.name, value, self.dtype, self.dtype_from)
        if self.dtype is None:
            self.dtype, self.dtype_from = _native(value.dtype), argument.name
        return value

    def _laid_out(self, argument: _Argument, value: np.ndarray) -> np.ndarray:
        if argument.is_output:
            return output(self.place, argument.name, value)
        return contiguous(value)

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
            shape(self.place, argument.name, value, self._known(sizes[1:]))
            value = value[None, :]
        shape(self.place, argument.name, value, self._known(sizes))
        for size, name in zip(value.shape, sizes, strict=True):
            # One size twice in one argument is a size that was not known a line above.
            if isinstance(name, str) and self.sizes.setdefault(name, size) != size:
                shape(self.place, argument.name, value, self._known(sizes))
        return self._laid_out(argument, value)

    def _any_shape(self, argument: _Argument, value: Any) -> np.ndarray:
        value = self._floating(argument, value)
        if self.any_shape is None:
            self.any_shape = value.shape
        shape(self.place, argument.name, value, self.any_shape)
        value = self._laid_out(argument, value)
        return value if value.ndim == 2 else value.reshape(1, value.size)

    def _labels(self, argument: _Argument, value: Any) -> np.ndarray:
        assert self.dtype is not None, "a contract names its scores before its labels"
        batch, n_classes = self._known((*argument.sizes, argument.below))
        assert isinstance(n_classes, int)
        return labels(self.place, argument.name, value, batch, n_classes, self.dtype)

    def _indices(self, argument: _Argument, value: Any) -> np.ndarray:
        (size,) = self._known(argument.sizes)
        if argument.is_output:
            value = array(self.place, argument.name, value)
            if value.dtype != np.int64:
                raise TypeError(
                    f"{self.place}: {argument.name} has dtype {value.dtype}, expected int64"
                )
            shape(self.place, argument.name, value, (size,))
            checked = output(self.place, argument.name, value)
        else:
            below = self.sizes[argument.below] if argument.below else None
            checked = indices(self.place, argument.name, value, size, below, argument.below)
        self.sizes.setdefault(str(argument.sizes[0]), checked.shape[0])
        return checked

    def _number(self, argument: _Argument, value: Any) -> float:
        return number(self.place, argument.name, value, argument.minimum, self.dtype)

    def _uint64(self, argument: _Argument, value: Any) -> np.uint64:
        return np.uint64(integer(self.place, argument.name, value, 0, 2**64 - 1))

    def _flag(self, argument: _Argument, value: Any) -> bool:
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(
                f"{self.place}: {argument.name} is {_shown(value)}, expected True or False"
            )
        return bool(value)


def _split(text: str) -> list[str]:
    """Parts between commas that are not inside brackets."""
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
