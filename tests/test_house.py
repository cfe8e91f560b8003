"""The conventions of the sources, checked on every file."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.metadata
import inspect
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# Who may use which of Numba's decorators: a file, or a folder's files.
OWNERS = {
    "kernels/runtime/jit.py": {
        "cfunc",
        "guvectorize",
        "jit",
        "jit_module",
        "njit",
        "register_jitable",
        "stencil",
        "vectorize",
    },
    "kernels/intrinsics/": {"intrinsic"},
}

# A peer of `python -m layers bench` is written as its users write it: fast, without our promises.
PEERS = {"layers/bench/libraries/blas_passes.py"}

# LLVM's fast-math flags, as Numba and llvmlite spell them. "fast" is a word of English too; it is
# caught where it matters, as a value of `fastmath=` or `flags=`.
FAST_MATH_FLAGS = {"afn", "arcp", "contract", "ninf", "nnan", "nsz", "reassoc"}

NUMPY_PRODUCTS = {
    "dot",
    "einsum",
    "einsum_path",
    "inner",
    "matmul",
    "matvec",
    "tensordot",
    "vdot",
    "vecdot",
    "vecmat",
}

# Names in kernels.__all__ that are no kernels: each with what it is instead.
NOT_KERNELS = {
    "reference": "the module of the twins",
    "get_num_threads": "a setting",
    "set_num_threads": "a setting",
}


class Mention(NamedTuple):
    """A dotted name that a module uses, imports resolved, and the place."""

    name: str
    place: str

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @property
    def last(self) -> str:
        return self.name.rpartition(".")[2]


def sources(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def nodes(*rooms: str) -> Iterator[tuple[Path, ast.AST, str]]:
    """Every node of every module, with its place as an editor understands it."""
    for path in sources(*rooms):
        for node in ast.walk(parse(path)):
            yield path, node, f"{relative(path)}:{getattr(node, 'lineno', 1)}"


def imported(tree: ast.Module) -> Iterator[tuple[str, str, ast.stmt]]:
    """(name bound here, what it stands for, statement) of every absolute import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                yield alias.asname or first, alias.name if alias.asname else first, node
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}", node


def dotted(node: ast.AST, origin: dict[str, str]) -> str | None:
    """`nb.core.jit` under `import numba as nb` is numba.core.jit; what is not imported, nothing."""
    if isinstance(node, ast.Name):
        return origin.get(node.id)
    if isinstance(node, ast.Attribute):
        base = dotted(node.value, origin)
        return f"{base}.{node.attr}" if base else None
    return None


def mentions(path: Path) -> Iterator[Mention]:
    tree = parse(path)
    origin = {}
    for bound, name, statement in imported(tree):
        origin[bound] = name
        yield Mention(name, f"{relative(path)}:{statement.lineno}")
    for node in ast.walk(tree):
        name = dotted(node, origin)
        if name:
            yield Mention(name, f"{relative(path)}:{node.lineno}")


@functools.cache
def words(*rooms: str) -> set[str]:
    """Names and whole strings in the code of some rooms; comments and prose do not count."""
    found = set()
    for path, node, _ in nodes(*rooms):
        if path == Path(__file__).resolve():
            continue
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                found.add(name)
            case ast.Constant(value=str() as text):
                found.add(text)
    return found


def listed_kernels() -> list[str]:
    """The public kernels, read from kernels/__init__.py: collecting the tests imports nothing."""
    path = ROOT / "kernels" / "__init__.py"
    for node in parse(path).body if path.exists() else ():
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="__all__")], value=value)
                | ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value)
            ):
                names = ast.literal_eval(value)
                return sorted(n for n in names if n not in NOT_KERNELS and not n.startswith("__"))
    return []


each_kernel = pytest.mark.parametrize("name", listed_kernels())


# What may be used where


def test_only_the_owners_use_the_decorators_of_numba():
    owner = {name: path for path, names in OWNERS.items() for name in names}
    strays = [
        f"{mention.place} {mention.name}"
        for path in sources("kernels", "layers", "tests")
        for mention in mentions(path)
        if mention.package == "numba"
        and mention.last in owner
        and not relative(path).startswith(owner[mention.last])
    ]
    assert strays == []


