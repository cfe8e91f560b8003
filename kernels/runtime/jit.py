"""The only place that calls ``numba.njit``: flags, signatures, serial and parallel twins, doors.

- ``@kernel(contract, ...)`` turns one Python function into a `Kernel`. Calling it is the public,
  checked door (``kernels/runtime/contracts.py`` reads the contract); ``.bare`` does not check. Both
  run one of two compiled twins, ``.serial`` or ``.parallel``, which have the same text and so the
  same bits; ``kernels/runtime/threads.py`` chooses.
- ``@door(contract)`` is a public kernel that only calls others.
- ``@inner`` and ``@inlined`` compile a function that only other compiled functions call.
  ``@shared`` compiles one separately, so that its callers do not each hold its machine code.

Nothing is compiled at import. A twin is compiled for a dtype at its first use, with the signature
that the contract implies, and loaded from the cache (``kernels/runtime/cache.py``) afterwards.
"""

import copy
import functools
import types as python_types
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import llvmlite.binding  # type: ignore[import-untyped]
import numba
import numpy as np
from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.dispatcher import _FunctionCompiler
from numpy.typing import NDArray

from kernels.runtime import cache, contracts, threads

P = ParamSpec("P")
R = TypeVar("R")

# No fastmath: each CPU would fuse and reorder differently, and NaN and Inf would be lost.
# nogil: other Python threads run meanwhile. error_model: 1/0 is Inf, as in NumPy, without a branch.
_FLAGS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
# Only prange: Numba would otherwise also rewrite array expressions, which takes compile time and
# changes the order of sums.
_PARALLEL = {
    "comprehension": False,
    "prange": True,
    "numpy": False,
    "reduction": False,
    "setitem": False,
    "stencil": False,
    "fusion": False,
}

# The results of a kernel that takes ``count threads`` and checks its arrays' shapes itself. With a
# count of 0 it runs on one thread, or returns LARGE where more threads would be faster.
DONE, LARGE, MISFIT = 0, 1, 2

_FLOAT32 = np.dtype(np.float32)
_REALS = types.float32, types.float64

Array = NDArray[Any]
"""An argument of a kernel: its contract says more about it than a type can."""

PUBLIC: dict[str, "Door[Any, Any]"] = {}
"""Every public kernel by name."""

COMPILED: list["Kernel[Any, Any]"] = []
"""Every compiled kernel."""


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function for other compiled functions to call; LLVM may inline it."""
    return _inner(function)


def interpreted(function: Any) -> Callable[..., Any]:
    """An `inner` function of numbers as plain Python, with all that it calls.

    For what is called so rarely that compiling it would cost more than it saves.
    """
    if numba.config.DISABLE_JIT:
        return function  # type: ignore[no-any-return]
    python = function.py_func
    called = {
        name: interpreted(value)
        for name, value in python.__globals__.items()
        if name in python.__code__.co_names and hasattr(value, "py_func")
    }
    return python_types.FunctionType(python.__code__, {**python.__globals__, **called})


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """`inner`, and LLVM must inline it: arguments and results stay in registers."""
    return _inner(function, forceinline=True)


def _inner(function: Callable[P, R], **options: bool) -> Callable[P, R]:
    dispatcher = numba.njit(no_cpython_wrapper=True, **options, **_FLAGS)(function)
    if not numba.config.DISABLE_JIT:
        dispatcher._compiler.__class__ = _InnerCompiler
    return dispatcher  # type: ignore[no-any-return]


class _InnerCompiler(_FunctionCompiler):  # type: ignore[misc]
    """Numba's compiler, stopped before machine code.

    A caller links an inner function's LLVM code and generates machine code of the whole. Numba
    would also generate it for the inner function alone, at each level of a call tree: most of the
    matmul's compile time, for code that is never run.
    """

    def _customize_flags(self, flags: Any) -> Any:
        flags.no_compile = True
        return flags

    def fold_argument_types(self, args: Any, kws: Any) -> Any:
        # Numba gives each integer that stands in a call a type of its own, and would compile the
        # function once for each of them.
        pysig, folded = super().fold_argument_types(args, kws)
        return pysig, tuple(types.unliteral(each) for each in folded)

    def _compile_core(self, args: Any, return_type: Any) -> Any:
        # Nothing calls the entry point, but it identifies the inner function to callers, so it must
        # be unique; Numba requires a built-in function, such as a method of a new object.
        result = super()._compile_core(args, return_type)
        result = result._replace(entry_point=object().__reduce__)
        result.library.__class__ = _InnerLibrary
        self.targetdescr.target_context.insert_user_function(
            result.entry_point, result.fndesc, [result.library]
        )
        return result


class _InnerLibrary(JITCodeLibrary):  # type: ignore[misc]
    """LLVM code to link into a caller, optimised there; no machine code."""

    def _optimize_final_module(self) -> None:
        """Nothing: the caller optimises the whole."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


