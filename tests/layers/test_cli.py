"""The command line, run as a user runs it: what it prints, what it writes, how it ends."""

import gzip
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import kernels
import layers
from layers import cli, data, datasets, digits, info
from layers.tables import aligned, confusion, confusion_table


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def flowers(tmp_path):
    """A small CSV with a header and three classes that a line can tell apart."""
    random = np.random.Generator(np.random.PCG64(5))
    labels = np.arange(90) % 3
    x = labels[:, None] + random.uniform(-0.3, 0.3, (90, 4))
    path = tmp_path / "flowers.csv"
    lines = [",".join(f"{value:.4f}" for value in row) for row in x]
    rows = "".join(f"{line},{label}\n" for line, label in zip(lines, labels, strict=True))
    path.write_text(f"a,b,c,d,kind\n{rows}")
    return path


def run(*arguments, capsys):
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def error_of(*arguments, capsys):
    """The one line of an error that ends with code 2."""
    code, out, err = run(*arguments, capsys=capsys)
    assert code == 2
    assert re.fullmatch(r"numba-layers: error: [^\n]+\n", err.splitlines(keepends=True)[-1])
    assert "Traceback" not in err + out
    return err


# --- the main job ---------------------------------------------------------------------------------


def test_the_main_job_learns_the_digits_and_says_so(capsys, monkeypatch):
    monkeypatch.setattr(digits, "EPOCHS", 12)
    monkeypatch.setattr(digits, "_ROUNDS", 1)
    monkeypatch.setattr(digits.sys.stdout, "reconfigure", lambda **_: None, raising=False)
    code, out, _ = run(capsys=capsys)
    assert code == 0
    assert float(re.search(r"Test accuracy: ([\d.]+)%", out)[1]) > 96
    assert "1438 images to train on, 359 to test on" in out
    assert re.search(r"Kernels ready after [\d.]+ s: \d+ compiled, \d+ loaded", out)
    assert re.search(r"Beside the NumPy reference \(.*\): [\d.]+ times as fast", out)
    assert "both end with the same predictions" in out
    # The confusion table's rows add up to the test digits of each kind.
    rows = re.findall(r"^(\d)((?: +(?:\d+|\.)){10}) +[\d.]+%$", out, re.MULTILINE)
    total = sum(int(n) for _, cells in rows for n in cells.split() if n != ".")
    assert (len(rows), total) == (10, 359)


def test_the_picture_shows_curves_and_digits(tmp_path):
    pytest.importorskip("matplotlib", reason="the picture needs the extra 'plot'")
    from matplotlib.image import imread

    from layers import plots

    x, labels = datasets.load_digits()
    predicted = labels[:60].copy()
    predicted[[3, 7]] = (predicted[[3, 7]] + 1) % 10
    history = layers.History()
    for epoch in range(4):
        history.add(loss=1 / (epoch + 1), accuracy=0.5, val_loss=1.0, val_accuracy=0.4)
    plots.digits(history, x[:60], labels[:60], predicted, tmp_path / "picture.png")
    picture = imread(tmp_path / "picture.png")[..., :3]
    assert picture.shape[:2] == (1050, 1950)
    for colour in (plots._BLUE, plots._ORANGE, plots._RED):  # both curves, and the wrong ones
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert (abs(picture - channels).max(axis=2) < 0.01).sum() > 500


