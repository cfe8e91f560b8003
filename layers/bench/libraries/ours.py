"""Our own side, through public methods."""

import layers
from layers.bench.cases import LEARNING_RATE
from layers.bench.libraries.base import Fitting


class Ours(Fitting):
    """`Sequential.fit` and `Sequential.predict`."""

    def build(self) -> None:
        """Make the model once, so that it keeps the pace it has measured."""
        stack: list[layers.Layer] = []
        for n_in, n_out in zip(self.case.widths, self.case.widths[1:], strict=False):
            stack += [layers.Dense(n_in, n_out), layers.ReLU()]
        self.model = layers.Sequential(
            stack[:-1],
            loss=layers.SoftmaxCrossEntropy(),
            optimizer=layers.SGD(learning_rate=LEARNING_RATE),
            seed=0,
            dtype="float32",
        )

    def reset(self) -> None:
        """Overwrite the model's weights with the initial ones."""
        flat = [array for pair in self.weights for array in pair]
        for view, array in zip(self.model.parameters().values(), flat, strict=True):
            view[...] = array

    def first_batch(self) -> float:
        """`Sequential.train_step`."""
        rows = slice(0, self.case.batch)
        return float(self.model.train_step(self.x[rows], self.y[rows]))

    def fit(self, epochs: int, shuffle: bool) -> float:
        """`Sequential.fit`."""
        history = self.model.fit(
            self.x, self.y, epochs=epochs, batch_size=self.case.batch, shuffle=shuffle
        )
        return float(history.last()["loss"])
