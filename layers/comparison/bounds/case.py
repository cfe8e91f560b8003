"""What is known of one kernel's comparison."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from layers.base import Array

Sizes = Mapping[str, int]
Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """How one kernel is compared.

    Attributes
    ----------
    bounds : callable
        Maps the kernel's arguments, before the call, to one array of bounds for each result: the
        outputs, then the return value.
    sizes : dict
        The sizes in the kernel's contract, for `compare`. A contract with arrays of any shape has
        ``rows`` and ``columns``; a flag is a size of 0 or 1.
    draws : dict
        By argument: a function of a generator and a shape that draws its values, where they are
        not normal numbers.
    """

    bounds: Callable[..., tuple[Any, ...]]
    sizes: Sizes
    draws: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = field(
        default_factory=dict
    )