def test_there_is_no_fast_math_flag():
    def switched_on(node: ast.AST) -> bool:
        match node:
            case ast.keyword(arg="fastmath", value=ast.Constant(value=False)):
                return False
            case ast.keyword(arg="fastmath"):
                return True
            case ast.Call(func=ast.Attribute(attr=instruction), keywords=keywords):
                # llvmlite: builder.fadd(a, b, flags=("fast",))
                return instruction.startswith("f") and any(k.arg == "flags" for k in keywords)
            case ast.Constant(value=str() as text):
                return text == "fastmath" or text in FAST_MATH_FLAGS
        return False

    strays = [
        place
        for path, node, place in nodes("kernels", "layers")
        if switched_on(node) and relative(path) not in PEERS
    ]
    assert strays == []


def test_kernels_never_import_layers():
    strays = [
        mention.place
        for path in sources("kernels")
        for mention in mentions(path)
        if mention.package == "layers"
    ]
    assert strays == []


def test_products_are_our_own():
    """No BLAS in kernels/ but for the reference, and no product at all in layers/."""
    strays = []
    for path in sources("kernels", "layers"):
        if relative(path) == "kernels/reference.py":
            continue
        strays += [
            f"{mention.place} {mention.name}"
            for mention in mentions(path)
            if mention.package == "scipy"
            or mention.name.startswith("numpy.linalg")
            or (mention.package == "numpy" and mention.last in NUMPY_PRODUCTS)
        ]
        for node in ast.walk(parse(path)):
            match node:
                case ast.BinOp(op=ast.MatMult()) | ast.AugAssign(op=ast.MatMult()):
                    strays.append(f"{relative(path)}:{node.lineno} @")
                case ast.Call(func=ast.Attribute(attr="dot")):
                    strays.append(f"{relative(path)}:{node.lineno} .dot()")
    assert strays == []


# What belongs to a public kernel


def test_the_public_kernels_are_listed():
    assert listed_kernels(), "kernels/__init__.py has no literal __all__ with a kernel in it"


@each_kernel
def test_a_kernel_has_a_twin_with_the_same_arguments(name: str):
    kernel = getattr(importlib.import_module("kernels"), name)

    def arguments(function) -> list[tuple[str, object]]:
        parameters = inspect.signature(function).parameters.values()
        needed = inspect.Parameter.empty  # a twin makes no outputs: it is always given them
        return [
            (each.name, needed if each.name in kernel.contract.optional else each.default)
            for each in parameters
        ]

    twin = getattr(importlib.import_module("kernels.reference"), name, None)
    assert twin is not None, f"kernels/reference.py has no {name}"
    assert arguments(kernel) == arguments(twin)


@each_kernel
def test_a_kernel_says_what_it_computes(name: str):
    assert inspect.getdoc(getattr(importlib.import_module("kernels"), name))


@each_kernel
def test_a_kernel_is_tested(name: str):
    assert name in words("tests")


@each_kernel
def test_a_kernel_has_a_benchmark(name: str):
    assert name in words("asv_benchmarks/benchmarks")


# What the distribution and the README say


def test_the_version_is_one():
    version = PYPROJECT["project"]["version"]
    assert importlib.import_module("layers").__version__ == version
    try:
        installed = importlib.metadata.version("numba-layers")
    except importlib.metadata.PackageNotFoundError:
        return  # run from the sources alone
    assert installed == version, "installed from an older tree: install again"


@pytest.mark.parametrize("package", ["kernels", "layers"])
def test_a_package_is_marked_as_typed(package: str):
    assert (ROOT / package / "py.typed").exists()


@pytest.mark.parametrize("entry", PYPROJECT["project"]["scripts"].values())
def test_a_script_has_its_function(entry: str):
    module, _, function = entry.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize(("name", "module"), [("run", "layers"), ("test", "pytest")])
def test_a_command_of_the_readme_is_one_line_that_can_run(name: str, module: str):
    printed = subprocess.run(
        ["bash", ROOT / ".ci" / "run", "--print", "README.md", name],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    lines = printed.splitlines()
    assert len(lines) == 1
    subprocess.run(["bash", "-n", "-c", lines[0]], check=True)

    steps = [shlex.split(step) for step in lines[0].split("&&")]
    assert [step[:3] for step in steps] == [
        ["python", "-m", "venv"],
        [".venv/bin/python", "-m", "pip"],
        [".venv/bin/python", "-m", module],
    ]
    extras = re.findall(r"\.\[(.*?)\]", lines[0])
    assert set(extras) <= set(PYPROJECT["project"]["optional-dependencies"])
    if module == "layers":
        assert (ROOT / "layers" / "__main__.py").exists()
