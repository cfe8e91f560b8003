"""The machine and the versions of a measurement."""

import datetime
import importlib
import os
import platform
from pathlib import Path
from typing import Any

import llvmlite  # type: ignore[import-untyped] # ships no types
import numba
import numpy as np

import layers
from kernels.runtime import threads
from layers.command_line import info
from layers.timing import has_threadpoolctl

_OF_LIBRARIES = ("OMP_", "OPENBLAS_", "MKL_", "NUMBA_", "KMP_", "GOMP_", "XLA_", "BLIS_", "JAX_")


def one_cpu_per_core() -> list[int]:
    """CPUs that this process may use: one per core first, then their siblings."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    first: list[int] = []
    twins: list[int] = []
    seen: set[str] = set()
    for cpu in sorted(os.sched_getaffinity(0)):
        core = _siblings(cpu)
        (twins if core in seen else first).append(cpu)
        seen.add(core)
    return first + twins


def cpus() -> int:
    """How many CPUs this process may use."""
    allowed = info.allowed_cpus()
    return min(allowed, threads.quota() or allowed)


def cores() -> int:
    """The number of cores, without hyper-threading siblings."""
    distinct = len({_siblings(cpu) for cpu in one_cpu_per_core()}) or cpus()
    return min(distinct, cpus())


def _siblings(cpu: int) -> str:
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return str(cpu)


def describe() -> dict[str, Any]:
    """CPU, cores, system, and the environment variables that libraries read."""
    return {
        "cpu": cpu_name(),
        "llvm_cpu": llvmlite.binding.get_host_cpu_name(),
        "cores": cores(),
        "cpus": cpus(),
        "system": f"{platform.system()} {platform.machine()}",
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(_OF_LIBRARIES)
        },
    }


def versions() -> dict[str, str]:
    """Versions of Python, this package and its dependencies, with NumPy's BLAS."""
    return {
        "python": platform.python_version(),
        "numba-layers": layers.__version__,
        "numpy": np.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "blas": blas(),
    }


def today() -> str:
    """Date and time in UTC, to the minute."""
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"


def cpu_name() -> str:
    """The CPU's model name on Linux, or what the system reports."""
    return info.model_name() or platform.processor() or platform.machine()


def blas() -> str:
    """NumPy's BLAS: as built, and as loaded if threadpoolctl is installed."""
    shown: Any = np.show_config(mode="dicts")
    built = shown.get("Build Dependencies", {}).get("blas", {})
    name = f"{built.get('name', 'unknown')} {built.get('version', '')}".strip()
    if not has_threadpoolctl():
        return name
    pools: list[dict[str, Any]] = importlib.import_module("threadpoolctl").threadpool_info()
    for pool in pools:
        if pool.get("user_api") == "blas":
            return f"{name} ({pool.get('architecture', pool['internal_api'])})"
    return name
