"""A stack of layers with a loss and an optimizer: the model that users train."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from kernels.runtime import checks
from layers import runs, seeds
from layers.backends import active, is_compiled
from layers.base import Array, Layer, Part, for_inference
from layers.columns import Columns
from layers.compiled import lowering
from layers.compiled.buffers import FlatBuffers
from layers.compiled.runner import Compiled, SingleStep, Totals
from layers.losses import Loss, SoftmaxCrossEntropy
from layers.optimizers import SGD, Optimizer
from layers.summary import Summary, summary
from layers.training.data_sources import Piece, as_batches, joined
from layers.training.history import History
from layers.training.trainable import Trainable
from layers.validation import check_free, check_loss, checked_layers, checked_part, checked_widths

_PREDICT_ROWS, _EVALUATE_ROWS = 1024, 16_384
"""Rows that go through the layers, and through the loss, together: no result depends on it."""


class Sequential(Trainable):
    """Layers one after another, trained on a loss.

    Parameters
    ----------
    layers : sequence of Layer
        Widths must fit. They belong to this model from now on; weights that were set stay.
    loss : Loss, optional
        `SoftmaxCrossEntropy` takes the logits of the last layer; a `Softmax` before it is refused.
    optimizer : Optimizer, optional
        By default ``SGD()``.
    seed : int, numpy.random.Generator or None
        Of first weights and shuffles. The same seed gives the same bits, on any number of threads
        and any CPU with fused multiply-add; None takes bits from the operating system.
    dtype : {"float32", "float64"}
        Of all parameters and all arithmetic. Data in another real dtype is converted once.

    Attributes
    ----------
    layers : tuple of Layer
        Which they are is settled when the model is made.
    loss, optimizer : Loss, Optimizer
        Others may be assigned; a new optimizer starts from its first step.
    n_in, n_out : int
        Width of the data and of the scores.
    history : History
        Of all epochs so far.
    columns : Columns or None
        Of the table that it was trained on, where the command line did; it is saved with the model.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        seed: Any = None,
        dtype: str = "float32",
    ) -> None:
        self._dtype = checks.real_dtype("Sequential", dtype)
        self._layers = checked_layers(layers)
        self._n_in, self._n_out = checked_widths(self.layers)
        self._runner: Compiled | None = None
        self._single_step: SingleStep | None = None
        self._step = self._first_step = 0
        self._buffers = FlatBuffers([], self.dtype)
        self.loss = SoftmaxCrossEntropy() if loss is None else loss
        self.optimizer = SGD() if optimizer is None else optimizer
        self.history = History()
        self.columns: Columns | None = None
        self._key = seeds.key_of("Sequential", seed)
        self._bind()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, first to last."""
        return self._layers

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of all parameters and all arithmetic."""
        return self._dtype

    @property
    def n_in(self) -> int:
        """Width of the data."""
        return self._n_in

    @property
    def n_out(self) -> int:
        """Width of the scores, such as the number of classes."""
        return self._n_out

    @property
    def loss(self) -> Loss:
        """What training makes smaller."""
        return self._loss

    @loss.setter
    def loss(self, loss: Loss) -> None:
        check_loss(self.layers, checked_part("loss", loss, Loss))
        self._loss, self._runner, self._single_step = loss, None, None

    @property
    def optimizer(self) -> Optimizer:
        """How the parameters move."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer) -> None:
        self._optimizer = checked_part("optimizer", optimizer, Optimizer)
        self._buffers.make_states(optimizer.states)
        self._first_step, self._runner, self._single_step = self._step, None, None

    def _bind(self) -> None:
        """Lay all parameters out in one buffer, gradients in another."""
        check_free(self.layers)
        self._buffers = FlatBuffers([layer.parameter_shapes() for layer in self.layers], self.dtype)
        self._bind_layers()

    def _bind_layers(self) -> None:
        for index, layer in enumerate(self.layers):
            follower = self.layers[index + 1] if index + 1 < len(self.layers) else None
            default = getattr(follower, "default_initializer", "glorot")
            layer.bind(
                self._buffers.parameter_views[index],
                self._buffers.gradient_views[index],
                default,
                self._key,
                index,
            )
            layer.dtype, layer._index = self.dtype, index
            layer.in_model = True

        self._buffers.make_states(self.optimizer.states)
        self._runner, self._seen, self._single_step = None, -1, None

    def reset(self, seed: Any = None) -> None:
        """Start anew: first weights, no step taken, the optimizer's states and the history empty.

        Weights that were set before the model was made are gone too. The optimizer and its numbers
        stay as they are, and so does the memory: views of the parameters show the new ones.

        Parameters
        ----------
        seed : int, numpy.random.Generator or None
            Of the new weights and shuffles; None is the model's own seed once more.
        """
        if seed is not None:
            self._key = seeds.key_of("Sequential.reset", seed)
        for layer in self.layers:
            layer.forget()
            layer.reset()
            layer.in_model = False
        self._buffers.parameters[...] = self._buffers.gradients[...] = 0
        self._step = self._first_step = 0
        self.history = History()
        self._bind_layers()

    def _compiled(self) -> Compiled | None:
        """What runs the whole network in one compiled call, where it can."""
        if self._seen != Part.changes() or not is_compiled():
            self._runner, self._seen, self._single_step = None, Part.changes(), None
        if self._runner is None and self.obstacle() is None:
            self._runner = Compiled(self)
        return self._runner

    def obstacle(self) -> str | None:
        """Why the network runs layer by layer; None where it runs as one compiled program."""
        if not is_compiled():
            return "the backend is NumPy"
        return lowering.obstacle(self)

    def _forget(self) -> None:
        """What layers keep of their last pass: a compiled one would leave it out of date."""
        if self._compiled() is not None:
            self._forget_passes()

    def _forget_passes(self) -> None:
        for layer in self._layers:
            if layer.output is not None or layer.dinputs is not None:
                layer.forget()

    def __len__(self) -> int:
        """How many layers there are."""
        return len(self._layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def __getitem__(self, index: int) -> Layer:
        """A layer by its place; ``model[-1]`` is the last."""
        return self._layers[index]

    def __call__(self, x: Array, training: bool = False) -> Array:
        """The same as `forward`."""
        return self.forward(x, training)

    # --- one pass ---

    def forward(self, x: Array, training: bool = False) -> Array:
        """Scores of the last layer for a batch: logits, or probabilities after a `Softmax`.

        Parameters
        ----------
        x : array_like, (batch, n_in)
        training : bool
            Passed on to the layers.

        Returns
        -------
        ndarray, (batch, n_out)
        """
        return self._forward(self._checked_data("forward", "x", x), training, self.layers)

    def _forward(self, x: Array, training: bool, layers: Iterable[Layer]) -> Array:
        scores = x
        for layer in layers:
            scores = layer.forward(scores, training=training)
        # A layer of the user's own may return anything, and kernels index it by the labels.
        expected = (len(x), self.n_out)
        return checks.real("Sequential.forward", "output", scores, self.dtype, expected)

    def backward(self, dy: Array) -> None:
        """Fill every layer's gradients from the gradient by the scores, last layer first."""
        for index in reversed(range(len(self.layers))):
            dy = getattr(self.layers[index], self._backward_of(index))(dy)

    def _backward_of(self, index: int) -> str:
        """Which method a layer goes backward by."""
        method = getattr(self.layers[index].backward, "__func__", None)
        # Nothing needs the gradient by the data, which may be a whole product.
        return "backward_parameters" if index == 0 and method is Layer.backward else "backward"

    def train_step(self, x: Array, y: Any) -> float:
        """One forward, loss, backward and update on one batch.

        Parameters
        ----------
        x : array_like, (batch, n_in)
        y : array_like
            Class indices (batch,), or target rows (batch, n_classes).

        Returns
        -------
        float
            The loss before the update. Where it is not finite, nothing is updated.
        """
        fast = self._single_step
        if fast is not None and self._seen == Part.changes() and is_compiled():
            loss = fast.take(x, y, self._step)
            if loss is not None:
                self._forget_passes()
                self._step += math.isfinite(loss)
                return loss
        checked = self._checked_data("train_step", "x", x)
        targets = self._targets("train_step", "y", y, len(checked))
        self._forget()
        piece = Piece(checked, targets, np.arange(len(checked)), len(checked))
        loss, _ = self._train(piece, piece.order, Totals())
        if self._runner is not None:
            self._single_step = self._runner.single_step(checked, targets)
        return loss

    def _targets(self, method: str, name: str, y: Any, rows: int) -> Array:
        return self.loss.targets(f"Sequential.{method}", name, y, rows, self.n_out, self.dtype)

    def _train(self, piece: Piece, order: Array, totals: Totals) -> tuple[float, Totals]:
        """Train on a batch of the given rows, or on as many as one compiled call takes.

        The last batch's loss, and the totals; where it is not finite, nothing moves by it.
        """
        x, targets, _, batch_size = piece
        compiled = self._compiled()
        if compiled is not None:
            loss, after = compiled.train(x, targets, order, batch_size, self._step, totals)
        else:
            rows = order[:batch_size]
            batch = np.empty((len(rows), x.shape[1]), self.dtype)
            active().gather_rows(x, rows, batch)
            with runs.at(self._key, self._step):
                loss, measured = self._by_layers(batch, targets[rows])
            after = totals.plus(loss, len(rows), measured) if math.isfinite(loss) else totals
        self._step += -(-(after.rows - totals.rows) // batch_size)
        return loss, after

    def _by_layers(self, x: Array, targets: Array) -> tuple[float, list[float]]:
        """The loss before the update, and the sum over rows of each measure."""
        scores = self._forward(x, True, self.layers)
        losses, measures, gradient = self.loss.run(scores, targets)
        loss = float(active().mean_loss(losses))
        if math.isfinite(loss):
            self.backward(gradient())
            self._update(self._step - self._first_step)
        return loss, [float(active().mean_loss(each)) * len(x) for each in measures]

    def _update(self, step: int) -> None:
        """Move all parameters: one by one where weight decay reaches some of them only."""
        optimizer, buffers = self.optimizer, self._buffers
        parameters, gradients, states = buffers.parameters, buffers.gradients, buffers.states
        if not optimizer.has_decay:
            return optimizer.update(parameters, gradients, states, step)
        without = optimizer.without_decay()
        for decays, start, size in self._decays():
            place = slice(start, start + size)
            kept = states[:, place].copy()
            way = optimizer if decays else without
            way.update(parameters[:, place], gradients[:, place], kept, step)
            states[:, place] = kept

    def _decays(self) -> Iterator[tuple[bool, int, int]]:
        """Of each parameter: whether weight decay reaches it, and where it lies in the buffers."""
        for layer, named in zip(self.layers, self._buffers.places, strict=True):
            for name, (rows, columns) in layer.parameter_shapes().items():
                yield name in layer.decayed, named[name], rows * columns

    # --- use ---

    def evaluate(self, x: Any, y: Any = None) -> dict[str, float]:
        """Mean loss and accuracy over all rows.

        Parameters
        ----------
        x : array_like, (n, n_in), or iterable of batches
            Without ``y``, an iterable of pairs (x, y) that ends; they are put together in memory.
        y : array_like
            Class indices (n,), or target rows (n, n_classes).

        Returns
        -------
        dict
            ``{"loss": ..., "accuracy": ...}``. A row whose scores hold NaN counts as wrong, and
            makes the loss NaN.
        """
        batches = as_batches(x, y)
        if batches is not None:
            return self._evaluate(*joined("Sequential.evaluate", "x", batches, self))
        checked = self._checked_data("evaluate", "x", x)
        return self._evaluate(checked, self._targets("evaluate", "y", y, len(checked)))

    def _evaluate(self, x: Array, targets: Array) -> dict[str, float]:
        names = self.loss.measures
        losses = np.empty((len(x), 1), self.dtype)
        measures = [np.empty_like(losses) for _ in names]
        compiled = self._compiled()
        if compiled is not None:
            compiled.evaluate(x, targets, losses, measures[0] if measures else losses)
        else:
            for start in range(0, len(x), _EVALUATE_ROWS):
                part = slice(start, start + _EVALUATE_ROWS)
                scores = self._scores(x[part])
                checks.unshrunk("Sequential", "y", targets)
                losses[part], measured, _ = self.loss.run(scores, targets[part])
                for each, values in zip(measures, measured, strict=True):
                    each[part] = values
        mean = active().mean_loss
        return {"loss": float(mean(losses))} | {
            name: float(mean(each)) for name, each in zip(names, measures, strict=True)
        }

    def predict(self, x: Array) -> Array:
        """Class index of each row, or 0 and 1 of each label; of a regression, the scores.

        Parameters
        ----------
        x : array_like, (n, n_in)

        Returns
        -------
        ndarray of int64, (n,), or (n, n_out) of several labels; or of numbers, (n, n_out)
            The same for a row alone as in any batch.

        Raises
        ------
        ValueError
            The scores of a row hold NaN: it names the first such row.
        """
        checked = self._checked_data("predict", "x", x)
        if self.loss.prediction is None:
            return self._scores(checked)
        predictions = self.loss.predictions(len(checked), self.n_out, self.dtype)
        compiled = self._compiled()
        if compiled is not None:
            without = compiled.predictions(checked, predictions)
        else:
            self.loss.predict(self._scores(checked), predictions)
            without = int(np.count_nonzero(predictions < 0))
        if without:
            row = int(np.flatnonzero((predictions < 0).reshape(len(checked), -1).any(axis=1))[0])
            raise ValueError(
                f"Sequential.predict: the scores of row {row} of x hold NaN, expected numbers "
                "(predict_proba gives NaN for such a row)"
            )
        return predictions

    def predict_proba(self, x: Array) -> Array:
        """Probabilities of each row's classes, or of each label; NaN stays in its row.

        Parameters
        ----------
        x : array_like, (n, n_in)

        Returns
        -------
        ndarray, (n, n_out)
            The same bits for a row alone as in any batch.
        """
        if self.loss.takes == "numbers":
            raise ValueError(
                f"Sequential.predict_proba: the loss is {self.loss!r}, whose predictions are "
                "numbers, expected a loss of classes (predict gives the numbers)"
            )
        scores = self._scores(self._checked_data("predict_proba", "x", x))
        return (
            scores if self.layers[-1].gives == "probabilities" else self.loss.probabilities(scores)
        )

    def _scores(self, x: Array) -> Array:
        scores = np.empty((len(x), self.n_out), self.dtype)
        compiled = self._compiled()
        if compiled is not None:
            compiled.scores(x, scores)
            return scores
        layers = [for_inference(layer) for layer in self.layers]  # another thread may be training
        for start in range(0, len(x), _PREDICT_ROWS):
            checks.unshrunk("Sequential", "x", x)
            part = slice(start, start + _PREDICT_ROWS)
            scores[part] = self._forward(x[part], False, layers)
        return scores

    # --- what is inside ---

    def parameters(self) -> dict[str, Array]:
        """All parameters by name, ``{"0.weights": array, ...}``: views of the model's memory."""
        return {
            f"{index}.{name}": array.view()
            for index, views in enumerate(self._buffers.parameter_views)
            for name, array in views.items()
        }

    def fingerprint(self) -> str:
        """SHA-256 of the parameters: names, shapes, dtype and little-endian bytes."""
        digest = hashlib.sha256()
        for name, array in self.parameters().items():
            digest.update(f"{name} {array.shape} {array.dtype.name}\n".encode())
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def summary(self) -> Summary:
        """A table of the layers, their output shapes and parameters; of HTML in a notebook."""
        return summary(self)

    def save(self, path: Any, *, optimizer_state: bool = False) -> None:
        """Write the model to one file; `layers.load` reads it.

        Parameters
        ----------
        path : path
        optimizer_state : bool
            Whether to write what the optimizer keeps of each parameter, too.
        """
        from layers.files import model_file

        model_file.save(self, path, optimizer_state=optimizer_state)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: the layers bring the parameters, the buffers are made anew."""
        left_out = ("_buffers", "_runner", "_seen", "_single_step")
        state = {name: value for name, value in self.__dict__.items() if name not in left_out}
        return state | {"states": self._buffers.states}

    def __setstate__(self, state: dict[str, Any]) -> None:
        states = state.pop("states")
        self.__dict__.update(state)
        self._bind()
        self._buffers.states[...] = states

    def _checked_data(self, method: str, name: str, x: Any) -> Array:
        if (  # as most data are: checks that may have to explain themselves take ten times as long
            type(x) is np.ndarray
            and x.dtype is self.dtype
            and x.ndim == 2
            and x.shape[1] == self._n_in
            and len(x) > 0
            and x.flags.c_contiguous
            and x.flags.aligned
        ):
            if x.base is not None:
                checks.unshrunk(f"Sequential.{method}", name, x)
            return x
        return checks.real(f"Sequential.{method}", name, x, self.dtype, ("batch", self.n_in))

    def __repr__(self) -> str:
        lines = "".join(f"    {layer!r},\n" for layer in self.layers)
        return (
            f"Sequential([\n{lines}], loss={self.loss!r}, optimizer={self.optimizer!r}, "
            f"dtype={self.dtype.name!r})"
        )
