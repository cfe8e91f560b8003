"""What is compiled, when and how often, and which callers may run it."""

import copy
import pickle
import threading
import time

import numba
import numpy as np
import pytest

import kernels
from kernels import operations
from kernels.product.matmul import product
from kernels.runtime import jit, threads
from kernels.runtime.families import COLUMNWISE, ELEMENTWISE, ROWWISE, Operation
from tests.kernels.operations import call, every_operation

each_kernel = pytest.mark.parametrize("kernel", jit.COMPILED, ids=lambda kernel: kernel.__name__)
each_door = pytest.mark.parametrize("door", jit.PUBLIC.values(), ids=lambda door: door.__name__)

# A process that counts what Numba compiles, from before the package is imported.
COUNTING = """
import sys
import numba
from numba.core import event

compiled = []

class Listener(event.Listener):
    def on_start(self, happened):
        compiled.append(happened.data["dispatcher"].py_func.__qualname__)

    def on_end(self, happened):
        pass

event.register("numba:compile", Listener())

import numpy as np
import kernels
from kernels.runtime import cache, jit, threads

def twins():
    for kernel in jit.COMPILED:
        yield from (twin for twin in (kernel.serial, kernel.parallel) if twin is not None)
"""


# Kernels for these tests alone, which are in no cache: what they compile, they compile here.


def _doubled(x, out):
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] + x[i, j]


@jit.inner
def _plus_one(x):
    return x + x / x


def _first(x, out):
    out[0, 0] = _plus_one(x[0, 0])


def _second(x, out):
    out[0, 0] = -_plus_one(x[0, 0])


def _slow(x, out):
    state = np.uint32(1)
    for _ in range(100_000_000):
        state = (state ^ (state >> np.uint32(7))) * np.uint32(1664525)
    out[0, 0] = state


def fresh(function) -> jit.Kernel:
    return jit.Kernel(function, "x (m, n) -> out (m, n)", None)


def arrays(dtype) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(1, 7, dtype=dtype).reshape(2, 3), np.zeros((2, 3), dtype)


def compiled() -> dict[tuple[str, str], int]:
    return {
        (kernel.__name__, form): len(twin.dispatcher.overloads)
        for kernel in jit.COMPILED
        for form, twin in (("serial", kernel.serial), ("parallel", kernel.parallel))
        if twin is not None
    }


# What is compiled, and when


@pytest.mark.compiled
def test_importing_compiles_nothing_and_starts_no_threads(python):
    python(
        COUNTING
        + """
assert compiled == []
assert tuple(cache.counts()) == (0, 0)
assert all(not twin.dispatcher.overloads for twin in twins())
assert threads.layer() is None
"""
    )


@pytest.mark.compiled
def test_a_door_compiles_one_form_for_each_dtype_and_kind_of_labels(python):
    python(
        COUNTING
        + """
kernel = kernels.softmax_minus_target
signatures = kernel.serial.dispatcher.overloads

def call(dtype, labels):
    p = np.full((4, 3), 1 / 3, dtype)
    frozen = p.copy()
    frozen.flags.writeable = False
    for layout in (p, frozen, np.asfortranarray(p), p[::-1], p.astype(p.dtype.newbyteorder())):
        for same in (labels, labels[::-1].copy()[::-1], labels.astype(labels.dtype)):
            kernel(layout, same, np.empty_like(p))
    return len(signatures)

index = np.array([0, 1, 2, 0])
assert call(np.float32, index) == 1
assert call(np.float32, index.astype(np.uint8)) == 1
assert call(np.float32, np.eye(4, 3, dtype=np.float32) + np.eye(4, 3, -3, dtype=np.float32)) == 2
assert call(np.float64, index) == 3
assert call(np.float64, np.eye(4, 3) + np.eye(4, 3, -3)) == 4
assert not kernel.parallel.dispatcher.overloads, "too small for a parallel region"
assert [twin for twin in twins() if twin.dispatcher.overloads] == [kernel.serial]
"""
    )


