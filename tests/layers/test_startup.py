"""Importing and first using `layers` does not compile, start threads or load heavy modules."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

IMPORT = """
import json, sys
import layers
from kernels.runtime import cache, threads
from kernels.runtime.jit import COMPILED

print(json.dumps({
    "compiled": [
        kernel.__name__ for kernel in COMPILED for twin in (kernel.serial, kernel.parallel)
        if twin is not None and twin.dispatcher is not None and twin.dispatcher.overloads
    ],
    "counts": cache.counts(),
    "layer": threads.layer(),
    "modules": sorted({name.partition(".")[0] for name in sys.modules}),
    "own": [name for name in sys.modules if name.startswith("layers.")],
}))
"""

# Every public thing once, in both dtypes and large enough for parallel twins.
USE = """
import json
import numpy as np
import layers
from kernels.runtime import cache
from layers import datasets
from layers.compiled import tuning

tuning._SHORT_SECONDS = 0.0  # two threads are tried however fast this CPU is
x, y = datasets.load_digits()
for dtype in ("float32", "float64"):
    for softmax in (False, True):
        stack = [layers.Dense(64, 512), layers.ReLU(), layers.Dense(512, 10)]
        loss, labels = layers.SoftmaxCrossEntropy(), y
        if softmax:
            stack.append(layers.Softmax())
            loss, labels = layers.CategoricalCrossEntropy(), np.eye(10)[y]
        model = layers.Sequential(stack, loss=loss, seed=0, dtype=dtype)
        model.fit(x, labels, batch_size=1024, validation_data=(x, y))
        model.predict(x)
        model.predict_proba(x)
print(json.dumps(cache.counts()))
"""


def test_import_compiles_nothing_and_starts_nothing(python: Callable):
    report = json.loads(python(IMPORT, NUMBA_NUM_THREADS="2"))
    assert report["compiled"] == []
    assert report["counts"] == [0, 0]
    assert report["layer"] is None


def test_import_loads_nothing_heavy(python: Callable):
    modules = json.loads(python(IMPORT))["modules"]
    assert {"layers", "kernels", "numba", "numpy"} <= set(modules)
    # Not scipy: Numba itself imports it where it is installed.
    heavy = {
        "matplotlib",
        "sklearn",
        "pandas",
        "torch",
        "polars",
        "pyarrow",
        "PIL",
        "IPython",
        "hypothesis",
        "pytest",
    }
    assert heavy & set(modules) == set()


def test_import_loads_nothing_of_the_comparison_and_of_tables(python: Callable):
    """What measures errors, and what reads files, is no part of training."""
    own = json.loads(python(IMPORT))["own"]
    assert "layers.sequential" in own
    late = ("layers.comparison", "layers.data.", "layers.tables")
    assert [name for name in own if name.startswith(late)] == []


@pytest.mark.compiled
def test_a_second_process_compiles_nothing(python: Callable):
    """The first process compiles what the cache lacks; the second one finds all of it there."""
    first, second = (json.loads(python(USE, NUMBA_NUM_THREADS="2")) for _ in range(2))
    assert second == [sum(first), 0]
    assert sum(first) > 20


WARM = """
import json
import numpy as np
import layers
from kernels.runtime import cache

layers.warmup()
before = cache.counts()
for last in ([], [layers.Softmax()]):
    loss = layers.CategoricalCrossEntropy() if last else layers.SoftmaxCrossEntropy()
    stack = [layers.Dense(20, 40), layers.ReLU(), layers.Dense(40, 30), *last]
    model = layers.Sequential(stack, loss=loss, seed=0)
    x, y = np.ones((64, 20), "f4"), np.arange(64) % 30
    model.fit(x, y, validation_data=(x, y))
    model.fit(x, np.eye(30)[y])
    model.predict(x)
    model.predict_proba(x)
    model.forward(x)
    model.backward(np.ones((64, 30), "f4"))
print(json.dumps([before, cache.counts()]))
"""


@pytest.mark.compiled
def test_nothing_waits_after_a_warmup(python: Callable):
    before, after = json.loads(python(WARM, NUMBA_NUM_THREADS="2"))
    assert sum(before) > 20
    assert after == before


# What compiles quickly, in both dtypes: four operations, and the parallel twins of two kernels.
USE_FEW = """
import json
import numpy as np
import layers
from kernels.runtime import cache

for dtype in ("float32", "float64"):
    x = np.ones((1024, 1024), dtype)
    for layer in (layers.ReLU(), layers.Softmax()):
        layer.backward(layer.forward(x))
print(json.dumps(cache.counts()))
"""


@pytest.mark.compiled
def test_a_new_cache_serves_the_second_process(python: Callable, tmp_path: Path):
    folder = {"NUMBA_LAYERS_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "2"}
    tmp_path.chmod(0o700)
    first, second = (json.loads(python(USE_FEW, **folder)) for _ in range(2))
    assert first == [0, 12]
    assert second == [12, 0]
