"""What a time needs beside it to be honest: compilation apart, and on how many threads."""

import contextlib
import importlib
import importlib.util
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kernels.runtime import cache, threads


@dataclass
class Timing:
    """Seconds of a piece of work, and what of it was getting kernels ready.

    Attributes
    ----------
    seconds, compiling : float
        All of it, and the compilation in it.
    compiled, loaded : int
        Kernels that were compiled, and those that came from the cache.
    """

    seconds: float = 0.0
    compiling: float = 0.0
    compiled: int = 0
    loaded: int = 0

    def kernels(self) -> str:
        """In words: how many kernels were compiled or loaded."""
        parts = []
        if self.compiled:
            parts.append(f"{self.compiled} compiled in {self.compiling:.1f} s")
        if self.loaded:
            parts.append(f"{self.loaded} loaded from the cache")
        return f"kernels: {', '.join(parts) or 'all there'}"


@contextlib.contextmanager
def timed() -> Iterator[Timing]:
    """Time the body of a ``with``; the numbers are there once it has ended."""
    events: Any = importlib.import_module("numba.core.event")
    timing, before = Timing(), cache.counts()
    listener = events.TimingListener()
    began = time.perf_counter()
    with events.install_listener("numba:compile", listener):
        yield timing
    timing.seconds = time.perf_counter() - began
    timing.compiling = listener.duration if listener.done else 0.0
    timing.compiled = cache.counts().compiled - before.compiled
    timing.loaded = cache.counts().loaded - before.loaded


@contextlib.contextmanager
def kernel_threads(limit: int | None) -> Iterator[None]:
    """Run the kernels on at most so many threads, then under the limit that was there before."""
    before = threads.limit()
    threads.set_num_threads(limit)
    try:
        yield
    finally:
        threads.set_num_threads(before)


def has_threadpoolctl() -> bool:
    """Whether BLAS can be told how many threads to use."""
    return importlib.util.find_spec("threadpoolctl") is not None


@contextlib.contextmanager
def one_blas_thread() -> Iterator[bool]:
    """Limit NumPy's BLAS to one thread where threadpoolctl is installed; whether it is."""
    if not has_threadpoolctl():
        yield False
        return
    threadpoolctl: Any = importlib.import_module("threadpoolctl")
    with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        yield True
