"""``cblas_sgemm`` of MKL and of OpenBLAS, from their packages on PyPI, through ctypes."""

import ctypes
import importlib
import importlib.metadata
from pathlib import Path
from typing import Any

BY_ROWS, AS_IT_IS, TRANSPOSED = 101, 111, 112
"""CBLAS's constants: row-major order, and whether an operand is transposed."""

# An address is passed as an integer of its size, which is what compiled code has at hand.
_INT, _FLOAT, _ADDRESS = ctypes.c_int32, ctypes.c_float, ctypes.c_size_t


def mkl() -> Any:
    """MKL's ``cblas_sgemm``, with 32-bit integers.

    Raises
    ------
    ImportError
        The package has no such library.
    """
    package = importlib.metadata.distribution("mkl")
    # The package has nothing to import; its files lie in the environment's lib folder.
    for file in package.files or ():
        if file.name.startswith("libmkl_rt.so"):
            return typed(ctypes.CDLL(str(package.locate_file(file))).cblas_sgemm)
    raise ImportError("the package mkl lists no libmkl_rt.so among its files")


def openblas() -> Any:
    """OpenBLAS's ``cblas_sgemm``, by the name that SciPy's build gives it."""
    package: Any = importlib.import_module("scipy_openblas32")
    (library,) = Path(package.get_lib_dir()).glob("libscipy_openblas*")
    return typed(ctypes.CDLL(str(library)).scipy_cblas_sgemm)


def typed(sgemm: Any) -> Any:
    """State the argument types: C = alpha op(A) · op(B) + beta C."""
    operand = (_ADDRESS, _INT)
    sgemm.argtypes = [
        *(_INT, _INT, _INT),  # order, op(A), op(B)
        *(_INT, _INT, _INT, _FLOAT),  # m, n, k, alpha
        *(*operand, *operand, _FLOAT, *operand),  # A, B, beta, C, each with its row's length
    ]
    sgemm.restype = None
    return sgemm
