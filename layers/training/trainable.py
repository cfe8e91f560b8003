"""What a model is trained by: `fit`, and what goes with it."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from kernels.runtime import checks
from layers import frames, runs
from layers.base import Array
from layers.keywords import keywords
from layers.settings import flag
from layers.training.callbacks.early_stopping import EarlyStopping
from layers.training.data_sources import (
    PLACE,
    Batches,
    Held,
    Rows,
    Source,
    as_batches,
    held,
    joined,
)
from layers.training.finite import check_scored
from layers.training.held_out import held_out_rows
from layers.training.history import History
from layers.training.loop import Fitting, Function, NonFiniteLoss, checked_callbacks
from layers.validation import check_rows
from layers.weighting import Weighting, checked_class_weight, weighted

if TYPE_CHECKING:
    from layers.sequential import Sequential


class Trainable:
    """The methods of `Sequential` that train it."""

    @keywords(PLACE)
    def fit(  # noqa: PLR0913 - Keras has them all in one place too
        self,
        x: Any,
        y: Any = None,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: Any = None,
        shuffle: bool = True,
        progress: bool = False,
        *,
        callbacks: Function | Sequence[Function] = (),
        callback_batches: int | None = None,
        steps_per_epoch: int | None = None,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        sample_weight: Any = None,
        class_weight: Any = None,
    ) -> History:
        """Train on shuffled mini-batches.

        Parameters
        ----------
        x : array_like, (n, n_in), or iterable of batches
            A `numpy.memmap` is neither loaded nor copied as a whole. The names of a frame's columns
            are kept: a frame with other names, or in another order, is refused then. Without ``y``,
            an iterable of pairs (x, y) or triples (x, y, sample_weight), each a batch of any size,
            in the order in which they come.
        y : array_like
            Class indices (n,), or target rows (n, n_classes). Class indices are copied; ``x`` and
            target rows are read where they lie, if they can be: leave them as they are meanwhile.
        epochs, batch_size : int
            At least 1; where the model comes from a `Checkpoint`, 0 epochs give what the training
            that was stopped would have given then. The last batch of an epoch may be smaller. A
            batch is a row's memory times ``batch_size`` and no more, so there is no accumulation of
            gradients over batches: a larger ``batch_size`` is the same.
        validation_data : (x, y), (x, y, sample_weight) or iterable of batches, optional
            Evaluated after each epoch. Batches are read once, before training, into memory. A row
            with NaN or Inf is refused, unless the model has finite scores for it.
        shuffle : bool
            Whether each epoch has an order of its own, from the model's seed.
        progress : bool
            Whether to show a bar with loss and accuracy.
        callbacks : function or list of functions, optional
            Each is called with a `Progress` at the end of an epoch; if one returns True, training
            ends there. A `Callback` is told of the beginning and the end of training too. In the
            first call for a model from a `Checkpoint`, it takes up what one of its class had seen.
        callback_batches : int, optional
            Call them after so many batches too.
        steps_per_epoch : int, optional
            Batches of an epoch, where ``x`` is an iterable of batches.
        validation_fraction : float
            How much of arrays ``x`` and ``y`` is set apart and evaluated after each epoch instead
            of ``validation_data``: as large a part of each class, the same rows in each call, from
            the model's seed.
        patience : int, optional
            End after so many epochs without a smaller ``val_loss``, with the parameters of the best
            one: short for ``callbacks=EarlyStopping(patience=...)``.
        sample_weight : array_like, (n,), optional
            What each row counts for, at least 0: a batch's loss is the mean over its sum of
            weights, and so are all means of the history. A batch whose weights are all 0 has the
            loss 0 and a gradient of 0. Rows that ``validation_fraction`` sets apart keep theirs.
        class_weight : dict or "balanced", optional
            What each class counts for in training, such as ``{0: 1, 1: 10}``, times the rows' own
            weights; 1 for a class that is not named. ``"balanced"`` is n / (classes * rows of the
            class), of the rows of ``y`` that have a weight, as in scikit-learn.

        Returns
        -------
        History
            Of these epochs; ``model.history`` has those of all calls.

        Raises
        ------
        TypeError, ValueError
            An argument is not as described, or not what the training was begun with that the model
            comes from by a `Checkpoint`; no parameter has changed. Or so is a batch of an
            iterable: the parameters are those before it.
        NonFiniteLoss
            A batch's loss is NaN or Inf. The parameters are those before that batch.
        MemoryError
            There is none for the workspace: for all that a batch becomes on its way.
        OSError
            A file that ``x``, ``y`` or the validation data are mapped from has shrunk. The
            parameters are those before that batch.
        """
        model = cast("Sequential", self)
        epochs = checks.integer(PLACE, "epochs", epochs, 0 if model._stopped else 1)
        weights = sample_weight, class_weight
        shuffle, progress = flag(PLACE, "shuffle", shuffle), flag(PLACE, "progress", progress)
        frames.check_names(PLACE, "x", x, model._names)
        columns = frames.names_of(x)
        source = source_of(model, PLACE, x, y, epochs, batch_size, steps_per_epoch, *weights)
        model._groups().check()
        checked, every = checked_callbacks(callbacks, callback_batches)
        if patience is not None:
            patience = checks.integer(PLACE, "patience", patience, 1)
            checked.append(EarlyStopping(patience=patience))
        validation = _validation(model, validation_data, validation_fraction, source, columns)
        if source.rows is not None:
            check_rows(model.layers, PLACE, "x", source.rows, min(batch_size, source.rows))
        before = 0 if model._stopped is None else model._stopped.epoch
        given: dict[str, Any] = {}
        if model._stopped is not None or any(getattr(each, "saves", False) for each in checked):
            given = {"shuffle": shuffle, "epochs": before + epochs} | source.described()
        if model._stopped is not None:
            model._stopped.check(PLACE, given)
        model._forget()
        model._names = columns or model._names
        fitting = Fitting(model, source, epochs, shuffle, validation, checked, every, given)
        try:
            return fitting.run(progress)
        except (KeyboardInterrupt, NonFiniteLoss) as error:
            # Where in here it happened says nothing, and would fill a screen.
            raise error.with_traceback(None) from None

    def partial_fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        sample_weight: Any = None,
        class_weight: Any = None,
    ) -> History:
        """Go on training by one epoch, on rows that have just come; see `fit`.

        Returns
        -------
        History
            Of this epoch; ``model.history`` has those of all calls.
        """
        model = cast("Sequential", self)
        # Other rows than before: a training that a checkpoint has of it is not gone on with.
        stopped, model._stopped = model._stopped, None
        try:
            weights = {"sample_weight": sample_weight, "class_weight": class_weight}
            return self.fit(x, y, 1, batch_size, **weights)
        except (TypeError, ValueError):
            model._stopped = stopped
            raise

    def gradients(
        self, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None
    ) -> dict[str, Array]:
        """Gradients of a batch's mean loss, and of penalties; nothing of the model changes.

        Parameters
        ----------
        x : array_like, (batch, n_in)
        y : array_like
            What `fit` takes.
        sample_weight : array_like, (batch,), optional
            What each row counts for, at least 0.
        class_weight : dict or "balanced", optional
            What each class counts for, as in `fit`; ``"balanced"`` by the rows of this batch.

        Returns
        -------
        dict
            ``{"0.weights": array, ...}``, of the names and shapes of `parameters`: those by which
            `train_step` would move them now, before they are clipped. Frozen layers have none.
        """
        model = copy.deepcopy(cast("Sequential", self))  # layers may learn in a training pass
        checked = model._checked_data("gradients", "x", x)
        targets = model._targets("gradients", "y", y, len(checked))
        place = "Sequential.gradients"
        weights = model._weights(place, y, targets, sample_weight, class_weight)
        with runs.at(model._key, model._step):
            scores = model._forward(checked, True, model.layers)
            losses, measures, gradient = model.loss.run(scores, targets)
            if weights is not None:
                _, _, gradient = weighted(losses, measures, gradient, weights)
            model.backward(gradient())
        groups = model._groups()
        groups.penalise()
        named = model._buffers.named_gradients()
        return {name: named[name] for name in groups.names()}


def source_of(
    model: "Sequential",
    place: str,
    x: Any,
    y: Any,
    epochs: int,
    batch_size: int,
    steps_per_epoch: int | None = None,
    sample_weight: Any = None,
    class_weight: Any = None,
) -> Source:
    """Where training takes its rows from: arrays, or an iterable of batches."""
    batch_size = checks.integer(place, "batch_size", batch_size, 1)
    if steps_per_epoch is not None:
        steps_per_epoch = checks.integer(place, "steps_per_epoch", steps_per_epoch, 1)
    batches = as_batches(x, y)
    by_class = checked_class_weight(place, class_weight, has_all_rows=batches is None)
    weighting = Weighting(model.loss, model.n_out, model.dtype, by_class)
    if batches is not None:
        if sample_weight is not None:
            raise ValueError(
                f"{place}: sample_weight is given and x an iterable of batches, expected triples "
                "(x, y, sample_weight) in it"
            )
        return Batches(batches, steps_per_epoch, epochs, model.n_in, weighting, place)
    if steps_per_epoch is not None:
        raise ValueError(
            f"{place}: steps_per_epoch is {steps_per_epoch}, expected it only where x is an "
            "iterable of batches"
        )
    return Rows(x, y, model.n_in, batch_size, weighting, sample_weight, place)


def _validation(
    model: "Sequential",
    data: Any,
    fraction: Any,
    source: Source,
    columns: tuple[str, ...] | None,
) -> tuple[Held, Held, Array | None] | None:
    """The rows to evaluate after each epoch, given or set apart; ``columns`` are x's by name."""
    fraction = checks.number(PLACE, "validation_fraction", fraction, 0)
    if fraction >= 1:
        raise ValueError(
            f"{PLACE}: validation_fraction is {fraction:g}, expected a number from 0 to below 1"
        )
    if fraction > 0 and data is not None:
        raise ValueError(
            f"{PLACE}: validation_data and validation_fraction are both given, expected one of them"
        )
    if fraction > 0:
        if not isinstance(source, Rows):
            raise ValueError(
                f"{PLACE}: validation_fraction is {fraction:g} and x an iterable of batches, "
                "expected arrays, or validation_data"
            )
        numbers = model.loss.takes == "numbers"
        rows = held_out_rows(PLACE, model._key, source.targets, fraction, by_class=not numbers)
        x, y, weights = source.set_apart(rows)
        check_scored(model, PLACE, "x", x, rows)
    elif data is None:
        return None
    elif _is_data(data):
        frames.check_names(PLACE, "validation_data[0]", data[0], columns)
        x = model._checked_data("fit", "validation_data[0]", data[0])
        check_scored(model, PLACE, "validation_data[0]", x)
        y = model._targets("fit", "validation_data[1]", data[1], len(x))
        names, given = ("validation_data[1]", "validation_data[2]"), (*data, None)[2]
        weighting = Weighting(model.loss, model.n_out, model.dtype)
        weights = weighting.rows(PLACE, names, data[1], y, given)
    else:
        batches = as_batches(data, None)
        if batches is None or isinstance(data, (str, bytes, dict, tuple)) or batches == []:
            raise TypeError(
                f"{PLACE}: validation_data is {type(data).__name__}, expected a pair (x, y), or an "
                "iterable of such batches; sample_weight may stand behind y"
            )
        x, y, weights = joined(PLACE, "validation_data", batches, model, is_scored=True)
    return held(x), held(y), weights


def _is_data(data: Any) -> bool:
    """Whether validation data are (x, y) or (x, y, sample_weight), and not a list of batches."""
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        return False
    kinds = (tuple,) if len(data) == 2 else (tuple, list)
    return isinstance(data, tuple) or not all(isinstance(each, kinds) for each in data)
