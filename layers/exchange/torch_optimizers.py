"""An optimizer of PyTorch, and what it keeps of each parameter, for a model of ours."""

from typing import TYPE_CHECKING, Any

from kernels.runtime import checks
from layers.exchange.from_torch import array_of
from layers.exchange.parameters import TORCH_NAMES, torch_form
from layers.optimizers import SGD, Adam, AdamW, Optimizer

if TYPE_CHECKING:
    from layers.sequential import Sequential

PLACE = "layers.from_torch"
_KINDS: dict[str, Any] = {"SGD": SGD, "Adam": Adam, "AdamW": AdamW}
_STATES = {"SGD": ("momentum_buffer",), "Adam": ("exp_avg", "exp_avg_sq")}
_STATES["AdamW"] = _STATES["Adam"]


def take(model: "Sequential", modules: list[Any], optimizer: Any) -> None:
    """Give the model the same optimizer, and its states."""
    kind = type(optimizer).__name__
    if kind not in _KINDS or not type(optimizer).__module__.startswith("torch.optim"):
        raise ValueError(
            f"{PLACE}: optimizer is {checks.article(optimizer)}, expected PyTorch's SGD, Adam or "
            "AdamW, or one of layers"
        )
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    owned = [
        (index, name, getattr(module, TORCH_NAMES[name]))
        for index, (layer, module) in enumerate(zip(model.layers, modules, strict=True))
        for name in layer.parameter_shapes()
    ]
    missing = [f"{index}.{name}" for index, name, p in owned if id(p) not in groups]
    if missing:
        raise ValueError(f"{PLACE}: the optimizer does not move {missing[0]}, expected all")
    model.optimizer = _optimizer(model, kind, owned, groups)
    steps = set()
    for state, key in enumerate(_STATES[kind][: model.optimizer.states]):
        views = model._buffers.state_views()[state]
        for index, name, parameter in owned:
            kept = optimizer.state.get(parameter, {})
            if kept.get(key) is None:
                continue
            steps.add(int(kept.get("step", 1)))
            view = torch_form(model.layers[index], name, views[index][name])
            view[...] = array_of(kept[key])
    if len(steps) > 1:
        raise ValueError(
            f"{PLACE}: parameters have taken {sorted(steps)} steps, expected as many each"
        )
    model._step = max(steps, default=0)


def _optimizer(
    model: "Sequential", kind: str, owned: list[Any], groups: dict[int, Any]
) -> Optimizer:
    """Ours, with the numbers that all groups share."""

    def shared(name: str, places: list[Any]) -> Any:
        values = {_plain(groups[id(p)].get(name)) for _, _, p in places}
        if len(values) > 1:
            raise ValueError(
                f"{PLACE}: the optimizer's groups have {name} {sorted(values)}, expected one number"
            )
        return values.pop() if values else None

    for name in ("maximize", "amsgrad"):
        if shared(name, owned):
            raise ValueError(f"{PLACE}: the optimizer has {name}, which none of ours has")
    if shared("dampening", owned):
        raise ValueError(f"{PLACE}: the optimizer has dampening, which none of ours has")
    decayed = [each for each in owned if each[1] in model.layers[each[0]].decayed]
    others = [each for each in owned if each[1] not in model.layers[each[0]].decayed]
    decay, more = shared("weight_decay", decayed) or 0.0, shared("weight_decay", others) or 0.0
    if more:
        raise ValueError(
            f"{PLACE}: the optimizer has weight_decay {more:g} of biases too, expected it of "
            "weights alone: give PyTorch two groups of parameters"
        )
    rate = shared("lr", owned)
    if kind == "SGD":
        momentum, nesterov = shared("momentum", owned), shared("nesterov", owned)
        return SGD(rate, momentum, bool(nesterov), weight_decay=decay)
    beta1, beta2 = shared("betas", owned)
    made: Optimizer = _KINDS[kind](rate, beta1, beta2, shared("eps", owned), weight_decay=decay)
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_plain(each) for each in value)
    return float(value) if hasattr(value, "detach") else value
