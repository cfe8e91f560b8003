"""How large passes, chunks and panels are, and what is packed when: from the tile and the caches.

The loops (``loops.py``) keep, from the fastest cache on, after Goto and van de Geijn (2008) and Low
et al. (2016)::

    level 1   where that gives LEAST_DEPTH terms, a panel of B: depth x a tile's row
    level 2   else that panel, with a chunk of A: chunk x depth
    level 3   all panels of a pass: depth x the columns of a block

Sizes change the speed, never the bits. ``asv_benchmarks/tune.py`` measures this machine with their
neighbours, and says what another choice would gain.
"""

from dataclasses import dataclass, replace

from kernels.intrinsics.caches import Caches, caches
from kernels.intrinsics.cpu import instruction_set
from kernels.product.tile_sizes import TILE, Tile
from kernels.runtime import cache

LEAST_DEPTH = 320
"""Fewest terms of a pass: each loads and stores the sums of a tile. (Ice Lake, AVX-512, speed with
256 terms relative to 1,024, whose panel fits level 2 only: 0.93 to 0.97 with 256 rows or more.)"""
MOST_DEPTH = 1024
"""Most terms of a pass; more gain nothing that could be measured."""
_MOST_ROWS, _FLOAT = 256, 4


@dataclass(frozen=True)
class BlockSizes:
    """Sizes in terms, rows and columns, for float32."""

    near: int
    """The level that a panel of B stays in while the tiles of a strip read it."""
    depth: int
    """Most terms of k in a pass over what is packed."""
    chunk: int
    """Rows of A that are packed at a time: a quarter of level 2, in float64 half of it. (Half as
    many rows there: 0.81 to 0.96 of the speed at 1024 x 512 x 1024 and 784 x 512 x 128.)"""
    long_chunk: int
    """Rows of C up to which A is read in place, in one chunk, beside a packed B: they and a panel
    fit level 2; of float64 half as many. Each panel is used while it is there, and the next one
    takes its place."""
    direct_chunk: int
    """Rows of A in a chunk that is read in place otherwise: their strip of C fills half of level 1,
    for the operation that follows."""
    columns: int
    """Most columns of a block."""
    large_b: int
    """Elements of B from which on A is packed for many rows."""


def block_sizes(tile: Tile, levels: Caches) -> BlockSizes:
    """The sizes by the formulas."""
    level_1, level_2, level_3 = (level.size for level in levels)
    row = tile.row_bytes
    near = 1 if level_1 // row >= LEAST_DEPTH else 2
    panel = level_1 if near == 1 else level_2 // 8
    depth = _multiple(min(panel // row, MOST_DEPTH), 16)
    return BlockSizes(
        near=near,
        depth=depth,
        chunk=_rows(level_2 // 4 // (depth * _FLOAT), tile),
        long_chunk=_rows((level_2 - depth * row) // (depth * _FLOAT), tile),
        direct_chunk=_rows(level_1 // 2 // row, tile),
        columns=max(1024, min(2048, _multiple(level_3 // (depth * _FLOAT), 256))),
        large_b=max(2 * level_2, 2**21) // _FLOAT,
    )


def _rows(rows: int, tile: Tile) -> int:
    return _multiple(max(4 * tile.rows, min(rows, _MOST_ROWS)), tile.rows)


def _multiple(size: int, unit: int) -> int:
    return size // unit * unit


EXCEPTIONS: dict[tuple[str, int, int], dict[str, int]] = {}
"""What measurements say against the formulas: by instructions and bytes of levels 1 and 2, the
fields that differ, each with its measurement."""


def sizes_for(instructions: str, tile: Tile, levels: Caches) -> BlockSizes:
    """The sizes by the formulas, but for the `EXCEPTIONS`."""
    of_this = instructions, levels.level_1.size, levels.level_2.size
    return replace(block_sizes(tile, levels), **EXCEPTIONS.get(of_this, {}))


CACHES = caches()
SIZES = sizes_for(instruction_set(), TILE, CACHES)
cache.add_to_key((CACHES, SIZES))  # compiled kernels hold these numbers

PAGE, FAR_PAGES = 4096, 48
"""How many pages a core reads by turns without looking up their addresses again: three quarters of
the 64 entries that the first level of most TLBs has."""
WIDE_STEP = 1024
"""Most bytes between rows of B, beyond level 1, that wide tiles read: they do so more often. (Ice
Lake: half of it costs 3 % at 256 columns.)"""
FAR_STEP, FAR_STEP_OF_A = 2048, 1900
"""Bytes between lines that no prefetcher follows: Intel's goes up to 2 KB, and is late a little
earlier for the short runs of a transposed A."""
