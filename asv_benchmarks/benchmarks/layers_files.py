"""Files: saving and loading models, reading data, predicting from a memory-mapped file."""

import gzip
import tempfile
from pathlib import Path

import numpy as np

import layers
from layers.data import read

from .common import NETWORKS, Data, Timed
from .layers_training import model_of


class _InFolder(Timed):
    """A benchmark with a temporary folder."""

    def make_folder(self):
        self._folder = tempfile.TemporaryDirectory()
        return Path(self._folder.name)

    def teardown(self, *_):
        self._folder.cleanup()


class Model(_InFolder):
    """Save a model atomically, and load it."""

    params = [["save", "load"], list(NETWORKS)]
    param_names = ["direction", "network"]

    def setup(self, direction, network):
        path = self.make_folder() / "model.npz"
        model = model_of(NETWORKS[network].widths)
        model.save(path)
        if direction == "save":
            self.prepare(model.save, path)
        else:
            self.prepare(layers.load, path)


class ReadData(_InFolder):
    """Read 1,797 rows of 64 bytes and their labels with the package's reader."""

    params = [["csv", "csv.gz", "npz", "idx", "idx.gz"]]
    param_names = ["format"]

    def setup(self, kind):
        data = Data()
        x = data.random.integers(0, 17, (1_797, 64), dtype=np.uint8)
        self.prepare(read, write(self.make_folder(), kind, x, data.labels(len(x), 10)))


class PredictFromFile(_InFolder):
    """Predict 4,096 rows of 784-128-10 from a mapped file (in the page cache), and from memory."""

    params = [["mapped file", "memory"]]
    param_names = ["rows from"]

    def setup(self, source):
        network = NETWORKS["medium: 784-128-10, batch 128"]
        x, path = Data().numbers(4_096, network.n_in), self.make_folder() / "x.npy"
        if source == "mapped file":
            np.save(path, x)
            x = np.load(path, mmap_mode="r")
        self.prepare(model_of(network.widths).predict, x)


def write(folder, kind, x, y):
    """Write data in one of the formats; return the path to read."""
    pack = gzip.compress if kind.endswith(".gz") else bytes
    match kind.removesuffix(".gz"):
        case "npz":
            path = folder / "data.npz"
            np.savez(path, x=x, y=y)
        case "csv":
            path = folder / f"data.{kind}"
            rows = np.column_stack([x, y]).tolist()
            path.write_bytes(pack("\n".join(",".join(map(str, row)) for row in rows).encode()))
        case _:  # two files; the labels are found by the images' name
            images, labels = x.reshape(-1, 8, 8), y.astype(np.uint8)
            end = kind.removeprefix("idx")
            write_idx(folder / f"train-labels-idx1-ubyte{end}", labels, pack)
            path = folder / f"train-images-idx3-ubyte{end}"
            write_idx(path, images, pack)
    return path


def write_idx(path, values, pack):
    """Write an IDX file: a header of type and dimensions, four bytes each, then the bytes."""
    shape = np.array(values.shape, ">u4")
    path.write_bytes(pack(bytes([0, 0, 8, values.ndim]) + shape.tobytes() + values.tobytes()))
