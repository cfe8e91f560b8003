"""A model as modules of PyTorch."""

import importlib
from typing import TYPE_CHECKING, Any

from layers.exchange import torch_tables
from layers.exchange.parameters import torch_views
from layers.exchange.torch_optimizers import check_counterpart, given, tensor
from layers.settings import flag

if TYPE_CHECKING:
    from layers.sequential import Sequential

PLACE = "Sequential.to_torch"


def converted(model: "Sequential", with_optimizer: bool) -> Any:
    """Copies of the model and of its optimizer; see `Sequential.to_torch`."""
    with_optimizer = flag(PLACE, "optimizer", with_optimizer)
    pairs = []
    for index, layer in enumerate(model.layers):
        pair = torch_tables.BY_LAYER.get(type(layer))
        if pair is None:
            raise ValueError(
                f"{PLACE}: layer {index}, {layer!r}, has no counterpart in PyTorch, expected one "
                f"of {', '.join(each.layer for each in torch_tables.PAIRS)}"
            )
        pairs.append(pair)
    if with_optimizer:
        check_counterpart(PLACE, model)
    torch: Any = importlib.import_module("torch")
    dtype = getattr(torch, model.dtype.name)
    modules = [
        getattr(torch.nn, pair.module)(**pair.to_module(layer))
        for pair, layer in zip(pairs, model.layers, strict=True)
    ]
    for made, layer in zip(modules, model.layers, strict=True):
        made.requires_grad_(layer.trainable)
    module = torch.nn.Sequential(*modules).to(dtype)
    state = module.state_dict()
    for name, array in torch_views(model).items():
        state[name].copy_(tensor(torch, array))
    return (module, given(torch, model, module)) if with_optimizer else module
