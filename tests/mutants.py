"""Small wrong changes, made one at a time, and whether the tests catch them.

::

    python tests/mutants.py                               # 20 changes of each module
    python tests/mutants.py checks csv --sample 60 --seed 1
    python tests/mutants.py packing --all

The changes are Cosmic Ray's: an operator replaced, a number off by one, a condition turned, a loop
left out. What annotates a type is left alone. A sample takes places in the module, and one change
at each. A change is caught if a test fails, or if the tests take far longer than without it.

Everything runs in a copy of the working tree, with a compile cache of its own. A change of compiled
code is made in the file, so what can reach it is compiled anew; any other is made as the module is
imported, so that the kernels stay as they were compiled.
"""

import argparse
import ast
import contextlib
import difflib
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from kernels.runtime import cache

ROOT = Path(__file__).resolve().parents[1]
MEMORY = 8 << 30  # bytes for a process: a wrong size is an error, not the end of the machine


class Module(NamedTuple):
    """A file to change, and the tests that are to catch it."""

    path: str
    tests: str
    is_compiled: bool = False


# The smallest tile compiles the product once more, which takes longest of all.
PRODUCT = (
    "tests/kernels/test_product.py tests/kernels/test_guard_pages.py"
    " -k 'not the_smallest_tile_has_the_same_bits'"
)
LOSSES = (
    "tests/kernels/test_softmax.py"
    " tests/test_reference_pairs.py::test_every_public_kernel_is_in_the_table"
)
MODULES = {
    "checks": Module(
        "kernels/runtime/checks.py",
        "tests/kernels/test_contract.py tests/kernels/test_checks.py tests/kernels/test_arrays.py"
        " tests/layers/test_bad_input.py tests/layers/test_held_inputs.py",
    ),
    "contracts": Module(
        "kernels/runtime/contracts.py",
        "tests/kernels/test_contract.py tests/kernels/test_checks.py tests/kernels/test_layouts.py",
    ),
    "data_sources": Module(
        "layers/training/data_sources.py",
        "tests/layers/test_fitting.py tests/layers/test_held_inputs.py"
        " tests/layers/test_bad_input.py",
    ),
    "csv": Module("layers/data/csv_of_numbers.py", "tests/layers/test_data.py -k csv"),
    "records": Module("layers/data/records.py", "tests/layers/test_data.py -k csv"),
    "idx": Module("layers/data/idx.py", "tests/layers/test_data.py -k 'not csv'"),
    "archive": Module(
        "layers/files/archive.py",
        "tests/layers/test_files.py tests/layers/test_data.py -k 'not csv'",
    ),
    "npz": Module(
        "layers/files/npz.py",
        "tests/layers/test_files.py tests/layers/test_data.py -k 'not csv'",
    ),
    "packing": Module(
        "kernels/product/packing.py",
        PRODUCT,
        is_compiled=True,
    ),
    "split_k": Module(
        "kernels/product/split_k.py",
        PRODUCT,
        is_compiled=True,
    ),
    "skinny": Module(
        "kernels/product/skinny.py",
        PRODUCT,
        is_compiled=True,
    ),
    "softmax": Module("kernels/softmax.py", LOSSES, is_compiled=True),
    "losses": Module("kernels/losses.py", LOSSES, is_compiled=True),
}

# Imported by each process of the copy, since its folder is on PYTHONPATH.
SITE = """
import importlib.machinery, importlib.util, sys
name, path, changed = {name!r}, {path!r}, {changed!r}
class Changed(importlib.machinery.SourceFileLoader):
    def path_stats(self, path):
        raise OSError  # neither reads nor writes byte code
    def get_data(self, path):
        with open(changed, "rb") as file:
            return file.read()
class Finder:
    def find_spec(asked, *others):
        if asked == name:
            return importlib.util.spec_from_file_location(name, path, loader=Changed(name, path))
sys.meta_path.insert(0, Finder)
"""


class Mutant(NamedTuple):
    """One wrong change."""

    operator: str
    occurrence: int
    line: int
    column: int


