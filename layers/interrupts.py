"""A second Ctrl-C ends the process at once."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

_SAME_PRESS = 0.1
"""Seconds: `timeout` and other programs pass on the signal that the terminal has sent as well."""


@contextlib.contextmanager
def second_ends_at_once() -> Iterator[None]:
    """Within it the first Ctrl-C raises KeyboardInterrupt, as always, and a second ends with 130.

    Python's own handlers wait for compiled code and for the compiler, so a thread counts: the
    interpreter writes each signal's number to a socket, whatever the main thread is doing.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield  # signals are the main thread's, and a caller may handle or ignore them
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    counting = threading.Thread(target=_count, args=(reader,), daemon=True)
    counting.start()
    before = -1  # none
    try:
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, _only_once())
        yield
    finally:
        try:  # Ctrl-C may come here too
            signal.set_wakeup_fd(before)
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        writer.close()  # the thread reads its end
        counting.join()
        reader.close()


def _only_once() -> Any:
    """A handler that leaves the work after the first signal, such as saving, alone."""
    signals: list[int] = []

    def handle(number: int, _: Any) -> None:
        signals.append(number)
        if len(signals) == 1:
            raise KeyboardInterrupt

    return handle


def _count(reader: socket.socket) -> None:
    first = None
    while numbers := reader.recv(64):
        if signal.SIGINT not in numbers:
            continue
        now = time.monotonic()
        if first is None:
            first = now
        elif now - first > _SAME_PRESS:
            os._exit(130)
