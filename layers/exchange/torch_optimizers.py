"""Optimizers of PyTorch and ours, with what they keep of each parameter, both ways."""

from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.runtime import checks
from layers.base import Array
from layers.exchange.parameters import TORCH_NAMES, array_of, torch_form
from layers.optimizers import SGD, Adam, AdamW, Optimizer

if TYPE_CHECKING:
    from layers.sequential import Sequential

_KINDS: dict[str, Any] = {"SGD": SGD, "Adam": Adam, "AdamW": AdamW}
_ADAMS = ("exp_avg", "exp_avg_sq")
_STATES = {"SGD": ("momentum_buffer",), "Adam": _ADAMS, "AdamW": _ADAMS}
_UNKNOWN = ("maximize", "amsgrad", "dampening")
"""Options of PyTorch's that none of ours has."""


# From PyTorch.


def take(place: str, model: "Sequential", modules: list[Any], optimizer: Any) -> None:
    """Give a model the same optimizer, and its states.

    Parameters
    ----------
    place : str
        The beginning of messages.
    model : Sequential
        Of the layers that stand for ``modules``.
    modules : list of torch.nn.Module
    optimizer : torch.optim.Optimizer
    """
    kind = type(optimizer).__name__
    if kind not in _KINDS or not type(optimizer).__module__.startswith("torch.optim"):
        raise ValueError(
            f"{place}: optimizer is {checks.article(optimizer)}, expected PyTorch's SGD, Adam or "
            "AdamW, or one of layers"
        )
    groups = _Groups(place, model, modules, optimizer)
    model.optimizer = groups.optimizer(kind)
    steps = set()
    for state, key in enumerate(_STATES[kind][: model.optimizer.states]):
        views = model._buffers.state_views()[state]
        for index, name, parameter in groups.owned:
            kept = optimizer.state.get(parameter, {})
            if kept.get(key) is None:
                continue
            steps.add(int(kept.get("step", 1)))
            view = torch_form(model.layers[index], name, views[index][name])
            view[...] = array_of(kept[key])
    if len(steps) > 1:
        raise ValueError(
            f"{place}: parameters have taken {sorted(steps)} steps, expected as many each"
        )
    model._step = max(steps, default=0)


class _Groups:
    """The groups of an optimizer of PyTorch, by the parameters of a model's trained layers."""

    def __init__(self, place: str, model: "Sequential", modules: list[Any], optimizer: Any) -> None:
        self._place, self._model = place, model
        self._groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        self.owned = [
            (index, name, getattr(module, TORCH_NAMES[name]))
            for index, (layer, module) in enumerate(zip(model.layers, modules, strict=True))
            for name in (layer.parameter_shapes() if layer.trainable else ())
        ]
        missing = [f"{index}.{name}" for index, name, p in self.owned if id(p) not in self._groups]
        if missing:
            raise ValueError(f"{place}: the optimizer does not move {missing[0]}, expected all")

    def _shared(self, name: str, owned: list[Any]) -> Any:
        """The number that some parameters have in common; None of no parameter."""
        values = {_plain(self._groups[id(p)].get(name)) for _, _, p in owned}
        if len(values) > 1:
            raise ValueError(
                f"{self._place}: the optimizer's groups have {name} {sorted(values)}, expected "
                "one number"
            )
        return values.pop() if values else None

    def optimizer(self, kind: str) -> Optimizer:
        """Ours, with the numbers that all groups share; layers get what their rates differ by."""
        owned = self.owned
        for name in _UNKNOWN:
            if self._shared(name, owned):
                raise ValueError(f"{self._place}: the optimizer has {name}, which none of ours has")
        rate, decay = self._rate(), self._decay()
        if kind == "SGD":
            momentum, nesterov = self._shared("momentum", owned), self._shared("nesterov", owned)
            return SGD(rate, momentum, bool(nesterov), weight_decay=decay)
        beta1, beta2 = self._shared("betas", owned)
        epsilon = self._shared("eps", owned)
        made: Optimizer = _KINDS[kind](rate, beta1, beta2, epsilon, weight_decay=decay)
        return made

    def _decay(self) -> float:
        decayed = [each for each in self.owned if each[1] in self._model.layers[each[0]].decayed]
        others = [each for each in self.owned if each not in decayed]
        decay, more = self._shared("weight_decay", decayed), self._shared("weight_decay", others)
        if more:
            raise ValueError(
                f"{self._place}: the optimizer has weight_decay {more:g} of biases too, expected "
                "it of weights alone: give PyTorch two groups of parameters, or this function "
                "one of our optimizers, such as layers.AdamW(), which starts anew"
            )
        return decay or 0.0

    def _rate(self) -> float:
        """The largest learning rate; layers of a smaller one get a scale."""
        of_layer = {
            index: self._shared("lr", [each for each in self.owned if each[0] == index])
            for index, _, _ in self.owned
        }
        largest: float = max(of_layer.values())
        for index, rate in of_layer.items():
            if rate != largest:
                self._model.layers[index].learning_rate_scale = rate / largest
        return largest


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_plain(each) for each in value)
    return float(value) if hasattr(value, "detach") else value


