"""The arguments that doors pass to the compiled product: flags, and the operation that follows."""

from typing import Any, NamedTuple

import numpy as np

from kernels.activations import RELU
from kernels.optimizers import SGD
from kernels.product.flags import (
    ACCUMULATE,
    ADD_BIASES,
    CLIP,
    MASK,
    OTHER,
    SCALE,
    SUM_COLUMNS,
    TRANSPOSE_A,
    TRANSPOSE_B,
    UPDATES,
)
from kernels.runtime.families import Operation


class Asked(NamedTuple):
    """A word of flags, and the operation that follows on the product."""

    flags: int
    then: Operation | None = None

    def address(self, dtype: Any) -> int:
        """Of that operation; 0 for none."""
        return 0 if self.then is None else self.then.address(np.dtype(dtype))


# What each fused door asks for, by what it does beside the product: in registers, where the
# micro-kernel has that, or by a call.
FUSED = {
    "accumulate": Asked(ACCUMULATE),
    "biases and ReLU": Asked(ADD_BIASES | CLIP, RELU.forward),
    "biases, then ReLU by a call": Asked(ADD_BIASES, RELU.forward),
    "ReLU's mask": Asked(TRANSPOSE_B | OTHER | MASK, RELU.backward),
    "ReLU's mask by a call": Asked(TRANSPOSE_B | OTHER, RELU.backward),
    "column sums": Asked(TRANSPOSE_A | SUM_COLUMNS),
    "descent": Asked(TRANSPOSE_A | UPDATES | SCALE, SGD.operation),
    "descent by a call": Asked(TRANSPOSE_A | UPDATES, SGD.operation),
}
TRANSPOSES = (
    Asked(0), Asked(TRANSPOSE_A), Asked(TRANSPOSE_B), Asked(TRANSPOSE_A | TRANSPOSE_B),
)  # fmt: skip
# Each by one way: these make the fingerprint of the product.
IN_REGISTERS = (
    *TRANSPOSES,
    FUSED["accumulate"],
    FUSED["biases and ReLU"],
    FUSED["column sums"],
    FUSED["ReLU's mask"],
    FUSED["descent"],
)
ALL_ASKED = (*TRANSPOSES, *FUSED.values())
# Those that need no other operand, which small products are asked for; the last one subtracts
# nothing.
PLAIN_FLAGS = (*(asked.flags for asked in TRANSPOSES), ACCUMULATE, TRANSPOSE_A | SCALE)
