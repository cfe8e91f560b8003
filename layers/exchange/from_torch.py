"""A model from modules of PyTorch, whose objects are only looked at: torch is not imported."""

from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.runtime import checks

if TYPE_CHECKING:
    from layers.losses import Loss
    from layers.sequential import Sequential

PLACE = "layers.from_torch"
_LEFT_OUT = ("Identity", "Flatten")
"""Modules that change no batch of rows."""


def from_torch(
    module: Any, loss: "Loss | None" = None, optimizer: Any = None, seed: Any = None
) -> "Sequential":
    """A model with the layers and the numbers of a PyTorch module.

    Parameters
    ----------
    module : torch.nn.Sequential, or one of the modules in the table of ``docs/exchange.md``
        Sequences within sequences are taken apart; Flatten and Identity are left out.
    loss : Loss, optional
        By default what fits the last layer, as of `layers.Sequential`.
    optimizer : Optimizer or torch.optim.Optimizer, optional
        One of PyTorch's SGD, Adam and AdamW comes with its state, so that training goes on.
    seed : int, numpy.random.Generator or None
        Of shuffles and dropout.

    Returns
    -------
    Sequential
        In float64 where the module is, else in float32.

    Raises
    ------
    TypeError, ValueError
        It names the module that has no counterpart here.
    """
    from layers.exchange.default_loss import default_loss
    from layers.exchange.parameters import array_of, torch_views
    from layers.sequential import Sequential

    parts = [(name, each) for name, each in _flat(module, "") if _kind(each) not in _LEFT_OUT]
    made = [_layer(name, each) for name, each in parts]
    if not made:
        raise ValueError(f"{PLACE}: the module has no layer, expected at least one Linear")
    found = {
        f"{index}.{key}": array_of(value)
        for index, (_, each) in enumerate(parts)
        for key, value in each.state_dict().items()
        if key != "num_batches_tracked"
    }
    wide = any(array.dtype == np.float64 for array in found.values())
    model = Sequential(
        made, loss or default_loss(made), seed=seed, dtype="float64" if wide else "float32"
    )
    views = torch_views(model)
    for name, array in found.items():
        views[name][...] = checks.real(PLACE, name, array, model.dtype, views[name].shape)
    if optimizer is not None and hasattr(optimizer, "param_groups"):
        from layers.exchange import torch_optimizers

        torch_optimizers.take(PLACE, model, [each for _, each in parts], optimizer)
    elif optimizer is not None:
        model.optimizer = optimizer
    return model


def _kind(module: Any) -> str:
    return type(module).__name__


def _flat(module: Any, name: str) -> list[tuple[str, Any]]:
    if not type(module).__module__.startswith("torch.nn.modules."):
        raise TypeError(
            f"{PLACE}: {name or 'module'} is {checks.article(module)}, expected a "
            "torch.nn.Sequential, or a module of PyTorch's own: how another goes forward is code"
        )
    if _kind(module) != "Sequential":
        return [(name or "module", module)]
    return [
        each
        for key, child in module.named_children()
        for each in _flat(child, f"{name}.{key}" if name else key)
    ]


def _layer(name: str, module: Any) -> Any:
    import layers
    from layers.exchange import torch_tables

    pair = torch_tables.BY_MODULE.get(_kind(module))
    if pair is None:
        raise ValueError(
            f"{PLACE}: {name} is {_kind(module)}, which has no counterpart here, expected one of "
            f"{', '.join([*torch_tables.BY_MODULE, *_LEFT_OUT])}"
        )
    try:
        layer = getattr(layers, pair.layer)(**pair.to_layer(module))
        layer.trainable = _is_trained(module)
        return layer
    except (TypeError, ValueError) as error:
        raise ValueError(f"{PLACE}: {name}, {_kind(module)}: {error}") from error


def _is_trained(module: Any) -> bool:
    """Whether its parameters require gradients; what has none counts as trained."""
    wanted = {bool(each.requires_grad) for each in module.parameters()}
    if len(wanted) > 1:
        raise ValueError("some of its parameters require gradients, expected all or none")
    return wanted != {False}
