"""Our own side, through the public calls."""

import layers
from layers.bench.cases import LEARNING_RATE
from layers.bench.libraries.base import Fitting


class Ours(Fitting):
    """`Sequential.fit` and `Sequential.predict`."""

    def build(self) -> None:
        """A model that is kept: what it has learnt of its own pace stays."""
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
        """Write the first weights over the model's own."""
        flat = [array for pair in self.weights for array in pair]
        for view, array in zip(self.model.parameters().values(), flat, strict=True):
            view[...] = array

    def first_batch(self) -> float:
        """`Sequential.train_step`."""
        rows = slice(0, self.case.batch)
        return float(self.model.train_step(self.x[rows], self.y[rows]))

    def steps(self, passes: int) -> float:
        """One `fit`, shuffle and all, for as many epochs."""
        history = self.model.fit(self.x, self.y, epochs=passes, batch_size=self.case.batch)
        return float(history.last()["loss"])
