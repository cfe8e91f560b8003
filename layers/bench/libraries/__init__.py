"""Who is measured: one file for each library, and the table of them."""

import importlib
from typing import NamedTuple

from layers.bench.libraries.base import Side

OURS = "numba-layers"


class Entry(NamedTuple):
    """A line of the table.

    Attributes
    ----------
    title : str
        For the reader.
    package : str
        What has to be installed, by its import name.
    place : str
        The module in this folder and its class.
    full : bool
        Whether it is left to ``--full``.
    kinds : tuple of str
        Of cases, where it differs from the lines above it.
    """

    title: str
    package: str
    place: str
    full: bool = False
    kinds: tuple[str, ...] = ("step", "epoch", "predict")


SIDES = {
    OURS: Entry("numba-layers", "layers", "ours.Ours"),
    "numpy": Entry("NumPy", "numpy", "with_numpy.Numpy"),
    "torch": Entry("PyTorch", "torch", "with_torch.Torch"),
    "torch-compile": Entry("torch.compile", "torch", "with_torch.TorchCompile", full=True),
    "jax": Entry("JAX jit", "jax", "with_jax.Jax"),
    "jax-scan": Entry("JAX scan", "jax", "with_jax.JaxScan", kinds=("step", "epoch")),
    "sklearn": Entry("scikit-learn", "sklearn", "with_sklearn.Sklearn"),
}


def load(name: str) -> type[Side]:
    """Import a side, and its library with it."""
    module, _, its_class = SIDES[name].place.partition(".")
    loaded = importlib.import_module(f"{__name__}.{module}")
    side: type[Side] = getattr(loaded, its_class)
    return side
