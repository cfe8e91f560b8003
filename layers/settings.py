"""Settings: numbers that a constructor takes, each stated once with its domain; and flags."""

from typing import Any

import numpy as np

from kernels.runtime import checks


def flag(place: str, name: str, value: Any) -> bool:
    """True or False, NumPy's too; nothing else that counts as true."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{place}: {name} is {checks.shown(value)}, expected True or False")
    return bool(value)


class Setting:
    """A number of an object: checked where the constructor sets it, unchanged afterwards.

    Parameters
    ----------
    domain : {">= 0", "> 0", "[0, 1)"}
    meaning : str
        The attribute's docstring.
    optional : bool
        Whether it may be None.
    """

    def __init__(self, domain: str, meaning: str, *, optional: bool = False) -> None:
        self.domain, self.optional, self.__doc__ = domain, optional, meaning

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, owner: object | None, kind: type) -> Any:
        return self if owner is None else getattr(owner, f"_{self.name}")

    def __set__(self, owner: object, value: Any) -> None:
        place = type(owner).__name__
        if f"_{self.name}" in vars(owner):
            raise AttributeError(
                f"{place}: {self.name} cannot be changed, expected a new {place} for another"
            )
        setattr(owner, f"_{self.name}", self.checked(place, value))

    def checked(self, place: str, value: Any) -> float | None:
        """The number, within its domain."""
        if value is None and self.optional:
            return None
        number = checks.number(place, self.name, value, 0)
        if self.domain == "> 0" and number == 0:
            less = ", or None" if self.optional else ""
            raise ValueError(f"{place}: {self.name} is 0, expected a number above 0{less}")
        if self.domain == "[0, 1)" and number >= 1:
            raise ValueError(
                f"{place}: {self.name} is {value!r}, expected a number from 0 to below 1"
            )
        return number
