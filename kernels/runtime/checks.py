"""The gate: the only author of errors about type, dtype, layout, overlap, shape and labels.

A compiled kernel indexes memory without bounds checks: a wrong shape reads past the end, a label
out of range overwrites other memory. So every array is checked here once. Nothing below this file
checks anything.

Each function checks one thing; its error names the place, the argument, the value and what was
expected. The doors of ``kernels`` call them by their contracts (``kernels/runtime/contracts.py``),
``layers`` in its public methods.
"""

import math
import mmap
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import types

# Sizes that may not be zero: an empty batch has no mean, and no classes have no largest. A product
# over an empty inner dimension is zero, and allowed.
NEVER_EMPTY = {"batch", "n_in", "n_out", "n_classes"}
FLOATS = {np.dtype(np.float32): types.float32, np.dtype(np.float64): types.float64}
_LARGEST = {dtype: float(np.finfo(dtype).max) for dtype in FLOATS}
# Target rows are probabilities: their sum may be off by float16's rounding.
_TARGET_SUM_TOLERANCE = 1e-3


def array(place: str, name: str, value: Any) -> np.ndarray:
    """A plain array: not a list, not a masked array."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{place}: {name} is a masked array, whose mask would be ignored; "
            f"expected a plain numpy array (fill it first, with {name}.filled(...))"
        )
    if not issubclass(type(value), np.ndarray):
        raise TypeError(f"{place}: {name} is {article(value)}, expected a numpy array")
    unshrunk(place, name, value)
    # A subclass's view by NumPy's own method: what compiled code reads.
    return value if type(value) is np.ndarray else np.ndarray.view(value, np.ndarray)


def mapping(value: np.ndarray) -> tuple[mmap.mmap, np.ndarray] | None:
    """An array's memory-mapped file, if any, and the first array made from the mapping."""
    base: Any = value
    first = value
    while isinstance(base, np.ndarray):
        first, base = base, base.base
    if isinstance(base, memoryview):
        base = base.obj
    return (base, first) if isinstance(base, mmap.mmap) else None


def unshrunk(place: str, name: str, value: np.ndarray) -> None:
    """A mapped file still holds all of an array: reading beyond its end would kill the process."""
    found = None if value.base is None or value.size == 0 else mapping(value)
    if found is None:
        return
    file, first = found
    path = getattr(first, "filename", None) or "a file"
    if file.closed:
        raise OSError(f"{place}: {name} is mapped from {path}, whose mapping is closed")
    try:
        size = file.size()
    except (OSError, ValueError):  # no file, or not kept open
        return
    if isinstance(first, np.memmap):
        begins, offset = first, first.offset
    else:  # the mapping does not tell its offset: assume the file's start
        begins, offset = np.frombuffer(file, np.uint8), 0
    end = np.lib.array_utils.byte_bounds(value)[1]
    needed = offset + end - np.lib.array_utils.byte_bounds(begins)[0]
    if size < needed:
        raise OSError(
            f"{place}: {name} is mapped from {path}, which has shrunk to {size} bytes, "
            f"expected {needed}"
        )


def floating(
    place: str, name: str, value: Any, dtype: np.dtype | None = None, like: str = ""
) -> np.ndarray:
    """A float32 or float64 array, of ``dtype`` if given."""
    value = array(place, name, value)
    own = native(value.dtype)
    if own not in FLOATS:
        raise TypeError(f"{place}: {name} has dtype {value.dtype}, expected float32 or float64")
    if dtype is not None and own != dtype:
        reason = f" like {like}" if like else ""
        raise TypeError(f"{place}: {name} has dtype {value.dtype}, expected {dtype}{reason}")
    return value


def real(
    place: str,
    name: str,
    value: Any,
    dtype: np.dtype | None,
    expected: tuple[int | str, ...] | None = None,
) -> np.ndarray:
    """Anything that holds real numbers, as an array of ``dtype`` in C order (converted once).

    Without a dtype, float64 stays and everything else becomes float32. The shape is checked before
    the conversion, which takes memory.
    """
    if value is None:
        raise TypeError(f"{place}: {name} is None, expected real numbers")
    if not isinstance(value, np.ndarray):
        value = made(place, name, value)
    value = array(place, name, value)
    if value.dtype.kind not in "biuf":
        raise TypeError(f"{place}: {name} has dtype {value.dtype}, expected real numbers")
    if expected is not None:
        shape(place, name, value, expected)
    if dtype is None:
        own = native(value.dtype)
        dtype = own if own in FLOATS else np.dtype(np.float32)
    if is_contiguous_native(value, dtype):
        return value
    try:
        with np.errstate(over="raise"):
            return contiguous(value, dtype)
    except FloatingPointError:
        raise ValueError(
            f"{place}: {name} holds numbers beyond the range of {dtype}, expected at most "
            f"{_LARGEST[dtype]:.6g} in size"
        ) from None


def real_dtype(place: str, dtype: Any) -> np.dtype:
    """One of the two dtypes, from its name."""
    try:
        known = np.dtype(dtype)
    except TypeError:
        known = None
    if dtype is None or known not in FLOATS:
        raise ValueError(f"{place}: dtype is {dtype!r}, expected 'float32' or 'float64'")
    return known


def made(place: str, name: str, value: Any) -> Any:
    """An array of a list, a frame, a tensor or whatever NumPy can read."""
    try:
        return np.asarray(detached(value))
    except MemoryError:
        raise
    except Exception as error:  # whatever an object's own conversion raises
        raise TypeError(
            f"{place}: {name} is {article(value)} that cannot be an array ({error}), "
            "expected real numbers"
        ) from error


