"""Which calls run in parallel, and that none crashes, hangs or changes a bit.

Most tests need a new process, since a threading layer is chosen once.
"""

import os

import pytest

import kernels
from kernels.runtime import threads
from tests.conftest import SECONDS
from tests.regions import COUNT_REGIONS, LAYERS

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX"),
]

each_layer = pytest.mark.parametrize("layer", LAYERS)

# What each process starts with: some work that is worth a parallel region under every layer, its
# bits on one thread, and a count of the regions that were asked for and given.
PREAMBLE = (
    COUNT_REGIONS
    + f"SECONDS = {SECONDS}"
    + """
import collections, hashlib, os, signal, sys, threading, traceback

import numba
import numpy as np

import kernels
from kernels.runtime import threads

rng = np.random.default_rng(0)
a = rng.normal(size=(320, 320)).astype(np.float32)
z = rng.normal(size=(900, 1000)).astype(np.float32)

def work():
    product, probabilities = np.empty_like(a), np.empty_like(z)
    kernels.matmul(a, a, product)
    kernels.softmax_forward(z, probabilities)
    return hashlib.sha256(product.tobytes() + probabilities.tobytes()).hexdigest()

def alone():
    kernels.set_num_threads(1)
    bits = work()
    kernels.set_num_threads(None)
    return bits

def child(function, *args):
    # Run it in a forked child, which must end well and in time.
    pid = os.fork()
    if pid == 0:
        signal.alarm(SECONDS)
        try:
            function(*args)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert status == 0, f"the child's status is {status}"

def check(bits, parallel):
    # The same bits, in parallel or not.
    regions.clear()
    assert work() == bits
    assert (regions[True] > 0) == parallel, regions
    assert (kernels.get_num_threads() > 1) == parallel
"""
)


@pytest.fixture
def process(python):
    """Run a script on two threads of a layer; see PREAMBLE."""

    def run(script: str, layer: str = "omp", count: int = 2) -> None:
        python(PREAMBLE + script, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS=str(count))

    return run


@pytest.fixture
def limit():
    """Lift the limit that a test sets."""
    yield
    kernels.set_num_threads(None)


# Serial or parallel


@each_layer
def test_large_work_runs_in_parallel_with_the_same_bits(process, layer):
    process(
        f"""
bits = alone()
check(bits, parallel=True)
check(bits, parallel=True)
assert threads.layer() == {layer!r}

# From here on what a region costs is known: for 70 microseconds of work, too much but under omp.
regions.clear()
part = np.ones((160, 160), np.float32)
kernels.matmul(part, part, np.empty_like(part))
assert regions[True] == ({layer!r} == "omp")
""",
        layer,
    )


def test_small_work_starts_no_threads(process):
    process("""
small = np.ones((8, 8), np.float32)
kernels.matmul(small, small, np.empty_like(small))
kernels.softmax_forward(small, np.empty_like(small))
assert threads.layer() is None
""")


def test_one_thread_never_opens_a_region(process):
    process("""
kernels.set_num_threads(1)
work()
assert kernels.get_num_threads() == 1
assert not regions
try:
    print(numba.threading_layer())
except ValueError:
    pass
else:
    sys.exit("a threading layer was started")
""")


def test_one_numba_thread_never_opens_a_region(process):
    process("work()\nassert threads.layer() is None", count=1)


def test_what_a_region_costs_decides(monkeypatch):
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 2)
    for layer, nanoseconds in {None: 40_000, "omp": 40_000, "workqueue": 800_000}.items():
        monkeypatch.setattr(threads, "_known_layer", layer)
        assert not threads.worthwhile(nanoseconds - 1)
        assert threads.worthwhile(nanoseconds)
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 1)
    assert not threads.worthwhile(1e9)


# How many threads


def test_the_smallest_limit_wins(process):
    process(
        """
assert kernels.get_num_threads() == 4
assert threads.layer() is None  # asking starts nothing
numba.set_num_threads(3)
assert kernels.get_num_threads() == 3
kernels.set_num_threads(8)
assert kernels.get_num_threads() == 3
kernels.set_num_threads(2)
assert kernels.get_num_threads() == 2
numba.set_num_threads(1)
assert kernels.get_num_threads() == 1
kernels.set_num_threads(None)
numba.set_num_threads(4)
assert kernels.get_num_threads() == 4
threads._quota = 3
assert kernels.get_num_threads() == 3
""",
        count=4,
    )


def test_a_region_has_the_allowed_threads_and_leaves_numba_its_own(process):
    process(
        """
from kernels.product.matmul import product

seen = []
parallel = product.parallel

def spy(*args):
    seen.append(numba.get_num_threads())
    if len(seen) == 3:
        raise KeyError("what a region raises")
    return parallel(*args)

product.parallel = spy
bits = alone()
numba.set_num_threads(3)
kernels.set_num_threads(2)
assert work() == bits
assert numba.get_num_threads() == 3
kernels.set_num_threads(None)
assert work() == bits
assert numba.get_num_threads() == 3
kernels.set_num_threads(2)
try:
    work()
except KeyError:
    pass
assert numba.get_num_threads() == 3
assert seen == [2, 3, 2]
assert not threads._lock.locked()
""",
        count=4,
    )


