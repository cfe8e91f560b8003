"""Replacing files: refused before, warned of after, and what remains."""

import errno
import io
import os
import signal
import stat
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from layers import replacing
from tests.conftest import SECONDS

if sys.platform != "win32":
    import fcntl

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and signals")


def save(path, content: bytes = b"new") -> None:
    replacing.replace_file(path, lambda file: file.write(content), "save")


def both(path) -> list[BaseException]:
    """What the check before and the replacing itself raise."""
    errors = []
    for call in (lambda: replacing.check_can_replace(path, "save", 10), lambda: save(path)):
        with pytest.raises((OSError, ValueError, TypeError)) as caught:
            call()
        errors.append(caught.value)
    return errors


def fail_with(number: int):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


# Refused, by the check as by the replacing.


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "save: path is None, expected a str or a path"),
        (3, "save: path is 3, expected a str or a path"),
        ("", "save: path is '', expected the name of a file"),
        ("a\0b", r"save: path is 'a\x00b', expected the name of a file"),
        ("models/", "save: models/ is a folder's name, expected a file's"),
        (".", "save: . is a folder and not a regular file, expected one to replace"),
        (os.devnull, f"save: {os.devnull} exists and is not a regular file, expected one"),
    ],
)
def test_what_names_no_file(path, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert all(str(error).startswith(message) for error in both(path))
    assert os.listdir(tmp_path) == []


@posix
def test_a_read_only_file_is_kept(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"old")
    path.chmod(0o444)
    for error in both(path):
        assert type(error) is PermissionError
        assert (error.filename, error.strerror) == (str(path), "is not writable (mode 444)")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model"]


@posix
@pytest.mark.parametrize("mode", [0o644, 0o444])
def test_a_file_that_another_removes_meanwhile_is_none(mode, tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.write_bytes(b"old")
    path.chmod(mode)
    stat_of = os.stat

    def removed_thereafter(file, **options):
        there = stat_of(file, **options)
        if file == str(path):
            path.unlink()
        return there

    monkeypatch.setattr(os, "stat", removed_thereafter)
    save(path)
    assert path.read_bytes() == b"new"


@posix
def test_another_users_file_in_a_shared_folder_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.write_bytes(b"old")
    path.chmod(0o666)
    tmp_path.chmod(0o1777)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    for error in both(path):
        assert f"belongs to another user, in {tmp_path}" in str(error)
    tmp_path.chmod(0o777)
    save(path)


def test_a_mounted_file_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.write_bytes(b"old")
    monkeypatch.setattr(os.path, "ismount", lambda target: target == os.path.realpath(path))
    assert all("is mounted by itself" in str(error) for error in both(path))


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="the system has no /proc")
def test_a_folder_that_takes_no_files():
    for error in both("/proc/model"):
        assert isinstance(error, OSError)
        assert error.filename == "/proc/model"
        assert error.strerror.endswith("no file can be made in /proc")


# Errors name the user's file.


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_an_error_names_the_file_that_was_asked_for(function, number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, function, fail_with(number))
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is looked at
        save("model")
    assert (caught.value.errno, caught.value.filename) == (number, "model")
    assert os.listdir(tmp_path) == []


def test_another_file_keeps_its_name(tmp_path):
    def write(_):
        open(tmp_path / "font")  # noqa: SIM115 - there is none

    with pytest.raises(FileNotFoundError) as caught:
        replacing.replace_file(tmp_path / "picture", write, "plots")
    assert caught.value.filename == str(tmp_path / "font")


@posix
def test_there_is_no_room(tmp_path, monkeypatch):
    path = tmp_path / "model"
    monkeypatch.setattr(os, "posix_fallocate", fail_with(errno.EDQUOT), raising=False)
    with pytest.raises(OSError, match="quota") as caught:
        replacing.check_can_replace(path, "save", 1000)
    assert caught.value.filename == str(path)
    # Where the disk cannot reserve, what is free is compared.
    monkeypatch.setattr(os, "posix_fallocate", fail_with(errno.EOPNOTSUPP), raising=False)
    replacing.check_can_replace(path, "save", 1000)
    with pytest.raises(OSError, match="No space left") as caught:
        replacing.check_can_replace(path, "save", 1 << 60)
    assert caught.value.filename == str(path)
    assert os.listdir(tmp_path) == []


# What goes wrong once the bytes are safe.


def test_permissions_that_cannot_be_kept_are_a_warning(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "chmod", fail_with(errno.EPERM))
    with pytest.warns(UserWarning, match=r"model is written; the system refused to keep the perm"):
        save(path)
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["model"]


@posix
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EACCES, errno.EIO])
def test_a_folder_that_cannot_be_synced_is_a_warning(number, tmp_path, monkeypatch):
    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            fail_with(number)()

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.warns(UserWarning, match="refused to bring the new name to the disk"):
        save(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == b"new"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_disk_that_cannot_sync_is_a_warning(number, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail_with(number))
    with pytest.warns(UserWarning, match="model is written; the system refused"):
        save(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == b"new"


@pytest.mark.filterwarnings("default")
def test_a_warning_that_nobody_can_read_costs_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail_with(errno.EINVAL))
    # As Python shows it, where pytest keeps it.
    monkeypatch.setattr(warnings, "showwarning", lambda *_: sys.stderr.write("warning"))
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    save(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == b"new"


def test_a_warning_that_is_an_error_comes_after_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail_with(errno.EINVAL))
    with pytest.raises(UserWarning):  # pytest turns warnings into errors, as -W error does
        save(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == b"new"


# What killed processes leave.

KILLED = """
import os, signal, sys
from layers import replacing
from tests.conftest import SECONDS

def write(file):
    file.write(bytes(1000))
    file.flush()
    if sys.argv[2] == "stop":
        print("writing", flush=True)
        sys.stdin.read()
    else:
        os.kill(os.getpid(), signal.SIGKILL)

replacing.replace_file(sys.argv[1], write, "save")
"""


def child(path: Path, how: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), how],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


@posix
@pytest.mark.parametrize("act", [save, lambda path: replacing.check_can_replace(path, "save")])
def test_what_a_killed_process_left_is_removed(act, tmp_path):
    path, other = tmp_path / "model", tmp_path / "other"
    for target in (path, other):
        with child(target, "kill") as process:
            assert process.wait(timeout=SECONDS) == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 2
    act(path)
    left = set(os.listdir(tmp_path)) - {"model"}
    assert len(left) == 1  # the other file's, which may be needed to tell what happened to it
    act(other)
    assert set(os.listdir(tmp_path)) <= {"model", "other"}


@posix
def test_what_a_living_process_writes_is_left_alone(tmp_path):
    path = tmp_path / "model"
    with child(path, "stop") as process:
        assert process.stdout.readline() == b"writing\n"
        save(path)
        assert len(os.listdir(tmp_path)) == 2
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert path.read_bytes() == bytes(1000)
    assert os.listdir(tmp_path) == ["model"]


@posix
def test_only_a_file_is_removed(tmp_path):
    path, kept = tmp_path / "model", tmp_path / "kept"
    with child(path, "kill") as process:
        process.wait(timeout=SECONDS)
    (left,) = os.listdir(tmp_path)
    (tmp_path / left).unlink()
    kept.write_bytes(b"kept")
    (tmp_path / left).symlink_to(kept)
    os.mkfifo(tmp_path / left.replace(".tmp", "0.tmp"))
    save(path)
    assert kept.read_bytes() == b"kept"
    assert len(os.listdir(tmp_path)) == 4


@posix
def test_a_late_remover_removes_no_newer_file(tmp_path, monkeypatch):
    """Two others open the new file before it is locked; the second goes on after the next try."""
    path, flock, late = tmp_path / "model", fcntl.flock, []

    def others(descriptor, how):
        if not late:
            (aside,) = os.listdir(tmp_path)
            late.extend([tmp_path / aside, os.open(tmp_path / aside, os.O_RDWR)])
            os.unlink(tmp_path / aside)
        return flock(descriptor, how)

    def write(file):
        aside, descriptor = late
        flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        aside.unlink(missing_ok=True)
        os.close(descriptor)
        file.write(b"new")

    monkeypatch.setattr(fcntl, "flock", others)
    replacing.replace_file(path, write, "save")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["model"]


@posix
def test_one_who_removes_every_new_file_is_an_error(tmp_path, monkeypatch):
    def remove(*_):
        (aside,) = os.listdir(tmp_path)
        os.unlink(tmp_path / aside)

    monkeypatch.setattr(fcntl, "flock", remove)
    for error in both(tmp_path / "model"):
        assert (error.errno, error.filename) == (errno.EBUSY, str(tmp_path / "model"))
        assert error.strerror == "other processes keep removing what is written aside"
    assert os.listdir(tmp_path) == []


def test_many_threads_replace_one_file(tmp_path):
    path, errors = tmp_path / "model", []

    def work(number: int) -> None:
        try:
            for _ in range(50):
                save(path, bytes([number]) * 1000)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert errors == []
    assert len(set(path.read_bytes())) == 1
    assert os.listdir(tmp_path) == ["model"]
