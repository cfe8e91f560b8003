"""A network as JSON, and back: what all files of a model say of it besides its numbers.

Layers, loss and metrics, the dtype, the names of classes and the columns of the data.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.runtime import checks
from layers.base import Layer
from layers.files import parts
from layers.losses import Loss
from layers.metrics import Metric
from layers.sequential import Sequential

if TYPE_CHECKING:
    from layers.data.columns import NumberColumns
    from layers.tables.columns import Columns


def described(model: Sequential, place: str, named: dict[str, Any]) -> dict[str, Any]:
    """The network of a model; see `parts.described`."""
    found: dict[str, Any] = {
        "dtype": model.dtype.name,
        "layers": [parts.described(layer, place, named) for layer in model.layers],
        "loss": parts.described(model.loss, place, named),
    }
    if model._metrics is not None:
        found["metrics"] = [parts.described(each, place, named) for each in model._metrics]
    if model.columns is not None:
        found["columns"] = model.columns.config()
    if model.classes is not None:
        found["classes"] = list(model.classes)
    if model._names is not None:
        found["names"] = list(model._names)
    return found


def made(
    architecture: Mapping[str, Any], place: str, custom: Mapping[str, Any], **given: Any
) -> Sequential:
    """The model that an architecture describes, before its arrays are filled.

    Parameters
    ----------
    architecture : dict
    place : str
        The beginning of messages.
    custom : dict
        The user's own code by name.
    **given
        More arguments of `Sequential`.

    Raises
    ------
    ValueError
        The architecture is damaged, or names what is not in ``custom``.
    """
    metrics = architecture.get("metrics")  # few models have any of their own
    if metrics is not None:
        metrics = _parts(architecture, "metrics", "metric", Metric, place, custom)
    model = Sequential(
        layers(architecture, place, custom),
        loss=parts.made(architecture.get("loss"), Loss, "loss", place, custom),
        seed=0,
        dtype=dtype(architecture, place),
        metrics=metrics,
        **given,
    )
    if architecture.get("columns") is not None:
        model.columns = _columns(architecture["columns"], model, place)
    model.classes = architecture.get("classes")
    model._names = _names(architecture, model, place)
    return model


def layers(architecture: Mapping[str, Any], place: str, custom: Mapping[str, Any]) -> list[Layer]:
    """The layers that an architecture describes, which no model has yet."""
    return _parts(architecture, "layers", "layer", Layer, place, custom)


def shapes(made: list[Layer]) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]]]:
    """Shapes of the parameters, and of the statistics, that a model of these layers has."""
    parameters = [layer.parameter_shapes() for layer in made]
    statistics = [layer.statistic_shapes() for layer in made]
    return _by_index(parameters), _by_index(statistics)


def _by_index(each: list[dict[str, tuple[int, int]]]) -> dict[str, tuple[int, int]]:
    return {f"{n}.{name}": shape for n, named in enumerate(each) for name, shape in named.items()}


def dtype(architecture: Mapping[str, Any], place: str) -> np.dtype[Any]:
    """The dtype that an architecture names."""
    return checks.real_dtype(place, field(architecture, "dtype", str, place))


def field(architecture: Mapping[str, Any], name: str, kind: type, place: str) -> Any:
    """A part of an architecture, of a kind that JSON has."""
    value = architecture.get(name)
    if not isinstance(value, kind):
        raise ValueError(
            f"{place}: {name} in its architecture is {checks.shown(value)}, "
            f"expected a {kind.__name__}"
        )
    return value


def _names(architecture: Mapping[str, Any], model: Sequential, place: str) -> Any:
    """Names of the columns of the frame that the model was fitted with, if it was."""
    if "names" not in architecture:
        return None
    names = field(architecture, "names", list, place)
    if len(names) != model.n_in or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"{place}: names in its architecture is {checks.shown(names)}, expected {model.n_in} "
            "names, a str each"
        )
    return tuple(names)


def _parts(
    architecture: Mapping[str, Any],
    name: str,
    what: str,
    kind: type,
    place: str,
    custom: Mapping[str, Any],
) -> list[Any]:
    described = enumerate(field(architecture, name, list, place))
    return [parts.made(each, kind, f"{what} {index}", place, custom) for index, each in described]


def _columns(config: Any, model: Sequential, place: str) -> "Columns | NumberColumns":
    """Columns of the training data, as many inputs and outputs as the model has."""
    # Imported only here: few models have them.
    kind: type[Columns] | type[NumberColumns]
    if isinstance(config, dict) and "columns" in config:
        from layers.tables.columns import Columns as kind

        expected = "columns and has_names"
    else:
        from layers.data.columns import NumberColumns as kind

        expected = "names, features and label"
    try:
        columns = kind.from_config(config)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    except (KeyError, TypeError) as error:  # missing or wrong fields
        raise ValueError(
            f"{place}: columns in its architecture is {checks.shown(config)}, expected a dict of "
            f"{expected}"
        ) from error
    if columns.n_in != model.n_in:
        raise ValueError(f"{place} has {columns.n_in} columns of features, expected {model.n_in}")
    if columns.n_out not in (None, model.n_out):
        raise ValueError(f"{place} has {columns.n_out} classes, expected {model.n_out}")
    return columns