# To PyTorch.


def check_counterpart(place: str, model: "Sequential") -> None:
    """The optimizer, and what layers add to gradients, has a counterpart in PyTorch."""
    optimizer: Any = model.optimizer
    said = f"{place}: the optimizer is {optimizer!r}"
    if type(optimizer) not in (SGD, Adam, AdamW):
        raise ValueError(f"{said}, expected SGD, Adam or AdamW, or optimizer=False")
    if callable(optimizer.learning_rate):
        raise ValueError(
            f"{said}, whose learning rate is a schedule, expected a number: PyTorch has schedules "
            "apart"
        )
    if optimizer.clip_norm is not None or optimizer.clip_value is not None:
        raise ValueError(
            f"{said}, which clips gradients, expected one that does not: PyTorch clips by "
            "functions, between backward and step"
        )
    for index, layer in enumerate(model.layers):
        if any(map(any, layer.penalties().values())):
            raise ValueError(
                f"{place}: layer {index} is {layer!r}, whose penalty PyTorch's loss has to have "
                "in it, expected none, or optimizer=False"
            )
    if not any(layer.trainable and layer.parameter_shapes() for layer in model.layers):
        raise ValueError(f"{place}: every layer is frozen, expected one to train")


def given(torch: Any, model: "Sequential", module: Any) -> Any:
    """PyTorch's optimizer of the trained parameters of a module, with what ours keeps of each."""
    optimizer: Any = model.optimizer
    by_name = dict(module.named_parameters())
    groups: dict[tuple[float, float], list[Any]] = {}
    states = {}
    views = model._buffers.state_views()
    for index, layer in enumerate(model.layers):
        for name, scale in layer.rates().items():
            if scale is None:
                continue
            parameter = by_name[f"{index}.{TORCH_NAMES[name]}"]
            decay = optimizer.weight_decay if name in layer.decayed else 0.0
            groups.setdefault((decay, float(optimizer.learning_rate) * scale), []).append(parameter)
            states[parameter] = [
                tensor(torch, torch_form(layer, name, view[index][name])) for view in views
            ]
    made = getattr(torch.optim, type(optimizer).__name__)(
        [
            {"params": parameters, "weight_decay": decay, "lr": rate}
            for (decay, rate), parameters in groups.items()
        ],
        **_numbers(optimizer),
    )
    steps = model._step - model._first_step
    if steps and views:
        for parameter, kept in states.items():
            made.state[parameter] = _state(torch, kept, steps)
    return made


def _numbers(optimizer: Any) -> dict[str, Any]:
    """The arguments of PyTorch's that all groups share."""
    if isinstance(optimizer, SGD):
        rate = float(optimizer.learning_rate)  # type: ignore[arg-type] # schedules are refused
        return {"lr": rate, "momentum": optimizer.momentum, "nesterov": optimizer.nesterov}
    return {"betas": (optimizer.beta1, optimizer.beta2), "eps": optimizer.epsilon}


def _state(torch: Any, kept: list[Any], steps: int) -> dict[str, Any]:
    if len(kept) == 1:
        return {"momentum_buffer": kept[0]}
    return {"step": torch.tensor(float(steps)), "exp_avg": kept[0], "exp_avg_sq": kept[1]}


def tensor(torch: Any, array: Array) -> Any:
    """A copy of an array, in C order."""
    return torch.from_numpy(np.array(array, order="C"))
