"""Error bounds: the largest difference between a kernel and its NumPy twin, by element.

A bound is derived, never guessed: two correct computations of the same result differ by no more. In
the comments u is the unit roundoff, half the distance from 1 to the next number, and gamma(k) =
k u / (1 - k u) the largest relative error of k successive roundings (N. J. Higham, "Accuracy and
Stability of Numerical Algorithms", lemma 3.1). Relative errors that are multiplied, divided or
averaged over positive terms stay within gamma of their sum.

Bounds hold for any shape and both dtypes, where the inputs are finite and nothing overflows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kernels.runtime.jit import PUBLIC
from layers.base import Array
from layers.comparison.bounds import (
    activations,
    losses_of_labels,
    losses_of_numbers,
    others,
    products,
    updates,
)
from layers.comparison.bounds.case import Arguments, Case, Sizes
from layers.comparison.bounds.draws import DRAWS, NUMBERS, normal
from layers.comparison.bounds.rounding import gamma

SUBJECTS = (products, activations, losses_of_labels, losses_of_numbers, updates, others)
CASES: Mapping[str, Case] = {
    name: case for subject in SUBJECTS for name, case in subject.CASES.items()
}
"""How each public kernel is compared, by name."""


def arguments(name: str, sizes: Sizes, dtype: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Draw a kernel's arguments by its contract, outputs included."""
    draws = {**DRAWS, **CASES[name].draws}
    drawn: dict[str, Any] = {}
    for argument in PUBLIC[name].contract.arguments:
        if argument.kind in ("labels", "indices"):
            below = sizes.get(argument.below, 1)
            drawn[argument.name] = rng.integers(0, below, sizes[str(argument.sizes[0])])
        elif argument.kind in ("matrix", "any_shape"):
            named = argument.sizes or ("rows", "columns")
            shape = tuple(size if isinstance(size, int) else sizes[size] for size in named)
            if sizes.get(argument.swap):
                shape = shape[::-1]
            drawn[argument.name] = draws.get(argument.name, normal)(rng, shape).astype(dtype)
        elif argument.kind == "flag":
            drawn[argument.name] = bool(sizes.get(argument.name))
        else:
            drawn[argument.name] = NUMBERS[argument.name]
    return drawn


def results(name: str, function: Callable[..., Any], given: Arguments) -> list[Array]:
    """The outputs and return value of a function called with copies of a kernel's arguments."""
    taken = {key: np.copy(v) if isinstance(v, np.ndarray) else v for key, v in given.items()}
    returned = function(*taken.values())
    described = PUBLIC[name].contract.arguments
    written = [taken[argument.name] for argument in described if argument.is_output]
    return written if returned is None else [*written, np.asarray(returned)]


def bounds(name: str, given: Arguments) -> list[Array]:
    """The bounds on the difference of a kernel and its twin, by element, for each result."""
    with np.errstate(all="ignore"):
        return [settled(bound, given) for bound in CASES[name].bounds(*given.values())]


def settled(bound: Any, given: Arguments) -> Array:
    """A bound, increased by the rounding errors of its own computation in float64."""
    longest = max((max(v.shape) for v in given.values() if np.ndim(v) and v.size), default=1)
    # A bound has at most as many roundings, exp and log included, as two sums along the longest
    # axis plus 100.
    return np.asarray(bound / (1 - gamma(2 * longest + 100, np.float64)), np.float64)
