"""A stack of layers with a loss and an optimizer: the model that users train."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kernels.runtime import checks
from layers import frames, runs, seeds
from layers.backends import active, is_compiled
from layers.base import Array, DType, Layer, Part
from layers.compiled import lowering
from layers.compiled.buffers import FlatBuffers
from layers.compiled.runner import Compiled, SingleStep, Totals
from layers.inference import Usable
from layers.keywords import Spelled
from layers.losses import Loss, SoftmaxCrossEntropy
from layers.metrics import Metric, checked_metrics
from layers.optimizer import Optimizer
from layers.optimizers import Adam
from layers.parameter_groups import ParameterGroups
from layers.summary import Summary, summary
from layers.training.data_sources import Piece
from layers.training.history import History
from layers.training.resuming import Stopped
from layers.training.trainable import Trainable
from layers.validation import (
    all_inside,
    check_free,
    check_loss,
    check_rows,
    checked_layers,
    checked_names,
    checked_part,
    checked_widths,
)
from layers.weighting import Weighting, checked_class_weight, weighted

if TYPE_CHECKING:
    from layers.data.columns import NumberColumns
    from layers.tables.columns import Columns


class Sequential(Trainable, Usable, Spelled):
    """Layers one after another, trained on a loss.

    Parameters
    ----------
    layers : sequence of Layer
        Widths must fit. They belong to this model from now on; weights that were set stay.
    loss : Loss, optional
        `SoftmaxCrossEntropy` takes the logits of the last layer; a `Softmax` before it is refused.
    optimizer : Optimizer, optional
        By default ``Adam()``.
    seed : int, numpy.random.Generator or None
        Of first weights and shuffles. The same seed gives the same bits, on any number of threads
        and any CPU with fused multiply-add; None takes bits from the operating system.
    dtype : {"float32", "float64"}
        Of all parameters and all arithmetic. Data in another real dtype is converted once.
    metrics : list of Metric, optional
        What `evaluate`, and `fit` of validation data, measure besides the loss and its accuracy:
        `TopK(5)`, `F1()`, `MAE()`, `R2()`. By default MAE and R squared for losses of numbers. They
        may be assigned, and are saved with the model.

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
    columns : layers.Columns, or None
        Of the table that it was trained on, where `TabularPredictor` or the command line did; they
        are saved with the model.
    classes : tuple of str, or None
        Names of the classes, in the order of their indices; saved with the model, and exported.
    """

    _metrics: tuple[Metric, ...] | None = None
    _names: tuple[str, ...] | None = None
    """Of the columns of the frame that it was fitted with."""

    def __init__(
        self,
        layers: Sequence[Layer],
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        seed: Any = None,
        dtype: DType = "float32",
        *,
        metrics: Sequence[Metric] | None = None,
    ) -> None:
        self._dtype = checks.real_dtype("Sequential", dtype)
        self._layers = checked_layers(layers)
        self._n_in, self._n_out = checked_widths(self.layers)
        self._runner: Compiled | None = None
        self._single_step: SingleStep | None = None
        self._step = self._first_step = 0
        self._buffers = FlatBuffers([], self.dtype)
        self.loss = SoftmaxCrossEntropy() if loss is None else loss
        self.optimizer = Adam() if optimizer is None else optimizer
        self._metrics = checked_metrics(metrics, self.loss, self.n_out)
        self.history = History()
        self.columns: Columns | NumberColumns | None = None
        self._classes: tuple[str, ...] | None = None
        self._stopped: Stopped | None = None
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
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes, in the order of their indices."""
        return self._classes

    @classes.setter
    def classes(self, names: Sequence[str] | None) -> None:
        self._classes = None if names is None else checked_names(names, self.n_out)

    @property
    def loss(self) -> Loss:
        """What training makes smaller."""
        return self._loss

    @loss.setter
    def loss(self, loss: Loss) -> None:
        check_loss(self.layers, checked_part("loss", loss, Loss))
        checked_metrics(self._metrics, loss, self.n_out)
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

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What `evaluate` measures of scores, besides the loss and what that measures itself."""
        return self.loss.metrics() if self._metrics is None else self._metrics

    @metrics.setter
    def metrics(self, metrics: Sequence[Metric] | None) -> None:
        self._metrics = checked_metrics(metrics, self.loss, self.n_out)

    def _bind(self) -> None:
        """Lay all parameters out in one buffer, gradients in another."""
        check_free(self.layers)
        self._buffers = FlatBuffers(
            [layer.parameter_shapes() for layer in self.layers],
            self.dtype,
            [layer.statistic_shapes() for layer in self.layers],
        )
        self._bind_layers()

    def _bind_layers(self) -> None:
        inner = [each for layer in self.layers for each in all_inside(layer)]
        for number, each in enumerate(inner, len(self.layers)):
            each._index = number  # of random numbers, which belong to a layer
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
            layer.bind_statistics(self._buffers.blocks[index])
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
        self._buffers.learnt[...] = self._buffers.gradients[...] = 0
        self._step = self._first_step = 0
        self.history, self._stopped, self._names = History(), None, None
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
        """Fill every layer's gradients from the gradient by the scores, last layer first.

        It ends at the first layer that is trained, where there are frozen ones before it.
        """
        for index in reversed(range(self._lowest(), len(self.layers))):
            dy = getattr(self.layers[index], self._backward_of(index))(dy)

    def _lowest(self) -> int:
        """The layer at which the backward pass ends."""
        layers = self._layers
        if all(layer.trainable for layer in layers):
            return 0
        wanted = (
            index
            for index, layer in enumerate(layers)
            if layer.trainable and (layer.parameter_shapes() or layer.own_code() is not None)
        )
        return next(wanted, len(layers))

    def _backward_of(self, index: int) -> str:
        """Which method a layer goes backward by."""
        method = getattr(self.layers[index].backward, "__func__", None)
        # Nothing needs the gradient by that layer's input, which may be a whole product.
        is_lowest = index == self._lowest() and method is Layer.backward
        return "backward_parameters" if is_lowest else "backward"

    def train_step(
        self, x: Array, y: Any, sample_weight: Any = None, class_weight: Any = None
    ) -> float:
        """One forward, loss, backward and update on one batch.

        Parameters
        ----------
        x : array_like, (batch, n_in)
        y : array_like
            Class indices (batch,), or target rows (batch, n_classes).
        sample_weight : array_like, (batch,), optional
            What each row counts for, at least 0: the loss is the mean over the sum of weights.
        class_weight : dict or "balanced", optional
            What each class counts for, as in `fit`; ``"balanced"`` by the rows of this batch.

        Returns
        -------
        float
            The loss before the update, without penalties. Where it is not finite, or the norm of
            the gradients that are clipped by it is not and then returned, nothing is updated.
        """
        fast = self._single_step
        if (
            fast is not None
            and sample_weight is None
            and class_weight is None
            and self._seen == Part.changes()
            and is_compiled()
        ):
            loss = fast.take(x, y, self._step)
            if loss is not None:
                self._forget_passes()
                self._step += math.isfinite(loss)
                return loss
        checked = self._checked_data("train_step", "x", x)
        targets = self._targets("train_step", "y", y, len(checked))
        place = "Sequential.train_step"
        weights = self._weights(place, y, targets, sample_weight, class_weight)
        check_rows(self.layers, place, "x", len(checked), len(checked))
        self._groups().check()
        self._forget()
        piece = Piece(checked, targets, np.arange(len(checked)), len(checked), weights)
        loss, _ = self._train(piece, piece.order, Totals())
        if self._runner is not None and weights is None and not self._layers[0].takes_data:
            self._single_step = self._runner.single_step(checked, targets)
        return loss

    def _targets(self, method: str, name: str, y: Any, rows: int) -> Array:
        return self.loss.targets(f"Sequential.{method}", name, y, rows, self.n_out, self.dtype)

    def _weights(
        self, place: str, y: Any, targets: Array, sample_weight: Any, class_weight: Any = None
    ) -> Array | None:
        """The weights of rows, (n, 1); None where all have 1."""
        by_class = checked_class_weight(place, class_weight, has_all_rows=True)
        weighting = Weighting(self.loss, self.n_out, self.dtype, by_class)
        names = "y", "sample_weight"
        of_rows = weighting.rows(place, names, y, targets, sample_weight)
        return weighting.with_classes(place, targets, of_rows)

    def _train(self, piece: Piece, order: Array, totals: Totals) -> tuple[float, Totals]:
        """Train on a batch of the given rows, or on as many as one compiled call takes.

        The last batch's loss, and the totals; where it is not finite, nothing moves by it.
        """
        x, targets, _, batch_size, weights, _ = piece
        compiled = self._compiled()
        if compiled is not None:
            given = x, targets, order, batch_size, self._step, totals, weights
            try:
                loss, after = compiled.train(*given)
            except BaseException:
                self._step += -(-compiled.rows_trained(totals) // batch_size)
                raise
        else:
            rows = order[:batch_size]
            batch = np.empty((len(rows), x.shape[1]), self.dtype)
            active().gather_rows(x, rows, batch)
            with runs.at(self._key, self._step):
                of_rows = None if weights is None else weights[rows]
                loss, sums = self._by_layers(batch, targets[rows], of_rows)
            after = totals.plus(*sums) if math.isfinite(loss) else totals
        self._step += -(-(after.rows - totals.rows) // batch_size)
        return loss, after

    def _by_layers(
        self, x: Array, targets: Array, weights: Array | None
    ) -> tuple[float, tuple[float, int, list[float], float]]:
        """The loss before the update, and sums over the rows: see `Totals.plus`."""
        statistics, moves = self._buffers.statistics, False
        before = statistics.copy()
        mean, rows = active().mean_loss, len(x)
        try:
            scores = self._forward(x, True, self.layers)
            losses, measures, gradient = self.loss.run(scores, targets)
            if weights is not None:
                losses, measures, gradient = weighted(losses, measures, gradient, weights)
            loss = float(mean(losses))
            if math.isfinite(loss):
                self.backward(gradient())
                groups = self._groups()
                groups.penalise()
                norm = groups.clip()
                moves = math.isfinite(norm)
                if moves:
                    groups.update(self._step - self._first_step)
                else:
                    loss = norm
        finally:
            if not moves:  # what layers have taken from this batch is given back
                statistics[...] = before
        sums = [float(mean(each)) * rows for each in measures]
        if weights is None:
            return loss, (loss * rows, rows, sums, float(rows))
        *sums, of_losses, of_weights = sums
        return loss, (of_losses, rows, sums, of_weights)

    def _groups(self) -> ParameterGroups:
        """What training moves, and by which numbers."""
        return ParameterGroups(self._layers, self._buffers, self._optimizer)

    # --- what is inside ---

    def parameters(self) -> dict[str, Array]:
        """All parameters by name, ``{"0.weights": array, ...}``: views of the model's memory."""
        return {
            f"{index}.{name}": array.view()
            for index, views in enumerate(self._buffers.parameter_views)
            for name, array in views.items()
        }

    def statistics(self) -> dict[str, Array]:
        """What layers have learnt from data without a gradient: views of the model's memory.

        ``{"1.running_mean": array, ...}``, of layers such as `BatchNorm`.
        """
        return {
            f"{index}.{name}": array
            for index, layer in enumerate(self.layers)
            for name, array in layer.statistics().items()
        }

    def penalty(self) -> float:
        """What the layers' l1 and l2 add to the loss that training makes small.

        The sum of l1 sum |w| + l2 sum w^2 over all parameters; no reported loss has it in it.
        """
        total = 0.0
        for layer, views in zip(self.layers, self._buffers.parameter_views, strict=True):
            for name, (l1, l2) in layer.penalties().items():
                rows = np.empty((len(views[name]), 1), self.dtype)
                active().row_penalties(views[name], l1, l2, rows)
                total += float(active().mean_loss(rows)) * len(rows)
        return total

    def fingerprint(self) -> str:
        """SHA-256 of parameters and statistics: names, shapes, dtype and little-endian bytes."""
        digest = hashlib.sha256()
        for name, array in [*self.parameters().items(), *self.statistics().items()]:
            digest.update(f"{name} {array.shape} {array.dtype.name}\n".encode())
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def summary(self) -> Summary:
        """A table of the layers, their output shapes and parameters; of HTML in a notebook."""
        return summary(self)

    def save(self, path: Any, *, optimizer_state: bool = True) -> None:
        """Write the model to one file; `layers.load` reads it, and training goes on from there.

        Parameters
        ----------
        path : path
            By its ending: ``.npz``, or none, is a file of ours; ``.safetensors`` holds the
            parameters and the architecture alone, ``.onnx`` the network for other programs (see
            ``docs/exchange.md``). Another ending, such as ``.h5``, is refused.
        optimizer_state : bool
            Whether to write what the optimizer keeps of each parameter, too.
        """
        from layers import files

        files.save(self, path, optimizer_state=optimizer_state)

    def load_parameters(self, source: Any) -> None:
        """Take parameters, and statistics of layers such as `BatchNorm`, by name.

        Parameters
        ----------
        source : mapping of str to array_like, or path
            ``{"0.weights": array, ...}`` as `parameters` and `statistics` have them; or a state
            dict of PyTorch, ``{"0.weight": tensor, ...}``, whose weights are transposed. Or a file
            of such arrays, .npz or .safetensors, a saved model among them.

        Raises
        ------
        TypeError, ValueError
            Names or shapes are not those of the model; nothing has changed.
        """
        from layers.exchange import parameters

        parameters.load(self, source)

    def to_torch(self, *, optimizer: bool = False) -> Any:
        """The same network in PyTorch.

        Parameters
        ----------
        optimizer : bool
            Whether to give the optimizer too, with its state.

        Returns
        -------
        torch.nn.Sequential, or that and a torch.optim.Optimizer
            Copies. Its layers have the same numbers, so ``load_parameters(module.state_dict())``
            gives them back.

        Raises
        ------
        ValueError
            A layer or the optimizer has no counterpart in PyTorch.
        """
        from layers.exchange import to_torch

        return to_torch.converted(self, optimizer)

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
            checked = x
        else:
            expected = ("batch", self.n_in)
            frames.check_names(f"Sequential.{method}", name, x, self._names)
            checked = frames.real(f"Sequential.{method}", name, x, self.dtype, expected)
        if self._layers[0].takes_data:
            self._layers[0].check_data(f"Sequential.{method}", name, checked)
        return checked

    def __repr__(self) -> str:
        lines = "".join(f"    {layer!r},\n" for layer in self.layers)
        metrics = "" if self._metrics is None else f", metrics={[*self._metrics]!r}"
        return (
            f"Sequential([\n{lines}], loss={self.loss!r}, optimizer={self.optimizer!r}, "
            f"dtype={self.dtype.name!r}{metrics})"
        )


for _part in (Trainable, Usable):  # so that Python's errors name the class that users know
    for _name, _method in vars(_part).items():
        if callable(_method):
            _method.__qualname__ = f"Sequential.{_name}"
