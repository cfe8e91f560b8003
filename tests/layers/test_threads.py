"""Models in many threads and in forked children: the same bits as alone.

In separate processes, since a threading layer is chosen once.
"""

import json
import os
from collections.abc import Callable

import pytest

from tests.conftest import SECONDS
from tests.regions import COUNT_REGIONS, LAYERS

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX"),
]

each_layer = pytest.mark.parametrize("layer", LAYERS)

# Models large enough that their products run in parallel under either layer, and a count of the
# parallel regions that were asked for and given.
PREAMBLE = (
    COUNT_REGIONS
    + """
import collections, json, os, signal, threading
import numpy as np
import kernels, layers
from kernels.runtime import threads

def make(seed, **shared):
    stack = [layers.Dense(128, 512), layers.ReLU(), layers.Dense(512, 10)]
    return layers.Sequential(stack, seed=seed, **shared)

def data(seed):
    x, order = np.empty((1024, 128), np.float32), np.empty(1024, np.int64)
    kernels.uniform(seed, 0, -1.0, 1.0, x)
    kernels.permutation(seed, 1, order)
    return x, order % 10

def trained(seed, **shared):
    model = make(seed, **shared)
    model.fit(*data(seed), epochs=2, batch_size=512)
    return model

def in_threads(function, count=16):
    # All start together; what they returned, or the first error.
    results, errors, start = [None] * count, [], threading.Barrier(count)

    def run(number):
        try:
            start.wait()
            results[number] = function(number)
        except BaseException as error:
            errors.append(error)

    started = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if errors:
        raise errors[0]
    return results
"""
)

# The threads go first: they also meet kernels that nobody has compiled or loaded yet. They share
# what models may share.
TRAIN = """
shared = {"loss": layers.SoftmaxCrossEntropy(), "optimizer": layers.SGD(0.05)}
together = in_threads(lambda seed: trained(seed, **shared).fingerprint())
given, refused, layer = regions[True], regions[False], threads.layer()
kernels.set_num_threads(1)
alone = [trained(seed, **shared).fingerprint() for seed in range(16)]
print(json.dumps([together, alone, given, refused, layer]))
"""


@each_layer
def test_sixteen_models_train_at_once(python: Callable, layer: str):
    printed = python(PREAMBLE + TRAIN, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    together, alone, given, refused, used = json.loads(printed)
    assert used == layer
    assert given > 0
    assert refused > 0  # two threads wanted a region at once
    assert together == alone
    assert len(set(alone)) == 16


# One model, many threads, batches of different lengths.
PREDICT = """
model, (x, _) = trained(0), data(1)
parts = [slice(number, 1024 - 50 * number) for number in range(16)]

def predict(number):
    return [model.predict_proba(x[parts[number]]).tobytes() for _ in range(20)]

results = in_threads(predict)
expected = [model.predict_proba(x[part]).tobytes() for part in parts]
print(json.dumps([results[n] == [expected[n]] * 20 for n in range(16)]))
"""


def test_sixteen_threads_predict_with_one_model(python: Callable):
    assert json.loads(python(PREAMBLE + PREDICT, NUMBA_NUM_THREADS="2")) == [True] * 16


FORK = f"""
model = trained(0)
in_parallel = regions[True]
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    signal.alarm({SECONDS})
    model.fit(*data(0), epochs=2, batch_size=512)
    os.write(write, model.fingerprint().encode())
    os._exit(0)
status = os.waitpid(pid, 0)[1]
os.close(write)
in_child = os.read(read, 100).decode()
model.fit(*data(0), epochs=2, batch_size=512)
regions.clear()
trained(1)  # a model that has not measured yet which number of threads is faster
print(json.dumps([status, in_child, model.fingerprint(), in_parallel, regions[True],
                  threads.layer()]))
"""


@each_layer
def test_a_forked_child_trains_on(python: Callable, layer: str):
    printed = python(PREAMBLE + FORK, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    status, in_child, in_parent, before, after, used = json.loads(printed)
    assert used == layer
    assert before > 0
    assert after > 0
    assert status == 0
    assert in_child == in_parent
