"""The command line's outputs: refused before the work, kept when stopped, shown or not."""

import os
import re
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

import layers
from layers import data
from layers.command_line import cli, digits
from layers.training import loop as fitting
from tests.conftest import SECONDS
from tests.helpers import wait_for

ROOT = os.path.dirname(os.path.dirname(layers.__file__))
posix = pytest.mark.skipif(os.name != "posix", reason="needs a shell and signals")


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """In a folder of their own: data as .npz and .csv, a part to test on, and a model."""
    monkeypatch.chdir(tmp_path)
    random = np.random.Generator(np.random.PCG64(5))
    y = np.arange(90) % 3
    x = y[:, None] + random.uniform(-0.3, 0.3, (90, 4))
    np.savez("d.npz", x=x, y=y)
    np.savez("t.npz", x=x[:9], y=y[:9])
    table = "".join(f"{','.join(map(str, row))},{label}\n" for row, label in zip(x, y, strict=True))
    (tmp_path / "d.csv").write_text(table)
    layers.Sequential([layers.Dense(4, 3)], seed=0).save("m.npz")
    return {path.name: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.fixture
def unchanged(files, tmp_path):
    """Afterwards the folder is as it was."""
    yield
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = cli.main(list(arguments))
        out, err = capsys.readouterr()
        if "unset NUMBA_DISABLE_JIT" in err:
            raise NotImplementedError(err)
        return code, out, err

    return run


@pytest.fixture
def no_work(monkeypatch):
    """Neither training nor prediction."""
    for name in ("fit", "predict"):
        monkeypatch.setattr(layers.Sequential, name, None)


# --- refused before any work ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "d.npz", "--save", "d.npz"),
        ("train", "d.npz", "--save", os.path.join(".", "d.npz")),
        ("train", "d.npz", "--test", "t.npz", "--save", "t.npz"),
        ("train", "d.csv", "--save", "d.csv"),
        ("train", "d.csv", "--plot", "d.csv"),
        ("train", "d.npz", "--save", "a.png", "--plot", "a.png"),
        ("predict", "m.npz", "d.csv", "--out", "m.npz"),
        ("predict", "m.npz", "d.csv", "--out", "d.csv"),
    ],
)
def test_an_output_is_no_input(arguments, run, no_work, unchanged):
    code, _, err = run(*arguments)
    assert code == 2
    assert re.search(r"error: --\w+ \S+ would be written over \S+, expected the name of ano", err)
    assert arguments[-1].replace("./", "") in err


@posix
def test_an_output_is_no_input_by_another_name(run, no_work, files, tmp_path):
    (tmp_path / "soft").symlink_to("d.npz")
    os.link("d.npz", "hard")
    for name in ("soft", "hard"):
        assert "would be written over d.npz" in run("train", "d.npz", "--save", name)[2]
        assert "would be written over" in run("train", name, "--save", "d.npz")[2]
    assert (tmp_path / "d.npz").read_bytes() == files["d.npz"]


@pytest.mark.parametrize("given", [".", "train-images-idx3-ubyte"])
def test_files_that_are_found_by_their_names_are_inputs_too(given, run, no_work, tmp_path):
    names = [f"{a}-{b}-ubyte" for a in ("train", "t10k") for b in ("images-idx3", "labels-idx1")]
    for name in names:
        (tmp_path / name).write_bytes(b"kept")
    for name in names:
        assert "would be written over" in run("train", given, "--save", name)[2]
        assert (tmp_path / name).read_bytes() == b"kept"


def test_a_model_may_lie_beside_images(run, no_work, tmp_path):
    """Whatever it is called: a file of that ending is none of the set."""
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"")
    (tmp_path / "images.npz").write_bytes(b"an older model")
    assert "written over" not in run("train", "train-images-idx3-ubyte", "--save", "images.npz")[2]


