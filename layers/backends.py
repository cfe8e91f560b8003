"""Which functions the layers call: the Numba kernels, or their NumPy twins."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from kernels import reference
from kernels.runtime.checks import real_dtype, shown
from kernels.runtime.families import OPERATIONS
from kernels.runtime.jit import COMPILED, PUBLIC

if TYPE_CHECKING:
    from layers.base import DType

# The layers have checked their arguments, so they call the kernels behind the doors.
_BACKENDS: dict[str, Any] = {
    "numba": SimpleNamespace(**{name: kernel.bare for name, kernel in PUBLIC.items()}),
    "numpy": reference,
}
_active: ContextVar[Any] = ContextVar("layers.backend", default=_BACKENDS["numba"])


def active() -> Any:
    """The functions to call now, by the names of ``kernels``."""
    return _active.get()


def is_compiled() -> bool:
    """Whether the functions to call now are the compiled kernels."""
    return _active.get() is _BACKENDS["numba"]


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Run every layer inside the ``with`` on the named backend, in this thread or task.

    Parameters
    ----------
    name : {"numba", "numpy"}
        The kernels, or their NumPy reference.

    Raises
    ------
    ValueError
        Another name.
    """
    is_text = isinstance(name, str)  # a list cannot be looked up
    if not is_text or name not in _BACKENDS:
        raise ValueError(f"backend: name is {shown(name)}, expected one of {sorted(_BACKENDS)}")
    token = _active.set(_BACKENDS[name])
    try:
        yield
    finally:
        _active.reset(token)


def warmup(dtype: "DType" = "float32", *, parallel: bool = True) -> None:
    """Compile every kernel for one dtype, or load it from the cache, so that no later call waits.

    Parameters
    ----------
    dtype : {"float32", "float64"}
    parallel : bool
        Whether to include the parallel twins, which take about as long again.
    """
    checked = real_dtype("warmup", dtype)
    for kernel in COMPILED:
        kernel.compile(checked, parallel=parallel)
    for operation in OPERATIONS:
        operation.compile(checked)