def shared(signature: Callable[[types.Type], tuple[types.Type, ...]]) -> Callable[[Any], Any]:
    """Compile a function separately: several kernels call it, and none holds its machine code.

    Such a kernel lists it in ``calls``. The product's loops take seconds to compile, and the serial
    and parallel twins of several kernels need them.

    Parameters
    ----------
    signature : callable
        Maps float32 or float64, as a Numba type, to the types of the arguments.
    """

    def make(function: Callable[P, R]) -> Callable[P, R]:
        dispatcher = numba.njit(no_cpython_wrapper=True, **_FLAGS)(function)
        if not numba.config.DISABLE_JIT:
            _SHARED[function.__name__] = _Shared(dispatcher, signature)
        return dispatcher  # type: ignore[no-any-return]

    return make


class _Forms:
    """A function's compiled forms, one for each signature.

    `make_ready` is the only way to a form, for every kind of function: it loads the form from the
    cache or compiles it, then calls `_take`, under Numba's lock and with Ctrl-C held back. Only
    then is the form ready. After an error everything is repeated, so `_take` may run twice.
    """

    def __init__(self, dispatcher: Any) -> None:
        self.dispatcher = dispatcher
        self._ready: set[tuple[types.Type, ...]] = set()

    def make_ready(self, signature: tuple[types.Type, ...]) -> None:
        """Compile one signature or load it from the cache, unless it is ready."""
        dispatcher = self.dispatcher
        with cache.filling():
            if signature in self._ready:
                return
            if dispatcher.targetoptions.get("parallel"):
                # A new copy for each compilation: Numba removes the options as it reads them.
                dispatcher.targetoptions["parallel"] = dict(_PARALLEL)
            if not dispatcher.overloads:
                cache.attach(dispatcher)
            # Only listed signatures: another layout is an error, not a compilation. With
            # `disable_compile` its own error would hide why the first compilation fails.
            dispatcher._can_compile = True
            try:
                dispatcher.compile(signature)
            finally:
                dispatcher._can_compile = False
            self._take(signature)
            self._ready.add(signature)

    def _take(self, signature: tuple[types.Type, ...]) -> None:
        """Finish a form that Numba has compiled or loaded."""
        raise NotImplementedError


class _Shared(_Forms):
    """A function with a symbol of its own, which the linker resolves for callers."""

    def __init__(self, dispatcher: Any, signature: Callable[..., Any]) -> None:
        super().__init__(dispatcher)
        self.signature = signature
        # Not before `compile`: typing would compile it without making its symbol known.
        dispatcher._can_compile = False

    def compile(self, real: types.Type) -> None:
        """Compile it for one dtype or load it from the cache, and make its symbol known."""
        self.make_ready(self.signature(real))

    def _take(self, signature: tuple[types.Type, ...]) -> None:
        dispatcher = self.dispatcher
        (real,) = (real for real in _REALS if self.signature(real) == signature)
        result = dispatcher.overloads[signature]
        # Numba's own name includes a counter of this process; callers from the cache need the same
        # name in each process.
        declared = copy.copy(result.fndesc)
        declared.mangled_name = f"numba_layers.{dispatcher.py_func.__name__}.{real}"
        address = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
        llvmlite.binding.add_symbol(declared.mangled_name, address)
        target = dispatcher.targetdescr.target_context
        target._defns.pop(result.entry_point, None)
        target.insert_user_function(result.entry_point, declared, [])