@posix
@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "d.npz", "--save", "ro"),
        ("train", "d.npz", "--plot", "ro.png"),
        ("predict", "m.npz", "d.csv", "--out", "ro"),
    ],
)
def test_a_read_only_file_is_refused_by_name(arguments, run, no_work, tmp_path):
    path = tmp_path / arguments[-1]
    path.write_bytes(b"kept")
    path.chmod(0o444)
    code, _, err = run(*arguments)
    assert (code, err) == (2, f"numba-layers: error: {path.name}: is not writable (mode 444)\n")
    assert path.read_bytes() == b"kept"


@posix
def test_a_pipe_is_no_place_for_a_model(run, no_work):
    os.mkfifo("pipe")
    assert "pipe exists and is not a regular file" in run("train", "d.npz", "--save", "pipe")[2]


@posix
def test_room_for_the_model_is_asked_for_before_the_training(run, no_work, monkeypatch, unchanged):
    asked = []

    def reserve(_, start, size):
        asked.append(size)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", reserve, raising=False)
    code, _, err = run("train", "d.npz", "--hidden", "1000", "--save", "new.npz")
    assert (code, err) == (2, "numba-layers: error: new.npz: No space left on device\n")
    assert asked[0] > 4 * (4 * 1000 + 1000 * 3)


def test_answers_are_written_aside(run, monkeypatch, tmp_path):
    (tmp_path / "answers.csv").write_text("old")
    code, printed, _ = run("predict", "m.npz", "d.csv")
    assert code == 0

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", fail)
        code, _, err = run("predict", "m.npz", "d.csv", "--out", "answers.csv")
    assert code == 2
    assert "error: answers.csv: No space left on device" in err
    assert (tmp_path / "answers.csv").read_text() == "old"
    assert run("predict", "m.npz", "d.csv", "--out", "answers.csv")[0] == 0
    assert (tmp_path / "answers.csv").read_text() == printed
    assert not list(tmp_path.glob(".numba-layers-*"))


def test_answers_go_to_a_device_as_it_is(run):
    assert run("predict", "m.npz", "d.csv", "--out", os.devnull)[0] == 0
    assert not os.path.isfile(os.devnull)


def test_a_picture_of_digits_that_is_not_ours_is_kept(run, monkeypatch, tmp_path):
    plots = pytest.importorskip("layers.plots", reason="the picture needs the extra 'plot'")
    path = tmp_path / "digits.png"
    monkeypatch.setattr(layers.Sequential, "fit", None)
    history = layers.History()
    history.add(loss=1.0, accuracy=0.5)
    plots.curves(history, path)  # a picture of ours, and not this one
    for content in (b"", b"mine", path.read_bytes()):
        path.write_bytes(content)
        code, out, err = run()
        assert (code, out) == (2, "")
        assert "error: digits.png: this command did not draw it" in err
        assert path.read_bytes() == content


def test_a_picture_of_digits_that_is_ours_is_drawn_again(tmp_path):
    plots = pytest.importorskip("layers.plots", reason="the picture needs the extra 'plot'")
    path = tmp_path / "digits.png"
    x, labels = layers.datasets.load_digits()
    history = layers.History()
    history.add(loss=1.0, accuracy=0.5, val_loss=1.0, val_accuracy=0.5)
    plots.digits(history, x[:40], labels[:40], labels[:40], path)
    assert plots.is_own(path)
    digits._check_picture()
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="is not writable"):
        digits._check_picture()


# --- kept when the training is stopped ------------------------------------------------------------


