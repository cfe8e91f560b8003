"""What becomes of the columns of a table: decided once, kept with the model, applied by name."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.runtime import checks
from layers.base import Array, DType
from layers.data.columns import LABEL_NAMES, listed, nearest, shortened
from layers.embedding import Embedding
from layers.tables.decisions import Decision, decide, decide_target
from layers.tables.reading import read_table
from layers.tables.remarks import check_numbers, on_decision
from layers.tables.table import Table, missing

_TARGETS = (*LABEL_NAMES, "species")


class Columns:
    """From the columns of a table to the inputs and targets of a model.

    Numbers are standardised: (value - mean) / deviation. Text of few values is one-hot. A missing
    number becomes the mean, a missing category none, and an input of its own marks the row where
    training had such rows. Text of many values may be embedded: the input is its number, for the
    layer that `embedding` gives. What says nothing of a row is left out: ids, counts of the rows,
    columns without a name, with one value, or with too many texts. ``print(columns)`` has a line of
    each.

    Parameters
    ----------
    target : str or int, optional
        The column to predict, by its name or index; by default the one that is called label, class,
        target, y or species, if exactly one is.
    keep : sequence of str, optional
        Take these columns alone, whatever their values; by default all that say something.
    drop : sequence of str
        Leave these out.
    categories_up_to : int
        Text of more different values is left out, or embedded.
    embed_up_to : int
        Text of more values than that, up to so many, is embedded, where there are 10 rows of each
        on average. 0 embeds none: a model whose first layer is no `Embedding` would take the
        numbers of categories for quantities.
    task : {"classification", "regression"}, optional
        By default text, or at most 20 different whole numbers, are classes, and other numbers a
        quantity.

    Attributes
    ----------
    decisions : tuple of Decision
        Of all columns but the target.
    goal : Decision
        Of the target.
    has_names : bool
        Whether training's table had names.
    """

    def __init__(
        self,
        target: str | int | None = None,
        keep: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        categories_up_to: int = 20,
        *,
        embed_up_to: int = 0,
        task: str | None = None,
    ) -> None:
        for name, value in (("keep", keep), ("drop", drop)):
            if isinstance(value, str):
                raise TypeError(f"Columns: {name} is {value!r}, expected a list of names")
        if task not in (None, "classification", "regression"):
            raise ValueError(
                f"Columns: task is {task!r}, expected 'classification', 'regression' or None"
            )
        self._wanted, self._task = target, task
        self._keep = None if keep is None else tuple(keep)
        self._drop = tuple(drop)
        self._most = (
            checks.integer("Columns", "categories_up_to", categories_up_to, 1),
            checks.integer("Columns", "embed_up_to", embed_up_to, 0),
        )
        self.decisions: tuple[Decision, ...] = ()
        self.goal, self.has_names = Decision("", "left out"), True

    def fit(self, source: Any) -> "Columns":
        """Decide by the values of a table, or what `layers.read_table` takes; returns itself.

        Raises
        ------
        ValueError
            There is no such target, or nothing to learn it from; a column is numbers but for a few
            values, or the target has too many classes: the place is named.

        Warns
        -----
        UserWarning
            A column that looks like numbers is left out or taken as categories; categories differ
            by capitals or spaces alone.
        """
        table = source if isinstance(source, Table) else read_table(source)
        place = "Columns.fit"
        target, self.has_names = self._target_of(table, place), table.has_names
        for name in (*(self._keep or ()), *self._drop):
            if name not in table:
                raise ValueError(
                    f"{place}: no column is called {name!r}, expected one of "
                    f"{shortened(table.names)}{nearest(name, table.names)}"
                )
        where, wanted = f"{place}: target {target!r}", table[target]
        remarks = [f"target {target!r}: {what}" for what in check_numbers(wanted, 20, where)]
        self.goal = decide_target(target, wanted, self._task, where)
        remarks += [f"target {target!r}: {what}" for what in on_decision(wanted, self.goal)]
        self.decisions = tuple(
            self._decide(name, column, place, remarks)
            for name, column in zip(table.names, table.columns, strict=True)
            if name != target
        )
        if not self.n_in:
            raise ValueError(
                f"{place}: no column is left to learn from; keep (--keep) takes columns whatever "
                f"their values. {'; '.join(f'{each.name!r} {each}' for each in self.decisions)}"
            )
        if remarks:
            warnings.warn(f"{place}: {'; '.join(remarks)}", stacklevel=2)
        return self

    def transform(self, source: Any, dtype: DType = "float32") -> tuple[Array, Array | None]:
        """Inputs and targets of a table whose columns are found by name, in whatever order.

        Returns
        -------
        x : ndarray, (n, n_in)
        y : ndarray or None
            Class indices (n,), or standardised numbers (n, 1); None without a column of targets.

        Raises
        ------
        ValueError
            A column is missing, or holds what it cannot: it is named.

        Warns
        -----
        UserWarning
            A category is unknown, or a value missing in a column that had all in training.
        """
        place = "Columns.transform"
        table = self.read(source)
        gone = [name for name in self.names if name not in table]
        if gone:
            raise ValueError(
                f"{place}: the table has no column {shortened(gone)}, expected those of training; "
                f"it has {shortened(table.names)}"
            )
        x = np.zeros((self.n_in, len(table)), checks.real_dtype(place, dtype)).T  # by columns
        at, unusual = 0, []
        for decision in self.decisions:
            if decision.width:
                out = x[:, at : at + decision.width]
                unusual += decision.write(table[decision.name], out, place)
                at += decision.width
        if unusual:
            warnings.warn(f"{place}: {'; '.join(unusual)}", stacklevel=2)
        has_target = self.target in table and not missing(table[self.target]).all()
        x = np.ascontiguousarray(x)
        if not has_target:
            return x, None
        where = f"{place}: target {self.target!r}"
        return x, self.goal.targets(table[self.target], x.dtype, where)

    def read(self, source: Any, header: bool | None = None, text: Sequence[str] = ()) -> Table:
        """Read a table as training's was read: text as text, nameless columns by place."""
        if isinstance(source, Table):
            return source
        as_categories = [each.name for each in self.decisions if each.categories or each.form]
        by_name = self.classes and isinstance(self.classes[0], str)
        is_text = [self.target] if by_name or self.goal.form else []
        table = read_table(source, header=header, text=[*as_categories, *is_text, *text])
        if table.has_names == self.has_names:
            if not self.has_names and len(table.names) == len(self.decisions):
                names = tuple(each.name for each in self.decisions)  # all but the target
                return Table(names, table.columns, table.notes, False)
            return table
        if self.has_names:
            raise ValueError(
                "Columns.read: the table has no names in its first line, expected those of "
                f"training: {shortened(self.names)}"
            )
        raise ValueError(
            "Columns.read: the table has names in its first line, training's had none: expected "
            "the same columns without names"
        )

    def answers(self, predicted: Array) -> Array:
        """What a model's `predict` means: names of classes, or numbers in the target's unit."""
        return self.goal.answers(predicted)

    @property
    def target(self) -> str:
        """The column to predict; empty before `fit`."""
        return self.goal.name

    @property
    def task(self) -> str:
        """``"classification"`` or ``"regression"``."""
        return "classification" if self.classes else "regression"

    @property
    def classes(self) -> tuple[Any, ...]:
        """Text or integers, in ascending order; none of a regression."""
        return self.goal.categories

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that become inputs."""
        return tuple(each.name for each in self.decisions if each.width)

    @property
    def n_in(self) -> int:
        """How many inputs the columns become."""
        return sum(each.width for each in self.decisions)

    @property
    def n_out(self) -> int:
        """How many outputs a model needs: one of each class, or one."""
        return len(self.classes) or 1

    def embedding(self, width: int = 8) -> Embedding | None:
        """The first layer for what `transform` gives, of vectors so long; None where none is due.

        A category that is missing, or that training had not, has a vector too: that of number 0.
        """
        at, places = 0, {}
        for each in self.decisions:
            if each.kind == "embedded":
                places[at] = len(each.categories) + 1
            at += each.width
        return Embedding(at, list(places), list(places.values()), width) if places else None

    def lines(self) -> list[tuple[str, str]]:
        """Each column's name, and what becomes of it; the target first."""
        rest = [(each.name or "(no name)", str(each)) for each in self.decisions]
        return [(self.target, f"target, {self.goal}"), *rest]

    def __str__(self) -> str:
        if not self.target:
            return repr(self)
        width = min(max(len(name) for name, _ in self.lines()), 30)
        return "\n".join(f"{' '.join(name.split()):{width}}  {what}" for name, what in self.lines())

    def __repr__(self) -> str:
        return f"Columns(target={self.target or self._wanted!r}, {len(self.names)} columns used)"

    def config(self) -> dict[str, Any]:
        """The decisions, JSON-serialisable, for a saved model; the target's first."""
        settings = {
            "keep": None if self._keep is None else list(self._keep),
            "drop": list(self._drop),
            "categories_up_to": self._most[0],
            "embed_up_to": self._most[1],
        }
        every = [self.goal, *self.decisions]
        return {
            "has_names": self.has_names,
            "columns": [each.config() for each in every],
            "settings": settings,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Columns":
        """The columns of a `config`; ValueError, TypeError or KeyError where it is none."""
        made = cls(**config.get("settings", {}))  # another fit decides as the first one did
        made.goal, *decisions = map(Decision.from_config, config["columns"])
        if made.goal.kind not in ("classes", "number"):
            raise ValueError(f"{made.goal!r} is no target")
        made.decisions, made.has_names = tuple(decisions), config["has_names"]
        made._wanted, made._task = made.target, made.task
        return made

    def _target_of(self, table: Table, place: str) -> str:
        wanted = self._wanted
        names = f"the columns are {listed(table.names)}"
        if wanted is not None:
            if str(wanted) in table:
                return str(wanted)
            n = len(table.names)
            if isinstance(wanted, int) and -n <= wanted < n and table.names[wanted]:
                return table.names[wanted]
            hint = nearest(wanted, table.names)
            raise ValueError(f"{place}: target is {wanted!r}, which is no column: {names}{hint}")
        called = [name for name in table.names if name.casefold() in _TARGETS]
        if len(called) != 1:
            raise ValueError(
                f"{place}: {len(called) or 'none'} of the columns are called "
                f"{', '.join(_TARGETS)}: target (--target) has to say which is to be predicted; "
                f"{names}"
            )
        return called[0]

    def _decide(self, name: str, column: Array, place: str, remarks: list[str]) -> Decision:
        if name in self._drop:
            return Decision(name, "left out", why="as asked for")
        if self._keep is not None and name not in self._keep:
            return Decision(name, "left out", why="not among those to keep")
        where, is_wanted = f"column {name!r}", self._keep is not None
        most = None if is_wanted else self._most[0]
        unexpected = check_numbers(column, most, f"{place}: {where}")
        decision = decide(name, column, self._most, is_wanted, place)
        unexpected += on_decision(column, decision)
        remarks += [f"{where}: {what}" for what in unexpected]
        return decision
