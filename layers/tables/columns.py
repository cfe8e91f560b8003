"""What becomes of the columns of a table: decided once, kept with the model, applied by name."""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.runtime import checks
from layers.base import Array
from layers.data.columns import LABEL_NAMES, listed, shortened
from layers.tables.decisions import Decision, decide, mean_and_deviation
from layers.tables.reading import read_table
from layers.tables.table import Table, as_numbers, as_text, missing, text_of

_TARGETS = (*LABEL_NAMES, "species")
_MOST_CLASSES = 20
"""So many different whole numbers are classes; more are a quantity."""


class Columns:
    """From the columns of a table to the inputs and targets of a model.

    Numbers are standardised: (value - mean) / deviation. Text of few values is one-hot. A missing
    number becomes the mean, a missing category none, and an input of its own marks the row where
    training had such rows. What says nothing of a row is left out: ids, counts of the rows, columns
    without a name, with one value, or with too many texts. ``print(columns)`` has a line of each.

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
        Text of more different values is left out.
    task : {"classification", "regression"}, optional
        By default text, or at most 20 different whole numbers, are classes, and other numbers a
        quantity.

    Attributes
    ----------
    target : str
    task : str
    names : tuple of str
        The columns that become inputs.
    classes : tuple of str or int
        In ascending order; empty of a regression.
    n_in : int
        Inputs of a model; `n_out` are its outputs.
    decisions : tuple of Decision
        Of all columns but the target.
    """

    def __init__(
        self,
        target: str | int | None = None,
        keep: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        categories_up_to: int = 20,
        *,
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
        self._most = checks.integer("Columns", "categories_up_to", categories_up_to, 1)
        self.decisions: tuple[Decision, ...] = ()
        self.target, self.task, self.has_names = "", "", True
        self.classes: tuple[Any, ...] = ()
        self._counts: tuple[int, ...] = ()
        self._mean, self._deviation = 0.0, 1.0

    def fit(self, source: Any) -> "Columns":
        """Decide by the values of a table, or what `layers.read_table` takes; returns itself."""
        table = source if isinstance(source, Table) else read_table(source)
        place = "Columns.fit"
        self.target, self.has_names = self._target_of(table, place), table.has_names
        for name in (*(self._keep or ()), *self._drop):
            if name not in table:
                raise ValueError(
                    f"{place}: no column is called {name!r}, expected one of "
                    f"{shortened(table.names)}"
                )
        self._fit_target(table[self.target], f"{place}: target {self.target!r}")
        self.decisions = tuple(
            self._decide(name, column, place)
            for name, column in zip(table.names, table.columns, strict=True)
            if name != self.target
        )
        if not self.n_in:
            raise ValueError(
                f"{place}: no column is left to learn from; keep (--keep) takes columns whatever "
                f"their values. {'; '.join(f'{each.name!r} {each}' for each in self.decisions)}"
            )
        return self

    def transform(self, source: Any, dtype: str = "float32") -> tuple[Array, Array | None]:
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
        x = np.zeros((len(table), self.n_in), checks.real_dtype(place, dtype))
        at, unusual = 0, []
        for decision in self.decisions:
            if decision.width:
                out = x[:, at : at + decision.width]
                unusual += decision.write(table[decision.name], out, place)
                at += decision.width
        if unusual:
            warnings.warn(f"{place}: {'; '.join(unusual)}", stacklevel=2)
        has_target = self.target in table and not missing(table[self.target]).all()
        return x, self._targets(table[self.target], x.dtype) if has_target else None

    def read(self, source: Any, header: bool | None = None, text: Sequence[str] = ()) -> Table:
        """Read a table as training's was read: text as text, nameless columns by place."""
        if isinstance(source, Table):
            return source
        as_categories = [each.name for each in self.decisions if each.kind == "category"]
        is_text = [self.target] if self.classes and isinstance(self.classes[0], str) else []
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
        if self.task == "regression":
            numbers: Array = np.asarray(predicted, np.float64).reshape(-1)
            return numbers * self._deviation + self._mean
        names: Array = np.array(self.classes)
        return names[np.asarray(predicted)]  # type: ignore[no-any-return]

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

    def lines(self) -> list[tuple[str, str]]:
        """Each column's name, and what becomes of it; the target first."""
        what = f"a number: mean {self._mean:.4g}, standard deviation {self._deviation:.4g}"
        if self.task == "classification":
            pairs = zip(self.classes, self._counts, strict=True)
            shown = [f"{name} ({count} rows)" for name, count in pairs]
            what = f"{len(self.classes)} classes: {listed(shown)}"
        rest = [(each.name or "(no name)", str(each)) for each in self.decisions]
        return [(self.target, f"target, {what}"), *rest]

    def __str__(self) -> str:
        if not self.task:
            return repr(self)
        width = min(max(len(name) for name, _ in self.lines()), 30)
        return "\n".join(f"{' '.join(name.split()):{width}}  {what}" for name, what in self.lines())

    def __repr__(self) -> str:
        return f"Columns(target={self.target or self._wanted!r}, {len(self.names)} columns used)"

    def config(self) -> dict[str, Any]:
        """The decisions, JSON-serialisable, for a saved model."""
        return {
            "target": self.target,
            "task": self.task,
            "classes": list(self.classes),
            "counts": list(self._counts),
            "scale": [self._mean, self._deviation],
            "has_names": self.has_names,
            "decisions": [each.config() for each in self.decisions],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Columns":
        """The columns of a `config`; ValueError, TypeError or KeyError where it is none."""
        made = cls(config["target"], task=config["task"])
        made.target, made.task, made.has_names = made._wanted, made._task, config["has_names"]  # type: ignore[assignment]
        made.classes, made._counts = tuple(config["classes"]), tuple(config["counts"])
        whole = Decision("", "number", *config["scale"])
        made._mean, made._deviation = whole.mean, whole.deviation
        made.decisions = tuple(
            Decision(**{**each, "categories": tuple(each.get("categories", ()))})
            for each in config["decisions"]
        )
        kinds = {type(name) for name in made.classes}
        if (
            not isinstance(config["target"], str)
            or (made.task == "classification") != bool(made.classes)
            or (kinds - {str} and kinds - {int})
            or len(made.classes) != len(made._counts)
        ):
            raise ValueError(f"{made.classes!r} are no classes of {made.target!r}")
        return made

    def _target_of(self, table: Table, place: str) -> str:
        wanted = self._wanted
        names = f"the columns are {listed(table.names)}"
        if isinstance(wanted, int) and -len(table.names) <= wanted < len(table.names):
            return table.names[wanted]
        if wanted is not None:
            if isinstance(wanted, str) and wanted in table:
                return wanted
            raise ValueError(f"{place}: target is {wanted!r}, which is no column: {names}")
        called = [name for name in table.names if name.casefold() in _TARGETS]
        if len(called) != 1:
            raise ValueError(
                f"{place}: {len(called) or 'none'} of the columns are called "
                f"{', '.join(_TARGETS)}: target (--target) has to say which is to be predicted; "
                f"{names}"
            )
        return called[0]

    def _fit_target(self, column: Array, place: str) -> None:
        _check_whole(column, place)
        is_text = column.dtype == object
        whole = not is_text and (column == np.floor(column)).all() and not np.isinf(column).any()
        distinct = set(column.tolist())
        by_itself = is_text or (whole and len(distinct) <= _MOST_CLASSES)
        self.task = self._task or ("classification" if by_itself else "regression")
        if len(distinct) < 2:
            raise ValueError(f"{place} is always {text_of(column[0])}, expected several values")
        if self.task == "regression":
            numbers = as_numbers(place, column)
            self._mean, self._deviation = mean_and_deviation(numbers)
            self.classes, self._counts = (), ()
            return
        if is_text and len(distinct) == len(column) > 2:
            raise ValueError(
                f"{place} has another text in each of {len(column)} rows, expected classes"
            )
        values = column if is_text or whole else as_text(column)
        counts = Counter(values.tolist() if values.dtype == object else map(int, values))
        self.classes = tuple(sorted(counts))
        self._counts = tuple(counts[name] for name in self.classes)

    def _targets(self, column: Array, dtype: np.dtype[Any]) -> Array:
        place = f"Columns.transform: target {self.target!r}"
        _check_whole(column, place)
        if self.task == "regression":
            numbers = (as_numbers(place, column) - self._mean) / self._deviation
            return numbers.astype(dtype)[:, None]
        index = {text_of(name): position for position, name in enumerate(self.classes)}
        texts = as_text(column)
        unknown = sorted({text for text in texts if text not in index})
        if unknown:
            raise ValueError(
                f"{place} holds {shortened(unknown)}, expected classes of training: "
                f"{listed(list(index))}"
            )
        return np.array([index[text] for text in texts], np.int64)

    def _decide(self, name: str, column: Array, place: str) -> Decision:
        if name in self._drop:
            return Decision(name, "left out", why="as asked for")
        if self._keep is not None and name not in self._keep:
            return Decision(name, "left out", why="not among those to keep")
        return decide(name, column, self._most, self._keep is not None, place)


def _check_whole(column: Array, place: str) -> None:
    rows = np.flatnonzero(missing(column))
    if len(rows):
        raise ValueError(
            f"{place} has no value in {len(rows)} rows, the first of them row {rows[0] + 1}, "
            "expected one in each"
        )
