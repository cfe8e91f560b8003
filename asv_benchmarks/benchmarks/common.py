"""What the benchmarks share: the networks, seeded data, and how a call is timed.

Nothing here runs a kernel at import: asv imports the suite in a process of its own and starts a
fresh one for every measurement.
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
    """Widths of a network, from its inputs to its classes, the rows of a batch, and the threads."""

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
"""Each by the name that the page shows, on all threads, which small work does not use."""

CASES = NETWORKS | {
    "large: 1024-1024, batch 512, one thread": Network((1024, 1024), 512, threads=1),
}
"""For what has a serial and a parallel form; one thread is also the steadier clock."""


WITHOUT_SMALL = [name for name in CASES if not name.startswith("small")]
"""For kernels that are mostly call there: what a call costs, `dispatch` says."""


class Data:
    """Seeded arrays of one dtype, each page written to, at the same places in their pages.

    NumPy's arrays begin at any multiple of 16 bytes, and where two of them begin decides whether a
    vector lies in one cache line or two, and whether a load has to wait for a store to another
    array: the same kernel was seen to take 0.6 to 1.5 times as long in another process.
    """

    def __init__(self, dtype: str = "float32") -> None:
        self.dtype = np.dtype(dtype)
        self.random = np.random.default_rng(20)
        self._placed = 0

    def _place(self, values: np.ndarray) -> np.ndarray:
        """A copy that begins at a cache line, each array's a few lines further into its page."""
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
        """Room for a result; zeros and empty would leave its pages to the first timed call."""
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

    asv times a benchmark that has a `setup` one call at a time. For a call of a microsecond that is
    mostly the clock, so `time_call` makes many and `timer` divides: what is reported is one call.
    """

    repeat = (3, 10, 1.0)  # samples at least, at most, and seconds for them
    timeout = 120.0  # the first run of a commit compiles
    calls = 1

    @abc.abstractmethod
    def setup(self, *params: Any) -> None:
        """Make the arguments, seeded and touched, and `prepare` the call."""

    def prepare(self, function: Callable[..., Any], *args: Any, threads: int | None = None) -> None:
        """Say what is timed, and warm it up: the same types, on the same path."""
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
    """Seconds that so many calls take together."""
    began = clock()
    for _ in range(calls):
        function()
    return clock() - began
