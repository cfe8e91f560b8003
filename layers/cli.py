"""The command line: ``python -m layers``, or ``numba-layers``."""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import kernels
import layers
from layers import data
from layers.base import Array
from layers.tables import confusion_table

_EXAMPLES = """\
examples:
  python -m layers                                    train on the digits that come along
  python -m layers train iris.csv --label-column species --hidden 16
  python -m layers train /usr/share/datasets/fashion-mnist --epochs 5 --save fashion.npz
  python -m layers predict fashion.npz t10k-images-idx3-ubyte.gz --out classes.csv
  python -m layers compare                            every kernel beside its NumPy reference
"""
_MOST_CLASSES = 100_000
_CONFUSION_CLASSES = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0, 1 for a broken bound, 2 for a wrong input, 130 for Ctrl-C.

    Parameters
    ----------
    argv : sequence of str, optional
        By default what the process was started with.
    """
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone, as in `| head`: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\nnumba-layers: stopped", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ArithmeticError, MemoryError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"numba-layers: error: {message}", file=sys.stderr)
        return 2
    return code


# --- the commands ---------------------------------------------------------------------------------


def _digits(_: argparse.Namespace) -> int:
    from layers import digits

    return digits.main()


def _train(arguments: argparse.Namespace) -> int:
    if arguments.threads is not None:
        kernels.set_num_threads(arguments.threads)
    x, y, x_test, y_test = _parts(arguments)
    n_classes = _class_count(np.concatenate([y, y_test]))
    print(
        f"{len(x)} rows to train on, {len(x_test)} to test on, {x.shape[1]} features, "
        f"{n_classes} classes"
    )
    model = _new_model(arguments, x.shape[1], n_classes)
    print(f"\n{model.summary()}\n")
    began = time.perf_counter()
    validation = (x_test, y_test) if len(x_test) else None
    history = model.fit(
        x,
        y,
        arguments.epochs,
        arguments.batch_size,
        validation_data=validation,
        progress=not arguments.quiet,
    )
    print(f"{arguments.epochs} epochs in {time.perf_counter() - began:.2f} s")
    if validation is not None:
        print(f"Test accuracy: {model.evaluate(x_test, y_test)['accuracy']:.2%}")
        if n_classes <= _CONFUSION_CLASSES:
            table = confusion_table(y_test, model.predict(x_test), n_classes)
            print(f"\nRows: the label; columns: what was predicted\n{table}")
    if arguments.plot is not None:
        _plot(history, arguments.plot)
    if arguments.save is not None:
        model.save(arguments.save)
        print(f"Saved to {arguments.save.resolve()}")
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    model = layers.load(arguments.model)
    x = _inputs(arguments.data, arguments.label_column, model.n_in)
    if arguments.proba:
        lines = (",".join(f"{value:.9g}" for value in row) for row in model.predict_proba(x))
    else:
        lines = (str(value) for value in model.predict(x))
    text = "".join(f"{line}\n" for line in lines)
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        arguments.out.write_text(text, encoding="ascii")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from layers.comparison import compare, report

    rows = compare(arguments.dtype, seed=arguments.seed)
    print(report(rows))
    return 0 if all(row.ok for row in rows) else 1


def _info(arguments: argparse.Namespace) -> int:
    from kernels import cache
    from layers import info

    if arguments.clear_cache:
        print(f"Removed {cache.clear() / 1e6:.1f} MB of compiled kernels")
    else:
        print(info.report())
    return 0


# --- their parts ----------------------------------------------------------------------------------


def _parts(arguments: argparse.Namespace) -> tuple[Array, Array, Array, Array]:
    """Training and test data: two files, the two parts of an IDX set, or one file split."""
    train, test = arguments.data, arguments.test
    if train.is_dir():
        train, test = _idx_folder(train)
    x, y = _read(train, arguments)
    if test is not None:
        return x, y, *_read(test, arguments, is_test=True)
    if arguments.test_fraction == 0:
        return x, y, x[:0], y[:0]
    return data.split(x, y, arguments.test_fraction, arguments.seed)


def _read(path: Path, arguments: argparse.Namespace, is_test: bool = False) -> tuple[Array, Array]:
    options: dict[str, Any] = {}
    if arguments.label_column is not None:
        options["label_column"] = arguments.label_column
    if arguments.labels is not None and not is_test:
        options["labels"] = arguments.labels
    return data.read(path, **options)


def _idx_folder(folder: Path) -> tuple[Path, Path | None]:
    """The images of an MNIST-like folder: training and, if there, test."""
    found = {
        part: next((path for path in sorted(folder.glob(f"{part}-images*idx3*"))), None)
        for part in ("train", "t10k")
    }
    if found["train"] is None:
        raise ValueError(f"{folder} has no file train-images-idx3-ubyte or .gz, as MNIST names it")
    return found["train"], found["t10k"]


def _inputs(path: Path, label_column: int | str | None, n_in: int) -> Array:
    """Inputs for prediction; a label's column is dropped where one is named."""
    if label_column is not None:
        return data.read_csv(path, label_column)[0]
    x = data.read_inputs(path)
    if x.shape[1] != n_in:
        raise ValueError(
            f"{path} has {x.shape[1]} columns, expected {n_in}, the width of the model"
            + (" (--label-column leaves one out)" if x.shape[1] == n_in + 1 else "")
        )
    return x


