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
RATE = 0.01
_LINE = 16
_POINTER, _LONG = ctypes.c_void_p, ctypes.c_long


def compiler() -> str | None:
    """What the environment variable CC names, or cc; None where there is none."""
    return shutil.which(os.environ.get("CC", "cc"))


def compile_for(widths: tuple[int, int, int], batch: int, flags: str, folder: Path) -> Path:
    """Compile a shared library into the folder."""
    shape = zip(("N_IN", "N_HIDDEN", "N_OUT", "BATCH"), (*widths, batch), strict=True)
    library = folder / f"step-{'-'.join(map(str, widths))}-{batch}-{flags}.so"
    command = [
        *(compiler() or "cc", "-O3", *FLAGS[flags], "-Wall", "-Werror", "-shared", "-fPIC"),
        *(f"-D{name}={value}" for name, value in shape),
        *(str(SOURCE), "-o", str(library), "-lm"),
    ]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{ran.stderr}")
    return library


class Program:
    """The compiled program with its parameters.

    Parameters
    ----------
    library : Path
        Of `compile_for`.
    x, y : ndarray, (rows, n_in) and (rows,)
        float32 and int64.
    weights : list of (W, b)
        The initial weights of both layers.
    """

    def __init__(self, library: Path, x, y, weights) -> None:
        self._train = ctypes.CDLL(str(library)).train
        self._train.argtypes = [
            *(_POINTER, _POINTER, _LONG, _POINTER, _POINTER),
            *(ctypes.c_float, _POINTER, _LONG),
        ]
        self._train.restype = ctypes.c_double
        self.x, self.y, self.weights = np.ascontiguousarray(x), y.astype(np.int64), weights
        size = sum(w.size + b.size for w, b in weights)
        memory = np.zeros(size + _LINE, np.float32)
        start = -memory.ctypes.data % (4 * _LINE) // 4
        self.parameters = memory[start : start + size]
        self._order = np.arange(len(x), dtype=np.int32)
        self._state = ctypes.c_uint64(1)

    def reset(self) -> None:
        """Copy the initial weights; the second layer's are held transposed."""
        (w1, b1), (w2, b2) = self.weights
        self.parameters[:] = np.concatenate([w1.ravel(), b1, w2.T.ravel(), b2])
        self._order[:] = np.arange(len(self._order))

    def epochs(self, count: int, shuffle: bool = True) -> float:
        """Train for some epochs; return the mean loss of the last."""
        return self._train(
            *(self.x.ctypes.data, self.y.ctypes.data, len(self.x), self._order.ctypes.data),
            *(self.parameters.ctypes.data, RATE),
            *(ctypes.byref(self._state) if shuffle else None, count),
        )
