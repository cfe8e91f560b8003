"""What bounds are made of: successive roundings, and the errors of exp, log and their kin."""

from typing import Any

import numpy as np

from layers.base import Array


def gamma(roundings: Any, dtype: Any) -> Any:
    """The largest relative error of ``roundings`` successive roundings."""
    unit = roundings * float(np.finfo(dtype).eps) / 2
    return unit / (1 - unit)


def tiny(dtype: Any) -> float:
    """The smallest number above 0: twice the largest rounding error of subnormal numbers."""
    return float(np.finfo(dtype).smallest_subnormal)


def size_of(array: Array) -> Array:
    """The magnitude of each element, in float64."""
    return abs(array.astype(np.float64))


# Our exp and log have errors below 1 ulp (tests/kernels/test_elementary.py), and an ulp is at most
# 2 u of a normal number. NumPy's tests (umath-validation-set-exp.csv and -log.csv) allow 4 ulp in
# float32 and 1 in float64 from the rounded value, which is half an ulp from the exact one.
OURS = 2
NUMPYS = {np.dtype(np.float32): 9, np.dtype(np.float64): 3}


# So do our expm1, tanh, erf and softplus, by less than 2, 1.5, 1.25 and 2 ulp. NumPy's expm1 and
# log1p are as good as its exp, its tanh is within 2 ulp of the rounded value, and C's erf of 4.
OUR_EXPM1, OUR_TANH, OUR_ERF, OUR_SOFTPLUS = 4, 3, 2.5, 4
NUMPYS_TANH, C_ERF = 5, 9


def exact(*given: Any) -> tuple[float]:
    """For comparisons, copies and integers, or the same roundings on both sides."""
    return (0.0,)
