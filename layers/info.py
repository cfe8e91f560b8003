"""What this machine and this installation are: ``python -m layers info``."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import llvmlite  # type: ignore[import-untyped] # ships no types
import numba
import numpy as np

import kernels
import layers
from kernels import cache, threads, tiles
from layers.tables import aligned

_PACKAGES = ("numpy", "numba", "llvmlite", "tqdm", "matplotlib")
_config: Any = numba.core.config  # filled from the environment, so it has no types


def report() -> str:
    """Versions, CPU, tile, threads and cache, one line each."""
    return aligned([(f"{name}:", value) for name, value in _lines()], left=2)


def _lines() -> list[tuple[str, str]]:
    tile, instructions = tiles.TILE, tiles.instruction_set()
    lanes = tile.vector_bytes // 4
    folder = cache.directory()
    entries = len(list(folder.glob("*.nbc"))) if folder else 0
    return [
        ("numba-layers", f"{layers.__version__} in {os.path.dirname(layers.__file__)}"),
        ("Python", f"{platform.python_version()} on {platform.platform()}"),
        ("packages", ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)),
        ("CPU", _config.CPU_NAME or llvmlite.binding.get_host_cpu_name()),
        ("vectors", f"{8 * tile.vector_bytes} bits ({instructions}): {lanes} float32"),
        (
            "matmul tile",
            f"{tile.rows} rows x {tile.vectors} vectors = "
            f"{tile.rows} x {tile.vectors * lanes} float32",
        ),
        ("threads", f"{kernels.get_num_threads()} of {os.cpu_count()} CPUs{_limits()}"),
        ("threading layer", threads.layer() or "none"),
        ("compile cache", str(folder) if folder else "none"),
        ("cache size", f"{cache.size() / 1e6:.1f} MB, {entries} entries for this installation"),
    ]


def _version(name: str) -> str:
    known = {"numpy": np.__version__, "numba": numba.__version__, "llvmlite": llvmlite.__version__}
    try:
        return known.get(name) or version(name)
    except PackageNotFoundError:
        return "not installed"


def _limits() -> str:
    """What limits the threads, where anything does."""
    limits = [f"NUMBA_NUM_THREADS {_config.NUMBA_NUM_THREADS}"]
    quota = threads.quota()
    if quota is not None:
        limits.append(f"container quota {quota}")
    return f" ({', '.join(limits)})"