def annotations(text: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where types are written: to change one shows in no result."""
    found = []
    for node in ast.walk(ast.parse(text)):
        for each in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if each is not None:
                end = (each.end_lineno, each.end_col_offset)
                found.append(((each.lineno, each.col_offset), end))
    return found


def mutants(text: str) -> Iterator[Mutant]:
    """All changes of a module, but those of identity, which fail at once or show nowhere."""
    types, tree = annotations(text), get_ast(text)
    for name in plugins.operator_names():
        operator = plugins.get_operator(name)
        if operator.arguments() or "_Is" in name:
            continue
        positions = (
            start for node in ast_nodes(tree) for start, _ in operator().mutation_positions(node)
        )
        for occurrence, start in enumerate(positions):
            if not any(first <= start < end for first, end in types):
                yield Mutant(name, occurrence, *start)


def sample(every: list[Mutant], size: int | None, seed: int) -> list[Mutant]:
    """So many places, and a change at each: else most would be of the operators that have many."""
    if size is None:
        return every
    chance = random.Random(seed)
    places: dict[tuple[int, int], list[Mutant]] = {}
    for mutant in every:
        places.setdefault((mutant.line, mutant.column), []).append(mutant)
    chosen = chance.sample(sorted(places), min(size, len(places)))
    return [chance.choice(places[place]) for place in chosen]


class Copy:
    """A copy of the working tree, in which one module after the other is wrong."""

    def __init__(self, work: Path) -> None:
        self.root, self._work = work / "tree", work
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file() and not name.startswith("asv_benchmarks/results"):
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.root / name)
        self._cache, folder = work / "cache", cache.directory()
        self._cache.mkdir(mode=0o700)
        if folder is not None:
            shutil.copytree(folder, self._cache / folder.name)

    def change(self, module: Module, text: str | None) -> None:
        """Put a text in the place of a module's, or with None its own again."""
        path, site = self.root / module.path, self.root / "sitecustomize.py"
        site.unlink(missing_ok=True)
        for folder in (path.parent, self.root):
            for old in (folder / "__pycache__").glob("*.pyc"):
                if old.name.partition(".")[0] in (path.stem, site.stem):
                    old.unlink()
        if module.is_compiled:
            path.write_text(text or (ROOT / module.path).read_text("utf-8"), "utf-8")
        elif text is not None:
            changed = self._work / "changed.py"
            changed.write_text(text, "utf-8")
            name = module.path.removesuffix(".py").replace("/", ".")
            site.write_text(SITE.format(name=name, path=str(path), changed=str(changed)), "utf-8")

    def fails(self, tests: str, seconds: float) -> bool:
        """Whether a test fails, or they are not done in time."""
        options = ["-x", "-q", "-p", "no:cacheprovider", "--basetemp", str(self._work / "tmp")]
        variables = {"PYTHONPATH": str(self.root), "NUMBA_LAYERS_CACHE_DIR": str(self._cache)}
        with (
            open(self._work / "printed", "w+", encoding="utf-8") as printed,
            subprocess.Popen(
                [sys.executable, "-m", "pytest", *options, *shlex.split(tests)],
                cwd=self.root,
                env=os.environ | variables,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that what it started can be stopped with it
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY)),
            ) as process,
        ):
            try:
                return process.wait(seconds) != 0
            except subprocess.TimeoutExpired:
                return True
            finally:  # Ctrl-C does not reach it, and a test that was stopped may leave processes
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def printed(self) -> str:
        """What the last tests printed."""
        return (self._work / "printed").read_text("utf-8", "replace")


def difference(before: str, after: str) -> str:
    """The lines that a change is of."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return "\n".join(f"    {line}" for line in lines if line[:3] not in ("---", "+++"))


def try_module(copy: Copy, name: str, size: int | None, seed: int) -> tuple[int, int]:
    """How many changes of a module were tried, and how many caught."""
    module = MODULES[name]
    text = (ROOT / module.path).read_text("utf-8")
    copy.change(module, text)
    began = time.monotonic()
    if copy.fails(module.tests, 600):
        sys.exit(f"{name}: the tests fail without a change\n{copy.printed()[-3000:]}")
    seconds = 3 * (time.monotonic() - began) + 120  # a change of compiled code is compiled
    chosen = sample(list(mutants(text)), size, seed)
    caught = 0
    for number, mutant in enumerate(chosen, start=1):
        operator = plugins.get_operator(mutant.operator)()
        changed = mutate_code(text, operator, mutant.occurrence)
        copy.change(module, changed)
        began = time.monotonic()
        is_caught = copy.fails(module.tests, seconds)
        caught += is_caught
        what = "caught" if is_caught else "SURVIVED"
        place = f"{module.path}:{mutant.line}:{mutant.column + 1}"
        took = time.monotonic() - began
        print(f"{number}/{len(chosen)} {what} {took:.0f} s {place} {mutant.operator}", flush=True)
        if not is_caught:
            print(difference(text, changed), flush=True)
    copy.change(module, None)
    return len(chosen), caught


def main() -> None:
    """Read the command line, try each module, print a line of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(MODULES))
    parser.add_argument("--sample", type=int, default=20, help="places of each module")
    parser.add_argument("--all", action="store_true", help="every change at every place")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    chosen = parser.parse_args()
    unknown = set(chosen.modules) - MODULES.keys()
    if unknown:
        parser.error(f"no module {min(unknown)!r}, expected of {', '.join(MODULES)}")
    size = None if chosen.all else chosen.sample
    with tempfile.TemporaryDirectory(prefix="numba-layers-mutants.") as work:
        copy, lines = Copy(Path(work)), []
        for name in chosen.modules or MODULES:
            tried, caught = try_module(copy, name, size, chosen.seed)
            lines.append(f"{name:14}{tried:5} tried {caught:5} caught {tried - caught:4} survived")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
