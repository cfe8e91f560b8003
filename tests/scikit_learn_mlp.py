"""scikit-learn's own tests of its perceptrons, run on ours.

    python -m pytest tests/scikit_learn_mlp.py

It is no part of the suite, since the next version of scikit-learn may test other things. What does
not apply is listed with its reason.
"""

from pathlib import Path

import pytest
import sklearn.neural_network.tests.test_mlp as theirs

pytestmark = pytest.mark.filterwarnings("ignore")

NO_LBFGS = "its solver is L-BFGS"
INSIDE = "it sets or calls private attributes"
DOES_NOT_APPLY = {
    "test_fit": INSIDE,
    "test_gradient": INSIDE,
    "test_adaptive_learning_rate": INSIDE,
    "test_learning_rate_warmstart": INSIDE,
    "test_early_stopping_stratified": "the message that it wants shows an array of theirs",
    "test_partial_fit_regression": "the score that it asks for is that of their first weights",
    "test_lbfgs_classification": NO_LBFGS,
    "test_lbfgs_classification_maxfun": NO_LBFGS,
    "test_lbfgs_regression": NO_LBFGS,
    "test_lbfgs_regression_maxfun": NO_LBFGS,
    "test_multilabel_classification": NO_LBFGS,
    "test_multioutput_regression": NO_LBFGS,
    "test_predict_proba_multilabel": NO_LBFGS,
    "test_sparse_matrices": NO_LBFGS,
    "test_warm_start": NO_LBFGS,
    "test_mlp_warm_start_no_convergence": NO_LBFGS,
    "test_mlp_vs_poisson_glm_equivalent": NO_LBFGS,
    "test_mlp_param_dtypes": "our dtype is a parameter, and does not follow X",
    "test_mlp_partial_fit_after_fit": "our partial_fit takes early_stopping",
    "test_nonfinite_params": "our error names the batch, not the weights",
    "test_mlp_diverging_loss": "our error names the batch, where theirs trains on with NaN",
}

SOURCE = Path(theirs.__file__).read_text(encoding="utf-8")
IMPORT = "from sklearn.neural_network import MLPClassifier, MLPRegressor"
assert IMPORT in SOURCE
OURS = {"__name__": __name__, "__file__": theirs.__file__}
exec(
    compile(
        SOURCE.replace(IMPORT, IMPORT.replace("sklearn.neural_network", "layers.sklearn")),
        theirs.__file__,
        "exec",
    ),
    OURS,
)
globals().update(
    {
        name: value
        for name, value in OURS.items()
        if name.startswith("test_") and name not in DOES_NOT_APPLY
    }
)


@pytest.fixture
def global_random_seed():
    return 0
