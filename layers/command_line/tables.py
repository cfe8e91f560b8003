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


def confusion_table(labels: Array, predicted: Array, n_classes: int) -> str:
    """Counts by label and prediction, with the share of each label predicted correctly."""
    counts = confusion(labels, predicted, n_classes)
    rows = [["", *map(str, range(n_classes)), "right"]]
    for label, row in enumerate(counts):
        total = int(row.sum())
        share = f"{row[label] / total:.1%}" if total else "-"
        rows.append([str(label), *(str(count) if count else "." for count in row), share])
    return aligned(rows)
