"""What is seen: pictures, tables in notebooks, names on Tab, short tracebacks."""

import io
import re
import sys
import traceback
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest

import layers
from layers import plots, streams
from layers.datasets import load_digits

X, Y = load_digits()


@pytest.fixture(scope="module")
def model():
    model = layers.Sequential(
        [layers.Dense(64, 16), layers.ReLU(), layers.Dense(16, 10)],
        optimizer=layers.SGD(0.1),
        seed=0,
    )
    model.fit(X[:200], Y[:200], epochs=3, validation_data=(X[200:300], Y[200:300]))
    return model


def of_plane():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 2))
    y = (x[:, 0] > 0).astype(int) + 2 * (x[:, 1] > 0)
    model = layers.Sequential(
        [layers.Dense(2, 8), layers.Tanh(), layers.Dense(8, 4)], optimizer=layers.SGD(0.5), seed=0
    )
    model.fit(x, y, epochs=20)
    return model, x, y


def pictures(model):
    plane = of_plane()
    yield "curves", lambda path: model.history.plot(path)
    yield "confusion", lambda path: plots.confusion(Y[:300], model.predict(X[:300]), path=path)
    yield "regions", lambda path: plots.decision_regions(*plane, path=path)
    yield "weights", lambda path: plots.weights(model, (8, 8), path=path)
    yield "activations", lambda path: plots.activations(model, X[:100], path=path)
    yield "gradients", lambda path: plots.gradients(model, X[:50], Y[:50], path=path)
    found = layers.find_learning_rate(model, X[:300], Y[:300], steps=60)
    yield "rates", lambda path: found.plot(path)


def test_each_picture_is_a_figure_and_a_file(model, tmp_path):
    for name, make in pictures(model):
        path = tmp_path / f"{name}.png"
        figure = make(path)
        assert isinstance(figure, matplotlib.figure.Figure), name
        assert path.read_bytes().startswith(b"\x89PNG")
        shown, size = figure._repr_png_()
        assert shown.startswith(b"\x89PNG")
        assert size["width"] <= 800
        assert make(None).get_size_inches().min() > 1
    assert "matplotlib.pyplot" not in sys.modules or matplotlib.pyplot.get_fignums() == []


def test_curves_have_a_panel_for_each_metric(model):
    loss, accuracy = model.history.plot().axes
    assert loss.get_title() == "Loss"
    assert accuracy.get_title() == "Accuracy"
    assert len(loss.lines) == 2
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), model.history["loss"])
    np.testing.assert_array_equal(accuracy.lines[1].get_ydata(), model.history["val_accuracy"])


def test_a_confusion_matrix_counts():
    axes = plots.confusion([0, 0, 1, 1], [0, 1, 1, 1], ["no", "yes"]).axes[0]
    assert {text.get_position(): text.get_text() for text in axes.texts} == {
        (0, 0): "1",
        (1, 0): "1",
        (1, 1): "2",
    }
    assert [text.get_text() for text in axes.get_xticklabels()] == ["no", "yes"]


