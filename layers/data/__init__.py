"""Readers of files of numbers: CSV, NumPy's .npz, and IDX, MNIST's format.

Inputs are (n, features), one example per row; labels are int64 (n,). Inputs have the requested
dtype; by default the smaller of float32 and float64 that holds the file's numbers, and float64 for
CSV. Values are those of the file, except that IDX images of bytes are scaled to [0, 1]. The model
checks labels against the number of classes. Errors name the file and the place in it.

Tables with names, text and missing values are the subject of `layers.read_table`.
"""

from layers.data.csv_of_numbers import read_csv as read_csv
from layers.data.idx import read_idx as read_idx
from layers.data.idx import read_idx_pair as read_idx_pair
from layers.data.mnist_files import beside as beside
from layers.data.mnist_files import idx_file as idx_file
from layers.data.npz import read_npz as read_npz
from layers.data.opening import kind_of as kind_of
from layers.data.reading import read as read
from layers.data.reading import read_inputs as read_inputs
from layers.data.reading import read_table as read_table
from layers.data.splitting import split as split
from layers.data.table import Table as Table

__all__ = [
    "Table",
    "read",
    "read_csv",
    "read_idx",
    "read_idx_pair",
    "read_inputs",
    "read_npz",
    "read_table",
    "split",
]
