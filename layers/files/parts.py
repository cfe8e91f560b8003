"""Layers, losses, optimizers and metrics as JSON, and back.

A part is described by its class's name and by what its `config` gives: numbers, text, lists, other
parts and functions. Code is never in a file: a class or a function of the user's own is named
there, and given back by the user when the file is loaded.
"""

import inspect
from collections.abc import Iterable, Mapping
from types import FunctionType
from typing import Any

import numpy as np

from kernels.runtime import checks
from layers import schedules
from layers.base import Layer, Part
from layers.losses import Loss
from layers.metrics import Metric
from layers.optimizers import Optimizer

_WORDS = ("type", "custom", "schedule", "function")
"""What descriptions are told apart by; no argument of a part may be called so."""


def known(kind: type) -> dict[str, Any]:
    """The classes of a kind that the package exports."""
    import layers

    return {
        name: part
        for name, part in vars(layers).items()
        if isinstance(part, type) and issubclass(part, kind) and part not in _BASES
    }


_BASES = (Layer, Loss, Optimizer, Metric)
_PLAIN = tuple(kind.config for kind in _BASES)
_TRAINING = ("trainable", "learning_rate_scale")
_MODELS_OWN = {"seed", "dtype"}
"""Arguments that a model decides, so that no file holds them."""


# To JSON.


def described(part: Part, place: str, named: dict[str, Any]) -> dict[str, Any]:
    """A layer, a loss, an optimizer or a metric.

    Parameters
    ----------
    part : Layer, Loss, Optimizer or Metric
    place : str
        The beginning of messages.
    named : dict
        Of the user's own code by name, as far as it has been met; grows.

    Raises
    ------
    TypeError
        Its code or its arguments cannot be named.
    """
    kind = next(kind for kind in _BASES if isinstance(part, kind))
    name, place = type(part).__name__, f"{place}: {type(part).__name__}"
    if part.has_own_methods():
        raise TypeError(
            f"{place}: the object has a method of its own, which no file can name: expected it in "
            "a class"
        )
    given: dict[str, Any] = part.config()  # type: ignore[attr-defined]
    _check_arguments(type(part), given, place)
    marks: dict[str, Any] = {"type": name}
    if known(kind).get(name) is not type(part):
        _note(name, type(part), place, named)
        marks["custom"] = True
    if isinstance(part, Layer):
        given = given | part._training()
    arguments = {key: _as_json(value, f"{place}: {key}", named) for key, value in given.items()}
    return marks | arguments


def _check_arguments(kind: type, given: Mapping[str, Any], place: str) -> None:
    """Whether a `config` gives what the constructor takes."""
    needed, possible = _arguments(kind)
    if kind.config in _PLAIN and possible is not None:  # type: ignore[attr-defined]
        needed = possible - _MODELS_OWN  # nobody has said what config() gives
    strangers = set() if possible is None else set(given) - possible
    if not needed <= set(given) or strangers or not set(_WORDS).isdisjoint(given):
        raise TypeError(
            f"{place}: config() gives the arguments {sorted(given)}, expected those of its "
            f"constructor, {sorted(needed | (possible or set()) - _MODELS_OWN)}"
        )


def _arguments(kind: type) -> tuple[set[str], set[str] | None]:
    """Arguments that a constructor needs, and those that it takes; None for any."""
    if kind.__init__ is object.__init__:  # type: ignore[misc]
        return set(), set()
    found = inspect.signature(kind).parameters.values()
    named = [p for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    needed = {p.name for p in named if p.default is p.empty}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in found)
    return needed, None if takes_any else {p.name for p in named}


