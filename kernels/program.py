"""A program: a table of int64, one line for each pass over a batch, for ``kernels/network.py``.

It is data, so one compiled interpreter serves every network. ``layers/plan.py`` writes programs.
"""

from collections import namedtuple

from kernels.jit import inner
from kernels.simd import ahead

# What an instruction on rows does; `PRODUCT` is any product with weights, by its flags.
GATHER, PRODUCT, RELU, RELU_BACKWARD, SOFTMAX, SOFTMAX_BACKWARD = range(6)
SOFTMAX_CROSS_ENTROPY, CROSS_ENTROPY, ARGMAX = 6, 7, 8

# Where rows are that lie in no buffer of the workspace.
X, OUT = -1, -2

Instruction = namedtuple(
    "Instruction", ["kind", "n_in", "n_out", "source", "target", "extra", "weights", "flags"]
)
"""One pass over a batch, from rows of ``n_in`` to rows of ``n_out``.

``source`` and ``target`` are buffers of the workspace: the number of elements a row before them.
``weights`` is a place in the parameters; ``extra`` one for biases, else another buffer. On
parameters, ``source`` has the layer's inputs, ``extra`` the gradient by its outputs, and
``target`` is the place of the biases.
"""

Header = namedtuple(
    "Header", ["row_steps", "parameter_steps", "losses", "width", "no_4", "no_5", "no_6", "no_7"]
)
"""A program's first line, as long as the others: how many instructions there are of each sort, the
buffer of the losses, and how many elements of workspace a row needs."""

_FIELDS = len(Instruction._fields)


@inner
def header_of(program):
    """A program's first line."""
    return _line(Header, program, 0)


@inner
def instruction(program, index):
    """The instruction of that number."""
    return _line(Instruction, program, 1 + index)


@inner
def _line(kind, program, index):
    at = ahead(program, index * _FIELDS)
    return kind(at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7])
