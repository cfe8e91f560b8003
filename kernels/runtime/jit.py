"""The only place that calls ``numba.njit``: flags, signatures, serial and parallel twins, doors.

- ``@kernel(contract, ...)`` turns one Python function into a `Kernel`. Calling it is the public,
  checked door (``kernels/runtime/contracts.py`` reads the contract); ``.bare`` is the same without
  checks. Behind both lie two compiled twins, ``.serial`` and ``.parallel``, of the same text and so
  of the same bits; ``kernels/runtime/threads.py`` says which one runs.
- ``@door(contract)`` is a public kernel that only calls others.
- ``@inner`` and ``@inlined`` compile a function that only other compiled functions call.
  ``@shared`` compiles one apart, for kernels that would otherwise each hold its machine code.

Nothing is compiled at import. A twin is compiled for one dtype when that is first used, from the
signature that the contract implies, and loaded from the cache (``kernels/runtime/cache.py``)
afterwards.
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

# No fastmath: it would let each CPU fuse and reorder in its own way, and erase NaN and Inf.
# nogil: other Python threads go on. error_model: 1/0 is Inf, as in NumPy, without a branch.
_FLAGS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
# Only prange: Numba would otherwise also rewrite array expressions, which costs compile time and
# takes the order of a sum out of our hands.
_PARALLEL = {
    "comprehension": False,
    "prange": True,
    "numpy": False,
    "reduction": False,
    "setitem": False,
    "stencil": False,
    "fusion": False,
}

# What a kernel says that takes ``count threads``. It checks its arrays' shapes itself, and a count
# of 0 asks for one thread, unless the work is so large that it should first be asked for more.
DONE, LARGE, MISFIT = 0, 1, 2

_FLOAT32 = np.dtype(np.float32)
_REALS = types.float32, types.float64

Array = NDArray[Any]
"""An argument of a kernel: its contract says more about it than a type can."""

PUBLIC: dict[str, "Door[Any, Any]"] = {}
"""Every public kernel by name."""

COMPILED: list["Kernel[Any, Any]"] = []
"""Every kernel that has something to compile."""


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function for other compiled functions to call; LLVM may inline it."""
    return _inner(function)


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """`inner`, and LLVM must inline it: what it takes and gives stays in registers."""
    return _inner(function, forceinline=True)


def _inner(function: Callable[P, R], **options: bool) -> Callable[P, R]:
    dispatcher = numba.njit(no_cpython_wrapper=True, **options, **_FLAGS)(function)
    if not numba.config.DISABLE_JIT:
        dispatcher._compiler.__class__ = _InnerCompiler
    return dispatcher  # type: ignore[no-any-return]


class _InnerCompiler(_FunctionCompiler):  # type: ignore[misc]
    """Numba's compiler, stopped before machine code.

    A caller links an inner function's LLVM code and makes machine code of the whole. Numba would
    also make it for the inner function alone, at each level of a call tree: for the matmul that is
    most of the compile time, spent on code that nothing can run.
    """

    def _customize_flags(self, flags: Any) -> Any:
        flags.no_compile = True
        return flags

    def _compile_core(self, args: Any, return_type: Any) -> Any:
        # Nothing calls the entry point, but callers know the inner function by it, so it must be
        # unique, and Numba wants a built-in function: any method of a fresh object will do.
        result = super()._compile_core(args, return_type)
        result = result._replace(entry_point=object().__reduce__)
        result.library.__class__ = _InnerLibrary
        self.targetdescr.target_context.insert_user_function(
            result.entry_point, result.fndesc, [result.library]
        )
        return result


