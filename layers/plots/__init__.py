"""Pictures of training, predictions and networks, each a figure; they need matplotlib.

A function returns a figure, which a notebook shows, and writes it too where it is given a path.
"""

from layers.plots.classes import confusion as confusion
from layers.plots.classes import decision_regions as decision_regions
from layers.plots.curves import curves as curves
from layers.plots.curves import learning_rates as learning_rates
from layers.plots.digits import digits as digits
from layers.plots.digits import is_own as is_own
from layers.plots.figure import formats as formats
from layers.plots.network import activations as activations
from layers.plots.network import gradients as gradients
from layers.plots.network import weights as weights

__all__ = [
    "activations",
    "confusion",
    "curves",
    "decision_regions",
    "gradients",
    "learning_rates",
    "weights",
]