def stop_in_epoch(monkeypatch, number, error):
    whole = fitting.Fitting._epoch

    def epoch(self, index, *rest):
        if index == number:
            raise error
        whole(self, index, *rest)

    monkeypatch.setattr(fitting.Fitting, "_epoch", epoch)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "\nnumba-layers: stopped\n"),
        (layers.NonFiniteLoss("the loss is nan"), 2, "numba-layers: error: the loss is nan\n"),
    ],
)
def test_what_was_learnt_is_kept(error, code, said, run, monkeypatch, tmp_path):
    whole = ("train", "d.npz", "--quiet", "--epochs")
    assert run(*whole, "3", "--save", "whole.npz")[0] == 0
    stop_in_epoch(monkeypatch, 3, error)
    ended, out, err = run(*whole, "9", "--save", "m.npz")
    assert (ended, err) == (code, said)
    path = re.escape(str(tmp_path / "m.npz"))
    assert re.search(rf"Saved to {path}: what was learnt .*, after 3 whole epochs\n$", out)
    assert layers.load("m.npz").fingerprint() == layers.load("whole.npz").fingerprint()
    assert layers.load("m.npz").history.epochs == 3


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (layers.NonFiniteLoss("nan"), 2)]
)
def test_a_model_that_has_learnt_nothing_replaces_none(error, code, run, monkeypatch, unchanged):
    stop_in_epoch(monkeypatch, 0, error)
    ended, out, _ = run("train", "d.npz", "--quiet", "--save", "m.npz")
    assert ended == code
    assert out.endswith("m.npz: nothing was learnt yet\n")


def test_ctrl_c_while_it_is_saved_saves_it(run, monkeypatch):
    whole, calls = layers.Sequential.save, []

    def save(self, path):
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt
        whole(self, path)

    monkeypatch.setattr(layers.Sequential, "save", save)
    code, out, _ = run("train", "d.npz", "--quiet", "--epochs", "2", "--save", "new.npz")
    assert code == 130
    assert "Saved to" in out
    assert layers.load("new.npz").history.epochs == 2


def test_a_loss_that_is_not_finite_keeps_the_parameters_before_it(run):
    options = ("--learning-rate", "1e30", "--quiet", "--save", "new.npz")
    code, out, err = run("train", "d.npz", *options)
    assert code == 2
    assert "smaller learning rate" in err
    assert "Saved to" in out
    assert all(np.isfinite(a).all() for a in layers.load("new.npz").parameters().values())


def start(*arguments, script="", **options):
    """Python runs a script and then the command line, in a process of its own."""
    # A shell that runs tests in the background turns SIGINT off for them.
    lines = (
        "import os, signal, sys, time",
        "signal.signal(signal.SIGINT, signal.default_int_handler)",
        "from layers.command_line import cli",
        script,
        "sys.exit(cli.main(sys.argv[1:]))",
    )
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines), *arguments],
        env=os.environ | {"PYTHONPATH": ROOT},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.compiled
@posix
def test_ctrl_c_keeps_what_was_learnt():
    with start("train", "d.npz", "--epochs", "1000000", "--save", "new.npz") as process:
        wait_for(process, "loss=")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert err.endswith("\nnumba-layers: stopped\n")
    assert "new.npz: what was learnt until training stopped" in out
    assert layers.load("new.npz").history.epochs > 0
    assert not [name for name in os.listdir() if name.startswith(".numba-layers-")]


SLOW = """
def fsync(descriptor):
    print("saving", file=sys.stderr, flush=True)
    while True:
        time.sleep(0.01)

os.fsync = fsync
"""


@pytest.mark.compiled
@posix
def test_a_second_ctrl_c_ends_at_once():
    arguments = ("train", "d.npz", "--epochs", "1000000", "--save", "new.npz")
    with start(*arguments, script=SLOW) as process:
        wait_for(process, "loss=")
        process.send_signal(signal.SIGINT)
        wait_for(process, "saving")
        # Again and again: a second one that comes too soon after the first counts as the same.
        deadline = time.monotonic() + SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        process.kill()
        assert process.wait() == 130
    assert not os.path.exists("new.npz")


PRESSED = """
import signal, time
from layers import interrupts

before = signal.default_int_handler
signal.signal(signal.SIGINT, before)
interrupts._SAME_PRESS = 600
with interrupts.second_ends_at_once():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("first", flush=True)
    time.sleep(0.02)  # so that the thread has seen the first, most likely
    signal.raise_signal(signal.SIGINT)
print("same", flush=True)  # the thread has seen both
assert signal.getsignal(signal.SIGINT) is before
interrupts._SAME_PRESS = 0
with interrupts.second_ends_at_once():  # counts from the beginning
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("first", flush=True)
    while True:
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.01)
"""


