"""Dense neural networks trained on the CPU by hand-written Numba kernels.

>>> import layers
>>> model = layers.Sequential(
...     [layers.Dense(784, 128), layers.ReLU(), layers.Dense(128, 10)],
...     loss=layers.SoftmaxCrossEntropy(),
...     optimizer=layers.SGD(learning_rate=0.1),
...     seed=0,
... )
"""

import importlib
import types
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

from layers import _own_kernels as _own_kernels  # first: it refuses a foreign package `kernels`
from layers import names_elsewhere as _names_elsewhere
from layers import schedules as schedules
from layers import streams as _streams
from layers.activations import ELU as ELU
from layers.activations import GELU as GELU
from layers.activations import SELU as SELU
from layers.activations import LeakyReLU as LeakyReLU
from layers.activations import LogSoftmax as LogSoftmax
from layers.activations import ReLU as ReLU
from layers.activations import Sigmoid as Sigmoid
from layers.activations import SiLU as SiLU
from layers.activations import Softmax as Softmax
from layers.activations import Softplus as Softplus
from layers.activations import Tanh as Tanh
from layers.backends import backend as backend
from layers.backends import warmup as warmup
from layers.base import Layer as Layer
from layers.containers import Concatenate as Concatenate
from layers.containers import Residual as Residual
from layers.dense import Dense as Dense
from layers.dropout import Dropout as Dropout
from layers.embedding import Embedding as Embedding
from layers.exchange.from_torch import from_torch as from_torch
from layers.files import load as load
from layers.formulas import Elementwise as Elementwise
from layers.formulas import ElementwiseLoss as ElementwiseLoss
from layers.formulas import ElementwiseOptimizer as ElementwiseOptimizer
from layers.losses import CategoricalCrossEntropy as CategoricalCrossEntropy
from layers.losses import Loss as Loss
from layers.losses import SoftmaxCrossEntropy as SoftmaxCrossEntropy
from layers.losses_of_labels import BinaryCrossEntropy as BinaryCrossEntropy
from layers.losses_of_labels import SigmoidCrossEntropy as SigmoidCrossEntropy
from layers.losses_of_numbers import Huber as Huber
from layers.losses_of_numbers import MeanAbsoluteError as MeanAbsoluteError
from layers.losses_of_numbers import MeanSquaredError as MeanSquaredError
from layers.losses_of_numbers import Poisson as Poisson
from layers.losses_of_numbers import Quantile as Quantile
from layers.metrics import F1 as F1
from layers.metrics import MAE as MAE
from layers.metrics import R2 as R2
from layers.metrics import Metric as Metric
from layers.metrics import TopK as TopK
from layers.norms import BatchNorm as BatchNorm
from layers.norms import LayerNorm as LayerNorm
from layers.optimizers import SGD as SGD
from layers.optimizers import Adagrad as Adagrad
from layers.optimizers import Adam as Adam
from layers.optimizers import AdamW as AdamW
from layers.optimizers import Lion as Lion
from layers.optimizers import Optimizer as Optimizer
from layers.optimizers import RMSprop as RMSprop
from layers.profiling.profile import profile as profile
from layers.profiling.results import Profile as Profile
from layers.sequential import Sequential as Sequential
from layers.standardize import Standardize as Standardize
from layers.training.callbacks.checkpoint import Checkpoint as Checkpoint
from layers.training.callbacks.csv_log import CSVLog as CSVLog
from layers.training.callbacks.early_stopping import EarlyStopping as EarlyStopping
from layers.training.callbacks.moving_average import MovingAverage as MovingAverage
from layers.training.callbacks.plateau import ReduceOnPlateau as ReduceOnPlateau
from layers.training.gradient_check import GradientCheck as GradientCheck
from layers.training.gradient_check import check_gradients as check_gradients
from layers.training.history import History as History
from layers.training.loop import Callback as Callback
from layers.training.loop import NonFiniteLoss as NonFiniteLoss
from layers.training.loop import Progress as Progress
from layers.training.rate_finder import LearningRates as LearningRates
from layers.training.rate_finder import find_learning_rate as find_learning_rate

if TYPE_CHECKING:
    from layers.base import DType
    from layers.comparison.compare import Row
    from layers.tables.columns import Columns as Columns
    from layers.tables.predictor import TabularPredictor as TabularPredictor
    from layers.tables.reading import read_table as read_table

_LATE = {
    "Columns": "layers.tables.columns",
    "TabularPredictor": "layers.tables.predictor",
    "read_table": "layers.tables.reading",
}
"""What is imported when it is first asked for: training on arrays needs none of it."""


_streams.announce_compiling()


def from_onnx(path: Any, loss: "Loss | None" = None, seed: Any = None) -> Sequential:
    """Read a network from an .onnx file; see `layers.exchange.onnx_import.from_onnx`.

    Parameters
    ----------
    path : path
    loss : Loss, optional
        By default the one that our own files name, else what fits the end of the graph.
    seed : int, numpy.random.Generator or None
        Of shuffles and dropout.
    """
    from layers.exchange import onnx_import  # only here: it needs the package onnx

    return onnx_import.from_onnx(path, loss, seed)


def compare(dtype: "DType" = "float32", seed: int = 0, timed: bool = True) -> "list[Row]":
    """Run every public kernel and a training step on both backends.

    Parameters
    ----------
    dtype : {"float32", "float64"}
    seed : int
        Of the inputs, at least 0.
    timed : bool
        Whether to time both sides, on one thread each, which takes a few seconds.

    Returns
    -------
    list of layers.comparison.compare.Row
        In the order of the kernels' names, the training step last.
    """
    from layers.comparison import compare as comparison  # only here: training needs none of it

    return comparison.compare(dtype, seed, timed)


_MODULES = ("data", "datasets", "plots", "schedules", "sklearn")
"""Modules that belong to the public names; they are imported when they are asked for."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"layers.{name}")
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    ours = _names_elsewhere.ours(name)
    hint = "" if ours is None else f", expected {ours}"
    raise AttributeError(f"module 'layers' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    """Public names, without the modules of the inside."""
    inside = [n for n, value in globals().items() if isinstance(value, types.ModuleType)]
    names = {n for n in globals() if not n.startswith("_")} - {*inside, "TYPE_CHECKING", "Any"}
    return sorted({*names, *_MODULES, *_LATE, "__version__"})
