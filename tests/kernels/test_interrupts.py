"""Ctrl-C is postponed while a kernel is made ready; after any interruption the next call works."""

import os
import signal
import sys
import threading
from typing import Any

import llvmlite.binding
import numpy as np
import pytest
from numba import prange, types
from numba.core.dispatcher import Dispatcher

from kernels.intrinsics import pointer
from kernels.runtime import cache, families, interrupts, jit
from tests.conftest import SECONDS
from tests.kernels.operations import call

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX")


@pytest.fixture(autouse=True)
def python_s_own_handler():
    """A shell may have turned the signal off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press() -> None:
    """What Ctrl-C does."""
    signal.raise_signal(signal.SIGINT)


# Held back


def test_it_comes_at_the_end_and_once():
    done = []

    def body():
        with interrupts.held():
            press()
            press()
            done.append("all")

    with pytest.raises(KeyboardInterrupt):
        body()
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with interrupts.held():
        pass  # what came before is not kept
    with pytest.raises(KeyboardInterrupt):
        press()


def test_the_outermost_one_counts():
    done = []

    def body():
        with interrupts.held():
            with interrupts.held():
                press()
            done.append("all")

    with pytest.raises(KeyboardInterrupt):
        body()
    assert done == ["all"]


def test_an_error_of_the_body_is_told_too():
    def body():
        with interrupts.held():
            press()
            raise ValueError("of the body")

    with pytest.raises(KeyboardInterrupt) as caught:
        body()
    assert isinstance(caught.value.__context__, ValueError)


def test_where_waiting_may_be_long_it_is_let_through():
    interrupts.let_through()  # nothing has come, and nothing is held
    with interrupts.held():
        interrupts.let_through()
        press()
        with pytest.raises(KeyboardInterrupt):
            interrupts.let_through()
        interrupts.let_through()


def test_a_handler_of_the_user_s_own_is_called_once():
    came = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame is not None)))
    with interrupts.held():
        press()
        assert came == []
    assert came == [(signal.SIGINT, True)]


def test_a_handler_that_is_put_in_meanwhile_stays():
    """As by a handler that lets the second Ctrl-C end the program at once."""

    def first(*_):
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    signal.signal(signal.SIGINT, first)
    with interrupts.held():
        press()
        interrupts.let_through()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.default_int_handler])
def test_what_is_not_the_main_thread_s_to_hold_is_left_alone(handler):
    seen = []

    def other():
        with interrupts.held():
            seen.append(signal.getsignal(signal.SIGINT))
            interrupts.let_through()

    signal.signal(signal.SIGINT, handler)
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == [handler]
    if handler == signal.SIG_IGN:
        with interrupts.held():
            press()
            assert signal.getsignal(signal.SIGINT) == handler


@posix
def test_without_a_handler_the_process_ends_as_it_would(python):
    python("""
import os, signal
from kernels.runtime import interrupts

pid = os.fork()
if pid == 0:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with interrupts.held():
        signal.raise_signal(signal.SIGINT)
        os.write(1, b"went on")
    os._exit(0)
assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGINT
""")


@posix
def test_a_child_that_another_thread_forks_has_the_handler_that_was_there(python):
    python("""
import os, signal, threading
from kernels.runtime import interrupts

signal.signal(signal.SIGINT, signal.default_int_handler)
status = []

def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0 if signal.getsignal(signal.SIGINT) is signal.default_int_handler else 1)
    status.append(os.waitpid(pid, 0)[1])

with interrupts.held():
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
assert status == [0], status
""")


# Made ready, or not


def _doubles(x, out):
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] + x[i, j]


def _doubles_in_parallel(x, out):
    for i in prange(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] + x[i, j]


class _Operation:
    """An operation in a kernel's stead."""

    parallel = None

    def __init__(self, function: Any) -> None:
        self.operation = families.Operation(families.ELEMENTWISE, function)

    def serial(self, x: np.ndarray, out: np.ndarray) -> None:
        call(self.operation, x.dtype, x, x, out, *x.shape, x.shape[1], np.zeros(0))


