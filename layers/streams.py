"""Standard output and standard error that may be missing, closed, full or short of letters."""

import contextlib
import io
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm


class Notes:
    """Standard error, for a progress bar: what cannot be written there is lost and no error."""

    def __init__(self) -> None:
        self._stream = sys.stderr  # None where there is none, as under pythonw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what can be written: a closed stream raises ValueError, None has no method."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._stream.flush()


class Nowhere(io.TextIOBase):
    """In the place of a stream that is missing or closed."""

    def write(self, text: str) -> int:
        """Take any text."""
        return len(text)


def progress_bar(**options: Any) -> Any:
    """A bar of tqdm, a notebook's or on standard error; no work ends because none can be shown."""
    if _in_notebook():
        with warnings.catch_warnings():  # of widgets that are not installed: the bar is text then
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm as automatic
        return automatic(file=sys.stdout, delay=1, **options)
    # The width is asked of the terminal: by itself tqdm does so only where it knows the stream.
    return tqdm(file=Notes(), dynamic_ncols=True, **options)


def announce_compiling() -> None:
    """Have the first compilation of the process noted."""
    from kernels.runtime import cache  # not before `layers` has looked whose package it is

    cache.before_compiling = note_of_compiling


def note_of_compiling() -> None:
    """Say on a terminal or in a notebook why nothing moves for a while."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        notebook = _in_notebook()  # it shows what comes on standard error in red
        if notebook or sys.stderr.isatty():
            print(
                "numba-layers: compiling kernels for this CPU, once; this takes some seconds",
                file=sys.stdout if notebook else sys.stderr,
                flush=True,
            )


def _in_notebook() -> bool:
    return "ipykernel.zmqshell" in sys.modules


_lock = threading.RLock()  # a signal's handler may save a model, and warn
_inside = 0
"""How many blocks of `usable` run now, in all threads."""
_as_before = contextlib.ExitStack()
"""Restores the streams that the first of them found."""


@contextlib.contextmanager
def usable() -> Iterator[None]:
    """For the length of a command, both streams take any text.

    A stream that is missing or closed takes it nowhere (`print` would send what is for a missing
    standard error to standard output); a letter that the encoding lacks is written as an escape.
    Several threads may be inside: the first changes the streams, and the last restores them.
    """
    global _inside
    _occupy_descriptors()
    with _lock:
        if _inside == 0:
            _as_before.enter_context(_changed_streams())
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _as_before.close()


@contextlib.contextmanager
def _changed_streams() -> Iterator[None]:
    before = sys.stdout, sys.stderr
    with _escapes(sys.stdout) as out, _escapes(sys.stderr) as err:
        sys.stdout, sys.stderr = out, err
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


@contextlib.contextmanager
def _escapes(stream: Any) -> Iterator[Any]:
    """The stream, or what stands in for it; within, it escapes what it cannot encode."""
    if stream is None or getattr(stream, "closed", False):
        yield Nowhere()
    elif not hasattr(stream, "reconfigure"):  # not Python's own, but a notebook's, say
        yield stream
    else:
        before = stream.errors
        stream.reconfigure(errors="backslashreplace")
        try:
            yield stream
        finally:
            with contextlib.suppress(OSError, ValueError):  # it may have been closed, or be full
                stream.reconfigure(errors=before)


def _occupy_descriptors() -> None:
    """Keep numbers 0 to 2 from files opened later: libraries write their complaints to 2."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