@posix
def test_one_press_that_comes_twice_is_one():
    """As from `timeout`, which sends it to the process and to its group."""
    ended = subprocess.run(
        [sys.executable, "-c", PRESSED],
        env=os.environ | {"PYTHONPATH": ROOT},
        capture_output=True,
        timeout=SECONDS,
    )
    assert (ended.returncode, ended.stderr) == (130, b"")
    assert ended.stdout.split() == [b"first", b"same", b"first"]


AT_THE_END = """
import signal
from layers import interrupts

signal.signal(signal.SIGINT, signal.default_int_handler)
undo, calls = signal.{name}, []

def pressed(*arguments, **options):
    result = undo(*arguments, **options)
    calls.append(result)
    if len(calls) == 2:
        raise KeyboardInterrupt
    return result

signal.{name} = pressed
try:
    with interrupts.second_ends_at_once():
        assert len(calls) == 1
except KeyboardInterrupt:
    print("interrupted")
signal.{name} = undo
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
assert signal.set_wakeup_fd(-1) == -1
"""


@posix
@pytest.mark.parametrize("name", ["set_wakeup_fd", "signal"])
def test_ctrl_c_at_the_end_of_it_leaves_nothing_behind(python, name):
    assert python(AT_THE_END.format(name=name)) == "interrupted\n"


@posix
def test_an_interrupt_that_is_ignored_stays_so():
    """As in a job that a shell has started in the background."""
    script = (
        "import signal; from layers import interrupts\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "with interrupts.second_ends_at_once():\n"
        "    for _ in range(3): signal.raise_signal(signal.SIGINT)\n"
        "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=SECONDS)


# --- streams --------------------------------------------------------------------------------------


def shell(command, **variables):
    return subprocess.run(
        ["sh", "-c", command.replace("layers", f'"{sys.executable}" -m layers', 1)],
        env=os.environ | {"PYTHONPATH": ROOT} | variables,
        capture_output=True,
        timeout=SECONDS,
    )


@pytest.mark.compiled
@posix
@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_streams_that_are_missing_cost_no_training(closed):
    ended = shell(f"layers train d.npz --epochs 2 --save new.npz {closed}")
    assert ended.returncode == 0
    assert layers.load("new.npz").history.epochs == 2


@pytest.mark.compiled
@posix
def test_notes_never_come_among_the_answers():
    answers = shell("layers predict m.npz d.csv 2>&-").stdout
    assert re.fullmatch(rb"([012]\n){90}", answers)
    assert answers == shell("layers predict m.npz d.csv").stdout


@pytest.mark.compiled
@posix
def test_answers_without_a_place_are_an_error():
    ended = shell("layers predict m.npz d.csv >&-")
    assert ended.returncode == 2
    assert ended.stderr == b"numba-layers: error: standard output is closed, expected --out FILE\n"
    assert shell("layers predict m.npz d.csv --out answers.csv >&- 2>&-").returncode == 0
    assert len(data.read_inputs("answers.csv")) == 90


@pytest.mark.compiled
@posix
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "ascii:surrogateescape", "utf-8:strict"])
def test_a_path_beyond_the_encoding_is_printed_with_escapes(encoding):
    name = "blatt\udcff字.npz"
    command = f"layers train d.npz --quiet --epochs 1 --save '{name}'"
    ended = shell(command, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert rb"blatt\udcff" in ended.stdout
    assert zipfile.is_zipfile(name)


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_line(run, monkeypatch):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    code, _, err = run("train", "d.npz", "--quiet", "--epochs", "1", "--save", "m.npz")
    assert code == 0
    assert re.fullmatch(r"numba-layers: warning: Sequential\.save: m\.npz is written; .*\n", err)