def test_without_matplotlib_it_says_how_to_get_the_picture(monkeypatch):
    monkeypatch.setattr(digits.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'numba-layers[plot]'" in digits._picture(None, None, None, None)
    with digits.one_blas_thread() as limited:
        assert not limited


# --- train and predict ----------------------------------------------------------------------------


def test_train_save_and_predict_from_a_csv(flowers, capsys, tmp_path):
    model = tmp_path / "flowers.npz"
    code, out, _ = run(
        "train", flowers, "--hidden", 8, "--epochs", 60, "--save", model, "--quiet", capsys=capsys
    )
    assert code == 0
    assert "72 rows to train on, 18 to test on, 4 features, 3 classes" in out
    assert float(re.search(r"Test accuracy: ([\d.]+)%", out)[1]) > 90
    assert str(model) in out

    code, out, _ = run("predict", model, flowers, "--label-column", "kind", capsys=capsys)
    x, labels = data.read_csv(flowers)
    predicted = np.array([int(line) for line in out.split()])
    assert code == 0
    np.testing.assert_array_equal(predicted, layers.load(model).predict(x))
    assert (predicted == labels).mean() > 0.9

    written = tmp_path / "probabilities.csv"
    options = ("--label-column", -1, "--proba", "--out", written)
    code, out, _ = run("predict", model, flowers, *options, capsys=capsys)
    assert (code, out) == (0, "")
    probabilities = np.loadtxt(written, delimiter=",", dtype=np.float32)
    np.testing.assert_array_equal(probabilities, layers.load(model).predict_proba(x))


def test_train_on_a_folder_of_idx_files(capsys, tmp_path):
    x, labels = datasets.load_digits()
    images = (x * 255).astype(np.uint8).reshape(-1, 8, 8)
    folder = tmp_path / "mnist"
    folder.mkdir()
    for part, rows in (("train", slice(0, 300)), ("t10k", slice(300, 400))):
        size = len(labels[rows])
        header = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (size, 8, 8))
        packed = gzip.compress(header + images[rows].tobytes())
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(packed)
        header = b"\0\0\x08\x01" + size.to_bytes(4, "big")
        packed = gzip.compress(header + labels[rows].astype(np.uint8).tobytes())
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(packed)
    code, out, _ = run("train", folder, "--epochs", 2, "--quiet", capsys=capsys)
    assert code == 0
    assert "300 rows to train on, 100 to test on, 64 features, 10 classes" in out


def test_options_reach_the_model(flowers, capsys, tmp_path):
    first, second = tmp_path / "a.npz", tmp_path / "b.npz"
    options = ("--hidden", 5, 6, "--dtype", "float64", "--learning-rate", 0.3, "--epochs", 1)
    options += ("--seed", 3, "--test-fraction", 0, "--batch-size", 10, "--quiet", "--save")
    run("train", flowers, *options, first, capsys=capsys)
    run("train", flowers, *options, second, "--threads", 1, capsys=capsys)
    kernels.set_num_threads(None)
    model = layers.load(first)
    assert [repr(layer) for layer in model.layers] == [
        "Dense(4, 5)", "ReLU()", "Dense(5, 6)", "ReLU()", "Dense(6, 3)",
    ]  # fmt: skip
    assert (model.dtype, model.optimizer.learning_rate) == (np.float64, 0.3)
    assert model.fingerprint() == layers.load(second).fingerprint()


