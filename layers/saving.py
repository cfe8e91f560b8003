"""A model in one file: named arrays and the architecture as JSON, no pickle."""

from typing import Any

from kernels import checks
from layers.activations import ReLU, Softmax
from layers.base import Layer
from layers.dense import Dense
from layers.files import StrPath, load_arrays, save_arrays
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
        "history": dict(model.history),
    }
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
        model = Sequential(
            [_made(described, _LAYERS) for described in made["layers"]],
            loss=_made(made["loss"], _LOSSES),
            optimizer=_made(made["optimizer"], _OPTIMIZERS),
            seed=0,
            dtype=made["dtype"],
        )
        model._key = checks.integer("layers.load", "seed_key", made["seed_key"], 0, 2**64 - 1)
        for name, numbers in made["history"].items():
            model.history[name] = [float(number) for number in numbers]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"layers.load: {path} does not describe a model ({type(error).__name__}: {error})"
        ) from error
    _fill(model, arrays, path)
    return model


def _fill(model: Sequential, arrays: dict[str, Any], path: StrPath) -> None:
    parameters = model.parameters()
    if set(parameters) != set(arrays):
        raise ValueError(
            f"layers.load: {path} holds the arrays {sorted(arrays)}, expected {sorted(parameters)}"
        )
    for name, array in parameters.items():
        stored = checks.floating("layers.load", name, arrays[name], array.dtype)
        array[...] = checks.shape("layers.load", name, stored, array.shape)


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
