"""How the NumPy twins are called: as their kernels are."""

import functools
from collections.abc import Callable
from typing import Any

from kernels.runtime.contracts import Contract
from kernels.runtime.jit import with_made


class Twin:
    """A function of ``kernels.reference``, whose outputs may be left out as its kernel's may.

    Then the arguments are checked by the kernel's contract, and new arrays are made and returned.
    Else the function is called as it is, and checks nothing.

    Parameters
    ----------
    function : callable
    contract : Contract
        The kernel's.
    """

    def __init__(self, function: Callable[..., Any], contract: Contract) -> None:
        functools.update_wrapper(self, function)
        self._function, self._contract = function, contract
        self.__signature__ = contract.python
        names = list(contract.python.parameters)
        self._outputs = frozenset(contract.optional)
        self._enough = max((names.index(name) + 1 for name in contract.optional), default=0)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run on the given outputs, or on new ones."""
        given = len(args) >= self._enough or self._outputs <= kwargs.keys()
        if given and not any(each is None for each in (*args, *kwargs.values())):
            return self._function(*args, **kwargs)
        taken, made = self._contract.prepare(args, kwargs)
        return with_made(made, self._function(*taken))

    def __reduce__(self) -> str:
        """Pickle by name, as functions are."""
        return self.__name__  # type: ignore[attr-defined, no-any-return]
