"""Bounds of what is left: metrics, batches and random numbers."""

from collections.abc import Mapping

from layers.base import Array
from layers.comparison.bounds.case import Case
from layers.comparison.bounds.rounding import exact, gamma, tiny


def _uniform(key: int, stream: int, low: float, high: float, out: Array) -> tuple[float]:
    # u_i is exact. Ours is one rounding, of the result; NumPy's one of u_i * width and one more.
    u = gamma(1, out.dtype)
    start, width = (float(out.dtype.type(number)) for number in (low, high - low))
    size = max(abs(start), abs(start + width))
    return (u * abs(width) + 2 * u * (size + 2 * u * abs(width)) + tiny(out.dtype),)


CASES: Mapping[str, Case] = {
    "accuracy": Case(exact, {"batch": 256, "n_classes": 10}),
    "argmax_rows": Case(exact, {"batch": 256, "n_classes": 10}),
    "count_correct": Case(exact, {"batch": 256, "n_classes": 10}),
    "dropout": Case(exact, {"batch": 128, "n": 128}),
    "gather_rows": Case(exact, {"n": 1000, "k": 64, "batch": 128}),
    "permutation": Case(exact, {"n": 1000}),
    "uniform": Case(_uniform, {"rows": 128, "columns": 128}),
}
