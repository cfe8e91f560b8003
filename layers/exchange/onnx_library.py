"""The package onnx, imported when it is asked for."""

import importlib
from typing import Any

METADATA = "numba-layers"
"""Under this name an exported file has our loss and the names of the classes, as JSON."""


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
