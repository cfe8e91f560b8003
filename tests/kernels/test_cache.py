"""The compile cache, in separate processes, each with a small package and a copy of the cache."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import SECONDS

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks, modes and signals are POSIX")

RUNTIME = Path(__file__).parents[2] / "kernels" / "runtime"
ROUNDS = 10
TYPES = ("int32", "int64", "float32", "float64")
DAY = 24 * 3600

HELPER = """
import numba

@numba.njit
def shift(x):
    return x + 1
"""

TOY = """
import numba
from kernels import helper
from kernels.runtime import cache

def build(function, **flags):
    dispatcher = numba.njit(nogil=True, **flags)(function)
    cache.attach(dispatcher)
    return dispatcher

def add(x):
    return helper.shift(x)

def item(array, i):
    return array[i]

def factory(n):
    def shift(x):
        return x + n
    return shift
""" + "".join(f"\ndef f{i}(x):\n    return x * x + {i}\n" for i in range(ROUNDS))

# What every process of these tests starts with. Call a function anew, that is by a fresh
# dispatcher, and report what happened as the last line of the output.
PROBE = """
import json, os, sys, time, warnings
from pathlib import Path

warned = []
warnings.simplefilter("always")
warnings.showwarning = lambda message, category, *rest: warned.append(
    f"{category.__name__}: {message}"
)

import numba
import numpy as np
from kernels import helper, toy
from kernels.runtime import cache

def call(name, *args, module=toy, **flags):
    dispatcher = toy.build(getattr(module, name), **flags)
    with cache.filling():
        dispatcher.compile(tuple(numba.typeof(arg) for arg in args))
    return dispatcher(*args)

def report(result=None):
    folder = cache.directory()
    print(json.dumps({
        "result": result,
        "directory": None if folder is None else str(folder),
        "loaded": cache.counts().loaded,
        "compiled": cache.counts().compiled,
        "warned": warned,
    }), flush=True)
"""


# A process that has Numba awake (0.8 s) and makes each process of a test by forking itself before
# the package is imported. What must be a process from its very start uses Package.start.
NURSERY = """
import atexit, gc, json, os, signal, sys
import numba

numba.njit(lambda x: x + 1)(1.0)
gc.freeze()
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        signal.alarm(int(sys.argv[1]))
        request = json.loads(line)
        os.environ |= request["env"]
        os.chdir(request["root"])
        sys.path.insert(0, request["root"])
        exec("from probe import *\\n" + request["body"])
        atexit._run_exitfuncs()
        os._exit(0)  # taking Numba down takes longer than most tests
    print(json.dumps({"status": os.waitpid(pid, 0)[1]}), flush=True)
