"""step.c, compiled for a shape by this machine's C compiler and called through ctypes."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).with_name("step.c")
FLAGS = {
    "native": ("-march=native",),  # AVX-512 where the CPU has it
    "avx2": ("-mavx2", "-mfma"),
}
_POINTER, _LONG = ctypes.c_void_p, ctypes.c_long


def compiler() -> str | None:
    """What the environment variable CC names, or cc; None where there is none."""
    return shutil.which(os.environ.get("CC", "cc"))


def compile_for(widths: tuple[int, int, int], batch: int, flags: str, folder: Path) -> Path:
    """Compile a shared library into the folder."""
    shape = zip(("N_IN", "N_HIDDEN", "N_OUT", "BATCH"), (*widths, batch), strict=True)
    library = folder / f"step-{'-'.join(map(str, widths))}-{batch}-{flags}.so"
    command = [
        *(compiler() or "cc", "-O3", *FLAGS[flags], "-Wall", "-shared", "-fPIC"),
        *(f"-D{name}={value}" for name, value in shape),
        *(str(SOURCE), "-o", str(library), "-lm"),
    ]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{ran.stderr}")
    return library


class Program:
    """The compiled program, which has its parameters and its memory inside.

    Parameters
    ----------
    library : Path
        Of `compile_for`.
    x, y : ndarray, (rows, n_in) and (rows,)
        float32 and int64.
    weights : list of (W, b)
        The initial weights of both layers.
    rate : float
        SGD's.
    """

    def __init__(self, library: Path, x, y, weights, rate: float) -> None:
        loaded = ctypes.CDLL(str(library))
        self._set, self._train = loaded.set, loaded.train
        self._set.argtypes = [_POINTER] * 4
        self._set.restype = None
        self._train.argtypes = [
            *(_POINTER, _POINTER, _LONG, _POINTER, ctypes.c_float, _POINTER, _LONG),
        ]
        self._train.restype = ctypes.c_double
        self.x, self.y = np.ascontiguousarray(x), y.astype(np.int64)
        self._weights = [np.ascontiguousarray(array) for pair in weights for array in pair]
        self.order = np.arange(len(x), dtype=np.int32)
        self._state, self._rate = ctypes.c_uint64(1), rate

    def reset(self) -> None:
        """Copy the initial weights, and put the rows in order."""
        self._set(*(array.ctypes.data for array in self._weights))
        self.order[:] = np.arange(len(self.order))

    def epochs(self, count: int, shuffle: bool = True) -> float:
        """Train for some epochs; return the mean loss of the last."""
        return self._train(
            *(self.x.ctypes.data, self.y.ctypes.data, len(self.x), self.order.ctypes.data),
            *(self._rate, ctypes.byref(self._state) if shuffle else None, count),
        )
