"""Shared by the benchmarks: networks, seeded data, and the timing of a call.

No kernel runs at import: asv imports the suite in one process and starts a new one for every
measurement.
"""

import abc
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import kernels

_LINE, _PAGE = 64, 4096


@dataclass(frozen=True)
class Network:
    """A network's widths, from inputs to classes, the rows of a batch, and the threads."""

    widths: tuple[int, ...]
    batch: int
    threads: int | None = None

    @property
    def n_in(self) -> int:
        return self.widths[0]

    @property
    def n_out(self) -> int:
        """Width of the first layer's output."""
        return self.widths[1]

    @property
    def n_classes(self) -> int:
        return self.widths[-1]

    @property
    def hidden(self) -> tuple[int, int]:
        """Shape of the first layer's output."""
        return self.batch, self.n_out

    @property
    def scores(self) -> tuple[int, int]:
        """Shape of the last layer's output."""
        return self.batch, self.n_classes


NETWORKS = {
    "small: 64-32-10, batch 32": Network((64, 32, 10), 32),
    "medium: 784-128-10, batch 128": Network((784, 128, 10), 128),
    "large: 1024-1024, batch 512": Network((1024, 1024), 512),
}
"""By the name on the page, on all threads, which small work does not use."""

CASES = NETWORKS | {
    "large: 1024-1024, batch 512, one thread": Network((1024, 1024), 512, threads=1),
}
"""For kernels with a serial and a parallel form; one thread is also timed more steadily."""


WITHOUT_SMALL = [name for name in CASES if not name.startswith("small")]
"""For kernels whose time on small networks is mostly the call, which `dispatch` measures."""


class Data:
    """Seeded arrays of one dtype, with all pages touched, at fixed offsets within their pages.

    NumPy's arrays begin at any multiple of 16 bytes. The offsets of two arrays decide whether a
    vector crosses a cache line, and whether a load waits for a store to the other array: a kernel
    was seen to take 0.6 to 1.5 times as long in another process.
    """

    def __init__(self, dtype: str = "float32") -> None:
        self.dtype = np.dtype(dtype)
        self.random = np.random.default_rng(20)
        self._placed = 0

    def _place(self, values: np.ndarray) -> np.ndarray:
        """A copy aligned to a cache line, each array a few lines further into its page."""
        offset = 5 * _LINE * self._placed % _PAGE
        self._placed += 1
        raw = np.zeros(values.size * self.dtype.itemsize + 2 * _PAGE, np.uint8)
        start = -raw.ctypes.data % _PAGE + offset
        placed = raw[start : start + values.size * self.dtype.itemsize].view(self.dtype)
        placed[:] = values.ravel()
        return placed.reshape(values.shape)

    def numbers(self, *shape: int) -> np.ndarray:
        """Uniform in [-1, 1)."""
        return self._place(self.random.uniform(-1, 1, shape))

    def output(self, *shape: int) -> np.ndarray:
        """An output array with its pages touched, unlike those of zeros and empty."""
        return self._place(np.full(shape, 0.5))

    def probabilities(self, *shape: int) -> np.ndarray:
        """Positive rows that sum to 1."""
        weights = self.random.uniform(0.1, 1, shape)
        return self._place(weights / weights.sum(axis=1, keepdims=True))

    def labels(self, batch: int, n_classes: int) -> np.ndarray:
        """Class indices."""
        return self.random.integers(0, n_classes, batch)


class Timed(abc.ABC):
    """A benchmark of one call: a subclass's `setup` makes the arguments and calls `prepare`.

    asv times single calls of a benchmark that has a `setup`. For a call of a microsecond that is
    mostly the clock, so `time_call` makes many calls and `timer` divides by their number.
    """

    repeat = (3, 10, 1.0)  # least samples, most samples, seconds
    timeout = 120.0  # the first run of a commit compiles
    calls = 1

    @abc.abstractmethod
    def setup(self, *params: Any) -> None:
        """Make the arguments, seeded and touched, and `prepare` the call."""

    def prepare(self, function: Callable[..., Any], *args: Any, threads: int | None = None) -> None:
        """Set the call to be timed, and warm it up with the same types, on the same path."""
        kernels.set_num_threads(threads)
        self.function, self.args = function, args
        self.calls = calls_per_sample(partial(function, *args))

    def timer(self) -> float:
        """Return the clock, scaled so that a difference is the time of one call."""
        return time.perf_counter() / self.calls

    def time_call(self, *_: Any) -> None:
        """`calls` calls; see `timer`."""
        function, args = self.function, self.args
        for _ in range(self.calls):
            function(*args)


def calls_per_sample(function: Callable[[], Any], seconds: float = 0.01) -> int:
    """Warm up, and find how many calls fill a sample."""
    for _ in range(3):  # the first parallel region decides where the next call runs
        function()
    calls = 1
    while (elapsed := seconds_of(calls, function)) < seconds / 4:
        calls *= 2
    return max(1, round(calls * seconds / elapsed))


def seconds_of(
    calls: int, function: Callable[[], Any], clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of ``calls`` calls together."""
    began = clock()
    for _ in range(calls):
        function()
    return clock() - began
