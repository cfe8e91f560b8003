"""Dropout: numbers left out at random, by random numbers that belong to an element and a step."""

import numpy as np

from kernels.intrinsics import ahead, as_item, counted, in_turns, load, select, store
from kernels.operations import run_rowwise
from kernels.random import DRAWS, philox
from kernels.runtime.families import ROWWISE, Operation
from kernels.runtime.jit import Array, door

_WORDS = 4
"""Elements that share one draw of four words."""
_TOGETHER = DRAWS * _WORDS
_RANGE = 2.0**32


def _dropout(x, dy, out, rows, n, parameters, numbers, counter):
    rate = numbers[0]
    limit, scale = np.uint64(rate * _RANGE), as_item(1.0 / (1.0 - rate), x)
    zero = as_item(0.0, x)
    first, end = counter.first * n, rows * n
    shared = min(end, -first % _WORDS)  # elements of a draw that begins before the first of them
    for place in range(shared):
        element = first + place
        words = philox(counter.key, counter.stream, np.uint64(element // _WORDS))
        out[place] = x[place] * scale if words[element % _WORDS] >= limit else zero
    for place in range(shared, end, _TOGETHER):
        draws = counted(np.uint64((first + place) // _WORDS), DRAWS)
        w0, w1, w2, w3 = philox(counter.key, counter.stream, draws)
        stays = in_turns(w0, w1, w2, w3) >= limit
        left = end - place
        some = load(ahead(x, place), _TOGETHER, left, zero)
        store(select(stays, some * scale, zero), ahead(out, place), left)
    return 0


DROPOUT = Operation(ROWWISE, _dropout, nanoseconds=1.0)


@door("x (batch, n), rate >= 0, key uint64, stream uint64 -> out (batch, n)")
def dropout(x: Array, rate: float, key: int, stream: int, out: Array) -> None:
    """Dropout: out = 0 with probability ``rate``, else x / (1 - rate); its own gradient from dy.

    Element e of the batch, counted row by row, is left out where word e mod 4 of Philox's draw
    e / 4 is below rate 2^32.

    Parameters
    ----------
    x : ndarray, (batch, n)
        float32 or float64. For the gradient: dy, with the same key and stream.
    rate : float
        At least 0, below 1.
    key, stream : int
        64 bits each, without sign.
    out : ndarray, (batch, n)
    """
    if rate >= 1:
        raise ValueError(f"kernels.dropout: rate is {rate!r}, expected a number from 0 to below 1")
    run_rowwise(DROPOUT, x, x, out, (rate,), key=key, stream=stream)
