"""The caches of this machine's cores: their sizes and ways, as the system reports them.

Linux describes each cache in a folder of files, macOS answers ``sysctl``. Containers and virtual
machines hide some of it or make it up, so a number that no cache has is not taken: a common cache
stands in its place. A wrong size costs speed and never changes a bit.
"""

import contextlib
import ctypes
import sys
from pathlib import Path
from typing import NamedTuple

LINE = 64
"""Bytes of a cache line, to which packed panels are aligned."""


class Cache(NamedTuple):
    """Bytes of a cache, and how many lines whose addresses differ by ``size // ways`` it holds."""

    size: int
    ways: int


class Caches(NamedTuple):
    """The caches that one core reads numbers through: of those that cores share, its part."""

    level_1: Cache
    level_2: Cache
    level_3: Cache


COMMON = Caches(Cache(32 * 2**10, 8), Cache(2**20, 16), Cache(2**22, 16))
"""What is assumed where the system reports nothing credible; of level 3, one core's part."""

# The least and the most bytes that a level has had in CPUs of this century, shared or not.
_CREDIBLE = ((2**13, 2**19), (2**16, 2**26), (2**19, 2**31))
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def caches(folder: str = "/sys/devices/system/cpu/cpu0/cache") -> Caches:
    """The caches of the first CPU, or on macOS of the fast ones."""
    found = _of_macos() if sys.platform == "darwin" else _of_linux(folder)
    return credible(found)


def credible(found: dict[int, tuple[Cache, int]]) -> Caches:
    """The caches by level, each with the number of cores that share it, where they make sense.

    A level that is missing, has an impossible size, or is smaller than the one before it is
    replaced by the common one, or by as much as the level before it if that is more.
    """
    taken: list[Cache] = []
    for level, (least, most) in enumerate(_CREDIBLE, 1):
        cache, cores = found.get(level, (Cache(0, 0), 1))
        before = taken[-1].size if taken else 0
        whole = cache.ways * LINE
        is_one = least <= cache.size <= most and whole > 0 and cache.size % whole == 0
        if not is_one or cache.size <= before or not 1 <= cores <= 1024:
            common = COMMON[level - 1]
            cache, cores = Cache(max(common.size, before), common.ways), 1
        # A part has fewer of the sets, not of the ways; never less than the level before it.
        part = max(cache.size // cores, before) // (cache.ways * LINE) * cache.ways * LINE
        taken.append(Cache(part, cache.ways))
    return Caches(*taken)


def _of_linux(folder: str) -> dict[int, tuple[Cache, int]]:
    """Each level that holds data, and how many cores share it."""
    found: dict[int, Cache] = {}
    cpus: dict[int, int] = {}
    for index in sorted(Path(folder).glob("index*")):
        with contextlib.suppress(OSError, ValueError):
            names = ("level", "type", "size", "ways_of_associativity")
            level, kind, size, ways = (_text(index / name) for name in names)
            if kind in ("Data", "Unified") and int(level) not in found:
                cpus[int(level)] = _cpus(index / "shared_cpu_list")
                found[int(level)] = Cache(_bytes(size), int(ways))
    # Two hardware threads of a core share all of its caches.
    threads = max(1, cpus.get(1, 1))
    return {level: (cache, -(-cpus[level] // threads)) for level, cache in found.items()}


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()


def _bytes(size: str) -> int:
    unit = _UNITS.get(size[-1:], 1)
    return int(size if unit == 1 else size[:-1]) * unit


def _cpus(path: Path) -> int:
    """How many CPUs a list such as ``0-3,8`` names; 1 where it cannot be read."""
    count = 0
    with contextlib.suppress(OSError, ValueError):
        for part in _text(path).split(","):
            first, _, last = part.partition("-")
            count += int(last or first) - int(first) + 1
    return max(1, count)


def _of_macos() -> dict[int, tuple[Cache, int]]:
    """The fast cores' caches, of which macOS tells no ways."""
    found: dict[int, tuple[Cache, int]] = {}
    for level, name, shared in (
        (1, "l1dcachesize", ""),
        (2, "l2cachesize", "cpusperl2"),
        (3, "l3cachesize", "cpusperl3"),
    ):
        size = _sysctl(f"hw.perflevel0.{name}") or _sysctl(f"hw.{name}")
        if size:
            cores = _sysctl(f"hw.perflevel0.{shared}") if shared else 1
            found[level] = Cache(size, COMMON[level - 1].ways), max(1, cores)
    return found


def _sysctl(name: str) -> int:
    """A number of macOS's; 0 where there is none."""
    value, size = ctypes.c_uint64(0), ctypes.c_size_t(8)
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        if library.sysctlbyname(
            name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)
        ):
            return 0
    return value.value
