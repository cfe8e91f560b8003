"""scikit-learn's MLPClassifier."""

import importlib
from typing import Any

import numpy as np

from layers.bench.cases import LEARNING_RATE
from layers.bench.libraries.base import Fitting

sklearn: Any = importlib.import_module("sklearn")
neural_network: Any = importlib.import_module("sklearn.neural_network")

_NEVER = 10**9


class Sklearn(Fitting):
    """``fit`` with plain SGD: no momentum, no penalty, no early stopping."""

    @classmethod
    def start(cls, threads: int) -> dict[str, str]:
        """scikit-learn uses BLAS's threads."""
        return {"scikit-learn": sklearn.__version__}

    def build(self) -> None:
        """Train on one batch, which makes the arrays that `reset` writes to."""
        self.model = self._new(1, shuffle=False)
        rows = max(self.case.batch, 2)  # early stopping, though off, requires more than one row
        x, y = np.resize(self.x, (rows, self.x.shape[1])), np.resize(self.y, rows)
        self.model.partial_fit(x, y, classes=np.arange(self.case.widths[-1]))

    def _new(self, epochs: int, shuffle: bool) -> Any:
        return neural_network.MLPClassifier(
            hidden_layer_sizes=self.case.widths[1:-1],
            activation="relu",
            solver="sgd",
            alpha=0.0,
            batch_size=self.case.batch,
            learning_rate_init=LEARNING_RATE,
            momentum=0.0,
            nesterovs_momentum=False,
            max_iter=epochs,
            shuffle=shuffle,
            n_iter_no_change=_NEVER,
            random_state=0,
        )

    def reset(self) -> None:
        """Overwrite the model's weights with the initial ones; `fit` draws its own."""
        for (w, b), own_w, own_b in zip(
            self.weights, self.model.coefs_, self.model.intercepts_, strict=True
        ):
            own_w[...], own_b[...] = w, b

    def first_batch(self) -> float:
        """``partial_fit``."""
        rows = slice(0, self.case.batch)
        return float(self.model.partial_fit(self.x[rows], self.y[rows]).loss_)

    def fit(self, epochs: int, shuffle: bool) -> float:
        """``fit`` of a new model."""
        return float(self._new(epochs, shuffle).fit(self.x, self.y).loss_)