_SHARED: dict[str, _Shared] = {}


class Apart(_Forms):
    """A function called by its address, compiled separately; see `kernels.runtime.families`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(numba.njit(no_cpython_wrapper=True, **_FLAGS)(function))
        self._addresses: dict[tuple[types.Type, ...], int] = {}

    def address(self, signature: Any) -> int:
        """The address of its machine code for a signature, compiled or loaded if needed.

        Raises
        ------
        TypeError
            The function returns another type than the signature's.
        """
        self.make_ready(signature.args)
        returned = types.unliteral(self.dispatcher.overloads[signature.args].signature.return_type)
        if returned != signature.return_type:
            name = self.dispatcher.py_func.__name__
            raise TypeError(f"{name} returns {returned}, expected {signature.return_type}")
        return self._addresses[signature.args]

    def _take(self, signature: tuple[types.Type, ...]) -> None:
        result = self.dispatcher.overloads[signature]
        address = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
        self._addresses[signature] = int(address)


def door(contract: str) -> Callable[[Callable[P, R]], "Door[P, R]"]:
    """Make a function that only calls other kernels a public kernel; see `Door`."""

    def make(function: Callable[P, R]) -> Door[P, R]:
        return registered(Door(function, contract))

    return make


def kernel(
    contract: str,
    *,
    nanoseconds: Callable[..., float] | None = None,
    public: bool = True,
    calls: tuple[str, ...] = (),
    is_short: bool = False,
) -> Callable[[Callable[P, R]], "Kernel[P, R]"]:
    """Compile a function as a kernel; see `Kernel`."""

    def make(function: Callable[P, R]) -> Kernel[P, R]:
        made = Kernel(function, contract, nanoseconds, calls, is_short)
        COMPILED.append(made)
        return registered(made) if public else made

    return make


def registered(made: Any) -> Any:
    """Register a public kernel by its name."""
    PUBLIC[made.__name__] = made
    return made


def with_made(made: list[Array], returned: Any) -> Any:
    """What a call returns: the outputs that were made for it, then what the function returned."""
    if not made:
        return returned
    results = made if returned is None else [*made, returned]
    return results[0] if len(results) == 1 else tuple(results)


class Door(Generic[P, R]):
    """A public kernel: calling it checks the arguments by a contract, then runs ``.bare``.

    An output that is only written may be left out, where its shape follows from the inputs: a new
    array is made and returned, or a tuple of several.

    Parameters
    ----------
    function : callable
        What runs after the checks.
    contract : str
        Names, shapes and kinds of the arguments, as `contracts.Contract` reads them.
    as_matrices : bool
        As for `contracts.Contract`.

    Attributes
    ----------
    bare : callable
        The same without checks, for callers that have checked: all arguments in order, as the
        contract says, the arrays C-contiguous, aligned and native.
    """

    bare: Callable[..., R]

    def __init__(
        self, function: Callable[P, R], contract: str, *, as_matrices: bool = False
    ) -> None:
        functools.update_wrapper(self, function)
        self.contract = contracts.Contract(function, contract, as_matrices=as_matrices)
        self.__signature__ = self.contract.python
        self.bare = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Check the arguments, then run; outputs that were left out are returned."""
        taken, made = self.contract.prepare(args, kwargs)
        return with_made(made, self.bare(*taken))

    def __reduce__(self) -> str:
        """Pickle by name, as functions are."""
        return self.__name__  # type: ignore[attr-defined, no-any-return]

    def __repr__(self) -> str:
        return f"<kernel {self.__name__}: {self.contract.text}>"  # type: ignore[attr-defined]


