"""The flags of a product, in a module of their own: to name a flag is not to reach the product."""

# How to compute a product, and what to do with a finished element of C, in this order.
TRANSPOSE_A, TRANSPOSE_B = 1, 2
ACCUMULATE = 4  # the chains are added to C
ADD_BIASES = 8  # extra[0, j] is added
OTHER = 16  # the following operation also reads extra[i, j]
UPDATES = 32  # the following operation updates C, with the product as gradients
IN_BLOCKS = 64  # the weights lie in blocks of columns, one block for each that threads share
SUM_COLUMNS = 128  # extra[0, j] becomes the column sum of B
NEVER_EMPTY = 256  # sizes of 0 are refused
BY_COLUMNS = 512  # threads share the columns of C, where there are enough
# The special case of fusion: these operations are done in registers, without a call. With calls a
# training step of 784-128-10 takes 1.1 to 1.2 times as long.
CLIP, MASK, SCALE = 1024, 2048, 4096
"""The following operation: CLIP is 0 where C <= 0, else C; MASK is C where ``other`` > 0, 0 where
``other`` <= 0, else ``other``; SCALE adds minus the first number times C to ``other``."""
IN_REGISTERS = CLIP | MASK | SCALE
