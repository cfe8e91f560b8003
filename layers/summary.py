"""The table that `Sequential.summary` returns."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layers.sequential import Sequential


def summary(model: "Sequential") -> str:
    """One line per layer: its output shape and its number of parameters.

    Parameters
    ----------
    model : Sequential

    Returns
    -------
    str
    """
    rows = [("", "layer", "output", "parameters")]
    width, total = model.n_in, 0
    for index, layer in enumerate(model.layers):
        width = getattr(layer, "n_out", width)
        count = sum(rows * columns for rows, columns in layer.parameter_shapes().values())
        total += count
        rows.append((str(index), repr(layer), f"(batch, {width})", f"{count:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{number:>{widths[0]}}  {name:<{widths[1]}}  {shape:<{widths[2]}}  {count:>{widths[3]}}"
        for number, name, shape, count in rows
    ]
    rule = "-" * len(lines[0])
    others = sum(array.size for array in model.statistics().values())
    beside = f" and {others:,} statistics" if others else ""
    why = model.obstacle()
    megabytes = (total + others) * model.dtype.itemsize / 1e6
    return "\n".join(
        [
            lines[0],
            rule,
            *lines[1:],
            rule,
            f"{total:,} parameters{beside}, {model.dtype.name}, {megabytes:.2f} MB",
            f"loss {model.loss!r}, optimizer {model.optimizer!r}",
            "runs as one compiled program" if why is None else f"runs layer by layer: {why}",
        ]
    )
