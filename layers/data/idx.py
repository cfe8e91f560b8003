"""IDX, the format of MNIST and Fashion-MNIST."""

import io
import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layers.data.checks import (
    Dtype,
    Inputs,
    Labels,
    as_labels,
    as_real,
    check_width,
    checked_dtype,
    place_of,
)
from layers.data.mnist_files import labels_beside, unpacked
from layers.data.npz import feature, width_of
from layers.data.opening import open_data
from layers.files.npz import as_array, read_promised
from layers.replacing import StrPath

_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: StrPath) -> NDArray[Any]:
    """Read one array in IDX, MNIST's format; gzip is detected.

    Parameters
    ----------
    path : str or path-like
        The file, or the folder it was unpacked to.

    Returns
    -------
    ndarray
        With the file's shape and dtype, in the native byte order.
    """
    with _open_idx(path, place_of("read_idx", path)) as file:
        return file.array()


def read_idx_pair(
    images_path: StrPath, labels_path: StrPath | None = None, *, dtype: Dtype = None
) -> tuple[Inputs, Labels]:
    """Read images and labels in the format of MNIST and Fashion-MNIST.

    Parameters
    ----------
    images_path : str or path-like
        For example ``train-images-idx3-ubyte.gz``, or the folder it was unpacked to.
    labels_path : str or path-like, optional
        By default the file in the same folder with labels for images and idx1 for idx3 in its
        name, packed or not.
    dtype : {"float32", "float64"}, optional
        Of the images; by default float64 for bytes, else the smaller one that holds the file's own
        exactly.

    Returns
    -------
    x : ndarray, shape (n, pixels)
        Unsigned bytes are scaled from 0 ... 255 to [0, 1]; other types are unchanged.
    labels : ndarray of int64, shape (n,)
    """
    place_of("read_idx_pair", images_path, "images_path")
    if labels_path is not None:
        place_of("read_idx_pair", labels_path, "labels_path")
    to = checked_dtype("read_idx_pair", dtype)
    return idx_pair(images_path, labels_path, to, None, "read_idx_pair")


def idx_pair(
    images_path: StrPath,
    labels_path: StrPath | None,
    dtype: np.dtype[Any] | None,
    n_features: int | None,
    reader: str,
) -> tuple[Inputs, Labels]:
    """Read images and labels; shapes are checked before the bytes are read."""
    place = place_of(reader, images_path)
    images_path = unpacked(images_path)
    with _open_idx(images_path, place) as images:
        images.check_images(n_features)
        if labels_path is None:
            labels_path = labels_beside(os.fsdecode(images_path), place)
        labels_place = place_of(reader, labels_path, "labels")
        with _open_idx(labels_path, labels_place) as labels:
            if labels.shape != images.shape[:1]:
                raise ValueError(
                    f"{labels_place} has shape {labels.shape}, expected ({images.shape[0]},): one"
                    f" label to each image of {os.fsdecode(images_path)}"
                )
            y = as_labels(labels.array(), lambda row: f"{labels_place}, row {row}")
        return images.rows(dtype), y


def idx_images(
    path: StrPath, dtype: np.dtype[Any] | None, n_features: int | None, place: str
) -> Inputs:
    """Read images without labels."""
    with _open_idx(path, place) as images:
        images.check_images(n_features)
        return images.rows(dtype)


@dataclass(frozen=True)
class _Idx:
    """An IDX file whose header has been read."""

    stream: io.BufferedReader
    place: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def array(self) -> NDArray[Any]:
        """The whole array."""
        body = read_promised(self.stream, self.dtype.itemsize * math.prod(self.shape), self.place)
        return as_array(body, self.dtype, self.shape, self.place)

    def check_images(self, n_features: int | None) -> None:
        check_width(width_of(self.shape, self.place), n_features, self.place)

    def rows(self, dtype: np.dtype[Any] | None) -> Inputs:
        """Images flattened, bytes scaled."""
        images = self.array().reshape(self.shape[0], -1)
        if images.dtype != np.uint8:
            return as_real(images, dtype, feature(self.place))
        x = images.astype(np.float64 if dtype is None else dtype)
        x /= x.dtype.type(255)
        return x


@contextmanager
def _open_idx(path: StrPath, place: str) -> Iterator[_Idx]:
    with open_data(unpacked(path), place) as stream:
        magic = stream.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_DTYPES or magic[3] == 0:
            known = ", ".join(f"{code:02x}" for code in _IDX_DTYPES)
            raise ValueError(
                f"{place}: starts with the bytes '{magic.hex(' ')}', expected IDX: 00 00, a type"
                f" (one of {known}), the number of dimensions (01 or more)"
            )
        dtype, ndim = np.dtype(_IDX_DTYPES[magic[2]]), magic[3]
        sizes = stream.read(4 * ndim)
        if len(sizes) < 4 * ndim:
            raise ValueError(
                f"{place}: truncated, {len(sizes)} bytes of sizes, expected {4 * ndim} for"
                f" {ndim} dimensions"
            )
        yield _Idx(stream, place, dtype, struct.unpack(f">{ndim}I", sizes))
