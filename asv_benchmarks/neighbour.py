"""Several threads beside a busy neighbour: what a process that spins on one core costs.

    python asv_benchmarks/neighbour.py                  each step of `layers bench`
    python asv_benchmarks/neighbour.py batch32 --rounds 20

One thread, and as many as there are cores, take turns; in each turn nothing else runs, then a
neighbour spins on the last core all the time, then it comes and goes. The first column is the time
of a step on one thread. The others are the median of a round's ratios: the time on several threads
over that on one, which the neighbour leaves alone. Above 1, more threads were slower.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from layers.bench.cases import CASES
from layers.bench.libraries import OURS
from layers.bench.machine import one_cpu_per_core
from layers.bench.processes import Process
from layers.bench.report import duration

COMES_AND_GOES = 0.2
"""Seconds that such a neighbour spins, and then rests."""
TIMINGS = 6
"""Timings, of 0.05 s each, in a turn."""


def spin(cpu: int, rests: float) -> None:
    """Keep a core busy, with or without rests of some seconds."""
    os.sched_setaffinity(0, [cpu])
    while True:
        end = time.perf_counter() + (rests or 1.0)
        while time.perf_counter() < end:
            pass
        time.sleep(rests)


@contextmanager
def neighbour(cpu: int, rests: float) -> Iterator[int]:
    """A spinning process, stopped until it is told to go on: its process id."""
    process = multiprocessing.get_context("spawn").Process(
        target=spin, args=(cpu, rests), daemon=True
    )
    process.start()
    assert process.pid is not None
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield process.pid
    finally:
        process.kill()


def turn(process: Process, beside: int | None) -> float:
    """Seconds of a step, beside a neighbour."""
    if beside is not None:
        os.kill(beside, signal.SIGCONT)
    try:
        return median(float(process.ask(do="time")["seconds"]) for _ in range(TIMINGS))
    finally:
        if beside is not None:
            os.kill(beside, signal.SIGSTOP)


def measure(names: list[str], rounds: int, threads: int) -> None:
    """Print a line for each case."""
    last = one_cpu_per_core()[:threads][-1]
    one, several = Process(OURS, 1), Process(OURS, threads)
    try:
        for process in (one, several):
            process.ask(do="start")
        print(f"{'':36}{'one thread':>12}{f'{threads} threads over one, beside':>36}")
        print(f"{'':48}{'nobody':>12}{'who stays':>12}{'who comes and goes':>20}")
        with neighbour(last, 0.0) as stays, neighbour(last, COMES_AND_GOES) as comes:
            for name in names:
                case = CASES[name]
                for process in (one, several):
                    process.ask(do="prepare", case=name, rows=case.rows)
                seconds: list[float] = []
                ratios: dict[int | None, list[float]] = {None: [], stays: [], comes: []}
                for _ in range(rounds):
                    for beside, each in ratios.items():
                        alone = turn(one, None)
                        seconds.append(alone)
                        each.append(turn(several, beside) / alone)
                first, second, third = (f"{median(each):.2f}" for each in ratios.values())
                print(
                    f"{case.title:36}{duration(median(seconds)):>12}{first:>12}{second:>12}"
                    f"{third:>20}",
                    flush=True,
                )
    finally:
        for process in (one, several):
            process.kill()


def main() -> None:
    """Measure the named cases."""
    steps = [name for name, case in CASES.items() if case.kind == "step"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(steps)}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(one_cpu_per_core()))
    given = parser.parse_args()
    unknown = [name for name in given.cases if name not in steps]
    if unknown:
        parser.error(f"cases: {', '.join(unknown)}, expected some of {', '.join(steps)}")
    if not hasattr(os, "sched_setaffinity") or given.threads < 2:
        parser.error("a neighbour needs Linux, which can keep it on one core, and two cores")
    measure(given.cases or steps, given.rounds, given.threads)


if __name__ == "__main__":
    main()