@pytest.mark.compiled
@each_kernel
def test_a_kernel_has_no_forms_but_the_listed_ones(kernel):
    listed = {s for dtype in ("f4", "f8") for s in kernel.contract.signatures(np.dtype(dtype))}
    kernel.compile(np.float32, parallel=False)
    assert set(kernel.serial.dispatcher.overloads) <= listed
    assert set(kernel.contract.signatures(np.dtype("f4"))) <= set(
        kernel.serial.dispatcher.overloads
    )


@pytest.mark.compiled
def test_read_only_and_writable_inputs_share_one_form():
    kernel = fresh(_doubled)
    x, out = arrays(np.float32)
    kernel.bare(x, out)
    x.flags.writeable = False
    kernel.bare(x, out)
    assert (out == 2 * x).all()
    assert len(kernel.serial.dispatcher.overloads) == 1


@pytest.mark.compiled
def test_bare_refuses_wrong_types_and_compiles_nothing_for_them():
    x, out = arrays(np.float32)
    frozen = out.copy()
    frozen.flags.writeable = False
    kernel = fresh(_doubled)
    kernel.bare(x, out)
    kernels.relu_forward.bare(x, out)
    kernels.uniform.bare(np.uint64(1), np.uint64(2), 0.0, 1.0, out)
    kernels.cross_entropy_rows.bare(x, np.zeros(2, np.int64), np.empty((2, 1), np.float32))
    before, result = compiled(), out.copy()
    for args in [
        (x.tolist(), out),
        (None, out),
        (x, None),
        (x.astype(np.int64), out),
        (x.astype(np.complex64), out),
        (x.astype(object), out),
        (x, np.zeros((2, 3))),
        (x[0], out),
        (x[None], out),
        (x[:, ::2], out),
        (x.T, out),
        (x, frozen),
        (x, out[:, ::2]),
        (x, out, out),
        (),
    ]:
        with pytest.raises(TypeError):
            kernel.bare(*args)
        with pytest.raises((TypeError, AttributeError, IndexError)):
            kernels.relu_forward.bare(*args)
    with pytest.raises(TypeError):
        kernel.bare(x)
    with pytest.raises(TypeError):
        kernels.uniform.bare(np.uint64(1), np.uint64(2), "0.1", 1.0, out)
    with pytest.raises(TypeError):
        kernels.cross_entropy_rows.bare(x, [0, 1], out[:, :1].copy())
    assert compiled() == before
    assert len(kernel.serial.dispatcher.overloads) == 1
    assert (out == result).all()


@pytest.mark.compiled
def test_every_twin_has_a_name_of_its_own():
    names = [
        (twin.dispatcher.py_func.__module__, twin.dispatcher.py_func.__qualname__)
        for kernel in jit.COMPILED
        for twin in (kernel.serial, kernel.parallel)
        if twin is not None
    ]
    names += [
        (operation.function.__module__, operation.function.__qualname__)
        for operation in every_operation()
    ]
    assert len(set(names)) == len(names)
    assert ("kernels.losses", "softmax_cross_entropy_serial") in names
    assert ("kernels.losses", "softmax_cross_entropy_parallel") in names
    assert ("kernels.activations", "relu_forward") in names


@pytest.mark.compiled
def test_an_inner_function_becomes_part_of_its_callers_only(monkeypatch):
    """No machine code of its own, at no level; and it serves more than one caller."""
    engine = numba.core.registry.cpu_target.target_context.codegen()._engine
    made = []
    add = type(engine).add_module

    def spy(self, module):
        made.append(module.name)
        return add(self, module)

    monkeypatch.setattr(type(engine), "add_module", spy)
    x, out = arrays(np.float64)
    first, second = fresh(_first), fresh(_second)
    first(x, out)
    assert out[0, 0] == 2
    second(x, out)
    assert out[0, 0] == -2
    (form,) = _plus_one.overloads.values()
    assert any("_first_serial" in name for name in made), made
    assert form.library.name not in made


# Two threads, one kernel