class _InnerLibrary(JITCodeLibrary):  # type: ignore[misc]
    """LLVM code to link into a caller: optimised there, and kept from the machine-code engine."""

    def _optimize_final_module(self) -> None:
        """Nothing: the caller optimises the whole, and would do this part again at each level."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


def shared(signature: Callable[[types.Type], tuple[types.Type, ...]]) -> Callable[[Any], Any]:
    """Compile a function apart: several kernels call it, and none holds its machine code.

    A kernel that does so lists it in ``calls``. The product's loops take seconds to compile, and
    the serial and the parallel twins of several kernels need them.

    Parameters
    ----------
    signature : callable
        From float32 or float64, as a Numba type, to the types of the arguments.
    """

    def make(function: Callable[P, R]) -> Callable[P, R]:
        dispatcher = numba.njit(no_cpython_wrapper=True, **_FLAGS)(function)
        if not numba.config.DISABLE_JIT:
            _SHARED[function.__name__] = _Shared(dispatcher, signature)
        return dispatcher  # type: ignore[no-any-return]

    return make


class _Forms:
    """A function's compiled forms, one for each signature: each is ready, or is not.

    `make_ready` is the one way to a form, for every kind of function: load it from the cache or
    compile it, then `_take` it, all under Numba's lock and with Ctrl-C held back. It is ready once
    all of that is done, and not because Numba has it. What an error has cut short is done again, so
    each step of `_take` may come twice.
    """

    def __init__(self, dispatcher: Any) -> None:
        self.dispatcher = dispatcher
        self._ready: set[tuple[types.Type, ...]] = set()

    def make_ready(self, signature: tuple[types.Type, ...]) -> None:
        """Compile one signature, or load it from the cache, unless that has been done."""
        dispatcher = self.dispatcher
        with cache.filling():
            if signature in self._ready:
                return
            if dispatcher.targetoptions.get("parallel"):
                # A fresh copy for each compilation: Numba takes the options out as it reads them.
                dispatcher.targetoptions["parallel"] = dict(_PARALLEL)
            if not dispatcher.overloads:
                cache.attach(dispatcher)
            # Only listed signatures: a stray layout is an error, not a compilation. Not by
            # `disable_compile`, which would hide why the first compilation fails by an error of its
            # own.
            dispatcher._can_compile = True
            try:
                dispatcher.compile(signature)
            finally:
                dispatcher._can_compile = False
            self._take(signature)
            self._ready.add(signature)

    def _take(self, signature: tuple[types.Type, ...]) -> None:
        """Do what remains to be done with a form that Numba has."""
        raise NotImplementedError


class _Shared(_Forms):
    """A function under a symbol of its own, which callers name and the linker finds."""

    def __init__(self, dispatcher: Any, signature: Callable[..., Any]) -> None:
        super().__init__(dispatcher)
        self.signature = signature
        # Not before `compile`: a caller from the cache would not find what typing had compiled.
        dispatcher._can_compile = False

    def compile(self, real: types.Type) -> None:
        """Compile it for one dtype, or load it from the cache, and make its symbol known."""
        self.make_ready(self.signature(real))

    def _take(self, signature: tuple[types.Type, ...]) -> None:
        dispatcher = self.dispatcher
        (real,) = (real for real in _REALS if self.signature(real) == signature)
        result = dispatcher.overloads[signature]
        # Numba's own name counts what this process has compiled before; callers from the cache need
        # one that is the same in each.
        declared = copy.copy(result.fndesc)
        declared.mangled_name = f"numba_layers.{dispatcher.py_func.__name__}.{real}"
        address = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
        llvmlite.binding.add_symbol(declared.mangled_name, address)
        target = dispatcher.targetdescr.target_context
        target._defns.pop(result.entry_point, None)
        target.insert_user_function(result.entry_point, declared, [])


_SHARED: dict[str, _Shared] = {}


class Apart(_Forms):
    """A function that is called by its address, compiled apart; see `kernels.runtime.families`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(numba.njit(no_cpython_wrapper=True, **_FLAGS)(function))
        self._addresses: dict[tuple[types.Type, ...], int] = {}

    def address(self, signature: Any) -> int:
        """Where its machine code for a signature is, compiled or loaded if need be.

        Raises
        ------
        TypeError
            It returns something else than the signature says.
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
    """Make a public kernel of a function that only calls other kernels; see `Door`."""

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
    """Make a kernel of a function to compile; see `Kernel`."""

    def make(function: Callable[P, R]) -> Kernel[P, R]:
        made = Kernel(function, contract, nanoseconds, calls, is_short)
        COMPILED.append(made)
        return registered(made) if public else made

    return make


def registered(made: Any) -> Any:
    """Keep a public kernel by its name."""
    PUBLIC[made.__name__] = made
    return made


class Door(Generic[P, R]):
    """A public kernel: calling it checks the arguments by a contract, then runs ``.bare``.

    Parameters
    ----------
    function : callable
        What runs after the checks.
    contract : str
        Names, shapes and kinds of the arguments, as `contracts.Contract` reads them.
    as_matrices : bool
        The same.

    Attributes
    ----------
    bare : callable
        The same without any check, for callers that have checked: every argument must be given, in
        order, as the contract says, the arrays C-contiguous, aligned and native.
    """

    bare: Callable[..., R]

    def __init__(
        self, function: Callable[P, R], contract: str, *, as_matrices: bool = False
    ) -> None:
        functools.update_wrapper(self, function)
        self.contract = contracts.Contract(function, contract, as_matrices=as_matrices)
        self.bare = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Check the arguments, then run."""
        return self.bare(*self.contract.check(args, kwargs))

    def __reduce__(self) -> str:
        """Pickle by name, as functions are."""
        return self.__name__  # type: ignore[attr-defined, no-any-return]

    def __repr__(self) -> str:
        return f"<kernel {self.__name__}: {self.contract.text}>"  # type: ignore[attr-defined]


