"""`Matrix` arguments, read from NumPy's own structure: which arrays are accepted."""

import sys

import numpy as np
import pytest

import kernels
from kernels.product.matmul import small_product
from kernels.runtime.jit import DONE

pytestmark = pytest.mark.compiled
DTYPES = ["float32", "float64"]


def compiled(dtype):
    small_product.compile(dtype, parallel=False)
    return getattr(small_product.serial, dtype)


def operands(dtype, m=3, k=4, n=5):
    return (
        np.arange(m * k, dtype=dtype).reshape(m, k),
        np.arange(k * n, dtype=dtype).reshape(k, n),
        np.zeros((m, n), dtype),
    )


def unaligned(array):
    memory = np.empty(array.nbytes + 1, np.uint8)[1:]
    return memory.view(array.dtype).reshape(array.shape)


def read_only(array):
    view = array.view()
    view.flags.writeable = False
    return view


# What stands where an array should, made from that array.
MISFITS = {
    "None": lambda array: None,
    "a number": lambda array: 3,
    "a bare object": lambda array: object(),
    "a list": lambda array: array.tolist(),
    "a NumPy scalar": lambda array: array.dtype.type(1),
    "the dtype": lambda array: array.dtype,
    "the class": lambda array: np.ndarray,
    "one dimension": np.ravel,
    "no dimension": lambda array: np.array(1, array.dtype),
    "three dimensions": lambda array: array[None],
    "columns first": np.asfortranarray,
    "every other column": lambda array: np.repeat(array, 2, axis=1)[:, ::2],
    "reversed": lambda array: array[::-1],
    "the other byte order": lambda array: array.astype(array.dtype.newbyteorder()),
    "integers": lambda array: array.astype(np.int32),
    "half precision": lambda array: array.astype(np.float16),
    "integers of the same size": lambda array: array.view(f"i{array.itemsize}"),
    "a matrix": lambda array: array.view(np.matrix),
    "a masked array": np.ma.masked_array,
    "unaligned": unaligned,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("misfit", MISFITS)
def test_what_is_no_such_array_is_refused(dtype, place, misfit):
    arguments = [*operands(dtype)]
    arguments[place] = MISFITS[misfit](arguments[place])
    arrays = [each for each in arguments if isinstance(each, np.ndarray)]
    counts = [*map(sys.getrefcount, arrays)]
    with pytest.raises(TypeError, match=f"C-contiguous array of {dtype} with two dimensions"):
        compiled(dtype)(*arguments, 0)
    assert [*map(sys.getrefcount, arrays)] == counts


@pytest.mark.parametrize("dtype", DTYPES)
def test_only_inputs_may_be_read_only(dtype):
    a, b, out = operands(dtype)
    assert compiled(dtype)(read_only(a), read_only(b), out, 0) == DONE
    np.testing.assert_array_equal(out, a @ b)
    with pytest.raises(TypeError, match="not a writable C-contiguous array"):
        compiled(dtype)(a, b, read_only(out), 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_other_dtype_is_refused(dtype):
    (other,) = set(DTYPES) - {dtype}
    with pytest.raises(TypeError, match=f"array of {dtype}"):
        compiled(dtype)(*operands(other), 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(3, 4, 5), (1, 4, 1), (1, 1, 1), (0, 4, 5), (3, 0, 5)], ids=str)
def test_views_and_odd_shapes_have_their_numbers(dtype, sizes):
    """A view's numbers begin within another array's; sides of one have strides of any size."""
    a, b, out = operands(dtype, *sizes)
    rows = np.concatenate([np.full_like(a, np.nan), a])[len(a) :]
    expected = a @ b
    counts = [*map(sys.getrefcount, (rows, b, out))]
    assert compiled(dtype)(rows, b, out, 0) == DONE
    assert [*map(sys.getrefcount, (rows, b, out))] == counts
    np.testing.assert_array_equal(out, expected)


def test_the_public_call_takes_what_the_structure_does_not_tell():
    """What the compiled form refuses, the door copies, or refuses in its own words."""
    a, b, out = operands("float32")
    for misfit in ("columns first", "every other column", "reversed"):
        kernels.matmul(MISFITS[misfit](a), b, out)
        expected = (a[::-1] if misfit == "reversed" else a) @ b
        np.testing.assert_array_equal(out, expected)
    kernels.matmul(a.tolist(), b, out)
    np.testing.assert_array_equal(out, a @ b)
    with pytest.raises(TypeError, match=r"kernels\.matmul: a is a memoryview"):
        kernels.matmul(memoryview(a), b, out)
