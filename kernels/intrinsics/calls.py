"""Calls by address, from compiled code.

A function is given by its address, a number, and typed by a `FunctionShape`: a constant that says
what the functions of one family take and return. A wrong shape is a crash, so only
``kernels/runtime/families.py`` pairs the two.
"""

from numba.core import types
from numba.core.datamodel import models
from numba.core.imputils import lower_constant
from numba.extending import intrinsic, register_model, typeof_impl


class FunctionShape:
    """What the functions of one family take and return.

    Parameters
    ----------
    name : str
    result : numba type
        `numba.types.void` or a number.
    arguments : callable
        From float32 or float64, as a Numba type, to the types of the arguments; the first is a
        pointer to that dtype.
    """

    def __init__(self, name, result, arguments):
        self.name = name
        self.result = result
        self.arguments = arguments


class _FunctionShapeType(types.Type):
    """The Numba type of one `FunctionShape`: the shape is in the type, the value is empty."""

    def __init__(self, shape):
        self.shape = shape
        super().__init__(name=f"FunctionShape({shape.name})")


register_model(_FunctionShapeType)(models.OpaqueModel)


@typeof_impl.register(FunctionShape)
def _typeof_function_shape(value, _context):
    return _FunctionShapeType(value)


@lower_constant(_FunctionShapeType)
def _constant_function_shape(context, builder, type_, value):
    return context.get_dummy_value()


@intrinsic
def invoke(typing, shape, address, arguments):
    """Call the function at an address with a tuple of arguments, typed by the shape."""
    family = shape.shape
    wanted = family.arguments(arguments[0].dtype)
    if len(wanted) != len(arguments):
        return None
    signature = family.result(shape, types.intp, arguments)

    def generate(context, builder, signature, values):
        given = [
            context.cast(builder, builder.extract_value(values[2], place), came, takes)
            for place, (came, takes) in enumerate(zip(arguments, wanted, strict=True))
        ]
        convention = context.call_conv
        kind = convention.get_function_type(family.result, wanted)
        function = builder.inttoptr(values[1], kind.as_pointer())
        # The status is ignored: a function of a family never raises.
        _, result = convention.call_function(builder, function, family.result, wanted, given)
        return result

    return signature, generate
