"""Each activation, loss and update beside its NumPy twin and beside the memory, on one thread.

    python asv_benchmarks/entries.py                     # 4096 x 1024, float32: a minute or two
    python asv_benchmarks/entries.py relu adam           # those whose names hold one of the words
    python asv_benchmarks/entries.py --dtype float64

A row: nanoseconds an element, the twin's time over ours, GB/s, and that as a share of what a copy
of as many bytes reaches. Ours, the twin and the copy take turns; each number is a median. An array
counts once where it is read or written, twice where both.
"""

import argparse
import statistics
import time

import numpy as np

import kernels
from kernels import reference
from kernels.runtime.jit import PUBLIC
from layers.comparison.bounds import (
    activations,
    arguments,
    gradients,
    losses_of_labels,
    losses_of_numbers,
    normalization,
    updates,
)
from layers.timing import kernel_threads, one_blas_thread

SUBJECTS = (activations, normalization, losses_of_labels, losses_of_numbers, gradients, updates)
ROWS, COLUMNS = 4096, 1024
SIZES = {"rows": ROWS, "columns": COLUMNS, "batch": ROWS, "n": COLUMNS, "n_classes": COLUMNS}
SIZES |= {"q": ROWS * COLUMNS, "k": 3}
ROUNDS = 7


def seconds(function, *given):
    began = time.perf_counter()
    function(*given)
    return time.perf_counter() - began


def moved(name, given):
    """Bytes that are read and written: outputs of a step are both."""
    total = 0
    for argument in PUBLIC[name].contract.arguments:
        value = given[argument.name]
        if isinstance(value, np.ndarray):
            both = argument.is_output and not argument.name.startswith("out")
            total += value.nbytes * (2 if both else 1)
    return total


def measured(name, sizes, dtype):
    """A row of the table."""
    given = arguments(
        name, SIZES | {k: v for k, v in sizes.items() if k == "s"}, dtype, np.random.default_rng(0)
    )
    size = moved(name, given)
    source = np.ones(size // 2 // np.dtype(dtype).itemsize, dtype)
    target = np.empty_like(source)
    ours, twin, copy = [], [], []
    kernel, reference_twin = getattr(kernels, name).bare, getattr(reference, name)
    with np.errstate(all="ignore"):
        kernel(*given.values())
        for _ in range(ROUNDS):
            ours.append(seconds(kernel, *given.values()))
            twin.append(seconds(reference_twin, *given.values()))
            copy.append(seconds(np.copyto, target, source))
    each = zip(ours, twin, copy, strict=True)
    times, share = zip(*((b / a, c / a) for a, b, c in each), strict=True)
    median = statistics.median
    return (
        median(ours) / (ROWS * COLUMNS) * 1e9,
        median(times),
        size / median(ours) / 1e9,
        median(share),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    asked = parser.parse_args()
    print(f"{'':34}  ns/element  NumPy / ours   GB/s  of a copy")
    gains = []
    with kernel_threads(1), one_blas_thread():
        for subject in SUBJECTS:
            for name, case in subject.CASES.items():
                if asked.words and not any(word in name for word in asked.words):
                    continue
                nanoseconds, times, rate, share = measured(name, case.sizes, asked.dtype)
                gains.append(times)
                print(
                    f"{name:34}  {nanoseconds:10.3f}  {times:12.2f}  {rate:5.1f}  {share:9.2f}",
                    flush=True,
                )
    print(f"\ngeometric mean {statistics.geometric_mean(gains):.2f}, least {min(gains):.2f}")


if __name__ == "__main__":
    main()
