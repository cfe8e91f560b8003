"""Mutants of model files: each is refused, or is the same model; nothing hangs or takes memory.

    python -m tests.fuzz_files --mutants 100000

A mutant has to raise ValueError, or give a model with the same parameters, within a second and ten
times the file's size (and 2 MiB that any load takes). Where it has right checksums, or is an ONNX
file of another program, other parameters may come. A third of the mutants are changed as bytes; a
third too, but members of a .npz archive, whose checksums are put right, and ONNX files that do not
say that they are ours; a third by what they say, with all checksums right (`tests.fuzz_mutants`).

The search is guided: a mutant that made the readers run a line that none before had is changed
further. Each format is read in a process of its own, which a limit of memory and of time ends; the
mutant that it died of is kept.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

import layers
from tests import fuzz_mutants

SECONDS, TIMES, ROOM = 1.0, 10, 2**21
_KILLED_AFTER, _MOST_MEMORY = 20.0, 2**30
_READERS = (
    *(f"{Path(layers.__file__).parent}/{part}" for part in ("files", "exchange", "tables", "data")),
    *(f"{Path(layers.__file__).parent}/{part}" for part in ("schedules", "training", "settings")),
    zipfile.__file__,
)


class Lines:
    """Which lines of the readers have run; a trace function."""

    def __init__(self) -> None:
        self._left: dict[CodeType, set[int]] = {}
        self.found = 0
        """How many lines have run."""

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        """Follow a function that has lines left."""
        code = frame.f_code
        left = self._left.get(code)
        if left is None:
            ours = code.co_filename.startswith(_READERS)
            left = {line for _, _, line in code.co_lines() if line} if ours else set()
            self._left[code] = left
        return self._line if left else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        left = self._left[frame.f_code]
        if event == "line" and frame.f_lineno in left:
            left.remove(frame.f_lineno)
            self.found += 1
        return self._line


class Seed(NamedTuple):
    """A file that mutants are made of, and the only parameters that they may give, if any."""

    data: bytes
    expected: str | None


def made(kind: str, number: int, seed: Seed, by: random.Random) -> Seed:
    """A mutant."""
    try:
        if number % 3 == 1 and kind == "npz":
            return Seed(fuzz_mutants.of_a_member(seed.data, by), seed.expected)
        if number % 3 == 1 and kind == "onnx":
            return Seed(fuzz_mutants.by_another_program(seed.data, by), None)
        if number % 3 == 2:
            return Seed(fuzz_mutants.signed(kind, seed.data, by), None)
    except Exception:  # a mutant of which nothing else can be made any more
        pass
    return Seed(fuzz_mutants.of_bytes(seed.data, by), seed.expected)


def problem(path: Path, mutant: Seed, lines: Lines) -> str | None:
    """What is wrong with how a mutant is read; None if nothing is."""
    path.write_bytes(mutant.data)
    tracemalloc.reset_peak()
    before, began = tracemalloc.get_traced_memory()[0], time.process_time()
    sys.settrace(lines)
    try:
        found = read(path)
    except ValueError:
        found = None
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        sys.settrace(None)
    seconds = time.process_time() - began
    peak = tracemalloc.get_traced_memory()[1] - before
    if seconds > SECONDS:
        return f"{seconds:.1f} s"
    if peak > TIMES * len(mutant.data) + ROOM:
        return f"{peak} bytes for a file of {len(mutant.data)}"
    if mutant.expected is not None and found not in (None, mutant.expected):
        return "other parameters, in silence"
    return None


def read(path: Path) -> str:
    """Load a model, and give callbacks back what it has of them; its fingerprint as loaded."""
    model = layers.load(path)
    found = model.fingerprint()
    if model._stopped is not None and model.n_in < 100:
        x = np.ones((4, model.n_in))
        y = np.zeros((4, model.n_out)) if model.loss.takes == "numbers" else np.zeros(4, int)
        model._stopped.given = {}  # whatever the rows
        callbacks = [make() for make in fuzz_mutants.CALLBACKS]
        try:
            model.fit(x, y, 0, callbacks=callbacks)
        except TypeError as error:
            if not str(error).startswith(tuple(f"{type(each).__name__}: " for each in callbacks)):
                raise
    return found


def run(kind: str, count: int, seed: int, folder: Path, guarded: bool = False) -> list[str]:
    """Mutants of one format; what is wrong with each that is badly read."""
    by, lines, wrong = random.Random(seed), Lines(), list[str]()
    path = folder / f"net.{kind}"
    tracemalloc.start()
    with layers.backend("numpy"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of states that no callback takes up
        seeds = []
        for data in fuzz_mutants.files(kind, folder):
            path.write_bytes(data)
            seeds.append(Seed(data, layers.load(path).fingerprint()))
            assert problem(path, seeds[-1], lines) is None
        whole = len(seeds)
        most = 4 * max(len(each.data) for each in seeds)
        for number in range(count):
            # Every other one is a mutant of a whole file.
            of = seeds[:whole] if by.randrange(2) else seeds
            mutant, known = made(kind, number, by.choice(of), by), lines.found
            if guarded:
                signal.setitimer(signal.ITIMER_PROF, _KILLED_AFTER)
            found = problem(path, mutant, lines)
            if found is not None:
                wrong.append(f"{kind}, mutant {number} of seed {seed}: {found}")
                shutil.copy(path, folder / f"{number}.{kind}")
            elif lines.found > known and len(mutant.data) <= most:
                seeds.append(mutant)
    tracemalloc.stop()
    print(f"{kind}: {count} mutants, {len(wrong)} badly read; {len(seeds) - whole} found new lines")
    return wrong


def run_in_a_child(kind: str, count: int, seed: int, folder: Path) -> bool:
    """The same in a process that may die; whether all was well."""
    child = os.fork()
    if child == 0:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + _MOST_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        try:
            wrong = run(kind, count, seed, folder, guarded=True)
        except BaseException as error:
            wrong = [f"{type(error).__name__}: {error}"]
        print("\n".join(wrong[:50]), flush=True)
        os._exit(1 if wrong else 0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        print(f"{kind}: died of {name}, by {folder / f'net.{kind}'}", flush=True)
    return status == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="+", default=["npz", "safetensors", "onnx"])
    parser.add_argument("--folder", type=Path, help="where mutants that are badly read are kept")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    kinds = arguments.formats
    well = [run_in_a_child(kind, arguments.mutants, arguments.seed, folder) for kind in kinds]
    if not all(well):
        print(f"What was badly read lies in {folder}")
    elif arguments.folder is None:
        shutil.rmtree(folder)
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
