"""The guarded compile cache: machine code on disk that is never stale, mixed up or planted.

It replaces ``cache=True``, because Numba's own cache was seen to give wrong numbers.

- A folder is keyed by what affects all code: versions, the CPU and its caches, compiler switches.
  An entry is keyed by each source that its function can reach (``sources.py``), so that the edit of
  a formula recompiles that operation alone. Numba's key misses edited helpers and
  NUMBA_BOUNDSCHECK=1.
- An entry is one file, renamed into place, with its whole key and a checksum inside. There is no
  index of numbered files as in Numba, which two processes can mix up. What was not used for a month
  is removed.
- An entry is a pickle and runs code when loaded: only folders private to the user are used.
- A bad entry is recompiled; after a failing disk or lock, one warning, and no cache.
"""

import atexit
import contextlib
import fnmatch
import hashlib
import os
import pickle
import re
import shutil
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite  # type: ignore[import-untyped]
import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache

from kernels.runtime import interrupts, sources

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_core: Any = numba.core  # its types are partial
_compiler_lock = _core.compiler_lock.global_compiler_lock

_PACKAGE = Path(__file__).parents[1]
_KEY_LENGTH = 20
_DAY = 24 * 3600.0
_UNUSED_SECONDS = 30 * _DAY
_LOCK_SECONDS = 120.0  # no compilation takes so long: who stores nothing is stuck, not busy

