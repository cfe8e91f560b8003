"""A worker process, which runs one side: one request per line, one answer per line.

Run as ``python -m layers.bench.worker SIDE THREADS``, in the environment that `processes` makes.
"""

import ctypes
import json
import math
import os
import signal
import sys
import time
import warnings
from typing import Any

from layers.bench import cases
from layers.bench.libraries import load
from layers.bench.libraries.base import Side

_SECONDS = 0.05
"""Approximate length of a timing: long compared with the clock's resolution, and short compared
with changes of the machine's load, so that all sides of a round run under the same load."""
_TOO_LONG = 4
_PR_SET_PDEATHSIG = 1


class Worker:
    """The state of the process between requests.

    Parameters
    ----------
    name : str
        Of the side.
    threads : int
    """

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._threads = threads
        self._type: type[Side] | None = None
        self._side: Side | None = None
        self._passes = 1
        self._warms_up = False  # not if a pass is so long that its start does not matter

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do ``start``, ``prepare`` or ``time``."""
        match request["do"]:
            case "start":
                return self._start()
            case "prepare":
                return self._prepare(request["case"], request["rows"])
            case _:
                return self._time()

    def _start(self) -> dict[str, Any]:
        self._type = load(self._name)
        return {"versions": self._type.start(self._threads)}

    def _prepare(self, name: str, rows: int) -> dict[str, Any]:
        """Build, check, and find how many passes fill a timing."""
        assert self._type is not None
        self._side = None  # frees the last case's memory first
        self._side = self._type(cases.with_rows(cases.CASES[name], rows))
        numbers = self._side.numbers()
        self._passes = 1
        self._run()  # compiles, starts threads
        seconds, _ = self._run()
        self._warms_up = seconds < _TOO_LONG * _SECONDS
        while seconds < _SECONDS / 4:
            self._passes *= 4
            seconds, _ = self._run()
        self._passes = max(1, math.ceil(self._passes * _SECONDS / seconds))
        return {"numbers": numbers}

    def _time(self) -> dict[str, Any]:
        """Time a step, an epoch or a prediction, in seconds."""
        assert self._side is not None
        case = self._side.case
        if self._warms_up:
            self._side.reset()
            self._side.run(1)
        seconds, number = self._run()
        units = self._passes * (case.batches if case.kind == "step" else 1)
        if seconds > _TOO_LONG * _SECONDS:  # the machine became slower
            self._passes = max(1, int(self._passes * _SECONDS / seconds))
        return {"seconds": seconds / units, "number": number}

    def _run(self) -> tuple[float, float]:
        assert self._side is not None
        self._side.reset()
        began = time.perf_counter()
        number = self._side.run(self._passes)
        return time.perf_counter() - began, number


def main() -> None:
    """Answer requests until the input ends."""
    name, threads = sys.argv[1], int(sys.argv[2])
    # Libraries may print, but not into the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    warnings.simplefilter("ignore")  # scikit-learn's, about a single epoch
    if sys.platform == "linux":
        # This process is usually stopped: if its parent is killed, it would never wake.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    worker = Worker(name, threads)
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except (Exception, SystemExit) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
