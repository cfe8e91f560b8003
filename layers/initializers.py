"""How weights start: uniform in [-limit, limit], with a limit that keeps signals at one scale."""

import math
from collections.abc import Callable
from typing import Any

from layers.backends import active
from layers.base import Array
from layers.seeds import INITIALIZE

LIMITS: dict[str, Callable[[int, int], float]] = {
    # He et al. 2015, for ReLU: variance 2 / n_in.
    "he": lambda n_in, n_out: math.sqrt(6.0 / n_in),
    # Glorot and Bengio 2010, otherwise: variance 2 / (n_in + n_out).
    "glorot": lambda n_in, n_out: math.sqrt(6.0 / (n_in + n_out)),
    "zeros": lambda n_in, n_out: 0.0,
}


def check(place: str, name: Any) -> str:
    """A known initializer's name.

    Raises
    ------
    ValueError
        It lists the names.
    """
    if not isinstance(name, str) or name not in LIMITS:
        raise ValueError(f"{place}: initializer is {name!r}, expected one of {sorted(LIMITS)}")
    return name


def spread(weights: Array, limit: float, key: int, index: int) -> None:
    """Fill weights from stream ``index`` of ``key``, uniform in [-limit, limit)."""
    active().uniform(key, INITIALIZE + index, -limit, limit, weights)


def initialize(weights: Array, name: str, key: int, index: int) -> None:
    """Fill weights (n_in, n_out) from stream ``index`` of ``key``."""
    limit = LIMITS[name](*weights.shape)
    active().uniform(key, INITIALIZE + index, -limit, limit, weights)
