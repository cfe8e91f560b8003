"""An ONNX file as a model.

Nothing outside the file is read. A graph that has another operator than layers stand for, or
another form, is refused by the operator's name.
"""

import os
from typing import Any

import numpy as np

from kernels.runtime import checks
from layers.exchange.default_loss import default_loss
from layers.exchange.onnx_chain import Chain, check_whole
from layers.exchange.onnx_graph import Graph
from layers.exchange.onnx_library import description, onnx
from layers.files import parts
from layers.losses import Loss
from layers.replacing import StrPath
from layers.sequential import Sequential

PLACE = "layers.from_onnx"


def from_onnx(path: StrPath, loss: Loss | None = None, seed: Any = None) -> Sequential:
    """Read a network that an ONNX file holds.

    Parameters
    ----------
    path : path
    loss : Loss, optional
        By default the one that our own files name, else what fits the end of the graph.
    seed : int, numpy.random.Generator or None
        Of shuffles and dropout.

    Returns
    -------
    Sequential
        In float64 where the graph has such constants, else in float32.

    Raises
    ------
    ImportError
        The package onnx is not there: ``pip install 'numba-layers[onnx]'``.
    ValueError
        The file is damaged, or has an operator or a form that no layer stands for.
    """
    library = onnx(PLACE)
    place = f"{PLACE}: {os.fsdecode(path)}"
    with open(path, "rb") as file:
        data = file.read()
    try:
        proto = library.ModelProto.FromString(data)
    except Exception as error:  # of google.protobuf, whose class depends on its build
        raise ValueError(f"{place}: not a whole .onnx file ({error})") from error
    try:
        described = description(proto, data)
        del data
        return _model(Graph(library, proto), described, loss, seed)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"{place}: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{place}: what it holds is nested too deeply") from error
    except LookupError as error:  # such as a node without the inputs that its operator has
        raise ValueError(f"{place}: its graph is damaged ({error!r})") from error


def _model(graph: Graph, described: dict[str, Any], loss: Loss | None, seed: Any) -> Sequential:
    chain = Chain(graph, graph.input)
    head = chain.read()
    check_whole(graph)
    made = [layer for layer, _ in chain.found]
    if not made:
        raise ValueError("the graph has no operator that is a layer, expected at least one Gemm")
    if loss is None and described.get("loss") is not None:
        loss = parts.made(described["loss"], Loss, "loss", "its metadata", {})
    if loss is None:
        loss = head or default_loss(made)
    wide = any(each.dtype == np.float64 for _, arrays in chain.found for each in arrays.values())
    model = Sequential(made, loss, seed=seed, dtype="float64" if wide else "float32")
    names = described.get("classes")
    if names is not None and not all(isinstance(name, int) for name in names):
        model.classes = names
    own = model.parameters() | model.statistics()
    for index, (_, arrays) in enumerate(chain.found):
        for name, array in arrays.items():
            target = own[f"{index}.{name}"]
            target[...] = checks.real("a layer", name, array, model.dtype).reshape(target.shape)
    return model
