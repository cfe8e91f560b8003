"""A data file, opened: its format, gzip, and what is no table."""

import gzip
import io
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from layers.data.columns import shortened
from layers.replacing import StrPath

_GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")

# Files that are no tables, by their first bytes.
_FOREIGN = (
    (b"\x93NUMPY", "one NumPy array (.npy): put inputs and labels into an .npz by numpy.savez"),
    (b"\xfd7zXZ\0", "packed by xz: unpack it"),
    (b"BZh", "packed by bzip2: unpack it"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd: unpack it"),
    (b"\x04\x22\x4d\x18", "packed by lz4: unpack it"),
    (b"\x1f\x9d", "packed by compress (.Z): unpack it"),
    (_GZIP_MAGIC, "packed by gzip twice: unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"Rar!\x1a\x07", "a RAR archive: unpack it"),
    (b"PAR1\x15", "a Parquet file: export it as CSV"),
    (b"ARROW1\0", "an Arrow file: export it as CSV"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file (.xls): export it as CSV"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file: export it as CSV"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file: export it as CSV"),
    (b"SQLite format 3\0", "an SQLite database: export a table as CSV"),
    (b"%PDF-", "a PDF"),
    (b"\x89PNG\r\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
)
MAGIC_BYTES = 264  # tar has its own at 257


def kind_of(path: StrPath) -> str:
    """The format of a file, by its name or its first bytes."""
    # The name comes first, so that a damaged file is read in its intended format.
    name = os.path.basename(os.fsdecode(path)).lower().removesuffix(".gz")
    if name.endswith(".npz"):
        return "npz"
    if name.endswith((".csv", ".txt")):
        return "csv"
    if re.search(r"\bidx\d|\bubyte\b", name) or name.endswith(".idx"):
        return "idx"
    if not stat.S_ISREG(os.stat(path).st_mode):
        return "csv"  # bytes read from a pipe would be lost
    with open(path, "rb") as file:
        if file.read(4) in ZIP_MAGICS:
            return "npz"
    with open_data(path, f"read: {os.fsdecode(path)}") as stream:
        return "idx" if stream.read(2) == b"\0\0" else "csv"


@contextmanager
def open_data(path: StrPath, place: str) -> Iterator[io.BufferedReader]:
    """Open a file, through gzip if its first bytes say so, whatever its name."""
    with open(path, "rb") as file:
        # peek, not seek, which a pipe lacks.
        packed = file.peek(2)[:2] == _GZIP_MAGIC
        try:
            stream: Any = io.BufferedReader(gzip.GzipFile(fileobj=file)) if packed else file
            refuse_foreign(stream.peek(MAGIC_BYTES), path, place)
            yield stream
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{place}: corrupt or truncated gzip data ({error})") from error


def refuse_foreign(start: bytes, path: StrPath, place: str) -> None:
    """Refuse a file that is no table, and name its format."""
    what = next((what for magic, what in _FOREIGN if start.startswith(magic)), "")
    if start.startswith(b"BZh") and start[4:10] != b"1AY&SY":
        what = ""  # three letters, as a name may have them
    if start.startswith(ZIP_MAGICS):
        what = zip_archive(path)
    elif start[257:262] == b"ustar":
        what = "a tar archive: unpack it"
    elif re.match(rb"\x80[\x02-\x05]", start):
        what = "a pickle, which is not read since it may run code"
    elif re.match(rb"\s*<(!doctype html|html)", start, re.IGNORECASE):
        what = "a web page (HTML), as of a download that failed"
    if what:
        raise ValueError(f"{place} is {what}; expected CSV, .npz or IDX")


def zip_archive(path: StrPath) -> str:
    """The kind of a zip archive that is no .npz."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return "a zip archive: unpack it"  # a pipe, or packed by gzip, or damaged
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook (.xlsx): export it as CSV"
    if "content.xml" in names:
        return "an OpenDocument file (.ods): export it as CSV"
    if any(name.endswith(".npy") for name in names):
        return "an .npz archive under another name: rename it to .npz"
    return f"a zip archive of {shortened(names)}: unpack it" if names else "an empty zip archive"