# Switches that change the machine code and are missing in Numba's own key. Not listed: those that
# change the CPU's features (ENABLE_AVX), are read when the code runs (threads), or only print.
_SWITCHES = (
    *("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "LLVM_REFPRUNE_PASS", "LLVM_REFPRUNE_FLAGS"),
    *("USING_SVML", "DISABLE_INTEL_SVML"),  # calls a library that the next process may lack
    *("BOUNDSCHECK", "FULL_TRACEBACKS"),  # the second adds a print to the check
    *("DEBUGINFO_DEFAULT", "EXTEND_VARIABLE_LIFETIMES"),
    *("DEBUG_JIT", "DEBUG_NRT", "DEBUG_ARRAY_OPT_RUNTIME"),  # prints and checks when the code runs
    "PARFOR_MAX_TUPLE_SIZE",
)


class Counts(NamedTuple):
    """How many overloads this process loaded from the cache, and how many it compiled."""

    loaded: int
    compiled: int


@dataclass
class _State:
    """The state of this process's cache; changed only under Numba's compiler lock."""

    root: Path | None = None
    resolved: bool = False
    depth: int = 0
    lock: int | None = None
    swept: bool = False
    loaded: int = 0
    compiled: int = 0


_state = _State()


def before_compiling() -> None:
    """Called before the first compilation of the process; `layers` puts a note in its place."""


def attach(dispatcher: Any) -> None:
    """Give a dispatcher (of ``numba.njit``) this cache, before its first compilation.

    Only module-level functions of this package are cached, others are left as they are: the key
    covers no other sources, and closures of one factory share the names of their symbols.
    """
    if not isinstance(dispatcher, _core.dispatcher.Dispatcher):  # NUMBA_DISABLE_JIT=1
        return
    function = dispatcher.py_func
    # Not the code's own file name: where only byte code is installed, it is the packager's.
    ours = Path(function.__globals__.get("__file__", "")).is_relative_to(_PACKAGE)
    modules = _modules(function)
    ours = ours and all(name.partition(".")[0] == sources.PACKAGE for name in modules)
    if ours and "<locals>" not in function.__qualname__:
        dispatcher._cache = _Entries(dispatcher, modules)


def _called(function: Any) -> dict[str, Any]:
    """The compiled functions that a function's global names are bound to."""
    bound = {name: function.__globals__.get(name) for name in function.__code__.co_names}
    kind = _core.dispatcher.Dispatcher
    return {name: of.py_func for name, of in bound.items() if isinstance(of, kind)}


def _modules(function: Any) -> set[str]:
    """The modules of a function: of its text, of itself, and of the functions it calls."""
    called = {each.__module__ for each in _called(function).values()}
    return {function.__globals__["__name__"], function.__module__} | called


@contextlib.contextmanager
def filling() -> Iterator[None]:
    """Keep other threads and processes from compiling the same kernels; re-entrant.

    The lock between processes is taken at the first miss; then the entry is looked up again, since
    another process may have written it meanwhile. A warm start neither waits nor writes.

    Ctrl-C is held back until the end: it could leave Numba's lock taken or its tables half filled.
    """
    # No further lock within the process: a kernel can also be compiled from a user's jitted
    # function, under Numba's lock, and two locks in two orders would deadlock.
    with interrupts.held(), _compiler_lock:
        _state.depth += 1
        try:
            yield
        finally:
            _state.depth -= 1
            if _state.depth == 0:
                _release()


def directory() -> Path | None:
    """Return the folder of this process's key, made if needed; None without a cache."""
    with _compiler_lock:
        return _folder()


def size() -> int:
    """Return the bytes in the cache, over all keys."""
    return sum(_size_of(path) for folder in _keyed_folders() for path in _paths_in(folder))


def _size_of(path: Path) -> int:
    with contextlib.suppress(OSError):  # another process may have just renamed or removed it
        return path.lstat().st_size
    return 0


def _paths_in(folder: Path) -> list[Path]:
    """What is in a folder; nothing where there is none, as another process may remove it."""
    with contextlib.suppress(OSError):
        return list(folder.iterdir())
    return []


def clear() -> int:
    """Remove the folders of all keys; return the bytes freed."""
    before = size()
    for folder in _keyed_folders():
        shutil.rmtree(folder, ignore_errors=True)
    return before - size()


def counts() -> Counts:
    """Return how many overloads this process loaded and compiled."""
    return Counts(_state.loaded, _state.compiled)


class _Payload(CompileResultCacheImpl):
    """Numba's packing of a compiled overload, without its search for a directory."""

    def __init__(self, function: Any) -> None:
        self._locator = self  # used only for the file and line that a warning names
        self._py_file = function.__code__.co_filename
        self._lineno = function.__code__.co_firstlineno


class _Entries(FunctionCache):
    """The entries of one dispatcher, which calls the methods under the compiler lock."""

    def __init__(self, dispatcher: Any, modules: set[str]) -> None:
        # Without super().__init__, which would search for a directory.
        self._py_func = dispatcher.py_func
        self._name = f"{self._py_func.__module__}.{self._py_func.__qualname__}"
        # Twins of one Python function differ only in this.
        self._options = repr(sorted(dispatcher.targetoptions.items()))
        # Copies of one text with names bound to other functions differ only in this.
        called = _called(self._py_func).items()
        self._called = [(name, of.__module__, of.__qualname__) for name, of in called]
        self._modules = modules
        self._impl = _Payload(self._py_func)
        self._cache_path = None
        self._enabled = True

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the stored overload; None makes Numba compile it."""
        target_context.refresh()
        overload = self._read(sig, target_context)
        if overload is None and _acquire():
            overload = self._read(sig, target_context)
        if overload is not None:
            _state.loaded += 1
        elif _state.compiled == 0:
            before_compiling()
        return overload

    def _read(self, sig: Any, target_context: Any) -> Any:
        folder, reached = self._place()
        if folder is None or reached is None:
            return None
        key, name = self._key_and_file(sig, target_context.codegen(), reached)
        # Whatever is wrong with an entry, compiling overwrites it.
        with contextlib.suppress(Exception):
            content = (folder / name).read_bytes()
            _touch(folder / name)
            if hashlib.sha256(content[32:]).digest() == content[:32]:
                stored, reduced = pickle.loads(content[32:])
                return self._impl.rebuild(target_context, reduced) if stored == key else None
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store an overload that Numba has just compiled."""
        _state.compiled += 1
        folder, reached = self._place()
        if folder is None or reached is None or not self._impl.check_cachable(data):
            return
        key, name = self._key_and_file(sig, data.codegen, reached)
        aside = ""
        try:
            payload = _core.serialize.dumps((key, self._impl.reduce(data)))
            descriptor, aside = tempfile.mkstemp(dir=folder)
            with open(descriptor, "wb") as file:
                file.write(hashlib.sha256(payload).digest() + payload)
            os.replace(aside, folder / name)
        except Exception as error:
            with contextlib.suppress(OSError):
                os.unlink(aside)
            if not isinstance(error, FileNotFoundError):  # else another process has cleared it
                _give_up(f"cannot write to {folder} ({error})")
        if not _state.swept:  # negligible compared with a compilation
            _state.swept = True
            _remove_unused()

    def flush(self) -> None:
        """Forget the function's entries, for ``dispatcher.recompile()``."""
        folder = _folder()
        for path in _paths_in(folder) if folder else ():
            if fnmatch.fnmatchcase(path.name, f"{self._name}-*.nbc"):
                path.unlink(missing_ok=True)

    def _place(self) -> tuple[Path | None, str | None]:
        """The folder, and the digest of what the function reaches; with a None, no cache."""
        return (_folder(), sources.digest(self._modules)) if self._enabled else (None, None)

    def _key_and_file(self, sig: Any, generator: Any, reached: str) -> tuple[Any, str]:
        line = self._py_func.__code__.co_firstlineno
        index: Any = self._index_key  # types, target triple and CPU, byte code
        key = (
            *(self._name, line, self._options, self._called, reached),
            index(_core.sigutils.normalize_signature(sig), generator),
        )
        digest = hashlib.sha256(repr(key).encode()).hexdigest()
        return key, f"{self._name}-{digest[:_KEY_LENGTH]}.nbc"


# Further parts of the key, from `add_to_key`.
_added: list[object] = []


def add_to_key(fact: object) -> None:
    """Add a fact about this machine that machine code depends on (something with a `repr`).

    To be called during the package's import, before anything is compiled.
    """
    _added.append(fact)


def _key() -> str | None:
    """Return the folder's name; None if there are no sources to key by."""
    if not sources.IMPORTED:
        return None
    config = _core.config
    config.reload_config()  # as every compilation does: the environment may have changed
    name, features = config.CPU_NAME, config.CPU_FEATURES
    parts = (
        (sys.implementation.name, sys.version, llvmlite.binding.get_process_triple()),
        (numba.__version__, llvmlite.__version__, np.__version__),
        llvmlite.binding.llvm_version_info,
        llvmlite.binding.get_host_cpu_name() if name is None else name,
        _core.codegen.get_host_cpu_features() if features is None else features,
        [getattr(config, switch, None) for switch in _SWITCHES],
        _added,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:_KEY_LENGTH]


def _folder() -> Path | None:
    """Return the key's folder, made, checked and touched; None for no cache."""
    key, root = _key(), _root()
    if key is None or root is None:
        return None
    folder = root / key
    try:
        _make_private(root)
        _make_private(folder)
    except OSError as error:
        _give_up(f"cannot use {folder} ({error})")
        return None
    _touch(folder)
    return folder


def _touch(path: Path) -> None:
    """Mark a folder or an entry as used, at most once a day: a warm start writes nothing."""
    with contextlib.suppress(OSError):  # another process may be removing the same
        if path.stat().st_mtime < time.time() - _DAY:
            os.utime(path)


def _remove_unused() -> None:
    """Remove folders and entries that were not used for a month."""
    oldest = time.time() - _UNUSED_SECONDS
    for folder in _keyed_folders():
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            for path in folder.iterdir():
                if path.name != "lock" and path.lstat().st_mtime < oldest:
                    path.unlink(missing_ok=True)


def _root() -> Path | None:
    """Choose the directory, once: the configured one, else a temporary one, else none."""
    if not _state.resolved:
        _state.resolved = True
        wanted = None
        try:
            wanted = _wanted()
            if wanted is not None:
                _make_private(wanted)
                tempfile.TemporaryFile(dir=wanted).close()  # a full or read-only disk shows here
                _state.root = wanted
        except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
            _fall_back(f"cannot use {wanted or 'a home directory'} ({error})")
    return _state.root


def _wanted() -> Path | None:
    """Return the directory by the environment; None for no cache."""
    own = os.environ.get("NUMBA_LAYERS_CACHE_DIR")
    if own is not None:
        return Path(own).expanduser().absolute() if own else None
    if sys.platform == "win32":
        variable, default = "LOCALAPPDATA", "~/AppData/Local"
    elif sys.platform == "darwin":
        variable, default = "", "~/Library/Caches"
    else:
        variable, default = "XDG_CACHE_HOME", "~/.cache"
    parent = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get(variable) or default
    return Path(parent).expanduser().absolute() / "numba-layers"


def _make_private(path: Path) -> None:
    """Make a directory of mode 0700; raise OSError if the existing one is not private."""
    status = _made(path)
    if not stat.S_ISDIR(status.st_mode):
        raise OSError("it is a symbolic link")
    if sys.platform != "win32":  # there, a user's directories are private by inheritance
        if status.st_uid != os.geteuid():
            raise OSError("it belongs to another user")
        # Refused, not repaired: others may have put files there meanwhile.
        if status.st_mode & 0o077:
            raise OSError(f"it is open to others, mode {stat.S_IMODE(status.st_mode):o}")


def _made(path: Path) -> os.stat_result:
    """Make a directory, unless there is one; its status."""
    tries = 0
    while True:
        tries += 1
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            return path.lstat()
        except (FileExistsError, FileNotFoundError):  # perhaps another process is clearing it
            if tries == 10:
                raise


def _keyed_folders() -> list[Path]:
    with _compiler_lock:
        root = _root()
    if root is None:
        return []
    name = re.compile(f"[0-9a-f]{{{_KEY_LENGTH}}}")
    paths = (path for path in _paths_in(root) if name.fullmatch(path.name))
    return [path for path in paths if path.is_dir() and not path.is_symlink()]


def _fall_back(reason: str) -> None:
    """Use a temporary directory until this process ends, also for its forked children."""
    try:
        _state.root = Path(tempfile.mkdtemp(prefix="numba-layers-"))
    except OSError as error:
        _give_up(f"{reason}, nor a temporary directory ({error})")
        return
    atexit.register(_remove, _state.root, os.getpid())
    _warn(reason)


def _remove(temporary: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child has the same exit handlers
        shutil.rmtree(temporary, ignore_errors=True)


def _give_up(reason: str) -> None:
    """Continue without a cache in this process."""
    _state.root = None
    _release()
    _warn(reason)


def _warn(reason: str) -> None:
    warnings.warn(
        f"compile cache: {reason}. Kernels will be compiled again in the next process. Set "
        "NUMBA_LAYERS_CACHE_DIR to a directory that only you can open (mode 700), or to nothing "
        "for no cache.",
        RuntimeWarning,
        stacklevel=2,
    )


def _acquire() -> bool:
    """Take the lock between processes; True if it was taken now, so the disk may have changed."""
    folder = _folder()
    if folder is None or _state.depth == 0 or _state.lock is not None:
        return False
    try:
        _state.lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        _wait_for(_state.lock, folder)
    except FileNotFoundError:
        pass  # another process has just cleared the folder: this time, without the lock
    except OSError as error:
        _give_up(f"cannot lock {folder} ({error})")
    except BaseException:  # Ctrl-C while waiting: the lock is not held
        _release()
        raise
    return _state.lock is not None


def _wait_for(lock: int, folder: Path) -> None:
    """Take the lock; TimeoutError where another process holds it and stores nothing for long."""
    stored, since = -1, 0.0
    while not _try_lock(lock):
        latest = _changed(folder)
        if stored != latest:
            stored, since = latest, time.monotonic()
        elif time.monotonic() - since > _LOCK_SECONDS:
            raise TimeoutError("another process holds it and stores nothing")
        time.sleep(0.01)
        interrupts.let_through()


def _changed(folder: Path) -> int:
    """When a folder last changed, as it does with each entry that is stored; 0 without a folder."""
    with contextlib.suppress(OSError):  # another process may have cleared it
        return folder.stat().st_mtime_ns
    return 0


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX, Windows: another process has it
        return False
    return True


def _release() -> None:
    """Release the lock between processes, by closing its file, as the end of the process would."""
    if _state.lock is not None:
        os.close(_state.lock)
        _state.lock = None


def _after_fork_in_child() -> None:
    _release()  # closes the child's duplicate; the parent's lock stays
    _compiler_lock.release()


if hasattr(os, "register_at_fork"):
    # A fork waits for compilations in other threads: a child that inherited a lock whose thread it
    # does not have, and a half-finished LLVM, would hang at its first compilation.
    os.register_at_fork(
        before=_compiler_lock.acquire,
        after_in_parent=_compiler_lock.release,
        after_in_child=_after_fork_in_child,
    )