@pytest.mark.parametrize(("names", "expected"), [(None, ["a", "b"]), (["b", "a"], ["b", "a"])])
def test_a_confusion_matrix_takes_names_of_classes(names, expected):
    axes = plots.confusion(np.array(["b", "a", "a"]), ["b", "b", "a"], names).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == expected
    counts = {text.get_position(): text.get_text() for text in axes.texts}
    first, second = expected.index("a"), expected.index("b")
    assert counts == {(first, first): "1", (second, second): "1", (second, first): "1"}
    with pytest.raises(ValueError, match="names has not 'a', which is a class"):
        plots.confusion(["a"], ["a"], ["b"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: plots.curves(layers.History()), "history has no epochs"),
        (lambda m: plots.confusion([0.5], [1]), "labels has shape (1,) and dtype float64"),
        (lambda m: plots.confusion([0, 1], [1]), "predicted has 1 rows, expected 2"),
        (lambda m: plots.confusion([0, 1], [1, 1], ["a"]), "names has 1 names, expected 2"),
        (lambda m: plots.decision_regions(m, X, Y), "the model has 64 columns"),
        (lambda m: plots.weights(m, (8, 9)), "layer 0 has weights of shape (64, 16), expected (72"),
        (lambda m: plots.weights(m, (8, 8), layer=1), "layer 1 has no weights"),
        (lambda m: plots.activations(m, X[:, :3]), "x has shape (1797, 3), expected (batch, 64)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(model, make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(model)


def test_a_summary_is_its_text_and_a_table_in_a_notebook(model):
    summary = model.summary()
    assert repr(summary) == str(summary) == model.summary()
    assert "1,210 parameters" in summary
    html = summary._repr_html_()
    assert html.count("<tr>") == 4
    assert "Dense(64, 16" in html


def test_what_is_shown_as_html_is_escaped(model):
    from layers.notebook import html_table

    assert "&lt;b&gt;" in html_table([["<b>"], ["x"]], notes=["<i>"])
    assert "<i>" not in html_table([["<b>"], ["x"]], notes=["<i>"])


def test_a_check_of_gradients_is_a_table_in_a_notebook(model):
    found = layers.check_gradients(model, X[:5], Y[:5], elements=3)
    assert found._repr_html_().count("<tr>") == len(found.rows) + 1


def test_tab_shows_public_names():
    names = dir(layers)
    assert {"Dense", "Sequential", "plots", "datasets", "schedules", "load"} <= set(names)
    assert not {"base", "runs", "streams", "sequential", "TYPE_CHECKING", "types"} & set(names)
    for name in set(names) - {"sklearn"}:
        assert getattr(layers, name) is not None
    with pytest.raises(AttributeError, match="module 'layers' has no attribute 'Dens'"):
        _ = layers.Dens


def test_a_model_is_a_sequence_of_layers_and_a_function(model):
    assert len(model) == 3
    assert [*model] == [*model.layers]
    assert model[0] is model.layers[0]
    assert model[-1].n_out == 10
    assert np.array_equal(model(X[:3]), model.forward(X[:3]))


class Interrupt(layers.Callback):
    def __call__(self, progress):
        raise KeyboardInterrupt


@pytest.mark.parametrize("kind", [KeyboardInterrupt, layers.NonFiniteLoss])
def test_a_traceback_of_fit_fits_on_a_screen(kind):
    model = layers.Sequential([layers.Dense(64, 10)], seed=0)
    wrong = X[:64].copy()
    wrong[3, 3] = np.nan
    interrupts = kind is KeyboardInterrupt
    x, callbacks = (X[:64], [Interrupt()]) if interrupts else (wrong, [])
    with pytest.raises(kind) as raised:
        model.fit(x, Y[:64], callbacks=callbacks)
    lines = "".join(traceback.format_exception(raised.value)).splitlines()
    assert len(lines) < 15


def test_a_note_of_compiling_is_for_people(monkeypatch):
    for terminal, expected in ((True, "compiling kernels"), (False, "")):
        stream = io.StringIO()
        stream.isatty = lambda terminal=terminal: terminal
        monkeypatch.setattr(sys, "stderr", stream)
        streams.note_of_compiling()
        assert expected in stream.getvalue()
        assert bool(stream.getvalue()) is terminal
    monkeypatch.setattr(sys, "stderr", None)
    streams.note_of_compiling()
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", sys)  # a notebook: standard error is red
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    streams.note_of_compiling()
    assert "compiling kernels" in sys.stdout.getvalue()


def test_the_note_comes_before_the_first_compilation(monkeypatch):
    from kernels.runtime import cache, jit

    noted = []
    monkeypatch.setattr(cache, "before_compiling", lambda: noted.append(True))
    monkeypatch.setattr(cache, "_state", SimpleNamespace(loaded=0, compiled=0))
    entries = jit.PUBLIC["mean_loss"].serial.dispatcher
    if entries is None:
        pytest.skip("nothing is compiled")
    monkeypatch.setattr(cache._Entries, "_read", lambda *given: None)
    monkeypatch.setattr(cache, "_acquire", lambda: False)
    target = SimpleNamespace(refresh=lambda: None)
    assert entries._cache.load_overload(None, target) is None
    assert noted == [True]
