"""Interleaved measurements in one process: ratios, and the growth of a time.

Slow changes of the machine's load affect all parts alike, so they cancel in a ratio or a slope.
"""

import abc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import kernels

from .common import calls_per_sample, seconds_of


class InTurns(abc.ABC):
    """The common base of ratios and exponents."""

    timeout = 300.0  # the first run of a commit compiles
    clock = staticmethod(time.thread_time)
    """The thread's CPU time, which excludes other processes. Work on several threads needs another
    clock."""

    @abc.abstractmethod
    def setup(self, *params: Any) -> None:
        """Make the arguments, seeded and touched, and `prepare` the parts."""

    def seconds(self, calls: int, function: Callable[[], Any]) -> float:
        """Seconds of one call, by the clock of this benchmark."""
        return seconds_of(calls, function, self.clock) / calls


class Ratio(InTurns):
    """Our time over another's: less is better, as asv assumes."""

    unit = "x"
    pairs = 15

    def prepare(
        self, ours: Callable[[], Any], other: Callable[[], Any], threads: int | None = 1
    ) -> None:
        """Set the two calls, and warm both up."""
        kernels.set_num_threads(threads)
        self.sides = [(calls_per_sample(side), side) for side in (ours, other)]

    def ratio(self) -> float:
        """Return the median ratio of a pair of samples."""
        ratios = []
        for _ in range(self.pairs):
            ours, other = (self.seconds(calls, side) for calls, side in self.sides)
            ratios.append(ours / other)
        return round(statistics.median(ratios), 3)


class BesideNumPy(Ratio):
    """Our time over NumPy's, on one thread each; asv.conf.json sets NumPy's BLAS threads."""

    def track_time_over_numpy(self, *_: Any) -> float:
        return self.ratio()


class Growth(InTurns):
    """The exponent e of time = c · size**e, fitted to the shortest times at a few sizes."""

    unit = "exponent"
    rounds = 9

    def prepare(self, call_at: Mapping[int, Callable[[], Any]], threads: int | None = 1) -> None:
        """Set the call at each size, and warm all calls up."""
        kernels.set_num_threads(threads)
        self.samples = {size: (calls_per_sample(call), call) for size, call in call_at.items()}

    def track_exponent(self, *_: Any) -> float:
        shortest = dict.fromkeys(self.samples, math.inf)
        for _ in range(self.rounds):
            for size, sample in self.samples.items():
                shortest[size] = min(shortest[size], self.seconds(*sample))
        return round(exponent(shortest), 3)


def exponent(seconds_at: Mapping[int, float]) -> float:
    """Fit the slope of log time over log size, by least squares."""
    sizes, seconds = list(seconds_at), list(seconds_at.values())
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
