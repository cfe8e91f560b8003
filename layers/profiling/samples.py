"""Samples of CPU time: of work that is run for it, and of methods that somebody else calls.

All times are CPU times of the thread: where other programs took turns on the same cores, they were
within a few hundredths of each other, and medians by the clock on the wall off by half.
"""

import time
from collections.abc import Callable
from typing import Any

_SECONDS = 0.002
"""How long a sample of one pass is to last: each call has a cost of its own."""
MOST_CALLS = 2**10
"""Calls of a sample at most, however short they are."""


class Sample:
    """Work that is timed by itself: so many units in one call as take long enough.

    Parameters
    ----------
    run : callable
        Does so many units.
    most : int
        Units at most.
    seconds : float
        What a sample is to take.
    """

    def __init__(self, run: Callable[[int], None], most: int, seconds: float = _SECONDS) -> None:
        self._run, self.units = run, 1
        run(1)  # the first time, kernels are compiled or loaded
        while self.units < most:
            took = self.units * min(self.take(), self.take())
            if took >= seconds:
                break
            more = int(1.1 * self.units * seconds / took)
            self.units = min(most, max(2 * self.units, more))

    def take(self) -> float:
        """Seconds of one unit."""
        began = time.thread_time()
        self._run(self.units)
        return (time.thread_time() - began) / self.units


def repeated(call: Callable[[], object]) -> Callable[[int], None]:
    """What calls so many times."""

    def run(count: int) -> None:
        for _ in range(count):
            call()

    return run


def watched(steps: int, *methods: tuple[object, str]) -> Callable[[], float]:
    """What takes a sample of some methods: seconds a step, where somebody has taken ``steps``."""
    seconds = 0.0

    def watch(method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            nonlocal seconds
            began = time.thread_time()
            result = method(*args, **kwargs)
            seconds += time.thread_time() - began
            return result

        return timed

    def take() -> float:
        nonlocal seconds
        taken, seconds = seconds / steps, 0.0
        return taken

    for owner, name in methods:
        setattr(owner, name, watch(getattr(owner, name)))
    return take
