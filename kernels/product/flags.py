"""The flags of a product, apart from it: who names one reaches no line of the product."""

# What happens to a finished element of C, in this order; how a product is to be done.
TRANSPOSE_A, TRANSPOSE_B = 1, 2
ACCUMULATE = 4  # its chains are added to what C held
ADD_BIASES = 8  # extra[0, j] is added
OTHER = 16  # the operation that follows reads extra[i, j] too
UPDATES = 32  # the operation that follows moves C by the product
SUM_COLUMNS = 128  # extra[0, j] becomes the column sum of B
NEVER_EMPTY = 256  # sizes of 0 are refused
BY_COLUMNS = 512  # threads share its columns, where there are enough
# The special case of fusion: what most networks do takes no call, but happens in registers. With
# calls a training step of 784-128-10 takes 1.1 to 1.2 times as long.
CLIP, MASK, SCALE = 1024, 2048, 4096
"""The operation that follows is: 0 where C <= 0, else C; C where ``other`` is positive, 0 where
that is <= 0, else ``other``; or the update of ``other`` by minus the first number times C."""
IN_REGISTERS = CLIP | MASK | SCALE
