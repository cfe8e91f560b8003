"""Every kernel, and a whole training step, beside its NumPy twin: error, bound and time.

A bound is derived, never guessed, and belongs to an element: two correct computations of the same
thing can be no further apart. In the comments u is half the distance from 1 to the next number, the
greatest relative error of one rounding, and gamma(k) = k u / (1 - k u) that of k roundings after
one another (N. J. Higham, "Accuracy and Stability of Numerical Algorithms", lemma 3.1). Relative
errors that are multiplied, divided or averaged over positive terms stay within gamma of their sum.

Bounds hold for any shape and both dtypes, where the inputs are finite and nothing overflows.
"""

import contextlib
import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from kernels import checks, reference, threads
from kernels.jit import PUBLIC
from layers.base import Array
from layers.tables import aligned

Sizes = Mapping[str, int]
Arguments = Mapping[str, Any]

_TIMED_ROUNDS = 11
_TIMED_SECONDS = 1e-3  # of one side in one round
_STEP = "training step"


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes
    ----------
    name, sizes : str
        What was compared, and how large it was.
    error : float
        The greatest absolute difference; Inf where only one side has a NaN.
    bound : float
        The bound at the place where the error takes the greatest share of it.
    share : float
        That share, error / bound; 0 where both are 0.
    ratio : float or None
        NumPy's time over ours, the median of pairs timed one after the other; None if not timed.
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


@dataclass(frozen=True)
class Case:
    """How one kernel is compared.

    Attributes
    ----------
    bounds : callable
        Takes what the kernel takes, before the call; one array of bounds for each result, the
        outputs first, then what is returned.
    sizes : dict
        The sizes in the kernel's contract, for `compare`. A contract with arrays of any shape has
        ``rows`` and ``columns``; a flag is a size of 0 or 1.
    draws : dict
        By argument: how its values are drawn where normal numbers will not do, from a generator
        and a shape.
    """

    bounds: Callable[..., tuple[Any, ...]]
    sizes: Sizes
    draws: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = field(
        default_factory=dict
    )


def compare(dtype: str = "float32", seed: int = 0, timed: bool = True) -> list[Row]:
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
    with _one_thread():
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


# --- inputs, results, bounds: for `compare` and for the tests -------------------------------------


