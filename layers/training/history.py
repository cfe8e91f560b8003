"""What `Sequential.fit` has seen, epoch by epoch."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layers.plots.figure import Picture

_HIGHER = frozenset(["accuracy", "precision", "recall", "f1", "r2", "auc", "top"])


class History(dict[str, list[float]]):
    """Lists by name, one number per epoch: loss, accuracy and, with validation data, val_loss, ...

    ``loss`` and ``accuracy`` are means over the epoch's rows, each taken before its batch's update.
    All lists are equally long: an epoch without validation data has NaN there.
    """

    def __missing__(self, name: Any) -> list[float]:
        raise KeyError(f"History: there is no {name!r}, expected one of {list(self)}")

    @property
    def epochs(self) -> int:
        """How many epochs there are."""
        return len(next(iter(self.values()), []))

    def add(self, **numbers: float) -> None:
        """Append one epoch."""
        if numbers.keys() == self.keys():
            for name, values in self.items():
                values.append(numbers[name])
            return
        before = self.epochs
        for name in {**self, **numbers}:
            values = self.setdefault(name, [math.nan] * before)
            values.append(numbers.get(name, math.nan))

    def last(self) -> dict[str, float]:
        """The numbers of the latest epoch."""
        return {name: values[-1] for name, values in self.items() if values}

    def best(self, monitor: str = "val_loss") -> dict[str, float]:
        """The numbers of the epoch that is best by one of them, and which it is.

        Parameters
        ----------
        monitor : str
            The highest accuracy, precision, recall, F1, R2 or AUC is best, and the lowest of
            anything else. NaN is never best.

        Returns
        -------
        dict
            ``{"epoch": ..., "loss": ..., ...}``; epochs count from 1, and the earliest is best
            among equals.
        """
        if monitor not in self:
            raise ValueError(f"History.best: monitor is {monitor!r}, expected one of {list(self)}")
        sign = -1 if higher_is_better(monitor) else 1
        numbers = [(sign * value, n) for n, value in enumerate(self[monitor]) if value == value]
        if not numbers:
            raise ValueError(f"History.best: {monitor} is NaN in each epoch, expected a number")
        _, at = min(numbers)
        return {"epoch": at + 1} | {name: values[at] for name, values in self.items()}

    def plot(self, path: Any = None) -> "Picture":
        """The curves of all that was measured, by epoch; see `layers.plots.curves`.

        Parameters
        ----------
        path : path, optional
            Where to write the picture, too.

        Returns
        -------
        matplotlib.figure.Figure
            It needs matplotlib: ``pip install 'numba-layers[plot]'``.
        """
        from layers import plots

        return plots.curves(self, path)

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in self.last().items())
        return f"History({self.epochs} epochs: {numbers})"


def higher_is_better(monitor: str) -> bool:
    """Whether a metric of this name is the better the higher it is, as an accuracy is."""
    return not _HIGHER.isdisjoint(monitor.lower().split("_"))
