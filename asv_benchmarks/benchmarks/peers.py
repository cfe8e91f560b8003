"""Beside other libraries, in one process: the sides of `python -m layers bench`, taking turns.

`bench` itself has a process for each side and is the better judge. Here it is what changes from
commit to commit that counts, and our own times are compared with themselves.
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
"""By the name that the page shows: the side in `layers.bench.sides`."""


class TrainingBesidePeers(Ratio):
    """784-128-10 with SGD, our time over the peer's, on one thread; n/a where it is not installed.

    By the clock of the process, since JAX computes on a thread of its own. A step is one call from
    Python; an epoch has 2,560 rows, with its shuffle.
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
    """A call of one step or of one epoch, of a side that is ready."""
    from layers.bench.libraries import load

    side_type = load(name)
    side_type.start(threads=1)
    side = side_type(case)
    side.reset()
    warnings.simplefilter("ignore")  # scikit-learn's: that one epoch is too few
    return side.first_batch if case.kind == "step" else side.epoch


def on_one_cpu():
    """What JAX takes its threads from; asv has a process for each measurement."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
