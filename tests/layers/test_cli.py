"""The command line, run as a user runs it: output, files, exit codes."""

import gzip
import os
import platform
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import layers
from kernels.runtime import cache, threads
from layers import data, datasets, timing
from layers.command_line import cli, digits, info, on_tables
from layers.command_line.tables import aligned, confusion, confusion_table
from layers.comparison import compare
from tests.conftest import SECONDS
from tests.helpers import wait_for


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
    path.write_text(f"a,b,c,d,species\n{rows}")
    return path


@pytest.fixture
def mnist(tmp_path):
    """A folder of four IDX files: 300 and 100 of the digits."""
    x, labels = datasets.load_digits()
    images = (x * 255).astype(np.uint8).reshape(-1, 8, 8)
    folder = tmp_path / "mnist"
    folder.mkdir()
    for part, rows in (("train", slice(0, 300)), ("t10k", slice(300, 400))):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images[rows])
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels[rows].astype(np.uint8))
    return folder


def write_idx(path, array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()))


@pytest.fixture
def run(capsys):
    """Run the command line in this process: code, standard output, standard error."""

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        if "unset NUMBA_DISABLE_JIT" in err:
            raise NotImplementedError(err)  # tests/conftest.py leaves such a test out
        return code, out, err

    return run


@pytest.fixture
def error_of(run):
    """The one line of an error that ends with code 2."""

    def error_of(*arguments):
        code, out, err = run(*arguments)
        assert code == 2
        assert "Traceback" not in err + out
        assert re.fullmatch(r"numba-layers: error: [^\n]+\n", err)
        return err

    return error_of


@pytest.fixture
def no_matplotlib(monkeypatch):
    """An import of matplotlib fails, as where it is not installed."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("layers.plots")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(vars(layers), "plots", raising=False)


def pixels(path):
    """A picture's colours, (height, width, 3), 0 to 1."""
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    return pytest.importorskip("matplotlib.image", reason="needs 'plot'").imread(path)[..., :3]


def near(picture, colour):
    """How many pixels have a colour, given as #RRGGBB."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return (abs(picture - channels).max(axis=2) < 0.01).sum()


# --- the main job ---------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(digits, "ROUNDS", 2)
    monkeypatch.setattr(digits, "ROUND_EPOCHS", 1)


def test_the_main_job_learns_the_digits_and_says_so(run, short, tmp_path):
    pytest.importorskip("matplotlib", reason="the picture needs the extra 'plot'")
    code, out, err = run()
    assert code == 0
    assert float(re.search(r"Test accuracy: ([\d.]+)%", out)[1]) >= 97.5
    assert "1438 images to train on, 359 to test on" in out
    assert re.search(r"First step: [\d.]+ s \(kernels: (all there|\d+ (compiled in|loaded))", out)
    assert re.search(r"Training: [\d.]+ s for 30 epochs.* [\d,]+ images per second", out)
    assert re.search(r"on NumPy: [\d.]+ ms an epoch, NumPy [\d.]+ ms, [\d.]+ times as long", out)
    assert "one process, this machine" in out
    same = re.search(r"both predict the same for (\d+) of 359 test images", out)
    assert int(same[1]) >= 355  # of two trainings that round differently
    assert "epoch 30/30" in err
    assert re.search(r"loss=[\d.]+ accuracy=[\d.]+ \(val: [\d.]+ [\d.]+\)", err)
    assert f"Picture: {tmp_path / 'digits.png'}" in out
    assert len(np.unique(pixels(tmp_path / "digits.png").reshape(-1, 3), axis=0)) > 50


def test_the_confusion_table_of_the_main_job_adds_up(run, short, no_matplotlib):
    _, out, _ = run()
    rows = re.findall(r"^(\d)((?: +(?:\d+|\.)){10}) +[\d.]+%$", out, re.MULTILINE)
    table = np.array([[int(n.replace(".", "0")) for n in cells.split()] for _, cells in rows])
    assert (table.shape, table.sum()) == ((10, 10), 359)
    assert f"({359 - np.trace(table)} of 359 wrong)" in out


MEASURED = """
import contextlib, sys
sys.modules["matplotlib"] = None
from kernels import reference
from kernels.runtime import threads
from layers.command_line import digits
from layers import timing as measuring

timings, limits, updates = [], [], []

@contextlib.contextmanager
def kept():
    with measuring.timed() as timing:
        timings.append(timing)
        limits.append(threads._limit)
        yield timing

