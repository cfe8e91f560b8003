"""Parameters in a .safetensors file, with the architecture as JSON in its metadata."""

import importlib
import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from kernels.runtime import checks
from layers.base import Array, Layer
from layers.files import parts
from layers.files.archive import StrPath, checksum
from layers.losses import Loss
from layers.replacing import replace_file
from layers.sequential import Sequential

_KEY, _CHECKSUM = "numba-layers", "numba-layers-sha256"


def save(model: Sequential, path: StrPath) -> None:
    """Write parameters, statistics and the architecture; see `Sequential.save`."""
    place, named = "Sequential.save", dict[str, Any]()
    library = _library(place).numpy
    architecture: dict[str, Any] = {
        "dtype": model.dtype.name,
        "layers": [parts.described(layer, place, named) for layer in model.layers],
        "loss": parts.described(model.loss, place, named),
    }
    if model.classes is not None:
        architecture["classes"] = list(model.classes)
    # In C order: the library writes the memory of an array as it lies, whatever its strides.
    arrays = {
        name: np.ascontiguousarray(array)
        for name, array in (model.parameters() | model.statistics()).items()
    }
    metadata = {
        _KEY: json.dumps(architecture, allow_nan=False),
        _CHECKSUM: checksum(architecture, arrays, place),
    }
    data = library.save(arrays, metadata=metadata)
    replace_file(path, lambda file: file.write(data), place)


def load(path: StrPath, *, custom: Iterable[Any] = ()) -> Sequential:
    """Read such a file: a model with a new optimizer; see `layers.load`."""
    place = f"layers.load: {os.fsdecode(path)}"
    given = parts.checked_custom(custom, "layers.load")
    library = _library("layers.load")
    with _opened(library, path, place) as file:
        metadata = file.metadata() or {}
        try:
            architecture = json.loads(metadata[_KEY])
            wanted = metadata[_CHECKSUM]
        except (KeyError, ValueError, RecursionError):
            raise ValueError(
                f"{place}: its metadata hold no architecture of ours, expected a file by "
                "Sequential.save; model.load_parameters(path) takes parameters alone"
            ) from None
        try:
            described = architecture["layers"]
            made = [
                parts.made(each, Layer, f"layer {index}", place, given)
                for index, each in enumerate(described)
            ]
            loss = parts.made(architecture["loss"], Loss, "loss", place, given)
            dtype = np.dtype(checks.real_dtype(place, architecture["dtype"]))
            _check(file, made, dtype, place)
            model = Sequential(made, loss, seed=0, dtype=dtype)
            model.classes = architecture.get("classes")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        except (TypeError, KeyError, ValueError, library.SafetensorError) as error:
            text = str(error)
            raise ValueError(text if text.startswith(place) else f"{place}: {text}") from error
    own = model.parameters() | model.statistics()
    if wanted != checksum(architecture, {name: arrays[name] for name in own}, place):
        raise ValueError(f"{place}: its contents have another checksum than its metadata say")
    for name, array in own.items():
        array[...] = arrays[name]
    return model


def read_arrays(path: StrPath, place: str) -> dict[str, Array]:
    """All arrays of numbers in a .safetensors file of anyone's."""
    library = _library(place)
    with _opened(library, path, f"{place}: {os.fsdecode(path)}") as file:
        try:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        except (TypeError, ValueError, library.SafetensorError) as error:
            # A dtype that NumPy lacks, such as bfloat16.
            raise ValueError(f"{place}: {os.fsdecode(path)}: {error}") from error


def _check(file: Any, made: list[Layer], dtype: np.dtype[Any], place: str) -> None:
    """Names, shapes and dtype, before anything is allocated."""
    shapes = {
        f"{index}.{name}": shape
        for index, layer in enumerate(made)
        for name, shape in (layer.parameter_shapes() | layer.statistic_shapes()).items()
    }
    names = set(file.keys())
    if names != set(shapes):
        raise ValueError(f"{place} holds the arrays {sorted(names)}, expected {sorted(shapes)}")
    expected = {np.dtype(np.float32): "F32", np.dtype(np.float64): "F64"}[dtype]
    for name, shape in shapes.items():
        found = file.get_slice(name)
        if tuple(found.get_shape()) != shape or found.get_dtype() != expected:
            raise ValueError(
                f"{place}: {name} has shape {tuple(found.get_shape())} and dtype "
                f"{found.get_dtype()}, expected {shape} and {expected}"
            )


def _opened(library: Any, path: StrPath, place: str) -> Any:
    with open(path, "rb"):  # a missing or an unreadable file is Python's own error
        pass
    try:
        return library.safe_open(os.fsdecode(path), framework="numpy")
    except (library.SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{place}: not a whole .safetensors file ({error})") from error


def _library(place: str) -> Any:
    try:
        importlib.import_module("safetensors.numpy")
        return importlib.import_module("safetensors")
    except ImportError as error:
        raise ImportError(
            f"{place}: .safetensors files need the package safetensors, which cannot be imported "
            f"({error}): pip install 'numba-layers[safetensors]'"
        ) from error
