"""The estimators, as scikit-learn's users use them."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import layers
from layers.sklearn import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

IRIS = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[IRIS[1]]
SCALED = StandardScaler().fit_transform(IRIS[0])


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scikit_learns_own_checks(kind, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the checks warn of is theirs
        results = check_estimator(kind(max_iter=100, dtype=dtype), on_fail=None, on_skip=None)
    failed = {
        each["check_name"]: each["exception"] for each in results if each["status"] == "failed"
    }
    if dtype == "float32":  # two sums in different orders are asked to agree to 1e-7
        for name in ("dense", "sparse"):
            failed.pop(f"check_sample_weight_equivalence_on_{name}_data", None)
    assert failed == {}
    assert len(results) > 50


def test_one_import_line_changes():
    x, x_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(random_state=0, max_iter=50))
    assert pipeline.fit(x, y).score(x_test, y_test) > 0.95
    fitted = pipeline[-1]
    assert [coefs.shape for coefs in fitted.coefs_] == [(64, 100), (100, 10)]
    assert [each.shape for each in fitted.intercepts_] == [(100,), (10,)]
    assert (fitted.n_layers_, fitted.n_outputs_, fitted.out_activation_) == (3, 10, "softmax")
    assert fitted.n_iter_ == len(fitted.loss_curve_) <= 50
    assert fitted.t_ == fitted.n_iter_ * len(x)


def test_classes_keep_their_names():
    fitted = MLPClassifier(random_state=0, max_iter=300, learning_rate_init=0.01)
    fitted.fit(SCALED, NAMES)
    assert fitted.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert (fitted.predict(SCALED) == NAMES).mean() > 0.95
    np.testing.assert_allclose(fitted.predict_proba(SCALED).sum(axis=1), 1, rtol=1e-5)


def test_two_classes_have_one_output_and_two_probabilities():
    y = NAMES == "setosa"
    fitted = MLPClassifier(random_state=0, max_iter=100).fit(SCALED, y)
    assert (fitted.n_outputs_, fitted.out_activation_) == (1, "logistic")
    probabilities = fitted.predict_proba(SCALED)
    assert probabilities.shape == (150, 2)
    assert np.array_equal(fitted.predict(SCALED), probabilities[:, 1] > 0.5)
    assert fitted.score(SCALED, y) > 0.95


def test_several_labels():
    x, y = make_multilabel_classification(200, n_classes=3, random_state=0)
    fitted = MLPClassifier(random_state=0, max_iter=200, learning_rate_init=0.01).fit(x, y)
    assert fitted.predict(x).shape == y.shape
    assert fitted.score(x, y) > 0.7


def test_the_same_random_state_gives_the_same_bits():
    one, other = (MLPClassifier(random_state=7, max_iter=5).fit(*IRIS) for _ in range(2))
    assert one.model_.fingerprint() == other.model_.fingerprint()
    another = MLPClassifier(random_state=8, max_iter=5).fit(*IRIS)
    assert one.model_.fingerprint() != another.model_.fingerprint()


def test_clone_pickle_and_search():
    estimator = MLPClassifier(max_iter=20, random_state=0).fit(*IRIS)
    again = pickle.loads(pickle.dumps(estimator))
    assert np.array_equal(again.predict_proba(IRIS[0]), estimator.predict_proba(IRIS[0]))
    assert not hasattr(clone(estimator), "model_")
    search = GridSearchCV(estimator, {"dropout": [0.0, 0.5]}, cv=2).fit(*IRIS)
    assert set(search.best_params_) == {"dropout"}
    calibrated = CalibratedClassifierCV(estimator, cv=2).fit(*IRIS)
    assert calibrated.predict_proba(IRIS[0]).shape == (150, 3)
    assert len(cross_val_score(estimator, *IRIS, cv=2)) == 2


def test_early_stopping_gives_the_best_parameters_back():
    x, y = load_digits(return_X_y=True)
    estimator = MLPClassifier(
        early_stopping=True, random_state=0, max_iter=200, n_iter_no_change=3, tol=0.001
    ).fit(x / 16, y)
    assert len(estimator.validation_scores_) == estimator.n_iter_ < 200
    assert len(estimator.validation_loss_curve_) == estimator.n_iter_
    assert estimator.best_validation_score_ == max(estimator.validation_scores_)
    *_, held = estimator._set_apart(x / 16, y, y, None)
    assert estimator.score(held[0], held[1]) == estimator.best_validation_score_


def test_partial_fit_with_early_stopping_stops_on_the_best():
    x, y = load_digits(return_X_y=True)
    estimator = MLPClassifier(
        early_stopping=True, random_state=0, n_iter_no_change=2, tol=0.01, learning_rate_init=0.01
    )
    for _ in range(40):
        estimator.partial_fit(x / 16, y)
    assert estimator.n_iter_ == 40
    assert estimator.score(x / 16, y) > 0.95


def test_partial_fit_takes_classes_that_come_later():
    estimator = MLPClassifier(random_state=0)
    estimator.partial_fit(SCALED[:50], NAMES[:50], classes=np.unique(NAMES))
    assert estimator.partial_fit(SCALED[50:], NAMES[50:]).classes_.tolist() == sorted(set(NAMES))
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`: \['rose'\]"):
        estimator.partial_fit(SCALED[:2], ["rose", "setosa"])
    with pytest.raises(ValueError, match="is not the same as on last call"):
        estimator.partial_fit(SCALED[:2], NAMES[:2], classes=["setosa", "rose"])


def test_warm_start_goes_on():
    estimator = MLPClassifier(warm_start=True, max_iter=3, random_state=0).fit(*IRIS)
    before = estimator.model_
    assert estimator.fit(*IRIS).model_ is before
    assert (estimator.n_iter_, len(estimator.loss_curve_)) == (3, 6)


def test_sparse_rows_give_what_dense_ones_give():
    x, y = load_digits(return_X_y=True)
    given = {"random_state": 0, "max_iter": 3, "shuffle": False, "batch_size": 64}
    dense = MLPClassifier(**given).fit(x, y)
    thin = MLPClassifier(**given).fit(csr_matrix(x), y)
    assert dense.model_.fingerprint() == thin.model_.fingerprint()
    assert np.array_equal(dense.predict_proba(x), thin.predict_proba(csr_array(x)))


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
def test_regression(loss):
    x, y = load_diabetes(return_X_y=True)
    x, y = StandardScaler().fit_transform(x), (y - y.mean()) / y.std()
    estimator = MLPRegressor(loss, random_state=0, max_iter=100).fit(x, y)
    assert estimator.predict(x).shape == y.shape
    assert estimator.score(x, y) > 0.4
    two = MLPRegressor(loss, random_state=0, max_iter=2).fit(x, np.stack([y, -y], axis=1))
    assert two.predict(x).shape == (len(x), 2)


def test_counts():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 2))
    means = np.exp(x @ [0.5, -0.3] + 1)
    estimator = MLPRegressor("poisson", random_state=0, max_iter=300, learning_rate_init=0.01)
    estimator.fit(x, rng.poisson(means))
    assert estimator.out_activation_ == "exp"
    assert estimator.predict(x).min() > 0
    assert np.corrcoef(estimator.predict(x), means)[0, 1] > 0.95


def test_alpha_and_the_rate_are_scikit_learns():
    """Plain gradient descent from the same parameters goes the same way."""
    from sklearn.neural_network import MLPRegressor as Theirs

    x, y = load_diabetes(return_X_y=True)
    y = np.stack([y, y[::-1]], axis=1) / 100
    given = {"solver": "sgd", "alpha": 0.5, "max_iter": 1, "batch_size": len(x), "momentum": 0.9}
    given |= {"warm_start": True, "learning_rate_init": 0.05, "shuffle": False, "random_state": 0}
    ours, theirs = MLPRegressor(**given, dtype="float64").fit(x, y), Theirs(**given).fit(x, y)
    for some, others in ((theirs.coefs_, ours.coefs_), (theirs.intercepts_, ours.intercepts_)):
        for array, other in zip(some, others, strict=True):
            array[...] = other
    ours.set_params(max_iter=20).fit(x, y)
    theirs.set_params(max_iter=20).fit(x, y)
    for array, other in zip(theirs.coefs_, ours.coefs_, strict=True):
        np.testing.assert_allclose(other, array, rtol=1e-9, atol=1e-12)


def test_schedules_of_the_rate():
    x, y = SCALED, IRIS[1]
    falls = MLPClassifier(solver="sgd", learning_rate="invscaling", max_iter=2, random_state=0)
    falls.fit(x, y)
    assert falls.model_.optimizer.learning_rate == pytest.approx(0.001 / (2 * 150 + 1) ** 0.5)
    adapts = MLPClassifier(
        solver="sgd", learning_rate="adaptive", n_iter_no_change=1, tol=10, max_iter=500
    ).fit(x, y)
    assert adapts.model_.optimizer.learning_rate <= 1e-6
    assert adapts.n_iter_ < 500


def test_class_weights_move_the_border():
    x, y = SCALED[50:], IRIS[1][50:]
    for weights, wanted in (({1: 20, 2: 1}, 1), ({1: 1, 2: 20}, 2)):
        estimator = MLPClassifier(class_weight=weights, random_state=0, max_iter=100).fit(x, y)
        assert (estimator.predict(x) == wanted).mean() > 0.55


def test_what_is_said_along_the_way(capsys):
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
        MLPClassifier(verbose=True, max_iter=2).fit(*IRIS)
    assert "Iteration 2, loss = " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"solver": "lbfgs"}, "MLPClassifier: solver is 'lbfgs', expected 'adam' or 'sgd'"),
        ({"activation": "swish"}, "activation is 'swish', expected one of 'identity', 'logistic'"),
        ({"learning_rate": 0.1}, "learning_rate is 0.1, expected one of 'constant'"),
        ({"hidden_layer_sizes": (10, 0)}, "hidden_layer_sizes is (10, 0), expected an integer"),
        ({"hidden_layer_sizes": ("10",)}, "hidden_layer_sizes is ('10',), expected an integer"),
        ({"hidden_layer_sizes": "x"}, "hidden_layer_sizes is 'x', expected an integer of at least"),
        ({"hidden_layer_sizes": 3.5}, "hidden_layer_sizes is 3.5, expected an integer of at least"),
        ({"hidden_layer_sizes": None}, "hidden_layer_sizes is None, expected an integer"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0, expected a number from 0 to"),
        ({"validation_fraction": -0.1}, "validation_fraction is -0.1, expected a number from 0"),
        (
            {"validation_fraction": 0.0, "early_stopping": True},
            "validation_fraction is 0.0 and early_stopping True, expected a number above 0",
        ),
        ({"early_stopping": "yes"}, "early_stopping is 'yes', expected True or False"),
        ({"shuffle": "no"}, "shuffle is 'no', expected True or False"),
        ({"warm_start": 7}, "warm_start is 7, expected True or False"),
        ({"nesterovs_momentum": 1}, "nesterovs_momentum is 1, expected True or False"),
        ({"batch_norm": "no"}, "batch_norm is 'no', expected True or False"),
        ({"progress": None}, "progress is None, expected True or False"),
        ({"verbose": "x"}, "verbose is 'x', expected an integer of at least 0"),
        ({"tol": -1}, "tol is -1, expected a number at least 0"),
        ({"tol": float("nan")}, "tol is nan, expected a number at least 0"),
        ({"power_t": -1}, "power_t is -1, expected a number at least 0"),
        ({"beta_1": 1.0}, "beta_1 is 1.0, expected a number from 0 to below 1"),
        ({"epsilon": 0.0}, "epsilon is 0.0, expected a number above 0"),
        ({"learning_rate_init": "much"}, "learning_rate_init is 'much', expected a number above 0"),
        ({"momentum": 1.5}, "momentum is 1.5, expected a number from 0 to 1"),
        ({"max_fun": 0}, "max_fun is 0, expected an integer of at least 1"),
        ({"class_weight": "balance"}, "class_weight is 'balance', expected a dict from a class"),
        ({"alpha": -1.0}, "MLPClassifier: alpha is -1.0, expected"),
        ({"batch_size": 0}, "MLPClassifier: batch_size is 0, expected"),
        ({"max_iter": 0}, "MLPClassifier: max_iter is 0, expected"),
        ({"dropout": 1.0}, "dropout is 1.0, expected"),
        ({"dtype": "float16"}, "dtype is 'float16', expected"),
    ],
)
def test_bad_parameters_are_refused_by_name(given, message):
    with pytest.raises((ValueError, TypeError)) as raised:
        MLPClassifier(**given).fit(*IRIS)
    assert message in str(raised.value)


def test_importing_layers_does_not_import_scikit_learn():
    script = "import sys, layers; print('sklearn' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
    assert layers.__name__ == "layers"


def test_the_model_has_the_names_of_classes_that_are_no_indices():
    x, y = IRIS
    for labels, names in ((NAMES, tuple(np.unique(NAMES))), (y + 1, ("1", "2", "3")), (y, None)):
        fitted = MLPClassifier((4,), max_iter=1, random_state=0).fit(x, labels)
        assert fitted.model_.classes == names
    two = MLPClassifier((4,), max_iter=1, random_state=0).fit(x[:100], NAMES[:100])
    assert two.model_.classes == ("setosa", "versicolor")
