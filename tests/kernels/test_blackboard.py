"""As on the blackboard: a kernel returns an output that is left out, and takes lists."""

import inspect
import pickle

import numpy as np
import pytest

import kernels
from kernels.runtime import jit
from tests.kernels.doors import each_door, each_dtype, good

MAKES = [door for door in jit.PUBLIC.values() if door.contract.optional]


@each_dtype
@pytest.mark.parametrize("by_numpy", [False, True], ids=["kernel", "twin"])
@pytest.mark.parametrize("door", MAKES, ids=lambda door: door.__name__)
def test_what_is_left_out_is_made_and_returned(door, by_numpy, dtype):
    args = good(door, dtype)
    function = getattr(kernels.reference, door.__name__) if by_numpy else door
    function(**args)
    outputs = [name for name in args if name in door.contract.optional]
    returned = function(**{name: args[name] for name in args if name not in outputs})
    made = [*returned] if isinstance(returned, tuple) else [returned]
    assert [(each.dtype, each.shape) for each in made] == [
        (args[name].dtype, args[name].shape) for name in outputs
    ]
    assert [each.tobytes() for each in made] == [args[name].tobytes() for name in outputs]


def test_a_twin_is_called_as_its_kernel_is():
    x, weights, biases = np.ones((4, 3)), np.ones((3, 2)), np.zeros((1, 2))
    twin = kernels.reference.dense_forward
    assert inspect.signature(twin) == inspect.signature(kernels.dense_forward)
    assert twin([[1, 1, 1]], weights, biases, out=None).tolist() == [[3, 3]]
    with pytest.raises(ValueError, match=r"weights has shape \(2, 3\), expected \(3, n_out\)"):
        twin(x, weights.T, biases)
    assert pickle.loads(pickle.dumps(twin)) is twin


@each_door
def test_lists_are_taken_for_inputs(door):
    args, again = good(door, np.float64), good(door, np.float64)
    outputs = [each.name for each in door.contract.arguments if each.is_output]
    lists = {
        name: value.tolist() if isinstance(value, np.ndarray) and name not in outputs else value
        for name, value in again.items()
    }
    assert door(**lists) == door(**args)
    for name in outputs:
        assert again[name].tobytes() == args[name].tobytes()


def test_the_blackboard():
    x, dz = [[1, 2], [3, 4], [5, 6]], [[1, 0], [0, 1], [1, 1]]
    assert kernels.dense_backward_weights(x, dz).tolist() == [[6, 8], [8, 10]]
    assert kernels.relu_forward([-1, 2]).tolist() == [0, 2]
    dweights, dbiases = kernels.dense_backward_parameters(x, dz)
    assert (dweights.tolist(), dbiases.tolist()) == ([[6, 8], [8, 10]], [[2, 2]])
    assert kernels.argmax_rows(x).tolist() == [1, 1, 1]


def test_lists_have_the_dtype_of_the_arrays_beside_them():
    weights = np.ones((2, 3), np.float32)
    assert kernels.matmul([[1, 2]], weights).dtype == np.float32
    assert kernels.matmul([[1, 2]], [[3], [4]]).dtype == np.float64


def test_a_product_that_adds_starts_from_zeros():
    a = np.ones((2, 3))
    assert kernels.matmul(a, a, transpose_b=True, accumulate=True).tolist() == [[3, 3], [3, 3]]


def test_class_indices_and_rows_of_targets_come_as_lists():
    p = [[0.5, 0.5], [0.25, 0.75]]
    assert kernels.cross_entropy(p, [1, 1]) == kernels.cross_entropy(p, [[0, 1], [0, 1]])
    with pytest.raises(TypeError, match="labels has dtype float64, expected integers"):
        kernels.cross_entropy(p, [0.5, 1])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([["one"]], "kernels.exp: x has dtype <U3, expected real numbers"),
        ([[1], [2, 3]], "kernels.exp: x is a list that cannot be an array"),
        ([[1j]], "kernels.exp: x has dtype complex128, expected real numbers"),
        ([None], "kernels.exp: x has dtype object, expected real numbers"),
    ],
)
def test_lists_of_something_else_are_refused(x, message):
    with pytest.raises(TypeError) as raised:
        kernels.exp(x)
    assert str(raised.value).startswith(message)


def test_an_output_whose_shape_nothing_gives_is_asked_for():
    with pytest.raises(TypeError, match=r"^kernels.permutation: missing a req.*'out'"):
        kernels.permutation(1, 2)
