"""Named arrays and an architecture in one .npz file, written atomically.

The file is a plain zip archive: ``NAME.npy`` for each array, as ``numpy.load`` reads them, and
``architecture.json``, which also lists the arrays and holds a checksum over all of them and the
architecture. Nothing in it is pickled, so reading a stranger's file runs no code.

Format 1 has no checksum but those that a zip archive has of each member by itself.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from layers.files.npz import NUMBERS, SUFFIX, open_archive, read_array
from layers.replacing import StrPath, checked_path, replace_file

__all__ = ["load_arrays", "save_arrays"]

_ARCHITECTURE = "architecture.json"
_FORMAT = 2  # of architecture.json; readers refuse unknown formats
_READ = (1, 2)
_MOST_ARCHITECTURE = 1 << 26
"""Bytes, enough for half a million epochs. Decoded JSON takes up to thirty times as many."""


def save_arrays(
    path: StrPath,
    arrays: Mapping[str, NDArray[Any]],
    architecture: dict[str, object],
    place: str = "save_arrays",
) -> None:
    """Write named arrays and an architecture into one file, whole or not at all.

    Whatever interrupts the save (an exception, ``kill -9``, a power cut), `path` is either the old
    file or the new one. Equal contents give equal bytes.

    Parameters
    ----------
    path : str or path-like
        The file, under exactly this name: no ``.npz`` is added. A symbolic link is followed. A
        new file gets its permissions from the umask; an existing one keeps its own.
    arrays : mapping of str to ndarray
        Arrays of numbers, stored in C order. Names are printable and not empty.
    architecture : dict
        JSON-serialisable; `load_arrays` returns it as JSON has it (a tuple as a list).
    place : str
        The beginning of messages.
    """
    caller, place = place, f"{place}: {checked_path(path, place)}"
    checked = {_checked_name(name, place): _numbers(name, arrays[name], place) for name in arrays}
    text = _to_json(architecture, checked, place)

    def write(file: IO[bytes]) -> None:
        # A ZipInfo of our own carries the year 1980 instead of the clock.
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(zipfile.ZipInfo(_ARCHITECTURE), text)
            for name, array in checked.items():
                member = zipfile.ZipInfo(name + SUFFIX)
                with archive.open(member, "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, array, allow_pickle=False)

    replace_file(path, write, caller)


def load_arrays(
    path: StrPath,
    shapes_of: Callable[[dict[str, object]], Mapping[str, tuple[int, ...]]] | None = None,
    place: str = "load_arrays",
) -> tuple[dict[str, NDArray[Any]], dict[str, object]]:
    """Read what `save_arrays` wrote; an untrusted file takes no more memory than its size.

    Parameters
    ----------
    path : str or path-like
        The file.
    shapes_of : function, optional
        Maps the architecture to the arrays' shapes, which are checked before the arrays are read.
    place : str
        The beginning of messages.

    Returns
    -------
    arrays : dict of str to ndarray
        In the order they were saved; C-contiguous, writable, native byte order.
    architecture : dict
        The architecture, as JSON has it.

    Raises
    ------
    ValueError
        If the file is damaged, or was not written by `save_arrays`.
    """
    place = f"{place}: {checked_path(path, place)}"
    with open_archive(path, place) as archive:
        check_sizes(archive, place)
        names = archive.namelist()
        if _ARCHITECTURE not in names:
            raise ValueError(
                f"{place}: no {_ARCHITECTURE} inside, expected a file written by save_arrays"
            )
        array_list, architecture, expected = _from_json(archive.read(_ARCHITECTURE), place)
        # A wrong length in the archive's directory hides members from zipfile without an error.
        if sorted(names) != sorted([_ARCHITECTURE, *(name + SUFFIX for name in array_list)]):
            raise ValueError(
                f"{place} holds {', '.join(names)[:200]}, expected {_ARCHITECTURE} and the arrays"
                f" that it lists: {', '.join(array_list)[:200] or 'none'}"
            )
        shapes = None if shapes_of is None else shapes_of(architecture)
        if shapes is not None and set(shapes) != set(array_list):
            raise ValueError(
                f"{place} holds the arrays {sorted(array_list)}, expected {sorted(shapes)}"
            )
        arrays = {
            name: read_array(archive, name, place, shapes[name] if shapes else None)
            for name in array_list
        }
    if expected is not None and expected != checksum(architecture, arrays, place):
        raise ValueError(
            f"{place}: its contents have another checksum than {_ARCHITECTURE} says, expected a "
            "file as save_arrays wrote it"
        )
    return arrays, architecture


def check_sizes(archive: zipfile.ZipFile, place: str) -> None:
    """Check that members are stored uncompressed, side by side, as `save_arrays` writes them."""
    members = archive.infolist()
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(
                f"{place}: {member.filename[:200]!r} is compressed, expected all members stored as "
                "they are"
            )
        # zipfile reads as much at once as this says.
        if member.compress_size != member.file_size:
            raise ValueError(
                f"{place}: not a whole .npz file, {member.filename[:200]!r} has "
                f"{member.compress_size} bytes by its directory, expected {member.file_size}"
            )
    claimed, whole = sum(member.file_size for member in members), _size(archive)
    if claimed > whole:
        raise ValueError(
            f"{place}: not a whole .npz file, its members have {claimed} bytes by its directory, "
            f"expected at most {whole}, the size of the file"
        )
    for member in members:
        if member.filename == _ARCHITECTURE and member.file_size > _MOST_ARCHITECTURE:
            raise ValueError(
                f"{place}, {_ARCHITECTURE} has {member.file_size} bytes, expected at most "
                f"{_MOST_ARCHITECTURE}"
            )


def _size(archive: zipfile.ZipFile) -> int:
    file = archive.fp
    assert file is not None
    return os.fstat(file.fileno()).st_size


# Checks before a save, and the architecture.


def _checked_name(name: object, place: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{place}: array name {name!r} is a {type(name).__name__}, expected a str")
    # zipfile cuts a name at a NUL, and some systems replace a backslash by a slash.
    if not name or not name.isprintable() or "\\" in name:
        raise ValueError(
            f"{place}: array name {name!r}, expected printable characters without a backslash"
        )
    return name


def _numbers(name: str, value: object, place: str) -> NDArray[Any]:
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{place}: array {name!r} is a {type(value).__name__}, expected a plain NumPy array"
        )
    if value.dtype.kind not in NUMBERS:
        raise TypeError(f"{place}: array {name!r} has dtype {value.dtype}, expected numbers")
    # Not ascontiguousarray, which adds a dimension to a zero-dimensional array.
    return np.asarray(value, order="C")


def _to_json(architecture: object, arrays: Mapping[str, NDArray[Any]], place: str) -> str:
    if not isinstance(architecture, dict):
        raise TypeError(
            f"{place}: architecture is a {type(architecture).__name__}, expected a dict"
        )
    document = {"format": _FORMAT, "arrays": list(arrays), "architecture": architecture}
    try:
        text = json.dumps(document, allow_nan=False, indent=1)  # ASCII: a byte each
        # As a reader will have it: tuples are lists by then.
        read = json.loads(text)["architecture"]
        document |= {"sha256": checksum(read, arrays, place)}
        text = json.dumps(document, allow_nan=False, indent=1)
    except (TypeError, ValueError, RecursionError) as error:
        raise type(error)(f"{place}: architecture cannot be written as JSON: {error}") from error
    if len(text) > _MOST_ARCHITECTURE:
        raise ValueError(
            f"{place}: architecture has {len(text)} bytes as JSON, expected at most "
            f"{_MOST_ARCHITECTURE}: the history of so many epochs is not kept"
        )
    return text


def _from_json(text: bytes, place: str) -> tuple[list[str], dict[str, object], str | None]:
    """Names of the arrays, the architecture and, from format 2 on, the checksum."""
    place = f"{place}, {_ARCHITECTURE}"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place} is not JSON ({error})") from error
    match document:
        case {"format": int(version)} if version not in _READ:
            raise ValueError(f"{place} has format {version}, expected {_READ[0]} or {_READ[1]}")
        case {
            "format": int(version),
            "arrays": [*names],
            "architecture": dict(architecture),
        } if all(isinstance(name, str) for name in names):
            expected = document.get("sha256")
            if expected is None if version == 1 else isinstance(expected, str):
                return names, architecture, expected
    raise ValueError(
        f"{place} holds something else than save_arrays writes, expected"
        f' {{"format": {_FORMAT}, "arrays": [names], "architecture": {{...}}, "sha256": "..."}}'
    )


def checksum(
    architecture: dict[str, object], arrays: Mapping[str, NDArray[Any]], place: str
) -> str:
    """SHA-256 of the architecture, and of each array's name, shape, dtype and bytes."""
    try:
        digest = hashlib.sha256(json.dumps(architecture).encode())
    except RecursionError as error:
        raise ValueError(f"{place}, {_ARCHITECTURE} is nested too deeply") from error
    for name, array in arrays.items():
        stored = array.dtype.newbyteorder("<")
        digest.update(f"\n{name} {array.shape} {stored.str}\n".encode())
        # Bytes of the array itself, not a copy of them.
        digest.update(array.astype(stored, copy=False).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
