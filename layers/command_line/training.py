"""A training whose result is kept, however it ends, and that may be gone on with."""

import argparse
from collections.abc import Callable
from pathlib import Path

import layers
from kernels.runtime import checks
from layers.command_line.outputs import Report
from layers.timing import timed


def begun(
    model: layers.Sequential, arguments: argparse.Namespace, report: Report, usual: int
) -> tuple[layers.Sequential, int]:
    """The model, untrained, or as ``--resume`` has it; and how many epochs there are to be in all.

    Without ``--epochs`` as many as the checkpoint was to have, or as is usual.

    Raises
    ------
    ValueError
        The checkpoint is of another model than data and options make, or of more epochs.
    """
    path = arguments.resume
    if path is None:
        return model, usual if arguments.epochs is None else arguments.epochs
    found = layers.load(path)
    for what, there, here in (
        ("the network", repr(found), repr(model)),
        ("the seed", found._key, model._key),
        ("the columns", *(each.columns and each.columns.config() for each in (found, model))),
    ):
        if there != here:
            seed = f" (--seed is {arguments.seed})" if what == "the seed" else ""
            raise ValueError(
                f"--resume {path}: {what} of the checkpoint differs from that of the data and "
                f"options{seed or _differences(found, model)}, expected those it was begun with"
            )
    done = found.history.epochs
    if found._stopped is None:
        raise ValueError(f"--resume {path} is no checkpoint, expected what --checkpoint wrote")
    planned = arguments.epochs
    if planned is None:
        planned = found._stopped.given.get("epochs", usual)
        planned = checks.integer(f"--resume {path}", "epochs", planned, 1)
    if done > planned:
        raise ValueError(
            f"--resume {path}: it has {done} epochs, expected at most the {planned} of --epochs"
        )
    report.say(f"Going on after {done} of {planned} epochs", resumed=done)
    return found, planned


def _differences(found: layers.Sequential, model: layers.Sequential) -> str:
    """Which options differ from those of a checkpoint; empty where it is the data."""
    there, here = map(_options, (found, model))
    told = [f"{name} is {here[name]}, there {there[name]}" for name in here]
    told = [text for text, name in zip(told, here, strict=True) if here[name] != there[name]]
    return f" ({'; '.join(told)})" if told else ""


def _options(model: layers.Sequential) -> dict[str, str]:
    """What the options made of a model."""
    widths = [layer.n_out for layer in model.layers[:-1] if isinstance(layer, layers.Dense)]
    return {
        "--hidden": " ".join(map(str, widths)) or "none",
        "--dtype": str(model.dtype),
        "--learning-rate": str(getattr(model.optimizer, "learning_rate", None)),
    }


def checkpoints(arguments: argparse.Namespace) -> list[layers.Checkpoint]:
    """What saves after every epoch, where that is asked for."""
    path = arguments.checkpoint or arguments.resume
    return [] if path is None else [layers.Checkpoint(path, best=False)]


def train_and_save(
    model: layers.Sequential, fit: Callable[[], layers.History], path: Path | None, report: Report
) -> layers.History:
    """Train, then save before anything else can fail; also save if training is stopped.

    Returns the history of all epochs, those before a checkpoint too.
    """
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
    epochs = f"{history.epochs} epoch{'' if history.epochs == 1 else 's'}"
    report.say(
        f"Training: {training.seconds:.2f} s for {epochs} ({training.kernels()}), "
        f"last loss {model.history.last()['loss']:.4f}",
        seconds=training.seconds,
        history=dict(model.history),
        fingerprint=model.fingerprint(),
    )
    if path is not None:
        report.say(f"Saved to {path.resolve()}", saved=str(path.resolve()))
    return model.history


def _save_learnt(model: layers.Sequential, path: Path, untrained: str | None) -> str:
    """Save what was learnt until training stopped; return a message."""
    if model.fingerprint() == untrained:
        return f"Not saved to {path.resolve()}: nothing was learnt yet"
    model.save(path)
    epochs = f"{model.history.epochs} whole epoch{'s' if model.history.epochs != 1 else ''}"
    return f"Saved to {path.resolve()}: what was learnt until training stopped, after {epochs}"
