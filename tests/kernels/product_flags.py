"""The combinations of flags that the doors ask the one compiled product for."""

from kernels.product.microkernel import (
    ACCUMULATE,
    ADD_BIASES,
    DESCEND,
    MASK,
    RELU,
    SUM_COLUMNS,
    TRANSPOSE_A,
    TRANSPOSE_B,
)

# What each fused door asks for, by what it does beside the product.
FUSED = {
    "accumulate": ACCUMULATE,
    "biases and ReLU": ADD_BIASES | RELU,
    "ReLU's mask": TRANSPOSE_B | MASK,
    "column sums": TRANSPOSE_A | SUM_COLUMNS,
    "descent": TRANSPOSE_A | DESCEND,
}
PRODUCT_FLAGS = (
    0, TRANSPOSE_A, TRANSPOSE_B, TRANSPOSE_A | TRANSPOSE_B, ACCUMULATE, ADD_BIASES | RELU,
    TRANSPOSE_A | SUM_COLUMNS, TRANSPOSE_B | MASK, TRANSPOSE_A | DESCEND,
)  # fmt: skip
# Those that need no other operand, which small products are asked for.
PLAIN_FLAGS = tuple(
    flags for flags in PRODUCT_FLAGS if not flags & (ADD_BIASES | SUM_COLUMNS | MASK)
)
