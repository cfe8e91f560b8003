"""Which layer of ours is which module of PyTorch, with its arguments."""

from collections.abc import Callable
from typing import Any, NamedTuple

import layers


class Pair(NamedTuple):
    """A layer's class and a module's, and each one's arguments from the other."""

    layer: str
    module: str
    to_module: Callable[[Any], dict[str, Any]] = lambda layer: {}
    to_layer: Callable[[Any], dict[str, Any]] = lambda module: {}


def _is_row(dim: Any) -> bool:
    return dim in (1, -1)


def _row_softmax(module: Any) -> dict[str, Any]:
    if not _is_row(module.dim):
        raise ValueError(f"dim is {module.dim}, expected 1: the softmax of each row")
    return {}


def _width(module: Any) -> int:
    if len(module.normalized_shape) != 1:
        raise ValueError(f"normalized_shape is {module.normalized_shape}, expected one number")
    return int(module.normalized_shape[0])


def _softplus(module: Any) -> dict[str, Any]:
    if module.beta != 1:
        raise ValueError(f"beta is {module.beta}, expected 1")
    return {}


def _batch_norm(module: Any) -> dict[str, Any]:
    if not module.affine or not module.track_running_stats or module.momentum is None:
        raise ValueError("it has no weights, no running statistics or no momentum, expected all")
    return {"n": module.num_features, "momentum": module.momentum, "epsilon": module.eps}


def _layer_norm(module: Any) -> dict[str, Any]:
    if module.weight is None or module.bias is None:
        raise ValueError("it has no weights or no biases, expected both")
    return {"n": _width(module), "epsilon": module.eps}


def _linear(module: Any) -> dict[str, Any]:
    given = {"n_in": module.in_features, "n_out": module.out_features}
    return given if module.bias is not None else given | {"bias": False}


PAIRS = (
    Pair(
        "Dense",
        "Linear",
        lambda layer: {
            "in_features": layer.n_in,
            "out_features": layer.n_out,
            "bias": "biases" in layer.parameter_shapes(),
        },
        _linear,
    ),
    Pair("ReLU", "ReLU"),
    Pair(
        "LeakyReLU",
        "LeakyReLU",
        lambda layer: {"negative_slope": layer.slope},
        lambda module: {"slope": module.negative_slope},
    ),
    Pair(
        "ELU",
        "ELU",
        lambda layer: {"alpha": layer.alpha},
        lambda module: {"alpha": module.alpha},
    ),
    Pair("SELU", "SELU"),
    Pair(
        "GELU",
        "GELU",
        lambda layer: {"approximate": layer.approximate},
        lambda module: {"approximate": module.approximate},
    ),
    Pair("SiLU", "SiLU"),
    Pair("Softplus", "Softplus", to_layer=_softplus),
    Pair("Sigmoid", "Sigmoid"),
    Pair("Tanh", "Tanh"),
    Pair("Softmax", "Softmax", lambda layer: {"dim": 1}, _row_softmax),
    Pair("LogSoftmax", "LogSoftmax", lambda layer: {"dim": 1}, _row_softmax),
    Pair(
        "Dropout",
        "Dropout",
        lambda layer: {"p": layer.rate},
        lambda module: {"rate": module.p},
    ),
    Pair(
        "BatchNorm",
        "BatchNorm1d",
        lambda layer: {
            "num_features": layer.n_in,
            "eps": layer.epsilon,
            "momentum": layer.momentum,
        },
        _batch_norm,
    ),
    Pair(
        "LayerNorm",
        "LayerNorm",
        lambda layer: {"normalized_shape": layer.n_in, "eps": layer.epsilon},
        _layer_norm,
    ),
)

BY_LAYER = {getattr(layers, pair.layer): pair for pair in PAIRS}
BY_MODULE = {pair.module: pair for pair in PAIRS}
