"""Weights in blocks of columns: which, when, and that nothing but the time shows it."""

import numpy as np
import pytest

import layers
from kernels.network import interpreter
from layers import datasets
from layers.compiled import blocks, lowering, runner, tuning

pytestmark = pytest.mark.compiled

X, Y = datasets.load_digits()
PIECES = [each.name for each in interpreter.execute.contract.arguments].index("pieces")
OPTIMIZERS = {
    "SGD": layers.SGD(0.1),
    "momentum": layers.SGD(0.1, momentum=0.9),
    "Adam": layers.Adam(),
    "AdamW": layers.AdamW(),
}


def make(*stack, optimizer=None, dtype="float32") -> layers.Sequential:
    return layers.Sequential(
        stack or [layers.Dense(64, 165), layers.ReLU(), layers.Dense(165, 10)],
        optimizer=optimizer or layers.SGD(0.1),
        seed=3,
        dtype=dtype,
    )


@pytest.fixture
def on_threads(monkeypatch):
    """Train on so many threads, three batches a call; the numbers of pieces in blocks, of each."""
    calls = []

    def switch(count):
        def on_so_many(wanted, arguments):
            given = arguments(count)
            calls.append(given[PIECES].size // interpreter.PIECE)
            return interpreter.execute.parallel(*given, count)

        monkeypatch.setattr(tuning.Pace, "run", lambda _, most, call: call(min(most, 3), count))
        monkeypatch.setattr(interpreter.execute, "for_threads", on_so_many)
        monkeypatch.setattr(runner, "LEAST_BATCHES", 1)
        monkeypatch.setattr(blocks, "_LEAST_WORK", 0)
        monkeypatch.setattr(blocks, "_LEAST_BYTES", 0)
        return calls

    return switch


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_bits_are_those_of_one_thread(optimizer, dtype, on_threads):
    """Of parameters and of the optimizer's states, with a last batch of few rows."""
    x, y = X[:1001], Y[:1001]
    alone = make(optimizer=optimizer, dtype=dtype)
    alone.fit(x, y, 2, 50)
    for count in (2, 4):
        calls = on_threads(count)
        together = make(optimizer=optimizer, dtype=dtype)
        together.fit(x, y, 2, 50)
        assert together.fingerprint() == alone.fingerprint()
        for ours, its in zip(together._buffers.states, alone._buffers.states, strict=True):
            np.testing.assert_array_equal(ours, its)
        # Each epoch has 21 batches, in calls of three.
        assert calls == [count * (1 + len(alone._buffers.states))] * 14
        calls.clear()


def test_three_threads_have_no_blocks(on_threads):
    calls = on_threads(3)
    make().fit(X, Y, 1, 50)
    assert set(calls) == {0}


def chosen(model, rows=50, count=2) -> list[tuple[int, int]]:
    """The shapes of the weights that are held in blocks."""
    made = lowering.Lowering(model).training("labels", 8 // model.dtype.itemsize)
    found = blocks.weights_for_blocks(made, rows, model.dtype.itemsize, count)
    return [(each.n_in, each.n_out) for each in found]


def frozen(layer):
    layer.trainable = False
    return layer


STACKS = {
    "the first layer": ([layers.Dense(640, 160), layers.ReLU(), layers.Dense(160, 160)], True),
    "behind another layer": ([layers.Dropout(0.2), layers.Dense(640, 160)], True),
    "behind a frozen one": ([frozen(layers.Dense(9, 640)), layers.Dense(640, 160)], True),
    "a frozen one": ([frozen(layers.Dense(640, 160)), layers.Dense(160, 9)], False),
    "behind a trained one": ([layers.Dense(9, 640), layers.ReLU(), layers.Dense(640, 160)], False),
    "with a penalty": ([layers.Dense(640, 160, l2=0.1), layers.Dense(160, 9)], False),
    "too narrow": ([layers.Dense(640, 12), layers.Dense(12, 9)], False),
}


@pytest.mark.parametrize(("stack", "expected"), STACKS.values(), ids=STACKS)
def test_only_weights_that_nothing_else_reads(stack, expected):
    assert chosen(make(*stack)) == ([(640, 160)] if expected else [])


def test_no_gradients_that_are_clipped():
    for settings in ({"clip_norm": 1.0}, {"clip_value": 1.0}):
        stack = layers.Dense(640, 160), layers.Dense(160, 9)
        assert chosen(make(*stack, optimizer=layers.SGD(0.1, **settings))) == []


def test_only_where_it_pays():
    model = make(layers.Dense(640, 160), layers.Dense(160, 9))
    assert chosen(model, rows=256) == [(640, 160)]
    assert chosen(model, rows=257) == chosen(model, rows=10) == []
    assert chosen(make(layers.Dense(64, 160_000), layers.Dense(160_000, 9))) == []


def test_a_loss_that_is_not_finite_stops_before_its_update(on_threads):
    x = np.array(X)
    x[1234] = np.inf
    alone, together = make(), make()
    with pytest.raises(layers.NonFiniteLoss):
        alone.fit(x, Y, 1, 50, shuffle=False)
    calls = on_threads(2)
    with pytest.raises(layers.NonFiniteLoss, match="epoch 1, batch 25"):
        together.fit(x, Y, 1, 50, shuffle=False)
    assert set(calls) == {2}
    assert together.fingerprint() == alone.fingerprint()


def test_ctrl_c_after_a_call_keeps_all_that_it_learnt(on_threads, monkeypatch):
    """Python raises it as soon as the compiled call returns; the steps are counted, too."""
    calls, model, expected = on_threads(2), make(), make()
    run = interpreter.execute.for_threads

    def interrupted(*arguments):
        run(*arguments)
        raise KeyboardInterrupt

    expected.fit(X[:150], Y[:150], 1, 50, shuffle=False)
    monkeypatch.setattr(interpreter.execute, "for_threads", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, 1, 50, shuffle=False)
    assert calls == [2, 2]
    assert model._step == expected._step == 3
    np.testing.assert_array_equal(model._buffers.parameters, expected._buffers.parameters)


def test_other_calls_between_see_the_weights(on_threads):
    """Predictions, steps and changes of weights between epochs."""
    alone, together = make(), make()

    def course(model):
        for _ in range(2):
            model.fit(X, Y, 1, 100, shuffle=False)
            model.train_step(X[:20], Y[:20])
            model.layers[0].weights[...] *= 0.5
            yield model.predict(X)

    expected = [*course(alone)]
    calls = on_threads(2)
    for ours, its in zip(course(together), expected, strict=True):
        np.testing.assert_array_equal(ours, its)
    assert max(calls) == 2
    assert together.fingerprint() == alone.fingerprint()
