"""The product size by size: whether one is a cliff, much slower than its neighbours.

    python asv_benchmarks/sweep.py                      448 to 1088 in steps of 32, squares
    python asv_benchmarks/sweep.py --rows 256           256 x size x size
    python asv_benchmarks/sweep.py --threads 2 --dtypes float64 --transposes N,N T,N
    python asv_benchmarks/sweep.py --beside main        and another commit, in turns

Sizes, dtypes, transposes and numbers of threads are all combined. All sizes are timed in turn, for
many rounds. For each size the medians of its rounds are printed: its speed, and the speed as a
share of its two neighbours' mean in the same round, in which slow phases of the machine cancel. The
clock is the CPU time of all threads, which sleep while they wait, so other processes do not count.
With --beside, the last column is the other commit's time over ours: above 1, ours is faster.

Exit code 1 where a size has less than --least of its neighbours' mean.
"""

import argparse
import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

from answering import Answering
from benchmarks.common import Data, seconds_of
from sides import ROOT
from verdict import tree_of

TRANSPOSES = ("N,N", "T,N", "N,T", "T,T")
TURN_SECONDS = 0.004


class Case(NamedTuple):
    """The parameters of one sweep over sizes."""

    dtype: str
    transposes: str
    threads: int

    def __str__(self) -> str:
        threads = "one thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.dtype}, {self.transposes.replace(',', ' . ')}, {threads}"


def answer_requests() -> None:
    """Time the product of each request line; answer with the seconds per call."""
    import kernels

    for line in sys.stdin:
        m, n, (dtype, transposes, threads) = json.loads(line)
        transpose_a, transpose_b = (each == "T" for each in transposes.split(","))
        data = Data(dtype)
        a = data.output(n, m) if transpose_a else data.output(m, n)
        call = partial(kernels.matmul, a, data.output(n, n), data.output(m, n))
        call = partial(call, transpose_a, transpose_b)
        kernels.set_num_threads(threads)
        call()
        calls = max(1, round(TURN_SECONDS / seconds_of(1, call)))
        print(seconds_of(calls, call, time.process_time) / calls / threads, flush=True)


class Worker(Answering):
    """A process that runs one tree."""

    def __init__(self, tree: Path, threads: int) -> None:
        path = os.pathsep.join(map(str, (tree, ROOT / "asv_benchmarks")))
        settings = {"OMP_WAIT_POLICY": "passive", "NUMBA_NUM_THREADS": str(threads)}
        settings |= {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
        super().__init__([__file__, "--worker"], settings)

    def seconds(self, rows: int, size: int, case: Case) -> float:
        """Seconds of one call."""
        return float(self.ask(json.dumps((rows, size, case))))


class Row(NamedTuple):
    """The result of a size: GFLOP/s, share of its neighbours' mean, the other's time over ours."""

    size: int
    speed: float
    share: float
    ratio: float | None


def rows_of(
    case: Case, sizes: list[int], rows: int | None, rounds: int, workers: list[Worker]
) -> Iterator[Row]:
    """Sweep over sizes; of two workers the first is the other commit's."""
    speeds: dict[int, list[float]] = {size: [] for size in sizes}
    ratios: dict[int, list[float]] = {size: [] for size in sizes}
    for number in range(rounds):
        for size in sizes:
            m = rows or size
            turns = workers if number % 2 else workers[::-1]
            took = {worker: worker.seconds(m, size, case) for worker in turns}
            speeds[size].append(2e-9 * m * size * size / took[workers[-1]])
            ratios[size].append(took[workers[0]] / took[workers[-1]])
    for place, size in enumerate(sizes):
        beside = [speeds[other] for other in sizes[max(place - 1, 0) : place + 2] if other != size]
        shares = [each / fmean(near) for each, *near in zip(speeds[size], *beside, strict=True)]
        ratio = median(ratios[size]) if len(workers) > 1 else None
        yield Row(size, median(speeds[size]), median(shares), ratio)


def main() -> int:
    """Print the tables; 1 where there is a cliff, 2 on bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--first", type=int, default=448)
    parser.add_argument("--last", type=int, default=1088)
    parser.add_argument("--step", type=int, default=32)
    parser.add_argument("--rows", type=int, help="of A and C; else as many as columns")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    parser.add_argument("--transposes", nargs="+", default=TRANSPOSES, choices=TRANSPOSES)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--least", type=float, default=0.9)
    parser.add_argument("--beside", metavar="COMMIT", help="a commit, or . for the working tree")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        answer_requests()
        return 0
    sizes = list(range(arguments.first, arguments.last + 1, max(arguments.step, 1)))
    if len(sizes) < 2 or arguments.rounds < 1 or min(*arguments.threads, sizes[0]) < 1:
        parser.error("expected two sizes at least, and rounds and threads of 1 or more")
    found: list[tuple[float, str]] = []
    with contextlib.ExitStack() as stack:
        trees = [ROOT]
        if arguments.beside:
            trees.insert(0, stack.enter_context(tree_of(arguments.beside)))
        workers = [Worker(tree, max(arguments.threads)) for tree in trees]
        for worker in workers:
            stack.callback(worker.close)
        for case in itertools.starmap(
            Case, itertools.product(arguments.dtypes, arguments.transposes, arguments.threads)
        ):
            print(f"\n{case}\n{'size':>6} {'GFLOP/s':>8} {'of neighbours':>14}", flush=True)
            for row in rows_of(case, sizes, arguments.rows, arguments.rounds, workers):
                ratio = "" if row.ratio is None else f" {row.ratio:8.2f}"
                print(f"{row.size:6} {row.speed:8.1f} {row.share:14.2f}{ratio}", flush=True)
                found.append((row.share, f"{row.size}: {case}"))
    share, where = min(found)
    below = sum(each < arguments.least for each, _ in found)
    print(f"\nleast of neighbours {share:.2f}, at {where}; below {arguments.least}: {below}")
    return 1 if below else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        print(f"sweep: {error}", file=sys.stderr)
        sys.exit(2)
