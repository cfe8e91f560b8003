"""What `Sequential.fit` has seen, epoch by epoch."""

import math


class History(dict[str, list[float]]):
    """Lists by name, one number per epoch: loss, accuracy and, with validation data, val_loss, ...

    ``loss`` and ``accuracy`` are means over the epoch's rows, each taken before its batch's update.
    All lists are equally long: an epoch without validation data has NaN there.
    """

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

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in self.last().items())
        return f"History({self.epochs} epochs: {numbers})"
