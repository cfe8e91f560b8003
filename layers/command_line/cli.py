"""The command line: ``python -m layers``, or ``numba-layers``."""

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import layers
from layers import interrupts, streams
from layers.command_line import options

_DESCRIPTION = """\
Dense neural networks trained on the CPU by hand-written Numba kernels. Without
a command: train on UCI's handwritten digits, which come along, and draw the
result.
"""
_EXAMPLES = """\
examples:
  python -m layers
  python -m layers train titanic.csv --target Survived --save titanic.npz
  python -m layers predict titanic.npz test.csv --id PassengerId --out submission.csv
  python -m layers evaluate titanic.npz titanic.csv
  python -m layers export model.npz model.onnx
  python -m layers compare
  python -m layers bench

exit codes:
  0    done
  1    compare: a bound is broken
  2    a wrong input, a file that cannot be read or written, or a loss that is not
       finite; with --save, what train had learnt by then is saved
  130  Ctrl-C; likewise saved. A second Ctrl-C ends at once
  141  the output is a closed pipe

Of train, predict, evaluate, export, compare and info, --json gives one JSON object on
standard output instead of text; errors stay lines on standard error.
"""
_TRAIN_EXAMPLES = """\
DATA is one of
  a table         CSV (commas, semicolons, tabs or |; UTF-8, UTF-16 or cp1252), Excel,
                  Parquet or Feather, one example per row. What is to be predicted
                  is the column called label, class, target, y or species, where
                  exactly one is, or the one given by --target
  an .npz file    with arrays x and y
  IDX images      MNIST's format; labels in the same folder, or see --labels
  a folder        of MNIST's four files; its t10k files are the test part
CSV and IDX may be packed as .gz.

Of a table, each column's part is printed before training, and kept with the
model: numbers are standardised, text of few values is one-hot, missing values
are marked; ids, constants and free text are left out. Text, or at most 20
different whole numbers, are classes to predict; other numbers are a regression.
Of 300 rows and more, a tenth is set apart to tell when training gets no better.

Arrays are taken as they are (bytes of IDX are scaled to 0 ... 1): scale them to
about -1 ... 1. Their labels are whole numbers from 0.

examples:
  python -m layers train titanic.csv --target Survived --drop Ticket --save t.npz
  python -m layers train houses.csv --target price --hidden 64 32 --plot curves.png
  python -m layers train train.npz --test test.npz --epochs 50
  python -m layers train /usr/share/datasets/fashion-mnist --epochs 5
  python -m layers train houses.csv --target price --checkpoint run.npz
  python -m layers train houses.csv --target price --resume run.npz
"""
_PREDICT_EXAMPLES = """\
Of a model of a table: a header, then one line of CSV for each row of DATA, with the
id where --id asks for one, and the class by its name, or a number in the target's
unit. Columns are found by name, in any order. Of a model of arrays: one line for
each row, no header. What was understood is said on standard error.

examples:
  python -m layers predict t.npz test.csv --id PassengerId --out submission.csv
  python -m layers predict t.npz test.csv --proba
"""
_BENCH_EXAMPLES = """\
Sides that are not installed are left out; pip install 'numba-layers[bench]'
installs all. Each side is a separate process; they run in turn. It takes two or
three minutes, with --full ten to fifteen.

cases: small, batch32, batch128, wide (steps), large (a step, with --full),
       epoch32, epoch200, predict
sides: numpy, torch, torch-compile (with --full), jax, jax-scan, sklearn,
       numba-mkl, numba-openblas (one compiled pass, products by a BLAS)

examples:
  python -m layers bench
  python -m layers bench --full --out results
  python -m layers bench --cases small,epoch32 --sides numpy,torch --threads 1
"""
# NotImplementedError is raised by kernels under NUMBA_DISABLE_JIT=1, ImportError where a format
# needs a library.
_USER_ERRORS = (
    *(ValueError, TypeError, OSError, OverflowError, MemoryError),
    *(NotImplementedError, layers.NonFiniteLoss, ImportError),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        By default the process's arguments.

    Returns
    -------
    int
        The exit code: 0; 1 for a broken bound; 2 for a wrong input or a loss that is not finite; as
        in a shell, 130 for Ctrl-C and 141 for a closed pipe.
    """
    with streams.usable(), interrupts.second_ends_at_once(), warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _run(argv)


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest:
        parser.error(options.unknown(rest, arguments.parser))
    try:
        options.check_numbers(arguments)
        code: int = arguments.run(arguments)
        _flush()
    except BrokenPipeError:  # as in `| head`: no error
        _drop_output()
        return 141
    except KeyboardInterrupt:
        print("\nnumba-layers: stopped", file=sys.stderr)
        _drop_output()
        return 130
    except _USER_ERRORS as error:
        print(f"numba-layers: error: {_message(error)}", file=sys.stderr)
        _drop_output()
        return 2
    return code


def _message(error: BaseException) -> str:
    """An error as one line."""
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}"
    return " ".join(text.split()) or type(error).__name__


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as one line, without a source location."""
    print(f"numba-layers: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _flush() -> None:
    """Flush here, so that write errors are not raised at Python's exit."""
    sys.stdout.flush()


def _drop_output() -> None:
    """Redirect unwritable output to nowhere, so that Python's flush at exit succeeds."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


# --- the commands ---------------------------------------------------------------------------------


def _digits(_: argparse.Namespace) -> int:
    from layers.command_line import digits

    return digits.main()


def _on_data(name: str, notes: bool = False) -> Callable[[argparse.Namespace], int]:
    """A command of `train_predict`, and its report."""

    def run(arguments: argparse.Namespace) -> int:
        from layers.command_line import train_predict
        from layers.command_line.outputs import Report

        report = Report(arguments.json, notes)
        getattr(train_predict, name)(arguments, report)
        report.end()
        return 0

    return run


def _compare(arguments: argparse.Namespace) -> int:
    from layers.comparison.compare import compare, report

    rows = compare(arguments.dtype, seed=arguments.seed)
    _print(report(rows), {"rows": [asdict(row) for row in rows]}, arguments.json)
    return 0 if all(row.ok for row in rows) else 1


def _bench(arguments: argparse.Namespace) -> int:
    from layers.bench import command

    command.run(arguments)
    return 0


def _info(arguments: argparse.Namespace) -> int:
    from layers.command_line import info

    if arguments.clear_cache:
        done = info.clear_cache()
        _print(done, {"done": done}, arguments.json)
    else:
        _print(info.report(), {}, arguments.json, info.facts)
    return 0


def _print(
    text: str, facts: dict[str, Any], as_json: bool, more: Callable[[], dict[str, str]] = dict
) -> None:
    """Print text, or the same as JSON."""
    from layers.command_line.outputs import Report

    report = Report(as_json)
    report.say(text, **facts, **more())
    report.end()


# --- the parser -----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m layers",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"numba-layers {layers.__version__}")
    parser.set_defaults(run=_digits, parser=parser, command="layers")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_train(commands)
    _add_predict(commands)
    _add_evaluate(commands)
    _add_export(commands)
    compare = commands.add_parser("compare", help="every kernel compared with its NumPy reference")
    compare.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    compare.add_argument("--seed", type=int, default=0, help="of the inputs (default 0)")
    _add_json(compare)
    compare.set_defaults(run=_compare)
    _add_bench(commands)
    info = commands.add_parser("info", help="versions, CPU, vectors, threads, compile cache")
    info.add_argument("--clear-cache", action="store_true", help="empty the compile cache instead")
    _add_json(info)
    info.set_defaults(run=_info)
    for name, command in commands.choices.items():
        command.set_defaults(parser=command, command=name)
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train on your own table, .npz or IDX file",
        usage="%(prog)s DATA [options]",  # DATA first: --hidden would parse it as a width
        description="Train dense layers with ReLU between them: a classifier, or a regression.",
        epilog=_TRAIN_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.add_argument("data", type=Path, metavar="DATA", help="what to train on, see below")
    _add_data_options(train.add_argument_group("the data"))
    _add_model_options(train.add_argument_group("the network and its training"))
    output = train.add_argument_group("the rest")
    output.add_argument("--save", type=Path, metavar="PATH", help="write the trained model")
    output.add_argument(
        "--checkpoint",
        type=Path,
        metavar="PATH",
        help="write what training needs to go on, after every epoch",
    )
    output.add_argument(
        "--resume",
        type=Path,
        metavar="PATH",
        help="go on from such a file, to the bit, with the same data and options; it is written on "
        "after every epoch, or the one of --checkpoint",
    )
    output.add_argument(
        "--plot", type=Path, metavar="PATH", help="draw loss and accuracy (.png, .svg, .pdf)"
    )
    output.add_argument("--threads", type=int, metavar="N", help="at most; 1 is always serial")
    output.add_argument("--quiet", action="store_true", help="no progress bar")
    _add_json(output)
    train.set_defaults(run=_on_data("train"))


def _add_json(group: Any) -> None:
    group.add_argument("--json", action="store_true", help="one JSON object instead of text")


def _add_data_options(group: Any) -> None:
    group.add_argument(
        "--target",
        "--label-column",
        type=_column,
        metavar="C",
        help="of a table: the column to predict, its name, or its index from 0",
    )
    group.add_argument(
        "--keep", nargs="+", metavar="C", help="of a table: these columns alone, whatever they hold"
    )
    group.add_argument("--drop", nargs="+", metavar="C", help="of a table: columns to leave out")
    group.add_argument(
        "--task",
        choices=("classification", "regression"),
        help="of a table (default: by the values of the target)",
    )
    _add_header_option(group)
    group.add_argument(
        "--labels", type=Path, metavar="FILE", help="of IDX images, where its name is not the usual"
    )
    test = group.add_mutually_exclusive_group()
    test.add_argument("--test", type=Path, metavar="DATA", help="a file to test on")
    test.add_argument(
        "--test-fraction",
        type=float,
        metavar="F",
        help="or this part of the rows, not trained on (default 0.2; 0 for no test)",
    )
    group.add_argument("--test-labels", type=Path, metavar="FILE", help="as --labels, for --test")


def _add_header_option(group: Any) -> None:
    group.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="of a CSV: its first line has names, or is an example (default: what its fields say)",
    )


def _add_model_options(group: Any) -> None:
    group.add_argument(
        "--hidden",
        type=int,
        nargs="*",
        default=[128],
        metavar="N",
        help="widths of the hidden layers (default 128; none for no hidden layer)",
    )
    group.add_argument(
        "--epochs", type=int, metavar="N", help="default: at most 100 on tables, 10 on arrays"
    )
    group.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help="on tables: end after N epochs that were no better (default 10)",
    )
    group.add_argument(
        "--validation-fraction",
        type=float,
        metavar="F",
        help="on tables: this part of the rows tells which epochs are better (default 0.1, and "
        "none of less than 300 rows)",
    )
    group.add_argument("--batch-size", type=int, default=32, metavar="N", help="default 32")
    group.add_argument(
        "--learning-rate", type=float, default=0.001, metavar="R", help="default 0.001"
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="default 0")
    group.add_argument("--dtype", choices=("float32", "float64"), default="float32")


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="apply a saved model to a file",
        epilog=_PREDICT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("model", type=Path, metavar="MODEL", help="what train --save wrote")
    predict.add_argument("data", type=Path, metavar="DATA", help="a table, .npz or IDX file")
    predict.add_argument(
        "--id", metavar="C", help="of a table: a column to write before the answers"
    )
    predict.add_argument(
        "--label-column",
        type=_column,
        metavar="C",
        help="of a CSV for a model of arrays: its labels, left out",
    )
    _add_header_option(predict)
    predict.add_argument("--proba", action="store_true", help="probabilities instead of classes")
    predict.add_argument("--out", type=Path, metavar="FILE", help="by default standard output")
    _add_json(predict)
    predict.set_defaults(run=_on_data("predict", notes=True))


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="a saved model's predictions beside the truth")
    evaluate.add_argument("model", type=Path, metavar="MODEL", help="what train --save wrote")
    evaluate.add_argument("data", type=Path, metavar="DATA", help="a table, .npz or IDX file")
    _add_header_option(evaluate)
    evaluate.add_argument("--labels", type=Path, metavar="FILE", help="of IDX images")
    _add_json(evaluate)
    evaluate.set_defaults(run=_on_data("evaluate"))


def _add_export(commands: Any) -> None:
    export = commands.add_parser(
        "export",
        help="a saved model for other programs",
        description="Write a model as ONNX, with class names and standardisation inside where its "
        "columns are numbers, or its parameters as safetensors.",
    )
    export.add_argument("model", type=Path, metavar="MODEL", help="what train --save wrote")
    export.add_argument("out", type=Path, metavar="OUT", help="a .onnx or a .safetensors file")
    export.add_argument(
        "--without-columns",
        action="store_true",
        help="the network by itself, for inputs that Columns.transform gives",
    )
    _add_json(export)
    export.set_defaults(run=_on_data("export"))


def _add_bench(commands: Any) -> None:
    bench = commands.add_parser(
        "bench",
        help="training speed compared with NumPy, PyTorch, JAX and scikit-learn",
        description="Measure how fast this package and others train on this machine.",
        epilog=_BENCH_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument(
        "--full", action="store_true", help="all cases and sides, longer epochs, more rounds"
    )
    bench.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write benchmarks.md, .json and .png into this folder (default: print only)",
    )
    bench.add_argument(
        "--threads", metavar="N,N", help="numbers of threads (default: 1 and all cores)"
    )
    bench.add_argument("--cases", metavar="A,B", help="only these, see below")
    bench.add_argument("--sides", metavar="A,B", help="only these and numba-layers, see below")
    bench.add_argument(
        "--rounds", type=int, metavar="N", help="as many (default: up to 9, with --full 15)"
    )
    bench.add_argument("--quiet", action="store_true", help="no progress bar")
    bench.set_defaults(run=_bench)


def _column(text: str) -> int | str:
    """A column's index if the text is an integer, else its name."""
    with contextlib.suppress(ValueError):
        return int(text)
    return text