def counted(*arguments, update=reference.adam_update):
    updates.append(1)
    update(*arguments)

digits.timed, reference.adam_update, digits.ROUNDS = kept, counted, 2
digits.main()
late = [timing for timing in timings[1:] if timing.compiled or timing.loaded]
print("MEASURED", len(timings), late, set(limits), threads._limit, len(updates))
"""


@pytest.mark.compiled
def test_the_main_job_measures_what_it_says(python):
    """No kernel is made ready within a time, all of it on one thread, NumPy's part on NumPy."""
    out = python(MEASURED, NUMBA_NUM_THREADS="2")
    fits = digits.ROUND_EPOCHS * 2 + digits.EPOCHS
    steps = -(-1438 // digits.BATCH_SIZE)
    assert out.splitlines()[-1] == f"MEASURED 6 [] {{1}} None {fits * steps}"


def test_without_matplotlib_it_says_how_to_get_the_picture(
    run, short, no_matplotlib, flowers, tmp_path
):
    code, out, _ = run()
    assert code == 0
    assert out.endswith("since matplotlib is not installed: pip install matplotlib\n")
    code, out, _ = run("train", flowers, "--epochs", 1, "--quiet", "--plot", "curves.xyz")
    assert code == 0
    assert "pip install matplotlib" in out
    assert not list(tmp_path.glob("*.png"))


def test_a_picture_that_cannot_be_written_costs_nothing_else(run, short, tmp_path):
    pytest.importorskip("matplotlib", reason="the picture needs the extra 'plot'")
    (tmp_path / "digits.png").mkdir()
    code, out, _ = run()
    assert code == 0
    assert f"No picture: {tmp_path / 'digits.png'}: Is a directory" in out


def test_without_threadpoolctl_it_says_that_blas_had_its_own_threads(
    run, short, no_matplotlib, monkeypatch
):
    monkeypatch.setattr(timing.importlib.util, "find_spec", lambda name: None)
    _, out, _ = run()
    assert "BLAS on its own number (threadpoolctl is not installed)" in out


# --- pictures -------------------------------------------------------------------------------------


def test_the_picture_shows_curves_and_digits(tmp_path):
    plots = pytest.importorskip("layers.plots", reason="the picture needs the extra 'plot'")
    figure = plots.figure
    x, labels = datasets.load_digits()
    predicted = labels[:60].copy()
    history = layers.History()
    for epoch in range(4):
        history.add(loss=1 / (epoch + 1), accuracy=0.5, val_loss=1.0, val_accuracy=0.4)
    path = tmp_path / "picture.png"
    plots.digits(history, x[:60], labels[:60], predicted, path)
    assert near(pixels(path), figure.RED) == 0
    predicted[[3, 7]] = (predicted[[3, 7]] + 1) % 10
    plots.digits(history, x[:60], labels[:60], predicted, path)
    picture = pixels(path)
    assert picture.shape[0] < picture.shape[1]
    for colour in (figure.BLUE, figure.ORANGE, figure.RED):  # both curves, and the wrong ones
        assert near(picture, colour) > 500


@pytest.mark.parametrize("losses", [[1.0], [1.0, 0.0], [0.0, 0.0], [0.5, 1e-9, 2.0]])
def test_curves_of_one_epoch_of_zeros_and_without_a_test(losses, tmp_path):
    plots = pytest.importorskip("layers.plots", reason="the picture needs the extra 'plot'")
    figure = plots.figure
    history = layers.History()
    for loss in losses:
        history.add(loss=loss, accuracy=0.5)
    plots.curves(history, tmp_path / "curves.png")
    picture = pixels(tmp_path / "curves.png")
    assert near(picture, figure.BLUE) > 100
    assert near(picture, figure.ORANGE) == 0


# --- train and predict ----------------------------------------------------------------------------


def test_train_save_and_predict_from_a_csv(run, flowers, tmp_path):
    model = tmp_path / "flowers.npz"
    quiet = ("--save", model, "--quiet")
    code, out, err = run(
        "train", flowers, "--hidden", 8, "--epochs", 60, "--learning-rate", 0.02, *quiet
    )
    assert (code, err) == (0, "")
    assert "72 rows to train on, none of them set apart to end in time, 18 to test on, 4 in" in out
    assert "a        number: mean " in out
    assert re.search(r"Training: [\d.]+ s for 60 epochs \(kernels: .*\), last loss [\d.]+", out)
    assert float(re.search(r"Test accuracy: ([\d.]+)%", out)[1]) > 90
    assert f"Saved to {model}" in out
    assert out.splitlines()[-4].split() == ["0", "1", "2", "right"]

    code, out, _ = run("predict", model, flowers)
    labels = data.read_csv(flowers, "species")[1]
    header, *lines = out.split()
    predicted = np.array([int(line) for line in lines])
    assert (code, header) == (0, "species")
    np.testing.assert_array_equal(predicted, layers.TabularPredictor.load(model).predict(flowers))
    assert (predicted == labels).mean() > 0.9


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_probabilities_are_written_to_the_bit(run, flowers, tmp_path, dtype):
    run("train", flowers, "--epochs", 1, "--save", "m.npz", "--dtype", dtype, "--quiet")
    options = ("--proba", "--out", "probabilities.csv")
    code, out, _ = run("predict", "m.npz", flowers, *options)
    assert (code, out) == (0, "")
    path = tmp_path / "probabilities.csv"
    assert path.read_text().startswith("0,1,2\n")
    written = np.loadtxt(path, delimiter=",", dtype=dtype, skiprows=1)
    expected = layers.TabularPredictor.load("m.npz").predict_proba(flowers)
    assert expected.dtype == dtype
    np.testing.assert_array_equal(written, expected)


def test_columns_are_found_by_name_in_any_order(run, error_of, flowers, tmp_path):
    run("train", flowers, "--epochs", 1, "--save", "m.npz", "--quiet")
    code, expected, note = run("predict", "m.npz", flowers)
    assert (code, note) == (0, f"{flowers}: first line taken as names: a, b, c, d, species\n")
    fields = [line.split(",") for line in flowers.read_text().splitlines()]
    turned = "\n".join(";".join([row[4], *row[3::-1]]) for row in fields)
    (tmp_path / "turned.csv").write_text(turned)
    assert run("predict", "m.npz", "turned.csv")[1] == expected
    (tmp_path / "few.csv").write_text("a,b,d\n1,2,3\n")
    text = error_of("predict", "m.npz", "few.csv")
    assert "the table has no column 'c', expected those of training; it has 'a', 'b', 'd'" in text
    (tmp_path / "bare.csv").write_text("1,2,3,4\n")
    assert "no names in its first line" in error_of("predict", "m.npz", "bare.csv")


def test_a_table_without_names_is_known_by_its_places(run, error_of, flowers, tmp_path):
    lines = flowers.read_text().splitlines(True)[1:]
    (tmp_path / "bare.csv").write_text("".join(lines))
    text = error_of("train", "bare.csv", "--quiet")
    assert (
        "target (--target) has to say which is to be predicted; the columns are column 1, " in text
    )
    options = ("--epochs", 2, "--quiet", "--save", "m.npz", "--target", -1)
    out = run("train", "bare.csv", *options)[1]
    assert "bare.csv: first line taken as an example, columns have no names" in out
    expected = run("predict", "m.npz", "bare.csv")[1]
    assert expected.startswith("column 5\n")
    (tmp_path / "inputs.csv").write_text("".join(line.rpartition(",")[0] + "\n" for line in lines))
    assert run("predict", "m.npz", "inputs.csv")[1] == expected
    assert "has names in its first line" in error_of("predict", "m.npz", flowers)


def test_numbers_as_names_are_for_the_user_to_decide(run, error_of, tmp_path):
    rows = "".join(f"{i / 8},{i / 4},{i % 3}\n" for i in range(6))
    (tmp_path / "frame.csv").write_text("0,1,2\n" + rows)
    options = ("--epochs", 1, "--quiet", "--test-fraction", 0, "--target", -1)
    text = error_of("train", "frame.csv", *options)
    assert "line 1 is '0', '1', '2': an example, or the names" in text
    assert "--header" in text
    _, out, _ = run("train", "frame.csv", *options, "--header", "--save", "m.npz")
    assert "first line taken as names: 0, 1, 2\n" in out
    assert "6 rows to train on" in out
    assert "7 rows to train on" in run("train", "frame.csv", *options, "--no-header")[1]
    assert "line 1" in error_of("predict", "m.npz", "frame.csv")
    assert len(run("predict", "m.npz", "frame.csv", "--header")[1].split()) == 7


@pytest.mark.parametrize("first", ["5.1,,1", "1.O,2,1", '"1,234",2,1', "1,2,", "NA,1,0", ",,"])
def test_no_first_row_with_a_fault_is_taken_for_names(error_of, tmp_path, first):
    (tmp_path / "data.csv").write_text(f"{first}\n1,2,0\n3,4,1\n")
    text = error_of("train", "data.csv", "--quiet")
    assert "data.csv, line 1 has " in text
    assert "(--no-header)" in text


def test_the_labels_of_kaggles_mnist_come_first(run, error_of, tmp_path):
    rows = [(i % 2, i * 9 % 256, i * 5 % 256) for i in range(20)]
    text = "".join(",".join(map(str, row)) + "\n" for row in rows)
    (tmp_path / "train.csv").write_text("label,pixel0,pixel1\n" + text)
    out = run("train", "train.csv", "--epochs", 1, "--quiet", "--save", "m.npz")[1]
    assert "label   target, 2 classes: 0 (" in out
    assert "2 inputs, 2 classes" in out
    text = error_of("train", "train.csv", "--drop", "pixel2")
    assert "no column is called 'pixel2', expected one of 'label', 'pixel0', 'pixel1'" in text


def test_a_model_of_an_earlier_version_takes_its_columns_as_before(run, tmp_path):
    from layers.data.columns import NumberColumns

    (tmp_path / "points.csv").write_text("x,y,kind\n0.5,1,0\n0.25,2,1\n")
    model = layers.Sequential([layers.Dense(2, 2)], seed=0)
    model.columns = NumberColumns(("x", "y", "kind"), (0, 1), 2)
    model.save("m.npz")
    code, out, note = run("predict", "m.npz", "points.csv")
    x, labels = data.read_csv("points.csv", "kind")
    assert (code, [int(line) for line in out.split()]) == (0, model.predict(x).tolist())
    assert "left out: column 3 ('kind')" in note
    wrong = np.count_nonzero(model.predict(x) != labels)
    assert f"({wrong} of 2 wrong)" in run("evaluate", "m.npz", "points.csv")[1]


def nest(folder, inner):
    """Move each file into a folder under its own name, as some programs unpack it."""
    for path in list(folder.iterdir()):
        content = gzip.decompress(path.read_bytes())
        path.unlink()
        plain = path.name.removesuffix(".gz")
        (folder / plain).mkdir()
        (folder / plain / inner(plain)).write_bytes(content)


def spell(name):
    return name.replace("-idx", ".idx")


@pytest.mark.parametrize("inner", [str, spell])
def test_mnist_as_it_is_unpacked_into_folders(run, mnist, inner):
    nest(mnist, inner)
    options = ("--epochs", 1, "--quiet", "--save", "m.npz")
    images = mnist / "train-images-idx3-ubyte"
    for path in (mnist, images, images / inner(images.name)):
        code, out, _ = run("train", path, *options)
        assert code == 0
        assert "300 rows to train on, 100 to test on, 64 features" in out
    tests = mnist / "t10k-images-idx3-ubyte"
    predicted = run("predict", "m.npz", tests)[1]
    assert predicted == run("predict", "m.npz", tests / inner(tests.name))[1]
    assert len(predicted.split()) == 100
    x, labels = data.read(images)
    assert (x.shape, len(labels)) == ((300, 64), 300)


def test_mnist_in_both_spellings(run, mnist):
    for path in list(mnist.iterdir()):
        content = gzip.decompress(path.read_bytes())
        (mnist / spell(path.name.removesuffix(".gz"))).write_bytes(content)
        path.unlink()
    (mnist / "train-images-idx3-ubyte").mkdir()  # and nothing in it
    (mnist / "train-labels.idx1-ubyte").rename(mnist / "train-labels-idx1-ubyte")
    out = run("train", mnist, "--epochs", 1, "--quiet")[1]
    assert "300 rows to train on, 100 to test on" in out


def test_an_npz_is_read_with_and_without_labels(run, tmp_path):
    x, y = np.random.Generator(np.random.PCG64(1)).random((40, 2, 3)), np.arange(40) % 4
    np.savez(tmp_path / "both.npz", x=x, y=y)
    np.savez(tmp_path / "inputs.npz", x=x)
    code, out, _ = run("train", "both.npz", "--epochs", 1, "--save", "m.npz", "--quiet")
    assert code == 0
    assert "32 rows to train on, 8 to test on, 6 features, 4 classes" in out
    assert run("predict", "m.npz", "both.npz") == run("predict", "m.npz", "inputs.npz")


@pytest.mark.parametrize("name", ["", "train-images-idx3-ubyte.gz"])
def test_train_on_idx_files_and_test_on_their_test_part(run, mnist, name):
    code, out, _ = run("train", mnist / name, "--epochs", 2, "--quiet")
    assert code == 0
    assert "300 rows to train on, 100 to test on, 64 features, 10 classes" in out


def test_a_fraction_that_is_asked_for_is_taken_from_the_training_file(run, mnist):
    _, out, _ = run("train", mnist, "--test-fraction", 0.1, "--epochs", 1, "--quiet")
    assert "270 rows to train on, 30 to test on" in out
    for path in mnist.glob("t10k*"):
        path.unlink()
    _, out, _ = run("train", mnist, "--epochs", 1, "--quiet")
    assert "240 rows to train on, 60 to test on" in out


def test_labels_may_have_unusual_names(run, error_of, mnist):
    for path in mnist.iterdir():
        path.rename(mnist / path.name.replace("-idx", "_of_").replace("images", "pictures"))
    pictures, labels = "train-pictures_of_3-ubyte.gz", "train-labels_of_1-ubyte.gz"
    options = ("--labels", mnist / labels, "--epochs", 1, "--quiet")
    test = ("--test", mnist / pictures.replace("train", "t10k"))
    assert "labels" in error_of("train", mnist / pictures, *options, *test)
    test += ("--test-labels", mnist / labels.replace("train", "t10k"))
    code, out, _ = run("train", mnist / pictures, *options, *test)
    assert code == 0
    assert "300 rows to train on, 100 to test on" in out


def test_train_with_a_file_to_test_on(run, flowers, tmp_path):
    lines = flowers.read_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join([lines[0], *lines[1:11]]))
    _, out, _ = run("train", flowers, "--test", "few.csv", "--epochs", 1, "--quiet")
    assert "90 rows to train on, none of them set apart to end in time, 10 to test on" in out
    assert re.search(r"\(\d+ of 10 wrong\)", out)


