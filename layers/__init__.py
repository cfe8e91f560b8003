"""Dense neural networks trained on the CPU by hand-written Numba kernels.

>>> import layers
>>> model = layers.Sequential(
...     [layers.Dense(784, 128), layers.ReLU(), layers.Dense(128, 10)],
...     loss=layers.SoftmaxCrossEntropy(),
...     optimizer=layers.SGD(learning_rate=0.1),
...     seed=0,
... )
"""

__version__ = "0.1.0"

from layers import _own_kernels as _own_kernels  # first: it refuses a foreign package `kernels`
from layers.activations import GELU as GELU
from layers.activations import LeakyReLU as LeakyReLU
from layers.activations import ReLU as ReLU
from layers.activations import Softmax as Softmax
from layers.backends import backend as backend
from layers.backends import warmup as warmup
from layers.base import Layer as Layer
from layers.comparison.compare import compare as compare
from layers.dense import Dense as Dense
from layers.dropout import Dropout as Dropout
from layers.files.model_file import load as load
from layers.formulas import Elementwise as Elementwise
from layers.formulas import ElementwiseLoss as ElementwiseLoss
from layers.formulas import ElementwiseOptimizer as ElementwiseOptimizer
from layers.losses import CategoricalCrossEntropy as CategoricalCrossEntropy
from layers.losses import Loss as Loss
from layers.losses import MeanSquaredError as MeanSquaredError
from layers.losses import SoftmaxCrossEntropy as SoftmaxCrossEntropy
from layers.optimizers import SGD as SGD
from layers.optimizers import Adam as Adam
from layers.optimizers import Optimizer as Optimizer
from layers.profiling.profile import profile as profile
from layers.profiling.results import Profile as Profile
from layers.sequential import Sequential as Sequential
from layers.training.history import History as History
from layers.training.loop import NonFiniteLoss as NonFiniteLoss
from layers.training.loop import Progress as Progress
