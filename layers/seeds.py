"""From a seed to the 64-bit key of counter-based random numbers, and the streams under it."""

from typing import Any

import numpy as np

INITIALIZE = 1 << 56
"""Stream of a layer's first weights; plus the layer's index."""

SHUFFLE = 2 << 56
"""Stream of an epoch's order; plus the number of the epoch."""

LAYER = 3 << 56
"""Stream of what a layer draws in training; plus 2^40 times its index, plus the number of the
step."""

HELD_OUT = 8 << 56
"""Stream of the rows that `fit` sets apart for validation."""


def key_of(place: str, seed: Any) -> int:
    """64 bits from a seed.

    Parameters
    ----------
    place : str
        Who asks, for the error.
    seed : int, numpy.random.Generator or None
        A Generator gives raw bits, and moves on; None takes bits from the operating system.

    Raises
    ------
    TypeError, ValueError
        Another type, or a negative integer.
    """
    if isinstance(seed, np.random.Generator):
        # Raw bits only: NumPy promises a distribution's stream for one build alone.
        high, low = (int(bits) for bits in seed.bit_generator.random_raw(2))
        return (high << 32 ^ low) & (2**64 - 1)
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer))):
        raise TypeError(
            f"{place}: seed is {seed!r}, expected an integer, a numpy.random.Generator or None"
        )
    if seed is not None and seed < 0:
        raise ValueError(f"{place}: seed is {seed}, expected an integer of at least 0")
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
