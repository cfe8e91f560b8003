"""The sides' processes: each has its threads, and is stopped (SIGSTOP) between requests."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

from layers.bench.machine import one_cpu_per_core

_ANSWER_SECONDS = 300.0
"""Timeout of a request: torch.compile takes half a minute on a slow machine."""
_SETTLE_SECONDS = 0.1
_CAN_STOP = hasattr(signal, "SIGSTOP")


class SideFailed(Exception):
    """A side raised an error, gave no answer, or ended."""


class Process:
    """One side with a number of threads.

    Parameters
    ----------
    side : str
    threads : int
    """

    def __init__(self, side: str, threads: int) -> None:
        self._errors = tempfile.TemporaryFile(  # noqa: SIM115 - closed by `kill`
            "w+", encoding="utf-8", errors="replace"
        )
        with _on_cpus(one_cpu_per_core()[:threads]):
            self._process = subprocess.Popen(
                # -P: the current folder may contain a user's file `layers.py`.
                [sys.executable, "-P", "-m", "layers.bench.worker", side, str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=os.environ | _environment(threads),
            )

    @property
    def alive(self) -> bool:
        """Whether it can take another request."""
        return self._process.poll() is None

    def ask(self, **request: Any) -> dict[str, Any]:
        """Wake the process, send a request, receive the answer, and stop the process again.

        While stopped, its threads cannot spin on a core that the next side needs, as OpenMP's do
        for a while.

        Raises
        ------
        SideFailed
            With the reason in one line.
        """
        self.send(**request)
        return self.receive()

    def send(self, **request: Any) -> None:
        """Wake the process and send a request."""
        stdin = self._process.stdin
        assert stdin is not None
        if _CAN_STOP:
            self._process.send_signal(signal.SIGCONT)
        else:
            time.sleep(_SETTLE_SECONDS)
        with contextlib.suppress(BrokenPipeError):  # `receive` finds the reason
            stdin.write(f"{json.dumps(request)}\n")
            stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Wait for the answer, then stop the process."""
        stdout = self._process.stdout
        assert stdout is not None
        late = threading.Event()
        watch = threading.Timer(_ANSWER_SECONDS, self._give_up, (late,))
        watch.start()
        line = stdout.readline()
        watch.cancel()
        if not line:
            raise SideFailed(self._end(late.is_set()))
        if _CAN_STOP:
            self._process.send_signal(signal.SIGSTOP)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SideFailed(" ".join(answer["error"].split()))
        return answer

    def _give_up(self, late: threading.Event) -> None:
        late.set()
        self._process.kill()

    def _end(self, late: bool) -> str:
        """The reason for a missing answer."""
        code = self._process.wait()
        if late:
            return f"no answer within {_ANSWER_SECONDS:.0f} s"
        self._errors.seek(0)
        last = self._errors.read().strip().rpartition("\n")[2]
        how = f"ended by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"{how}: {' '.join(last.split())}" if last else how

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):  # unsent output
                if stream is not None:
                    stream.close()


def _environment(threads: int) -> dict[str, str]:
    """The environment variables that libraries read at import."""
    variables = dict.fromkeys(
        (
            *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
            *("VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS", "NPROC"),  # the last is JAX's
        ),
        str(threads),
    )
    variables["MKL_THREADING_LAYER"] = "INTEL"  # its default: SEQUENTIAL would be one thread
    variables["JAX_PLATFORMS"] = "cpu"
    variables["CUDA_VISIBLE_DEVICES"] = ""
    if threads == 1:
        flags = os.environ.get("XLA_FLAGS", "")
        variables["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    # The child finds the same packages in the same order, installed or not.
    variables["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return variables


@contextlib.contextmanager
def _on_cpus(cpus: list[int]) -> Iterator[None]:
    """Restrict children started meanwhile to these CPUs, where the system supports it.

    JAX takes its number of threads from them; the other sides use the same CPUs for fairness.
    """
    if not hasattr(os, "sched_setaffinity") or not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
