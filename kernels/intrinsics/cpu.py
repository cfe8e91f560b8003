"""The CPU that Numba compiles for: its vector instructions and its caches."""

import contextlib
from pathlib import Path
from typing import NamedTuple

from llvmlite import binding
from numba.core import config
from numba.core.codegen import get_host_cpu_features

LINE = 64
"""Bytes of a cache line, to which packed panels are aligned."""


class Cache(NamedTuple):
    """Bytes of a cache, and how many lines whose addresses differ by ``size // ways`` it holds."""

    size: int
    ways: int


COMMON_LEVEL_2 = Cache(2**20, 16)
"""The level-2 cache that is assumed where the system reports none: Skylake-X's."""

# CPU names with AVX-512, as LLVM spells them, where Numba is given the name alone.
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
    """``"avx512"``, ``"avx2"`` with fused multiply-add, ``"neon"``, or ``"any"``."""
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


def level_2(folder: str = "/sys/devices/system/cpu/cpu0/cache") -> Cache:
    """The level-2 cache as Linux reports it; elsewhere `COMMON_LEVEL_2`."""
    for index in sorted(Path(folder).glob("index*")):
        with contextlib.suppress(OSError, ValueError):
            names = ("level", "type", "size", "ways_of_associativity")
            level, kind, size, ways = (
                (index / name).read_text(encoding="ascii").strip() for name in names
            )
            cache = Cache(int(size.removesuffix("K")) * 1024, int(ways))
            if level == "2" and kind != "Instruction" and cache.size >= cache.ways > 0:
                return cache
    return COMMON_LEVEL_2