class Kernel(Door[P, R]):
    """A compiled kernel: a door to two compiled twins.

    Parameters
    ----------
    function : callable
        Its outer loop is a ``prange`` where the kernel has a parallel twin.
    contract : str
        As for `Door`.
    nanoseconds : callable, optional
        Maps the kernel's arguments to the approximate time of the serial twin. A kernel without it
        has no parallel twin.
    calls : tuple of str
        The `shared` functions that it calls.
    is_short : bool
        Whether the call's overhead matters: the GIL is kept, which saves 30 nanoseconds, and arrays
        are passed as `numpy_arrays.Matrix`, which saves 170.
    """

    def __init__(
        self,
        function: Callable[P, R],
        contract: str,
        nanoseconds: Callable[..., float] | None,
        calls: tuple[str, ...] = (),
        is_short: bool = False,
    ) -> None:
        super().__init__(function, contract, as_matrices=is_short)
        self.nanoseconds = nanoseconds
        # A kernel that cuts its work by the number of threads takes the number as last argument.
        takes_threads = self.contract.arguments[-1].kind == "threads"
        self._one: tuple[int, ...] = (1,) if takes_threads else ()
        self.serial: _Twin | _Interpreted
        self.parallel: _Twin | None = None
        if numba.config.DISABLE_JIT:
            self.serial = _Interpreted(function, self.contract)
        else:
            twin = _ShortTwin if is_short else _Twin
            self.serial = twin(function, self.contract, calls, parallel=False, nogil=not is_short)
        self.bare = self.serial
        if nanoseconds is not None and not numba.config.DISABLE_JIT:
            self.parallel = _Twin(function, self.contract, calls, parallel=True)
            self.bare = self.share_out
        if takes_threads:
            self.bare = self._serial_first

    def _serial_first(self, *args: Any) -> None:
        answer = self.serial(*args, 0)
        if answer == LARGE:
            answer = self.share_out(*args)
        if answer != DONE:
            raise ValueError(
                f"{self.contract.place}.bare: the arrays do not fit together, are not aligned, or "
                f"share memory; it expects what its doors pass on: {self.contract.text}"
            )

    def share_out(self, *args: Any) -> R:
        """Run on as many threads as are allowed, or on one if the work is too small; no checks."""
        assert self.nanoseconds is not None
        try:
            nanoseconds = self.nanoseconds(*args)
        except AttributeError:
            nanoseconds = 0.0  # wrong arguments: the serial twin raises the error
        return self.sized(nanoseconds, *args)

    def sized(self, nanoseconds: float, *args: Any) -> R:
        """`share_out` of work that takes ``nanoseconds`` on one thread."""
        if threads.worthwhile(nanoseconds):
            return self.on_threads(None, *args)
        return self.serial(*args, *self._one)  # type: ignore[no-any-return]

    def on_threads(self, wanted: int | None, *args: Any) -> R:
        """Run on ``wanted`` threads, or all; on one while another caller has the region."""
        return self.for_threads(wanted, lambda count: args)

    def for_threads(self, wanted: int | None, arguments: Callable[[int], tuple[Any, ...]]) -> R:
        """`on_threads`, where the arguments depend on the number of threads."""
        region = threads.Region()
        if wanted != 1 and self.parallel is not None and region.enter():
            try:
                allowed = region.threads if wanted is None else min(wanted, region.threads)
                count = (allowed,) if self._one else ()
                return self.parallel(*arguments(allowed), *count)  # type: ignore[no-any-return]
            finally:
                region.leave()
        return self.serial(*arguments(1), *self._one)  # type: ignore[no-any-return]

    def compile(self, dtype: Any, *, parallel: bool = True) -> None:
        """Compile every twin for one dtype or load it from the cache.

        The parallel twin needs a threading layer, to which its code is bound.
        """
        twins = [self.serial]
        if parallel and self.parallel is not None and threads.start():
            twins.append(self.parallel)
        for twin in twins:
            for signature in self.contract.signatures(np.dtype(dtype)):
                twin.compile(signature)


