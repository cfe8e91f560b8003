"""From a table to predictions, with the decisions in between made by `Columns`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.runtime import checks
from layers.activations import ReLU
from layers.base import Array, DType, Layer
from layers.dense import Dense
from layers.files.model_file import load
from layers.keywords import Spelled
from layers.losses import Loss, SoftmaxCrossEntropy
from layers.losses_of_numbers import MeanSquaredError
from layers.optimizers import Adam
from layers.replacing import StrPath
from layers.sequential import Sequential
from layers.tables.columns import Columns
from layers.tables.reading import read_table
from layers.tables.table import Table
from layers.training.history import History

_FEWEST = 30
"""Rows that tell one epoch from another."""


class TabularPredictor(Spelled):
    """Learns one column of a table from the others.

    Parameters
    ----------
    target : str or int, optional
        The column to predict; see `Columns`, for `task` as well.
    hidden : sequence of int
        Widths of the hidden layers, each followed by a ReLU.
    epochs : int
        At most.
    patience : int
        End after so many epochs without a smaller loss on the rows set apart, with the best
        parameters.
    task : {"classification", "regression"}, optional
    seed : int
        Of the first weights, the order of the rows, and those set apart.
    keep, drop, categories_up_to, embed_up_to
        As of `Columns`; an embedded category becomes a vector of 8 numbers, which are learnt.
    validation_fraction : float, optional
        How much of the rows is set apart; by default a tenth where that is at least 30 rows, and
        else none: fewer would end training by chance, so that it takes all epochs.
    batch_size : int
    learning_rate, weight_decay : float
        Of Adam.
    dtype : {"float32", "float64"}

    Attributes
    ----------
    columns : Columns
        What became of the columns; print it.
    model : Sequential
        It has the columns too, so they are in its file.
    """

    columns: Columns
    model: Sequential

    def __init__(  # noqa: PLR0913 - all that can be chosen stands in one place
        self,
        target: str | int | None = None,
        hidden: Sequence[int] = (128,),
        epochs: int = 100,
        patience: int = 10,
        task: str | None = None,
        seed: Any = 0,
        *,
        keep: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        categories_up_to: int = 20,
        embed_up_to: int = 1000,
        validation_fraction: float | None = None,
        batch_size: int = 32,
        learning_rate: float = 0.001,
        weight_decay: float = 0.01,
        dtype: DType = "float32",
    ) -> None:
        place = "TabularPredictor"
        self.columns = Columns(
            target, keep, drop, categories_up_to, embed_up_to=embed_up_to, task=task
        )
        self.hidden = tuple(checks.integer(place, "hidden", width, 1) for width in hidden)
        self.epochs = checks.integer(place, "epochs", epochs, 1)
        self.patience = checks.integer(place, "patience", patience, 1)
        self.validation_fraction = validation_fraction
        self.batch_size = checks.integer(place, "batch_size", batch_size, 1)
        self.optimizer, self.seed = Adam(learning_rate, weight_decay=weight_decay), seed
        self.dtype = checks.real_dtype(place, dtype)

    def fit(self, source: Any, progress: bool = False) -> "TabularPredictor":
        """Decide on the columns of a table, and train a new model; returns itself.

        Parameters
        ----------
        source : path, frame, mapping or Table
            What `layers.read_table` takes.
        progress : bool
            Whether to show a bar.
        """
        self.train(*self.prepare(source), progress=progress)
        return self

    def prepare(self, source: Any) -> tuple[Array, Array]:
        """Decide on the columns and make the model, untrained: what `fit` does first."""
        table = source if isinstance(source, Table) else read_table(source)
        x, y = self.columns.fit(table).transform(table, self.dtype)
        assert y is not None
        embedding = self.columns.embedding()
        stack: list[Layer] = [embedding] if embedding else []
        n_in = embedding.n_out if embedding else self.columns.n_in
        for width in self.hidden:
            # Not "he", whose larger weights fit the noise of few columns: docs/tables.md.
            stack += [Dense(n_in, width, initializer="glorot"), ReLU()]
            n_in = width
        loss: Loss = SoftmaxCrossEntropy() if self.task == "classification" else MeanSquaredError()
        self.model = Sequential(
            [*stack, Dense(n_in, self.columns.n_out)],
            loss=loss,
            optimizer=self.optimizer,
            seed=self.seed,
            dtype=self.dtype,
        )
        self.model.columns = self.columns
        return x, y

    def train(
        self, x: Array, y: Array, progress: bool = False, callbacks: Sequence[Any] = ()
    ) -> History:
        """Train on what `prepare` gave, with rows set apart and the best parameters kept.

        Parameters
        ----------
        x, y : ndarray
        progress : bool
            Whether to show a bar.
        callbacks : sequence of functions
            As of `Sequential.fit`. A model from a `Checkpoint`, given as ``model``, goes on to the
            same number of epochs in all.
        """
        fraction = self.fraction_set_apart(len(x))
        done = self.model.history.epochs if self.model._stopped else 0
        return self.model.fit(
            x,
            y,
            self.epochs - done,
            self.batch_size,
            progress=progress,
            validation_fraction=fraction,
            patience=self.patience if fraction else None,
            callbacks=callbacks,
        )

    def fraction_set_apart(self, n: int) -> float:
        """How much of n rows is set apart, to tell which epoch is best."""
        if self.validation_fraction is not None:
            return self.validation_fraction
        return 0.1 if n >= 10 * _FEWEST else 0.0

    def predict(self, source: Any) -> Array:
        """The class of each row by its name, or a number in the target's unit."""
        x, _ = self._inputs(source)
        return self.columns.answers(self.model.predict(x))

    def predict_proba(self, source: Any) -> Array:
        """Probabilities of each row's classes, (n, n_classes), in the order of ``classes``."""
        x, _ = self._inputs(source)
        return self.model.predict_proba(x)

    def evaluate(self, source: Any) -> dict[str, float]:
        """How well it predicts a table whose targets are known.

        Returns
        -------
        dict
            Of classes, what `Sequential.evaluate` says; of numbers, in the target's unit, the mean
            absolute error ``mae``, the root of the mean squared error ``rmse``, and ``r2``.
        """
        table = self.columns.read(source)
        x, y = self._inputs(table)
        if y is None:
            raise ValueError(
                f"TabularPredictor.evaluate: the table has no column {self.columns.target!r}, "
                "expected the targets to compare with"
            )
        if self.task == "classification":
            return self.model.evaluate(x, y)
        true = self.columns.goal.numbers(table[self.columns.target], "evaluate")
        errors = self.columns.answers(self.model.predict(x)) - true
        squares = float(np.mean(errors**2))
        variance = float(np.var(true))
        return {
            "mae": float(np.mean(np.abs(errors))),
            "rmse": squares**0.5,
            "r2": 1 - squares / variance if variance else float("nan"),
        }

    @property
    def task(self) -> str:
        """What was found: ``"classification"`` or ``"regression"``."""
        return self.columns.task

    @property
    def classes(self) -> tuple[str, ...] | tuple[int, ...]:
        """The names of the classes, as `predict_proba` has them."""
        return self.columns.classes

    @property
    def history(self) -> History:
        """Of all epochs of training."""
        return self.model.history

    def save(self, path: StrPath) -> None:
        """Write the model with its columns to one file, whole or not at all.

        The columns are the predictor's, also where ``model.columns`` was set to something else.
        """
        theirs = self._fitted().columns
        self.model.columns = self.columns
        try:
            self.model.save(path)
        finally:
            self.model.columns = theirs

    @classmethod
    def load(cls, path: StrPath) -> "TabularPredictor":
        """Read what `save` wrote, or ``python -m layers train``."""
        return cls.of(load(path), f"TabularPredictor.load: {path}")

    @classmethod
    def of(cls, model: Sequential, place: str = "TabularPredictor.of") -> "TabularPredictor":
        """Of a model that was trained on a table."""
        if not isinstance(model.columns, Columns):
            raise ValueError(
                f"{place} was not trained on a table by TabularPredictor, expected its columns "
                "(layers.load gives the model)"
            )
        widths = [layer.n_out for layer in model.layers[:-1] if isinstance(layer, Dense)]
        made = cls(model.columns.target, widths, task=model.columns.task, dtype=model.dtype)
        made.model, made.columns, made.optimizer = model, model.columns, model.optimizer  # type: ignore[assignment]
        return made

    def _inputs(self, source: Any) -> tuple[Array, Array | None]:
        self._fitted()
        return self.columns.transform(source, self.dtype)

    def _fitted(self) -> Sequential:
        if not hasattr(self, "model"):
            raise ValueError("TabularPredictor: it has learnt nothing yet, expected fit before")
        return self.model

    def __repr__(self) -> str:
        return f"TabularPredictor({self.columns!r}, hidden={self.hidden!r})"
