"""``python -m layers info``: the machine and the installation."""

import os
import platform
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import llvmlite  # type: ignore[import-untyped] # ships no types
import numba
import numpy as np

import kernels
import layers
from kernels.intrinsics.cpu import instruction_set
from kernels.product.tile_sizes import TILE
from kernels.runtime import cache, threads
from layers.command_line.tables import aligned

_PACKAGES = ("numpy", "numba", "llvmlite", "tqdm", "matplotlib")
_config: Any = numba.core.config  # filled from the environment, so untyped


def report() -> str:
    """Versions, CPU, tile, threads and cache, one line each; this starts Numba's threads."""
    return aligned([(f"{name}:", value) for name, value in _lines()], left=2)


def facts() -> dict[str, str]:
    """The lines of `report`, by name."""
    return dict(_lines())


def clear_cache() -> str:
    """Empty the compile cache; report what was freed."""
    folder = cache.directory()
    if folder is None:
        return "There is no compile cache"
    freed = cache.clear()
    return f"Removed {freed / 1e6:.1f} MB of compiled kernels from {folder.parent}"


def _lines() -> list[tuple[str, str]]:
    instructions = instruction_set()
    lanes = TILE.vector_bytes // 4
    return [
        ("numba-layers", f"{layers.__version__} in {os.path.dirname(layers.__file__)}"),
        ("Python", f"{platform.python_version()} on {platform.platform()}"),
        ("packages", ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)),
        ("CPU", f"{', '.join(_cpu_names())}"),
        ("vectors", f"{8 * TILE.vector_bytes} bits ({instructions}): {lanes} float32"),
        (
            "matmul tile",
            f"{TILE.rows} rows x {TILE.vectors} vectors = "
            f"{TILE.rows} x {TILE.vectors * lanes} float32",
        ),
        ("denormals", _denormals()),
        *_thread_lines(),
        *_cache_lines(),
    ]


def _denormals() -> str:
    """Whether this thread computes with subnormal numbers or flushes them to 0.

    A library may have set the mode for its threads; see "What is promised".
    """
    below = np.float32(2.0**-126) * np.float32(0.5)
    return "kept" if below != 0 else "flushed to zero by another library: bits may differ"


def _thread_lines() -> list[tuple[str, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reported by the line below
        threads.start()  # only then is the layer known
    quota = threads.quota()
    limits = [
        f"{allowed_cpus()} CPUs",
        f"NUMBA_NUM_THREADS {_config.NUMBA_NUM_THREADS}",
        "no container quota" if quota is None else f"container quota {quota}",
    ]
    return [
        ("threads", f"{kernels.get_num_threads()} ({', '.join(limits)})"),
        ("threading layer", threads.layer() or f"none, so all is serial: {threads.failure()}"),
    ]


def _cache_lines() -> list[tuple[str, str]]:
    folder = cache.directory()
    if folder is None:
        return [("compile cache", "none")]
    entries = len(list(folder.glob("*.nbc")))
    return [
        ("compile cache", str(folder)),
        ("cache size", f"{cache.size() / 1e6:.1f} MB in all, {entries} entries for this CPU"),
    ]


def _version(name: str) -> str:
    known = {"numpy": np.__version__, "numba": numba.__version__, "llvmlite": llvmlite.__version__}
    try:
        return known.get(name) or version(name)
    except PackageNotFoundError:
        return "not installed"


def _cpu_names() -> list[str]:
    names = [_config.CPU_NAME or llvmlite.binding.get_host_cpu_name(), model_name()]
    return [name for name in names if name]


def model_name() -> str:
    """The CPU's model name on Linux; else empty."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            names = [
                line.partition(":")[2].strip() for line in file if line.startswith("model nam")
            ]
    except OSError:
        return ""
    return names[0] if names else ""


def allowed_cpus() -> int:
    """CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
