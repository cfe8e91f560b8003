"""`fit`: its sources of rows, its callbacks, and how it stops."""

import itertools
import os
import threading
import time
import tracemalloc

import numpy as np
import pytest

import layers
from layers import datasets
from layers.compiled import tuning
from layers.training import data_sources

pytestmark = pytest.mark.compiled

X, Y = datasets.load_digits()
X.flags.writeable = Y.flags.writeable = False


class OwnReLU(layers.ReLU):
    """It makes a model run layer by layer."""

    def forward(self, x, training=False):
        return super().forward(x, training)


both_paths = pytest.mark.parametrize("relu", [layers.ReLU, OwnReLU], ids=["compiled", "by layers"])


def make(relu=layers.ReLU, seed=0) -> layers.Sequential:
    stack = [layers.Dense(64, 16), relu(), layers.Dense(16, 10)]
    return layers.Sequential(stack, optimizer=layers.SGD(0.1), seed=seed)


def after(batches: int, size: int = 32, relu=layers.ReLU) -> str:
    """The fingerprint after so many batches of rows in order."""
    model = make(relu)
    if batches:
        rows = slice(0, batches * size)
        model.fit(X[rows], Y[rows], batch_size=size, shuffle=False)
    return model.fingerprint()


def in_order(size: int = 32, rows: int = len(X)):
    """Batches of rows in order."""
    return [(X[i : i + size], Y[i : i + size]) for i in range(0, rows, size)]


# --- callbacks ------------------------------------------------------------------------------------


@both_paths
def test_callbacks_see_each_epoch(relu):
    seen, again = [], []
    model = make(relu)
    history = model.fit(
        X, Y, 3, validation_data=(X[:50], Y[:50]), callbacks=[seen.append, again.append]
    )
    assert seen == again
    assert [(p.epoch, p.epochs, p.batch, p.ended) for p in seen] == [
        (epoch, 3, 57, True) for epoch in (1, 2, 3)
    ]
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert [getattr(p, name) for p in seen] == history[name]


@both_paths
@pytest.mark.parametrize("every", [1, 10, 57, 100])
def test_callbacks_at_an_interval(relu, every):
    """With the means so far, between whole batches: no row is trained on in another way."""
    seen, prints = [], []
    model = make(relu)

    def note(progress):
        seen.append(progress)
        prints.append(model.fingerprint())

    model.fit(X, Y, 2, callbacks=note, callback_batches=every, shuffle=False)
    of_an_epoch = [(batch, False) for batch in range(every, 58, every)] + [(57, True)]
    assert [(p.batch, p.ended) for p in seen] == 2 * of_an_epoch
    assert prints[: len(of_an_epoch)] == [after(batch, relu=relu) for batch, _ in of_an_epoch]
    first = make(relu)
    losses = [first.train_step(x, y) for x, y in in_order()[:every]]
    if every < 57:  # the last batch is smaller
        assert seen[0].loss == pytest.approx(np.mean(losses), rel=1e-6)
    plain = make(relu)
    plain.fit(X, Y, 2, shuffle=False)
    assert model.fingerprint() == plain.fingerprint()
    assert model.history == plain.history


@both_paths
def test_a_callback_that_returns_true_ends_training(relu):
    model = make(relu)
    history = model.fit(X, Y, 9, callbacks=lambda progress: progress.epoch == 2)
    assert history.epochs == model.history.epochs == 2
    model = make(relu)
    history = model.fit(
        X, Y, 9, shuffle=False, callbacks=lambda p: p.batch == 12, callback_batches=4
    )
    assert history.epochs == 0  # no epoch has ended
    assert model.fingerprint() == after(12, relu=relu)
    # Only True itself, NumPy's too: a list's append and a counter's sum are no wish to stop.
    assert make(relu).fit(X, Y, 2, callbacks=lambda progress: 1).epochs == 2
    assert make(relu).fit(X, Y, 2, callbacks=lambda p: np.float64(p.loss) > 0).epochs == 1


@both_paths
def test_a_callback_that_raises_leaves_a_usable_model(relu):
    model = make(relu)

    def fail(progress):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        model.fit(X, Y, shuffle=False, callbacks=fail, callback_batches=20)
    assert model.fingerprint() == after(20, relu=relu)
    model.fit(X, Y)
    assert model.history.epochs == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"callbacks": 3}, "callbacks is 3, expected a function or a list of functions"),
        ({"callbacks": [print, None]}, "callbacks is .*, expected a function or a list"),
        ({"callback_batches": 0}, "callback_batches is 0, expected an integer of at least 1"),
        ({"callback_batches": 1.5}, "callback_batches is 1.5, expected an integer"),
        ({"shuffle": "no"}, "shuffle is 'no', expected True or False"),
        ({"shuffle": 2}, "shuffle is 2, expected True or False"),
        ({"progress": "yes"}, "progress is 'yes', expected True or False"),
        ({"steps_per_epoch": 3}, "steps_per_epoch is 3, expected it only where x is an iterable"),
    ],
)
def test_bad_arguments(arguments, message):
    model = make()
    before = model.fingerprint()
    with pytest.raises((TypeError, ValueError), match=f"^Sequential.fit: {message}"):
        model.fit(X, Y, **arguments)
    with pytest.raises(TypeError, match=r"^Sequential.fit: y is None, expected class indices"):
        model.fit(X)
    assert model.fingerprint() == before


