"""The command line's checkpoints and exports."""

import json

import numpy as np
import pytest

import layers
from layers.command_line import cli

FAST = ("--hidden", 6, "--quiet", "--seed", 3)


@pytest.fixture(autouse=True)
def without_compiling(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with layers.backend("numpy"):
        yield


@pytest.fixture
def table(tmp_path):
    """Of three classes, with rows enough to set some apart."""
    x = np.random.default_rng(0).normal(size=(400, 3)) + np.arange(400)[:, None] % 3
    rows = [f"{a:.3f},{b:.3f},{c:.3f},{'xyz'[n % 3]}\n" for n, (a, b, c) in enumerate(x)]
    (tmp_path / "table.csv").write_text("a,b,c,label\n" + "".join(rows))
    return tmp_path / "table.csv"


@pytest.fixture
def arrays(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    np.savez(tmp_path / "arrays.npz", x=x, y=np.arange(60) % 3)
    return tmp_path / "arrays.npz"


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("source", ["table", "arrays"])
def test_a_training_that_goes_on_ends_as_one_that_was_not_stopped(run, request, source):
    data = request.getfixturevalue(source)

    def trained(*more) -> dict:
        code, out, err = run("train", data, *FAST, "--json", *more)
        assert code == 0, err
        return json.loads(out)

    whole = trained("--epochs", 5)
    trained("--epochs", 2, "--checkpoint", "run.npz")
    assert layers.load("run.npz").history.epochs == 2
    trained("--epochs", 3, "--resume", "run.npz")
    other = trained(
        "--epochs", 5, "--resume", "run.npz", "--checkpoint", "other.npz", "--save", "model"
    )
    assert other["resumed"] == 3
    assert layers.load("run.npz").history.epochs == 3
    assert layers.load("other.npz").history.epochs == 5
    assert other["fingerprint"] == whole["fingerprint"] == layers.load("model").fingerprint()
    assert other["history"] == whole["history"]
    assert other["quality"] == whole["quality"]
    again = trained("--epochs", 5, "--resume", "other.npz")  # which has them all
    assert again["fingerprint"] == whole["fingerprint"]


@pytest.mark.parametrize("source", ["table", "arrays"])
def test_without_epochs_it_goes_on_to_those_it_was_begun_with(run, request, source, monkeypatch):
    data, fit, done = request.getfixturevalue(source), layers.Sequential.fit, []

    def stopping(self, *given, callbacks=(), **more):
        def stop(progress):
            done.append(progress.epochs)
            return progress.epoch == 2

        return fit(self, *given, callbacks=[*callbacks, stop], **more)

    with monkeypatch.context() as patched:
        patched.setattr(layers.Sequential, "fit", stopping)
        assert run("train", data, *FAST, "--epochs", 3, "--checkpoint", "run.npz")[0] == 0
    assert (done, layers.load("run.npz").history.epochs) == ([3, 3], 2)
    code, out, err = run("train", data, *FAST, "--resume", "run.npz")
    assert code == 0, err
    assert "Going on after 2 of 3 epochs" in out
    assert layers.load("run.npz").history.epochs == 3


def test_what_does_not_go_on_is_one_line_and_code_2(run, arrays, table):
    assert run("train", arrays, *FAST, "--epochs", 2, "--checkpoint", "run.npz")[0] == 0
    layers.load("run.npz").save("model.npz")
    before = layers.load("run.npz").fingerprint()
    with np.load(arrays) as given:
        np.savez("other.npz", x=given["x"] + 1, y=given["y"])
    for arguments, message in (
        (("train", arrays, *FAST, "--resume", "none.npz"), "none.npz: No such file"),
        (("train", arrays, *FAST, "--resume", "model.npz"), "model.npz is no checkpoint, expected"),
        (("train", arrays, *FAST, "--epochs", 1, "--resume", "run.npz"), "it has 2 epochs, expec"),
        (
            ("train", arrays, *FAST, "--batch-size", 8, "--resume", "run.npz"),
            "batch_size is 8, expected 32",
        ),
        (("train", "other.npz", *FAST, "--resume", "run.npz"), "x holds other numbers than in"),
        (("train", arrays, "--hidden", 5, "--resume", "run.npz"), "(--hidden is 5, there 6)"),
        (("train", arrays, "--hidden", 6, "--resume", "run.npz"), "options (--seed is 0), exp"),
        (("train", table, *FAST, "--resume", "run.npz"), "the network of the checkpoint differs"),
        (("train", arrays, "--checkpoint", arrays), "would be written over"),
        (("train", arrays, "--checkpoint", "a", "--save", "a"), "would be written over"),
        (("train", arrays, "--checkpoint", "no/a.npz"), "--checkpoint: there is no folder"),
    ):
        code, _, err = run(*arguments)
        assert code == 2
        assert err.startswith("numba-layers: error: ")
        assert err.count("\n") == 1
        assert message in err, err
    assert layers.load("run.npz").fingerprint() == before


def test_export(run, table, arrays):
    for package in ("onnx", "safetensors"):
        pytest.importorskip(package)
    for data in (table, arrays):
        assert run("train", data, *FAST, "--epochs", 1, "--save", "model.npz")[0] == 0
        model = layers.load("model.npz")
        for out in ("net.onnx", "net.safetensors"):
            code, said, err = run("export", "model.npz", out)
            assert (code, err) == (0, "")
            assert said.startswith("Written to ")
            assert layers.load(out).n_out == model.n_out
        assert layers.load("net.safetensors").fingerprint() == model.fingerprint()
    code, said, _ = run("export", "model.npz", "net.onnx", "--json")
    assert code == 0
    assert json.loads(said)["written"].endswith("net.onnx")


def test_an_export_that_is_refused(run, arrays):
    pytest.importorskip("onnx")
    assert run("train", arrays, *FAST, "--epochs", 1, "--save", "model.npz")[0] == 0
    for arguments, message in (
        (("model.npz", "net.pt"), "net.pt: expected a file that ends in .onnx or .safetensors"),
        (("none.npz", "net.onnx"), "none.npz: No such file"),
        (("model.npz", "no/net.onnx"), "OUT: there is no folder"),
    ):
        code, _, err = run("export", *arguments)
        assert code == 2
        assert message in err, err
    columns = {"kind": ["a", "b"] * 20, "label": list(range(2)) * 20}
    layers.TabularPredictor("label", [4], 1).fit(columns).save("model.npz")
    code, _, err = run("export", "model.npz", "net.onnx")
    assert code == 2
    assert "column 'kind' is a category" in err
