"""The register tile on this CPU, from one table, and the level-2 cache that packing aims at.

While k runs, registers hold the tile's rows x vectors accumulators, the vectors of B's row and one
element of A: rows x vectors + vectors + 1 must fit. A panel of packed B, as wide as the tile, is
read again for every tile below: ``depth`` terms of it stay in a near cache. Tile sizes change the
speed, never the bits.
"""

from dataclasses import dataclass

from kernels.intrinsics.cpu import instruction_set, level_2
from kernels.runtime import cache


@dataclass(frozen=True)
class Tile:
    """Rows, vectors and bytes of a vector of the register tile, and how its panels are packed."""

    rows: int
    vectors: int
    vector_bytes: int
    depth: int
    """Terms of k in a pass over a packed B."""
    packs_early: bool = False
    """Whether to pack even a B that fits the caches: a tile's row is one or two lines, and rows
    a power of two apart share few sets of the level-1 cache (AVX2, Zen 3, GFLOP/s of 97: 45 -> 75
    at 256 x 784 x 512)."""


TILES = {
    "avx512": Tile(rows=8, vectors=3, vector_bytes=64, depth=768),  # 32 registers
    "avx2": Tile(rows=4, vectors=3, vector_bytes=32, depth=384, packs_early=True),  # 16 registers
    "neon": Tile(rows=8, vectors=3, vector_bytes=16, depth=768),  # 32 registers (aarch64)
    "any": Tile(rows=4, vectors=3, vector_bytes=16, depth=768),  # 16 registers, such as SSE's
}

TILE = TILES[instruction_set()]
LEVEL_2 = level_2()
cache.add_to_key(LEVEL_2)  # compiled kernels hold its numbers
