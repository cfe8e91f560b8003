"""The loss of a model that comes from elsewhere, where none is given."""

from collections.abc import Sequence

from layers.base import Layer
from layers.losses import CategoricalCrossEntropy, Loss
from layers.losses_of_labels import BinaryCrossEntropy


def default_loss(layers: Sequence[Layer]) -> Loss | None:
    """What the last layer asks for; None for the one that every model has by default."""
    gives = layers[-1].gives
    if gives == "probabilities":
        return CategoricalCrossEntropy()
    if gives == "sigmoid":
        return BinaryCrossEntropy()
    return None