@pytest.mark.parametrize(
    ("content", "cpus"),
    [
        ("max 100000\n", None),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("0 100000\n", 1),
        ("", None),
        ("many 100000\n", None),
        (None, None),
    ],
)
def test_the_container_s_quota_is_read(monkeypatch, tmp_path, content, cpus):
    path = tmp_path / "cpu.max"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(threads, "Path", {"/sys/fs/cgroup/cpu.max": path}.__getitem__)
    assert threads._cgroup_cpus() == cpus


@pytest.mark.parametrize("n", [0, -1, 2.0, "2", True, int, [2]])
def test_a_bad_number_of_threads_is_refused(limit, n):
    kernels.set_num_threads(1)
    with pytest.raises((TypeError, ValueError)) as caught:
        kernels.set_num_threads(n)
    assert str(caught.value) == (
        f"kernels.set_num_threads: n is {n!r}, expected an integer of at least 1"
    )
    assert kernels.get_num_threads() == 1


# Many callers


@each_layer
def test_many_python_threads_call_at_once(process, layer):
    process(
        """
bits = alone()
work()  # what a region costs under this layer is known from here on
regions.clear()
differ = []
start = threading.Barrier(16)

def caller():
    start.wait()
    for _ in range(12):
        if work() != bits:
            differ.append(threading.get_ident())

callers = [threading.Thread(target=caller) for _ in range(16)]
for thread in callers:
    thread.start()
for thread in callers:
    thread.join()
assert not differ
assert regions[True] > 12, "next to none ran in parallel"
assert regions[False] > 12, "next to none met another"
assert not threads._lock.locked()
""",
        layer,
    )


# After a fork


@each_layer
def test_children_of_a_fork_after_a_region(process, layer):
    """OpenMP and TBB cannot go on in a child, so that one and its own children stay serial."""
    process(
        f"""
parallel = {layer!r} == "workqueue"
bits = alone()
check(bits, parallel=True)

def grandchild():
    check(bits, parallel)
    child(check, bits, parallel)
    kernels.set_num_threads(2)  # does not bring them back
    check(bits, parallel)

child(check, bits, parallel)
child(grandchild)
check(bits, parallel=True)
""",
        layer,
    )


@each_layer
def test_a_pool_of_forked_workers(process, layer):
    process(
        """
import multiprocessing

bits = alone()
assert work() == bits

def task(_):
    return work()

with multiprocessing.get_context("fork").Pool(2) as pool:
    results = pool.map_async(task, range(4)).get(SECONDS)
assert results == [bits] * 4
""",
        layer,
    )


@each_layer
def test_a_child_forked_while_another_thread_is_in_a_region(process, layer):
    process(
        f"""
bits = alone()
work()
stop = threading.Event()

def busy():
    while not stop.is_set():
        work()

thread = threading.Thread(target=busy)
thread.start()
forks = held = 0
try:
    while held < 5 and forks < 100:
        held += threads._lock.locked()
        forks += 1
        child(check, bits, {layer!r} == "workqueue")
finally:
    stop.set()
    thread.join()
assert held == 5
""",
        layer,
    )


def test_a_child_does_not_inherit_a_lock_that_is_held(process):
    process(
        """
bits = alone()
work()
with threads._lock:
    child(check, bits, True)
    regions.clear()
    assert work() == bits
    assert not regions[True]
""",
        "workqueue",
    )


def test_children_of_a_fork_before_any_region(process):
    """Serial until they ask for threads: some other library may have started OpenMP."""
    process("""
bits = alone()

def asks():
    check(bits, parallel=False)
    for kernel in kernels.runtime.jit.COMPILED:
        if kernel.__name__ == "product":
            kernel.compile(np.float32)  # starts Numba's threads, which is not asking for them
    check(bits, parallel=False)
    kernels.set_num_threads(2)
    check(bits, parallel=True)
    assert threads.layer() == "omp"
    child(check, bits, False)
    check(bits, parallel=True)

child(check, bits, False)
child(asks)
check(bits, parallel=True)
""")


# Without a threading layer


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("tbb", "No threading layer could be loaded. HINT: Intel TBB is required"),
        ("of-silk", "The threading layer requested 'of-silk' is unknown to Numba"),
    ],
)
def test_a_layer_that_cannot_be_loaded_costs_one_warning_and_no_bit(process, layer, reason):
    process(
        f"""
import warnings
from numba.np.ufunc import parallel
from kernels.product.matmul import product

def lacking():
    raise ImportError("no TBB here")

parallel._check_tbb_version_compatible = lacking
bits = alone()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    check(bits, parallel=False)
    check(bits, parallel=False)
    product.compile(np.float32)
(warning,) = caught
assert warning.category is RuntimeWarning
assert {reason!r} in str(warning.message), warning.message
assert kernels.get_num_threads() == 1 and threads.layer() is None
assert {reason!r} in threads.failure()
assert not threads._lock.locked()
child(check, bits, False)
""",
        layer,
    )
