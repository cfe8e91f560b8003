"""From three loops to the product that this package has, rung by rung, in GFLOP/s on one thread.

    python asv_benchmarks/ladder.py            every rung, at n = 960
    python asv_benchmarks/ladder.py 1920       at another multiple of 48
    python asv_benchmarks/ladder.py 960 packed prefetched

docs/matmul.md explains what each rung adds. Each is complete and runs on its own; from `vector` on
they use kernels/intrinsics/, without the edges that kernels/product/loops.py handles.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    for library in ("OPENBLAS", "MKL", "OMP", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = "1"

import numba
import numpy as np

import kernels
from asv_benchmarks.benchmarks.common import Data, calls_per_sample, seconds_of
from kernels.intrinsics import (
    TileShape,
    ahead,
    lanes_of,
    load_tile,
    pointer,
    prefetch_tile,
    rank_one_update,
    row_offsets,
    store_tile,
    tile_of_zeros,
)
from kernels.product.microkernel import Strided
from kernels.product.packing import pack
from kernels.product.tile_sizes import TILE

ROWS, VECTORS, BYTES = TILE.rows, TILE.vectors, TILE.vector_bytes
SHAPE = TileShape(ROWS, VECTORS)
DEPTH, CHUNK = 480, 96
compiled = numba.njit(nogil=True, error_model="numpy")


@compiled
def naive(a, b, c):
    """The formula, by element. b is read down its columns: a cache line for one number."""
    m, n, k = c.shape[0], c.shape[1], a.shape[1]
    for i in range(m):
        for j in range(n):
            total = a.dtype.type(0)
            for p in range(k):
                total += a[i, p] * b[p, j]
            c[i, j] = total


@compiled
def rows(a, b, c):
    """k outside j: rows of b and c are contiguous, and LLVM vectorises."""
    m, n, k = c.shape[0], c.shape[1], a.shape[1]
    c[:] = 0
    for i in range(m):
        for p in range(k):
            for j in range(n):
                c[i, j] += a[i, p] * b[p, j]


@compiled
def tiled(a, b, c):
    """`rows` tile by tile, so that data is still in the caches when read again."""
    m, n, k = c.shape[0], c.shape[1], a.shape[1]
    c[:] = 0
    for p in range(0, k, 96):
        for j in range(0, n, 480):
            for i in range(m):
                part = c[i, j : j + 480]
                for q in range(p, min(k, p + 96)):
                    factor, row = a[i, q], b[q, j : j + 480]
                    for x in range(part.size):
                        part[x] += factor * row[x]


@compiled
def vector(a, b, c):
    """A tile of c stays in registers while k runs; a and b are read in place."""
    m, n, k = c.shape[0], c.shape[1], a.shape[1]
    strip = VECTORS * lanes_of(pointer(c), BYTES)
    for j in range(0, n, strip):
        for i in range(0, m, ROWS):
            tile = tile_of_zeros(SHAPE, pointer(c), BYTES)
            rows = row_offsets(tile, k)
            for p in range(k):
                left, right = ahead(pointer(a), i * k + p), ahead(pointer(b), p * n + j)
                tile = rank_one_update(tile, left, rows, right, None)
            store_tile(tile, ahead(pointer(c), i * n + j), n, None)


@compiled
def packed(a, b, c):
    """DEPTH terms at a time, from packed copies: contiguous runs."""
    _packed(a, b, c, False)


@compiled
def prefetched(a, b, c):
    """The next tile of c is prefetched while this one is computed."""
    _packed(a, b, c, True)


@compiled
def _packed(a, b, c, prefetches):
    m, n, k = c.shape[0], c.shape[1], a.shape[1]
    strip = VECTORS * lanes_of(pointer(c), BYTES)
    panels_a, panels_b = np.empty((CHUNK, DEPTH), c.dtype), np.empty((DEPTH, n), c.dtype)
    for p in range(0, k, DEPTH):
        depth = min(DEPTH, k - p)
        for j in range(0, n, strip):
            source = Strided(ahead(pointer(b), p * n + j), 1, n)
            pack(source, strip, depth, strip, ahead(pointer(panels_b), j * depth))
        for i in range(0, m, CHUNK):
            chunk = min(CHUNK, m - i)
            for r in range(0, chunk, ROWS):
                source = Strided(ahead(pointer(a), (i + r) * k + p), k, 1)
                pack(source, ROWS, depth, ROWS, ahead(pointer(panels_a), r * depth))
            for j in range(0, n, strip):
                for r in range(0, chunk, ROWS):
                    here = ahead(pointer(c), (i + r) * n + j)
                    tile = tile_of_zeros(SHAPE, here, BYTES)
                    if p:
                        tile = load_tile(tile, here, n, None)
                    if prefetches:
                        prefetch_tile(tile, ahead(here, ROWS * n), n)
                    left = ahead(pointer(panels_a), r * depth)
                    right = ahead(pointer(panels_b), j * depth)
                    rows = row_offsets(tile, 1)
                    for _ in range(depth):
                        tile = rank_one_update(tile, left, rows, right, None)
                        left, right = ahead(left, ROWS), ahead(right, strip)
                    store_tile(tile, here, n, None)


def package(a, b, c):
    """kernels.matmul: all of this, for any shape."""
    kernels.matmul(a, b, c)


def blas(a, b, c):
    """NumPy's, for comparison."""
    np.dot(a, b, out=c)


RUNGS = (naive, rows, tiled, vector, packed, prefetched, package, blas)


def fused(n: int) -> list[tuple[str, Callable[[], None]]]:
    """A layer with its bias and ReLU: three passes, and one."""
    a, b, c = operands(n)
    biases, z = np.ones((1, n), np.float32), np.empty_like(c)

    def apart():
        kernels.matmul(a, b, z)
        np.add(z, biases, out=z)
        kernels.relu_forward(z, c)

    return [
        ("product, bias, ReLU, one after the other", apart),
        ("the same in one pass", lambda: kernels.dense_relu_forward(a, b, biases, c)),
    ]


def operands(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    data = Data()
    return data.numbers(n, n), data.numbers(n, n), data.output(n, n)


def main() -> None:
    names = [rung.__name__ for rung in RUNGS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("n", nargs="?", type=int, default=960)
    parser.add_argument("rungs", nargs="*", default=names, metavar="rung")
    arguments = parser.parse_args()
    n = arguments.n
    if n <= 0 or n % 48 or set(arguments.rungs) - set(names):
        parser.error(f"n must be a multiple of 48, and rungs among {', '.join(names)}")
    a, b, c = operands(n)
    expected = a.astype(np.float64) @ b
    calls: list[tuple[str, Callable[[], None]]] = []
    for rung in RUNGS:
        if rung.__name__ in arguments.rungs:
            rung(a, b, c)
            np.testing.assert_allclose(c, expected, rtol=1e-3, atol=1e-3)
            about = (rung.__doc__ or "").partition("\n")[0]
            calls.append((f"{rung.__name__:<12}{about}", lambda rung=rung: rung(a, b, c)))
    if set(arguments.rungs) == set(names):
        calls += fused(n)
    counts = [calls_per_sample(call, 0.02) for _, call in calls]
    samples = [
        [seconds_of(count, call) / count for count, (_, call) in zip(counts, calls, strict=True)]
        for _ in range(5)
    ]
    print(f"{n} x {n} x {n}, float32, one thread")
    for (name, _), times in zip(calls, zip(*samples, strict=True), strict=True):
        print(f"{2 * n**3 / median(times) / 1e9:8.1f} GFLOP/s  {name}")


if __name__ == "__main__":
    main()
