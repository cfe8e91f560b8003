"""One side of a comparison: a process that times benchmarks of one tree.

One JSON request and one JSON answer per line; the process runs this file as its program.
"""

import importlib
import json
import mmap
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from answering import Answering

ROOT = Path(__file__).resolve().parents[1]
TURN_SECONDS = 0.004


def answer_requests() -> None:
    """Prepare and time benchmarks of the tree that this process imports."""
    kernels = importlib.import_module("kernels")
    function, args, calls = None, (), 1
    for line in sys.stdin:
        request = json.loads(line)
        if "benchmark" in request:
            module, _, name = request["benchmark"].partition(".")
            try:
                made = getattr(importlib.import_module(f"benchmarks.{module}"), name)()
                made.setup(*request["params"])
            except Exception as error:  # an older commit may lack the benchmarked function
                print(json.dumps(f"{type(error).__name__}: {error}"), flush=True)
                continue
            kernels.set_num_threads(1)
            function, args = made.function, made.args
            function(*args)
            took, calls = 0.0, 1
            while took < TURN_SECONDS / 2:
                calls = calls * 2 if took < TURN_SECONDS / 8 else int(calls * TURN_SECONDS / took)
                took = _turn(function, args, calls)
        args = tuple(_elsewhere(value) for value in args)
        function(*args)
        print(json.dumps(_turn(function, args, calls) / calls), flush=True)


def _elsewhere(value: Any) -> Any:
    """A copy of an array in new pages, at the same offset."""
    if not isinstance(value, np.ndarray) or not value.flags.c_contiguous:
        return value
    offset = value.ctypes.data % mmap.PAGESIZE
    memory = mmap.mmap(-1, offset + value.nbytes + mmap.PAGESIZE)
    copied = np.frombuffer(memory, value.dtype, value.size, offset).reshape(value.shape)
    copied[...] = value
    return copied


def _turn(function: Any, args: Any, calls: int) -> float:
    began = time.thread_time()
    for _ in range(calls):
        function(*args)
    return time.thread_time() - began


class Side(Answering):
    """A process that runs one tree."""

    def __init__(self, tree: Path) -> None:
        path = os.pathsep.join(map(str, (tree, ROOT / "asv_benchmarks")))
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
        settings = one | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
        super().__init__([str(Path(__file__).resolve())], settings, f"the process for {tree}")

    def seconds(self, **request: Any) -> float:
        """Seconds of a call; a ValueError where the tree cannot run the benchmark."""
        during = f" at {request.get('benchmark', 'a turn')}"
        answer = json.loads(self.ask(json.dumps(request), during))
        if isinstance(answer, str):
            raise ValueError(answer)
        return float(answer)


if __name__ == "__main__":
    answer_requests()
