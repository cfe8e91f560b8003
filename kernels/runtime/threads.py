"""Serial or parallel: which caller may open a parallel region, and when it pays.

A kernel has a parallel and a serial twin with the same bits (``kernels/runtime/jit.py``). The
choice is made here, call by call:

- Work too small to pay for a parallel region runs serially.
- A parallel region belongs to one caller at a time: a caller that does not get the lock at once
  runs the serial twin and never waits. Numba's workqueue layer aborts the process when two threads
  enter it together; under OpenMP two concurrent regions compete for the cores.
- A process forked after OpenMP or TBB has started may die or hang in its next region, so it stays
  serial.
- Where Numba cannot start its threads, everything is serial, after one warning.
"""

import math
import os
import threading
import warnings
from pathlib import Path

import numba

from kernels.runtime import checks, interrupts

# A parallel region costs, back to back on two quiet cores, 1.3 to 3 us under omp with spinning
# threads, 55 to 100 us elsewhere. Work of ten times that, on two threads, loses at most a tenth. An
# unknown layer is assumed to be the common one, omp.
_WORTHWHILE_NANOSECONDS = {"omp": 40_000, "tbb": 200_000, "workqueue": 800_000}

_LOST_BY_A_FORK = ("omp", "tbb")

_lock = threading.Lock()
_limit: int | None = None
_known_layer: str | None = None
_failure: str | None = None
_child_of_fork = False
_parent_layer: str | None = None
_limit_set_in_child = False


def _cgroup_cpus() -> int | None:
    """CPUs that the container's quota allows, rounded up; None without a quota.

    Numba respects the affinity mask but not the quota; a thread beyond the quota only waits.
    """
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()[:2]
        return None if quota == "max" else max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        return None


_quota = _cgroup_cpus()


def limit() -> int | None:
    """The last argument of `set_num_threads`; None for no limit."""
    return _limit


def quota() -> int | None:
    """CPUs that the container's quota allows; None without a quota."""
    return _quota


def set_num_threads(n: int | None) -> None:
    """Limit the threads that a kernel may use, in this process.

    Numba's own setting (``numba.set_num_threads``, ``NUMBA_NUM_THREADS``) and the container's CPU
    quota stay in force: the smallest wins. The results have the same bits at any number.

    Parameters
    ----------
    n : int or None
        At least 1. 1 is always serial: no kernel opens a parallel region. None lifts the limit.

    Raises
    ------
    TypeError, ValueError
        ``n`` is not an integer, or below 1.
    """
    global _limit, _limit_set_in_child
    _limit = None if n is None else checks.integer("kernels.set_num_threads", "n", n, 1)
    _limit_set_in_child = _child_of_fork


def get_num_threads() -> int:
    """How many threads a kernel may use now: 1 means that every call is serial."""
    if _must_be_serial():
        return 1
    # `numba.get_num_threads` would start the threads; before that, use the number it will start.
    started = layer() is not None
    counts = [numba.get_num_threads() if started else numba.config.NUMBA_NUM_THREADS]
    counts += [count for count in (_limit, _quota) if count is not None]
    return min(counts)


def layer() -> str | None:
    """Numba's threading layer ("omp", "tbb" or "workqueue"); None until it has been started."""
    try:
        return numba.threading_layer()
    except ValueError:
        return None


def start() -> bool:
    """Start Numba's threads, unless they run; False, after one warning, where that fails."""
    global _failure
    if layer() is None and _failure is None:
        try:
            with interrupts.held():
                numba.get_num_threads()
        except Exception as error:  # an unknown layer, or one whose library is missing or broken
            _failure = " ".join(str(error).split())
            warnings.warn(
                f"kernels: Numba cannot start its threads ({_failure}). Every kernel runs on one "
                "thread, with the same results. NUMBA_THREADING_LAYER=default takes a threading "
                "layer that is there.",
                RuntimeWarning,
                stacklevel=2,
            )
    return _failure is None


def failure() -> str | None:
    """Why Numba's threads could not be started; None if they were, or were not yet tried."""
    return _failure


def _must_be_serial() -> bool:
    """Whether a parallel region is impossible, or could kill or hang this process.

    After a fork, OpenMP is unusable if the parent had started it, and TBB may be, if another thread
    forked or was in a region: 1 of 40 children hung. Another library's OpenMP in the parent cannot
    be detected, so a child also stays serial if Numba's had not started, until the child calls
    `set_num_threads`.
    """
    if _failure is not None:
        return True
    if not _child_of_fork:
        return False
    if _parent_layer is None:
        return not _limit_set_in_child
    return _parent_layer in _LOST_BY_A_FORK


def worthwhile(nanoseconds: float) -> bool:
    """Whether work that takes this long on one thread is worth a parallel region."""
    if _limit == 1 or numba.config.NUMBA_NUM_THREADS == 1:
        return False
    omp = _WORTHWHILE_NANOSECONDS["omp"]
    return nanoseconds >= _WORTHWHILE_NANOSECONDS.get(_known_layer or "omp", omp)


class Region:
    """The right to one parallel region: `enter` without waiting, then `leave`."""

    __slots__ = ("_numba_threads", "threads")

    def enter(self) -> bool:
        """Take the right; False if another thread has it or only one thread may run."""
        if not _lock.acquire(blocking=False):
            return False
        try:
            allowed = get_num_threads()
            if allowed > 1 and start():
                self.threads = allowed
                self._numba_threads = numba.get_num_threads()
                if allowed != self._numba_threads:
                    numba.set_num_threads(allowed)
                return True
        except BaseException:
            _lock.release()
            raise
        _lock.release()
        return False

    def leave(self) -> None:
        """Release the right, and restore Numba's own setting."""
        global _known_layer
        try:
            if numba.get_num_threads() != self._numba_threads:
                numba.set_num_threads(self._numba_threads)
            if _known_layer is None:
                _known_layer = layer()
        finally:
            _lock.release()


def _after_fork_in_child() -> None:
    """Make a new lock: the old one may be held by a thread that the child does not have."""
    global _lock, _child_of_fork, _limit_set_in_child, _parent_layer
    _lock = threading.Lock()
    _child_of_fork = True
    _limit_set_in_child = False
    _parent_layer = _parent_layer if _parent_layer in _LOST_BY_A_FORK else layer()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
