"""Ctrl-C held back while something is half done that nobody could take up again.

Python raises KeyboardInterrupt between any two instructions of its main thread, so also after Numba
has entered one half of a compiled function into its tables. `held` puts it off to the end of the
``with``. A signal mask would not do: the system then gives the signal to another thread, and Python
runs the handler in the main thread all the same.
"""

import os
import signal
import threading
from types import FrameType
from typing import Any


class held:
    """A ``with`` in which Ctrl-C waits for the end; re-entrant, and nothing in other threads.

    The handler that was there, Python's or another, is called afterwards, as if the signal had come
    then.
    """

    def __init__(self) -> None:
        self._previous: Any = None
        self._frames: list[FrameType | None] = []

    def __enter__(self) -> None:
        global _holder
        is_main = threading.current_thread() is threading.main_thread()
        previous = signal.getsignal(signal.SIGINT) if is_main and _holder is None else None
        if previous is None or previous == signal.SIG_IGN:  # None: it is not Python's to put back
            return
        try:
            signal.signal(signal.SIGINT, self._note)
        except ValueError:  # not the main interpreter, which gets no signals either
            return
        # From here on, nothing interrupts these lines.
        self._previous, _holder = previous, self

    def __exit__(self, *_: Any) -> None:
        global _holder
        if _holder is self:
            _holder = None
            if signal.getsignal(signal.SIGINT) == self._note:  # nobody has put another in its place
                signal.signal(signal.SIGINT, self._previous)
            self.let_through()

    def let_through(self) -> None:
        """Call the handler that was there, if the signal has come."""
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
"""The outermost one, of the main thread."""


def let_through() -> None:
    """Raise what has been held back so far, from a place where that is as good as any other error.

    For a wait inside of `held` that may be long.
    """
    if _holder is not None and threading.current_thread() is threading.main_thread():
        _holder.let_through()


def _after_fork_in_child() -> None:
    """Another thread has forked while the main thread, which is not here, held Ctrl-C back."""
    global _holder
    if _holder is not None:
        previous, _holder = _holder._previous, None
        signal.signal(signal.SIGINT, previous)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
