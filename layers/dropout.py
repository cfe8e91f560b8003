"""Dropout: a layer that leaves numbers out in training."""

from typing import Any

from kernels.dropout import DROPOUT
from kernels.runtime import checks
from layers import seeds
from layers.base import Layer


class Dropout(Layer):
    """Leaves out each number with probability ``rate`` in training, and makes up for it.

    In training y = 0 with that probability, else x / (1 - rate); its gradient passes where x did.
    Otherwise y = x. Which numbers are left out is counted from the model's seed, the layer's place
    in it and the number of the step, so it is the same on any number of threads.

    Parameters
    ----------
    rate : float
        At least 0, below 1.
    seed : int, numpy.random.Generator or None
        Where the layer stands alone; in a model, the model's seed counts.
    """

    _RANDOM = True

    def __init__(self, rate: float = 0.5, *, seed: Any = None) -> None:
        self._rate = checks.number("Dropout", "rate", rate, 0)
        if self._rate >= 1:
            raise ValueError(f"Dropout: rate is {rate!r}, expected a number from 0 to below 1")
        self._key = seeds.key_of("Dropout", seed)

    @property
    def rate(self) -> float:
        """The probability with which a number is left out."""
        return self._rate

    def run_forward(self, run: Any, x: Any, training: bool) -> Any:
        """x with numbers left out in training, else x itself."""
        return self._dropped(run, x) if training and self.rate > 0 else x

    def run_backward(self, run: Any, x: Any, y: Any, dy: Any, needs_inputs: bool) -> Any:
        """dy with the same numbers left out; dy itself where none were."""
        return dy if y is x else self._dropped(run, dy)

    def _dropped(self, run: Any, x: Any) -> Any:
        stream = seeds.LAYER + (self._index << 40)
        return run.rowwise(DROPOUT, x, numbers=(self.rate,), stream=stream)

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor, as JSON can hold them."""
        return {"rate": self.rate}

    def __repr__(self) -> str:
        return f"Dropout({self.rate:g})"