def arguments(name: str, sizes: Sizes, dtype: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Draw what a kernel takes, by argument, as its contract says; outputs are drawn as well."""
    draws = {**_DRAWS, **CASES[name].draws}
    drawn: dict[str, Any] = {}
    for argument in PUBLIC[name].contract.arguments:
        if argument.kind in ("labels", "indices"):
            below = sizes.get(argument.below, 1)
            drawn[argument.name] = rng.integers(0, below, sizes[str(argument.sizes[0])])
        elif argument.kind in ("matrix", "any_shape"):
            named = argument.sizes or ("rows", "columns")
            shape = tuple(size if isinstance(size, int) else sizes[size] for size in named)
            if sizes.get(argument.swap):
                shape = shape[::-1]
            drawn[argument.name] = draws.get(argument.name, _normal)(rng, shape).astype(dtype)
        elif argument.kind == "flag":
            drawn[argument.name] = bool(sizes.get(argument.name))
        else:
            drawn[argument.name] = _NUMBERS[argument.name]
    return drawn


def results(name: str, function: Callable[..., Any], given: Arguments) -> list[Array]:
    """What a function with a kernel's arguments writes into copies of them, and returns."""
    taken = {key: np.copy(v) if isinstance(v, np.ndarray) else v for key, v in given.items()}
    returned = function(*taken.values())
    described = PUBLIC[name].contract.arguments
    written = [taken[argument.name] for argument in described if argument.is_output]
    return written if returned is None else [*written, np.asarray(returned)]


def bounds(name: str, given: Arguments) -> list[Array]:
    """How far apart a kernel and its twin may be, element by element, for each result."""
    with np.errstate(all="ignore"):
        return [_settled(bound, given) for bound in CASES[name].bounds(*given.values())]


def _settled(bound: Any, given: Arguments) -> Array:
    """A bound, larger by what its own computation in float64 may have rounded away."""
    longest = max((max(v.shape) for v in given.values() if np.ndim(v) and v.size), default=1)
    # A bound has no more roundings behind it, an exp's and a log's among them, than two sums along
    # the longest axis and 100.
    return np.asarray(bound / (1 - _gamma(2 * longest + 100, np.float64)), np.float64)


# --- what is drawn --------------------------------------------------------------------------------


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def _wide(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return 5 * rng.standard_normal(shape)


def _positive(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(np.exp(_wide(rng, shape)))


def _probabilities(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    positive = _positive(rng, shape)
    return np.asarray(positive / positive.sum(axis=-1, keepdims=True))


def _whole(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Few different numbers: equals in a row of scores, zeros for ReLU."""
    return rng.integers(-4, 5, shape)


_DRAWS: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "probabilities": _probabilities,
    "losses": _positive,
    "scores": _whole,
    "z": _wide,
}
_NUMBERS = {
    "key": np.uint64(0x0123456789ABCDEF),
    "stream": np.uint64(5),
    "low": -0.3,
    "high": 0.7,
    "learning_rate": 0.1,
}

# --- bounds: one function for each kernel, with the kernel's arguments ----------------------------

# Our exp and log err by less than 1 ulp (tests/kernels/test_elementary.py), and an ulp is 2 u at
# most of any normal number. NumPy's own tests (umath-validation-set-exp.csv and -log.csv) allow it
# 4 ulp in float32 and 1 in float64 from the rounded value, which itself is half an ulp away.
_OURS = 2
_NUMPYS = {np.dtype(np.float32): 9, np.dtype(np.float64): 3}


def _gamma(roundings: Any, dtype: Any) -> Any:
    unit = roundings * float(np.finfo(dtype).eps) / 2
    return unit / (1 - unit)


def _tiny(dtype: Any) -> float:
    """The smallest number above 0: twice what a rounding errs by below the normal numbers."""
    return float(np.finfo(dtype).smallest_subnormal)


def _size(array: Array) -> Array:
    return abs(array.astype(np.float64))


_matmul_in_numpy = reference.matmul


def _times(a: Array, b: Array) -> Array:
    """The product in float64."""
    out = np.empty((a.shape[0], b.shape[1]))
    _matmul_in_numpy(a.astype(np.float64), b.astype(np.float64), out)
    return out


def _product(a: Array, b: Array, added: Array | None = None) -> Array:
    """Of a . b of k terms, in any order, with or without fused multiply-adds.

    Each term goes through at most k roundings, its product's and those of k - 1 sums, so that each
    side is within gamma(k) |A| . |B| of the exact value, and the two are within twice that. Ours
    has 4,096 + k / 4,096 of them where k > 4,096: less. What is added in the end is one more.
    """
    k = a.shape[1]
    size = _times(_size(a), _size(b))
    underflow = 2 * k * _tiny(a.dtype)
    if added is None:
        return np.asarray(2 * _gamma(k, a.dtype) * size + underflow)
    return np.asarray(2 * _gamma(k + 1, a.dtype) * (size + _size(added)) + underflow)


def _matmul(
    a: Array,
    b: Array,
    out: Array,
    transpose_a: bool = False,
    transpose_b: bool = False,
    accumulate: bool = False,
) -> tuple[Array]:
    left, right = a.T if transpose_a else a, b.T if transpose_b else b
    return (_product(left, right, out if accumulate else None),)


def _dense_forward(x: Array, weights: Array, biases: Array, out: Array) -> tuple[Array]:
    return (_product(x, weights, biases),)


def _dense_backward_weights(x: Array, dz: Array, out: Array) -> tuple[Array]:
    return (_product(x.T, dz),)


def _dense_backward_inputs(dz: Array, weights: Array, out: Array) -> tuple[Array]:
    return (_product(dz, weights.T),)


def _column_sum(dz: Array, out: Array) -> tuple[Array]:
    # n terms, n - 1 sums, in whatever order; a sum below the normal numbers is exact.
    size = _size(dz).sum(axis=0, keepdims=True)
    return (np.asarray(2 * _gamma(len(dz) - 1, dz.dtype) * size),)


def _exact(*given: Any) -> tuple[float]:
    """Nothing but comparing, copying and whole numbers, or the same roundings on both sides."""
    return (0.0,)


def _sgd_update(weights: Array, dweights: Array, learning_rate: float) -> tuple[Array]:
    # Ours is one rounding, of the result; NumPy's is two, of the product and of the result.
    u = _gamma(1, weights.dtype)
    product = float(weights.dtype.type(learning_rate)) * dweights.astype(np.float64)
    result = abs(weights.astype(np.float64) - product)
    size = abs(product)
    # NumPy's result is rounded u * size away from the exact one; and in float64 so is this one.
    return (u * size + 2 * u * (result + 2 * u * size) + _tiny(weights.dtype),)


def _exp(x: Array, out: Array) -> tuple[Array]:
    share = _gamma(_OURS, x.dtype) + _gamma(_NUMPYS[x.dtype], x.dtype)
    ulps = _OURS + _NUMPYS[x.dtype]  # below the normal numbers, where an ulp is _tiny
    return (np.exp(x.astype(np.float64)) * share + ulps * _tiny(x.dtype),)


def _log(x: Array, out: Array) -> tuple[Array]:
    share = _gamma(_OURS, x.dtype) + _gamma(_NUMPYS[x.dtype], x.dtype)
    return (abs(np.log(x.astype(np.float64))) * share,)


def _softmax_roundings(n: int, dtype: np.dtype[Any]) -> tuple[int, int]:
    """Units u of ours and NumPy's relative error: exp above and below, n - 1 sums, the division.

    z - max z is the same number on both sides. The exp are positive, so their sum is as good as
    the worst of them times gamma(n - 1).
    """
    return 2 * _OURS + n, 2 * _NUMPYS[dtype] + n


def _softmax_forward(z: Array, out: Array) -> tuple[Array]:
    ours, numpys = _softmax_roundings(z.shape[1], z.dtype)
    e = np.exp((z - z.max(axis=1, keepdims=True)).astype(np.float64))
    p = e / e.sum(axis=1, keepdims=True)
    share = _gamma(ours, z.dtype) + _gamma(numpys, z.dtype)
    # Below the normal numbers an exp errs by some _tiny, the sum by n times that, and it is >= 1.
    ulps = (_OURS + _NUMPYS[z.dtype]) * (z.shape[1] + 1) + 2
    return (np.asarray(p * share + ulps * _tiny(z.dtype)),)


def _softmax_backward(probabilities: Array, dy: Array, out: Array) -> tuple[Array]:
    # mean = sum p dy is a product of n terms; then a difference and a product, two roundings.
    n, dtype = dy.shape[1], dy.dtype
    p, dy64 = _size(probabilities), dy.astype(np.float64)
    signed = probabilities.astype(np.float64) * dy64
    off = _gamma(n, dtype) * abs(signed).sum(axis=1, keepdims=True) + n * _tiny(dtype)
    difference = abs(dy64 - signed.sum(axis=1, keepdims=True)) + 2 * off
    side = p * (off + _gamma(2, dtype) * difference) + _tiny(dtype)
    return (np.asarray(2 * side),)


def _target_rows(labels: Array, like: Array) -> Array:
    """Targets as rows in float64, from class indices or rows."""
    if labels.ndim == 2:
        return labels.astype(np.float64)
    return np.asarray(labels[:, None] == np.arange(like.shape[1])).astype(np.float64)


def _cross_entropy_rows(probabilities: Array, labels: Array, out: Any = None) -> tuple[Array]:
    # A term is a log and a product; of the sum's terms only those with a target count: 0 adds
    # nothing, not even a rounding.
    dtype = probabilities.dtype
    size = _cross_entropy_size(probabilities, labels)
    terms = np.count_nonzero(labels, axis=1, keepdims=True) if labels.ndim == 2 else 1
    share = _gamma(_OURS + terms, dtype) + _gamma(_NUMPYS[dtype] + terms, dtype)
    return (np.asarray(size * share + 2 * terms * _tiny(dtype)),)


def _cross_entropy_size(probabilities: Array, labels: Array) -> Array:
    """Sum of t |log p|, (batch, 1), in float64."""
    t = _target_rows(labels, probabilities)
    # Both sides floor p at the smallest normal number.
    p = np.maximum(probabilities, np.finfo(probabilities.dtype).tiny).astype(np.float64)
    return np.asarray(np.where(t == 0, 0, t * abs(np.log(p))).sum(axis=1, keepdims=True))


def _cross_entropy(probabilities: Array, labels: Array) -> tuple[Array]:
    # The mean of the rows' bounds, and then that of `mean_loss` on rows that are as large.
    (rows,) = _cross_entropy_rows(probabilities, labels)
    (mean,) = _mean_loss(_cross_entropy_size(probabilities, labels) + rows)
    return (np.asarray(rows.mean() + mean),)


def _mean_loss(losses: Array) -> tuple[Array]:
    # In float64 whatever the dtype: batch - 1 sums and a division on each side.
    return (np.asarray(2 * _gamma(len(losses), np.float64) * _size(losses).mean()),)


def _softmax_cross_entropy(
    z: Array, labels: Array, out: Array, out_losses: Array
) -> tuple[Array, Array]:
    dtype, n = z.dtype, z.shape[1]
    shifted = (z - z.max(axis=1, keepdims=True)).astype(np.float64)  # the same on both sides
    log_total = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    t = _target_rows(labels, z)
    weight = t.sum(axis=1, keepdims=True)
    size = np.where(t == 0, 0, t * (log_total - shifted)).sum(axis=1, keepdims=True)
    terms = np.count_nonzero(t, axis=1, keepdims=True)
    bound = 2 * terms * _tiny(dtype)
    for function in (_OURS, _NUMPYS[dtype]):
        # A total within m roundings of the exact one has a log within -log(1 - m u) <= gamma(m).
        total = _gamma(function + n - 1, dtype)
        off = weight * (total + _gamma(function, dtype) * (abs(log_total) + 2 * total))
        # Then log - shifted, times t, terms - 1 sums. Twice `off`: `size` is computed, too.
        bound = bound + off + _gamma(terms + 1, dtype) * (size + 2 * off)
    return (*_softmax_forward(z, out), np.asarray(bound))


def _uniform(key: int, stream: int, low: float, high: float, out: Array) -> tuple[float]:
    # u_i is exact. Ours is one rounding, of the result; NumPy's one of u_i * width and one more.
    u = _gamma(1, out.dtype)
    start, width = (float(out.dtype.type(number)) for number in (low, high - low))
    size = max(abs(start), abs(start + width))
    return (u * abs(width) + 2 * u * (size + 2 * u * abs(width)) + _tiny(out.dtype),)


CASES: Mapping[str, Case] = {
    "accuracy": Case(_exact, {"batch": 256, "n_classes": 10}),
    "argmax_rows": Case(_exact, {"batch": 256, "n_classes": 10}),
    "column_sum": Case(_column_sum, {"batch": 128, "n_out": 128}),
    "count_correct": Case(_exact, {"batch": 256, "n_classes": 10}),
    "cross_entropy": Case(_cross_entropy, {"batch": 128, "n_classes": 10}),
    # -t / p / batch: the same two divisions on both sides.
    "cross_entropy_backward": Case(_exact, {"batch": 128, "n_classes": 10}),
    "cross_entropy_rows": Case(_cross_entropy_rows, {"batch": 128, "n_classes": 10}),
    "dense_backward_inputs": Case(
        _dense_backward_inputs, {"batch": 128, "n_in": 256, "n_out": 128}
    ),
    "dense_backward_weights": Case(
        _dense_backward_weights, {"batch": 128, "n_in": 256, "n_out": 128}
    ),
    "dense_forward": Case(_dense_forward, {"batch": 128, "n_in": 256, "n_out": 128}),
    "exp": Case(_exp, {"rows": 128, "columns": 128}, {"x": _wide}),
    "gather_rows": Case(_exact, {"n": 1000, "k": 64, "batch": 128}),
    "log": Case(_log, {"rows": 128, "columns": 128}, {"x": _positive}),
    "matmul": Case(_matmul, {"m": 192, "k": 192, "n": 192}),
    "mean_loss": Case(_mean_loss, {"batch": 128}),
    "permutation": Case(_exact, {"n": 1000}),
    "relu_backward": Case(_exact, {"rows": 128, "columns": 128}, {"x": _whole}),
    "relu_forward": Case(_exact, {"rows": 128, "columns": 128}, {"x": _whole}),
    "sgd_update": Case(_sgd_update, {"rows": 128, "columns": 128}),
    "softmax_backward": Case(_softmax_backward, {"batch": 128, "n_classes": 10}),
    "softmax_cross_entropy": Case(_softmax_cross_entropy, {"batch": 128, "n_classes": 10}),
    "softmax_forward": Case(_softmax_forward, {"batch": 128, "n_classes": 10}),
    # (p - t) / batch: the same difference and the same division on both sides.
    "softmax_minus_target": Case(_exact, {"batch": 128, "n_classes": 10}),
    "uniform": Case(_uniform, {"rows": 128, "columns": 128}),
}
"""How each public kernel is compared, by name."""


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
    """Of triples (ours, NumPy's, bound)."""
    errors = np.concatenate([_errors(one, other) for one, other, _ in triples])
    limits = np.concatenate(
        [np.broadcast_to(limit, one.shape).ravel() for one, _, limit in triples]
    )
    with np.errstate(all="ignore"):
        shares = np.where(errors == 0, 0.0, errors / limits)
    worst = int(shares.argmax())
    share = float(shares[worst])
    return Row(name, sizes, float(errors.max()), float(limits[worst]), share, ratio, share <= 1)


def _errors(one: Array, other: Array) -> Array:
    """Absolute differences in float64: 0 for equals and for two NaN, Inf for a lone NaN."""
    with np.errstate(invalid="ignore"):
        errors = abs(one.astype(np.float64) - other.astype(np.float64))
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    return np.asarray(np.where(same, 0.0, np.where(np.isnan(errors), np.inf, errors))).ravel()


def _ratio(ours: Callable[[], Any], numpys: Callable[[], Any]) -> float:
    """NumPy's time over ours: the median of pairs, so that a busy moment slows both alike."""
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


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for the kernels and, where threadpoolctl is there to say so, for BLAS."""
    limit = threads._limit  # get_num_threads() would not tell a limit from none
    with contextlib.ExitStack() as stack:
        if _has_threadpoolctl():
            threadpoolctl: Any = importlib.import_module("threadpoolctl")
            stack.enter_context(threadpoolctl.threadpool_limits(limits=1, user_api="blas"))
        threads.set_num_threads(1)
        try:
            yield
        finally:
            threads.set_num_threads(limit)


def _has_threadpoolctl() -> bool:
    return importlib.util.find_spec("threadpoolctl") is not None


def _blas_threads() -> str:
    if _has_threadpoolctl():
        return "one for BLAS"
    return "BLAS's own number for NumPy (threadpoolctl, which limits it, is not installed)"


# --- the training step ----------------------------------------------------------------------------

_BATCH, _WIDTHS, _LEARNING_RATE = 32, (64, 32, 10), 0.1


class _Range(NamedTuple):
    """A quantity that both sides compute: about its value, and how far apart they may be."""

    value: Array
    apart: Array

    @property
    def most(self) -> Array:
        """What neither side exceeds in size."""
        return np.asarray(abs(self.value) + self.apart)

    @property
    def transposed(self) -> "_Range":
        return _Range(self.value.T, self.apart.T)


def _known(array: Array) -> _Range:
    """Of a quantity that both sides are given."""
    return _Range(array.astype(np.float64), np.zeros(array.shape))


def _step_row(dtype: np.dtype[Any], seed: int, timed: bool) -> Row:
    from layers.backends import backend

    rng = np.random.default_rng(seed)
    x = rng.standard_normal((_BATCH, _WIDTHS[0])).astype(dtype)
    labels = rng.integers(0, _WIDTHS[-1], _BATCH)
    ours, numpys = _step_model(dtype), _step_model(dtype)
    limits = _step_bounds(ours.parameters(), x, labels)

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
        dtype=dtype.name,
    )


def _step_bounds(parameters: Mapping[str, Array], x: Array, labels: Array) -> list[Array]:
    """How far apart the parameters may be after one step from the same ones.

    Each quantity of the step gets a value, in float64, and a distance: what the distances of its
    inputs become, in absolute values, and the bound of the operation's own rounding.
    """
    dtype = x.dtype
    inputs = _known(x)
    w1, b1, w2, b2 = (_known(array) for array in parameters.values())
    z1 = _product_range(inputs, w1, dtype, added=b1)
    z2 = _product_range(_relu_range(z1, z1), w2, dtype, added=b2)
    dz2 = _loss_gradient_range(z2, labels, dtype)
    dz1 = _relu_range(z1, _product_range(dz2, w2.transposed, dtype))
    gradients = [
        *(_product_range(inputs.transposed, dz1, dtype), _sum_range(dz1, dtype)),
        *(_product_range(_relu_range(z1, z1).transposed, dz2, dtype), _sum_range(dz2, dtype)),
    ]
    updates = zip((w1, b1, w2, b2), gradients, strict=True)
    return [_settled(_update_bound(before, by, dtype), {"x": x}) for before, by in updates]


def _product_range(a: _Range, b: _Range, dtype: Any, added: _Range | None = None) -> _Range:
    """|a b - a' b'| <= |a - a'| |b| + |a'| |b - b'|, and twice gamma(k) for the roundings."""
    k = a.value.shape[1]
    value, size = _times(a.value, b.value), _times(a.most, b.most)
    apart = _times(a.apart, b.most) + _times(a.most, b.apart)
    if added is not None:
        value, size, k = value + added.value, size + added.most, k + 1
    return _Range(value, apart + 2 * _gamma(k, dtype) * size + 2 * k * _tiny(dtype))


def _relu_range(z: _Range, through: _Range) -> _Range:
    """What comes through where z > 0; near z = 0 it may on one side and not on the other."""
    value = np.where(z.value > 0, through.value, 0)
    unsure = abs(z.value) <= z.apart
    apart = np.where(unsure, through.most, np.where(z.value > 0, through.apart, 0))
    return _Range(value, apart)


def _loss_gradient_range(z: _Range, labels: Array, dtype: np.dtype[Any]) -> _Range:
    """(softmax(z) - t) / batch.

    Logits that are d apart at most, shifts included, make an exp and the sum of a row differ by
    factors of e^d; the roundings of softmax come on top.
    """
    batch, n = z.value.shape
    shifted = z.value - z.value.max(axis=1, keepdims=True)
    d = 2 * z.apart.max(axis=1, keepdims=True)
    d = d + 2 * _gamma(1, dtype) * (abs(shifted).max(axis=1, keepdims=True) + d)
    e = np.exp(shifted)
    p = e / e.sum(axis=1, keepdims=True)
    roundings = sum(_gamma(count, dtype) for count in _softmax_roundings(n, dtype))
    change = 2 * d + roundings
    apart = p * np.exp(change) * np.expm1(change)
    value = p - _target_rows(labels, z.value)
    # The difference and the division: two roundings on each side.
    own = 2 * _gamma(2, dtype) * (abs(value) + apart)
    return _Range(value / batch, (apart + own) / batch + _tiny(dtype))


def _sum_range(dz: _Range, dtype: Any) -> _Range:
    apart = dz.apart.sum(axis=0, keepdims=True)
    size = dz.most.sum(axis=0, keepdims=True)
    own = 2 * _gamma(len(dz.value) - 1, dtype) * size
    return _Range(dz.value.sum(axis=0, keepdims=True), apart + own)


def _update_bound(weights: _Range, gradient: _Range, dtype: Any) -> Array:
    """Of `sgd_update`, on gradients that are apart already."""
    rate = float(np.dtype(dtype).type(_LEARNING_RATE))
    u = _gamma(1, dtype)
    size = rate * gradient.most
    result = abs(weights.value - rate * gradient.value) + rate * gradient.apart
    own = u * size + 2 * u * (result + 2 * u * size)
    return np.asarray(rate * gradient.apart + own + _tiny(dtype))