def test_a_plot_is_written(flowers, capsys, tmp_path):
    pytest.importorskip("matplotlib", reason="the plot needs the extra 'plot'")
    code, out, _ = run(
        "train", flowers, "--epochs", 2, "--plot", tmp_path / "curves.png", "--quiet", capsys=capsys
    )
    assert code == 0
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "curves.png" in out


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("1,2,0\n3,4\n", (), "line 2"),
        ("1,2,0\n3,x,1\n", (), "line 2"),
        ("", (), "data.csv"),
        ("1,2,0\n3,4,-1\n5,6,1\n", (), "labels run from -1 to 1"),
        ("1,2,0\n3,4,100000\n5,6,1\n", (), "labels run from 0 to 100000"),
        ("1,2,0\n3,4,1\n5,6,1\n", ("--epochs", 0), "epochs is 0"),
        ("1,2,0\n3,4,1\n5,6,1\n", ("--learning-rate", -1), "learning_rate is -1.0"),
        ("1,2,0\n3,4,1\n5,6,1\n", ("--learning-rate", "nan"), "learning_rate is nan"),
        ("1,2,0\n3,4,1\n5,6,1\n", ("--hidden", 0), "n_out is 0"),
        ("1,2,0\n3,4,1\n5,6,1\n", ("--threads", 0), "n is 0"),
        ("1,2,0\n3,4,1\n5,6,1\n", ("--test-fraction", 2), "test_fraction is 2"),
        ("1,nan,0\n3,4,1\n5,6,1\n", ("--test-fraction", 0), "epoch 1, batch 1"),
        ("1,2,0\n3,4,1\n5,6,1\n", ("--label-column", "kind"), "kind"),
    ],
)
def test_a_wrong_input_is_one_line_and_code_2(text, arguments, expected, capsys, tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(text)
    assert expected in error_of("train", path, *arguments, "--quiet", capsys=capsys)


def test_missing_and_broken_files_are_named(capsys, tmp_path):
    assert "nowhere.csv" in error_of("train", tmp_path / "nowhere.csv", capsys=capsys)
    broken = tmp_path / "model.npz"
    broken.write_bytes(b"PK\x03\x04 cut off")
    assert "model.npz" in error_of("predict", broken, broken, capsys=capsys)
    assert "train-images" in error_of("train", tmp_path, capsys=capsys)


def test_predict_names_a_wrong_width(flowers, capsys, tmp_path):
    model = tmp_path / "m.npz"
    run("train", flowers, "--epochs", 1, "--save", model, "--quiet", capsys=capsys)
    text = error_of("predict", model, flowers, capsys=capsys)
    assert "5 columns, expected 4" in text
    assert "--label-column leaves one out" in text


def test_an_interrupt_ends_with_130(capsys, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_info", interrupted)
    code, _, err = run("info", capsys=capsys)
    assert (code, err) == (130, "\nnumba-layers: stopped\n")


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("train", "predict", "compare", "info", "examples:"))


# --- info, and the process ------------------------------------------------------------------------


def test_info_names_what_shapes_speed_and_bits(capsys):
    code, out, _ = run("info", capsys=capsys)
    assert code == 0
    for name in ("numba-layers", "Python", "packages", "CPU", "vectors", "matmul tile"):
        assert re.search(rf"^{name}: ", out, re.MULTILINE)
    for name in ("threads", "threading layer", "compile cache", "cache size"):
        assert re.search(rf"^{name}: ", out, re.MULTILINE)
    assert layers.__version__ in out
    assert np.__version__ in out
    assert info._version("no-such-package") == "not installed"


@pytest.mark.compiled
def test_the_cache_can_be_cleared_from_the_command_line(tmp_path):
    environment = {**os.environ, "NUMBA_LAYERS_CACHE_DIR": str(tmp_path / "cache")}

    def command(*arguments):
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
            timeout=120,
            cwd=os.path.dirname(os.path.dirname(layers.__file__)),
        ).stdout

    command("-c", "import kernels; kernels.relu_forward.compile('float32', parallel=False)")
    assert list((tmp_path / "cache").glob("*/*.nbc"))
    assert re.match(r"Removed 0\.\d MB", command("-m", "layers", "info", "--clear-cache"))
    assert not list((tmp_path / "cache").glob("*/*.nbc"))
    assert command("-m", "layers", "--version") == f"numba-layers {layers.__version__}\n"


# --- tables ---------------------------------------------------------------------------------------


def test_tables():
    assert aligned([("a", "10"), ("bcd", "5")]) == "a    10\nbcd   5"
    labels, predicted = np.array([0, 0, 1]), np.array([0, 1, 1])
    np.testing.assert_array_equal(confusion(labels, predicted, 3), [[1, 1, 0], [0, 1, 0], [0] * 3])
    lines = confusion_table(labels, predicted, 3).splitlines()
    assert [line.split() for line in lines] == [
        ["0", "1", "2", "right"], ["0", "1", "1", ".", "50.0%"], ["1", ".", "1", ".", "100.0%"],
        ["2", ".", ".", ".", "-"],
    ]  # fmt: skip
