"""Interleaved measurement: in each round all sides run once, one at a time."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from layers.bench.cases import Case
from layers.bench.libraries import OURS, SIDES, installed
from layers.bench.processes import Process, SideFailed
from layers.bench.results import Key, LeftOut, Measured, Results, Round

LEAST_ROUNDS = 5
_TOLERANCE = 1e-3
"""Relative tolerance between float32 losses, which are summed in different orders."""

Team = dict[Key, Process]
Tell = Callable[[str, int], None]
"""Reports what is running, and how many rounds are done."""


class Effort(NamedTuple):
    """How long to measure.

    Attributes
    ----------
    rounds : int
    seconds : float
        For a case's rounds: longer rounds are fewer, but at least `LEAST_ROUNDS`.
    """

    rounds: int
    seconds: float


def measure(results: Results, cases: list[Case], effort: Effort, tell: Tell) -> None:
    """Fill in the measurements, the sides left out with reasons, and the versions.

    Raises
    ------
    ChildProcessError
        Our own side failed.
    """
    with _team(results, tell) as team:
        for case in cases:
            results.measured.append(_measure_case(results, team, case, effort, tell))


@contextlib.contextmanager
def _team(results: Results, tell: Tell) -> Iterator[Team]:
    """Start a process for each side and number of threads, all at once; end them at exit."""
    team: Team = {}
    started: list[Process] = []
    try:
        for side in results.sides:
            if not installed(side):
                results.left_out.append(LeftOut(side, "", "not installed"))
                continue
            for threads in results.threads:
                started.append(Process(side, threads))
                team[Key(side, threads)] = started[-1]
        for process in started:
            process.send(do="start")
        for key in list(team):
            tell(f"starting {SIDES[key.side].title}", 0)
            with _leaving_out(results, key, "", team):
                results.versions |= team[key].receive()["versions"]
        yield team
    finally:
        for process in started:
            process.kill()


def _measure_case(results: Results, team: Team, case: Case, effort: Effort, tell: Tell) -> Measured:
    """Prepare all sides, then time them in turn."""
    present: Team = {}
    expected: list[float] = []
    for key in list(team):  # ours comes first
        if case.kind not in SIDES[key.side].kinds:
            continue
        tell(f"{case.title}: preparing {SIDES[key.side].title}", 0)
        with _leaving_out(results, key, case.title, team):
            numbers = team[key].ask(do="prepare", case=case.name, rows=case.rows)["numbers"]
            expected = expected or numbers
            _check_agreement(numbers, expected, case)
            present[key] = team[key]
    rounds: list[Round] = []
    began = time.perf_counter()
    for number in range(effort.rounds):
        if number >= LEAST_ROUNDS and time.perf_counter() - began > effort.seconds:
            tell(case.title, effort.rounds - number)
            break
        rounds.append({})
        # Every other round is reversed, so that no side always follows the same one.
        for key in list(present)[:: 1 if number % 2 == 0 else -1]:
            with _leaving_out(results, key, case.title, team, present):
                rounds[-1][key] = _turn(present[key])
        tell(f"{case.title}: round {number + 1}", 1)
    # A side that failed lacks times of some rounds, so it gets no ratio.
    return Measured(case, [{key: times[key] for key in present} for times in rounds])


def _turn(process: Process) -> float:
    answer = process.ask(do="time")
    if not math.isfinite(answer["number"]):
        raise SideFailed(f"its loss is {answer['number']} after the timed steps")
    return float(answer["seconds"])


@contextlib.contextmanager
def _leaving_out(results: Results, key: Key, title: str, *teams: Team) -> Iterator[None]:
    """Remove a failing side from the case, or from all later ones, and record why."""
    try:
        yield
    except SideFailed as failed:
        where = f"on {threads_in_words(key.threads)}" + (f", {title}" if title else "")
        if key.side == OURS:
            raise ChildProcessError(
                f"numba-layers could not be measured {where}: {failed}"
            ) from None
        ended = not teams[0][key].alive
        if ended and title:
            where += " and what follows"
        results.left_out.append(LeftOut(key.side, where, str(failed)))
        # The first team is the whole run's: after an error the process can do the next case.
        for members in teams if ended or not title else teams[1:]:
            members.pop(key, None)


def _check_agreement(numbers: list[float], expected: list[float], case: Case) -> None:
    for got, wanted in zip(numbers, expected, strict=True):
        if not abs(got - wanted) <= _TOLERANCE * max(1.0, abs(wanted)):
            what = "class" if case.kind == "predict" else "loss"
            raise SideFailed(
                f"its {what} is {got:.6g} and numba-layers' {wanted:.6g}, from the same weights"
            )


def threads_in_words(threads: int) -> str:
    """As in ``1 thread``."""
    return f"{threads} thread{'s' if threads != 1 else ''}"
