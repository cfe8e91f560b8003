"""Shared by all tests: separate processes, and skips where nothing is compiled."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
# For one process; the slowest takes about five where kernels are compiled and the CPU is free.
SECONDS = 240

# The same draws each time and on every machine, however slow it is.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "compiled: looks at compiled code, so it is left out under NUMBA_DISABLE_JIT=1"
    )
    config.addinivalue_line("markers", "long: takes more than ten seconds, so its file runs first")


def pytest_collection_modifyitems(items):
    # Each process takes file after file: none shall begin with a long one when others are done.
    longest = {item.path for item in items if item.get_closest_marker("long")}
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in longest, -sizes[item.path], item.path))


def pytest_runtest_setup(item):
    if item.get_closest_marker("compiled") and os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        pytest.skip("looks at compiled code, and NUMBA_DISABLE_JIT is set")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    # A kernel that is built on intrinsics says so when it is called as plain Python.
    try:
        return (yield)
    except NotImplementedError as error:
        if "unset NUMBA_DISABLE_JIT" in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture
def python() -> Callable[..., str]:
    """Run a script in a process of its own, without our NUMBA_ variables; what it printed."""

    def run(script: str, **variables: str) -> str:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "OMP_"))}
        kept = {k: v for k, v in os.environ.items() if k.startswith("NUMBA_LAYERS_")}
        with subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env=clean | kept | {"PYTHONPATH": str(ROOT)} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that its forked children can be stopped with it
        ) as process:
            try:
                printed, errors = process.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                printed, errors = process.communicate()
                pytest.fail(f"still running after {SECONDS} s\n{printed}\n{errors}")
        assert process.returncode == 0, f"exit status {process.returncode}\n{printed}\n{errors}"
        return printed

    return run