"""


def environment(**more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "PYTHON", "XDG"))}
    # Python's own cache does not see a second edit within one second.
    return clean | {"PYTHONDONTWRITEBYTECODE": "1"} | more


class Package:
    """A folder with the package, the probe, and by default a cache."""

    def __init__(self, root, nursery):
        self.root = root
        self.cache = root / "cache"
        self.nursery = nursery
        package = root / "kernels"
        (package / "runtime").mkdir(parents=True)
        (root / "tmp").mkdir()
        (package / "__init__.py").touch()
        (package / "runtime" / "__init__.py").touch()
        for name in ("cache.py", "interrupts.py", "sources.py"):  # which need no others
            shutil.copy(RUNTIME / name, package / "runtime")
        (package / "helper.py").write_text(HELPER)
        (package / "toy.py").write_text(TOY)
        (root / "probe.py").write_text(PROBE)
        self.env = {"NUMBA_LAYERS_CACHE_DIR": str(self.cache), "TMPDIR": str(root / "tmp")}

    def start(self, body, **env):
        """Start a process of its own; see `finish`."""
        return subprocess.Popen(
            [sys.executable, "-c", "from probe import *\n" + body],
            env=environment(PYTHONPATH=str(self.root), **self.env | env),
            cwd=self.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, body, **env):
        """Run a process to its end and return its report."""
        request = {"root": str(self.root), "body": body, "env": self.env | env}
        print(json.dumps(request), file=self.nursery.stdin, flush=True)
        lines = [json.loads(self.nursery.stdout.readline())]
        while "status" not in lines[-1]:
            lines.append(json.loads(self.nursery.stdout.readline()))
        assert lines[-1]["status"] == 0, "see the traceback on stderr"
        return lines[-2]

    def add(self, **env):
        return self.run("report(call('add', 1.0))", **env)

    def entries(self):
        return sorted(self.cache.glob("*/*.nbc"))


def finish(process):
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def assert_fell_back(report, named):
    """Right numbers, one warning that names the directory and the way out, nothing left behind."""
    assert (report["result"], report["loaded"], report["compiled"]) == (2.0, 0, 1)
    (warning,) = report["warned"]
    assert warning.startswith("RuntimeWarning: ")
    assert str(named) in warning
    assert "NUMBA_LAYERS_CACHE_DIR" in warning


@pytest.fixture(scope="module")
def nursery():
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY, str(SECONDS)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


@pytest.fixture
def package(tmp_path, nursery):
    return Package(tmp_path, nursery)


# ------------------------------------------------------------------------------------ what it does


def test_second_process_compiles_nothing(package):
    first, second = (finish(package.start("report(call('add', 1.0))")) for _ in range(2))
    assert (first["result"], first["loaded"], first["compiled"]) == (2.0, 0, 1)
    assert (second["result"], second["loaded"], second["compiled"]) == (2.0, 1, 0)
    assert first["directory"] == second["directory"]
    assert first["warned"] == second["warned"] == []


def test_twins_of_one_function_have_entries_of_their_own(package):
    body = """
call("item", np.ones(2), 1)
try:
    report(call("item", np.ones(2), 7, boundscheck=True))
except IndexError:
    report("checked")
"""
    first, second = package.run(body), package.run(body)
    assert (first["result"], first["compiled"]) == ("checked", 2)
    assert (second["result"], second["loaded"]) == ("checked", 2)


def test_only_functions_of_the_package_are_cached(package):
    report = package.run("""
def foreign(x):
    return x + 1

for function in foreign, toy.factory(1), toy.factory(2):
    toy.build(function)(1.0)
cache.attach(foreign)  # what NUMBA_DISABLE_JIT=1 makes of a dispatcher
report([toy.build(toy.factory(n))(1.0) for n in (1, 2)])
""")
    assert report["result"] == [2.0, 3.0]
    assert report["compiled"] == 0
    assert package.entries() == []


def test_size_and_clear(package):
    (package.cache / "notes").mkdir(parents=True, mode=0o700)
    package.cache.chmod(0o700)
    report = package.run("""
call("add", 1.0)
held = cache.size()
freed = cache.clear()
left = cache.size()
call("f1", 1.0)
report([held, freed, left])
""")
    held, freed, left = report["result"]
    assert held == freed > 1000
    assert left == 0
    assert (package.cache / "notes").is_dir()
    assert [path.name[:15] for path in package.entries()] == ["kernels.toy.f1-"]
    assert report["warned"] == []


def test_size_and_clear_beside_a_process_that_clears(package):
    report = package.run("""
import shutil

call("add", 1.0)
folders, listed = cache._keyed_folders, Path.iterdir

def cleared():
    found = folders()
    for folder in found:
        shutil.rmtree(folder)
    return found

def gone(folder):
    shutil.rmtree(folder)
    return listed(folder)

cache._keyed_folders = cleared
sizes = [cache.size(), cache.clear()]
cache._keyed_folders = folders
Path.iterdir = gone
report([*sizes, cache.size()])
""")
    assert report["result"] == [0, 0, 0]
    assert report["warned"] == []


@pytest.mark.parametrize("error", ["FileExistsError", "FileNotFoundError"])
def test_a_folder_that_another_process_clears_is_made_again(package, error):
    """It is found and then gone, or made and then gone."""
    report = package.run(f"""
import shutil

mkdir, cleared = Path.mkdir, set()

