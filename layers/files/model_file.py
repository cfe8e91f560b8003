"""A model in one file: named arrays and the architecture as JSON, no pickle."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kernels.runtime import checks
from layers.activations import ReLU, Softmax
from layers.base import Layer
from layers.columns import Columns
from layers.dense import Dense
from layers.files.archive import StrPath, load_arrays, save_arrays
from layers.losses import CategoricalCrossEntropy, SoftmaxCrossEntropy
from layers.optimizers import SGD
from layers.sequential import Sequential

_FORMAT = 1
# What a file may name. A user's own layer is not here: its code is not in the file.
_LAYERS: dict[str, Any] = {"Dense": Dense, "ReLU": ReLU, "Softmax": Softmax}
_LOSSES: dict[str, Any] = {
    "SoftmaxCrossEntropy": SoftmaxCrossEntropy,
    "CategoricalCrossEntropy": CategoricalCrossEntropy,
}
_OPTIMIZERS: dict[str, Any] = {"SGD": SGD}


def save(model: Sequential, path: StrPath) -> None:
    """Write a model to one file, whole or not at all.

    Parameters
    ----------
    model : Sequential
    path : path
        Written aside, then renamed; the name is taken as it is.

    Raises
    ------
    TypeError
        A layer, the loss or the optimizer is not one of this package's.
    """
    architecture: dict[str, object] = {
        "format": _FORMAT,
        "dtype": model.dtype.name,
        "layers": [_described(layer, _LAYERS) for layer in model.layers],
        "loss": _described(model.loss, _LOSSES),
        "optimizer": _described(model.optimizer, _OPTIMIZERS),
        "seed_key": model._key,
        "history": {
            name: [_as_json(number) for number in numbers]
            for name, numbers in model.history.items()
        },
    }
    if model.columns is not None:
        architecture["columns"] = model.columns.config()
    save_arrays(path, model.parameters(), architecture)


def load(path: StrPath) -> Sequential:
    """Read a model that `Sequential.save` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    Sequential
        With the same parameters to the bit, the same history and the same shuffles to come.

    Raises
    ------
    ValueError
        The file is not such a file, is damaged, or its arrays do not fit its architecture.
    """
    arrays, architecture = load_arrays(path)
    try:
        if architecture["format"] != _FORMAT:
            raise ValueError(
                f"layers.load: {path} has format {architecture['format']!r}, expected {_FORMAT}"
            )
        made: dict[str, Any] = dict(architecture)
        layers = [_made(described, _LAYERS) for described in made["layers"]]
        _check_shapes(layers, arrays, path)
        model = Sequential(
            layers,
            loss=_made(made["loss"], _LOSSES),
            optimizer=_made(made["optimizer"], _OPTIMIZERS),
            seed=0,
            dtype=made["dtype"],
        )
        model._key = checks.integer("layers.load", "seed_key", made["seed_key"], 0, 2**64 - 1)
        if made.get("columns") is not None:
            model.columns = _columns(made["columns"], model.n_in, path)
        for name, numbers in made["history"].items():
            model.history[name] = [float(number) for number in numbers]
        for name, array in model.parameters().items():
            array[...] = checks.floating("layers.load", name, arrays[name], model.dtype)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"layers.load: {path} does not describe a model ({type(error).__name__}: {error})"
        ) from error
    return model


def _check_shapes(layers: Sequence[Layer], arrays: Mapping[str, Any], path: StrPath) -> None:
    """The arrays are those of the layers; before a model allocates what the architecture claims."""
    shapes = {
        f"{index}.{name}": shape
        for index, layer in enumerate(layers)
        for name, shape in layer.parameter_shapes().items()
    }
    if set(shapes) != set(arrays):
        raise ValueError(
            f"layers.load: {path} holds the arrays {sorted(arrays)}, expected {sorted(shapes)}"
        )
    for name, shape in shapes.items():
        checks.shape("layers.load", name, arrays[name], shape)


def _columns(config: Any, n_in: int, path: StrPath) -> Columns:
    """Columns of the training data, one feature for each input."""
    try:
        columns = Columns.from_config(config)
    except ValueError as error:
        raise ValueError(f"layers.load: {path}: {error}") from error
    if len(columns.features) != n_in:
        raise ValueError(
            f"layers.load: {path} has {len(columns.features)} columns of features, expected {n_in}"
        )
    return columns


def _as_json(number: float) -> float | str:
    """JSON has no NaN and no infinity; `load` takes "nan" and "inf" for numbers too."""
    return number if math.isfinite(number) else str(number)


def _described(part: Any, known: dict[str, Any]) -> dict[str, Any]:
    name = type(part).__name__
    if known.get(name) is not type(part):
        raise TypeError(f"Sequential.save: cannot save {part!r}, expected one of {sorted(known)}")
    return {"type": name, **part.config()}


def _made(described: dict[str, Any], known: dict[str, Any]) -> Any:
    name = described["type"]
    if name not in known:
        raise ValueError(f"layers.load: {name!r} is unknown, expected one of {sorted(known)}")
    made: Layer | Any = known[name](
        **{key: value for key, value in described.items() if key != "type"}
    )
    return made