def detached(value: Any) -> Any:
    """A tensor as something that NumPy can read, without a copy where that can be.

    Without the record of what is done with it, if it has one; in float32, if it is in bfloat16,
    which NumPy lacks; by DLPack, if it has no other way. Anything else as it is.
    """
    if getattr(value, "requires_grad", None) is True:
        value = value.detach()
    if str(getattr(value, "dtype", "")) == "torch.bfloat16":
        value = value.float()
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        value = np.from_dlpack(value)
    return value


def shape(place: str, name: str, value: np.ndarray, expected: tuple[int | str, ...]) -> np.ndarray:
    """The expected shape; a named size may be any, but not 0 if it is in `NEVER_EMPTY`."""
    fits = len(value.shape) == len(expected) and all(
        isinstance(want, str) or size == want
        for size, want in zip(value.shape, expected, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{place}: {name} has shape {value.shape}, expected {shape_text(expected)}"
        )
    for size, want in zip(value.shape, expected, strict=True):
        if size == 0 and want in NEVER_EMPTY:
            raise ValueError(
                f"{place}: {name} has shape {value.shape}, "
                f"expected {shape_text(expected)} with {want} at least 1"
            )
    return value


def contiguous(value: np.ndarray, dtype: np.dtype | None = None) -> np.ndarray:
    """The array itself if it is C-contiguous, aligned and native, else a copy that is."""
    dtype = native(value.dtype) if dtype is None else dtype
    if is_contiguous_native(value, dtype):
        return value
    return np.array(value, dtype=dtype, order="C", copy=True)


def is_contiguous_native(value: np.ndarray, dtype: np.dtype) -> bool:
    """Whether an array is C-contiguous, aligned and of this native dtype."""
    return value.dtype == dtype and value.flags.c_contiguous and value.flags.aligned


def output(place: str, name: str, value: np.ndarray) -> np.ndarray:
    """An array that a kernel can write into without a copy, which would lose the result."""
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
    """Integers in [0, below), as a contiguous int64 array of one dimension.

    Always a copy, and the copy is checked: compiled code indexes memory by it, and the caller's
    array may change meanwhile.
    """
    value = array(place, name, value)
    if value.dtype.kind not in "iu":
        raise TypeError(f"{place}: {name} has dtype {value.dtype}, expected integers")
    shape(place, name, value, (size,))
    own = np.array(value, np.int64)  # beyond int64, numbers become negative
    if below is not None and own.size and not (own.min() >= 0 and own.max() < below):
        at = int(np.flatnonzero((own < 0) | (own >= below))[0])
        raise ValueError(
            f"{place}: {name}[{at}] is {value[at]}, expected 0 to {below - 1}"
            + (f" ({limit} is {below})" if limit else "")
        )
    return own


def labels(
    place: str, name: str, value: Any, batch: int | str, n_classes: int, dtype: np.dtype
) -> np.ndarray:
    """Class indices (batch,), or target rows (batch, n_classes) of probabilities in ``dtype``."""
    value = array(place, name, value)
    if value.ndim == 1:
        return indices(place, name, value, batch, n_classes, "n_classes")
    # A column is taken for indices, not for rows of one class.
    if value.ndim != 2 or (value.shape[1] == 1 and n_classes > 1):
        raise ValueError(
            f"{place}: {name} has shape {value.shape}, expected class indices "
            f"{shape_text((batch,))} or target rows {shape_text((batch, n_classes))}"
        )
    if native(value.dtype) != dtype:
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
    expected: str = "a finite number",
) -> float:
    """A real number, finite also in ``dtype``, and at least ``minimum``, or else ``expected``."""
    expected += f" of at least {minimum:g}" if minimum is not None else ""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{place}: {name} is {shown(value)}, expected {expected}")
    try:
        taken = float(value)
    except OverflowError:
        taken = math.inf
    if not math.isfinite(taken) or (minimum is not None and taken < minimum):
        raise ValueError(f"{place}: {name} is {shown(value)}, expected {expected}")
    if dtype is not None and abs(taken) > _LARGEST[dtype]:
        raise ValueError(f"{place}: {name} is {shown(value)}, expected {expected} in {dtype}")
    return taken


def integer(place: str, name: str, value: Any, minimum: int, maximum: int | None = None) -> int:
    """An integer from ``minimum`` up to ``maximum``."""
    expected = f"an integer of at least {minimum}"
    if maximum is not None:
        expected = f"an integer from {minimum} to {maximum}"
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{place}: {name} is {shown(value)}, expected {expected}")
    if value < minimum or (maximum is not None and value > maximum):
        raise ValueError(f"{place}: {name} is {shown(value)}, expected {expected}")
    return int(value)


def shape_text(expected: tuple[int | str, ...]) -> str:
    """A shape as Python writes it, with names for sizes that may be any."""
    inside = ", ".join(map(str, expected))
    return f"({inside},)" if len(expected) == 1 else f"({inside})"


def native(dtype: np.dtype) -> np.dtype:
    """The dtype in native byte order, if it has a byte order."""
    try:
        return dtype.newbyteorder("=")
    except TypeError:  # NumPy's variable-length strings
        return dtype


def article(value: Any) -> str:
    """The type's name, with its article."""
    name = type(value).__name__
    if value is None:
        return name
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def shown(value: Any) -> str:
    """The value's repr if it is short, else its type."""
    try:
        text = repr(value)
    except Exception:  # such as an integer of more digits than Python prints
        text = ""
    return text if 0 < len(text) <= 100 else article(value)
