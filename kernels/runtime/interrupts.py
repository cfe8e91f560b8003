"""Ctrl-C held back during work that cannot be resumed.

Python raises KeyboardInterrupt between any two instructions of the main thread, so also while Numba
enters a compiled function into its tables. `held` postpones it to the end of the ``with``. A signal
mask would not help: the system would give the signal to another thread, and Python would still run
the handler in the main thread.
"""

import os
import signal
import threading
from types import FrameType
from typing import Any


class held:
    """A ``with`` that postpones Ctrl-C to its end; re-entrant, without effect in other threads.

    The previous handler, Python's or another, is called at the end.
    """

    def __init__(self) -> None:
        self._previous: Any = None
        self._frames: list[FrameType | None] = []

    def __enter__(self) -> None:
        global _holder
        is_main = threading.current_thread() is threading.main_thread()
        previous = signal.getsignal(signal.SIGINT) if is_main and _holder is None else None
        if previous is None or previous == signal.SIG_IGN:  # None: Python could not restore it
            return
        try:
            signal.signal(signal.SIGINT, self._note)
        except ValueError:  # a subinterpreter, which gets no signals
            return
        # From here on, nothing interrupts these lines.
        self._previous, _holder = previous, self

    def __exit__(self, *_: Any) -> None:
        global _holder
        if _holder is self:
            _holder = None
            if signal.getsignal(signal.SIGINT) == self._note:  # it was not replaced
                signal.signal(signal.SIGINT, self._previous)
            self.let_through()

    def let_through(self) -> None:
        """Call the previous handler, if the signal has come."""
        if not self._frames:
            return
        frame = self._frames[-1]
        self._frames.clear()
        if self._previous == signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)  # ends the process
        else:
            self._previous(signal.SIGINT, frame)

    def _note(self, _: int, frame: FrameType | None) -> None:
        self._frames.append(frame)


_holder: held | None = None
"""The outermost `held` of the main thread."""


def let_through() -> None:
    """Raise a postponed Ctrl-C now, during a long wait inside `held` that may be interrupted."""
    if _holder is not None and threading.current_thread() is threading.main_thread():
        _holder.let_through()


def _after_fork_in_child() -> None:
    """Restore the handler, if another thread forked while the main thread held Ctrl-C back."""
    global _holder
    if _holder is not None:
        previous, _holder = _holder._previous, None
        signal.signal(signal.SIGINT, previous)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