def test_without_a_test_there_is_none(run, flowers):
    code, out, _ = run("train", flowers, "--test-fraction", 0, "--epochs", 1, "--quiet")
    assert code == 0
    assert "90 rows to train on, none of them set apart to end in time, 0 to test on" in out
    assert "accuracy" not in out


def test_many_classes_have_no_table(run, tmp_path):
    np.savez(tmp_path / "many.npz", x=np.arange(63)[:, None] / 63, y=np.arange(63) % 21)
    _, out, _ = run("train", "many.npz", "--epochs", 1, "--quiet")
    assert "21 classes" in out
    assert "Test accuracy" in out
    assert "Rows: the label" not in out


def test_options_reach_the_model(run, flowers):
    options = ("--hidden", 5, 6, "--dtype", "float64", "--learning-rate", 0.3, "--epochs", 1)
    options += ("--seed", 3, "--test-fraction", 0, "--batch-size", 10, "--quiet", "--save")
    run("train", flowers, *options, "a.npz")
    run("train", flowers, *options, "b.npz", "--threads", 1)
    model = layers.load("a.npz")
    assert [repr(layer) for layer in model.layers] == [
        "Dense(4, 5, initializer='glorot')", "ReLU()",
        "Dense(5, 6, initializer='glorot')", "ReLU()", "Dense(6, 3)",
    ]  # fmt: skip
    assert (model.dtype, model.optimizer.learning_rate) == (np.float64, 0.3)
    assert model.fingerprint() == layers.load("b.npz").fingerprint()
    run("train", flowers, "--hidden", *options[3:], "c.npz")
    assert [repr(layer) for layer in layers.load("c.npz").layers] == ["Dense(4, 3)"]


