"""Activation layers."""

import numpy as np

from layers.backends import active
from layers.base import Array, Layer


class ReLU(Layer):
    """Rectified linear unit: y = 0 where x <= 0, else x; its gradient passes where x > 0."""

    def forward(self, x: Array, training: bool = False) -> Array:
        """Zero where x <= 0, else x.

        Parameters
        ----------
        x : array_like, (batch, n)

        Returns
        -------
        ndarray, (batch, n)
        """
        checked = self._checked_input(x, "n")
        output = np.empty_like(checked)
        active().relu_forward(checked, output)
        self.output = output
        return output

    def backward(self, dy: Array) -> Array:
        """Gradient by the inputs: dy where the output is positive, else 0.

        Parameters
        ----------
        dy : array_like, (batch, n)

        Returns
        -------
        ndarray, (batch, n)
        """
        # The output has the sign of the input, so it serves as the mask and x need not be kept.
        output = self.output
        checked = self._checked_gradient(dy, output)
        dinputs = np.empty_like(checked)
        active().relu_backward(output, checked, dinputs)
        self.dinputs = dinputs
        return dinputs


class Softmax(Layer):
    """Softmax of each row: probabilities that sum to 1.

    For training, `SoftmaxCrossEntropy` on the logits is faster and keeps more digits.
    """

    def forward(self, x: Array, training: bool = False) -> Array:
        """Probabilities exp(x - max x) / sum of exp(x - max x), row by row.

        Parameters
        ----------
        x : array_like, (batch, n_classes)

        Returns
        -------
        ndarray, (batch, n_classes)
        """
        checked = self._checked_input(x, "n_classes")
        output = np.empty_like(checked)
        active().softmax_forward(checked, output)
        self.output = output
        return output

    def backward(self, dy: Array) -> Array:
        """Gradient by the inputs: p_k (dy_k - sum_j p_j dy_j).

        Parameters
        ----------
        dy : array_like, (batch, n_classes)

        Returns
        -------
        ndarray, (batch, n_classes)
        """
        output = self.output
        checked = self._checked_gradient(dy, output)
        dinputs = np.empty_like(checked)
        active().softmax_backward(output, checked, dinputs)
        self.dinputs = dinputs
        return dinputs
