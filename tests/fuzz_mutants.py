"""Files that `tests.fuzz_files` begins with, and changes of them.

A file is changed as bytes. Or it is taken apart into what its JSON says, arrays and a graph, and
put together again with checksums that are right, as someone could do who writes it on purpose.
"""

import copy
import importlib
import io
import json
import random
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import layers
from layers.exchange import onnx_library
from layers.files import archive

X, Y = np.tile(np.eye(6, dtype=np.float32), (2, 1)), np.arange(12) % 3
CALLBACKS: tuple[Callable[[], Any], ...] = (
    lambda: layers.EarlyStopping("loss", 3),
    lambda: layers.ReduceOnPlateau(0.5, 2, "loss"),
    lambda: layers.MovingAverage(0.9, every=1),
)


# --- models ---------------------------------------------------------------------------------------


def _small() -> layers.Sequential:
    """Where each array is a member of an archive, it takes longest to read for its size."""
    stack = [layers.BatchNorm(6), layers.Dense(6, 3)]
    model = layers.Sequential(stack, optimizer=layers.SGD(0.1, momentum=0.9), seed=0)
    model.fit(X, Y, 2)
    return model


def _branched() -> layers.Sequential:
    scale = layers.Standardize(6)
    beside = layers.Concatenate([layers.Embedding(6, [0], [2], 1), [scale, layers.ReLU()], []])
    shortcut = layers.Residual([layers.BatchNorm(18), layers.SiLU()])
    last = [layers.Dropout(0.1), layers.GELU("tanh"), layers.LayerNorm(18)]
    model = layers.Sequential(
        [beside, shortcut, *last, layers.Dense(18, 3, l2=0.1)],
        layers.SoftmaxCrossEntropy(label_smoothing=0.1),
        layers.Adam(layers.schedules.Cosine(0.01, 9, 2), clip_norm=1.0),
        metrics=[layers.TopK(2)],
        seed=0,
    )
    scale.adapt(X)
    model.classes = ["red", "green", "blue"]
    return model


def _of_a_table(target: str, categories: bool) -> layers.Sequential:
    table: dict[str, Any] = {
        "age": 20 + np.arange(30.0) % 17,
        "year": 1990 + np.arange(30.0) ** 2 % 31,
        "class": np.array(["red", "green", "blue"])[np.arange(30) % 3],
        "price": 1e3 + 1e3 * np.sin(np.arange(30.0)),
    }
    names = ["age", "year", target, *(["class"] if categories else [])]
    made = layers.TabularPredictor(target, [3], 1, seed=0).fit({n: table[n] for n in names})
    return made.model


def files(kind: str, folder: Path) -> list[bytes]:
    """Whole files of a format."""
    made = [
        _small(),
        _branched(),
        _of_a_table("price", kind != "onnx"),
        _of_a_table("class", False),
    ]
    path, found = folder / f"whole.{kind}", []
    with layers.backend("numpy"):
        for model in made:
            model.save(path)
            found.append(path.read_bytes())
        if kind == "npz":
            checkpoint = layers.Checkpoint(path, best=False)
            made[0].fit(X, Y, 2, callbacks=[checkpoint, *(make() for make in CALLBACKS)])
            found.append(path.read_bytes())
    return found


# --- as bytes -------------------------------------------------------------------------------------


