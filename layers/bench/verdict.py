"""The verdict: the table in one sentence."""

from collections.abc import Sequence
from typing import NamedTuple

LEVEL = 1.05
"""Differences below a twentieth count as equal: shared machines vary that much."""


class Duel(NamedTuple):
    """The fastest other library in one row of the table.

    Attributes
    ----------
    where : str
        The row, in words.
    name : str
        Of the other side.
    ratio : float
        The other side's time over ours.
    """

    where: str
    name: str
    ratio: float


def verdict(
    training: Sequence[Duel], predicting: Sequence[Duel] = (), by_hand: Sequence[float] = ()
) -> str:
    """Whether this package or the fastest other library trains faster, with every exception.

    Parameters
    ----------
    training, predicting : sequence of Duel
        One for each row with another library.
    by_hand : sequence of float
        The time of the fastest program by hand over ours, for each row of training.
    """
    if not training and not predicting and not by_hand:
        return "There was nothing to compare numba-layers with on this machine."
    sentences = []
    if training:
        sentences.append(f"On this machine numba-layers {_judged('trains', training)}.")
    if predicting:
        subject = "It" if training else "On this machine numba-layers"
        sentences.append(f"{subject} {_judged('predicts a single row', predicting)}.")
    if by_hand:
        low, high = f"{min(by_hand):.2f}", f"{max(by_hand):.2f}"
        sentences.append(
            "A program by hand, compiled by Numba on a BLAS, trains in "
            f"{low if low == high else f'{low} to {high}'} times numba-layers' time."
        )
    return " ".join(sentences)


def _judged(verb: str, duels: Sequence[Duel]) -> str:
    ahead = [duel for duel in duels if duel.ratio >= LEVEL]
    behind = [duel for duel in duels if duel.ratio <= 1 / LEVEL]
    level = [duel for duel in duels if duel not in ahead and duel not in behind]
    if ahead:
        span = _span([duel.ratio for duel in ahead])
        words = f"{verb} {span} times as fast as {_fastest(duels)}"
        exceptions = [*map(_is_level, level), *map(_is_faster, behind)]
        return words + (f", except {_listed(exceptions)}" if exceptions else "")
    if level:
        words = f"{verb} as fast as {_fastest(duels)}, within {LEVEL - 1:.0%}"
        return words + (f", except {_listed(list(map(_is_faster, behind)))}" if behind else "")
    span = _span([1 / duel.ratio for duel in behind])
    return (
        f"{verb} more slowly than {_fastest(duels)}, which is {span} times as fast: "
        f"{_listed(list(map(_is_faster, behind)))}"
    )


def _fastest(duels: Sequence[Duel]) -> str:
    names = {duel.name for duel in duels}
    return "the fastest other library" + (f", {names.pop()}" if len(names) == 1 else "")


def _is_faster(duel: Duel) -> str:
    return f"{duel.where} ({duel.name} is {factor(1 / duel.ratio)} times as fast)"


def _is_level(duel: Duel) -> str:
    return f"{duel.where} (level with {duel.name})"


def _listed(items: Sequence[str]) -> str:
    return "; ".join(items)


def _span(factors: Sequence[float]) -> str:
    low, high = factor(min(factors)), factor(max(factors))
    return low if low == high else f"{low} to {high}"


def factor(number: float) -> str:
    """A factor with two or three digits: 1.1, 7, 9.8, 12, 104."""
    return f"{number:.1f}".removesuffix(".0") if number < 9.95 else f"{number:.0f}"
