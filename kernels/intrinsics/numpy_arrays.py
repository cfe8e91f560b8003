"""NumPy arrays as arguments of a compiled function, without Numba's boxing.

For each array, Numba looks up the type and makes a reference-counting object: 170 ns for three
arrays, as long as a product of 16 x 16. A `Matrix` argument is read from the array's own structure
instead: NumPy's ABI (``PyArrayObject_fields`` in ndarraytypes.h), on which every compiled extension
relies.

A function may use a `Matrix` while it runs, but neither keep nor return it, since its references
are not counted. The caller holds the GIL or a reference.
"""

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import NativeValue, register_model, unbox
from numba.np.numpy_support import as_dtype

from kernels.intrinsics.llvm import BYTE_POINTER, INDEX, LANE, LLVM_SCALARS, index

_HEAD = object.__basicsize__
"""Bytes of a Python object's header, which ends with a pointer to its type."""
_POINTER = 8
_DATA, _NDIM, _SHAPE, _STRIDES, _DTYPE, _FLAGS = (_HEAD + 8 * place for place in (0, 1, 2, 3, 5, 6))
_C_CONTIGUOUS, _ALIGNED, _WRITEABLE = 0x1, 0x100, 0x400

# What an array's structure points at. Each native dtype is a single object. Compiled code, also
# from the cache, gets these addresses from the linker.
_KNOWN = {
    known: f"numba_layers.object.{name}"
    for known, name in (
        (np.ndarray, "ndarray"),
        (np.dtype(np.float32), "float32"),
        (np.dtype(np.float64), "float64"),
    )
}
for _known, _symbol in _KNOWN.items():
    llvmlite.binding.add_symbol(_symbol, id(_known))


class Matrix(types.Array):
    """A C-contiguous, aligned, two-dimensional array, writable unless read-only."""

    def __init__(self, dtype, readonly):
        name = f"Matrix({dtype}, {'read' if readonly else 'written'})"
        super().__init__(dtype, 2, "C", readonly=readonly, name=name)


register_model(Matrix)(models.ArrayModel)


def _address(builder, known):
    symbol = _KNOWN[known]
    if symbol not in builder.module.globals:
        ir.GlobalVariable(builder.module, ir.IntType(8), symbol)
    return builder.module.globals[symbol]


@unbox(Matrix)
def _from_structure(matrix, array, c):
    """The fields of the array's structure; TypeError if the array does not match the type."""
    builder, start = c.builder, c.builder.bitcast(array, BYTE_POINTER)

    def field(offset, kind):
        address = builder.gep(start, [index(offset)])
        return builder.load(builder.bitcast(address, kind.as_pointer()))

    def holds(offset, known):
        return builder.icmp_unsigned("==", field(offset, BYTE_POINTER), _address(builder, known))

    made = cgutils.alloca_once_value(builder, ir.Constant(c.context.get_value_type(matrix), None))
    is_error = cgutils.alloca_once_value(builder, cgutils.true_bit)
    # An object that is no array may be too short to hold the fields.
    with builder.if_then(holds(_HEAD - _POINTER, np.ndarray), likely=True):
        wanted = _C_CONTIGUOUS | _ALIGNED | (_WRITEABLE if matrix.mutable else 0)
        has = builder.and_(field(_FLAGS, LANE), ir.Constant(LANE, wanted))
        fits = builder.icmp_unsigned("==", has, ir.Constant(LANE, wanted))
        two = builder.icmp_signed("==", field(_NDIM, LANE), ir.Constant(LANE, 2))
        of_dtype = holds(_DTYPE, as_dtype(matrix.dtype))
        with builder.if_then(builder.and_(builder.and_(fits, two), of_dtype), likely=True):
            view = c.context.make_array(matrix)(c.context, builder)
            scalar = LLVM_SCALARS[matrix.dtype]
            view.data = builder.bitcast(field(_DATA, BYTE_POINTER), scalar.as_pointer())
            pair = ir.ArrayType(INDEX, 2)
            view.shape = builder.load(field(_SHAPE, pair.as_pointer()))
            view.strides = builder.load(field(_STRIDES, pair.as_pointer()))
            rows, columns = (builder.extract_value(view.shape, axis) for axis in (0, 1))
            view.nitems = builder.mul(rows, columns)
            view.itemsize = index(matrix.dtype.bitwidth // 8)
            view.meminfo = ir.Constant(view.meminfo.type, None)  # no reference counting
            view.parent = ir.Constant(view.parent.type, None)
            builder.store(view._getvalue(), made)
            builder.store(cgutils.false_bit, is_error)
    with builder.if_then(builder.load(is_error), likely=False):
        what = "writable " if matrix.mutable else ""
        message = f"not a {what}C-contiguous array of {matrix.dtype} with two dimensions"
        c.pyapi.err_set_string("PyExc_TypeError", message)
    return NativeValue(builder.load(made), is_error=builder.load(is_error))