def _class_count(labels: Array) -> int:
    """One more than the largest label."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= _MOST_CLASSES:
        raise ValueError(
            f"labels run from {low} to {high}, expected class indices from 0 up to "
            f"{_MOST_CLASSES - 1} at most"
        )
    return max(2, high + 1)


def _new_model(arguments: argparse.Namespace, n_in: int, n_classes: int) -> layers.Sequential:
    stack: list[layers.Layer] = []
    for width in arguments.hidden:
        stack += [layers.Dense(n_in, width), layers.ReLU()]
        n_in = width
    return layers.Sequential(
        [*stack, layers.Dense(n_in, n_classes)],
        loss=layers.SoftmaxCrossEntropy(),
        optimizer=layers.SGD(learning_rate=arguments.learning_rate),
        seed=arguments.seed,
        dtype=arguments.dtype,
    )


def _plot(history: layers.History, path: Path) -> None:
    try:
        from layers import plots
    except ImportError:
        print("No picture, since matplotlib is not installed: pip install 'numba-layers[plot]'")
        return
    plots.curves(history, path)
    print(f"Loss and accuracy by epoch: {path.resolve()}")


# --- the parser -----------------------------------------------------------------------------------


def _column(text: str) -> int | str:
    """A column's index where the text is a whole number, else its name."""
    with contextlib.suppress(ValueError):
        return int(text)
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m layers",
        description="Dense neural networks trained by hand-written Numba kernels. Without a "
        "command: train on UCI's handwritten digits, which come along.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"numba-layers {layers.__version__}")
    parser.set_defaults(run=_digits)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_train(commands)
    _add_predict(commands)
    compare = commands.add_parser("compare", help="every kernel beside its NumPy reference")
    compare.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    compare.add_argument("--seed", type=int, default=0, help="of the inputs (default 0)")
    compare.set_defaults(run=_compare)
    info = commands.add_parser("info", help="versions, CPU, vectors, threads, compile cache")
    info.add_argument("--clear-cache", action="store_true", help="empty the compile cache")
    info.set_defaults(run=_info)
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train a classifier on your own CSV, .npz or IDX file",
        description="Train a classifier: dense layers with ReLU between them, softmax and "
        "cross-entropy, SGD.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="a CSV or .npz file, IDX images (MNIST's format), or a folder of MNIST's four files; "
        ".gz too. A CSV's labels are in its last column, an .npz has x and y",
    )
    train.add_argument("--labels", type=Path, help="IDX labels, where they have an unusual name")
    train.add_argument(
        "--label-column", type=_column, metavar="C", help="of a CSV: an index from 0, or a name"
    )
    train.add_argument("--test", type=Path, metavar="DATA", help="a file to test on")
    train.add_argument(
        "--test-fraction", type=float, default=0.2, metavar="F", help="else this part (default 0.2)"
    )
    train.add_argument(
        "--hidden", type=int, nargs="*", default=[128], metavar="N", help="widths (default 128)"
    )
    train.add_argument("--epochs", type=int, default=10, metavar="N", help="default 10")
    train.add_argument("--batch-size", type=int, default=32, metavar="N", help="default 32")
    train.add_argument("--learning-rate", type=float, default=0.1, metavar="R", help="default 0.1")
    train.add_argument("--seed", type=int, default=0, metavar="N", help="default 0")
    train.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    train.add_argument("--threads", type=int, metavar="N", help="at most; 1 is always serial")
    train.add_argument("--save", type=Path, metavar="PATH", help="write the trained model")
    train.add_argument("--plot", type=Path, metavar="PATH", help="write loss and accuracy as PNG")
    train.add_argument("--quiet", action="store_true", help="no progress bar")
    train.set_defaults(run=_train)


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser("predict", help="apply a saved model to a file")
    predict.add_argument("model", type=Path, metavar="MODEL", help="what train --save wrote")
    predict.add_argument("data", type=Path, metavar="DATA", help="a CSV, .npz or IDX file")
    predict.add_argument(
        "--label-column", type=_column, metavar="C", help="of a CSV: a column to leave out"
    )
    predict.add_argument("--proba", action="store_true", help="probabilities instead of classes")
    predict.add_argument("--out", type=Path, metavar="FILE", help="by default standard output")
    predict.set_defaults(run=_predict)