def beside(path, **options):
    mkdir(path, **options)
    if path not in cleared:
        cleared.add(path)
        shutil.rmtree(path)
        if {error} is FileExistsError:
            raise FileExistsError(path)

Path.mkdir = beside
report(call("add", 1.0))
""")
    assert (report["result"], report["compiled"], report["warned"]) == (2.0, 1, [])
    assert len(package.entries()) == 1


def test_an_entry_whose_folder_is_cleared_meanwhile_is_not_stored(package):
    report = package.run("""
import shutil

folder = cache._folder

def cleared():
    shutil.rmtree(folder())
    return place

place, cache._folder = folder(), cleared
call("f1", 1.0)
cache._folder = folder
report([call("f2", 1.0), call("f2", 1.0)])
""")
    assert (report["result"], report["loaded"], report["compiled"]) == ([3.0, 3.0], 1, 2)
    assert report["warned"] == []
    assert len(package.entries()) == 1


def test_recompile_forgets_the_entries(package):
    report = package.run("""
dispatcher = toy.build(toy.add)
dispatcher(1.0)
dispatcher.recompile()
report(dispatcher(1.0))
""")
    assert (report["loaded"], report["compiled"]) == (0, 2)


# ----------------------------------------------------------------------------------------- the key


def test_edited_helper_gives_the_new_result(package):
    assert package.add()["result"] == 2.0
    helper = package.root / "kernels" / "helper.py"
    helper.write_text(HELPER.replace("x + 1", "x + 2"))
    assert package.add()["result"] == 3.0
    helper.write_text(HELPER)
    back = package.add()
    assert (back["result"], back["loaded"]) == (2.0, 1)


def test_edit_after_import_does_not_spoil_the_new_key(package):
    old = package.run(f"""
Path(helper.__file__).write_text({HELPER.replace("x + 1", "x + 2")!r})
report(call("add", 1.0))
""")
    assert old["result"] == 2.0
    assert package.add()["result"] == 3.0


BELOW = """
import numba

@numba.njit
def step(x):
    return x + 1
"""

ABOVE = """
import numba
from kernels.below import step

@numba.njit
def shift(x):
    return step(x)
"""

APART = """
from kernels.runtime import cache

def twice(x):
    return 2 * x
"""

ADD_AND_TWICE = """
from kernels import apart

call("add", 1.0)
report([call("add", 1.0), call("twice", 3.0, module=apart)])
"""


@pytest.fixture
def three_floors(package):
    """A function that calls a helper, which calls one below; and a module apart from them."""
    for name, text in {"helper": ABOVE, "below": BELOW, "apart": APART}.items():
        (package.root / "kernels" / f"{name}.py").write_text(text)
    first = package.run(ADD_AND_TWICE)
    assert (first["result"], first["loaded"], first["compiled"]) == ([2.0, 6.0], 1, 2)
    return package


def test_edit_is_seen_from_above_and_not_from_beside(three_floors):
    below = three_floors.root / "kernels" / "below.py"
    below.write_text(BELOW.replace("x + 1", "x + 2"))
    edited = three_floors.run(ADD_AND_TWICE)
    assert (edited["result"], edited["loaded"], edited["compiled"]) == ([3.0, 6.0], 2, 1)

    below.write_text(BELOW)
    back = three_floors.run(ADD_AND_TWICE)
    assert (back["result"], back["loaded"], back["compiled"]) == ([2.0, 6.0], 3, 0)


def test_edit_of_what_nothing_reaches_compiles_nothing(three_floors):
    (three_floors.root / "kernels" / "new.py").write_text("x = 1\n")
    assert three_floors.run(ADD_AND_TWICE)["compiled"] == 0


def test_edit_after_import_stops_only_what_reaches_it(three_floors):
    body = f"Path(helper.__file__).with_name('below.py').write_text({BELOW + '# new'!r})\n"
    report = three_floors.run(body + ADD_AND_TWICE)
    assert (report["result"], report["loaded"], report["compiled"]) == ([2.0, 6.0], 1, 2)
    assert len(three_floors.entries()) == 2


def test_copies_of_one_text_have_entries_of_their_own(package):
    """A name of it stands for another function; its own name and place may be the same."""
    (package.root / "kernels" / "below.py").write_text(BELOW.replace("x + 1", "x - 1"))
    body = """
