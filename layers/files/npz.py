"""Arrays in .npz files of any program: a zip archive with ``NAME.npy`` for each.

Nothing is unpickled, and nothing is allocated because a header claims it.
"""

import errno
import lzma
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from layers.replacing import StrPath

SUFFIX = ".npy"
NUMBERS = "biufc"
"""Kinds of numeric dtypes: no objects, text, dates or records."""
_PIECE = 1 << 20

# What zipfile and its decompressors raise for a damaged archive. Not OSError: a failing disk or an
# unreadable file is not a damaged archive.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    UnicodeDecodeError,
    OverflowError,
    RuntimeError,  # an encrypted member; NotImplementedError, a method that zipfile lacks
)


@contextmanager
def open_archive(path: StrPath, place: str) -> Iterator[zipfile.ZipFile]:
    """Open a .npz file; damage found while it is read becomes a ValueError at `place`."""
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                yield archive
        except _DAMAGED as error:
            raise _not_whole(error, place) from error
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # A damaged directory made zipfile seek to before the start of the file.
            raise _not_whole(error, place) from error


def _not_whole(error: Exception, place: str) -> ValueError:
    reason = f"{error}" or type(error).__name__
    return ValueError(
        f"{place}: not a whole .npz file ({reason}), expected a zip archive of arrays"
    )


def array_names(archive: zipfile.ZipFile) -> list[str]:
    """Names of the arrays in a .npz file, in file order."""
    members = archive.namelist()
    return [member.removesuffix(SUFFIX) for member in members if member.endswith(SUFFIX)]


def array_shape(archive: zipfile.ZipFile, name: str, place: str) -> tuple[int, ...]:
    """Shape of one array of a .npz file, by its header alone."""
    with archive.open(name + SUFFIX) as member:
        return _read_header(member, f"{place}, array {name!r}")[0]


def read_array(
    archive: zipfile.ZipFile, name: str, place: str, expected: tuple[int, ...] | None = None
) -> NDArray[Any]:
    """Read one array of a .npz file, C-contiguous, writable and native; check its shape if given.

    Not by ``numpy.load``, which allocates what the array's header claims before it reads the bytes.
    """
    place = f"{place}, array {name!r}"
    with archive.open(name + SUFFIX) as member:
        shape, fortran_order, dtype = _read_header(member, place)
        if dtype.hasobject:
            raise ValueError(f"{place} holds pickled Python objects, expected numbers")
        if dtype.kind not in NUMBERS:
            raise ValueError(f"{place} has dtype {dtype}, expected numbers")
        if expected is not None and shape != expected:
            raise ValueError(f"{place} has shape {shape}, expected {expected}")
        body = read_promised(member, dtype.itemsize * math.prod(shape), place)
    array = as_array(body, dtype, shape if not fortran_order else shape[::-1], place)
    return np.asarray(array.T if fortran_order else array, order="C")


class _Readable(Protocol):
    """A stream that is read in pieces: a file, a gzip stream, a member of an archive."""

    def read(self, size: int, /) -> bytes: ...


def read_promised(stream: _Readable, promised: int, place: str) -> bytearray:
    """Read the rest of `stream`, which must have as many bytes as a header promised.

    It is read in pieces: a single read would first allocate the promised size, however large.
    """
    body = bytearray()
    while len(body) < promised:
        piece = stream.read(min(promised - len(body), _PIECE))
        if not piece:
            raise ValueError(
                f"{place}: truncated, {len(body)} bytes of data, expected {promised} by its header"
            )
        body += piece
    # This read also reaches the end of a gzip stream or zip member, where checksums are compared.
    if stream.read(1):
        raise ValueError(f"{place}: more data than the {promised} bytes promised by its header")
    return body


def as_array(
    body: bytearray, dtype: np.dtype[Any], shape: tuple[int, ...], place: str
) -> NDArray[Any]:
    """Give `body` a dtype, a shape and the native byte order, in place."""
    try:
        array = np.frombuffer(body, dtype).reshape(shape)
    except ValueError as error:  # more dimensions than NumPy has, or no element in a huge shape
        raise ValueError(f"{place} has shape {shape} by its header: {error}") from error
    if not array.dtype.isnative:
        array.byteswap(inplace=True)
    return array.view(dtype.newbyteorder("="))


def _read_header(member: IO[bytes], place: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of a .npy file: shape, Fortran order, dtype."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            header = _header_of(member)
        if any(isinstance(size, bool) for size in header[0]):  # Python counts True as an int
            raise ValueError(f"shape {header[0]} is not one of integers")
        if min(header[0], default=0) < 0:
            raise ValueError(f"shape {header[0]} has a negative size")
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError) as error:
        raise ValueError(f"{place}: its header is not that of a .npy file ({error})") from error
    return header


def _header_of(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(member)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(member)
    # 3.0 exists for the names in record dtypes only.
    raise ValueError(f"format version {version}, expected (1, 0) or (2, 0)")
