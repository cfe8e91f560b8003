"""The CPU that Numba compiles for: its vector instructions."""

from llvmlite import binding
from numba.core import config
from numba.core.codegen import get_host_cpu_features

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