import types
from kernels import below

def text(x):
    return formula(x)

def copy(formula, module="kernels.toy"):
    made = types.FunctionType(text.__code__, vars(toy) | {"formula": formula}, "text")
    made.__module__ = module
    return toy.build(made)(1.0)

@numba.njit
def foreign(x):
    return 7.0

ours = [copy(helper.shift), copy(below.step)]
report([*ours, copy(foreign), copy(foreign, "user"), copy(helper.shift, "user")])
"""
    first, second = package.run(body), package.run(body)
    assert first["result"] == second["result"] == [2.0, 0.0, 7.0, 7.0, 2.0]
    assert (first["loaded"], first["compiled"]) == (0, 2), "what is not ours is in no cache"
    assert (second["loaded"], second["compiled"]) == (2, 0)


# Some of this package's own, which compile quickly: which of them were compiled, by a copy of it.
OF_THIS_PACKAGE = """
import json, sys
import numpy as np
import kernels
from kernels.runtime import cache, jit, sources

compiled, save = [], cache._Entries.save_overload
def noted(entries, *args):
    compiled.append(entries._name)
    save(entries, *args)
cache._Entries.save_overload = noted

x = np.ones((2, 3), np.float32)
kernels.relu_forward(x, np.empty_like(x))
kernels.sgd_update(np.ones_like(x), x, 0.5)
kernels.softmax_forward(x, np.empty_like(x))
kernels.uniform(1, 0, 0.0, 1.0, np.empty_like(x))
names = ("kernels.product.matmul", "kernels.network.interpreter", "kernels.losses")
print(json.dumps([compiled, {name: sources.digest([name]) for name in names}]))
"""


@pytest.mark.compiled
def test_edit_of_a_formula_compiles_that_operation_alone(tmp_path):
    copy = tmp_path / "kernels"
    shutil.copytree(RUNTIME.parent, copy, ignore=shutil.ignore_patterns("__pycache__"))

    def compiled_by():
        done = subprocess.run(
            [sys.executable, "-c", OF_THIS_PACKAGE],
            env=environment(PYTHONPATH=str(tmp_path), NUMBA_LAYERS_CACHE_DIR=str(tmp_path / "c")),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stderr
        names, digests = json.loads(done.stdout)
        return sorted(name.removeprefix("kernels.") for name in names), digests

    def edit(name, old, new):
        text = (copy / name).read_text(encoding="utf-8")
        assert old in text
        (copy / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    everything, digests = compiled_by()
    assert len(everything) == 7
    assert compiled_by() == ([], digests)

    edit("activations.py", "select(x <= 0.0, 0.0, x)", "select(x <= 0.0, 0.0, x + 0.0)")
    assert compiled_by() == (["activations.relu_forward"], digests)
    edit("optimizers.py", "fma(-learning_rate, dw, w)", "fma(-learning_rate, dw, w + 0.0)")
    assert compiled_by() == (["optimizers.sgd_update"], digests)

    edit("intrinsics/vectors.py", '"""', '"""Edited. ')
    names, others = compiled_by()
    assert names == everything
    assert all(others[name] != digest for name, digest in digests.items())


def test_each_setting_that_changes_the_code_has_its_own_key(package):
    settings = [
        {},
        {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""},
        {"NUMBA_CPU_FEATURES": "+avx2"},
        {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2"},
        {"NUMBA_OPT": "1"},
        {"NUMBA_LOOP_VECTORIZE": "0"},
        {"NUMBA_SLP_VECTORIZE": "1"},
        {"NUMBA_BOUNDSCHECK": "0"},
        {"NUMBA_BOUNDSCHECK": "1"},
        {"NUMBA_DEBUGINFO": "1"},
        {"NUMBA_DEBUG_NRT": "1"},
        {"NUMBA_DEBUG_JIT": "1"},
        {"NUMBA_DEBUG_ARRAY_OPT_RUNTIME": "1"},
        {"NUMBA_FULL_TRACEBACKS": "1"},
        {"NUMBA_EXTEND_VARIABLE_LIFETIMES": "1"},
        {"NUMBA_PARFOR_MAX_TUPLE_SIZE": "9"},
        {"NUMBA_DISABLE_INTEL_SVML": "1"},
        {"NUMBA_LLVM_REFPRUNE_FLAGS": "per_bb"},
        {"NUMBA_LLVM_REFPRUNE_PASS": "0", "NUMBA_LLVM_REFPRUNE_FLAGS": "all"},
    ]
    report = package.run(f"""
