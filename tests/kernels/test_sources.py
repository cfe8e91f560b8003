"""Which modules each module reaches, for the compile cache's key."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import kernels
from kernels import operations
from kernels.network import interpreter
from kernels.operation_loops import value_loop
from kernels.runtime import cache, jit, sources
from kernels.runtime.families import specialised

MODULES = sorted(sources.IMPORTED)
NETWORK = {name for name in MODULES if name.startswith("kernels.network")}
PRODUCT = {name for name in MODULES if name.startswith("kernels.product.")}
FLAGS = {"kernels.product.flags"}


def of(*names: str) -> set[str]:
    return {f"kernels.{name}" for name in names}


FORMULAS = of("activations", "optimizers")
ENTRIES = FORMULAS | of("dense", "dropout", "gather", "losses", "metrics", "random", "softmax")


def test_every_file_is_a_module():
    folder = Path(kernels.__file__).parent
    assert {source.path for source in sources.IMPORTED.values()} == set(folder.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_those_that_python_sees(module: str):
    path, content = sources.IMPORTED[module]
    seen = set()
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Import):
            seen |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import is not followed"
            assert node.module
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            seen |= inside & sources.IMPORTED.keys()
            if not inside <= sources.IMPORTED.keys():
                seen.add(node.module)
    around = {".".join(module.split(".")[:2])} & sources.IMPORTED.keys()
    ours = seen & sources.IMPORTED.keys()
    packages = {name.rpartition(".")[0] for name in ours} - {"kernels", ""}
    assert sources.imports(module) == ours | packages | around | {module}


# The edit of one of these compiles no more than need be: (module, what it must not reach).
@pytest.mark.parametrize(
    ("module", "foreign"),
    [
        ("activations", (ENTRIES | NETWORK | PRODUCT) - FLAGS - of("activations")),
        ("optimizers", (ENTRIES | NETWORK | PRODUCT) - FLAGS - of("optimizers")),
        ("operations", ENTRIES | NETWORK | PRODUCT),
        ("softmax", (ENTRIES | NETWORK | PRODUCT) - of("softmax")),
        ("losses", (ENTRIES | NETWORK) - of("losses", "metrics", "softmax")),
        ("product.matmul", ENTRIES | NETWORK | of("operations")),
        ("network.interpreter", ENTRIES | of("operations", "product.matmul")),
    ],
)
def test_what_is_not_reached(module: str, foreign: set[str]):
    assert sources.reached(f"kernels.{module}") & foreign == set()


def test_kernels_reach_what_they_link_and_all_reach_the_compiler():
    assert interpreter.__name__ in MODULES  # so that all kernels are there
    for kernel in jit.COMPILED:
        if kernel.__module__ not in MODULES:  # a test's own
            continue
        reached = sources.reached(kernel.__module__)
        assert {"kernels.runtime.jit", "kernels.runtime.cache", "kernels.intrinsics"} <= reached
        for name in getattr(kernel.serial, "calls", ()):
            shared = jit._SHARED[name].dispatcher.py_func.__module__
            assert sources.reached(shared) <= reached, f"{kernel}: {name}"
        assert reached & FORMULAS == set(), "operations are called by their addresses"


def test_every_form_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    texts = {
        "plain": "import kernels.a.b",
        "inside": "def f():\n    from kernels.a.b import g",
        "lines": "from kernels.a import (  # (not this one\n    x as y,\n    b,  # c, or d\n)",
        "name": "from kernels import value, a",
        "other": "import numpy as np\nfrom kernels_of_others import a",
        "a": "",
        "a.b": "",
        "a.c": "",
    }
    imported = {
        f"kernels.{name}": sources._Source(tmp_path / f"{name}.py", text.encode())
        for name, text in texts.items()
    }
    imported["kernels"] = sources._Source(tmp_path / "__init__.py", b"")
    monkeypatch.setattr(sources, "IMPORTED", imported)
    imports = sources.imports.__wrapped__
    assert imports("kernels.plain") == {"kernels"} | of("plain", "a", "a.b")
    assert imports("kernels.inside") == of("inside", "a", "a.b")
    assert imports("kernels.lines") == of("lines", "a", "a.b")
    assert imports("kernels.name") == {"kernels"} | of("name", "a")
    assert imports("kernels.other") == of("other")
    assert imports("kernels.a.c") == of("a", "a.c")
    imported["kernels.a"] = sources._Source(tmp_path / "a.pyc", b"\x00")
    assert imports("kernels.a") == imported.keys()


def test_formulas_of_others_are_in_no_cache():
    """The key has the sources of this package alone."""
    if isinstance(operations.elementwise.serial, jit._Interpreted):
        pytest.skip("Numba is told not to compile")

    @jit.inner
    def formula(x):
        return x

    def attached(module: str) -> bool:
        names = {"formula": formula, "COUNT": 0}
        text = specialised(value_loop, "relu_forward", module, names)
        apart = jit.Apart(text)
        cache.attach(apart.dispatcher)
        return isinstance(apart.dispatcher._cache, cache._Entries)

    assert not attached(__name__)
    assert not attached("kernels.activations")
    formula.py_func.__module__ = "kernels.activations"
    assert attached("kernels.activations")
