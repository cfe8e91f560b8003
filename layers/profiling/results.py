"""What a profile says, and the table that shows it."""

from dataclasses import dataclass

from layers.command_line.tables import aligned
from layers.notebook import html_table


@dataclass(frozen=True)
class Row:
    """One pass over a batch.

    Attributes
    ----------
    part : {"gather", "forward", "loss", "backward", "update"}
    layers : tuple of int
        Those that it is the pass of.
    name : str
    operations : int
        Additions and multiplications of products with weights, of biases and of the update, where a
        step counts as one of each for a parameter; 0 for all else, and for what is the user's own.
    bytes : int
        Of the operands, each read or written once, parameters and states both where they move; 0
        for what is the user's own.
    seconds : float
        CPU time of the thread: the median.
    """

    part: str
    layers: tuple[int, ...]
    name: str
    operations: int
    bytes: int
    seconds: float = 0.0


@dataclass(frozen=True, repr=False)
class Profile:
    """What `profile` has measured, on one thread; as text it is a table.

    Attributes
    ----------
    rows : tuple of Row
        In the order in which a step runs them.
    seconds : float
        Of a whole step, as `Sequential.fit` runs it, in the same way.
    limit : float
        Additions and multiplications a second with everything in registers.
    batch_size : int
    dtype : str
    obstacle : str or None
        Why the model runs layer by layer; see `Sequential.obstacle`.
    """

    rows: tuple[Row, ...]
    seconds: float
    limit: float
    batch_size: int
    dtype: str
    obstacle: str | None

    @property
    def outside(self) -> float:
        """Seconds of a step that are in no row: Python, and operands that have left the caches.

        Where the model runs layer by layer, reading the clock is in it too. Noise can make it
        negative.
        """
        return self.seconds - sum(row.seconds for row in self.rows)

    def __repr__(self) -> str:
        return "\n".join([aligned(self._lines(), left=2), *self._notes()])

    def _repr_html_(self) -> str:
        return html_table(self._lines(), 2, self._notes())

    def _lines(self) -> list[tuple[str, ...]]:
        rows = self.rows
        operations = sum(row.operations for row in rows)
        return [
            ("pass", "", "microseconds", "of step", "GFLOP/s", "of limit", "kB"),
            *((r.part, r.name, *self._shown(r.seconds, r.operations, r.bytes)) for r in rows),
            ("outside", "", *self._shown(self.outside)),
            ("step", "", *self._shown(self.seconds, operations)),
        ]

    def _notes(self) -> list[str]:
        how = "compiled" if self.obstacle is None else f"layer by layer: {self.obstacle}"
        return [
            f"batch of {self.batch_size}, {self.dtype}, one thread, {how}",
            f"limit {self.limit / 1e9:.1f} GFLOP/s: multiply-adds with everything in registers",
        ]

    def _shown(self, seconds: float, operations: int = 0, moved: int = 0) -> tuple[str, ...]:
        rate = operations / seconds if operations else 0.0
        return (
            f"{seconds * 1e6:,.2f}",
            f"{seconds / self.seconds:.1%}",
            f"{rate / 1e9:.1f}" if operations else "-",
            f"{rate / self.limit:.0%}" if operations else "-",
            f"{moved / 1e3:,.1f}" if moved else "-",
        )
