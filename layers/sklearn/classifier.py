"""`MLPClassifier`."""

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

import layers
from layers.base import DType
from layers.sklearn.perceptron import Objective, Perceptron, trains_on_batches


class MLPClassifier(ClassifierMixin, Perceptron):  # type: ignore[misc]
    """Multi-layer perceptron classifier; of two classes, of many, or of several labels.

    Parameters are those of `sklearn.neural_network.MLPClassifier`, with its defaults, but for
    ``solver="lbfgs"``, which is refused, and these:

    Parameters
    ----------
    activation : str
        Also ``"leaky_relu"``, ``"elu"``, ``"selu"``, ``"gelu"``, ``"silu"``, ``"softplus"``.
    class_weight : dict, "balanced" or None
        Weights of the classes, as other classifiers of scikit-learn have them.
    dropout : float
        The share of hidden outputs that are set to 0 in training, below 1.
    batch_norm : bool
        Whether a batch normalization stands before each activation.
    dtype : {"float32", "float64"}
        Of all arithmetic.
    progress : bool
        Whether to show a progress bar.

    Attributes
    ----------
    classes_ : ndarray
    n_features_in_, n_outputs_, n_layers_, n_iter_, t_ : int
    feature_names_in_ : ndarray of str
        Where X has names of columns.
    out_activation_ : str
    coefs_, intercepts_ : list of ndarray
    loss_, best_loss_, loss_curve_ : float, float, list of float
        The mean loss of each epoch, without the penalty ``alpha``.
    validation_scores_, best_validation_score_, validation_loss_curve_ : list, float, list
        With ``early_stopping``: accuracy and mean loss of the rows set apart.
    model_ : layers.Sequential
        What is trained.

    Notes
    -----
    ``partial_fit`` with ``early_stopping`` sets rows apart in each call. Once their score has not
    been better by ``tol`` for more than ``n_iter_no_change`` calls, the best parameters come back;
    training goes on from them if it is called again.
    """

    _is_classifier = True
    _score_of = staticmethod(accuracy_score)

    def __init__(  # noqa: PLR0913 - scikit-learn's
        self,
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
        class_weight: Any = None,
        dropout: float = 0.0,
        batch_norm: bool = False,
        dtype: DType = "float32",
        progress: bool = False,
    ) -> None:
        self._keep(locals())

    def predict_proba(self, X: Any) -> Any:
        """Probabilities, (n, n_classes) or (n, n_labels), in the order of ``classes_``.

        Parameters
        ----------
        X : array_like or sparse matrix, (n, n_features)
        """
        probabilities = self._by_rows(lambda x: self.model_.predict_proba(x), self._rows(X))
        if probabilities.shape[1] == 1:
            return np.hstack([1 - probabilities, probabilities])
        return probabilities

    def predict_log_proba(self, X: Any) -> Any:
        """Logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    @available_if(trains_on_batches)  # type: ignore[untyped-decorator] # scikit-learn's
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train by one epoch on rows that have just come.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array_like, optional
            All classes that will come; expected in the first call, where ``y`` has not all of them.
        """
        if classes is not None:
            classes = unique_labels(classes)
        if not hasattr(self, "classes_"):
            if classes is None:
                classes = unique_labels(y)
            self._binarizer = LabelBinarizer().fit(
                y if type_of_target(y).startswith("multilabel") else classes
            )
            self.classes_ = self._binarizer.classes_
        elif classes is not None and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"`classes={classes}` is not the same as on last call to partial_fit, was: "
                f"{self.classes_}"
            )
        return self._fit(X, y, sample_weight, incremental=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> Self:
        super()._fit(X, y, sample_weight, incremental)
        one_of_many = not self._binarizer.y_type_.startswith("multilabel")
        is_named = self.classes_.tolist() != list(range(len(self.classes_)))
        if one_of_many and is_named and len(self.classes_) == max(self.model_.n_out, 2):
            self.model_.classes = [str(name) for name in self.classes_]  # exported with it
        return self

    def _checked_xy(self, X: Any, y: Any, first: bool, incremental: bool) -> tuple[Any, Any, Any]:
        X, y = self._validated(X, y, first)
        check_classification_targets(y)
        if first and not incremental:
            self._binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._binarizer.classes_
        elif unknown := set(unique_labels(y).tolist()) - set(self.classes_.tolist()):
            raise ValueError(
                f"`y` has classes not in `self.classes_`: {sorted(unknown)}, expected some of "
                f"{self.classes_.tolist()}; warm_start can only be used where `y` has the same "
                "classes as in the previous call to fit"
            )
        targets = self._binarizer.transform(y)
        if self._binarizer.y_type_ == "multiclass":
            return X, y, targets.argmax(axis=1)
        return X, y, targets

    def _objective(self, targets: Any) -> Objective:
        if self._binarizer.y_type_ == "multiclass":
            self.out_activation_ = "softmax"
            return Objective(layers.SoftmaxCrossEntropy(), len(self.classes_))
        self.out_activation_ = "logistic"
        labels = len(self.classes_) if self._binarizer.y_type_.startswith("multilabel") else 1
        return Objective(layers.SigmoidCrossEntropy(), labels, labels, labels)

    def _answers(self, X: Any) -> Any:
        return self._binarizer.inverse_transform(
            self._by_rows(lambda x: self.model_.predict_proba(x), X)
        )