def of_bytes(whole: bytes, by: random.Random) -> bytes:
    """A few bytes or runs of bytes changed, cut, moved; a length made large."""
    data = bytearray(whole)
    for _ in range(by.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        at, size = by.randrange(len(data)), by.choice((1, 1, 2, 4, 8))
        match by.randrange(7):
            case 0:
                data[at] ^= 1 << by.randrange(8)
            case 1:
                data[at : at + size] = by.randbytes(size)
            case 2:
                data[at : at + size] = b"\xff" * size
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = by.randbytes(size)
            case 5:
                del data[at:]
            case 6:
                other = by.randrange(len(data))
                data[at : at + 16] = data[other : other + 16]
    return bytes(data)


def of_a_member(whole: bytes, by: random.Random) -> bytes:
    """A member of a zip archive changed as bytes, and the archive written anew around it."""
    with zipfile.ZipFile(io.BytesIO(whole)) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    name = by.choice([*members])
    members[name] = of_bytes(members[name], by)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as opened:
        for each, content in members.items():
            opened.writestr(each, content)
    return written.getvalue()


def by_another_program(whole: bytes, by: random.Random) -> bytes:
    """The bytes of an ONNX file changed that does not say that it is ours."""
    proto = importlib.import_module("onnx").load_from_string(whole)
    proto.ClearField("metadata_props")
    proto.ClearField("producer_name")
    return of_bytes(bytes(proto.SerializeToString()), by)


# --- with right checksums -------------------------------------------------------------------------

_VALUES: list[Any] = [
    *(None, True, -1, 0, 1, 2, 2**31, 2**63, 10**400, -1e308, 1e-320, 0.5, "", "nan", "inf", "0"),
    *("x" * 300, "weights", [], {}, [0] * 9, [[0]], {"type": "ReLU"}, {"function": "id"}),
    {"schedule": "Step", "rate": 1, "every": 1},
    json.loads("[" * 400 + "]" * 400),
]


def of_json(document: Any, by: random.Random) -> Any:
    """Values of a document replaced, left out, put elsewhere."""
    document = copy.deepcopy(document)
    for _ in range(by.choice((1, 1, 2, 3))):
        places = [*_places(document)]
        if not places:
            break
        (there, key), (other, name) = by.choice(places), by.choice(places)
        match by.randrange(5):
            case 0 | 1:
                there[key] = copy.deepcopy(by.choice(_VALUES))
            case 2:
                there[key] = copy.deepcopy(other[name])
            case 3:
                del there[key]
            case 4:
                if isinstance(there, list):
                    there.insert(key, copy.deepcopy(there[key]))
                else:
                    there[str(name)] = there.pop(key)
    return document


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    waiting = [document]
    while waiting:
        each = waiting.pop()
        keys = each if isinstance(each, dict) else range(len(each))
        for key in keys:
            yield each, key
            if isinstance(each[key], (dict, list)):
                waiting.append(each[key])


def of_arrays(arrays: dict[str, Any], by: random.Random) -> dict[str, Any]:
    """At times, an array of another shape, dtype, name or content."""
    arrays = dict(arrays)
    if not arrays or by.randrange(3):
        return arrays
    name = by.choice([*arrays])
    match by.randrange(5):
        case 0:
            arrays[name] = arrays[name].T.copy()
        case 1:
            arrays[name] = arrays[name].astype(by.choice(["f2", "f8", "i8", "u1", "c8"]))
        case 2:
            arrays[name] = np.full_like(arrays[name], by.choice([np.nan, np.inf, -1.0, 0.0]))
        case 3:
            del arrays[name]
        case 4:
            arrays[by.choice([*arrays])] = arrays.pop(name)
    return arrays


def signed(kind: str, whole: bytes, by: random.Random) -> bytes:
    """A file taken apart, changed, and put together with its checksums right."""
    return _SIGNED[kind](whole, by)


def _signed_npz(whole: bytes, by: random.Random) -> bytes:
    with np.load(io.BytesIO(whole)) as opened:
        arrays = {name: opened[name] for name in opened.files if name != "architecture.json"}
    with zipfile.ZipFile(io.BytesIO(whole)) as opened:
        document = json.loads(opened.read("architecture.json"))["architecture"]
    # Nothing has to last: waiting for the disk would take most of the time.
    with tempfile.NamedTemporaryFile() as file, mock.patch("os.fsync"):
        archive.save_arrays(file.name, of_arrays(arrays, by), of_json(document, by))
        return Path(file.name).read_bytes()


def _signed_safetensors(whole: bytes, by: random.Random) -> bytes:
    library = importlib.import_module("safetensors.numpy")
    length = int.from_bytes(whole[:8], "little")
    document = json.loads(json.loads(whole[8 : 8 + length])["__metadata__"]["numba-layers"])
    document, arrays = of_json(document, by), of_arrays(library.load(whole), by)
    metadata = {
        "numba-layers": json.dumps(document),
        "numba-layers-sha256": archive.checksum(document, arrays, ""),
    }
    data: bytes = library.save(arrays, metadata=metadata)
    return data


def _signed_onnx(whole: bytes, by: random.Random) -> bytes:
    onnx = importlib.import_module("onnx")
    proto = onnx.load_from_string(whole)
    document = json.loads(next(p.value for p in proto.metadata_props if p.key == "numba-layers"))
    if by.randrange(2):
        document = of_json(document, by)
    else:
        _change_graph(proto.graph, by)
    return onnx_library.signed(onnx, proto, document)


def _change_graph(graph: Any, by: random.Random) -> None:
    nodes, constants = graph.node, graph.initializer
    names = [name for node in nodes for name in (*node.input, *node.output)]
    for _ in range(by.choice((1, 1, 2, 3))):
        node, constant = by.choice(nodes), by.choice(constants)
        match by.randrange(8):
            case 0:
                node.op_type = by.choice(nodes).op_type
            case 1 if node.input:
                node.input[by.randrange(len(node.input))] = by.choice(names)
            case 2 if node.output:
                node.output[by.randrange(len(node.output))] = by.choice(names)
            case 3 if len(nodes) > 1:
                nodes.remove(node)
            case 4:
                nodes.add().CopyFrom(node)
            case 5 if constant.dims:
                size = by.choice([0, 1, 2, -1, 2**40])
                constant.dims[by.randrange(len(constant.dims))] = size
            case 6:
                constant.data_type = by.randrange(24)
            case 7:
                for attribute in node.attribute:
                    attribute.i, attribute.f = by.choice([0, 1, -1, 2**40]), by.choice([0, -1, 2e9])


_SIGNED: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "npz": _signed_npz,
    "safetensors": _signed_safetensors,
    "onnx": _signed_onnx,
}