directories = []
for setting in {settings}:
    os.environ.update(setting)
    directories.append(str(cache.directory()))
    for name in setting:
        del os.environ[name]
same = str(cache.directory())
numba.config.USING_SVML = not numba.config.USING_SVML
directories.append(str(cache.directory()))
report([directories, same])
""")
    directories, same = report["result"]
    assert len(set(directories)) == len(settings) + 1
    assert same == directories[0]


def test_what_is_added_to_the_key_keeps_code_apart(package):
    report = package.run("""
before = str(cache.directory())
cache.add_to_key(("a cache of", 2**20))
with_one = str(cache.directory())
cache.add_to_key(("a cache of", 2**21))
report([before, with_one, str(cache.directory())])
""")
    assert len(set(report["result"])) == 3


def test_bounds_check_does_not_reuse_the_unchecked_code(package):
    body = """
try:
    call("item", np.ones(2), 7)
    report(None)
except IndexError:
    report("checked")
"""
    assert package.run(body)["result"] is None
    assert package.run(body, NUMBA_BOUNDSCHECK="1")["result"] == "checked"
    last = package.run(body)
    assert (last["result"], last["loaded"]) == (None, 1)


def test_other_cpu_runs_its_own_code(package):
    package.add()
    add = "report(call('add', 1.0))"
    other = finish(package.start(add, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES=""))
    assert (other["result"], other["loaded"]) == (2.0, 0)
    assert len({path.parent for path in package.entries()}) == 2


def test_unused_keys_are_removed(package):
    package.cache.mkdir(mode=0o700)
    ages = {"0" * 20: 40, "1" * 20: 20, "notes": 40}
    for name, days in ages.items():
        (package.cache / name).mkdir(mode=0o700)
        os.utime(package.cache / name, (time.time() - days * DAY,) * 2)
    used = Path(package.add()["directory"])
    assert {path.name for path in package.cache.iterdir()} == {used.name, "1" * 20, "notes"}

    os.utime(used, (time.time() - 40 * DAY,) * 2)
    assert package.add()["loaded"] == 1
    assert used.stat().st_mtime > time.time() - DAY


def test_unused_entries_are_removed(package):
    package.run("call('f1', 1.0)\ncall('f2', 1.0)\nreport(call('f3', 1.0))")
    ages = dict(zip(package.entries(), (40, 29, 40), strict=True))
    left_over = package.entries()[0].with_name("tmp-of-a-dead-process")
    left_over.touch()
    lock = left_over.with_name("lock")
    for path, days in (ages | {left_over: 40, lock: 40}).items():
        os.utime(path, (time.time() - days * DAY,) * 2)

    warm = package.run("report(call('f3', 1.0))")
    assert warm["loaded"] == 1, "only what compiles looks for what is old"
    package.run("report(call('f4', 1.0))")
    assert [path.name[:15] for path in package.entries()] == [
        *("kernels.toy.f2-", "kernels.toy.f3-", "kernels.toy.f4-")
    ]
    assert lock.exists()
    assert not left_over.exists()


def test_use_is_marked_once_a_day(package):
    folder = Path(package.add()["directory"])
    (entry,) = package.entries()
    for path in (folder, entry):
        os.utime(path, (time.time() - DAY / 2,) * 2)
    marked = [path.stat().st_mtime_ns for path in (folder, entry)]
    assert package.add()["loaded"] == 1
    assert [path.stat().st_mtime_ns for path in (folder, entry)] == marked

    os.utime(entry, (time.time() - 2 * DAY,) * 2)
    assert package.add()["loaded"] == 1
    assert entry.stat().st_mtime > time.time() - DAY


# ------------------------------------------------------------------------------------- directories


def test_directory_follows_the_environment(package):
    home, xdg, numba, own = (str(package.root / name) for name in ("home", "xdg", "numba", "own"))
    del package.env["NUMBA_LAYERS_CACHE_DIR"]
    package.env["HOME"] = home
    system = Path(home, "Library/Caches" if sys.platform == "darwin" else ".cache")

    def parent(**env):
        report = package.run("assert not Path.home().exists()\nreport()", **env)
        shutil.rmtree(home, ignore_errors=True)
        assert report["warned"] == []
        return Path(report["directory"]).parent

    assert parent() == system / "numba-layers"
    if sys.platform != "darwin":
        assert parent(XDG_CACHE_HOME=xdg) == Path(xdg, "numba-layers")
    assert parent(XDG_CACHE_HOME=xdg, NUMBA_CACHE_DIR=numba) == Path(numba, "numba-layers")
    assert parent(NUMBA_CACHE_DIR=numba, NUMBA_LAYERS_CACHE_DIR=own) == Path(own)


def test_empty_variable_means_no_cache(package):
    report = package.add(NUMBA_LAYERS_CACHE_DIR="")
    assert (report["result"], report["compiled"]) == (2.0, 1)
    assert report["directory"] is None
    assert report["warned"] == []
    assert list((package.root / "tmp").iterdir()) == []


def test_folders_are_private_whatever_the_umask(package):
    report = package.run("os.umask(0)\nreport(call('add', 1.0))")
    folder = Path(report["directory"])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


@pytest.mark.parametrize("level", ["root", "key"])
@pytest.mark.parametrize("flaw", ["readable", "writable", "symlink", "foreign"])
def test_directory_that_is_not_ours_alone_is_refused(package, flaw, level):
    if flaw == "foreign" and os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    folder = Path(package.add()["directory"])
    if level == "root":
        folder = folder.parent
    if flaw == "symlink":
        folder.rename(package.root / "elsewhere")
        folder.symlink_to(package.root / "elsewhere")
    elif flaw == "foreign":
        os.chown(folder, 12345, 12345)
    else:
        folder.chmod(0o750 if flaw == "readable" else 0o702)
    (entry,) = package.entries()
    before = entry.stat().st_mtime_ns

    report = package.add()
    assert_fell_back(report, folder)
    if level == "root":
        assert Path(report["directory"]).parents[1] == package.root / "tmp"
    else:
        assert report["directory"] is None
    assert [path.stat().st_mtime_ns for path in package.entries()] == [before]


def test_unusable_location_falls_back_to_a_temporary_one(package):
    package.cache.write_text("a file where the directory should be")
    report = package.add(NUMBA_LAYERS_CACHE_DIR=str(package.cache / "below"))
    assert_fell_back(report, package.cache / "below")
    temporary = Path(report["directory"]).parent
    assert temporary.parent == package.root / "tmp"
    assert not temporary.exists()


def test_no_temporary_directory_either(package):
    package.cache.write_text("")
    body = "import tempfile\ntempfile.tempdir = '/dev/null'\nreport(call('add', 1.0))"
    report = package.run(body)
    assert_fell_back(report, package.cache)
    assert report["directory"] is None


# ----------------------------------------------------------------------------------------- entries


def test_damaged_entry_is_compiled_anew_and_replaced(package):
    report = package.run("""
