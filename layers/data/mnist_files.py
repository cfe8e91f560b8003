"""Where MNIST's files lie, by their usual names."""

import os
import re

from layers.replacing import StrPath


def idx_file(folder: StrPath, name: str) -> str | None:
    """Find one of MNIST's files by its name, as downloaded or unpacked.

    ``train-images-idx3-ubyte`` is also ``train-images.idx3-ubyte``, either may be packed as .gz,
    and some programs unpack a file to a folder of its name.

    Parameters
    ----------
    folder : str or path-like
    name : str
        Packed names come first if this one ends with ``.gz``.

    Returns
    -------
    str or None
        The path of a file.
    """
    folder = os.fsdecode(folder)
    names = _spellings(name)
    inner = [os.path.join(outer, candidate) for outer in names for candidate in names]
    paths = (os.path.join(folder, candidate) for candidate in (*names, *inner))
    return next(filter(_is_file, paths), None)


def _spellings(name: str) -> list[str]:
    """The names that a file may have, ``name`` first."""
    packed = name.endswith(".gz")
    plain = name.removesuffix(".gz")
    other = re.sub(r"[-.](?=idx\d)", lambda sign: "-."[sign[0] == "-"], plain)
    endings = (".gz", "") if packed else ("", ".gz")
    return [stem + ending for stem in dict.fromkeys((plain, other)) for ending in endings]


def _is_file(path: str) -> bool:
    return os.path.exists(path) and not os.path.isdir(path)


def unpacked(path: StrPath) -> StrPath:
    """The file in a folder named like an IDX file; any other path unchanged."""
    name = os.path.basename(os.path.normpath(os.fsdecode(path)))
    if not os.path.isdir(path) or not re.search(r"idx\d", name):
        return path
    return idx_file(path, name) or path


def beside(path: StrPath, name: str) -> str | None:
    """Find another of MNIST's files next to one, even if each has its own folder."""
    folder, own = os.path.split(os.path.abspath(os.fsdecode(path)))
    outer, outer_name = os.path.split(folder)
    found = idx_file(folder, name)
    if found is None and outer_name in _spellings(own):
        found = idx_file(outer, name)
    return found


def labels_beside(images_path: str, place: str) -> str:
    """Find the labels by the usual names, first packed like the images, then the other way."""
    name = os.path.basename(images_path)
    if "images" not in name:
        raise ValueError(
            f"{place}: the labels are not given, and the name has no 'images' in it to put"
            " 'labels' for; pass their path"
        )
    name = name.replace("images", "labels").replace("idx3", "idx1")
    found = beside(images_path, name)
    if found is None:
        raise FileNotFoundError(
            f"{place}: no labels beside it, looked for {' and '.join(_spellings(name))}; pass"
            " their path"
        )
    return found
