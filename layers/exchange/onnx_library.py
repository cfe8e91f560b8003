"""The package onnx, imported when it is asked for; and what our own files say besides the graph."""

import hashlib
import importlib
import json
from typing import Any

from kernels.runtime import checks

METADATA, CHECKSUM = "numba-layers", "numba-layers-sha256"
"""Metadata: loss and names of classes and columns as JSON; a checksum of the file."""
PRODUCER = "numba-layers"
_NOTHING = "0" * 64
"""What stands in place of the checksum while it is taken."""


def onnx(place: str) -> Any:
    """The package, with the modules that we use."""
    try:
        library = importlib.import_module("onnx")
        for name in ("checker", "helper", "numpy_helper"):
            importlib.import_module(f"onnx.{name}")
    except ImportError as error:
        raise ImportError(
            f"{place}: .onnx files need the package onnx, which cannot be imported ({error}): "
            "pip install 'numba-layers[onnx]'"
        ) from error
    return library


def signed(library: Any, proto: Any, description: dict[str, Any]) -> bytes:
    """The bytes of a graph of ours, with a description and a checksum in its metadata."""
    props = {METADATA: json.dumps(description), CHECKSUM: _NOTHING}
    library.helper.set_model_props(proto, props)
    data: bytes = proto.SerializeToString(deterministic=True)
    digest = hashlib.sha256(data).hexdigest()
    head, nothing, tail = data.rpartition(_NOTHING.encode())
    assert nothing
    return head + digest.encode() + tail


def description(proto: Any, data: bytes) -> dict[str, Any]:
    """What a file of ours says besides the graph; nothing of another.

    Raises
    ------
    ValueError
        It was changed after it was written.
    """
    found = {each.key: each.value for each in proto.metadata_props}
    if proto.producer_name != PRODUCER and METADATA not in found and CHECKSUM not in found:
        return {}
    digest = found.get(CHECKSUM, "").encode()
    if data.count(digest) != 1 or digest.decode() != _digest_without(data, digest):
        raise ValueError(
            "its contents have another checksum than its metadata say, expected it as "
            "Sequential.save wrote it; a graph that is changed on purpose has to lose these "
            f"metadata and the producer's name, {PRODUCER}"
        )
    try:
        described = json.loads(found.get(METADATA, ""))
    except (ValueError, RecursionError):
        described = None
    if not isinstance(described, dict):
        raise ValueError(
            f"its metadata {METADATA!r} are {checks.shown(found.get(METADATA))}, expected JSON"
        )
    return described


def _digest_without(data: bytes, digest: bytes) -> str:
    """SHA-256 of a file before its checksum was written."""
    head, _, tail = data.partition(digest)
    hashed = hashlib.sha256(head)
    hashed.update(_NOTHING.encode())
    hashed.update(tail)
    return hashed.hexdigest()
