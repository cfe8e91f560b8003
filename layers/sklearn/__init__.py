"""scikit-learn's multi-layer perceptrons, trained by this package: one import line changes.

`MLPClassifier` and `MLPRegressor` have the parameters, attributes and defaults of
``sklearn.neural_network``. What they have besides: more activations and losses, ``class_weight``,
``dropout``, ``batch_norm``, the loss on the rows set apart, ``partial_fit`` with early stopping, a
progress bar, the same bits for the same ``random_state`` on any number of threads.

They need scikit-learn 1.6 or later: ``pip install 'numba-layers[sklearn]'``.
"""

try:
    import sklearn.utils.validation
except ImportError as error:
    raise ImportError(
        f"layers.sklearn: {error}, expected scikit-learn: pip install 'numba-layers[sklearn]'"
    ) from error
if not hasattr(sklearn.utils.validation, "validate_data"):
    raise ImportError(
        f"layers.sklearn: scikit-learn is {sklearn.__version__}, expected 1.6 or later"
    )

from layers.sklearn.classifier import MLPClassifier as MLPClassifier
from layers.sklearn.regressor import MLPRegressor as MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