def _as_json(value: Any, place: str, named: dict[str, Any]) -> Any:
    if isinstance(value, _BASES):
        return described(value, place, named)
    if isinstance(value, Mapping):
        return {key: _as_json(each, place, named) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(each, place, named) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    if not callable(value):
        return value
    name = getattr(value, "__name__", "")
    if not isinstance(value, FunctionType) or not name.isidentifier():
        raise TypeError(
            f"{place} is {checks.shown(value)}, which no file can name: expected a function made "
            "by def"
        )
    _note(name, value, place, named)
    return {"function": name}


def _note(name: str, code: Any, place: str, named: dict[str, Any]) -> None:
    if named.setdefault(name, code) is not code:
        raise TypeError(
            f"{place}: two things of your own are called {name!r}, expected names that tell them "
            "apart in the file"
        )


# From JSON.


def checked_custom(custom: Any, place: str) -> dict[str, Any]:
    """Classes and functions of the user's own, by name."""
    if not isinstance(custom, Iterable) or isinstance(custom, (str, bytes, Mapping)):
        raise TypeError(
            f"{place}: custom is {checks.shown(custom)}, expected a list of classes and functions"
        )
    found: dict[str, Any] = {}
    for each in custom:
        if not isinstance(each, (type, FunctionType)):
            raise TypeError(
                f"{place}: custom holds {checks.shown(each)}, expected classes and functions"
            )
        if each.__name__ in found and found[each.__name__] is not each:
            raise ValueError(
                f"{place}: custom has two things called {each.__name__!r}, expected one"
            )
        found[each.__name__] = each
    return found


def made(description: Any, kind: type, what: str, place: str, custom: Mapping[str, Any]) -> Any:
    """A layer, loss, optimizer or metric as a file describes it.

    Raises
    ------
    ValueError
        The description is damaged, or names what is not in ``custom``.
    """
    place = f"{place}: {what} in its architecture"
    if not isinstance(description, dict) or not isinstance(description.get("type"), str):
        raise ValueError(
            f"{place} is {checks.shown(description)}, expected its type and arguments by name"
        )
    given = dict(description)
    name, own = given.pop("type"), given.pop("custom", False)
    part = _found(name, own is True, kind, place, custom)
    given = {key: _value(value, f"{what}, {key}", place, custom) for key, value in given.items()}
    # Any layer has these, whatever its constructor takes.
    later = {key: given.pop(key) for key in _TRAINING if key in given and issubclass(part, Layer)}
    needed, possible = _arguments(part)
    if not needed <= set(given) or (possible is not None and not set(given) <= possible):
        raise ValueError(
            f"{place}: {name} has the arguments {sorted(given)}, expected {sorted(needed)}"
            f" and perhaps {sorted((possible or set()) - needed)}"
        )
    try:
        made_part = part(**given)
        for key, value in later.items():
            setattr(made_part, key, value)
        return made_part
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from error


def _found(name: str, own: bool, kind: type, place: str, custom: Mapping[str, Any]) -> Any:
    if not own:
        classes = known(kind)
        if name not in classes:
            raise ValueError(
                f"{place}: {checks.shown(name)} is unknown, expected one of {sorted(classes)}"
            )
        return classes[name]
    part = custom.get(name)
    if not isinstance(part, type) or not issubclass(part, kind):
        raise ValueError(
            f"{place}: {checks.shown(name)} is a class of your own, expected it in custom: "
            f"layers.load(path, custom=[{name[:80]}])"
        )
    return part


def _value(value: Any, what: str, place: str, custom: Mapping[str, Any]) -> Any:
    """An argument: plain, or a part, a schedule, a function by its name."""
    if isinstance(value, list):
        return [_value(each, what, place, custom) for each in value]
    if not isinstance(value, dict):
        return value
    if "type" in value:
        return made(value, Part, what, place, custom)
    if "schedule" in value:
        try:
            of = value.get("of")
            inner = {"of": _value(of, what, place, custom)} if isinstance(of, dict) else {}
            return schedules.made(value | inner, custom)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{place}: {error}") from error
    if set(value) == {"function"}:
        name = value["function"]
        if not isinstance(name, str) or not isinstance(custom.get(name), FunctionType):
            raise ValueError(
                f"{place}: {checks.shown(name)} is a function of your own, expected it in custom: "
                "layers.load(path, custom=[...])"
            )
        return custom[name]
    return {key: _value(each, what, place, custom) for key, each in value.items()}
