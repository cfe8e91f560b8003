"""What a core can do at most: multiply-adds with everything in registers."""

from collections.abc import Callable
from functools import partial

import numba
import numpy as np

from kernels.simd import (
    TileShape,
    lanes_of,
    pointer,
    rank_one_update,
    store_tile,
    tile_of_zeros,
)
from kernels.tiles import TILE

_BYTES = TILE.vector_bytes
# Half a micro-kernel's tile and its operands fit the registers with room to spare.
_SHAPE = TileShape(TILE.rows, 2)


@numba.njit(nogil=True)
def _registers(a, steps):
    """Multiply-adds on operands that never change: nothing but registers."""
    start = pointer(a)
    tile = tile_of_zeros(_SHAPE, start, _BYTES)
    for _ in range(steps):
        tile = rank_one_update(tile, start, 1, start, None)
        tile = rank_one_update(tile, start, 1, start, None)
        tile = rank_one_update(tile, start, 1, start, None)
        tile = rank_one_update(tile, start, 1, start, None)
    store_tile(tile, start, 2 * lanes_of(start, _BYTES), None)


def limit(dtype: str, steps: int = 20_000) -> tuple[Callable[[], None], int]:
    """A call that does what one core can, and its operations."""
    lanes = _BYTES // np.dtype(dtype).itemsize
    numbers = np.zeros((1, (2 * TILE.rows + 2) * lanes), dtype)
    return partial(_registers, numbers, steps), 4 * steps * 2 * TILE.rows * 2 * lanes
