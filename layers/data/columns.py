"""NumberColumns of a table: the header, the features and the label."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LABEL_NAMES = ("label", "class", "target", "y")
"""A column under one of these names holds the labels, where exactly one does."""

_HOLES = frozenset({"", "-", "?", "na", "n/a", "none", "null"})
_FLAGS = "pass header=True (--header) where it holds names, header=False (--no-header) where not"


@dataclass(frozen=True)
class NumberColumns:
    """The columns of a table: features and label.

    Parameters
    ----------
    names : tuple of str
        Of all columns; empty without a header.
    features : tuple of int
        Positions of the columns that are inputs, in the order in which a model takes them.
    label : int or None
        Position of the labels.
    """

    names: tuple[str, ...]
    features: tuple[int, ...]
    label: int | None

    def __post_init__(self) -> None:
        for index in (*self.features, *(() if self.label is None else (self.label,))):
            if isinstance(index, bool) or not isinstance(index, int) or index < 0:
                raise ValueError(f"column {index!r}, expected a position from 0")
            if self.names and index >= len(self.names):
                raise ValueError(f"column {index}, expected one of {len(self.names)}")
        if not all(isinstance(name, str) for name in self.names):
            raise ValueError("names of columns hold something else than text")

    def config(self) -> dict[str, Any]:
        """The fields, JSON-serialisable, for a saved model."""
        return {"names": self.names, "features": self.features, "label": self.label}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "NumberColumns":
        """The columns of a `config`."""
        return cls(tuple(config["names"]), tuple(config["features"]), config["label"])

    n_out = None
    """How many outputs the model has is not known from them."""

    @property
    def n_in(self) -> int:
        """How many inputs the columns are."""
        return len(self.features)

    def called(self, index: int) -> str:
        """One column in words, counted from 1."""
        return f"column {index + 1}" + (f" ({self.names[index]!r})" if self.names else "")


# The first line.


def are_names(
    fields: Sequence[str], header: bool | None, model: NumberColumns | None, line: str
) -> bool:
    """Tell whether the fields of a first line are names of columns or an example.

    Parameters
    ----------
    fields : sequence of str
        Without spaces around them.
    header : bool or None
        True and False decide; None decides by the fields, and raises where they are ambiguous.
    model : NumberColumns or None
        A model's columns: a line that holds all their names is a header.
    line : str
        The place, for the error.
    """
    if header is not None:
        return header
    numbers = [is_number(field) for field in fields]
    if all(numbers):
        if list(fields) != [str(index) for index in range(len(fields))]:
            return False
        raise ValueError(
            f"{line} is {shortened(fields)}: an example, or the names that pandas gives where"
            f" there are none; {_FLAGS}"
        )
    known = model is not None and {model.names[i] for i in model.features if model.names}
    if known and known <= set(fields):
        return True
    return _refuse_mixture(fields, numbers, line)


def _refuse_mixture(fields: Sequence[str], numbers: Sequence[bool], line: str) -> bool:
    """True for a header; raise where it may be an example with an error."""
    if not any(numbers) and any(map(_is_word, fields)):
        return True
    fault = numbers.index(False)
    what = shortened([fields[fault]]) if fields[fault] else "nothing"
    number = f"numbers and {what}" if any(numbers) else what
    raise ValueError(
        f"{line} has {number} in column {fault + 1}: an example with a fault, or names of columns;"
        f" {_FLAGS}"
    )


def _is_word(field: str) -> bool:
    """Whether a field can only be a name; ``1.O``, ``1,234`` and ``NA`` may be mistyped numbers."""
    if field.lower() in _HOLES or re.match(r"\W*\d", field):
        return False
    return any(map(str.isalpha, field))


def is_number(field: str) -> bool:
    """Whether NumPy parses `field` as a number; float also parses 1_000 and other digits."""
    try:
        float(field)
    except ValueError:
        return False
    return field.isascii() and "_" not in field


# Choosing columns. Each function returns the columns, and a sentence that explains the choice.


def to_train_on(
    names: Sequence[str], width: int, label_column: int | str | None, place: str
) -> tuple[NumberColumns, str]:
    """One column is the label, all others are features."""
    if width < 2:
        raise ValueError(f"{place} has 1 column, expected a feature and a label at least")
    if label_column is not None:
        label, why = _position(names, width, label_column, place), "as asked for"
    else:
        label, why = _label_by_name(names, width, place)
    columns = NumberColumns(tuple(names), _all_but(label, width), label)
    return columns, f"labels taken from {columns.called(label)}, {why}"


def _label_by_name(names: Sequence[str], width: int, place: str) -> tuple[int, str]:
    called = _called_as_labels(names)
    if len(called) == 1:
        return called[0], "by its name"
    if called and width - 1 not in called:
        raise ValueError(
            f"{place}: {shortened([names[index] for index in called])} are all names of labels;"
            " label_column (--label-column) has to say which it is"
        )
    if not names:
        return width - 1, "the last, since no column has a name"
    number = "more than one" if called else "none"
    return width - 1, f"the last, since {number} is called {', '.join(LABEL_NAMES)}"


def to_predict_from(
    names: Sequence[str],
    width: int,
    label_column: int | str | None,
    model: NumberColumns | None,
    n_features: int | None,
    place: str,
) -> tuple[NumberColumns, str]:
    """A model's features: by name where both have names, else by position.

    A feature column of the model is never omitted.
    """
    label = None if label_column is None else _position(names, width, label_column, place)
    if model is not None and model.names and names:
        features = _by_name(names, label, model, place)
        if label is None:
            label = _label_of_model(names, features, model)
        columns = NumberColumns(tuple(names), features, label)
        others = [columns.called(i) for i in range(width) if i not in set(features)]
        return columns, f"left out: {', '.join(others[:12])}" if others else ""
    why = "as asked for"
    if label is None and n_features is not None and width == n_features + 1:
        label, why = _extra(names, width, model, place)
    features = tuple(range(width)) if label is None else _all_but(label, width)
    columns = NumberColumns(tuple(names), features, label)
    if label is None:
        return columns, ""
    return columns, f"{columns.called(label)} taken for the label and left out, {why}"


def _extra(
    names: Sequence[str], width: int, model: NumberColumns | None, place: str
) -> tuple[int, str]:
    """The label of a table with one column more than the model, and without its names."""
    called = _called_as_labels(names)
    trained = None if model is None or model.label is None else min(model.label, width - 1)
    if len(called) == 1:
        if trained not in (None, called[0]):
            raise ValueError(
                f"{place}: training had the label in column {trained + 1}, and here it is column"
                f" {called[0] + 1} that is called {names[called[0]]!r}; label_column"
                " (--label-column) has to say which it is"
            )
        return called[0], "by its name"
    if trained is not None:
        return trained, "as in training"
    return width - 1, f"the last of {width}, since the model takes {width - 1}"


def _by_name(
    names: Sequence[str], label: int | None, model: NumberColumns, place: str
) -> tuple[int, ...]:
    wanted = [model.names[index] for index in model.features]
    if tuple(names) == model.names:
        features = model.features
    elif list(names) == wanted:
        features = tuple(range(len(names)))
    else:
        positions = {name: index for index, name in enumerate(names)}
        unclear = [name for name in wanted if names.count(name) != 1]
        if unclear:
            raise ValueError(
                f"{place} has {names.count(unclear[0])} columns called {unclear[0]!r}, expected"
                f" each feature of the model once: {shortened(wanted)}"
            )
        if len(set(wanted)) != len(wanted):
            raise ValueError(
                f"{place} has the columns {shortened(names)}, expected those of the model, some of"
                f" which have one name, in its order: {shortened(wanted)}"
            )
        features = tuple(positions[name] for name in wanted)
    if label in features:
        raise ValueError(
            f"{place}: label_column {names[label]!r} is a feature of the model, expected another"
        )
    return features


def _label_of_model(
    names: Sequence[str], features: Sequence[int], model: NumberColumns
) -> int | None:
    """The position of the model's label, if present."""
    if model.label is None:
        return None
    found = [i for i, name in enumerate(names) if name == model.names[model.label]]
    return found[0] if len(found) == 1 and found[0] not in features else None


