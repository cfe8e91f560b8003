"""The mean of numbers, apart from the losses: a network's program takes it, whatever its loss."""

from kernels.intrinsics import LANES, ahead, load, splat, sum_of_lanes, to_float64
from kernels.runtime.jit import inner


@inner
def mean(numbers, count):
    """Of ``count`` numbers, in float64: 16 fixed partial sums, one fixed tree."""
    partial = to_float64(splat(numbers, LANES, 0.0))
    for i in range(0, count, LANES):
        partial = partial + to_float64(load(ahead(numbers, i), LANES, count - i, 0.0))
    return sum_of_lanes(partial) / count
