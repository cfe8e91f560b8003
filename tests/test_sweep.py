"""The script that sweeps the product over sizes: it reports a cliff, not drift of the machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SECONDS

sys.path.insert(0, str(Path(__file__).parents[1] / "asv_benchmarks"))
import sweep

SUITE = Path(sweep.__file__).parent
CASE = sweep.Case("float32", "N,N", 1)
SIZES = [32, 64, 96, 128]


class Planted:
    """A worker whose time grows as the work does; at 96 it is longer, and all is slower later."""

    def __init__(self, times):
        self.times, self.turns = times, 0

    def seconds(self, rows, size, case):
        self.turns += 1
        slowness = 1 + (self.turns - 1) // len(SIZES)
        return 1e-9 * rows * size * size * slowness * (self.times if size == 96 else 1)


def test_a_cliff_shows_beside_its_neighbours():
    found = list(sweep.rows_of(CASE, SIZES, None, 5, [Planted(2)]))
    assert [row.share for row in found] == pytest.approx([1, 1 / 0.75, 0.5, 2])
    assert [row.speed for row in found] == pytest.approx([2 / 3, 2 / 3, 1 / 3, 2 / 3])
    assert {row.ratio for row in found} == {None}


def test_another_commit_takes_turns():
    found = list(sweep.rows_of(CASE, SIZES, 256, 4, [Planted(2), Planted(1)]))
    assert [row.ratio for row in found] == pytest.approx([1, 1, 2, 1])
    assert [row.share for row in found] == pytest.approx([1] * 4)


@pytest.mark.compiled
@pytest.mark.parametrize(("least", "status"), [("0", 0), ("9", 1)])
def test_a_small_sweep(least, status):
    line = ["--first", "16", "--last", "32", "--step", "16", "--rounds", "1", "--threads", "1"]
    ran = subprocess.run(
        [sys.executable, str(SUITE / "sweep.py"), *line, "--dtypes", "float32", "--least", least],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert ran.returncode == status, ran.stderr
    assert ran.stdout.count("GFLOP/s") == 4
    assert "least of neighbours" in ran.stdout.splitlines()[-1]


def test_bad_input_is_refused():
    line = [sys.executable, str(SUITE / "sweep.py"), "--first", "64", "--last", "64"]
    ran = subprocess.run(line, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert ran.returncode == 2
    assert "two sizes at least" in ran.stderr
