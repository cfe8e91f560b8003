"""Mutants of model files: each is refused, or is the same model; nothing hangs or takes memory.

    python -m tests.fuzz_files --mutants 100000

Each format's file is changed at random: bytes, runs of bytes, a cut, a piece moved, a length made
large; in every other .npz file, a member is changed and the archive's checksums are put right. A
mutant has to raise ValueError, or give a model with the same parameters, within a second and ten
times the file's size (and 2 MiB that any load takes). Every other ONNX file is one of another
program, without our checksum, so there other numbers may come.
"""

import argparse
import importlib
import io
import random
import sys
import tempfile
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np

import layers

SECONDS, TIMES, ROOM = 1.0, 10, 2**21


def model(kind: str) -> layers.Sequential:
    """A small one where each array is a member of an archive, which takes longest to read."""
    stack: list[layers.Layer] = [layers.BatchNorm(6), layers.Dense(6, 3)]
    if kind != "npz":
        beside = layers.Concatenate([[], [layers.Dense(6, 4), layers.ReLU()]])
        shortcut = layers.Residual([layers.BatchNorm(10), layers.SiLU()])
        stack = [beside, shortcut, layers.Dense(10, 3)]
    made = layers.Sequential(stack, optimizer=layers.SGD(0.1, momentum=0.9), seed=0)
    with layers.backend("numpy"):
        made.fit(np.ones((8, 6), np.float32), np.arange(8) % 3, 2)
    return made


def mutant(whole: bytes, by: random.Random) -> bytes:
    data = bytearray(whole)
    for _ in range(by.choice((1, 1, 1, 2, 4))):
        at, size = by.randrange(len(data)), by.choice((1, 1, 2, 4, 8))
        match by.randrange(7):
            case 0:
                data[at] ^= 1 << by.randrange(8)
            case 1:
                data[at : at + size] = by.randbytes(size)
            case 2:
                data[at : at + size] = b"\xff" * size
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = by.randbytes(size)
            case 5:
                del data[at:]
            case 6:
                other = by.randrange(len(data))
                data[at : at + 16] = data[other : other + 16]
        if not data:
            return b""
    return bytes(data)


def zipped_mutant(whole: bytes, by: random.Random) -> bytes:
    """A member changed, and the archive written anew around it."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = by.choice([*members])
    members[name] = mutant(members[name], by)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for each, content in members.items():
            archive.writestr(each, content)
    return written.getvalue()


def by_another_program(whole: bytes) -> bytes:
    """An ONNX file of ours without what says so."""
    proto = importlib.import_module("onnx").load_from_string(whole)
    proto.ClearField("metadata_props")
    proto.ClearField("producer_name")
    return bytes(proto.SerializeToString())


def problem(path: Path, data: bytes, expected: str | None) -> str | None:
    """What is wrong with how a mutant is read; None if nothing is."""
    path.write_bytes(data)
    tracemalloc.reset_peak()
    before, began = tracemalloc.get_traced_memory()[0], time.process_time()
    try:
        found = layers.load(path).fingerprint()
    except (ValueError, MemoryError) as error:
        found = None
        if isinstance(error, MemoryError):
            return f"MemoryError: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    seconds = time.process_time() - began
    peak = tracemalloc.get_traced_memory()[1] - before
    if seconds > SECONDS:
        return f"{seconds:.1f} s"
    if peak > TIMES * len(data) + ROOM:
        return f"{peak} bytes for a file of {len(data)}"
    if expected is not None and found not in (None, expected):
        return "other parameters, in silence"
    return None


def run(kind: str, count: int, seed: int, folder: Path) -> list[str]:
    """Mutants of one format; what is wrong with each that is badly read."""
    by, path, made = random.Random(seed), folder / f"net.{kind}", model(kind)
    made.save(path)
    whole = path.read_bytes()
    expected = layers.load(path).fingerprint()
    assert expected == made.fingerprint()
    others = by_another_program(whole) if kind == "onnx" else b""
    wrong = []
    tracemalloc.start()
    for number in range(count):
        every_other = number % 2 == 1
        if every_other and kind == "npz":
            found = problem(path, zipped_mutant(whole, by), expected)
        elif every_other and kind == "onnx":
            found = problem(path, mutant(others, by), None)
        else:
            found = problem(path, mutant(whole, by), expected)
        if found is not None:
            wrong.append(f"{kind}, mutant {number} of seed {seed}: {found}")
    tracemalloc.stop()
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="+", default=["npz", "safetensors", "onnx"])
    arguments = parser.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in arguments.formats:
            wrong += run(kind, arguments.mutants, arguments.seed, Path(folder))
            print(
                f"{kind}: {arguments.mutants} mutants, {len(wrong)} badly read so far", flush=True
            )
    print("\n".join(wrong[:50]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
