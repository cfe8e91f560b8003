"""Keywords that a function or a constructor does not have, with what they are called here."""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

_Function = TypeVar("_Function", bound=Callable[..., Any])

_PEERS = {
    "lr": "learning_rate",
    "use_bias": "bias",
    "p": "rate",
    "negative_slope": "slope",
    "eps": "epsilon",
    "test_size": "test_fraction",
    "random_state": "seed",
    "in_features": "n_in",
    "out_features": "n_out",
    "units": "n_out",
    "verbose": "progress",
    "validation_split": "validation_fraction",
    "nb_epoch": "epochs",
}
"""Names of other libraries, and what is called so here, where there is such an argument."""
_ELSEWHERE = {
    ("Dense", "activation"): "a layer of its own behind it, such as layers.ReLU()",
    ("EarlyStopping", "restore_best_weights"): "none: the best parameters always come back",
}
"""What is done in another way here."""


def keywords(place: str) -> Callable[[_Function], _Function]:
    """Decorate a function, so that a keyword it does not have is an error that says which it has.

    Parameters
    ----------
    place : str
        What it is called in errors: ``"Sequential.fit"``.
    """

    def decorated(function: _Function) -> _Function:
        if function.__code__.co_flags & inspect.CO_VARKEYWORDS:
            return function  # any keyword may be one of its own, as of `ElementwiseOptimizer`

        @functools.cache
        def own() -> tuple[str, ...]:
            return tuple(name for name in inspect.signature(function).parameters if name != "self")

        @functools.wraps(function)
        def checked(*given: Any, **named: Any) -> Any:
            for name in named:
                if name not in own():
                    raise TypeError(f"{place}: {name} is not among its arguments, {_hint(name)}")
            return function(*given, **named)

        def _hint(name: str) -> str:
            meant = _PEERS.get(name)
            if meant not in own():
                near = difflib.get_close_matches(name, own(), 1)
                meant = _ELSEWHERE.get((place, name), near[0] if near else None)
            return f"expected {meant}" if meant else f"expected some of {', '.join(own())}"

        return cast("_Function", checked)

    return decorated


class Spelled:
    """A class of this package whose constructor says what a misspelt keyword is called here."""

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        if not cls.__module__.startswith("layers."):
            return  # a user's own class: its constructor is left as it is
        if cls.__init__ is not object.__init__:  # which says itself that it takes no arguments
            own = inspect.unwrap(cls.__init__)
            cls.__init__ = keywords(cls.__name__)(own)  # type: ignore[method-assign]
