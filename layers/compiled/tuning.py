"""How much work a compiled call gets, and how many threads, from the times of earlier calls.

The results do not depend on these times.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from kernels.runtime import threads

R = TypeVar("R")

CALL_SECONDS = 0.03
"""Approximate length of a call: Ctrl-C, progress and callbacks wait for its end."""

_SMALL = 2**19
"""Multiply-adds per unit (10 us) below which several threads do not pay."""
_SHORT_SECONDS = 1e-3
"""Remaining work below which no other number of threads is tried."""
_TRIAL_PART = 0.125
"""Length of a trial, as a fraction of a call's."""
_TRIAL_EVERY, _MOST_EVERY = 40, 160
"""Time between trials of another number of threads, as a multiple of a trial's: the load of other
programs changes. A trial that was clearly slower doubles it, since the threads that it wakes wait
for work on cores that are in use (`asv_benchmarks/neighbour.py` measures what is left)."""
_CLEARLY, _MOST_SECONDS = 1.25, 0.6
"""How much slower that is, and the time up to which it may be doubled."""


class Pace:
    """The pace of one kind of work, which consists of units of about equal length.

    Parameters
    ----------
    multiply_adds : int
        Per unit.
    """

    def __init__(self, multiply_adds: int) -> None:
        self._small = multiply_adds < _SMALL
        self._started: set[int] = set()
        # A unit's last two times by the number of threads; the shorter counts.
        self._times: dict[int, tuple[float, float]] = {}
        self._since_trial = 0.0
        self._every = _TRIAL_EVERY
        self._tries_more = True

    @property
    def unit_seconds(self) -> float:
        """Approximate time of a unit; 0 before it is known."""
        return min((min(times) for times in list(self._times.values())), default=0.0)

    def run(self, most: int, call: Callable[[int, int], R]) -> R:
        """Do some units of work, at most ``most``: ``call(units, threads)``."""
        best = self._best()
        count = self._threads(most, best)
        units = min(most, self._units(count, 1.0 if count == best else _TRIAL_PART))
        began = time.perf_counter()
        result = call(units, count)
        seconds = time.perf_counter() - began
        self._since_trial = self._since_trial + seconds if count == best else 0.0
        if count in self._started:
            unit = max(seconds / units, 1e-9)
            self._times[count] = (unit, self._times.get(count, (unit, unit))[0])
            if count != best:
                has_lost = unit > _CLEARLY * min(self._times[best])
                self._every = min(2 * self._every, _MOST_EVERY) if has_lost else _TRIAL_EVERY
        else:  # the first call also loads machine code, and starts the threads
            self._started.add(count)
        return result

    def _best(self) -> int:
        """The fastest known and allowed number of threads."""
        allowed = 1 if self._small else threads.get_num_threads()
        # A copy: another thread may predict with the same model and add to it.
        known = [(min(times), count) for count, times in list(self._times.items())]
        return min((pair for pair in known if pair[1] <= allowed), default=(0.0, 1))[1]

    def _units(self, count: int, part: float) -> int:
        times = self._times.get(count) or self._times.get(1)
        if times is None or count not in self._started:
            return 1
        return max(1, int(part * CALL_SECONDS / min(times)))

    def _threads(self, most: int, best: int) -> int:
        if self._small or best not in self._times:
            return best
        if most * min(self._times[best]) < _SHORT_SECONDS:
            return best
        allowed = threads.get_num_threads()
        more, fewer = min(2 * best, allowed), max(1, best // 2)
        if more not in self._times:
            return more
        other = more if best == 1 or (self._tries_more and more != best) else fewer
        cost = self._units(other, _TRIAL_PART) * min(self._times.get(other, (0.0, 0.0)))
        wait = max(_TRIAL_EVERY * cost, min(self._every * cost, _MOST_SECONDS))
        if other == best or self._since_trial < wait:
            return best
        self._tries_more = not self._tries_more
        return other
