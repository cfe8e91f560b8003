"""A core's peak speed: multiply-adds with all operands in registers."""

from collections.abc import Callable
from functools import partial

import numpy as np

from kernels.intrinsics import (
    TileShape,
    lanes_of,
    pointer,
    rank_one_update,
    row_offsets,
    store_tile,
    tile_of_zeros,
)
from kernels.product.tile_sizes import TILE
from kernels.runtime.jit import Array, kernel

_BYTES = TILE.vector_bytes
# Half a micro-kernel's tile and its operands fit the registers easily.
_SHAPE = TileShape(TILE.rows, 2)
_NUMBERS = (2 * TILE.rows + 2) * _BYTES // 4
"""Elements of the tile and its operands in float32; float64 needs half of them."""


@kernel(f"steps int64 -> numbers (1, {_NUMBERS})", public=False)
def multiply_adds(steps: int, numbers: Array) -> None:
    """Multiply-adds on operands that never change, in registers."""
    start = pointer(numbers)
    tile = tile_of_zeros(_SHAPE, start, _BYTES)
    rows = row_offsets(tile, 1)
    for _ in range(steps):
        tile = rank_one_update(tile, start, rows, start, None)
        tile = rank_one_update(tile, start, rows, start, None)
        tile = rank_one_update(tile, start, rows, start, None)
        tile = rank_one_update(tile, start, rows, start, None)
    store_tile(tile, start, 2 * lanes_of(start, _BYTES), None)


def limit(dtype: str, steps: int = 20_000) -> tuple[Callable[[], None], int]:
    """A call that runs at a core's peak, and its number of operations."""
    lanes = _BYTES // np.dtype(dtype).itemsize
    numbers = np.zeros((1, _NUMBERS), dtype)
    return partial(multiply_adds.serial, steps, numbers), 4 * steps * 2 * TILE.rows * 2 * lanes
