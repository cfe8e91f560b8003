"""Standard output and error that are missing, closed, full or lack characters."""

import contextlib
import io
import os
import sys

import numpy as np
import pytest

import layers
from layers import streams

X, Y = np.random.Generator(np.random.PCG64(1)).random((64, 4)), np.arange(64) % 3


class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


BAD = {"missing": lambda: None, "closed": closed, "full": Full}
each_bad = pytest.mark.parametrize("make", BAD.values(), ids=BAD.keys())


@each_bad
@pytest.mark.parametrize("name", ["stderr", "stdout"])
def test_a_fit_with_a_bar_trains_whatever_the_streams_are(make, name, monkeypatch, capsys):
    monkeypatch.setattr(sys, name, make())
    model = layers.Sequential([layers.Dense(4, 3)], seed=0)
    model.fit(X, Y, epochs=2, progress=True)
    assert model.history.epochs == 2


def test_the_bar_is_on_standard_error(capsys):
    with streams.progress_bar(total=3) as bar:
        bar.update(3)
    out, err = capsys.readouterr()
    assert out == ""
    assert "100%" in err


@pytest.mark.parametrize("make", [BAD["missing"], BAD["closed"]], ids=["missing", "closed"])
def test_what_is_for_a_missing_stream_goes_nowhere(make, monkeypatch):
    out, err = io.StringIO(), make()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with streams.usable():
        assert isinstance(sys.stderr, streams.Nowhere)
        print("note", file=sys.stderr, flush=True)
        print("answer")
    assert out.getvalue() == "answer\n"
    assert sys.stderr is err


@pytest.mark.parametrize("errors", ["strict", "surrogateescape", "replace"])
def test_letters_that_the_encoding_lacks_are_escaped(errors, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors=errors)
    monkeypatch.setattr(sys, "stdout", stream)
    with streams.usable():
        print("Blütenblatt \udcff", flush=True)
    assert stream.buffer.getvalue().split() == [rb"Bl\xfctenblatt", rb"\udcff"]
    assert stream.errors == errors


@pytest.mark.parametrize("make", [None, BAD["missing"]], ids=["of few letters", "missing"])
def test_two_threads_at_once_leave_the_streams_as_they_were(make, monkeypatch):
    """The second begins before the first ends, and ends after it."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii") if make is None else make()
    monkeypatch.setattr(sys, "stdout", stream)
    first, second = streams.usable(), streams.usable()
    with contextlib.ExitStack() as until_then:
        until_then.enter_context(first)
        with second:
            until_then.close()
            print("Blütenblatt", flush=True)
    assert sys.stdout is stream
    assert stream is None or stream.errors == "strict"


def test_low_numbers_are_taken():
    """A file opened later never is number 2, to which libraries write their complaints."""
    kept = os.dup(2)
    try:
        os.close(2)
        with streams.usable(), open(os.devnull) as later:
            assert later.fileno() > 2
            os.fstat(2)
            assert os.get_inheritable(2)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
