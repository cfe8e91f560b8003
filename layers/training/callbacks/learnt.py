"""What training changes in a model."""

from typing import TYPE_CHECKING

from layers.base import Array

if TYPE_CHECKING:
    from layers.sequential import Sequential


def learnt(model: "Sequential") -> dict[str, Array]:
    """What training changes in a model: parameters, and layers' statistics; views."""
    return model.parameters() | model.statistics()
