"""Whether other block sizes would be faster on this machine: each choice beside its neighbours.

    python asv_benchmarks/tune.py                    every choice, on one thread: two minutes
    python asv_benchmarks/tune.py DEPTH CHUNK        some choices
    python asv_benchmarks/tune.py --dtype float64 --seconds 1

The choices are constants of kernels/product/plan.py, by the formulas of block_sizes.py. A product
is compiled once and takes its plan as an argument, so a plan by other constants runs the same code
on the same arrays, in turns with the one that was chosen. For each neighbour of a choice its gain
is printed, the median of paired ratios: over all products whose plan it changes (the geometric
mean), and for the one that gains most. What gains more than --least is measured again, four times
as long, and has the second figure.

A choice that would gain more than 3 % over all products, again and again, belongs into the formulas
or the table EXCEPTIONS. Exit code 1 where there is one.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import geometric_mean, median

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    for library in ("OPENBLAS", "MKL", "OMP", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = "1"

import numpy as np

from asv_benchmarks.benchmarks.common import calls_per_sample, seconds_of
from asv_benchmarks.products import Shape, operands
from kernels.intrinsics import allocate, free, local_number, pointer
from kernels.product import plan as choices
from kernels.product.block_sizes import CACHES
from kernels.product.loops import no_operation, one_block, operands_at
from kernels.product.microkernel import ROWS, Epilogue
from kernels.product.plan import Plan
from kernels.runtime.jit import Kernel, interpreted

SHAPES = (
    *(Shape(n, n, n) for n in (256, 512, 1024)),
    Shape(256, 784, 512),
    *(Shape(784, 128, n, transpose_a=True) for n in (64, 128, 512)),
    *(Shape(1024, batch, 1024, transpose_a=True) for batch in (64, 512)),
    *(Shape(batch, 1024, 1024, transpose_b=turned) for batch in (128, 512) for turned in (0, 1)),
    *(Shape(256, 512, 512, transpose_b=turned) for turned in (False, True)),
    *(Shape(512, batch, 512, transpose_a=True) for batch in (32, 256)),
    *(Shape(batch, 784, columns) for batch in (32, 128) for columns in (64, 128, 256)),
    *(Shape(300, 300, 100), Shape(128, 1000, 600), Shape(600, 128, 1000, transpose_a=True)),
)
"""Products of layers and squares, whose sizes are powers of two and others."""

NEIGHBOURS = {
    **dict.fromkeys(("DEPTH", "LARGE_B"), (1 / 2, 3 / 4, 3 / 2, 2)),
    **dict.fromkeys(("CHUNK", "LONG_CHUNK", "DIRECT_CHUNK"), (1 / 2, 3 / 4, 3 / 2, 2)),
    **dict.fromkeys(("PACK_ROWS", "PACK_NEAR_ROWS", "FAR_PAGES"), (1 / 2, 3 / 2, 2)),
    **dict.fromkeys(("FAR_STEP", "FAR_STEP_OF_A", "WIDE_STEP"), (1 / 2, 3 / 2, 2)),
    **dict.fromkeys(("_LEVEL_1", "_LEVEL_2"), (1 / 2, 2 / 3, 3 / 2, 2)),
}
"""Each constant, and by what it is multiplied. Those of the caches stand for the rules on what a
cache holds, which have no other number."""
IN_ROWS = ("CHUNK", "LONG_CHUNK", "DIRECT_CHUNK")
GOAL = 0.03


def planned_product(  # noqa: PLR0913, PLR0917 - a compiled function gets each number by itself
    a, b, rows, columns, strip, depth, chunk, panels, skinny, turned, a_bytes, b_bytes,
    partial_bytes, gradient_bytes, size, flags, out,
):  # fmt: skip
    """A product by a given plan, whose fields are the numbers between ``b`` and ``flags``."""
    given = Plan(
        rows, columns, strip, depth, chunk, panels, skinny, turned, a_bytes, b_bytes,
        partial_bytes, gradient_bytes, size,
    )  # fmt: skip
    at = pointer(out)
    plain = Epilogue(flags, at, no_operation(at, local_number(0.0)))
    whole = operands_at(out.shape, a.shape, pointer(a), pointer(b), at, plain)
    memory = allocate(size)
    for block in range(rows * columns):
        one_block(block, given, memory, whole)
    free(memory)


FIELDS = ", ".join(f"{name} int64" for name in (*Plan._fields[:-1], "size", "flags"))
planned = Kernel(
    planned_product, f"a (e, f), b (g, h), {FIELDS} -> out (m, n)", None, ("block_product",)
).serial


def plan_by(shape: Shape, dtype: str, **other: int) -> Plan:
    """The plan of a product on one thread, by the constants as they are but for some."""
    before = {name: getattr(choices, name) for name in other}
    try:
        for name, value in other.items():
            setattr(choices, name, value)
        m, k, n, transpose_a, transpose_b = shape
        strides = m if transpose_a else 1, k if transpose_b else 1
        flags, size = transpose_a | transpose_b << 1, np.dtype(dtype).itemsize
        return Plan(*map(int, interpreted(choices.plan_of)((m, n, k), *strides, flags, 0, size, 1)))
    finally:
        for name, value in before.items():
            setattr(choices, name, value)


def neighbours(name: str) -> Iterator[int]:
    """The values to try instead of the one chosen."""
    chosen = getattr(choices, name)
    for times in NEIGHBOURS[name]:
        value = round(chosen * times)
        if name in IN_ROWS:
            value = max(ROWS, value // ROWS * ROWS)
        if value != chosen:
            yield value


def speeds(sides: list[Callable[[], object]], seconds: float) -> list[float]:
    """Each side's speed relative to the first: medians over turns, forth and back."""
    calls = [calls_per_sample(side, 0.003) for side in sides]
    turns: list[list[float]] = []
    end = time.perf_counter() + seconds * len(sides)
    while len(turns) < 9 or time.perf_counter() < end:
        took = [0.0] * len(sides)
        for i in range(len(sides))[:: 1 if len(turns) % 2 else -1]:
            took[i] = seconds_of(calls[i], sides[i]) / calls[i]
        turns.append(took)
    return [median(took[0] / took[i] for took in turns) for i in range(len(sides))]