@pytest.mark.compiled
def test_threads_that_need_the_same_form_at_once_compile_it_once(python):
    python(
        COUNTING
        + """
import threading

sys.setswitchinterval(1e-5)
failures = []
start = threading.Barrier(8)

def first_use():
    x = np.array([[-1, 2]], np.float32)
    out = np.empty_like(x)
    start.wait()
    try:
        kernels.relu_forward(x, out)
        assert out.tolist() == [[0, 2]]
    except BaseException as error:
        failures.append(repr(error))

users = [threading.Thread(target=first_use) for _ in range(8)]
for user in users:
    user.start()
for user in users:
    user.join()
assert failures == []
assert compiled.count("relu_forward") == 1, compiled  # the operation
assert compiled.count("elementwise_serial") == 1, compiled  # what runs it
""",
        NUMBA_LAYERS_CACHE_DIR="",
    )


@pytest.mark.compiled
def test_a_form_that_another_thread_compiled_in_between_is_used():
    kernel = fresh(_doubled)

    def overtaken(*args):
        kernel.compile(np.float32)  # as another thread does, between the call and its failure
        raise TypeError

    kernel.serial.run = overtaken
    x, out = arrays(np.float32)
    kernel.bare(x, out)
    assert (out == 2 * x).all()


@pytest.mark.compiled
def test_a_form_that_is_compiled_serves_while_another_one_is_being_compiled():
    kernel = fresh(_doubled)
    kernel.bare(*arrays(np.float32))
    failures, calls = [], 0
    done = threading.Event()

    def user():
        nonlocal calls
        x, out = arrays(np.float32)
        while not done.is_set():
            out.fill(0)
            try:
                kernel.bare(x, out)
                assert (out == 2 * x).all()
            except BaseException as error:
                failures.append(error)
                return
            calls += 1

    users = [threading.Thread(target=user) for _ in range(2)]
    for thread in users:
        thread.start()
    x, out = arrays(np.float64)
    kernel.bare(x, out)
    done.set()
    for thread in users:
        thread.join()
    assert (out == 2 * x).all()
    assert failures == []
    assert calls
    assert len(kernel.serial.dispatcher.overloads) == 2


@pytest.mark.compiled
def test_a_failed_compilation_leaves_the_other_forms_usable(monkeypatch):
    kernel = fresh(_doubled)
    x, out = arrays(np.float32)
    kernel.bare(x, out)

    def fail(*args):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(kernel.serial.dispatcher._compiler, "compile", fail)
        with pytest.raises(MemoryError):
            kernel.bare(*arrays(np.float64))
    kernel.bare(x, out)
    assert (out == 2 * x).all()
    x, out = arrays(np.float64)
    kernel.bare(x, out)
    assert (out == 2 * x).all()


# Operations


def _two(x, dy, out, rows, columns, stride, numbers):
    for i in range(rows):
        for j in range(columns):
            out[i * stride + j] = 2 * x[i * stride + j]


def _gives_a_float(x, dy, out, rows, columns, stride, numbers):
    return x[0]


def _gives_zero(x, dy, out, rows, n, parameters, numbers, counter):
    return 0


def _gives_nothing(x, dy, out, rows, n, parameters, numbers, counter):
    out[0] = x[0]


@pytest.mark.compiled
def test_an_operation_is_compiled_once_for_each_dtype():
    operation = Operation(ELEMENTWISE, _two)
    assert operation._code is None, "nothing is compiled before it is used"
    for dtype in (np.float32, np.float64):
        x, out = np.arange(6, dtype=dtype), np.zeros(6, dtype)
        address = operation.address(np.dtype(dtype))
        assert operation.address(dtype) == address
        call(operation, dtype, x, x, out, 2, 2, 4, np.zeros(0))
        assert out.tolist() == [0, 2, 0, 0, 8, 10]
    assert len(operation._code.dispatcher.overloads) == 2
    assert copy.deepcopy(operation) is operation
    assert repr(operation) == "<elementwise operation two>"


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("family", "function", "message"),
    [
        (ELEMENTWISE, _gives_a_float, "_gives_a_float returns float32, expected none"),
        (COLUMNWISE, _gives_a_float, "_gives_a_float returns float32, expected none"),
        (ROWWISE, _gives_nothing, "_gives_nothing returns none, expected int64"),
    ],
    ids=["elementwise", "columnwise", "rowwise"],
)
def test_an_operation_that_returns_something_else_is_an_error_each_time(family, function, message):
    """Compiled code would read a result where there is none, or is another."""
    operation = Operation(family, function)
    for _ in range(2):
        with pytest.raises(TypeError, match=message):
            operation.address(np.float32)


