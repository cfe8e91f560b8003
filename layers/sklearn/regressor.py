"""`MLPRegressor`."""

from typing import Any, Self

from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

import layers
from layers.base import DType
from layers.sklearn.parameters import choice
from layers.sklearn.perceptron import Objective, Perceptron, trains_on_batches

_LOSSES: dict[str, Any] = {  # by name: the class, and scikit-learn's gradient and loss over ours
    "squared_error": (layers.MeanSquaredError, 0.5, 0.5),
    "poisson": (layers.Poisson, 1.0, 1.0),
    "absolute_error": (layers.MeanAbsoluteError, 1.0, 1.0),
    "huber": (layers.Huber, 1.0, 1.0),
    "quantile": (layers.Quantile, 1.0, 1.0),
}


class MLPRegressor(RegressorMixin, Perceptron):  # type: ignore[misc]
    """Multi-layer perceptron regressor; of one number or of several.

    Parameters are those of `sklearn.neural_network.MLPRegressor`, with its defaults, but for
    ``solver="lbfgs"``, which is refused, and these:

    Parameters
    ----------
    loss : str
        ``"squared_error"``, ``"poisson"`` (of counts), ``"absolute_error"``, ``"huber"`` or
        ``"quantile"``.
    quantile : float
        Which, for ``loss="quantile"``.
    activation, dropout, batch_norm, dtype, progress
        As of `MLPClassifier`.

    Attributes
    ----------
    n_features_in_, n_outputs_, loss_curve_, model_, ...
        As of `MLPClassifier`; ``validation_scores_`` are of R².
    """

    _is_classifier = False
    _score_of = staticmethod(r2_score)

    def __init__(  # noqa: PLR0913 - scikit-learn's
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        max_fun: int = 15000,
        quantile: float = 0.5,
        dropout: float = 0.0,
        batch_norm: bool = False,
        dtype: DType = "float32",
        progress: bool = False,
    ) -> None:
        self._keep(locals())

    @available_if(trains_on_batches)  # type: ignore[untyped-decorator] # scikit-learn's
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train by one epoch on rows that have just come; the arguments are those of `fit`."""
        return self._fit(X, y, sample_weight, incremental=True)

    def _checked_xy(self, X: Any, y: Any, first: bool, incremental: bool) -> tuple[Any, Any, Any]:
        X, y = self._validated(X, y, first, y_numeric=True)
        return X, y, y.reshape(len(y), -1).astype(self.dtype)

    def _objective(self, targets: Any) -> Objective:
        choice("MLPRegressor", "loss", self.loss, _LOSSES)
        loss, gradient, value = _LOSSES[self.loss]
        self.out_activation_ = "exp" if self.loss == "poisson" else "identity"
        made = loss(self.quantile) if self.loss == "quantile" else loss()
        n_out = targets.shape[1]
        return Objective(made, n_out, gradient * n_out, value)

    def _answers(self, X: Any) -> Any:
        answers = self._by_rows(lambda x: self.model_.predict(x), X)
        return answers.reshape(-1) if answers.shape[1] == 1 else answers
