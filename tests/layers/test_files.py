import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from layers.files import archive, npz
from tests import fuzz_files
from tests.conftest import SECONDS

ROOT = Path(__file__).parents[2]
ARCHITECTURE = {"dtype": "float32", "layers": [{"kind": "Dense", "shape": [3, 2]}], "rate": 0.1}


def small_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "0.weights": rng.normal(size=(3, 2)).astype(np.float32),
        "0.biases": np.array([[1.5, np.nan]]),
        "steps": np.array(12345, np.int64),
    }


def assert_same_arrays(loaded: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(loaded) == list(expected)
    for name, array in expected.items():
        assert loaded[name].shape == array.shape
        assert loaded[name].dtype == array.dtype.newbyteorder("=")
        assert loaded[name].dtype.isnative
        assert loaded[name].flags.c_contiguous
        assert loaded[name].flags.writeable
        assert loaded[name].flags.aligned
        assert loaded[name].tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes()


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in members.items():
            opened.writestr(name, content)


def document(*names: object) -> bytes:
    return json.dumps({"format": 1, "arrays": names, "architecture": {}}).encode()


def npy(descr: str, shape: object, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + body


# Round trips.


def test_an_array_beyond_what_a_plain_zip_file_holds(tmp_path, monkeypatch):
    """Of 2 GiB on; here the limit is less."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    arrays = {"a": np.arange(1000.0), "b": np.ones(2)}
    archive.save_arrays(tmp_path / "model.npz", arrays, ARCHITECTURE)
    assert_same_arrays(archive.load_arrays(tmp_path / "model.npz")[0], arrays)


def test_round_trip_under_exactly_the_given_name(tmp_path):
    path = tmp_path / "a model"
    archive.save_arrays(path, small_arrays(), ARCHITECTURE)
    assert os.listdir(tmp_path) == ["a model"]
    arrays, architecture = archive.load_arrays(str(path))
    assert_same_arrays(arrays, small_arrays())
    assert architecture == ARCHITECTURE


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(
    lambda name: name.isprintable() and "\\" not in name
)
numbers = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.complex_number_dtypes(endianness="?"),
)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=60)
@given(
    st.dictionaries(names, hnp.arrays(numbers, shapes), max_size=3),
    st.dictionaries(st.text(max_size=5), json_values, max_size=3),
)
def test_round_trip_of_any_arrays(tmp_path_factory, arrays, architecture):
    path = tmp_path_factory.getbasetemp() / "any.npz"
    archive.save_arrays(path, arrays, architecture)
    loaded, loaded_architecture = archive.load_arrays(path)
    assert_same_arrays(loaded, arrays)
    assert loaded_architecture == architecture


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a.T,
        lambda a: a[::2, 1:],
        lambda a: a[::-1],
        np.asfortranarray,
        lambda a: np.broadcast_to(a[0], a.shape),
    ],
    ids=["transposed", "strided", "reversed", "fortran", "broadcast"],
)
def test_any_layout_is_stored_in_c_order(tmp_path, view):
    array = view(np.arange(20.0).reshape(4, 5))
    path = tmp_path / "layout.npz"
    archive.save_arrays(path, {"a": array}, {})
    assert_same_arrays(archive.load_arrays(path)[0], {"a": array})
    with zipfile.ZipFile(path) as opened:
        assert b"'fortran_order': False" in opened.read("a.npy")


def test_numpy_reads_the_file(tmp_path):
    path = tmp_path / "model.npz"
    archive.save_arrays(path, small_arrays(), ARCHITECTURE)
    with np.load(path, allow_pickle=False) as opened:
        np.testing.assert_array_equal(opened["0.biases"], small_arrays()["0.biases"])
        assert json.loads(opened["architecture.json"])["architecture"] == ARCHITECTURE


def test_arrays_written_by_numpy_in_fortran_order(tmp_path):
    path = tmp_path / "model.npz"
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.savez(path, a=array)
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr("architecture.json", document("a"))
    arrays, _ = archive.load_arrays(path)
    assert_same_arrays(arrays, {"a": array})


def test_equal_contents_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        archive.save_arrays(tmp_path / name, small_arrays(), ARCHITECTURE)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with zipfile.ZipFile(tmp_path / "a") as opened:
        assert {member.date_time[0] for member in opened.infolist()} == {1980}


# What a save refuses: nothing is written then.


class NotJson:
    pass


@pytest.mark.parametrize(
    ("arrays", "architecture", "error", "message"),
    [
        ({"a": np.array([None])}, {}, TypeError, "'a' has dtype object, expected numbers"),
        ({"a": np.array(["x"])}, {}, TypeError, "'a' has dtype <U1, expected numbers"),
        ({"a": np.zeros(2, "f4,i4")}, {}, TypeError, "'a' has dtype .*, expected numbers"),
        ({"a": [1.0, 2.0]}, {}, TypeError, "'a' is a list, expected a plain NumPy array"),
        ({"a": np.ma.zeros(2)}, {}, TypeError, "'a' is a MaskedArray, expected a plain"),
        ({"": np.zeros(2)}, {}, ValueError, "array name '', expected printable"),
        ({"a\0b": np.zeros(2)}, {}, ValueError, r"array name 'a\\x00b', expected printable"),
        ({"a\\b": np.zeros(2)}, {}, ValueError, "without a backslash"),
        ({0: np.zeros(2)}, {}, TypeError, "array name 0 is a int, expected a str"),
        ({}, [1], TypeError, "architecture is a list, expected a dict"),
        ({}, {"a": NotJson()}, TypeError, "as JSON: Object of type NotJson"),
        ({}, {"a": float("nan")}, ValueError, "cannot be written as JSON"),
    ],
)
def test_refused_contents(tmp_path, arrays, architecture, error, message):
    with pytest.raises(error, match=message) as caught:
        archive.save_arrays(tmp_path / "model.npz", arrays, architecture)
    assert "save_arrays: " in str(caught.value)
    assert "model.npz" in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        archive.save_arrays(tmp_path / "nowhere" / "model.npz", {}, {})


def test_only_a_regular_file_is_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(ValueError, match="not a regular file"):
            archive.save_arrays(tmp_path / name, {}, {})
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


# Replacing: order, failures, permissions.


def test_file_is_synced_before_the_rename_and_the_folder_after(tmp_path, monkeypatch):
    calls = []

    def fsync(descriptor: int) -> None:
        mode = os.fstat(descriptor).st_mode
        size = os.fstat(descriptor).st_size
        calls.append("folder" if stat.S_ISDIR(mode) else f"file of {size}")

    def replace(source: str, target: str) -> None:
        calls.append("replace")
        assert os.path.dirname(source) == os.path.dirname(target) == str(tmp_path)
        os.rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    path = tmp_path / "model.npz"
    archive.save_arrays(path, small_arrays(), ARCHITECTURE)
    assert calls == [f"file of {path.stat().st_size}", "replace", "folder"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "disk full"), KeyboardInterrupt()])
def test_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, function, error):
    path = tmp_path / "model.npz"
    archive.save_arrays(path, small_arrays(), ARCHITECTURE)
    before = path.read_bytes()

    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(type(error)):
        archive.save_arrays(path, {}, {})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.npz"]


def test_new_file_has_the_permissions_of_the_umask(tmp_path):
    path = tmp_path / "model.npz"
    old = os.umask(0o027)
    try:
        archive.save_arrays(path, {}, {})
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_existing_file_keeps_its_permissions(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(b"secret")
    path.chmod(0o600)
    archive.save_arrays(path, {}, {})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_symbolic_link_is_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "latest").symlink_to(tmp_path / "elsewhere" / "model.npz")
    archive.save_arrays(tmp_path / "latest", small_arrays(), {})
    assert (tmp_path / "latest").is_symlink()
    assert os.listdir(tmp_path / "elsewhere") == ["model.npz"]
    assert_same_arrays(archive.load_arrays(tmp_path / "latest")[0], small_arrays())


CHILD = """
import os, signal, sys
import numpy as np
from layers.files import archive
from tests import fuzz_files
from tests.conftest import SECONDS
path, where = sys.argv[1:]

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

if where == "inside the write":
    np.lib.format.write_array = lambda stream, *rest, **more: (stream.write(b"half"), die())
elif where != "any time":
    setattr(os, where, die)
turn = 0
while True:
    turn += 1
    archive.save_arrays(path, {"a": np.full(300_000, turn)}, {"turn": turn})
    print(turn, flush=True)
"""


@pytest.mark.parametrize("where", ["inside the write", "fsync", "replace", "any time"])
def test_kill_9_leaves_the_old_file_or_the_new_one(tmp_path, where):
    path = tmp_path / "model.npz"
    archive.save_arrays(path, {"a": np.zeros(3)}, {"turn": 0})
    command = [sys.executable, "-c", CHILD, str(path), where]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        if where == "any time":
            child.stdout.readline()
            time.sleep(0.1)
            child.kill()
        assert child.wait(timeout=SECONDS) == -signal.SIGKILL
    arrays, architecture = archive.load_arrays(path)
    turn = architecture["turn"]
    assert (turn == 0) == (where != "any time")
    np.testing.assert_array_equal(arrays["a"], np.full(300_000 if turn else 3, turn))


# Damaged files.


def test_truncation_at_every_offset(tmp_path):
    path = tmp_path / "model.npz"
    archive.save_arrays(path, {"a": np.arange(40.0)}, ARCHITECTURE)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"model\.npz: not a whole \.npz file"):
            archive.load_arrays(path)


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_changed_byte_is_an_error_or_changes_nothing(tmp_path, flip):
    path = tmp_path / "model.npz"
    expected = {"a": np.arange(5.0), "b": np.ones(3)}
    archive.save_arrays(path, expected, ARCHITECTURE)
    whole = path.read_bytes()
    named = 0
    for offset in range(len(whole)):
        damaged = bytearray(whole)
        damaged[offset] ^= flip
        path.write_bytes(damaged)
        try:
            arrays, architecture = archive.load_arrays(path)
        except ValueError as error:
            named += str(path) in str(error)
        else:
            # The byte was one that nobody needs, such as a date.
            assert architecture == ARCHITECTURE
            assert_same_arrays(arrays, expected)
            named += 1
    assert named == len(whole)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip file at all", b"\x93NUMPY\x01\x00"])
def test_not_a_zip_file(tmp_path, content):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.npz: not a whole \.npz file .*, expected a zip"):
        archive.load_arrays(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.npz"):
        archive.load_arrays(tmp_path / "absent.npz")
    with pytest.raises(IsADirectoryError):
        archive.load_arrays(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r": no architecture\.json inside, expected a file written by save_arrays"),
        (b"{", r", architecture\.json is not JSON"),
        (b"\xff", r", architecture\.json is not JSON"),
        (b"[" * 100_000, r", architecture\.json is not JSON"),
        (b"[1]", r", architecture\.json holds something else"),
        (b"{}", r", architecture\.json holds something else"),
        (document("a", 1), r", architecture\.json holds something else"),
        (document("a").replace(b"{}", b"[]"), r", architecture\.json holds something else"),
        (document("a").replace(b"1", b"3"), r", architecture\.json has format 3, expected 1 or 2"),
    ],
    ids=["missing", "broken", "not text", "deep", "list", "empty", "names", "no dict", "future"],
)
def test_wrong_architecture(tmp_path, text, message):
    path = tmp_path / "model.npz"
    members = {"a.npy": npy("<f8", (1,), b"12345678")}
    write_zip(path, members if text is None else {"architecture.json": text} | members)
    with pytest.raises(ValueError, match=message) as caught:
        archive.load_arrays(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("names", [(), ("b",), ("a", "b"), ("a", "a")])
def test_arrays_are_those_of_the_list(tmp_path, names):
    path = tmp_path / "model.npz"
    write_zip(path, {"architecture.json": document(*names), "a.npy": npy("<f8", (1,), b"12345678")})
    listed = ", ".join(names) or "none"
    message = rf"holds architecture\.json, a\.npy, expected .* that it lists: {listed}$"
    with pytest.raises(ValueError, match=message):
        archive.load_arrays(path)


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (b"", "its header is not that of a .npy file"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4',", "its header is not that of a .npy file"),
        (b"\x93NUMPY\x01\x00\x04\x00((((", "its header is not that of a .npy file"),
        (npy("<f8", (1,), b"12345678", b"\x07\x00"), "header is not that of a .npy"),
        (npy("<f8", (1,), b"12345678", b"\x03\x00"), r"format version \(3, 0\), expected"),
        (npy("<f8", (-1,), b"12345678"), r"shape \(-1,\) has a negative size"),
        (npy("<f8", (True,), b"12345678"), "is not one of integers"),
        (npy("<f8", (1, False), b""), "is not one of integers"),
        (npy("<f8", 1, b"12345678"), "its header is not that of a .npy file"),
        (npy("<f8", (2,), b"12345678"), "truncated, 8 bytes of data, expected 16 by its header"),
        (npy("<f8", (1,), b"123456789"), "more data than the 8 bytes promised"),
        (npy("<f8", (2**40, 2**40)), "truncated, 0 bytes of data"),
        (npy("<f8", (0, 2**40, 2**40)), "by its header"),
        (npy("|O", (1,), b"\x80\x04N."), "holds pickled Python objects, expected numbers"),
        (npy("<U2", (1,), b"12345678"), "has dtype <U2, expected numbers"),
    ],
)
def test_wrong_member(tmp_path, member, message):
    path = tmp_path / "model.npz"
    write_zip(path, {"architecture.json": document("a"), "a.npy": member})
    with pytest.raises(ValueError, match=message) as caught:
        archive.load_arrays(path)
    assert f"load_arrays: {path}, array 'a'" in str(caught.value)


@pytest.mark.parametrize("number", [errno.EIO, errno.ETIMEDOUT])
def test_a_disk_that_fails_is_no_damaged_file(tmp_path, monkeypatch, number):
    def read(*_):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "model.npz"
    archive.save_arrays(path, small_arrays(), ARCHITECTURE)
    monkeypatch.setattr(zipfile.ZipExtFile, "read", read)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        archive.load_arrays(path)
    assert caught.value.errno == number


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("sha256"),
        lambda d: d.update(sha256="0" * 64),
        lambda d: d.update(sha256=None),
        lambda d: d["architecture"].update(rate=0.2),
        lambda d: d["arrays"].reverse(),
    ],
    ids=["none", "another", "null", "architecture", "order"],
)
def test_the_checksum_is_over_all_members(tmp_path, change):
    path = tmp_path / "model.npz"
    archive.save_arrays(path, {"a": np.ones(2), "b": np.zeros(2)}, ARCHITECTURE)
    with zipfile.ZipFile(path) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    found = json.loads(members["architecture.json"])
    change(found)
    write_zip(path, members | {"architecture.json": json.dumps(found).encode()})
    with pytest.raises(ValueError, match=r"checksum|something else than save_arrays"):
        archive.load_arrays(path)


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_exchanged_members_are_seen(tmp_path, names):
    """Each has its own right checksum in the archive."""
    path = tmp_path / "model.npz"
    archive.save_arrays(path, {"a": np.ones(2), "b": np.zeros(2)}, ARCHITECTURE)
    with zipfile.ZipFile(path) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    found = {f"{new}.npy": members[f"{old}.npy"] for new, old in zip("ab", names, strict=True)}
    write_zip(path, {"architecture.json": members["architecture.json"]} | found)
    if names == ("a", "b"):
        archive.load_arrays(path)
    else:
        with pytest.raises(ValueError, match="its contents have another checksum"):
            archive.load_arrays(path)


# A stranger's file costs no more than its size allows.


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("which", ["architecture.json", "a.npy"])
def test_a_compressed_member_is_refused_unread(tmp_path, monkeypatch, method, which):
    path = tmp_path / "model.npz"
    members = {"architecture.json": document("a"), "a.npy": npy("<f8", (1,), b"12345678")}
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in members.items():
            opened.writestr(name, content, method if name == which else zipfile.ZIP_STORED)
    monkeypatch.delattr(zipfile.ZipFile, "open")
    with pytest.raises(ValueError, match=rf"model\.npz: '{which}' is compressed, expected all"):
        archive.load_arrays(path)


def test_members_that_share_their_bytes_are_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    body = npy("<f8", (1000,), bytes(8000))
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("architecture.json", document("a", "b", "c"))
        opened.writestr("a.npy", body)
        for name in ("b.npy", "c.npy"):  # in the directory alone
            again = zipfile.ZipInfo(name)
            first = opened.getinfo("a.npy")
            for field in ("header_offset", "CRC", "file_size", "compress_size"):
                setattr(again, field, getattr(first, field))
            opened.filelist.append(again)
    assert path.stat().st_size < 9000
    monkeypatch.delattr(zipfile.ZipFile, "open")
    with pytest.raises(ValueError, match=r"its members have 24\d+ bytes .* the size of the file"):
        archive.load_arrays(path)


def test_a_stored_size_of_its_own_is_refused_unread(tmp_path, monkeypatch):
    """By which zipfile would take a gigabyte of memory at once."""
    path = tmp_path / "model.npz"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("architecture.json", document())
        opened.getinfo("architecture.json").compress_size = 2**30
    monkeypatch.delattr(zipfile.ZipFile, "open")
    with pytest.raises(ValueError, match=r"'architecture.json' has 1073741824 bytes by its direct"):
        archive.load_arrays(path)


def test_a_large_architecture_is_neither_read_nor_written(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    monkeypatch.setattr(archive, "_MOST_ARCHITECTURE", 1000)
    message = r"architecture.* has \d+ bytes.*, expected at most 1000"
    with pytest.raises(ValueError, match=message):
        archive.save_arrays(path, {}, {"history": [0.1] * 1000})
    write_zip(path, {"architecture.json": document() + b" " * 1000})
    monkeypatch.delattr(zipfile.ZipFile, "open")
    with pytest.raises(ValueError, match=message):
        archive.load_arrays(path)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"a": (2, 3)}, r"array 'a' has shape \(3, 2\), expected \(2, 3\)"),
        ({"a": (6,)}, r"array 'a' has shape \(3, 2\), expected \(6,\)"),
        ({}, r"holds the arrays \['a'\], expected \[\]"),
        ({"a": (3, 2), "b": ()}, r"holds the arrays \['a'\], expected \['a', 'b'\]"),
    ],
)
def test_shapes_are_compared_before_anything_is_read(tmp_path, monkeypatch, shapes, message):
    path = tmp_path / "model.npz"
    archive.save_arrays(path, {"a": np.zeros((3, 2))}, {})
    archive.load_arrays(path, lambda architecture: {"a": (3, 2)})
    monkeypatch.delattr(npz, "read_promised")
    with pytest.raises(ValueError, match=message):
        archive.load_arrays(path, lambda architecture: shapes)


@pytest.mark.parametrize(
    ("path", "error"), [(None, TypeError), (3, TypeError), ("", ValueError), ("a\0b", ValueError)]
)
def test_a_path_names_a_file(path, error):
    with pytest.raises(error, match=r"^save_arrays: path is .*, expected "):
        archive.save_arrays(path, {}, {})
    with pytest.raises(error, match=r"^load_arrays: path is .*, expected "):
        archive.load_arrays(path)


@pytest.mark.parametrize("kind", ["npz", "safetensors", "onnx"])
def test_mutants_of_each_format(tmp_path, kind):
    """A sample; `python -m tests.fuzz_files` makes many more."""
    if kind != "npz":
        pytest.importorskip(kind)
    assert fuzz_files.run(kind, 400, 0, tmp_path) == []
