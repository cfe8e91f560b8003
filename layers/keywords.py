"""Keywords that a method does not have, with what they are called here."""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

_Function = TypeVar("_Function", bound=Callable[..., Any])


def keywords(**elsewhere: str) -> Callable[[_Function], _Function]:
    """Decorate a method, so that a keyword of another library's is an error that says ours.

    Parameters
    ----------
    **elsewhere
        Names of other libraries, and what is called so here.
    """

    def decorated(method: _Function) -> _Function:
        own = list(inspect.signature(method).parameters)[1:]

        @functools.wraps(method)
        def checked(self: Any, *given: Any, **named: Any) -> Any:
            for name in named:
                if name not in own:
                    place = f"{type(self).__name__}.{method.__name__}"
                    near = difflib.get_close_matches(name, own, 1)
                    meant = elsewhere.get(name, near[0] if near else None)
                    hint = f"expected {meant}" if meant else f"expected some of {', '.join(own)}"
                    raise TypeError(f"{place}: {name} is not among its arguments, {hint}")
            return method(self, *given, **named)

        return cast("_Function", checked)

    return decorated