import hashlib, pickle

call("add", 1.0)
(entry,) = cache.directory().glob("*.nbc")
good = entry.read_bytes()
sealed = lambda payload: hashlib.sha256(payload).digest() + payload
n = len(good)
damaged = [good[:length] for length in (0, 1, 31, 32, 33, n // 3, n // 2, n - 1)]
damaged += [bytes(n), b"garbage", sealed(b"garbage"), sealed(pickle.dumps(7)), good + b"x"]
damaged += [sealed(pickle.dumps(("another key", ())))]
for i in range(0, n, n // 40):  # machine code too, where nothing else would notice
    damaged.append(good[:i] + bytes([good[i] ^ 255]) + good[i + 1 :])
for i, content in enumerate(damaged):
    before = cache.counts()
    entry.write_bytes(content)
    assert call("add", 1.0) == 2.0
    assert cache.counts() == (before.loaded, before.compiled + 1), i
    assert call("add", 1.0) == 2.0
    assert cache.counts() == (before.loaded + 1, before.compiled + 1), i
report()
""")
    assert report["warned"] == []


def test_entry_of_another_function_is_not_taken(package):
    report = package.run("""
call("f1", 2.0)
call("f2", 2.0)
first, second = sorted(cache.directory().glob("*.nbc"))
second.write_bytes(first.read_bytes())
report(call("f2", 2.0))
""")
    assert report["result"] == 6.0


def test_full_disk_is_no_error(package):
    report = package.run("""
import resource

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
call("f1", 1.0)
report(call("f2", 1.0))
""")
    assert (report["result"], report["compiled"]) == (3.0, 2)
    (warning,) = report["warned"]
    assert "cannot write" in warning
    assert report["directory"] is None
    assert {path.name for path in package.cache.glob("*/*")} == {"lock"}


# --------------------------------------------------------------------------------- many at a time

LINED_UP = """
def wait_for_all():
    print(flush=True)
    sys.stdin.readline()

me = int(os.environ["ME"])
"""


def start_lined_up(package, body):
    processes = [package.start(LINED_UP + body, ME=str(i)) for i in range(len(TYPES))]
    for _ in range(ROUNDS):
        for process in processes:
            assert process.stdout.readline() == "\n", process.stderr.read()
        for process in processes:
            print(file=process.stdin, flush=True)
    return [finish(process) for process in processes]


def test_processes_at_once_lose_and_cross_no_entry(package):
    reports = start_lined_up(
        package,
        f"""
type_ = getattr(np, {TYPES}[me])
for i in range({ROUNDS}):
    wait_for_all()
    assert call(f"f{{i}}", type_(3)) == 9 + i
report()
""",
    )
    assert [report["compiled"] for report in reports] == [ROUNDS] * len(TYPES)
    fresh = package.run(f"""
for i in range({ROUNDS}):
    for name in {TYPES}:
        assert call(f"f{{i}}", getattr(np, name)(5)) == 25 + i
report()
""")
    assert (fresh["loaded"], fresh["compiled"]) == (ROUNDS * len(TYPES), 0)
    assert fresh["warned"] == []


def test_who_waited_loads_what_the_other_compiled(package):
    reports = start_lined_up(
        package,
        f"""
for i in range({ROUNDS}):
    wait_for_all()
    call(f"f{{i}}", 3.0)
report()
""",
    )
    assert sum(report["compiled"] for report in reports) == ROUNDS
    assert sum(report["loaded"] for report in reports) == ROUNDS * (len(TYPES) - 1)


HOLD = """
with cache.filling():
    call("f1", 1.0)
    report()
    sys.stdin.read()
"""


def test_holder_of_the_lock_may_be_killed(package):
    holder = package.start(HOLD)
    holder.stdout.readline()
    warm = package.run("report(call('f1', 1.0))")
    assert (warm["loaded"], warm["compiled"]) == (1, 0), "what is there already needs no lock"

    waiting = package.start("print('ready', flush=True)\nreport(call('f2', 1.0))")
    waiting.stdout.readline()
    time.sleep(0.7)
    assert waiting.poll() is None, "it should wait for the holder"
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    report = finish(waiting)
    assert (report["result"], report["warned"]) == (3.0, [])
    assert Path(report["directory"]).parent == package.cache


def test_stuck_holder_costs_the_cache_and_one_warning(package):
    holder = package.start(HOLD)
    holder.stdout.readline()
    report = package.run("""
cache._LOCK_SECONDS = 0.1
call("f2", 1.0)
report(call("f3", 1.0))
""")
    holder.kill()
    holder.communicate()
    assert (report["result"], report["compiled"]) == (4.0, 2)
    (warning,) = report["warned"]
    assert "cannot lock" in warning


def test_holder_that_stores_entries_is_waited_for(package):
    report = package.run("""
cache._LOCK_SECONDS = 0.0
folder, take, looks = cache.directory(), cache._try_lock, []

def busy(descriptor):
    looks.append(descriptor)
    if len(looks) > 20:
        return take(descriptor)
    os.utime(folder, ns=(0, len(looks)))  # as an entry that the holder stores
    return False

cache._try_lock = busy
report(call("f2", 1.0))
""")
    assert (report["result"], report["compiled"], report["warned"]) == (3.0, 1, [])
    assert len(package.entries()) == 1


def test_file_system_without_locks_costs_the_cache_and_one_warning(package):
    report = package.run("""
import errno

def flock(*args):
    raise OSError(errno.ENOLCK, "no locks available")

cache.fcntl.flock = flock
call("f2", 1.0)
report(call("f3", 1.0))
""")
    assert (report["result"], report["compiled"]) == (4.0, 2)
    (warning,) = report["warned"]
    assert "no locks available" in warning


def test_threads_take_turns_and_nest(package):
    report = package.run("""
import threading

@numba.njit
def user(x):
    return ours(x)

ours = toy.build(toy.f5)
inside = 0

def work(i):
    global inside
    with cache.filling(), cache.filling():
        inside += 1
        call(f"f{i % 3}", float(i))
        assert inside == 1
        inside -= 1

threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
threads.append(threading.Thread(target=user, args=(1.0,)))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert cache._state.depth == 0
assert cache._state.lock is None
report(user(2.0))
""")
    assert (report["result"], report["loaded"], report["compiled"]) == (9.0, 3, 4)


FORK = f"""
import signal, threading

def in_child(work):
    pid = os.fork()
    if pid == 0:
        signal.alarm({SECONDS})  # a child that hangs is a child that fails
        os._exit(0 if work() else 1)
    return pid

def succeeded(pid):
    return os.waitpid(pid, 0)[1] == 0
"""


def test_child_of_a_fork_compiles(package):
    report = package.run(
        FORK
        + """
held = threading.Event()

def hold():
    with cache.filling():
        call("f1", 1.0)
        held.set()
        time.sleep(0.5)

thread = threading.Thread(target=hold)
thread.start()
held.wait()
pid = in_child(lambda: call("f1", 1.0) == 2.0 and call("f2", 1.0) == 3.0)
after = call("f3", 1.0) == 4.0
thread.join()
report([succeeded(pid), after])
"""
    )
    assert report["result"] == [True, True]
    assert len(package.entries()) == 3


def test_child_of_a_fork_neither_keeps_nor_breaks_the_lock(package):
    report = package.run(
        FORK
        + """
import fcntl

def locked():
    descriptor = os.open(cache.directory() / "lock", os.O_RDWR)
    try:
        return not cache._try_lock(descriptor)
    finally:
        os.close(descriptor)

read, write = os.pipe()
with cache.filling():
    call("f1", 1.0)
    gone = in_child(lambda: True)
    living = in_child(lambda: os.write(write, b".") and signal.pause())
    results = [succeeded(gone), locked()]
os.read(read, 1)  # the child runs: it has given up its duplicate
results.append(locked())
os.kill(living, signal.SIGKILL)
os.waitpid(living, 0)
report(results)
"""
    )
    assert report["result"] == [True, True, False]


def test_child_of_a_fork_leaves_the_temporary_directory(package):
    package.cache.write_text("")
    report = package.run("""
call("f1", 1.0)
pid = os.fork()
if pid == 0:
    sys.exit()  # runs the exit handlers, unlike os._exit
os.waitpid(pid, 0)
report(cache.directory().parent.is_dir() and call("f1", 1.0))
""")
    assert (report["result"], report["loaded"]) == (2.0, 1)
