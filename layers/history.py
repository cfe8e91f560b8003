"""What `Sequential.fit` has seen, epoch by epoch."""


class History(dict[str, list[float]]):
    """Lists by name, one number per epoch: loss, accuracy and, with validation data, val_loss, ...

    ``loss`` and ``accuracy`` are means over the epoch's rows, each taken before its batch's update.
    """

    @property
    def epochs(self) -> int:
        """How many epochs there are."""
        return len(next(iter(self.values()), []))

    def add(self, **numbers: float) -> None:
        """Append one epoch."""
        for name, value in numbers.items():
            self.setdefault(name, []).append(value)

    def last(self) -> dict[str, float]:
        """The numbers of the latest epoch."""
        return {name: values[-1] for name, values in self.items() if values}

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in self.last().items())
        return f"History({self.epochs} epochs: {numbers})"
