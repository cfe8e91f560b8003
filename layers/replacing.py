"""Replacing a file: written aside, then renamed, so that no crash can spoil it."""

import errno
import hashlib
import os
import secrets
import shutil
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, TypeAlias

if sys.platform != "win32":
    import fcntl

from kernels.runtime import checks
from layers import streams

StrPath: TypeAlias = str | os.PathLike[str]

_PREFIX = ".numba-layers-"
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def replace_file(path: StrPath, write: Callable[[IO[bytes]], Any], place: str) -> None:
    """Write aside, in the same folder and so on the same disk, then take the file's name.

    Whatever stops it, the file called `path` is the old one or the new one. A symbolic link is
    followed. A new file gets the permissions that the umask leaves, an existing one keeps its own.

    Parameters
    ----------
    path : path
    write : function
        Is given the open file.
    place : str
        Of the caller, for messages.

    Raises
    ------
    OSError
        It names `path`, not the file aside. What goes wrong once the bytes are safe is a warning.
    """
    target = _checked_target(path, place)
    undone: list[str] = []
    with _named(path), _aside(target) as (file, aside):
        mode = _mode_of(target)
        if mode is not None:
            with _may_fail("keep the permissions", undone):
                os.chmod(aside, mode)
        write(file)
        file.flush()
        _sync(file, undone)
        if os.name != "posix":
            file.close()  # Windows renames no open file
        os.replace(aside, target)
    with _may_fail("bring the new name to the disk", undone):
        _sync_folder(os.path.dirname(target))
    for what in undone:
        text = f"{place}: {os.fsdecode(path)} is written; the system refused to {what}"
        with streams.usable():
            warnings.warn(text, stacklevel=3)


def check_can_replace(path: StrPath, place: str, size: int = 0) -> None:
    """Find out whether `replace_file` could write `size` bytes there, by trying it aside.

    Raises
    ------
    OSError, ValueError
        As `replace_file` would, but before the work that is to be saved.
    """
    target = _checked_target(path, place)
    with _named(path), _aside(target) as (file, _):
        if size:
            _reserve(file, size)


def checked_path(path: Any, place: str) -> str:
    """A path as a str that names something."""
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise TypeError(
            f"{place}: path is {checks.shown(path)}, expected a str or a path"
        ) from None
    if not text or "\0" in text:
        raise ValueError(f"{place}: path is {checks.shown(text)}, expected the name of a file")
    return text


# What may be replaced.


def _checked_target(path: StrPath, place: str) -> str:
    """The file behind symbolic links; an error where it is seen that it cannot be replaced."""
    text = checked_path(path, place)
    target = os.path.realpath(text)
    folder = os.path.dirname(target)
    try:
        there = os.stat(text)  # not of `target`: the name behind /dev/stdout may be no path
    except FileNotFoundError:
        if not os.path.basename(text):
            raise ValueError(f"{place}: {text} is a folder's name, expected a file's") from None
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"{place}: there is no folder {folder}") from None
        return target
    # os.replace would put a file in the place of /dev/null, for one who may.
    if not stat.S_ISREG(there.st_mode):
        kind = "is a folder and " if stat.S_ISDIR(there.st_mode) else "exists and is "
        raise ValueError(f"{place}: {text} {kind}not a regular file, expected one to replace")
    if not there.st_mode & 0o222 or not os.access(target, os.W_OK):  # root may write all
        if not os.path.exists(target):  # another process has just removed it
            return target
        mode = stat.S_IMODE(there.st_mode)
        raise PermissionError(errno.EACCES, f"is not writable (mode {mode:03o})", text)
    if _is_kept(there, folder):
        raise PermissionError(errno.EPERM, f"belongs to another user, in {folder}", text)
    if os.path.ismount(target):
        raise OSError(errno.EBUSY, "is mounted by itself and cannot be replaced", text)
    return target