def test_threads_are_limited_for_the_command_alone(run, flowers, monkeypatch):
    seen = []
    monkeypatch.setattr(on_tables, "train", lambda *_: seen.append(threads._limit))
    run("train", flowers, "--threads", 1)
    assert (seen, threads._limit) == ([1], None)


def test_the_bar_is_there_unless_it_is_quiet(run, flowers):
    assert "epoch 2/2: 100%" in run("train", flowers, "--epochs", 2)[2]
    assert run("train", flowers, "--epochs", 2, "--quiet")[2] == ""


def test_a_plot_is_written(run, flowers, tmp_path):
    figure = pytest.importorskip("layers.plots.figure", reason="the plot needs the extra 'plot'")
    path = tmp_path / "curves.png"
    options = ("--validation-fraction", 0.2, "--epochs", 2, "--quiet")
    code, out, _ = run("train", flowers, *options, "--plot", path)
    assert code == 0
    assert re.search(r"\nKept are the parameters after epoch \d: loss [\d.]+ on the rows", out)
    assert str(path) in out
    picture = pixels(path)
    assert near(picture, figure.BLUE) > 200
    assert near(picture, figure.ORANGE) > 200


@pytest.mark.skipif(not os.path.exists("/dev/stdin"), reason="the system has no /dev/stdin")
def test_a_pipe_loses_no_row(run, flowers):
    run("train", flowers, "--epochs", 1, "--save", "m.npz", "--quiet")
    command = ("-m", "layers", "predict", "m.npz", "/dev/stdin")
    with start(*command, stdin=subprocess.PIPE) as process:
        out, _ = process.communicate(flowers.read_text(), timeout=SECONDS)
    assert out == run("predict", "m.npz", flowers)[1]


