"""The cases: networks, batches, data, and the initial weights of all sides."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from layers.base import Array

Kind = Literal["step", "epoch", "predict"]

LEARNING_RATE = 0.01
ROWS, FEWER_ROWS = 60_000, 20_000
"""Rows of an epoch: Fashion-MNIST's, and as many as fit into two minutes. Both are multiples of the
batch: a smaller last batch would be compiled separately."""

_SEED = 0
_CHUNK = 4096


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes
    ----------
    name : str
        For the command line and the JSON file.
    kind : {"step", "epoch", "predict"}
    widths : tuple of int
        Of the network, from inputs to classes; ReLU between the dense layers.
    batch, batches : int
        Rows of a batch, and batches of the data: for a step, usually as many as fit a cache of a
        few megabytes.
    full : bool
        Whether it needs ``--full``.
    """

    name: str
    kind: Kind
    widths: tuple[int, ...]
    batch: int
    batches: int
    full: bool = False

    @property
    def rows(self) -> int:
        """Rows of the data."""
        return self.batch * self.batches

    @property
    def network(self) -> str:
        """As in ``784-128-10``."""
        return "-".join(map(str, self.widths))

    @property
    def title(self) -> str:
        """The case in words."""
        if self.kind == "predict":
            return f"{self.network}, one row"
        return f"{self.network}, batch {self.batch}"


_MNIST = (784, 128, 10)
CASES = {
    case.name: case
    for case in (
        Case("small", "step", (64, 32, 10), 32, 256),
        Case("batch32", "step", _MNIST, 32, 80),
        Case("batch128", "step", _MNIST, 128, 20),
        Case("wide", "step", (784, 512, 512, 10), 256, 10),
        # Each batch is a separate call; `layers.compiled.tuning` tries other numbers of threads.
        Case("large", "step", (1024, 1024, 1024, 1024, 10), 512, 16, full=True),
        Case("epoch32", "epoch", _MNIST, 32, FEWER_ROWS // 32),
        Case("epoch200", "epoch", _MNIST, 200, FEWER_ROWS // 200),
        Case("predict", "predict", (64, 32, 10), 1, 1),
    )
}


def chosen(names: Sequence[str] | None, full: bool) -> list[Case]:
    """The named cases, or those of a short or full run; a full run has longer epochs."""
    cases = [CASES[name] for name in names] if names else list(CASES.values())
    if not names and not full:
        cases = [case for case in cases if not case.full]
    return [with_rows(case, ROWS) if full else case for case in cases]


def with_rows(case: Case, rows: int) -> Case:
    """The case with an epoch of ``rows`` rows; other cases unchanged."""
    return replace(case, batches=rows // case.batch) if case.kind == "epoch" else case


def data(case: Case) -> tuple[Array, Array]:
    """Noise added to one pattern per class: x (rows, n_in), from 0 to 1, and y (rows,).

    The classes can be learnt, and nothing is downloaded.
    """
    random = np.random.Generator(np.random.PCG64(_SEED))
    n_in, n_out = case.widths[0], case.widths[-1]
    y = random.integers(0, n_out, case.rows)
    patterns = random.random((n_out, n_in), dtype=np.float32)
    x = random.random((case.rows, n_in), dtype=np.float32)
    for start in range(0, case.rows, _CHUNK):  # in place: no second array of this size
        part = slice(start, start + _CHUNK)
        x[part] += patterns[y[part]]
        x[part] *= np.float32(0.5)
    return x, y


def weights(case: Case) -> list[tuple[Array, Array]]:
    """He's initial weights, (n_in, n_out), and zeros (n_out,), the same for all sides."""
    random = np.random.Generator(np.random.PCG64(_SEED + 1))
    parameters = []
    for n_in, n_out in zip(case.widths, case.widths[1:], strict=False):
        scale = np.float32(np.sqrt(2 / n_in))
        drawn = random.standard_normal((n_in, n_out), dtype=np.float32) * scale
        parameters.append((drawn, np.zeros(n_out, np.float32)))
    return parameters
