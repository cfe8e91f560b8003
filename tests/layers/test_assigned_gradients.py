"""Gradients of a layer may be assigned, and scaled in place."""

import numpy as np
import pytest

import layers

pytestmark = pytest.mark.compiled


def test_gradients_are_scaled_and_assigned():
    layer = layers.Dense(2, 3)
    with pytest.raises(AttributeError, match=r"^Dense\.dweights: there is none before backward"):
        layer.dweights = np.zeros((2, 3))
    layer.forward(np.ones((4, 2), "f4"))
    layer.backward(np.ones((4, 3), "f4"))
    layer.dweights *= 0.5
    layer.dbiases *= 0.25
    assert (layer.dweights == 2).all()
    assert (layer.dbiases == 1).all()
    layer.dbiases = np.array([1, 2, 3])
    assert (layer.dbiases == [[1, 2, 3]]).all()
    with pytest.raises(ValueError, match=r"^Dense\.dweights: dweights has shape \(3, 2\), "):
        layer.dweights = np.zeros((3, 2))
    assert (layer.dweights == 2).all()
