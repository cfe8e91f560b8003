"""The training step by hand in C, which asv_benchmarks/in_c measures, computes what it says."""

import functools
import platform
from pathlib import Path

import numpy as np
import pytest

from asv_benchmarks.in_c.program import FLAGS, Program, compile_for, compiler
from layers.bench import cases

CASE = cases.Case("two panels", "step", (48, 64, 10), batch=32, batches=8)
EPOCHS = 40

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.skipif(compiler() is None, reason="there is no C compiler"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="its instructions are x86-64's"),
]


def cpu_has(*names):
    try:
        return set(names) <= set(Path("/proc/cpuinfo").read_text(encoding="ascii").split())
    except OSError:
        return False


@functools.cache
def expected():
    """The mean loss of the last epoch, in float64 and written in another way."""
    x, y = cases.data(CASE)
    (w1, b1), (w2, b2) = [(w.astype(float), b.astype(float)) for w, b in cases.weights(CASE)]
    for _ in range(EPOCHS):
        losses = []
        for start in range(0, CASE.rows, CASE.batch):
            rows = slice(start, start + CASE.batch)
            inputs, labels = x[rows].astype(float), y[rows]
            h = np.maximum(inputs @ w1 + b1, 0)
            z = h @ w2 + b2
            logs = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
            losses.append(-logs[np.arange(CASE.batch), labels].mean())
            dz = cases.LEARNING_RATE * (np.exp(logs) - np.eye(10)[labels]) / CASE.batch
            dh = dz @ w2.T * (h > 0)
            w2, b2 = w2 - h.T @ dz, b2 - dz.sum(axis=0)
            w1, b1 = w1 - inputs.T @ dh, b1 - dh.sum(axis=0)
    return np.mean(losses)


@pytest.mark.parametrize("flags", FLAGS)
def test_it_trains_as_numpy_does(flags, tmp_path):
    if not cpu_has("avx2", "fma"):
        pytest.skip("this CPU has no AVX2")
    library = compile_for(CASE.widths, CASE.batch, flags, tmp_path)
    given = *cases.data(CASE), cases.weights(CASE), cases.LEARNING_RATE
    program = Program(library, *given)
    for _ in range(2):  # from the same weights again
        program.reset()
        assert program.epochs(EPOCHS, shuffle=False) == pytest.approx(expected(), rel=1e-5)
    loss = program.epochs(1)
    assert np.isfinite(loss)
    assert list(program.order) != sorted(program.order) == list(range(CASE.rows))
