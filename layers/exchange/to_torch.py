"""A model as modules of PyTorch, and its optimizer with its state."""

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from layers.base import Array
from layers.exchange import torch_tables
from layers.exchange.parameters import TORCH_NAMES, torch_form, torch_views
from layers.optimizers import SGD, Adam, AdamW

if TYPE_CHECKING:
    from layers.sequential import Sequential

PLACE = "Sequential.to_torch"


def converted(model: "Sequential", with_optimizer: bool) -> Any:
    """Copies of the model and of its optimizer; see `Sequential.to_torch`."""
    pairs = []
    for index, layer in enumerate(model.layers):
        pair = torch_tables.BY_LAYER.get(type(layer))
        if pair is None:
            raise ValueError(
                f"{PLACE}: layer {index}, {layer!r}, has no counterpart in PyTorch, expected one "
                f"of {', '.join(each.layer for each in torch_tables.PAIRS)}"
            )
        pairs.append(pair)
    numbers = _checked_optimizer(model) if with_optimizer else {}
    torch: Any = importlib.import_module("torch")
    dtype = getattr(torch, model.dtype.name)
    modules = [
        getattr(torch.nn, pair.module)(**pair.to_module(layer))
        for pair, layer in zip(pairs, model.layers, strict=True)
    ]
    module = torch.nn.Sequential(*modules).to(dtype)
    state = module.state_dict()
    for name, array in torch_views(model).items():
        state[name].copy_(_tensor(torch, array))
    return (module, _optimizer(torch, model, module, numbers)) if with_optimizer else module


def _tensor(torch: Any, array: Array) -> Any:
    return torch.from_numpy(np.array(array, order="C"))


def _checked_optimizer(model: "Sequential") -> dict[str, Any]:
    """The arguments that PyTorch's optimizer takes."""
    optimizer: Any = model.optimizer
    if type(optimizer) not in (SGD, Adam, AdamW):
        raise ValueError(
            f"{PLACE}: the optimizer is {optimizer!r}, expected SGD, Adam or AdamW, or "
            "optimizer=False"
        )
    if callable(optimizer.learning_rate):
        raise ValueError(
            f"{PLACE}: the optimizer is {optimizer!r}, whose learning rate is a schedule, expected "
            "a number: PyTorch has schedules apart"
        )
    numbers: dict[str, Any] = {"lr": float(optimizer.learning_rate)}
    if isinstance(optimizer, SGD):
        return numbers | {"momentum": optimizer.momentum, "nesterov": optimizer.nesterov}
    return numbers | {"betas": (optimizer.beta1, optimizer.beta2), "eps": optimizer.epsilon}


def _optimizer(torch: Any, model: "Sequential", module: Any, numbers: dict[str, Any]) -> Any:
    """PyTorch's optimizer, with what ours keeps of each parameter."""
    optimizer: Any = model.optimizer
    by_name = dict(module.named_parameters())
    decayed: list[Any] = []
    others: list[Any] = []
    states = {}
    views = model._buffers.state_views()
    for index, layer in enumerate(model.layers):
        for name in layer.parameter_shapes():
            parameter = by_name[f"{index}.{TORCH_NAMES[name]}"]
            (decayed if name in layer.decayed else others).append(parameter)
            states[parameter] = [
                _tensor(torch, torch_form(layer, name, view[index][name])) for view in views
            ]
    groups = [
        {"params": decayed, "weight_decay": optimizer.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if not optimizer.weight_decay:
        groups = [{"params": list(by_name.values()), "weight_decay": 0.0}]
    made = getattr(torch.optim, type(optimizer).__name__)(
        [group for group in groups if group["params"]], **numbers
    )
    steps = model._step - model._first_step
    if steps and views:
        for parameter, kept in states.items():
            made.state[parameter] = _state(torch, kept, steps)
    return made


def _state(torch: Any, kept: list[Any], steps: int) -> dict[str, Any]:
    if len(kept) == 1:
        return {"momentum_buffer": kept[0]}
    return {"step": torch.tensor(float(steps)), "exp_avg": kept[0], "exp_avg_sq": kept[1]}