class Kernel(Door[P, R]):
    """A compiled kernel: a door with two twins behind it.

    Parameters
    ----------
    function : callable
        The kernel's text; its outer loop is a ``prange`` where it has a parallel twin.
    contract : str
        As for `Door`.
    nanoseconds : callable, optional
        Of the kernel's arguments: about how long the serial twin takes. A kernel without it has no
        parallel twin.
    calls : tuple of str
        The `shared` functions that it calls.
    is_short : bool
        Whether the work is so short that a call's own time shows: other Python threads wait, since
        letting them go on takes 30 nanoseconds, and arrays come as `simd.Matrix`, which saves 170.
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
        # A kernel that shares its work out by the number of threads takes it as its last argument.
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
            self.bare = self._ask_first

    def _ask_first(self, *args: Any) -> None:
        answer = self.serial(*args, 0)
        if answer == LARGE:
            answer = self.share_out(*args)
        if answer != DONE:
            raise ValueError(
                f"{self.contract.place}.bare: the arrays do not fit together, are not aligned, or "
                f"share memory; it expects what its doors pass on: {self.contract.text}"
            )

    def share_out(self, *args: Any) -> R:
        """On as many threads as the work is worth, and as there are; nothing is checked."""
        assert self.nanoseconds is not None
        try:
            nanoseconds = self.nanoseconds(*args)
        except AttributeError:
            nanoseconds = 0.0  # not the right arguments: the serial twin says so
        return self.sized(nanoseconds, *args)

    def sized(self, nanoseconds: float, *args: Any) -> R:
        """On as many threads as work that takes so long on one is worth; nothing is checked."""
        if threads.worthwhile(nanoseconds):
            return self.on_threads(None, *args)
        return self.serial(*args, *self._one)  # type: ignore[no-any-return]

    def on_threads(self, wanted: int | None, *args: Any) -> R:
        """On so many threads, or all there are; on one while another caller has them."""
        return self.for_threads(wanted, lambda count: args)

    def for_threads(self, wanted: int | None, arguments: Callable[[int], tuple[Any, ...]]) -> R:
        """`on_threads`, where the arguments depend on how many threads are to be had."""
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
        """Compile every twin for one dtype, or load it from the cache.

        Without a threading layer there is no parallel twin: its code is bound to the layer's.
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
    """One compiled form of a kernel: each signature of the contract when it is first used."""

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
        # A dispatcher compiles on its own for a call that comes while `compile` has it open.
        self.dispatcher._compile_for_args = self._when_compiled
        self.run: Callable[..., Any] = _not_compiled

    def __call__(self, *args: Any) -> Any:
        try:
            return self.run(*args)
        except TypeError:
            # Numba found no compiled form for these types: perhaps it is not compiled yet.
            self.compile(self.contract.signature_of(args))
        return self.run(*args)

    def compile(self, signature: tuple[types.Type, ...]) -> None:
        """Compile one signature and what it calls, or load them, unless that has been done."""
        for name in self.calls:
            _SHARED[name].compile(self.contract.real_of(signature))
        self.make_ready(signature)

    def _take(self, signature: tuple[types.Type, ...]) -> None:
        self.run = self.dispatcher

    def _when_compiled(self, *args: Any) -> "_Twin":
        """What to call with these arguments, once another thread's compilation is over."""
        with cache.filling():
            return self


class _ShortTwin(_Twin):
    """A twin that takes arrays as `Matrix`, so that Numba's dispatcher is not asked.

    ``float32`` and ``float64`` are the compiled forms themselves. They raise TypeError for what
    does not fit, and until they are compiled.
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
    """A kernel's text as plain Python, where Numba is told not to compile (NUMBA_DISABLE_JIT=1)."""

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
    """A copy under a name of its own, since twins of one name would share a cache entry."""
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