def gains(names: list[str], dtype: str, seconds: float, least: float) -> dict:
    """By choice and value, the speed of each product whose plan it changes."""
    found: dict[tuple[str, int], dict[Shape, float]] = {}
    for shape in SHAPES:
        a, b, out, _ = operands(shape, dtype)
        flags = shape.transpose_a | shape.transpose_b << 1
        chosen = plan_by(shape, dtype)
        tried = {
            (name, value): plan_by(shape, dtype, **{name: value})
            for name in names
            for value in neighbours(name)
        }
        plans = list(dict.fromkeys([chosen, *tried.values()]))
        sides = [partial(planned, a, b, *each, flags, out) for each in plans]
        first = speeds(sides, seconds)
        again = [i for i, speed in enumerate(first) if i and speed > 1 + least]
        if again:
            second = speeds([sides[i] for i in (0, *again)], 4 * seconds)
            for i, speed in zip(again, second[1:], strict=True):
                first[i] = speed
        for choice, plan in tried.items():
            if plan != chosen:
                found.setdefault(choice, {})[shape] = first[plans.index(plan)]
        most = max(first) - 1
        print(f"  {most:6.1%} at most, of {len(plans) - 1} other plans: {shape}", flush=True)
    return found


def main() -> int:
    """Print the tables; 1 where a choice would gain more than the goal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("choices", nargs="*", default=list(NEIGHBOURS), metavar="choice")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--seconds", type=float, default=0.3, help="for each plan of a product")
    parser.add_argument("--least", type=float, default=0.02)
    arguments = parser.parse_args()
    unknown = set(arguments.choices) - set(NEIGHBOURS)
    if unknown:
        parser.error(f"choices are {', '.join(NEIGHBOURS)}, not {', '.join(sorted(unknown))}")
    print(f"{CACHES}\n\nwhat the best other plan would gain, product by product")
    found = gains(arguments.choices, arguments.dtype, arguments.seconds, arguments.least)
    print(f"\n{'choice':>16} {'is':>8} {'instead':>8} {'gain':>7} {'products':>9}   most")
    most = 0.0
    for (name, value), of in found.items():
        gain = geometric_mean(of.values()) - 1
        most = max(most, gain)
        best = max(of, key=lambda shape: of[shape])
        print(
            f"{name:>16} {getattr(choices, name):8} {value:8} {gain:7.1%} {len(of):9}   "
            f"{of[best] - 1:.1%} at {best}"
        )
    print(f"\nthe best other choice would gain {most:.1%}; the goal is {GOAL:.0%} at most")
    return int(most > GOAL)


if __name__ == "__main__":
    sys.exit(main())
