"""A training whose result is kept, however it ends."""

from collections.abc import Callable
from pathlib import Path

import layers
from layers.command_line.outputs import Report
from layers.timing import timed


def train_and_save(
    model: layers.Sequential, fit: Callable[[], layers.History], path: Path | None, report: Report
) -> layers.History:
    """Train, then save before anything else can fail; also save if training is stopped."""
    untrained = None if path is None else model.fingerprint()
    try:
        with timed() as training:
            history = fit()
        if path is not None:
            model.save(path)
    except (KeyboardInterrupt, layers.NonFiniteLoss):
        if path is not None:
            report.say(_save_learnt(model, path, untrained))
        raise
    epochs = f"{history.epochs} epoch{'s' if history.epochs > 1 else ''}"
    report.say(
        f"Training: {training.seconds:.2f} s for {epochs} ({training.kernels()}), "
        f"last loss {history.last()['loss']:.4f}",
        seconds=training.seconds,
        history=dict(history),
    )
    if path is not None:
        report.say(f"Saved to {path.resolve()}", saved=str(path.resolve()))
    return history


def _save_learnt(model: layers.Sequential, path: Path, untrained: str | None) -> str:
    """Save what was learnt until training stopped; return a message."""
    if model.fingerprint() == untrained:
        return f"Not saved to {path.resolve()}: nothing was learnt yet"
    model.save(path)
    epochs = f"{model.history.epochs} whole epoch{'s' if model.history.epochs != 1 else ''}"
    return f"Saved to {path.resolve()}: what was learnt until training stopped, after {epochs}"
