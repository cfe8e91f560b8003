"""The matrix product compared with NumPy's BLAS and with a core's peak: a table.

    python asv_benchmarks/products.py                  every group of products, on one thread
    python asv_benchmarks/products.py layers float64   some groups
    python asv_benchmarks/products.py --threads 2      on two threads

A ratio is NumPy's time over ours: above 1, ours is faster. It is the median of interleaved pairs of
samples, on one thread in one process. For two threads there are two processes in turn, since one
library's waiting threads spin on the cores that the other needs.
"""

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import geometric_mean, median
from typing import NamedTuple

ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    if not any(argument.startswith(("--threads", "--worker")) for argument in sys.argv):
        os.environ.update(ONE_THREAD)

import numpy as np  # noqa: E402

import kernels  # noqa: E402
from asv_benchmarks.benchmarks.common import Data, calls_per_sample, seconds_of  # noqa: E402
from kernels.product.matmul import product, small_product  # noqa: E402
from kernels.product.peak import limit  # noqa: E402
from kernels.runtime.jit import DONE  # noqa: E402

BATCHES = (1, 32, 256, 2048)
NETWORKS = ((784, 128, 10), (784, 512, 512, 10))


class Shape(NamedTuple):
    """Rows, terms and columns of a product, and which operands are stored transposed."""

    m: int
    k: int
    n: int
    transpose_a: bool = False
    transpose_b: bool = False

    def __str__(self) -> str:
        a = f"({self.k} x {self.m})T" if self.transpose_a else f"{self.m} x {self.k}"
        b = f"({self.n} x {self.k})T" if self.transpose_b else f"{self.k} x {self.n}"
        return f"{a} . {b}"

    @property
    def operations(self) -> int:
        return 2 * self.m * self.k * self.n


class Group(NamedTuple):
    """Shapes that are summarised together, and the calls for each."""

    title: str
    shapes: list[Shape]
    sides: Callable[..., tuple[Callable[[], object], Callable[[], object]]]
    dtype: str = "float32"


def squares(*sizes: int) -> list[Shape]:
    return [Shape(n, n, n) for n in sizes]


def layer_products() -> Iterator[Shape]:
    """Forward and both backward products of every layer, with all storage orders."""
    seen = set()
    for widths in NETWORKS:
        for batch in BATCHES:
            for n_in, n_out in itertools.pairwise(widths):
                for m, k, n in ((batch, n_in, n_out), (n_in, batch, n_out), (batch, n_out, n_in)):
                    for a, b in ((False, False), (True, False), (False, True), (True, True)):
                        seen.add(Shape(m, k, n, a, b))
    yield from sorted(seen)


def backwards() -> list[Shape]:
    layers = dict.fromkeys(pair for widths in NETWORKS for pair in itertools.pairwise(widths))
    return [Shape(batch, n_in, n_out) for batch in BATCHES for n_in, n_out in layers]


def skinny_products() -> list[Shape]:
    """A layer of 1 to 24 units beside one of 128: forward, its gradients, and by the transpose."""
    shapes = []
    for width, batch in itertools.product((1, 2, 3, 5, 8, 10, 16, 24), BATCHES):
        shapes += [
            Shape(batch, 128, width),  # the last layer forward
            Shape(128, batch, width, transpose_a=True),  # the gradient of its weights
            Shape(batch, width, 128, transpose_b=True),  # of its inputs
            Shape(batch, width, 128),  # the first layer forward
            Shape(width, batch, 128, transpose_a=True),  # the gradient of its weights
            Shape(batch, 128, width, transpose_b=True),
        ]
    return list(dict.fromkeys(shapes))


