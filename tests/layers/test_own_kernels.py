"""`layers` refuses to run with another package named `kernels`."""

import compileall
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SECONDS

ROOT = Path(__file__).parents[2]
OWN = ROOT / "kernels" / "__init__.py"
FOREIGN = "def matmul(a, b):\n    return 'not a product'\n"


def copy(name: str, to: Path) -> None:
    """Copy a package, without what other processes may be writing into it."""
    shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))


def import_layers(
    *path: Path, before: str = "", options: tuple[str, ...] = ("-I",)
) -> subprocess.CompletedProcess:
    """Import layers in a new process with these folders in front of its search path."""
    script = (
        f"import sys; sys.path[:0] = {[str(folder) for folder in path]}\n{before}\nimport layers"
    )
    return subprocess.run(
        [sys.executable, *options, "-c", script], capture_output=True, text=True, timeout=SECONDS
    )


def assert_refused(
    done: subprocess.CompletedProcess,
    found: str,
    expected: Path = OWN,
    *,
    rename: Path | None = None,
) -> None:
    """An ImportError that names what was found, what was expected and the way out."""
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith("ImportError: layers ")
    assert f"needs its own package 'kernels' at {expected}, but {found}" in message
    if rename is not None:
        assert f"rename {rename}, if it is yours" in message
        assert str(rename.parent) in message
        assert "pip" not in message.replace(found, "")
    else:
        assert "pip uninstall kernels" in message
        assert "pip install --force-reinstall --no-deps numba-layers" in message


def write(folder: Path, text: str) -> Path:
    """A package `kernels` in a folder."""
    (folder / "kernels").mkdir(parents=True)
    file = folder / "kernels" / "__init__.py"
    file.write_text(text)
    return file


def test_our_own_is_accepted():
    done = import_layers(ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_a_foreign_package_earlier_on_the_path(tmp_path: Path, folder: str):
    file = write(tmp_path / folder, FOREIGN)
    assert_refused(import_layers(tmp_path / folder, ROOT), f"it is {file}")


def test_it_is_refused_before_it_runs(tmp_path: Path):
    file = write(tmp_path, "raise SystemExit('the foreign package has run')")
    done = import_layers(tmp_path, ROOT)
    assert_refused(done, f"it is {file}", rename=tmp_path / "kernels")
    assert "has run" not in done.stdout + done.stderr


def test_a_module_of_the_user_s_own(tmp_path: Path):
    file = tmp_path / "kernels.py"
    file.write_text(FOREIGN)
    assert_refused(import_layers(tmp_path, ROOT), f"it is {file}", rename=file)


def test_a_script_of_that_name(tmp_path: Path):
    file = tmp_path / "kernels.py"
    file.write_text(f"import sys; sys.path.append({str(ROOT)!r})\nimport layers\n")
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=SECONDS)
    assert_refused(done, f"it is {file}", rename=file)


def test_a_foreign_package_imported_before(tmp_path: Path):
    file = write(tmp_path, FOREIGN)
    before = f"import kernels; sys.path.remove({str(tmp_path)!r})"
    done = import_layers(tmp_path, ROOT, before=before)
    assert_refused(done, f"it is {file}", rename=tmp_path / "kernels")


def test_ours_as_byte_code_alone(tmp_path: Path):
    """As some packagers install: the kernels run, and are cached by what is there."""
    for name in ("kernels", "layers"):
        copy(name, tmp_path)
    assert compileall.compile_dir(tmp_path, quiet=1, legacy=True, stripdir=tmp_path)
    for file in tmp_path.rglob("*.py"):
        file.unlink()
    script = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import numpy as np
import layers, kernels
from kernels.runtime import cache
assert kernels.__file__.endswith("__init__.pyc"), kernels.__file__
out = np.empty((1, 2))
kernels.relu_forward(np.array([[-1.0, 2.0]]), out)
print(out.tolist(), *cache.counts())
"""
    printed = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=tmp_path,
            env=os.environ | {"NUMBA_LAYERS_CACHE_DIR": str(tmp_path / "cache")},
        )
        assert (done.returncode, done.stderr) == (0, "")
        printed.append(done.stdout.strip())
    assert printed == ["[[0.0, 2.0]] 0 2", "[[0.0, 2.0]] 2 0"]  # a kernel and its operation


def test_a_module_without_a_file_imported_before():
    before = "import types; sys.modules['kernels'] = types.ModuleType('kernels')"
    done = import_layers(ROOT, before=before)
    assert_refused(done, "it is missing or a namespace package")


@pytest.mark.parametrize("leave", ["kernels", None], ids=["namespace", "missing"])
def test_ours_is_not_there(tmp_path: Path, leave: str | None):
    """A copy of layers alone, with no package `kernels` beside it, or a folder of that name."""
    copy("layers", tmp_path)
    if leave:
        (tmp_path / leave).mkdir()
    # -S: without the installed packages, among which ours may be.
    done = import_layers(tmp_path, options=("-I", "-S"))
    expected = tmp_path / "kernels" / "__init__.py"
    assert_refused(done, "it is missing or a namespace package", expected)


def test_a_namespace_package_does_not_hide_ours(tmp_path: Path):
    (tmp_path / "kernels").mkdir()
    assert import_layers(tmp_path, ROOT).returncode == 0


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("__version__ = '0.0.1'\ndense_forward = None\n", "0.0.1"),  # an older one of our own
        (FOREIGN, "None"),  # another distribution has overwritten ours
    ],
    ids=["older", "overwritten"],
)
def test_another_package_in_our_place(tmp_path: Path, text: str, version: str):
    copy("layers", tmp_path)
    file = write(tmp_path, text)
    assert_refused(import_layers(tmp_path), f"{file} is version {version} of another package", file)


def test_our_version_without_our_functions(tmp_path: Path):
    copy("layers", tmp_path)
    file = write(tmp_path, "import layers\n__version__ = layers.__version__\n")
    assert_refused(import_layers(tmp_path), f"{file} is version", file)