# --- iterables of batches -------------------------------------------------------------------------


@both_paths
def test_batches_of_a_list_are_those_of_arrays(relu):
    arrays, batches = make(relu), make(relu)
    arrays.fit(X, Y, 2, shuffle=False)
    batches.fit(in_order(), epochs=2)
    assert batches.fingerprint() == arrays.fingerprint()
    assert batches.history == arrays.history


@both_paths
def test_batches_of_any_size_and_kind(relu):
    sizes = [1, 40, 3, 128, 32]
    starts = np.cumsum([0, *sizes])
    pieces = [slice(a, b) for a, b in itertools.pairwise(starts)]
    one, other = make(relu), make(relu)
    for rows in pieces:
        one.train_step(X[rows], Y[rows])
    other.fit((X[rows].tolist(), np.eye(10)[Y[rows]].tolist()) for rows in pieces)
    again = make(relu)
    again.fit([(X[rows].astype("f8"), list(Y[rows])) for rows in pieces])
    assert again.fingerprint() == one.fingerprint()
    np.testing.assert_allclose(other.layers[0].weights, one.layers[0].weights, rtol=1e-5)


@both_paths
def test_steps_per_epoch_of_an_iterator(relu):
    model, seen = make(relu), []
    history = model.fit(iter(in_order()), epochs=3, steps_per_epoch=19, callbacks=seen.append)
    assert history.epochs == 3
    assert [p.batch for p in seen] == [19, 19, 19]
    assert model.fingerprint() == after(57, relu=relu)


@both_paths
@pytest.mark.parametrize(
    ("batches", "done", "error", "message"),
    [
        ([*in_order()[:5], (X[:4, :63], Y[:4])], 5, ValueError,
         r"x in batch 6 of x has shape \(4, 63\), expected \(batch, 64\)"),
        ([*in_order()[:5], (X[:4], Y[:3])], 5, ValueError,
         r"y in batch 6 of x has shape \(3,\), expected \(4,\)"),
        ([*in_order()[:2], (X[:4], Y[:4] + 10)], 2, ValueError,
         r"y in batch 3 of x\[0\] is 10, expected 0 to 9"),
        ([*in_order()[:2], X[:4]], 2, TypeError, r"batch 3 of x is .*, expected a pair \(x, y\)"),
        ([*in_order()[:2], (X[:0], Y[:0])], 2, ValueError, "x in batch 3 of x has shape .*at leas"),
        ([], 0, ValueError, "x ended after 0 batches, expected at least 1 an epoch"),
        ([1, 2], 0, TypeError, r"batch 1 of x is 1, expected a pair \(x, y\)"),
    ],
)  # fmt: skip
def test_a_bad_batch_in_the_middle(relu, batches, done, error, message):
    model = make(relu)
    with pytest.raises(error, match=f"^Sequential.fit: {message}"):
        model.fit(batches)
    assert model.fingerprint() == after(done, relu=relu)
    model.fit(X, Y)


@both_paths
def test_an_iterator_that_ends_early(relu):
    model = make(relu)
    with pytest.raises(
        ValueError, match=r"^Sequential.fit: x ended after 7 batches, expected 50 an"
    ):
        model.fit(iter(in_order()), epochs=2, steps_per_epoch=50)
    assert model.history.epochs == 1
    assert model.fingerprint() == after(57, relu=relu)
    with pytest.raises(ValueError, match="x is an iterator, which has one epoch, and epochs is 2"):
        model.fit(iter(in_order()), epochs=2)

    def raises():
        yield from in_order()[:3]
        raise OSError("the disk")

    model = make(relu)
    with pytest.raises(OSError, match="the disk"):
        model.fit(raises())
    assert model.fingerprint() == after(3, relu=relu)


def test_a_bar_for_batches_of_an_unknown_number(capsys):
    make().fit(iter(in_order()), progress=True)
    make().fit(in_order(), epochs=2, progress=True)
    assert "1797 rows" in capsys.readouterr().err


# --- files mapped into memory ---------------------------------------------------------------------


@pytest.fixture
def mapped(tmp_path):
    """A function that writes an array to a file and maps it, read-only."""

    def write(array, **arguments):
        path = tmp_path / "x.bin"
        np.asarray(array).tofile(path)
        return np.memmap(path, array.dtype, "r", shape=array.shape, **arguments)

    return write