@pytest.mark.compiled
def test_a_plain_zero_is_a_count():
    x = np.ones((1, 1))
    operation = Operation(ROWWISE, _gives_zero)
    assert call(operation, np.float64, x, x, x, 1, 1, x, x, (0, 0, 0)) == 0


@pytest.mark.compiled
def test_an_operation_is_cached_apart_and_found_by_another_process(python, tmp_path):
    script = (
        COUNTING
        + """
from kernels.activations import RELU
from kernels.metrics import CLASSES

x = np.array([[-1, 2]], np.float32)
out, classes = np.empty_like(x), np.empty(1, np.int64)
kernels.relu_forward(x, out)
assert out.tolist() == [[0, 2]]
first = tuple(cache.counts())
watched = "relu_forward", "relu_backward", "_classes", "elementwise_serial", "rowwise_serial"

def those():
    return [name for name in compiled if name in watched]
"""
    )
    again = """
kernels.relu_backward(x, x, out)
assert out.tolist() == [[0, 2]]
kernels.argmax_rows(x, classes)
assert classes.tolist() == [1]
print(first, those())
"""
    folder = {"NUMBA_LAYERS_CACHE_DIR": str(tmp_path)}
    python(script + "assert those() == ['relu_forward', 'elementwise_serial'], compiled", **folder)
    found = python(script + again, **folder)
    # The gradient shares what runs it, and nothing else.
    assert found.strip() == "(2, 0) ['relu_backward', '_classes', 'rowwise_serial']"
    python(script + again + "assert compiled == [], compiled", **folder)


# Other threads, and Ctrl-C


@pytest.mark.compiled
def test_other_python_threads_go_on_during_a_kernel():
    kernel = fresh(_slow)
    x, out = np.ones((1, 1)), np.zeros((1, 1))
    kernel.compile(np.float64)
    thread = threading.Thread(target=kernel.bare, args=(x, out))
    turns = 0
    thread.start()
    while thread.is_alive():
        time.sleep(0.001)
        turns += 1
    assert out[0, 0] > 0
    assert turns > 20


