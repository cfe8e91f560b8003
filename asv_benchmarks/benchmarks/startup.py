"""New processes: the time of the import, and of a first step with a full or empty cache."""

import os
import subprocess
import sys
import tempfile

STEP = "model.train_step(x, y)"
MODEL = """
import numpy as np
import layers
x, y = np.ones((32, 64), np.float32), np.zeros(32, np.int64)
model = layers.Sequential([layers.Dense(64, 32), layers.ReLU(), layers.Dense(32, 10)], seed=0)
"""


class Warm:
    """A user's second run: byte code written, machine code in the cache."""

    repeat = (3, 10, 5.0)
    timeout = 120.0

    def setup(self):
        # Some machines forbid byte code; there, Python would compile our sources at each import.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        seconds_in_fresh_process(MODEL + STEP)

    def timeraw_import_layers(self):
        """Over and above importing Numba, which most of the time is spent on."""
        return "import layers", "import numba"

    def timeraw_first_model(self):
        """The first model, whose weights are the first kernel's."""
        return MODEL, "import numpy, layers"

    def timeraw_first_step(self):
        return STEP, MODEL


class Cold:
    """A user's first run, or the first after an upgrade: everything is compiled."""

    unit = "seconds"
    timeout = 600.0
    params = [["what a first step needs", "all: layers.warmup()"]]
    param_names = ["compiled"]

    def track_compile(self, compiled):
        statement = "layers.warmup()" if compiled.startswith("all") else MODEL + STEP
        with tempfile.TemporaryDirectory() as directory:  # empty, of mode 0700
            return seconds_in_fresh_process(statement, NUMBA_LAYERS_CACHE_DIR=directory)


def seconds_in_fresh_process(statement, **environment):
    """Seconds of a statement in a new process that has imported `layers` only."""
    code = (
        "import time, layers\n"
        "began = time.perf_counter()\n"
        f"{statement}\n"
        "print(time.perf_counter() - began)\n"
    )
    return float(run_fresh(code, **environment))


def run_fresh(code, **environment):
    """The output of a new process of this Python."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
