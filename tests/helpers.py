"""Helpers for tests of several packages."""

import subprocess
import threading

import numpy as np

from tests.conftest import SECONDS


def check_close(got, expected, bound, what: str = "") -> None:
    """Same shape, dtype and non-finite values, and every element within its bound."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    assert got.dtype == expected.dtype, f"{what}: dtype {got.dtype}, expected {expected.dtype}"
    check_same_non_finite(got, expected, what)
    finite = np.isfinite(expected)
    with np.errstate(invalid="ignore"):  # Inf - Inf, left out by `finite`
        error = abs(got.astype(np.float64) - expected.astype(np.float64))
    bound = np.broadcast_to(np.asarray(bound, np.float64), got.shape)
    outside = finite & ~(error <= bound)  # a bound of NaN holds nothing
    if outside.any():
        excess = np.where(outside, np.nan_to_num(error - bound, nan=np.inf), -np.inf)
        worst = np.unravel_index(excess.argmax(), got.shape)
        place = tuple(int(index) for index in worst)
        raise AssertionError(
            f"{what}: {outside.sum()} of {got.size} elements are outside their bounds, the worst "
            f"at {place}: {got[worst]!r}, expected {expected[worst]!r} within {bound[worst]:.3g}, "
            f"off by {error[worst]:.3g}"
        )


def check_same_non_finite(got, expected, what: str = "") -> None:
    """NaN where NaN is expected, Inf with its sign where that is, and nowhere else."""
    for name, test in (("NaN", np.isnan), ("Inf", np.isposinf), ("-Inf", np.isneginf)):
        different = test(got) != test(expected)
        if different.any():
            place = tuple(int(index) for index in np.argwhere(different)[0])
            raise AssertionError(
                f"{what}: {name} differs in {different.sum()} places, first at {place}: "
                f"{got[place]!r}, expected {expected[place]!r}"
            )


def wait_for(process: "subprocess.Popen[str]", words: str) -> None:
    """Read standard error up to some words; after SECONDS the process ends, whatever it does."""
    watch = threading.Timer(SECONDS, process.kill)
    watch.start()
    seen = ""
    try:
        while words not in seen:
            read = process.stderr.read(1)
            assert read, seen
            seen += read
    finally:
        watch.cancel()