def _is_kept(there: os.stat_result, folder: str) -> bool:
    """Whether the folder is one like /tmp, where a file may be replaced by its owner alone."""
    if os.name != "posix":
        return False
    around, user = os.stat(folder), os.geteuid()
    return bool(around.st_mode & stat.S_ISVTX) and user not in (0, around.st_uid, there.st_uid)


def _mode_of(target: str) -> int | None:
    """Permissions of the file to replace; None where there is none yet."""
    try:
        return os.stat(target).st_mode & 0o777
    except FileNotFoundError:
        return None


# The file aside.


@contextmanager
def _aside(target: str) -> Iterator[tuple[IO[bytes], str]]:
    """A new file in the target's folder, open and locked; gone at the end, unless renamed.

    A process that is killed leaves its file, unlocked: the next one removes it.
    """
    folder, name = os.path.split(target)
    stem = f"{_PREFIX}{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}-"
    _remove_left_over(folder, stem)
    for _ in range(100):
        # A new name for every try: one who locked an earlier try's file may be about to remove it.
        aside = os.path.join(folder, f"{stem}{secrets.token_hex(8)}.tmp")
        try:
            with _locked(aside) as file:
                if os.path.exists(aside):  # else one found it before it was locked
                    yield file, aside
                    return
        finally:
            with suppress(OSError):
                os.unlink(aside)
    raise OSError(errno.EBUSY, "other processes keep removing what is written aside", aside)


def _locked(aside: str) -> IO[bytes]:
    """Make a file, and lock it to show that its owner lives, however the process ends."""
    try:
        # Not tempfile, whose files are 0600 whatever the umask.
        file = open(aside, "xb")  # noqa: SIM115 - the caller closes it
    except OSError as error:
        reason = f"{error.strerror}: no file can be made in {os.path.dirname(aside)}"
        raise OSError(error.errno, reason, aside) from error
    if sys.platform != "win32":
        with suppress(OSError):  # no locks on this disk: what is left over there stays
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
    return file


def _remove_left_over(folder: str, stem: str) -> None:
    """Remove what killed processes left of this target: nobody holds its lock."""
    if sys.platform == "win32":
        return
    with suppress(OSError), os.scandir(folder) as entries:
        left = [e for e in entries if e.name.startswith(stem) and e.name.endswith(".tmp")]
        for entry in left:
            with suppress(OSError):
                _remove_unlocked(entry)


def _remove_unlocked(entry: "os.DirEntry[str]") -> None:
    if sys.platform == "win32" or not entry.is_file(follow_symlinks=False):
        return
    descriptor = os.open(entry.path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(entry.path)
    finally:
        os.close(descriptor)


def _reserve(file: IO[bytes], size: int) -> None:
    """Take room on the disk, as far as the system can tell that there is some."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
    if shutil.disk_usage(os.path.dirname(file.name)).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Steps that may fail.


@contextmanager
def _named(path: StrPath) -> Iterator[None]:
    """An OSError within names the user's file, instead of the one aside or none."""
    try:
        yield
    except OSError as error:
        about = os.path.basename(os.fsdecode(error.filename or b""))
        if error.errno is None or (about and not about.startswith(_PREFIX)):
            raise
        # The class follows from the number: OSError(ENOENT, ...) is a FileNotFoundError.
        raise OSError(error.errno, error.strerror, os.fsdecode(path)) from error


@contextmanager
def _may_fail(what: str, undone: list[str]) -> Iterator[None]:
    """An OSError within is put down instead of raised."""
    try:
        yield
    except OSError as error:
        undone.append(f"{what} ({error.strerror or error})")


def _sync(file: IO[bytes], undone: list[str]) -> None:
    """Bring the file to the disk; some disks have no way to."""
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        undone.append(f"bring it to the disk ({error.strerror})")


def _sync_folder(folder: str) -> None:
    """Bring the new name to the disk; the file itself is there already."""
    if os.name != "posix":
        return  # a folder cannot be opened on Windows
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
