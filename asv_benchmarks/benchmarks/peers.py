"""Compared with other libraries, in one process: the sides of `python -m layers bench`.

`bench` itself has a process for each side and is more accurate. Here the changes from commit to
commit count.
"""

import importlib.util
import os
import time
import warnings
from dataclasses import replace

from .in_turns import Ratio

PEERS = {
    "NumPy, by hand": "numpy",
    "scikit-learn's MLPClassifier": "sklearn",
    "PyTorch": "torch",
    "JAX jit": "jax",
}
"""By the name on the page: the side in `layers.bench.libraries`."""


class TrainingBesidePeers(Ratio):
    """784-128-10 with SGD, our time over the peer's, on one thread; n/a where it is not installed.

    Timed by the process's clock, since JAX computes on another thread. A step is one call from
    Python; an epoch has 2,560 rows, shuffle included.
    """

    params = [list(PEERS), ["a step", "an epoch"], [32, 128]]
    param_names = ["peer", "work", "batch"]
    clock = staticmethod(time.process_time)

    def setup(self, peer, work, batch):
        # Looked up here: commits from before `bench` run the other benchmarks all the same.
        from layers.bench.cases import CASES
        from layers.bench.libraries import OURS, SIDES

        if importlib.util.find_spec(SIDES[PEERS[peer]].package) is None:
            raise NotImplementedError(f"{SIDES[PEERS[peer]].package} is not installed")
        on_one_cpu()
        case = replace(CASES[f"batch{batch}"], kind="step" if work == "a step" else "epoch")
        self.prepare(*(turn_of(side, case) for side in (OURS, PEERS[peer])))

    def track_time_over_peer(self, *_):
        return self.ratio()


def turn_of(name, case):
    """A call of one step or one epoch of a prepared side."""
    from layers.bench.libraries import load

    side_type = load(name)
    side_type.start(threads=1)
    side = side_type(case)
    side.reset()
    warnings.simplefilter("ignore")  # scikit-learn's, about a single epoch
    return side.first_batch if case.kind == "step" else side.epoch


def on_one_cpu():
    """Restrict the process to one CPU, which sets JAX's threads."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