def _not_compiled(*args: Any) -> Any:
    raise TypeError("no signature is compiled yet")


class _Twin(_Forms):
    """The serial or the parallel form of a kernel: each signature is compiled at its first use."""

    def __init__(
        self,
        function: Callable[..., Any],
        contract: contracts.Contract,
        calls: tuple[str, ...],
        **options: bool,
    ) -> None:
        suffix = "parallel" if options["parallel"] else "serial"
        super().__init__(numba.njit(**(_FLAGS | options))(_renamed(function, suffix)))
        self.contract = contract
        self.calls = calls
        # During `compile`, a call from another thread would make the dispatcher compile by itself.
        self.dispatcher._compile_for_args = self._when_compiled
        self.run: Callable[..., Any] = _not_compiled

    def __call__(self, *args: Any) -> Any:
        try:
            return self.run(*args)
        except TypeError:
            # Numba has no compiled form for these types: perhaps not yet.
            self.compile(self.contract.signature_of(args))
        return self.run(*args)

    def compile(self, signature: tuple[types.Type, ...]) -> None:
        """Compile or load one signature and what it calls, unless they are ready."""
        for name in self.calls:
            _SHARED[name].compile(self.contract.real_of(signature))
        self.make_ready(signature)

    def _take(self, signature: tuple[types.Type, ...]) -> None:
        self.run = self.dispatcher

    def _when_compiled(self, *args: Any) -> "_Twin":
        """Wait for another thread's compilation; return what to call."""
        with cache.filling():
            return self


class _ShortTwin(_Twin):
    """A twin that takes arrays as `Matrix`, which bypasses Numba's dispatcher.

    ``float32`` and ``float64`` are the compiled forms themselves. They raise TypeError for
    arguments that do not fit, and until they are compiled.
    """

    float32 = float64 = staticmethod(_not_compiled)

    def _take(self, signature: tuple[types.Type, ...]) -> None:
        compiled = self.dispatcher.overloads[signature].entry_point
        setattr(self, str(self.contract.real_of(signature)), compiled)
        self.run = self._of_dtype

    def _of_dtype(self, first: Any, *others: Any) -> Any:
        is_single = getattr(first, "dtype", None) is _FLOAT32
        return (self.float32 if is_single else self.float64)(first, *others)


class _Interpreted:
    """A kernel as plain Python (NUMBA_DISABLE_JIT=1)."""

    dispatcher = None

    def __init__(self, function: Callable[..., Any], contract: contracts.Contract) -> None:
        self.function = self.run = self.float32 = self.float64 = function
        self.place = contract.place

    def __call__(self, *args: Any) -> Any:
        try:
            return self.function(*args)
        except NotImplementedError as error:
            raise NotImplementedError(
                f"{self.place} is built on vector instructions, which Python cannot run: "
                "unset NUMBA_DISABLE_JIT, or take the NumPy twins in kernels.reference"
            ) from error

    def compile(self, signature: tuple[types.Type, ...]) -> None:
        """Nothing to do."""


def _renamed(function: Callable[..., Any], suffix: str) -> Callable[..., Any]:
    """A copy with another name, since twins of one name would share a cache entry."""
    twin = python_types.FunctionType(
        function.__code__,
        function.__globals__,
        f"{function.__name__}_{suffix}",
        function.__defaults__,
        function.__closure__,
    )
    twin.__qualname__ = f"{function.__qualname__}_{suffix}"
    twin.__module__ = function.__module__
    return twin
