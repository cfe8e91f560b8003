"""How much work a compiled call gets, and how many threads: by what calls before it took.

Nothing is computed in another way for it, so the results do not depend on what is measured here.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from kernels import threads

R = TypeVar("R")

CALL_SECONDS = 0.03
"""About as long a call is to last, for Ctrl-C, progress and callbacks have to wait for its end."""

_SMALL = 2**19
"""Multiply-adds of a unit (10 us) below which threads would only wait for each other."""
_SHORT_SECONDS = 1e-3
"""What is left to do below which it is not worth trying another number of threads."""
_TRIAL = 16
"""Every so many calls another number of threads is tried: other programs come and go."""


class Pace:
    """The pace of one kind of work, made of units that take about as long each.

    Parameters
    ----------
    multiply_adds : int
        Of one unit.
    """

    def __init__(self, multiply_adds: int) -> None:
        self._small = multiply_adds < _SMALL
        self._seconds: dict[int, float] = {}  # a unit's, by the number of threads
        self._started: set[int] = {1}
        self._calls = 0

    @property
    def unit_seconds(self) -> float:
        """About how long one unit takes; 0 before that is known."""
        return min(list(self._seconds.values()), default=0.0)

    def run(self, most: int, call: Callable[[int, int], R]) -> R:
        """Do some units of work, at most so many: ``call(units, threads)``."""
        count = self._threads(most)
        units = 1
        if count in self._seconds:
            share = 1.0 if count == self._best() else 0.25
            units = max(1, min(most, int(share * CALL_SECONDS / self._seconds[count])))
        began = time.perf_counter()
        result = call(units, count)
        seconds = (time.perf_counter() - began) / units
        self._calls += 1
        if count in self._started:
            self._seconds[count] = max(seconds, 1e-9)
        else:  # the first time, threads have to be started
            self._started.add(count)
        return result

    def _best(self) -> int:
        # A copy: another thread may predict with the same model and add to it.
        known = list(self._seconds.items())
        return min(known, key=lambda item: item[1])[0] if known else 1

    def _threads(self, most: int) -> int:
        best = self._best()
        if self._small or not self._seconds:
            return 1
        allowed = threads.get_num_threads()
        best = min(best, allowed)
        if most * self._seconds.get(best, 0.0) < _SHORT_SECONDS:
            return best
        more = min(2 * best, allowed)
        if more not in self._seconds:
            return more
        if self._calls % _TRIAL == 0:
            fewer = max(1, best // 2)
            return more if self._calls % (2 * _TRIAL) == 0 and more != best else fewer
        return best
