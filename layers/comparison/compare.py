"""Every kernel, and a training step, compared with its NumPy twin: error, bound and time."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels import reference
from kernels.runtime import checks
from kernels.runtime.jit import PUBLIC
from layers.base import Array, DType
from layers.command_line.tables import aligned
from layers.comparison.bounds import CASES, arguments, bounds, results
from layers.comparison.bounds.case import Arguments
from layers.comparison.step_bounds import step_bounds
from layers.settings import flag
from layers.timing import has_threadpoolctl, kernel_threads, one_blas_thread

_TIMED_ROUNDS = 11
_TIMED_SECONDS = 1e-3  # of one side in one round
_STEP = "training step"


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes
    ----------
    name, sizes : str
        What was compared, and its sizes.
    error : float
        The absolute difference of the element with the largest share of its bound; Inf where only
        one side has a NaN.
    bound : float
        The bound of that element.
    share : float
        error / bound; 0 where both are 0.
    ratio : float or None
        NumPy's time over ours, the median of pairs of timings; None if not timed.
    ok : bool
        Whether every element is within its bound.
    """

    name: str
    sizes: str
    error: float
    bound: float
    share: float
    ratio: float | None
    ok: bool


def compare(dtype: DType = "float32", seed: int = 0, timed: bool = True) -> list[Row]:
    """Run every public kernel and a training step on both backends.

    Parameters
    ----------
    dtype : {"float32", "float64"}
    seed : int
        Of the inputs, at least 0.
    timed : bool
        Whether to time both sides, on one thread each, which takes a few seconds.

    Returns
    -------
    list of Row
        In the order of the kernels' names, the training step last.
    """
    checked = checks.real_dtype("compare", dtype)
    seed = checks.integer("compare", "seed", seed, 0)
    timed = flag("compare", "timed", timed)
    with one_blas_thread(), kernel_threads(1):
        rows = [_kernel_row(name, checked, seed, timed) for name in sorted(CASES)]
        return [*rows, _step_row(checked, seed, timed)]


def report(rows: list[Row]) -> str:
    """An aligned table of the rows, and whether all bounds hold.

    Parameters
    ----------
    rows : list of Row

    Returns
    -------
    str
    """
    table = [["kernel", "sizes", "error", "bound", "error/bound", "NumPy time / ours"]]
    for row in rows:
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        numbers = [f"{row.error:.1e}", f"{row.bound:.1e}", f"{row.share:.3f}", ratio]
        table.append([row.name, row.sizes, *numbers])
    lines = [aligned(table, left=2), ""]
    if any(row.ratio is not None for row in rows):
        lines.append(f"Times: one thread for the kernels, {_blas_threads()}.")
    broken = [row.name for row in rows if not row.ok]
    if broken:
        are = "is" if len(broken) == 1 else "are"
        lines.append(f"{len(broken)} of {len(rows)} bounds {are} broken: {', '.join(broken)}.")
    else:
        lines.append(f"All {len(rows)} bounds hold: no error is above what rounding explains.")
    return "\n".join(lines)


# --- the rows -------------------------------------------------------------------------------------


def _kernel_row(name: str, dtype: np.dtype[Any], seed: int, timed: bool) -> Row:
    sizes = CASES[name].sizes
    given = arguments(name, sizes, dtype, np.random.default_rng(seed))
    ours, numpys = PUBLIC[name].bare, getattr(reference, name)
    pairs = zip(
        results(name, ours, given), results(name, numpys, given), bounds(name, given), strict=True
    )
    ratio = _ratio(*(_on_copies(function, given) for function in (ours, numpys))) if timed else None
    text = ", ".join(f"{size} {number}" for size, number in sizes.items())
    return _row(name, text, list(pairs), ratio)


def _on_copies(function: Callable[..., Any], given: Arguments) -> Callable[[], Any]:
    values = [np.copy(v) if isinstance(v, np.ndarray) else v for v in given.values()]
    return lambda: function(*values)


def _row(
    name: str, sizes: str, triples: list[tuple[Array, Array, Array]], ratio: float | None
) -> Row:
    """The row of triples (ours, NumPy's, bound)."""
    errors = np.concatenate([_errors(one, other) for one, other, _ in triples])
    limits = np.concatenate(
        [np.broadcast_to(limit, one.shape).ravel() for one, _, limit in triples]
    )
    with np.errstate(all="ignore"):
        shares = np.where(errors == 0, 0.0, errors / limits)
    worst = int(shares.argmax())
    share = float(shares[worst])
    return Row(name, sizes, float(errors[worst]), float(limits[worst]), share, ratio, share <= 1)


def _errors(one: Array, other: Array) -> Array:
    """Absolute differences in float64: 0 for equal numbers or two NaN, Inf for a single NaN."""
    with np.errstate(invalid="ignore"):
        errors = abs(one.astype(np.float64) - other.astype(np.float64))
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    return np.asarray(np.where(same, 0.0, np.where(np.isnan(errors), np.inf, errors))).ravel()


def _ratio(ours: Callable[[], Any], numpys: Callable[[], Any]) -> float:
    """NumPy's time over ours: the median of pairs, so that other load slows both alike."""
    calls = []
    for call in (ours, numpys):
        _seconds(call, 1)  # warm
        calls.append(max(1, int(_TIMED_SECONDS / _seconds(call, 1))))
    ratios = []
    for _ in range(_TIMED_ROUNDS):
        own = _seconds(ours, calls[0]) / calls[0]
        ratios.append(_seconds(numpys, calls[1]) / calls[1] / own)
    return statistics.median(ratios)


def _seconds(call: Callable[[], Any], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return max(time.perf_counter() - began, 1e-9)


def _blas_threads() -> str:
    if has_threadpoolctl():
        return "one for BLAS"
    return "BLAS's own number for NumPy (threadpoolctl, which limits it, is not installed)"


# --- the training step ----------------------------------------------------------------------------

_BATCH, _WIDTHS, _LEARNING_RATE = 32, (64, 32, 10), 0.1


def _step_row(dtype: np.dtype[Any], seed: int, timed: bool) -> Row:
    from layers.backends import backend

    rng = np.random.default_rng(seed)
    x = rng.standard_normal((_BATCH, _WIDTHS[0])).astype(dtype)
    labels = rng.integers(0, _WIDTHS[-1], _BATCH)
    ours, numpys = _step_model(dtype), _step_model(dtype)
    limits = step_bounds(ours.parameters(), x, labels, _LEARNING_RATE)

    def run_numpy() -> None:
        with backend("numpy"):
            numpys.train_step(x, labels)

    ours.train_step(x, labels)
    run_numpy()
    after = [[array.copy() for array in model.parameters().values()] for model in (ours, numpys)]
    ratio = _ratio(lambda: ours.train_step(x, labels), run_numpy) if timed else None
    sizes = f"{' to '.join(map(str, _WIDTHS))}, batch {_BATCH}"
    return _row(_STEP, sizes, list(zip(*after, limits, strict=True)), ratio)


def _step_model(dtype: np.dtype[Any]) -> Any:
    from layers.activations import ReLU
    from layers.dense import Dense
    from layers.losses import SoftmaxCrossEntropy
    from layers.optimizers import SGD
    from layers.sequential import Sequential

    n_in, hidden, n_out = _WIDTHS
    return Sequential(
        [Dense(n_in, hidden), ReLU(), Dense(hidden, n_out)],
        loss=SoftmaxCrossEntropy(),
        optimizer=SGD(learning_rate=_LEARNING_RATE),
        seed=0,
        dtype=dtype,
    )
