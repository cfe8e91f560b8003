"""How large a matmul tile is on this CPU: one small table, chosen by the vector registers it has.

A tile's accumulators stay in registers while k runs, one register per vector, beside one per vector
of B and one for the element of A: rows x vectors + vectors + 1 must fit. The shape never shows in
the bits of a result, only in its speed.
"""

from dataclasses import dataclass

from llvmlite import binding
from numba.core import config
from numba.core.codegen import get_host_cpu_features


@dataclass(frozen=True)
class Tile:
    """Rows, vectors and bytes of a vector of the micro-kernel's register tile."""

    rows: int
    vectors: int
    vector_bytes: int


TILES = {
    "avx512": Tile(rows=8, vectors=3, vector_bytes=64),  # 32 registers
    "avx2": Tile(rows=4, vectors=3, vector_bytes=32),  # 16 registers
    "neon": Tile(rows=8, vectors=3, vector_bytes=16),  # 32 registers (aarch64)
    "any": Tile(rows=4, vectors=3, vector_bytes=16),  # 16 registers, such as SSE's
}

# CPU names with AVX-512, as LLVM spells them, for when Numba is told the name alone.
_AVX512_NAMES = (
    "avx512", "x86-64-v4", "knl", "knm", "cannonlake", "icelake", "tigerlake", "rocketlake",
    "cascadelake", "cooperlake", "sapphirerapids", "emeraldrapids", "graniterapids", "znver4",
    "znver5",
)  # fmt: skip
_AVX2_NAMES = (
    "haswell", "broadwell", "skylake", "alderlake", "raptorlake", "meteorlake", "x86-64-v3",
    "core-avx2", "znver", "bdver4",
)  # fmt: skip


def instruction_set() -> str:
    """The key in `TILES` for the CPU that Numba compiles for."""
    if binding.get_process_triple().startswith(("aarch64", "arm64")):
        return "neon"
    features = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    if config.CPU_NAME and not features:
        if any(name in config.CPU_NAME for name in _AVX512_NAMES):
            return "avx512"
        return "avx2" if any(name in config.CPU_NAME for name in _AVX2_NAMES) else "any"
    enabled = {feature for feature in features.split(",") if feature.startswith("+")}
    if {"+avx512f", "+avx512vl", "+avx512dq", "+avx512bw"} <= enabled:
        return "avx512"
    return "avx2" if {"+avx2", "+fma"} <= enabled else "any"


TILE = TILES[instruction_set()]