def _called_as_labels(names: Sequence[str]) -> list[int]:
    return [index for index, name in enumerate(names) if name.casefold() in LABEL_NAMES]


def _all_but(label: int, width: int) -> tuple[int, ...]:
    return tuple(index for index in range(width) if index != label)


def _position(names: Sequence[str], width: int, column: int | str, place: str) -> int:
    """Position of the requested column, from 0."""
    if isinstance(column, str):
        if names.count(column) != 1:
            known = shortened(names) if names else "no header line"
            raise ValueError(
                f"{place}: label_column {column!r} is the name of"
                f" {names.count(column)} columns, expected one of {known}{nearest(column, names)}"
            )
        return names.index(column)
    if not -width <= column < width:
        raise ValueError(
            f"{place}: label_column {column}, expected an index into"
            f" {width} columns, from {-width} to {width - 1}"
        )
    return int(column) % width


def shortened(names: Sequence[str]) -> str:
    """Names for a message, with long lists and long names shortened."""
    shown = [repr(name if len(name) <= 40 else f"{name[:40]}...") for name in names[:12]]
    return ", ".join(shown) + (", ..." if len(names) > 12 else "")


def listed(names: Sequence[str]) -> str:
    """`shortened`, without quotes where they are not needed."""
    shown = [
        name if name and name.isprintable() and len(name) <= 40 else shortened([name])
        for name in names[:12]
    ]
    return ", ".join(shown) + (f", ... ({len(names)} in all)" if len(names) > 12 else "")


def nearest(name: object, names: Sequence[str]) -> str:
    """A question for the end of a message, where one of the names is much like another one."""
    by_lower = {each.casefold(): each for each in reversed(names)}
    found = difflib.get_close_matches(str(name).casefold(), by_lower, 1)
    return f"; did you mean {by_lower[found[0]]!r}?" if found else ""