@pytest.mark.compiled
def test_an_exception_in_a_region_gives_the_lock_back(monkeypatch):
    def interrupted(*args):
        assert threads._lock.locked()
        raise KeyboardInterrupt

    monkeypatch.setattr(threads, "worthwhile", lambda nanoseconds: True)
    monkeypatch.setattr(threads, "get_num_threads", lambda: 2)
    monkeypatch.setattr(numba, "set_num_threads", lambda count: None)  # there may be one core
    monkeypatch.setattr(operations.elementwise, "parallel", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kernels.relu_forward.bare(*arrays(np.float32))
    assert not threads._lock.locked()


@pytest.mark.compiled
@pytest.mark.parametrize("step", ["count", "start", "ask", "set"])
def test_an_error_on_the_way_into_a_region_gives_the_lock_back(monkeypatch, step):
    def fails(*args):
        assert threads._lock.locked()
        raise KeyboardInterrupt

    monkeypatch.setattr(threads, "get_num_threads", fails if step == "count" else lambda: 2)
    monkeypatch.setattr(threads, "start", fails if step == "start" else lambda: True)
    monkeypatch.setattr(numba, "get_num_threads", fails if step == "ask" else lambda: 1)
    monkeypatch.setattr(numba, "set_num_threads", fails)
    with pytest.raises(KeyboardInterrupt):
        threads.Region().enter()
    assert not threads._lock.locked()


@pytest.mark.compiled
def test_ctrl_c_during_a_region_gives_the_lock_back(python):
    python(
        """
import os, signal, sys, threading, time
import numpy as np
import kernels
from kernels.runtime import threads

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have turned it off
x = np.ones((1500, 1500), np.float32)
out = np.empty_like(x)
kernels.matmul(x, x, out)  # compiled before the clock runs
assert threads.layer() is not None

def press():
    while not threads._lock.locked():  # until the main thread is in a region
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)

try:
    threading.Thread(target=press, daemon=True).start()
    for _ in range(100):
        kernels.matmul(x, x, out)
except KeyboardInterrupt:
    pass
else:
    sys.exit("no interrupt")
assert not threads._lock.locked()
""",
        NUMBA_NUM_THREADS="2",
    )


# A kernel as an object


@each_door
def test_a_kernel_is_pickled_and_copied_by_name(door):
    assert pickle.loads(pickle.dumps(door)) is door
    assert copy.copy(door) is door
    assert copy.deepcopy(door) is door


def test_a_kernel_that_is_not_public_is_pickled_too():
    assert pickle.loads(pickle.dumps(product)) is product


@each_door
def test_a_kernel_says_what_it_takes(door):
    if isinstance(door, jit.Door):  # `matmul` is a plain function in front of one
        assert repr(door) == f"<kernel {door.__name__}: {door.contract.text}>"
    assert getattr(kernels, door.__name__) is door
    assert door.__doc__


# With Numba's switches


def test_without_the_jit_kernels_say_why_they_do_not_run(python):
    python(
        """
import numpy as np
import kernels
from kernels.runtime import jit, threads

x = np.array([[-1, 2, np.nan], [3, -4, 5]], np.float32)
dy = np.ones_like(x)
out, labels = np.empty_like(x), np.empty(2, np.int64)

square = np.ones((3, 3), np.float32)
for kernel, arguments in {
    kernels.exp: (x, out),
    kernels.permutation: (3, 4, np.zeros(5, np.int64)),
    kernels.relu_forward: (x, out),
    kernels.matmul: (square, square, out[:1].repeat(3, 0)),
    kernels.sgd_update: (x.copy(), dy, 0.1),
    kernels.softmax_forward: (x, out),
    kernels.argmax_rows: (x, labels),
    kernels.gather_rows: (x, np.array([1, 1]), out),
    kernels.cross_entropy_gradient: (x, np.array([1, 1]), out, out[:, :1].copy(), dy[:, :1].copy()),
    kernels.dense_relu_forward: (x, square, square[:1].copy(), out),
}.items():
    try:
        kernel(*arguments)
    except NotImplementedError as error:
        assert "unset NUMBA_DISABLE_JIT" in str(error) and "kernels.reference" in str(error)
        assert str(error).startswith("kernels")
    else:
        raise AssertionError(f"{kernel} ran")
for kernel in jit.COMPILED:
    kernel.compile(np.float32)  # nothing to do
    assert kernel.serial.dispatcher is None and kernel.parallel is None
assert threads.layer() is None
""",
        NUMBA_DISABLE_JIT="1",
    )


def test_bounds_are_checked_on_request(python):
    """Below the doors, an index out of range is an error under NUMBA_BOUNDSCHECK=1 only."""
    python(
        """
import numpy as np
import kernels

x, labels = np.ones((3, 2)), np.array([0, 1, 1])
short = np.empty((1, 1))
for kernel, arguments in (
    (kernels.count_correct, (x, labels[:2])),
    (kernels.cross_entropy_rows, (x, labels, short)),
    (kernels.softmax_cross_entropy, (x, labels, x.copy(), short)),
):
    try:
        kernel.serial(*arguments)
    except IndexError:
        continue
    raise AssertionError(f"{kernel} went out of bounds in silence")
""",
        NUMBA_BOUNDSCHECK="1",
    )
