"""The register tile on this CPU, from one table.

While k runs, registers hold the tile's rows x vectors accumulators, the vectors of B's row and one
element of A: rows x vectors + vectors + 1 must fit. What follows from the caches is in
``block_sizes.py``. Tile sizes change the speed, never the bits.
"""

from dataclasses import dataclass

from kernels.intrinsics.cpu import instruction_set


@dataclass(frozen=True)
class Tile:
    """Rows, vectors and bytes of a vector of the register tile; rows and vectors of a wide one."""

    rows: int
    vectors: int
    vector_bytes: int
    wide: tuple[int, int] | None = None

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of the tile: of what it reads of B in each step of k."""
        return self.vectors * self.vector_bytes


TILES = {
    "avx512": Tile(rows=8, vectors=3, vector_bytes=64, wide=(6, 4)),  # 32 registers
    "avx2": Tile(rows=4, vectors=3, vector_bytes=32),  # 16 registers
    "neon": Tile(rows=8, vectors=3, vector_bytes=16, wide=(6, 4)),  # 32 registers (aarch64)
    "any": Tile(rows=4, vectors=3, vector_bytes=16),  # 16 registers, such as SSE's
}

TILE = TILES[instruction_set()]
