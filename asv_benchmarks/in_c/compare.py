"""How far is `Sequential.fit` from the same training step written by hand in C?

    python asv_benchmarks/in_c/compare.py                   all cases, for this machine's CPU
    python asv_benchmarks/in_c/compare.py --avx2            both sides without AVX-512
    python asv_benchmarks/in_c/compare.py 64-32-10,32       a network and its batch
    python asv_benchmarks/in_c/compare.py --pairs 31

step.c is a program for one shape: no other layer, loss, optimizer or batch, and no promise of bits.
The machine's C compiler (CC, or cc) makes it. Both sides train whole shuffled epochs from the same
weights, each in a process with one thread, in turns. Below 1, C is faster: the ratio is C's time
over numba-layers', the median of the pairs with the least and the most. First, both have to agree
on the loss after three epochs in the same order, to a thousandth.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from asv_benchmarks.answering import Answering  # noqa: E402
from asv_benchmarks.in_c.program import FLAGS, Program, compile_for, compiler  # noqa: E402

CASES = ("64-32-10,32", "784-128-10,32", "784-128-10,128")
EPOCH_BYTES = 2 << 20
"""Of the data, so that they fit a cache of a few megabytes, as in `python -m layers bench`."""
TURN_SECONDS = 0.1
TOLERANCE = 1e-3
EPOCHS = 3


def case_of(name: str):
    """The case of `layers.bench` with these widths and batch."""
    from layers.bench.cases import Case

    network, batch = name.split(",")
    widths = tuple(map(int, network.split("-")))
    batches = max(8, EPOCH_BYTES // (4 * widths[0] * int(batch)))
    return Case(name, "step", widths, int(batch), batches)


# --- the processes --------------------------------------------------------------------------------


class InC:
    """The side of step.c."""

    def __init__(self, case, library: Path) -> None:
        from layers.bench import cases

        given = *cases.data(case), cases.weights(case), cases.LEARNING_RATE
        self._program = Program(library, *given)
        self.reset, self.epochs = self._program.reset, self._program.epochs


class Ours:
    """The side of `Sequential.fit`."""

    def __init__(self, case, _: Path) -> None:
        from layers.bench.libraries.ours import Ours

        self._side, self._batch = Ours(case), case.batch
        self.reset = self._side.reset

    def epochs(self, count: int, shuffle: bool = True) -> float:
        side = self._side
        history = side.model.fit(
            side.x, side.y, epochs=count, batch_size=self._batch, shuffle=shuffle
        )
        return float(history.last()["loss"])


def answer(side: str, name: str, library: str) -> None:
    """Say the loss after a few epochs, then the seconds of a step at each line of the input."""
    case = case_of(name)
    program = {"c": InC, "ours": Ours}[side](case, Path(library))
    program.reset()
    print(program.epochs(EPOCHS, shuffle=False), flush=True)
    epochs, seconds = 1, 0.0
    while seconds < TURN_SECONDS / 2:
        epochs *= 2
        seconds = timed(program, epochs)
    for _ in sys.stdin:
        print(timed(program, epochs) / epochs / case.batches, flush=True)


def timed(program, epochs: int) -> float:
    program.reset()
    program.epochs(1)
    began = time.perf_counter()
    program.epochs(epochs)
    return time.perf_counter() - began


class Side(Answering):
    """A process of its own."""

    def __init__(self, side: str, name: str, library: Path, flags: str) -> None:
        super().__init__([__file__, "--worker", side, name, str(library)], environment(flags))

    def turn(self) -> float:
        """Seconds of a step."""
        return float(self.ask())


def environment(flags: str) -> dict[str, str]:
    """One thread; for AVX2, Numba too is kept from what the CPU has beyond it."""
    libraries = ("OMP", "OPENBLAS", "MKL", "NUMBA")
    variables = {f"{library}_NUM_THREADS": "1" for library in libraries}
    if flags == "avx2":
        variables |= {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
    return variables


# --- the comparison -------------------------------------------------------------------------------


def compare(name: str, flags: str, pairs: int) -> list[tuple[float, float]]:
    """Seconds of a step by C and by numba-layers, pair by pair."""
    case = case_of(name)
    with tempfile.TemporaryDirectory() as folder:
        library = compile_for(case.widths, case.batch, flags, Path(folder))
        sides = [Side(side, name, library, flags) for side in ("c", "ours")]
        try:
            by_c, ours = (float(side.line()) for side in sides)
            if not abs(by_c - ours) <= TOLERANCE * abs(ours):
                raise SystemExit(f"{name}: the loss is {by_c:.6g} by C and {ours:.6g} by fit")
            times = []
            for number in range(pairs):
                order = (0, 1) if number % 2 == 0 else (1, 0)
                turn = {index: sides[index].turn() for index in order}
                times.append((turn[0], turn[1]))
            return times
        finally:
            for side in sides:
                side.close()


def line_of(name: str, times: list[tuple[float, float]]) -> str:
    ratios = sorted(by_c / ours for by_c, ours in times)
    by_c, ours = (median(side) * 1e6 for side in zip(*times, strict=True))
    network, batch = name.split(",")
    return (
        f"  {network + ', batch ' + batch:24}{by_c:8.2f} µs{ours:10.2f} µs"
        f"{median(ratios):9.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", default=CASES, metavar="WIDTHS,BATCH")
    parser.add_argument("--avx2", action="store_true", help="without AVX-512, on both sides")
    parser.add_argument("--pairs", type=int, default=15, help="turns of each side (default: 15)")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        answer(*arguments.worker)
        return
    if compiler() is None:
        raise SystemExit("no C compiler: install one, or set CC")
    flags = "avx2" if arguments.avx2 else "native"
    print(f"A step by C ({' '.join(FLAGS[flags])}) and by numba-layers, C's time over ours")
    for name in arguments.cases:
        print(line_of(name, compare(name, flags, arguments.pairs)), flush=True)


if __name__ == "__main__":
    main()
