"""Parameters by name: our names, or those that PyTorch gives the same numbers."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.runtime import checks
from layers.base import Array

if TYPE_CHECKING:
    from layers.sequential import Sequential

PLACE = "Sequential.load_parameters"

TORCH_NAMES = {
    "weights": "weight",
    "biases": "bias",
    "running_mean": "running_mean",
    "running_variance": "running_var",
}
_COUNTER = ".num_batches_tracked"
"""PyTorch counts batches, for a momentum of None, which we do not have."""


def torch_form(layer: Any, name: str, array: Array) -> Array:
    """An array of ours as PyTorch has it: weights transposed, rows without their dimension."""
    if name == "weights" and type(layer).__name__ == "Dense":
        return array.T
    return array[0] if len(array) == 1 and type(layer).__name__ != "Embedding" else array


def torch_views(model: "Sequential") -> dict[str, Array]:
    """The model's parameters and statistics under PyTorch's names: views in its form."""
    views = {}
    for index, layer in enumerate(model.layers):
        for name, array in (layer.parameters() | layer.statistics()).items():
            if name in TORCH_NAMES:
                views[f"{index}.{TORCH_NAMES[name]}"] = torch_form(layer, name, array)
    return views


def array_of(tensor: Any) -> Array:
    """A tensor's numbers; half precision in float32."""
    tensor = tensor.detach().cpu()
    kind = str(tensor.dtype)
    array: Array = (
        tensor if kind in ("torch.float32", "torch.float64") else tensor.float()
    ).numpy()
    return array


def load(model: "Sequential", source: Any) -> None:
    """Fill a model's parameters; see `Sequential.load_parameters`."""
    given = source if isinstance(source, Mapping) else _from_file(source)
    strange = [name for name in given if not isinstance(name, str)]
    if strange:
        raise TypeError(f"{PLACE}: the name {checks.shown(strange[0])} is no str")
    given = {name: value for name, value in given.items() if not name.endswith(_COUNTER)}
    own = model.parameters() | model.statistics()
    theirs = torch_views(model)
    target = theirs if set(given) == set(theirs) and set(own) != set(theirs) else own
    if set(given) != set(target):
        raise ValueError(
            f"{PLACE}: the names are {sorted(given)}, expected {sorted(own)}, or as PyTorch has "
            f"them {sorted(theirs)}"
        )
    checked = {}
    for name, array in target.items():
        checked[name] = checks.real(PLACE, name, given[name], model.dtype, array.shape)
        if name.endswith(("running_variance", "running_var")) and not (checked[name] >= 0).all():
            raise ValueError(f"{PLACE}: {name} holds numbers below 0, expected at least 0 each")
    for name, array in target.items():
        array[...] = checked[name]


def _from_file(path: Any) -> Mapping[str, Any]:
    from layers import files
    from layers.exchange import safetensors_file
    from layers.files.archive import check_sizes
    from layers.files.npz import array_names, open_archive, read_array
    from layers.replacing import checked_path

    text = checked_path(path, PLACE)
    if files.ending(text) == ".safetensors":
        return safetensors_file.read_arrays(text, PLACE)
    place = f"{PLACE}: {os.fsdecode(text)}"
    with open_archive(text, place) as archive:
        check_sizes(archive, place)
        names = array_names(archive)
        kept = [name for name in names if not name.startswith(("optimizer.", "callback."))]
        found = {name: read_array(archive, name, place) for name in kept}
    return {name: np.asarray(array) for name, array in found.items()}
