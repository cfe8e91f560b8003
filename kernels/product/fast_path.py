"""Doors that call the compiled product first, and validate in Python only if it refuses.

`matmul` and the dense layer's products are one compiled kernel, called with different arguments.
The kernel checks shapes, alignment and overlap itself, in nanoseconds, after Numba has checked
types and layouts. Where either refuses, the door checks the arguments by its contract, which raises
the error or converts them.
"""

from collections.abc import Callable
from typing import Any, ParamSpec

import numpy as np

from kernels.runtime.jit import DONE, LARGE, MISFIT, Door, Kernel, registered

P = ParamSpec("P")

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)

Request = tuple[Any, ...]
"""The kernel's arguments; the first four are arrays."""


def fast_door(
    kernel: Kernel[..., Any], small: Kernel[..., Any], contract: str
) -> Callable[[Callable[P, Request]], Door[P, None]]:
    """Make a public kernel of a function that returns the arguments of ``kernel``.

    The function raises TypeError for arguments that neither it nor the kernel can judge. ``small``
    is called instead of ``kernel`` where ``extra`` is the output and no operation follows.
    """

    def make(function: Callable[P, Request]) -> Door[P, None]:
        return registered(_FastDoor(function, contract, kernel, small))  # type: ignore[no-any-return]

    return make


class _FastDoor(Door[P, None]):
    """See `fast_door`."""

    def __init__(
        self,
        function: Callable[P, Request],
        contract: str,
        kernel: Kernel[..., Any],
        small: Kernel[..., Any],
    ) -> None:
        super().__init__(function, contract)  # type: ignore[arg-type]
        self.bare = self._bare
        self._request = function
        self._kernel = kernel
        self._twin, self._small = kernel.serial, small.serial

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Try the arguments as they are; check them only where the kernel refuses."""
        answer = MISFIT
        try:
            a, b, extra, out, number, then, flags = self._request(*args, **kwargs)
            dtype = out.dtype
            if extra is out and then == 0:
                run = self._small.float32 if dtype is FLOAT32 else self._small.float64
                answer = run(a, b, out, flags)
            # Numba takes masked arrays for plain ones, and any byte order for this machine's.
            elif (
                type(out) is type(a) is type(b) is type(extra) is np.ndarray
                and (dtype is FLOAT32 or dtype is FLOAT64)
                and dtype is a.dtype is b.dtype is extra.dtype
                and type(number) is float
            ):
                answer = self._twin.run(a, b, extra, out, number, then, flags, 0)
        except Exception:  # the contract raises a better error
            pass
        if answer == LARGE:
            answer = self._kernel.share_out(a, b, extra, out, number, then, flags)
        return None if answer == DONE else super().__call__(*args, **kwargs)

    def _bare(self, *args: Any) -> None:
        a, b, extra, out, number, then, flags = self._request(*args)  # type: ignore[call-arg]
        answer, dtype = MISFIT, out.dtype
        if extra is out and then == 0:
            try:
                run = self._small.float32 if dtype is FLOAT32 else self._small.float64
                answer = run(a, b, out, flags)
            except (TypeError, NotImplementedError):
                # Not compiled (yet); or an array of a subclass, or of an equal dtype that is
                # another object.
                is_plain = type(out) is type(a) is type(b) is np.ndarray and dtype is a.dtype
                if is_plain and dtype is b.dtype and (dtype is FLOAT32 or dtype is FLOAT64):
                    answer = self._small(a, b, out, flags)
        if answer == LARGE:
            self._kernel.share_out(a, b, extra, out, number, then, flags)
        elif answer != DONE:
            self._kernel.bare(a, b, extra, out, number, then, flags)
