"""How large a matmul tile is on this CPU, and the cache that is packed for.

The tile is from one small table, chosen by the vector registers there are.

A tile's accumulators stay in registers while k runs, one register per vector, beside one per vector
of B and one for the element of A: rows x vectors + vectors + 1 must fit. A panel of packed B, as
wide as the tile, is read again for every tile below it: ``depth`` terms of it stay in a near cache.
Nothing of this shows in the bits of a result, only in its speed.
"""

from dataclasses import dataclass

from kernels.intrinsics.cpu import instruction_set, level_2
from kernels.runtime import cache


@dataclass(frozen=True)
class Tile:
    """Rows, vectors and bytes of a vector of the micro-kernel's register tile, and its panels."""

    rows: int
    vectors: int
    vector_bytes: int
    depth: int
    """Terms of a pass over a packed B."""
    packs_sooner: bool = False
    """Whether a B is packed that would stay in the caches as it lies: where a row of the tile is a
    line or two, rows a power of two apart share few places of the level-1 cache (AVX2, Zen 3,
    GFLOP/s of 97: 45 -> 75 at 256 x 784 x 512)."""


TILES = {
    "avx512": Tile(rows=8, vectors=3, vector_bytes=64, depth=768),  # 32 registers
    "avx2": Tile(rows=4, vectors=3, vector_bytes=32, depth=384, packs_sooner=True),  # 16 registers
    "neon": Tile(rows=8, vectors=3, vector_bytes=16, depth=768),  # 32 registers (aarch64)
    "any": Tile(rows=4, vectors=3, vector_bytes=16, depth=768),  # 16 registers, such as SSE's
}

TILE = TILES[instruction_set()]
LEVEL_2 = level_2()
cache.add_to_key(LEVEL_2)  # compiled kernels hold its numbers
