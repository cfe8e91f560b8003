"""What classifier and regressor share: how they are checked, trained and stopped."""

import copy
import math
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, compute_sample_weight
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

import layers
from layers.sklearn import parameters

_ROWS = 4096
"""Of a sparse matrix, made dense at a time."""


class Objective(NamedTuple):
    """A loss, and how far scikit-learn's is another: a sum over outputs, or half of it."""

    loss: layers.Loss
    n_out: int
    scale: float = 1.0  # scikit-learn's gradient over ours
    loss_scale: float = 1.0  # its loss over ours


def trains_on_batches(estimator: "Perceptron") -> bool:
    """Whether the solver is one that `partial_fit` can go on with."""
    return bool(estimator.solver != "lbfgs")


class _SparseBatches:
    """Batches of a sparse matrix, dense one by one, in an order of its own for each epoch."""

    def __init__(self, x: Any, targets: Any, weights: Any, rows: int, order: Any) -> None:
        self.x, self.arrays, self.rows, self.order = x, (targets, weights), rows, order

    def __len__(self) -> int:
        return -(-int(self.x.shape[0]) // self.rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        n = self.x.shape[0]
        order = np.arange(n) if self.order is None else self.order.permutation(n)
        for start in range(0, n, self.rows):
            taken = order[start : start + self.rows]
            rest = (array[taken] for array in self.arrays if array is not None)
            yield (self.x[taken].toarray(), *rest)


class _EpochEnd(layers.Callback):
    """Tells the estimator of the end of each epoch."""

    def __init__(self, estimator: "Perceptron", objective: Objective, held_out: Any) -> None:
        self.estimator, self.known = estimator, (objective, held_out)

    def __call__(self, progress: layers.Progress) -> bool:
        return progress.ended and self.estimator._epoch_ended(progress, *self.known)


class Perceptron(BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """What classifier and regressor share."""

    # --- what a subclass says ---

    _is_classifier: bool
    _score_of: Any

    model_: layers.Sequential
    loss_curve_: list[float]
    best_loss_: Any
    validation_scores_: Any
    validation_loss_curve_: Any
    best_validation_score_: Any
    _best: layers.Sequential | None
    _stopped: bool
    _no_improvement_count: int
    n_iter_: int

    def _checked_xy(self, X: Any, y: Any, first: bool, incremental: bool) -> tuple[Any, Any, Any]:
        """X and y as checked, and targets for the loss."""
        raise NotImplementedError

    def _objective(self, targets: Any) -> Objective:
        """What is made smaller."""
        raise NotImplementedError

    def _answers(self, X: Any) -> Any:
        """Predictions for checked rows."""
        raise NotImplementedError

    def _validated(self, X: Any, y: Any, first: bool, **more: Any) -> tuple[Any, Any]:
        """X and y as scikit-learn's checks give them; one column of y as (n,)."""
        kinds = (np.float64, np.float32)
        given = {"accept_sparse": ["csr"], "dtype": kinds, "multi_output": True, "reset": first}
        X, y = validate_data(self, X, y, **given, **more)
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _keep(self, given: dict[str, Any]) -> None:
        """Keep the constructor's arguments as they came, which `clone` asks for."""
        for name in self._get_param_names():
            setattr(self, name, given[name])

    # --- fit and predict ---

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train; anew each time, but with ``warm_start``.

        Parameters
        ----------
        X : array_like or sparse matrix, (n, n_features)
            A sparse one is made dense batch by batch.
        y : array_like, (n,) or (n, n_outputs)
            Classes by any names, rows of labels 0 and 1, or numbers.
        sample_weight : array_like, (n,), optional
            The loss is the mean over the sum of weights.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    def predict(self, X: Any) -> Any:
        """Classes by their names, rows of labels, or numbers: what ``y`` was.

        Parameters
        ----------
        X : array_like or sparse matrix, (n, n_features)
        """
        return self._answers(self._rows(X))

    # --- public, beside fit and predict of the subclasses ---

    @property
    def coefs_(self) -> list[Any]:
        """The weights of each dense layer, (n_in, n_out): the model's own arrays."""
        return [dense.weights for dense in self._dense()]

    @property
    def intercepts_(self) -> list[Any]:
        """The biases of each dense layer, (n_out,): the model's own arrays."""
        return [np.reshape(dense.biases, -1) for dense in self._dense() if dense.biases is not None]

    def _dense(self) -> list[layers.Dense]:
        check_is_fitted(self)
        return [each for each in self.model_.layers if isinstance(each, layers.Dense)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    # --- fit ---

    def _fit(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> Self:
        parameters.check(type(self).__name__, self.get_params(deep=False))
        first = not hasattr(self, "model_") or not (self.warm_start or incremental)
        X, y, targets = self._checked_xy(X, y, first, incremental)
        weights = self._weights(X, y, sample_weight)
        objective = self._objective(targets)
        self.n_outputs_ = objective.n_out
        if self.early_stopping:
            X, targets, weights, held_out = self._set_apart(X, y, targets, weights)
        else:
            held_out = None
        n = X.shape[0]
        batch_size = self._batch_size(n)
        batch_weight = batch_size * (1.0 if weights is None else float(np.mean(weights)))
        if first:
            self._start(X.shape[1], objective, batch_weight)
        elif not incremental:
            self.model_.optimizer = self._new_optimizer(objective, batch_weight)
        self._no_improvement_count = 0 if not incremental else self._no_improvement_count
        epochs = 1 if incremental else self.max_iter
        self.n_iter_ = self.n_iter_ if incremental else 0
        watch = _EpochEnd(self, objective, held_out)
        self._train(X, targets, weights, watch, epochs, batch_size)
        if not incremental and self.n_iter_ == self.max_iter and not self._stopped:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=3,
            )
        if self._best is not None and (not incremental or self._stopped):
            self.model_ = copy.deepcopy(self._best)
        return self

    def _weights(self, X: Any, y: Any, sample_weight: Any) -> Any:
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        if getattr(self, "class_weight", None) is not None:
            by_class = compute_sample_weight(self.class_weight, y)
            weights = by_class if weights is None else weights * by_class
        return None if weights is None else weights.astype(np.float64)

    def _set_apart(self, X: Any, y: Any, targets: Any, weights: Any) -> Any:
        """Rows to train on, and rows to score on after each epoch; as many of each class."""
        stratify = y if self._is_classifier and y.ndim == 1 else None
        rows, held = train_test_split(
            np.arange(X.shape[0]),
            random_state=self._random(),
            test_size=self.validation_fraction,
            stratify=stratify,
        )
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        some = None if weights is None else weights[held]
        rest = None if weights is None else weights[rows]
        return X[rows], targets[rows], rest, (X[held], y[held], targets[held], some)

    def _random(self) -> Any:
        return check_random_state(self.random_state)

    def _batch_size(self, n: int) -> int:
        if isinstance(self.batch_size, str) and self.batch_size == "auto":
            return min(200, n)
        size = int(self.batch_size)
        if size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                stacklevel=4,
            )
        return min(size, n)

    def _start(self, n_in: int, objective: Objective, batch_weight: float) -> None:
        """A new model, and empty curves."""
        stack: list[layers.Layer] = []
        width = n_in
        for size in parameters.widths(self.hidden_layer_sizes):
            stack.append(layers.Dense(width, size, initializer="glorot"))
            if self.batch_norm:
                stack.append(layers.BatchNorm(size))
            activation = parameters.ACTIVATIONS[self.activation]
            stack += [activation()] if activation else []
            stack += [layers.Dropout(self.dropout)] if self.dropout else []
            width = size
        stack.append(layers.Dense(width, self.n_outputs_, initializer="glorot"))
        seed = int(self._random().randint(np.iinfo(np.int32).max))
        self.model_ = layers.Sequential(
            stack,
            objective.loss,
            self._new_optimizer(objective, batch_weight),
            seed=seed,
            dtype=self.dtype,
        )
        self.n_layers_ = len(self._dense()) + 1
        self.n_iter_ = self.t_ = self._no_improvement_count = 0
        self.loss_curve_ = []
        self.best_loss_ = None if self.early_stopping else math.inf
        self.validation_scores_ = [] if self.early_stopping else None
        self.validation_loss_curve_ = [] if self.early_stopping else None
        self.best_validation_score_ = -math.inf if self.early_stopping else None
        self._best = None
        self._stopped = False

    def _new_optimizer(self, objective: Objective, batch_weight: float) -> layers.Optimizer:
        """As scikit-learn's, whose penalty is over a batch's weights, beside a sum over outputs."""
        decay = self.alpha / batch_weight / objective.scale
        if self.solver == "adam":
            return layers.Adam(
                self.learning_rate_init, self.beta_1, self.beta_2, self.epsilon, weight_decay=decay
            )
        return layers.SGD(
            self.learning_rate_init * objective.scale,
            momentum=self.momentum,
            nesterov=bool(self.nesterovs_momentum and self.momentum),
            weight_decay=decay,
        )

    def _train(
        self, X: Any, targets: Any, weights: Any, watch: _EpochEnd, epochs: int, batch_size: int
    ) -> None:
        self._stopped, self._n_rows = False, X.shape[0]
        given: dict[str, Any] = {"callbacks": watch, "progress": self.progress}
        if hasattr(X, "toarray"):
            order = self._random() if self.shuffle else None
            x, y = _SparseBatches(X, targets, weights, batch_size, order), None
        else:
            x, y = X, targets
            given |= {"batch_size": batch_size, "shuffle": self.shuffle}
            given |= {} if weights is None else {"sample_weight": weights}
        try:
            self.model_.fit(x, y, epochs, **given)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=5)
            self._stopped = True

    def _epoch_ended(self, progress: layers.Progress, objective: Objective, held_out: Any) -> bool:
        """Note the epoch's loss and score; whether training is over."""
        self.n_iter_ += 1
        self.loss_ = progress.loss * objective.loss_scale
        self.t_ += self._n_rows
        self.loss_curve_.append(self.loss_)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
        better = self._is_better(held_out)
        self._no_improvement_count = 0 if better else self._no_improvement_count + 1
        if self.solver == "sgd" and self.learning_rate == "invscaling":
            rate = self.learning_rate_init * objective.scale
            self.model_.optimizer.learning_rate = rate / (self.t_ + 1) ** self.power_t
        if self._no_improvement_count <= self.n_iter_no_change:
            return False
        what = "Validation score" if held_out else "Training loss"
        message = (
            f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} "
            "consecutive epochs."
        )
        rate = getattr(self.model_.optimizer, "learning_rate", 0.0)
        if self.solver == "sgd" and self.learning_rate == "adaptive" and rate > 1e-6:
            self.model_.optimizer.learning_rate = rate / 5.0
            self._no_improvement_count = 0
            if self.verbose:
                print(f"{message} Setting learning rate to {rate / 5.0:f}")
            return False
        if self.verbose:
            print(f"{message} Stopping.")
        self._stopped = True
        return True

    def _is_better(self, held_out: Any) -> bool:
        """Whether the loss, or the score of the rows set apart, is better than the best by tol."""
        if held_out is None:
            best, self.best_loss_ = self.best_loss_, min(self.best_loss_, self.loss_)
            return bool(self.loss_ <= best - self.tol)
        X, y, targets, weights = held_out
        score = float(self._score_of(y, self._answers(X), sample_weight=weights))
        self.validation_scores_.append(score)
        rows = _SparseBatches(X, targets, None, _ROWS, None) if hasattr(X, "toarray") else None
        measured = self.model_.evaluate(X, targets) if rows is None else self.model_.evaluate(rows)
        self.validation_loss_curve_.append(measured["loss"])
        if self.verbose:
            print(f"Validation score: {score:f}")
        best = self.best_validation_score_
        if score > best:
            self.best_validation_score_ = score
            self._best = copy.deepcopy(self.model_)
        return not score < best + self.tol

    # --- predict ---

    def _rows(self, X: Any) -> Any:
        check_is_fitted(self)
        kinds = [self.dtype, np.float64, np.float32]
        return validate_data(self, X, accept_sparse=["csr"], dtype=kinds, reset=False)

    def _by_rows(self, function: Any, X: Any) -> Any:
        """A function's results for all rows; a sparse matrix is made dense a part at a time."""
        if not hasattr(X, "toarray"):
            return function(X)
        starts = range(0, X.shape[0], _ROWS)
        return np.concatenate([function(X[start : start + _ROWS].toarray()) for start in starts])