# --- errors ---------------------------------------------------------------------------------------

ROWS = "a,b,label\n1,2,0\n3,4.5,1\n5,7,1\n2,8,0\n"


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("a,label\n1,0\n3\n", (), "line 3 has 1 columns, expected 2 as in line 1"),
        ("", (), "data.csv is empty"),
        ("a,label\n1,0\n3,0\n", (), "target 'label' is always 0, expected several values"),
        ("a,label\n1,0\n3,\n5,1\n", (), "target 'label' has no value in 1 rows, the first of them"),
        ("a,label\n1,0\ninf,1\n", (), "column 'a', row 2 holds inf"),
        ("a,label\n7,0\n7,1\n", (), "no column is left to learn from; keep (--keep)"),
        (ROWS, ("--epochs", 0), "--epochs is 0"),
        (ROWS, ("--batch-size", 0), "--batch-size is 0"),
        (ROWS, ("--learning-rate", -1), "--learning-rate is -1.0"),
        (ROWS, ("--learning-rate", "nan"), "--learning-rate is nan"),
        (ROWS, ("--hidden", 0), "--hidden is 0, expected an integer of at least 1"),
        (ROWS, ("--hidden", 10**18), "an array holds no more"),
        (ROWS, ("--patience", 0), "--patience is 0"),
        (ROWS, ("--seed", -1), "--seed is -1, expected"),
        (ROWS, ("--threads", 0), "--threads is 0"),
        (ROWS, ("--test-fraction", 2), "--test-fraction is 2"),
        (ROWS, ("--validation-fraction", 1), "--validation-fraction is 1, expected a number from"),
        (ROWS, ("--test", "nowhere.csv"), "nowhere.csv: No such file"),
        (ROWS, ("--labels", "data.csv"), "--labels is for IDX"),
        (ROWS, ("--label-column", "kind"), "target is 'kind', which is no column"),
        (ROWS, ("--target", 3), "target is 3, which is no column"),
        (
            "label,b,y\n" + "1,2,0\n" * 3,
            (),
            "2 of the columns are called label, class, target, y, s",
        ),
    ],
)
def test_a_wrong_input_is_one_line_and_code_2(text, arguments, expected, error_of, tmp_path):
    (tmp_path / "data.csv").write_text(text)
    assert expected in error_of("train", "data.csv", *arguments, "--quiet")


