"""Plain-text tables."""

from collections.abc import Sequence

import numpy as np

from layers.base import Array


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Align columns: the first ``left`` to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def confusion(labels: Array, predicted: Array, n_classes: int) -> Array:
    """Counts, (n_classes, n_classes): rows are the labels, columns the predictions."""
    pairs = np.ravel_multi_index((labels, predicted), (n_classes, n_classes))
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def confusion_table(
    labels: Array, predicted: Array, n_classes: int, names: Sequence[str] | None = None
) -> str:
    """Counts by label and prediction, with the share of each label predicted correctly."""
    counts = confusion(labels, predicted, n_classes)
    shown = [str(n) for n in range(n_classes)] if names is None else [_short(n) for n in names]
    rows = [["", *shown, "right"]]
    for label, row in enumerate(counts):
        total = int(row.sum())
        share = f"{row[label] / total:.1%}" if total else "-"
        rows.append([shown[label], *(str(count) if count else "." for count in row), share])
    return aligned(rows)


def _short(name: str) -> str:
    """A name that fits into a table."""
    name = " ".join(name.split())
    return name if len(name) <= 16 else f"{name[:15]}…"
