"""One side in a process of its own: a request a line, an answer a line.

Run as ``python -m layers.bench.answering SIDE THREADS``, in the environment that `processes` makes.
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
"""About as long as a turn lasts: long beside the clock, and short beside the noise of a machine,
so that the sides' turns in one round meet the same weather."""
_TOO_LONG = 4
_PR_SET_PDEATHSIG = 1


class Worker:
    """What the process has ready between two requests.

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
        self._warms_up = False  # not where a pass is so long that its beginning does not count

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do one of ``start``, ``prepare`` and ``time``."""
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
        """Build, check, and find out how many passes make a turn."""
        assert self._type is not None
        self._side = None  # the last case's memory, before the next one's is taken
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
        """Seconds of a step, an epoch or a prediction."""
        assert self._side is not None
        case = self._side.case
        if self._warms_up:
            self._side.reset()
            self._side.run(1)
        seconds, number = self._run()
        units = self._passes * (case.batches if case.kind == "step" else 1)
        if seconds > _TOO_LONG * _SECONDS:  # others came, so that fewer passes fill a turn
            self._passes = max(1, int(self._passes * _SECONDS / seconds))
        return {"seconds": seconds / units, "number": number}

    def _run(self) -> tuple[float, float]:
        assert self._side is not None
        self._side.reset()
        began = time.perf_counter()
        number = self._side.run(self._passes)
        return time.perf_counter() - began, number


def main() -> None:
    """Answer until there are no more requests."""
    name, threads = sys.argv[1], int(sys.argv[2])
    # A library may print what it likes, but not among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who ends this process
    warnings.simplefilter("ignore")  # scikit-learn's: that one epoch is too few
    if sys.platform == "linux":
        # This process is stopped most of the time: if its parent is killed, nobody would wake it.
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