@both_paths
@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", ">f4"])
def test_a_mapped_file_is_its_array(relu, kind, mapped, monkeypatch):
    x = (X * 16).astype(kind)
    monkeypatch.setattr(data_sources, "_CONVERTED_BYTES", 64 * 4 * 32 * 3)  # three batches a piece
    arguments = {"epochs": 2, "batch_size": 32}
    from_file, from_memory = make(relu), make(relu)
    from_file.fit(mapped(x), Y, **arguments)
    from_memory.fit(x, Y, **arguments)
    assert from_file.fingerprint() == from_memory.fingerprint()
    assert from_file.history == from_memory.history
    part, same = make(relu), make(relu)
    part.fit(mapped(x)[100:1000:2], Y[100:1000:2])
    same.fit(x[100:1000:2], Y[100:1000:2])
    assert part.fingerprint() == same.fingerprint()


@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_a_mapped_file_is_not_loaded(kind, mapped, monkeypatch):
    x = mapped(np.zeros((40_000, 64), kind))
    monkeypatch.setattr(data_sources, "_CONVERTED_BYTES", 2**17)
    model = make()
    model.fit(x[:64], Y[:64])
    labels = np.zeros(len(x), np.int64)
    tracemalloc.start()
    model.fit(x, labels, batch_size=100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000 < x.size * 4  # the order of the rows is the most of it


@both_paths
def test_a_mapped_file_that_shrinks(relu, mapped):
    """Reading on would end the process with a bus error."""
    x = mapped(np.array(X[:1000]))
    model = make(relu)

    def shrink(progress):
        os.truncate(x.filename, 4096)

    with pytest.raises(OSError, match=r"x is mapped from .*x.bin, which has shrunk to 4096 bytes"):
        model.fit(x, Y[:1000], shuffle=False, callbacks=shrink, callback_batches=3)
    assert model.fingerprint() == after(3, relu=relu)
    model.fit(X, Y)


def test_a_mapped_file_of_another_width(mapped):
    for kind in ("float32", "uint8"):
        x = mapped(np.zeros((50, 63), kind))
        with pytest.raises(ValueError, match=r"^Sequential.fit: x has shape \(50, 63\)"):
            make().fit(x, Y[:50])
    with pytest.raises(TypeError, match=r"^Sequential.fit: x has dtype complex64, expected real"):
        make().fit(mapped(np.zeros((50, 64), "c8")), Y[:50])


# --- a good citizen -------------------------------------------------------------------------------

INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np
import layers

rng = np.random.default_rng(0)
x, y = rng.random((4000, 64), dtype=np.float32), rng.integers(0, 10, 4000)

def make():
    stack = [layers.Dense(64, 200), layers.ReLU(), layers.Dense(200, 10)]
    return layers.Sequential(stack, optimizer=layers.SGD(0.1), seed=0)

make().fit(x, y)  # compiles
model = make()
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have turned it off
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
began = time.perf_counter()
try:
    model.fit(x, y, 10**6, shuffle=False)
except KeyboardInterrupt:
    late = time.perf_counter() - began - 0.5
again = make()
epochs = model.history.epochs
again.fit(x, y, epochs, shuffle=False) if epochs else None
found = again.fingerprint() == model.fingerprint()
for start in range(0, 4000, 32):  # the parameters are those after some whole batch
    if not found:
        again.train_step(x[start : start + 32], y[start : start + 32])
        found = again.fingerprint() == model.fingerprint()
model.fit(x, y)
print("LATE", late, found, np.isfinite(model.layers[0].weights).all())
"""


def test_ctrl_c_leaves_whole_parameters(python):
    out = python(INTERRUPTED).splitlines()[-1].split()
    assert out[2:] == ["True", "True"]


def test_other_threads_go_on_while_kernels_run(monkeypatch):
    """Compiled calls leave the interpreter's lock to others."""
    stack = [layers.Dense(512, 1024), layers.ReLU(), layers.Dense(1024, 10)]
    model = layers.Sequential(stack, seed=0)
    x, y = np.zeros((2048, 512), np.float32), np.zeros(2048, np.int64)
    model.fit(x[:64], y[:64])
    running = True
    calls = []
    run = tuning.Pace.run

    def timed(self, most, call):
        began = time.perf_counter()
        result = run(self, most, call)
        calls.append((began, time.perf_counter()))
        return result

    ticks = []

    def note():
        while running:
            time.sleep(0.0005)
            ticks.append(time.perf_counter())

    ticker = threading.Thread(target=note)
    ticker.start()
    monkeypatch.setattr(tuning.Pace, "run", timed)
    try:
        model.fit(x, y, batch_size=2048, epochs=3)
    finally:
        running = False
        ticker.join()
    inside = [sum(began < tick < ended for tick in ticks) for began, ended in calls]
    assert max(inside) >= 2
