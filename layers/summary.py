"""The table that `Sequential.summary` returns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from layers.command_line.tables import aligned
from layers.notebook import html_table

if TYPE_CHECKING:
    from layers.sequential import Sequential


class Summary(str):
    """A text that is shown as it reads, and as a table in a notebook."""

    _html: str

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self._html


def summary(model: "Sequential") -> Summary:
    """One line per layer: its output shape and its number of parameters."""
    rows = [("", "layer", "output", "parameters")]
    width, total = model.n_in, 0
    for index, layer in enumerate(model.layers):
        width = getattr(layer, "n_out", width)
        count = sum(rows * columns for rows, columns in layer.parameter_shapes().values())
        total += count
        rows.append((str(index), repr(layer), f"(batch, {width})", f"{count:,}"))
    why = model.obstacle()
    others = sum(array.size for array in model.statistics().values())
    beside = f" and {others:,} statistics" if others else ""
    megabytes = (total + others) * model.dtype.itemsize / 1e6
    notes = [
        f"{total:,} parameters{beside}, {model.dtype.name}, {megabytes:.2f} MB",
        f"loss {model.loss!r}, optimizer {model.optimizer!r}",
        "runs as one compiled program" if why is None else f"runs layer by layer: {why}",
    ]
    made = Summary("\n".join([*_ruled(rows), *notes]))
    made._html = html_table(rows, 3, notes)
    return made


def _ruled(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of the table, between rules."""
    head, *lines = aligned(rows, left=3).splitlines()
    rule = "-" * max(map(len, [head, *lines]))
    return [head, rule, *lines, rule]
