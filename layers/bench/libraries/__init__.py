"""The libraries that are measured: one file for each, and a table of them."""

import importlib
import importlib.metadata
import importlib.util
from typing import NamedTuple

from layers.bench.libraries.base import Side

OURS = "numba-layers"


class Entry(NamedTuple):
    """A library in the table.

    Attributes
    ----------
    title : str
        For readers.
    package : str
        The required package, by its import name; MKL's, which has none, by its name on PyPI.
    place : str
        The module in this folder and its class.
    full : bool
        Whether it needs ``--full``.
    kinds : tuple of str
        The kinds of cases it is measured in.
    by_hand : bool
        Whether it is a program that an expert writes for one network, and no library.
    """

    title: str
    package: str
    place: str
    full: bool = False
    kinds: tuple[str, ...] = ("step", "epoch", "predict")
    by_hand: bool = False


SIDES = {
    OURS: Entry("numba-layers", "layers", "ours.Ours"),
    "numpy": Entry("NumPy", "numpy", "with_numpy.Numpy"),
    "torch": Entry("PyTorch", "torch", "with_torch.Torch"),
    "torch-compile": Entry("torch.compile", "torch", "with_torch.TorchCompile", full=True),
    "jax": Entry("JAX jit", "jax", "with_jax.Jax"),
    "jax-scan": Entry("JAX scan", "jax", "with_jax.JaxScan", kinds=("step", "epoch")),
    "sklearn": Entry("scikit-learn", "sklearn", "with_sklearn.Sklearn"),
    "numba-mkl": Entry("Numba + MKL", "mkl", "with_blas.Mkl", by_hand=True),
    "numba-openblas": Entry(
        "Numba + OpenBLAS", "scipy_openblas32", "with_blas.OpenBlas", by_hand=True
    ),
}
_NOTHING_TO_IMPORT = {"mkl"}


def installed(name: str) -> bool:
    """Whether the package of a side is installed."""
    package = SIDES[name].package
    if package not in _NOTHING_TO_IMPORT:
        return importlib.util.find_spec(package) is not None
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def load(name: str) -> type[Side]:
    """Import a side and its library."""
    module, _, its_class = SIDES[name].place.partition(".")
    loaded = importlib.import_module(f"{__name__}.{module}")
    side: type[Side] = getattr(loaded, its_class)
    return side
