"""What a model's parts have to be: checked once, when it is made."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from kernels.runtime import checks
from layers.base import Layer
from layers.losses import Loss

_Part = TypeVar("_Part")


def checked_layers(layers: Any) -> tuple[Layer, ...]:
    """The layers of a model."""
    if not isinstance(layers, Iterable):
        raise TypeError(f"Sequential: layers is {layers!r}, expected a list of layers")
    checked = tuple(layers)
    for index, layer in enumerate(checked):
        if not isinstance(layer, Layer):
            raise TypeError(f"Sequential: layer {index} is {layer!r}, expected a Layer")
    check_first(checked, "Sequential")
    return checked


def check_first(layers: Sequence[Layer], place: str) -> None:
    """What reads columns of the data stands first."""
    for index, layer in enumerate(layers):
        if index > 0 and layer.takes_data:
            raise ValueError(
                f"{place}: layer {index} is {layer!r}, which reads columns of the data, expected "
                "it first"
            )


def checked_names(names: Any, n_out: int) -> tuple[str, ...]:
    """Names of classes: one of each output, or two of a single one."""
    count = max(n_out, 2)
    listed = isinstance(names, (list, tuple))
    if not listed or not all(isinstance(name, str) for name in names) or len(names) != count:
        raise ValueError(
            f"Sequential: classes is {checks.shown(names)}, expected {count} names, a str each"
        )
    if len(set(names)) < count:
        raise ValueError(f"Sequential: classes is {checks.shown(names)}, expected each name once")
    return tuple(names)


def checked_part(name: str, part: Any, kind: type[_Part]) -> _Part:
    """A loss or an optimizer."""
    if not isinstance(part, kind):
        raise TypeError(
            f"Sequential: {name} is {part!r}, expected an object of class {kind.__name__}"
        )
    return part


def check_free(layers: Sequence[Layer], place: str = "Sequential") -> None:
    """Every layer stands once in this model and in no other; looked at before any is bound."""
    seen: list[Layer] = []
    for index, layer in enumerate(layers):
        if layer.in_model:
            raise ValueError(
                f"{place}: layer {index}, {layer!r}, belongs to a model already, expected a new "
                "one (copy.deepcopy gives one with the same weights)"
            )
        for each in (layer, *all_inside(layer)):
            if any(each is other for other in seen):
                raise ValueError(
                    f"{place}: layer {index}, {layer!r}, is in the list twice, expected a new one"
                )
            seen.append(each)


def all_inside(layer: Layer) -> list[Layer]:
    """The layers within a layer, and those within them."""
    return [each for inner in layer.inside() for each in (inner, *all_inside(inner))]


def checked_widths(layers: Sequence[Layer]) -> tuple[int, int]:
    """Input and output width of the stack, where each layer's fits the one before."""
    first, width = widths(layers, "Sequential")
    if first is None or width is None:
        raise ValueError("Sequential: no layer says its width, expected at least one Dense")
    return first, width


def widths(layers: Sequence[Layer], place: str) -> tuple[int | None, int | None]:
    """Input and output width of layers one after another; None where no layer says it."""
    first: int | None = None
    width: int | None = None
    for index, layer in enumerate(layers):
        n_in = getattr(layer, "n_in", None)
        if n_in is None:
            continue
        if width is not None and n_in != width:
            raise ValueError(
                f"{place}: layer {index}, {layer!r}, takes {n_in} inputs, expected {width}, "
                "the width of the layer before it"
            )
        first = n_in if first is None else first
        width = getattr(layer, "n_out", n_in)
    return first, width


def check_rows(layers: Sequence[Layer], place: str, name: str, rows: int, batch_size: int) -> None:
    """Each batch of ``rows`` rows has as many as the layers need in training, the last one too."""
    for index, layer in enumerate(layers):
        least = layer.least_rows
        last = rows % batch_size or min(rows, batch_size)
        if last >= least:
            continue
        why = f"layer {index}, {layer!r}, needs at least {least}: {layer.why_rows()}"
        if rows < least or batch_size == rows:
            raise ValueError(f"{place}: {name} has {rows} row, and {why}")
        fits = next(size for size in range(batch_size + 1, rows + 1) if not 0 < rows % size < least)
        if batch_size < least:
            raise ValueError(f"{place}: batch_size is {batch_size}, and {why}: choose {fits}, say")
        raise ValueError(
            f"{place}: the last batch of {rows} rows of {name} with batch_size {batch_size} has "
            f"{last} row, and {why}: choose batch_size={fits}, say"
        )


def check_batches(
    layers: Sequence[Layer], place: str, name: str, x: Any, rows: int, batch_size: int
) -> None:
    """What is checked of data before they are trained on: their numbers, and `check_rows`."""
    check_rows(layers, place, name, rows, batch_size)
    layers[0].check_data(place, name, x)


def check_loss(layers: Sequence[Layer], loss: Loss) -> None:
    """The loss takes what the last layer gives."""
    last, name = layers[-1], type(loss).__name__
    if loss.takes == "logits" and last.gives == "probabilities":
        raise ValueError(
            f"Sequential: {name} takes logits, but the last layer is {last!r}: leave that layer "
            "out, or use CategoricalCrossEntropy"
        )
    if loss.takes == "logits" and last.gives == "sigmoid":
        raise ValueError(
            f"Sequential: {name} takes logits, but the last layer is {last!r}: leave that layer "
            "out, or use BinaryCrossEntropy"
        )
    if loss.takes == "sigmoid" and last.gives not in ("sigmoid", None):
        raise ValueError(
            f"Sequential: {name} takes what a Sigmoid gives, but the last layer is {last!r}: end "
            "with Sigmoid(), or use SigmoidCrossEntropy"
        )
    if loss.takes == "probabilities" and last.gives not in ("probabilities", None):
        raise ValueError(
            f"Sequential: {name} takes probabilities, but the last layer is {last!r}: end with "
            "Softmax(), or use SoftmaxCrossEntropy"
        )
    loss.check_outputs("Sequential", checked_widths(layers)[1])