def operands(shape: Shape, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A, B and two outputs, ours and NumPy's, aligned to cache lines as a layer's are."""
    data, (m, k, n, transpose_a, transpose_b) = Data(dtype), shape
    a = data.numbers(k, m) if transpose_a else data.numbers(m, k)
    b = data.numbers(n, k) if transpose_b else data.numbers(k, n)
    return a, b, data.output(m, n), data.output(m, n)


def numpy_product(shape: Shape, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Callable:
    left, right = a.T if shape.transpose_a else a, b.T if shape.transpose_b else b
    return partial(np.dot, left, right, out)


def bare(shape: Shape, dtype: str):
    """The compiled function that the public call would run."""
    a, b, out, theirs = operands(shape, dtype)
    product.compile(dtype, parallel=False)
    flags = shape.transpose_a | shape.transpose_b << 1
    ours = partial(product.serial.dispatcher, a, b, out, out, 0.0, 0, flags, 1)
    if small_product.serial(a, b, out, flags) == DONE:
        ours = partial(getattr(small_product.serial, dtype), a, b, out, flags)
    return ours, numpy_product(shape, a, b, theirs)


def public(shape: Shape, dtype: str):
    """The public call, with its checks."""
    a, b, out, theirs = operands(shape, dtype)
    return partial(kernels.matmul, a, b, out), numpy_product(shape, a, b, theirs)


def backward(shape: Shape, dtype: str):
    """A layer's gradients, with the mask of the preceding ReLU; in NumPy four calls."""
    batch, n_in, n_out = shape[:3]
    data = Data(dtype)
    x, dz = data.numbers(batch, n_in), data.numbers(batch, n_out)
    weights, dweights = data.numbers(n_in, n_out), data.output(n_in, n_out)
    dbiases, dx, mask = data.output(1, n_out), data.output(batch, n_in), x > 0

    def ours():
        kernels.dense_backward_parameters(x, dz, dweights, dbiases)
        kernels.dense_relu_backward_inputs(dz, weights, x, dx)

    def numpy():
        np.dot(x.T, dz, out=dweights)
        np.sum(dz, axis=0, keepdims=True, out=dbiases)
        np.dot(dz, weights.T, out=dx)
        np.multiply(dx, mask, out=dx)

    return ours, numpy


GROUPS = {
    "small": Group("small squares, the compiled function", squares(8, 16, 32, 64), bare),
    "public": Group("small squares, the public call", squares(8, 16, 32, 64), public),
    "middle": Group("middle squares", squares(96, 128, 256, 384, 512), bare),
    "large": Group("large squares", squares(768, 1024, 2048, 4096), bare),
    "layers": Group("layers of 784-128-10 and 784-512-512-10", list(layer_products()), bare),
    "skinny": Group("layers of 1 to 24 units", skinny_products(), bare),
    "backward": Group("backward of a layer: dW, db, dx, mask", backwards(), backward),
    "float64": Group("squares in float64", squares(64, 128, 256, 512, 1024, 2048), bare, "float64"),
}


def rows_of(group: Group, seconds: float) -> Iterator[tuple[Shape, float, float, float]]:
    """(shape, ratio, our time, share of the peak), on one thread."""
    full, operations = limit(group.dtype)
    for shape in group.shapes:
        ours, numpy = group.sides(shape, group.dtype)
        sides = (ours, numpy, full)
        calls = [calls_per_sample(side, 0.003) for side in sides]
        pairs = []
        took = 0.0
        while len(pairs) < 7 or took < seconds:
            pair = [seconds_of(n, side) / n for n, side in zip(calls, sides, strict=True)]
            pairs.append(pair)
            took += sum(n * each for n, each in zip(calls, pair, strict=True))
        shares = [shape.operations / mine * at_most / operations for mine, _, at_most in pairs]
        yield (
            shape,
            median(theirs / mine for mine, theirs, _ in pairs),
            median(mine for mine, _, _ in pairs),
            median(shares),
        )


def print_group(group: Group, seconds: float) -> None:
    print(f"\n{group.title}\n  {'beside NumPy':>12} {'microseconds':>12} {'of the limit':>12}")
    ratios = []
    for shape, ratio, took, share in rows_of(group, seconds):
        ratios.append(ratio)
        of_limit = f"{share:12.0%}" if group.sides is not backward else f"{'':12}"
        print(f"  {ratio:12.2f} {took * 1e6:12.1f} {of_limit}  {shape}", flush=True)
    print(f"  geometric mean {geometric_mean(ratios):.2f}, least {min(ratios):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("groups", nargs="*", default=list(GROUPS), metavar="group")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each product")
    parser.add_argument("--worker", choices=["ours", "numpy"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = set(arguments.groups) - set(GROUPS)
    if unknown:
        parser.error(f"groups are {', '.join(GROUPS)}, not {', '.join(sorted(unknown))}")
    if arguments.worker:
        work(arguments.worker)
    elif arguments.threads > 1:
        take_turns(arguments.threads, arguments.seconds)
    else:
        for name in arguments.groups:
            print_group(GROUPS[name], arguments.seconds)


def work(side: str) -> None:
    """Time one side's product of each requested size; answer with the seconds per call."""
    for line in sys.stdin:
        shape = Shape(*(int(line),) * 3)
        a, b, out, theirs = operands(shape, "float32")
        ours = partial(kernels.matmul.bare, a, b, out, False, False, False)
        call = ours if side == "ours" else numpy_product(shape, a, b, theirs)
        time.sleep(0.1)  # until the other side's threads have stopped spinning
        calls = calls_per_sample(call, 0.05)
        print(seconds_of(calls, call) / calls, flush=True)


def take_turns(threads: int, seconds: float) -> None:
    """Large squares on several threads, by two processes in turn."""
    environment = os.environ | {name: str(threads) for name in ONE_THREAD}
    sides = {
        side: subprocess.Popen(
            [sys.executable, __file__, "--worker", side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for side in ("ours", "numpy")
    }

    def ask(side: str, n: int) -> float:
        process = sides[side]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{n}\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    print(f"\nsquares on {threads} threads\n  {'beside NumPy':>12} {'microseconds':>12}")
    ratios = []
    for n in (256, 512, 1024, 2048, 4096):
        ask("ours", n), ask("numpy", n)
        pairs = [(ask("ours", n), ask("numpy", n)) for _ in range(max(3, round(seconds * 20)))]
        ratios.append(median(theirs / mine for mine, theirs in pairs))
        took = median(mine for mine, _ in pairs)
        print(f"  {ratios[-1]:12.2f} {took * 1e6:12.1f}  {Shape(n, n, n)}", flush=True)
    print(f"  geometric mean {geometric_mean(ratios):.2f}, least {min(ratios):.2f}")
    for process in sides.values():
        process.terminate()


if __name__ == "__main__":
    main()
