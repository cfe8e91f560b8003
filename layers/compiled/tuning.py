"""How much work a compiled call gets, and how many threads: by what calls before it took.

Nothing is computed in another way for it, so the results do not depend on what is measured here.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from kernels.runtime import threads

R = TypeVar("R")

CALL_SECONDS = 0.03
"""About as long a call is to last, for Ctrl-C, progress and callbacks have to wait for its end."""

_SMALL = 2**19
"""Multiply-adds of a unit (10 us) below which threads would only wait for each other."""
_SHORT_SECONDS = 1e-3
"""What is left to do below which it is not worth trying another number of threads."""
_TRIAL_PART = 0.125
"""A trial's length, of a call's."""
_TRIAL_EVERY = 40
"""Another number of threads is tried after so many times what that takes: other programs come and
go, and one trial may meet them."""


class Pace:
    """The pace of one kind of work, made of units that take about as long each.

    Parameters
    ----------
    multiply_adds : int
        Of one unit.
    """

    def __init__(self, multiply_adds: int) -> None:
        self._small = multiply_adds < _SMALL
        self._started = {1}
        # A unit's last two times by the number of threads; the shorter counts.
        self._times: dict[int, tuple[float, float]] = {}
        self._since_trial = 0.0
        self._tries_more = True

    @property
    def unit_seconds(self) -> float:
        """About how long one unit takes; 0 before that is known."""
        return min((min(times) for times in list(self._times.values())), default=0.0)

    def run(self, most: int, call: Callable[[int, int], R]) -> R:
        """Do some units of work, at most so many: ``call(units, threads)``."""
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
        else:  # the first time, threads have to be started
            self._started.add(count)
        return result

    def _best(self) -> int:
        """The fastest number of threads that is known and allowed."""
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
        if other == best or self._since_trial < _TRIAL_EVERY * cost:
            return best
        self._tries_more = not self._tries_more
        return other
