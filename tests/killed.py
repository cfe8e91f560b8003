"""Training that is killed (kill -9) at random moments, over and over, and goes on.

    python -m tests.killed --kills 300

Each child trains from the newest checkpoint and saves one after every epoch: most of its time goes
into saving. It is killed soon after the end of its first, second or third epoch. What it leaves has
to be whole; in the end the parameters have to be those of a run that was never killed. At least
half of the children have to leave a newer checkpoint than they found, or nothing would have been
tried. Children are forked, and compute with NumPy: none waits for a compilation.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

import layers

ENOUGH = 10**6
"""Epochs that no child reaches."""


def make() -> layers.Sequential:
    stack = [layers.Dense(40, 50), layers.ReLU(), layers.Dropout(0.25), layers.Dense(50, 3)]
    return layers.Sequential(stack, optimizer=layers.Adam(0.01), seed=7)


def train(path: Path, last: int, each_epoch: Callable[..., object] = id) -> layers.Sequential:
    x = np.random.default_rng(0).normal(size=(16, 40)).astype(np.float32)
    checkpoint = layers.Checkpoint(path, best=False, keep=2)
    newest = checkpoint.latest()
    model = make() if newest is None else layers.load(newest)
    others = [each_epoch, layers.EarlyStopping("loss", ENOUGH), layers.MovingAverage(0.9, every=1)]
    with layers.backend("numpy"):
        model.fit(
            x, np.arange(16) % 3, last - model.history.epochs, 8, callbacks=[checkpoint, *others]
        )
    return model


def epochs_of(path: Path) -> int:
    """The epochs that the newest checkpoint has, which is read as a whole."""
    newest = layers.Checkpoint(path, best=False).latest()
    return 0 if newest is None else layers.load(newest).history.epochs


def in_a_child(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    path, moments = folder / "{epoch}.npz", random.Random(arguments.seed)
    epochs, went_on = 0, 0
    for _ in range(arguments.kills):
        begun, begins = os.pipe()
        child = in_a_child(lambda to=begins: train(path, ENOUGH, lambda _: os.write(to, b".")))
        os.close(begins)
        for _ in range(moments.randint(1, 3)):
            os.read(begun, 1)  # an epoch has ended, and is about to be saved
        time.sleep(moments.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(begun)
        if not os.WIFSIGNALED(status):
            print("a child could not go on from what the one before it had left")
            return 1
        before, epochs = epochs, epochs_of(path)
        if epochs < before:
            print(f"{before} epochs were saved, and {epochs} are left")
            return 1
        went_on += epochs > before
    if 2 * went_on < arguments.kills:
        print(f"{went_on} of {arguments.kills} children saved anything before they were killed")
        return 1
    last = 3 + epochs
    whole = folder / "whole" / "{epoch}.npz"
    whole.parent.mkdir()
    expected, found = train(whole, last), train(path, last)
    if found.fingerprint() != expected.fingerprint() or found.history != expected.history:
        print(f"{last} epochs with {arguments.kills} kills have other bits")
        return 1
    left = sorted(each.name for each in folder.iterdir() if each != whole.parent)
    if left != sorted([f"{last - 1}.npz", f"{last}.npz"]):
        print(f"left behind: {left}")
        return 1
    print(
        f"killed {arguments.kills} times in {last} epochs, {went_on} times after a new checkpoint: "
        "the same bits"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