def _kernel(kind: str) -> Any:
    """One that nobody has compiled, nor what it calls."""
    contract = "x (m, n) -> out (m, n)"
    if kind == "operation":

        def doubles(x, dy, out, rows, columns, stride, numbers):
            for i in range(rows * columns):
                out[i] = x[i] + x[i]

        return _Operation(doubles)
    if kind == "short":
        return jit.Kernel(_doubles, contract, None, is_short=True)
    if kind == "parallel":
        return jit.Kernel(_doubles_in_parallel, contract, lambda *_: 0.0)
    if kind == "serial":
        return jit.Kernel(_doubles, contract, None)

    def doubles_at(at, to, size):
        for i in range(size):
            to[i] = at[i] + at[i]

    apart = jit.shared(lambda real: (types.CPointer(real), types.CPointer(real), types.int64))
    doubles_at = apart(doubles_at)

    def calls(x, out):
        doubles_at(pointer(x), pointer(out), x.size)

    return jit.Kernel(calls, contract, None, calls=("doubles_at",))


def _check(kernel: Any) -> None:
    x = np.arange(6.0).reshape(2, 3)
    for twin in (kernel.serial, kernel.parallel):
        if twin is not None:
            out = np.zeros_like(x)
            twin(x, out)
            assert (out == x + x).all()


each_kind = pytest.mark.parametrize("kind", ["serial", "short", "parallel", "shared", "operation"])


@pytest.mark.compiled
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@each_kind
def test_an_error_at_any_line_leaves_what_the_next_call_takes_up(kind, error):
    kernel = _kernel(kind)
    cut, seen = 0, 0

    def trace(frame, event, _):
        nonlocal seen
        code = frame.f_code
        if code.co_filename not in {jit.__file__, families.__file__}:
            return None
        if code.co_name not in {"make_ready", "_take", "_ready"}:
            return None
        if event == "line":
            seen += 1
            if seen == cut:
                raise error
        return trace

    before = sys.gettrace()
    for cut in range(1, 100):  # noqa: B007 - `trace` reads it
        seen = 0
        sys.settrace(trace)
        try:
            _check(kernel)
            break
        except error:
            pass
        finally:
            sys.settrace(before)
    assert 10 < cut < 99
    _check(kernel)


@pytest.mark.compiled
@pytest.mark.parametrize("place", [(Dispatcher, "compile"), (llvmlite.binding, "add_symbol")])
@each_kind
def test_ctrl_c_in_the_middle_of_a_step_comes_after_it(monkeypatch, kind, place):
    owner, name = place
    original = getattr(owner, name)
    pressed = []

    def interrupted(*args):
        result = original(*args)
        if args[0] == "numba_layers.doubles_at.float64" or isinstance(args[0], Dispatcher):
            pressed.append(args[0])
            press()
        return result

    kernel = _kernel(kind)
    for _ in range(9):
        monkeypatch.setattr(owner, name, interrupted)
        pressed.clear()
        try:
            _check(kernel)
            assert pressed == []
            break
        except KeyboardInterrupt:
            assert pressed != []
    assert pressed == []  # each step was done, though it was interrupted
    monkeypatch.undo()
    _check(kernel)


@posix
@pytest.mark.compiled
def test_random_interrupts_of_a_first_call(python):
    """Forked children that load their kernels; each is interrupted once, and calls again."""
    python(f"""
import hashlib, os, random, signal, time
import numpy as np
import kernels

x = np.arange(40_000, dtype=np.float32).reshape(200, 200)

def work():
    out = np.empty_like(x)
    kernels.softmax_forward(x, out)
    kernels.matmul(x, out.copy(), out)
    return hashlib.sha256(out.tobytes()).hexdigest().encode()

def child(write):
    signal.alarm({SECONDS})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for turn in range(2):
        try:
            if turn == 0:
                os.write(write, b".")  # from here on the interrupt may come
            fingerprint = work()
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # it may come too late, too
            break
        except KeyboardInterrupt:
            pass
    os.write(write, fingerprint)
    os._exit(0)

def trial(seconds):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        child(write)
    os.close(write)
    os.read(read, 1)
    began = time.perf_counter()
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGINT)
    printed = os.read(read, 100)
    took = time.perf_counter() - began
    os.close(read)
    return os.waitpid(pid, 0)[1], printed, took

status, right, took = trial(None)
assert status == 0 and len(right) == 64
took = min(took, trial(None)[2])
rng = random.Random(0)
for _ in range(6):
    seconds = rng.uniform(0, 0.9 * took)
    status, printed, _ = trial(seconds)
    assert (status, printed) == (0, right), seconds
""")


@posix
@pytest.mark.compiled
def test_ctrl_c_ends_the_wait_for_another_process(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "_try_lock", lambda _: bool(press()))
    monkeypatch.setattr(cache, "_folder", lambda: tmp_path)
    with pytest.raises(KeyboardInterrupt), cache.filling():
        cache._acquire()
    assert cache._state.lock is None
    assert cache._state.depth == 0
