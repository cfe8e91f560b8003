"""The sources that a function can reach: its module's, and those of all it imports.

They are part of the compile cache's key, so that an edit recompiles only what can reach it.

- Imports are parsed from the text, and only those of this package. A module also reaches the
  packages that contain it, except the outermost, which imports everything.
- A module that is installed as byte code alone cannot be parsed: it counts as reaching everything.
"""

import functools
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parents[1]
PACKAGE = _FOLDER.name
"""The name of this package."""

# From the end of the line before, which is found four times as fast as the start of a line.
_FROM = re.compile(rf"\n[ \t]*from[ \t]+({PACKAGE}[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|.*)")
_IMPORT = re.compile(r"\n[ \t]*import[ \t]+(.*)")


class _Source(NamedTuple):
    path: Path
    content: bytes


def _read() -> dict[str, _Source]:
    """Each module's file and content; empty where a file cannot be read, as in a zip file.

    Byte code counts where it replaces a source.
    """
    modules = {}
    for path in sorted([*_FOLDER.rglob("*.py"), *_FOLDER.rglob("*.pyc")], key=_preference):
        if path.parent.name == "__pycache__" or not path.is_file():
            continue
        place = path.relative_to(_FOLDER.parent).with_suffix("")
        parts = place.parent.parts if place.name == "__init__" else place.parts
        try:
            modules[".".join(parts)] = _Source(path, path.read_bytes())
        except OSError:
            return {}
    return modules


def _preference(path: Path) -> bool:
    return path.suffix == ".py"  # the later of the two stays


# Read at import (1 ms): imported code must not be cached under a later edit.
IMPORTED = _read()
"""Each module's file and content, at import."""


@functools.cache
def imports(module: str) -> frozenset[str]:
    """The modules of this package that a module imports, and the packages that contain it."""
    path, content = IMPORTED[module]
    if path.suffix != ".py":
        return frozenset(IMPORTED)
    text, found = "\n" + content.decode("utf-8", "replace"), {module}
    for base, names in _FROM.findall(text):
        for name in re.sub(r"#.*|[()]", "", names).split(","):
            words = name.split()
            inside = f"{base}.{words[0]}" if words else base
            found.add(inside if inside in IMPORTED else base)
    for names in _IMPORT.findall(text):
        whole = re.findall(rf"\b{PACKAGE}\b[\w.]*", names)
        found.update([PACKAGE, *whole] if whole else ())  # the package's name reaches everything
    for name in tuple(found):
        parts = name.split(".")
        found.update(".".join(parts[:count]) for count in range(2, len(parts)))
    return frozenset(found & IMPORTED.keys())


@functools.cache
def reached(module: str) -> frozenset[str]:
    """The modules that a module can reach, itself included."""
    found: set[str] = set()
    waiting = {module}
    while waiting:
        found |= waiting
        waiting = {name for each in waiting for name in imports(each)} - found
    return frozenset(found)


def digest(modules: Iterable[str]) -> str | None:
    """The digest of all sources that modules reach; None if one has changed since the import."""
    names: frozenset[str] = frozenset()
    for module in modules:
        names |= reached(module)
    try:
        for path, content in (IMPORTED[name] for name in names):
            if path.read_bytes() != content:
                return None
    except OSError:
        return None
    return _digest(names)


@functools.cache
def _digest(names: frozenset[str]) -> str:
    whole = hashlib.sha256()
    for name in sorted(names):
        content = IMPORTED[name].content
        whole.update(f"{name}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()