def test_a_learning_rate_that_is_too_large_is_said_to_be(error_of, flowers):
    text = error_of("train", flowers, "--learning-rate", 1e30, "--quiet")
    assert "smaller learning rate" in text


@pytest.mark.parametrize(
    ("option", "path", "expected"),
    [
        ("--save", "nowhere/m.npz", "there is no folder"),
        ("--save", ".", "is a folder"),
        ("--plot", "nowhere/p.png", "there is no folder"),
        ("--plot", "p.xyz", "cannot write a picture as xyz"),
        ("--plot", "p", "as a file without ending"),
    ],
)
def test_where_nothing_can_be_written_is_said_before_the_training(
    option, path, expected, error_of, flowers, monkeypatch
):
    if option == "--plot":
        pytest.importorskip("matplotlib", reason="the plot needs the extra 'plot'")
    monkeypatch.setattr(layers.Sequential, "fit", None)
    assert expected in error_of("train", flowers, option, path, "--quiet")


def test_the_model_is_saved_even_where_the_test_fails(error_of, flowers, tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("no test")

    options = ("--save", "m.npz", "--epochs", 1, "--quiet")
    monkeypatch.setattr(layers.TabularPredictor, "evaluate", fail)
    assert "no test" in error_of("train", flowers, *options)
    assert layers.load("m.npz").history.epochs == 1


def test_missing_and_broken_files_are_named(error_of, tmp_path):
    assert "nowhere.csv: No such file" in error_of("train", tmp_path / "nowhere.csv")
    assert "no where.csv: No such file" in error_of("train", "no\nwhere.csv")  # one line even so
    broken = tmp_path / "model.npz"
    broken.write_bytes(b"PK\x03\x04 cut off")
    assert "model.npz" in error_of("predict", broken, broken)
    assert "train-images" in error_of("train", tmp_path)


def test_a_row_of_nan_is_named_and_nothing_is_written(run, error_of, tmp_path):
    np.savez("data.npz", x=np.eye(4), y=np.arange(4) % 2)
    run("train", "data.npz", "--epochs", 1, "--save", "m.npz", "--quiet")
    np.savez("nan.npz", x=np.array([[1, 2, 3, 4], [1, np.nan, 3, 4]]))
    assert "row 1 of x" in error_of("predict", "m.npz", "nan.npz", "--out", "classes.csv")
    assert not (tmp_path / "classes.csv").exists()
    _, out, _ = run("predict", "m.npz", "nan.npz", "--proba")
    assert out.splitlines()[1] == "nan,nan"


@pytest.mark.parametrize(
    "arguments",
    [
        ("frob",),
        ("train",),
        ("train", "x.csv", "--epochs", "ten"),
        ("train", "x.csv", "--test", "y.csv", "--test-fraction", "0.1"),
        ("train", "x.csv", "--dtype", "float16"),
        ("predict", "m.npz"),
        ("compare", "--dtype", "int"),
    ],
)
def test_a_wrong_command_ends_with_2_and_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m layers" in capsys.readouterr().err


def test_an_interrupt_ends_with_130(run, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "report", interrupted)
    code, _, err = run("info")
    assert (code, err) == (130, "\nnumba-layers: stopped\n")


def test_an_error_of_our_own_is_not_hidden(run, monkeypatch):
    monkeypatch.setattr(info, "report", lambda: {}["no such key"])
    with pytest.raises(KeyError):
        run("info")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("train", "predict", "compare", "info", "examples:")),
        (("train",), ("--target", "--label-column", "--test-fraction", "examples:", "MNIST")),
        (("predict",), ("--proba", "--id", "examples:")),
        (("evaluate",), ("--json", "MODEL")),
        (("compare",), ("--dtype",)),
        (("info",), ("--clear-cache",)),
    ],
)
def test_help_names_what_there_is(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([*arguments, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(word in out for word in words)
    assert all(len(line) <= 100 for line in out.splitlines())


# --- compare --------------------------------------------------------------------------------------


def test_compare_ends_with_1_where_a_bound_is_broken(run, monkeypatch):

    asked = []
    rows = [compare.Row("matmul", "n 3", 0.0, 1.0, 0.0, None, ok) for ok in (True, False)]
    monkeypatch.setattr(
        compare, "compare", lambda *args, **kwargs: asked.append((args, kwargs)) or rows[:1]
    )
    code, out, _ = run("compare", "--dtype", "float64", "--seed", 3)
    assert code == 0
    assert out == f"{compare.report(rows[:1])}\n"
    assert asked == [(("float64",), {"seed": 3})]
    monkeypatch.setattr(compare, "compare", lambda *args, **kwargs: rows)
    assert run("compare")[0] == 1


# --- info, and the process ------------------------------------------------------------------------


def test_info_names_what_shapes_speed_and_bits():
    out = printed("-m", "layers", "info")  # a new process, whose threads have not started
    values = dict(re.findall(r"^([\w -]+): +(\S.*)$", out, re.MULTILINE))
    assert list(values) == [
        *("numba-layers", "Python", "packages", "CPU", "vectors", "matmul tile"),
        *("denormals", "threads", "threading layer", "compile cache", "cache size"),
    ]
    assert values["denormals"] == "kept"
    assert values["numba-layers"].startswith(layers.__version__)
    assert all(f"{name} " in values["packages"] for name in ("numpy", "numba", "llvmlite"))
    assert np.__version__ in values["packages"]
    assert re.match(r"\d+ \(\d+ CPUs, NUMBA_NUM_THREADS \d+, .*container quota", values["threads"])
    assert values["threading layer"] in ("omp", "tbb", "workqueue")
    assert info._version("no-such-package") == "not installed"


def test_info_names_a_threading_layer_that_cannot_be_loaded():
    out = printed("-m", "layers", "info", env={"NUMBA_THREADING_LAYER": "of-silk"})
    assert re.search("^threads: +1 ", out, re.MULTILINE)
    assert re.search("^threading layer: +none, so all is serial: .*of-silk", out, re.MULTILINE)


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or os.name != "posix",
    reason="it switches the mode by machine code, of x86-64 under its calling convention",
)
def test_info_says_that_denormals_are_flushed():
    out = printed(
        "-c",
        """
import ctypes, mmap
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("0fae17c3"))  # ldmxcsr (%rdi); ret
address = ctypes.addressof(ctypes.c_char.from_buffer(code))
load = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)
from layers.command_line import info
for mode in (0x1F80, 0x9F80, 0x1FC0):  # neither, flush to zero, denormals are zero
    mode = ctypes.c_uint32(mode)
    load(ctypes.addressof(mode))
    print(info._denormals())
""",
    )
    assert [line.split()[0] for line in out.splitlines()] == ["kept", "flushed", "flushed"]


def test_info_without_a_cache(run, monkeypatch):
    monkeypatch.setattr(cache, "directory", lambda: None)
    assert re.search(r"^compile cache: +none$", run("info")[1], re.MULTILINE)
    assert run("info", "--clear-cache")[:2] == (0, "There is no compile cache\n")


def start(*arguments, **options):
    root = os.path.dirname(os.path.dirname(layers.__file__))
    environment = os.environ | {"PYTHONPATH": root} | options.pop("env", {})
    environment.pop("PYTHONUNBUFFERED", None)  # what is left to the end is the harder case
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def printed(*arguments, **options):
    """What a process of its own prints; it ends with 0 and without a complaint."""
    with start(*arguments, **options) as process:
        out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (0, "")
    return out


def test_the_version():
    assert printed("-m", "layers", "--version") == f"numba-layers {layers.__version__}\n"


@pytest.mark.compiled
def test_the_cache_can_be_cleared_from_the_command_line(tmp_path):
    private = {"NUMBA_LAYERS_CACHE_DIR": str(tmp_path / "cache")}
    use_one = "import kernels, numpy; kernels.relu_forward(numpy.ones((2, 2)), numpy.ones((2, 2)))"
    printed("-c", use_one, env=private)
    assert list((tmp_path / "cache").glob("*/*.nbc"))
    freed = printed("-m", "layers", "info", "--clear-cache", env=private)
    assert re.fullmatch(rf"Removed 0\.\d MB of compiled .* {tmp_path / 'cache'}\n", freed)
    assert not list((tmp_path / "cache").glob("*/*.nbc"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_full_disk_is_an_error_of_one_line():
    with open("/dev/full", "w") as full, start("-m", "layers", "info", stdout=full) as process:
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert re.fullmatch(r"numba-layers: error: .*No space left on device\n", err)


def test_a_closed_pipe_is_quiet():
    reader, writer = os.pipe()
    os.close(reader)
    with start("-m", "layers", "info", stdout=writer) as process:
        os.close(writer)
        _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (141, "")


@pytest.mark.compiled
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_in_the_middle_of_a_training_is_quiet(flowers):
    # Through `python -c`: a shell that runs tests in the background turns SIGINT off for them.
    command = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from layers.command_line import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    with start("-c", command, "train", flowers, "--epochs", 10**6) as process:
        wait_for(process, "loss=")  # it trains
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert err.endswith("\nnumba-layers: stopped\n")
    assert "Traceback" not in err


# --- measuring ------------------------------------------------------------------------------------


def test_a_timing_in_words():
    assert timing.Timing().kernels() == "kernels: all there"
    assert timing.Timing(3.0, 2.5, 4, 0).kernels() == "kernels: 4 compiled in 2.5 s"
    both = "kernels: 1 compiled in 0.5 s, 2 loaded from the cache"
    assert timing.Timing(3.0, 0.5, 1, 2).kernels() == both


@pytest.mark.compiled
def test_compilation_is_told_from_the_rest(python):
    out = python(
        "import kernels, numpy, time\n"
        "from layers.timing import timed\n"
        "x, out = numpy.ones((2, 2)), numpy.ones((2, 2))\n"
        "with timed() as timing:\n"
        "    kernels.relu_forward(x, out)\n"
        "    time.sleep(0.5)\n"
        "print(timing.compiled, timing.loaded, 0 < timing.compiling < timing.seconds - 0.49)\n",
        NUMBA_LAYERS_CACHE_DIR="",
    )
    assert out.split() == ["2", "0", "True"]  # a kernel and its operation


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
